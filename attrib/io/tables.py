"""Tables as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import xarray as xr

from attrib.stats import summary


def write(a: pd.DataFrame | xr.DataArray | xr.Dataset | Mapping, path: Path) -> None:
    """The table, or the summary of a result."""
    table = a if isinstance(a, pd.DataFrame) else summary(a)
    table.to_csv(path, index=False, lineterminator="\n")


def read(path: Path) -> pd.DataFrame:
    """The table."""
    return pd.read_csv(path)
