"""Attributions on the square of the chaos game, and the layout of their panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots import kmer_map
from attrib.plots.scale import DIVERGING, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"mirna": "miRNA", "mrna": "target"}
FULL = 100.0  # limits are the largest magnitude, since single k-mers matter


def square(
    ax: Axes,
    a: xr.DataArray,
    *,
    limit: float | None = None,
    names: int = 0,
    rings: int = 0,
    cmap: str = DIVERGING,
) -> Any:
    """Draw an attribution on the square, with `rings`, or with `names` below it; returns what a colour bar needs."""
    kmer_map(a, ax=ax, limit=limit, rings=max(names, rings), named=bool(names), cmap=cmap, colorbar=False)
    return ax.images[-1]


def grid(
    count: int,
    *,
    columns: int = 4,
    panel: float = 2.6,
    gap: float = 0.45,
    right: float = 0.0,
    top: float = 0.5,
    below: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Square panels side by side; the layout is computed here, since matplotlib's layout takes longer than drawing."""
    columns = min(columns, count)
    rows = -(-count // columns)
    wide, high = columns * (panel + gap) + 0.6 - gap + right, rows * (panel + 0.55 + below) + top
    picture = figure((wide, high))
    picture.set_layout_engine("none")
    axes = []
    for k in range(count):
        row, column = divmod(k, columns)
        left, bottom = (
            0.3 + column * (panel + gap),
            high - top - (row + 1) * (panel + 0.55 + below) + 0.25 + below,
        )
        axes.append(picture.add_axes((left / wide, bottom / high, panel / wide, panel / high)))
    return picture, axes


def top_kmers(a: xr.DataArray, count: int) -> list[str]:
    """The k-mers of the largest magnitudes, without those of zero."""
    order = np.argsort(-np.abs(a.values), axis=None, kind="stable")[:count]
    return [str(a["kmer"].values.ravel()[i]) for i in order if a.values.ravel()[i] != 0]


def in_log_odds(label: str, a: xr.DataArray) -> str:
    """A label with the unit of an attribution (its coord or attr `units`), whose output is the log-odds of binding."""
    units = str(a.coords["units"].item() if "units" in a.coords else a.attrs.get("units", "")).replace("output", "log-odds")  # fmt: skip
    return f"{label} ({units})" if units and label else units or label


def runs(inside: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def per_sample(maps: xr.DataArray | xr.Dataset) -> list[str]:
    """The methods with a picture per pair: all but the corrected ones."""
    return [
        str(m) for m in maps["method"].values if not str(m).endswith(("_normalize", "_filter", "_tangent"))
    ]
