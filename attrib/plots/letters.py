"""A sequence's letters as high as their attributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots.glyphs import COLOURS, OTHER, outline
from attrib.plots.scale import axes, dim_label, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def letters(
    a: xr.DataArray, *, ax: Axes | None = None, limit: float | None = None, label: str | None = None
) -> Axes:
    """Draw the letters along a sequence, each as high as its attribution, negative ones below zero.

    Parameters
    ----------
    a : DataArray
        One dim, with the coord `letter` along it. NaN is no letter.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The axis goes from minus to plus this value; default: as far as the letters.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes
        Small letters below the axis spell the sequence where attributions are too small to be read.

    Raises
    ------
    ValueError
        If `a` has another number of dims, or no letters.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import letters
    >>> a = xr.DataArray([1.0, -2.0], dims="position", coords={"letter": ("position", ["A", "C"])})
    >>> len(letters(a).collections[0].get_paths())
    2
    """
    if a.ndim != 1 or "letter" not in a.coords:
        raise ValueError(f"`a` has dims {a.dims}, expected one, with the coord `letter`")
    (dim,) = a.dims
    known = np.isfinite(a.values)
    places, heights, names = np.flatnonzero(known), a.values[known], a["letter"].values[known].astype(str)
    ax = axes(ax, (1.4 + 0.16 * len(places), 2.0))
    _draw(ax, places, heights, names)
    ax.set_ylim(*_reach(heights, limit))
    _spell(ax, places, names, a[dim].values[known] if dim in a.coords else places)
    ax.set_xlabel(dim_label(a, dim), fontsize=9)
    ax.set_ylabel(wrapped(value_label(a), 24) if label is None else label, fontsize=9)
    return ax


def _draw(ax: Axes, places: np.ndarray, heights: np.ndarray, names: np.ndarray) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    paths = [
        Affine2D().scale(0.9, h).translate(x, 0).transform_path(outline(n))
        for x, h, n in zip(places, heights, names.tolist(), strict=True)
    ]
    made: Any = PathCollection(paths, facecolors=[COLOURS.get(n, OTHER) for n in names], linewidths=0)
    made.set_transform(ax.transData)
    ax.add_collection(made)
    ax.spines[["top", "right"]].set_visible(False)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlim(-0.7, max(places, default=0) + 0.7)


def _reach(heights: np.ndarray, limit: float | None) -> tuple[float, float]:
    """Limits that hold all letters, with a little room."""
    low, high = (heights.min(initial=0), heights.max(initial=0)) if limit is None else (-limit, limit)
    room = 0.06 * (float(np.abs(heights).max(initial=0)) or 1.0)
    return float(low - room), float(high + room)


def _spell(ax: Axes, places: np.ndarray, names: np.ndarray, numbers: np.ndarray) -> None:
    """The sequence below the axis, the positions at every fifth letter."""
    spelled = [
        f"{n}\n{v}" if int(v) % 5 == 0 or k == 0 else str(n)
        for k, (n, v) in enumerate(zip(names, numbers, strict=True))
    ]
    ax.set_xticks(places, spelled, fontsize=7)
    ax.tick_params(axis="x", length=0)
    ax.tick_params(axis="y", labelsize=8)
