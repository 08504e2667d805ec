"""A sequence's letters as high as their attributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots.scale import axes, dim_label, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

COLOURS = {"A": "#2e8b57", "C": "#2166ac", "G": "#e08214", "T": "#b2182b"}
OTHER = "#777777"


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
    reach = float(np.abs(heights).max(initial=0)) or 1.0
    low, high = (
        (min(0.0, heights.min(initial=0)), max(0.0, heights.max(initial=0)))
        if limit is None
        else (-limit, limit)
    )
    ax.set_ylim(low - 0.06 * reach, high + 0.06 * reach)
    ax.set_xlim(-0.7, max(places, default=0) + 0.7)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    numbers = a[dim].values[known] if dim in a.coords else places
    spelled = [f"{n}\n{v}" if int(v) % 5 == 0 or k == 0 else str(n) for k, (n, v) in enumerate(zip(names, numbers, strict=True))]  # fmt: skip
    ax.set_xticks(places, spelled, fontsize=7)
    ax.tick_params(axis="x", length=0)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel(dim_label(a, dim), fontsize=9)
    ax.set_ylabel(wrapped(value_label(a), 24) if label is None else label, fontsize=9)
    return ax


def _draw(ax: Axes, places: np.ndarray, heights: np.ndarray, names: np.ndarray) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    glyphs = {n: _glyph(n) for n in set(names.tolist())}
    paths = [
        Affine2D().scale(0.9, h).translate(x, 0).transform_path(glyphs[n])
        for x, h, n in zip(places, heights, names, strict=True)
    ]
    made: Any = PathCollection(paths, facecolors=[COLOURS.get(n, OTHER) for n in names], linewidths=0)
    made.set_transform(ax.transData)
    ax.add_collection(made)


def _glyph(letter: str) -> Path:
    """The outline of a letter, one wide around 0 and one high from 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    wide = max(box.width, 0.3)  # an I stays slim
    return (
        Affine2D()
        .translate(-box.x0 - box.width / 2, -box.y0)
        .scale(1 / wide, 1 / box.height)
        .transform_path(path)
    )
