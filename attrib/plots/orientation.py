"""Which way the axes of an image go."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def orient(ax: Axes, a: xr.DataArray) -> None:
    """Let higher coordinates lie up and right, as `xarray.plot` has it, in an image drawn from the top and the left.

    Rows of an image stay as they are: a dim without coords, or one called y whose coords are 0, 1, 2, ...; so do names.
    """
    rows, columns = a.dims[:2]
    if _ascends(a, rows) and not _is_image_row(a, rows):
        ax.invert_yaxis()
    if _descends(a, columns):
        ax.invert_xaxis()


def _steps(a: xr.DataArray, dim: Hashable) -> np.ndarray:
    if dim not in a.coords or a[dim].dtype.kind not in "iufmM" or a.sizes[dim] < 2:
        return np.zeros(1)
    return np.diff(a[dim].values).astype(float)


def _ascends(a: xr.DataArray, dim: Hashable) -> bool:
    return bool((_steps(a, dim) > 0).all())


def _descends(a: xr.DataArray, dim: Hashable) -> bool:
    return bool((_steps(a, dim) < 0).all())


def _is_image_row(a: xr.DataArray, dim: Hashable) -> bool:
    return dim == "y" and np.array_equal(a[dim].values, np.arange(a.sizes[dim]))
