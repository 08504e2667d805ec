"""Inputs beside the attributions of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.labels.matching import laid_like
from attrib.plots.image import aspect, ticks
from attrib.plots.scale import (
    DIVERGING,
    PERCENTILE,
    dim_label,
    figure,
    number,
    robust_limit,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 1.25  # inches
FEW = 6  # labels that fit beside a panel


def comparison(
    x: xr.DataArray,
    attributions: Mapping[str, xr.DataArray],
    *,
    titles: Sequence[str] | None = None,
    percentile: float = PERCENTILE,
    cmap: str = "gray",
) -> Figure:
    """Draw samples as columns: the input on top, a row per method below, one colour bar.

    Parameters
    ----------
    x : DataArray
        Inputs (samples, rows, columns), or (samples, rows, columns, 3) for colours in [0, 1].
    attributions : mapping of str to DataArray
        Names of methods, and attributions (samples, rows, columns) of the same samples: by their labels where both have some, else in
        the same order.
    titles : sequence of str, optional
        One per sample; default: the labels of the first dim.
    percentile : float, default 99
        The colours of a row reach this percentile of its magnitudes, on both sides of zero.
    cmap : str, default "gray"
        Colours of inputs without colours of their own: bright where values are high; ``"gray_r"`` for ink on paper.

    Returns
    -------
    Figure
        The colour bar goes from minus to plus the limit of a row. Each limit and its unit stand left of the row, because
        methods differ in unit and size.

    Raises
    ------
    ValueError
        If an array has other dims or another number of samples.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import comparison
    >>> x = xr.DataArray(np.eye(3)[None], dims=("sample", "y", "x"))
    >>> figure = comparison(x, {"saliency": x, "deep_lift": -x}, titles=["first"])
    >>> len([ax for ax in figure.axes if ax.images]), figure.axes[0].get_title()
    (3, 'first')
    """
    attributions = {name: laid_like(a, x, name, "x") for name, a in attributions.items()}
    for name, a in {"x": x, **attributions}.items():
        if a.ndim != 3 + (name == "x" and a.ndim == 4) or a.shape[0] != x.shape[0]:
            raise ValueError(
                f"`{name}` has shape {a.shape}, expected 3 dims (samples, rows, columns) with the {x.shape[0]} samples of `x`"
            )
    names = [str(v) for v in x[x.dims[0]].values] if titles is None else list(titles)
    wide = PANEL * min(3.0, max(1.0, x.shape[2] / x.shape[1]))
    bar = _bar_label(len(attributions), percentile)
    drawing = figure(
        (
            2.6 + 1.04 * wide * x.shape[0] + 0.8 + 0.17 * len(bar.splitlines()),
            0.6 + 0.3 * len(names[0].split("\n")) + PANEL * 1.04 * (1 + len(attributions)),
        )
    )
    if x.shape[0] > 2:  # beside one or two the label of the bar would be pushed out
        drawing.set_layout_engine("compressed")  # no gaps between panels of a fixed shape
    drawing.get_layout_engine().set(w_pad=0.09)  # type: ignore[union-attr, call-arg] # names left of the panels are measured too small
    grid: Any = drawing.subplots(1 + len(attributions), x.shape[0], squeeze=False)
    _draw_inputs(grid[0], x, names, cmap)
    for row, (name, a) in zip(grid[1:], attributions.items(), strict=True):
        _draw_method(row, a, name, percentile)
    _label_dims(grid, x)
    _draw_colour_bar(drawing, grid, bar)
    return drawing


def _draw_inputs(row: Sequence[Axes], x: xr.DataArray, titles: Sequence[str], cmap: str) -> None:
    low, high = float(np.nanmin(x.values)), float(np.nanmax(x.values))
    for ax, values, title in zip(row, x.values, titles, strict=True):
        ax.imshow(
            values,
            cmap=cmap,
            vmin=low,
            vmax=high,
            interpolation="nearest",
            aspect=aspect(x[0, ..., 0] if x.ndim == 4 else x[0]),
        )
        ax.set_title(title, fontsize=9.5)
        ax.set_xticks([])
        ax.set_yticks([])
    unit = x.attrs.get("units", "")
    unit = "" if unit == "1" else unit
    ends = {"gray": ("black ", "white "), "gray_r": ("white ", "black ")}.get(cmap, ("from ", "to "))
    scale = f"{ends[0]}{number(low)}\n{ends[1]}{number(high)}\n{unit}" if x.ndim == 3 else unit
    _name(row[0], "Input", scale.rstrip())


def _draw_method(row: Sequence[Axes], a: xr.DataArray, name: str, percentile: float) -> None:
    limit = robust_limit(a, percentile)
    for ax, values in zip(row, a.values, strict=True):
        ax.imshow(
            values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect(a[0])
        )
        ax.set_xticks([])
        ax.set_yticks([])
    unit = wrapped(a.attrs.get("units", ""), 24)
    _name(row[0], name, f"limit {number(limit)}\n{unit}".rstrip() if np.any(a.values) else "zero everywhere")


def _name(ax: Axes, name: str, scale: str) -> None:
    """The row's name and limit, left of it."""
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    ax.annotate(wrapped(name, 20), (0, 0.5), (-7, 1), va="bottom", fontsize=9.5, fontweight="bold", **at)
    ax.annotate(scale, (0, 0.5), (-7, -1), va="top", fontsize=9, **at)


def _label_dims(grid: Any, x: xr.DataArray) -> None:
    """Names, units and end labels of the two dims: below the last row, and right of its last panel."""
    y_dim, x_dim = x.dims[1:3]
    for ax in grid[-1]:
        ax.set_xlabel(dim_label(x, x_dim), fontsize=9)
        _ends(ax, x, x_dim, "x")
    corner = grid[-1, -1]
    corner.yaxis.set_label_position("right")
    corner.yaxis.tick_right()
    corner.set_ylabel(dim_label(x, y_dim), fontsize=9)
    _ends(corner, x, y_dim, "y")


def _ends(ax: Axes, x: xr.DataArray, dim: Any, which: str) -> None:
    """Labels of the first and last entry; of all entries where these are a few words."""
    n = x.sizes[dim]
    places, names = ticks(x, dim, n)
    if n > FEW or x[dim].dtype.kind in "iuf":
        places, names = [0, n - 1], [names[0], names[-1]]
    (ax.set_xticks if which == "x" else ax.set_yticks)(places, names, fontsize=8)


def _bar_label(rows: int, percentile: float) -> str:
    """What the colours are, in lines no longer than the bar beside so many rows."""
    words = (
        "attribution, as a share of its row's limit",
        f"(limit: {percentile:g}th percentile of the row's magnitudes)",
    )
    letters = max(18, int(PANEL * rows / 0.068))
    return "\n".join(wrapped(text, letters) for text in words)


def _draw_colour_bar(drawing: Figure, grid: Any, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = drawing.colorbar(ScalarMappable(Normalize(-1, 1), DIVERGING), ax=grid.ravel().tolist(), extend="both",
                        fraction=0.04, pad=0.02, aspect=30, shrink=1 - 1 / len(grid), anchor=(0, 0))  # fmt: skip
    bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["−limit", "−½", "0", "+½", "+limit"])
    bar.set_label(label, fontsize=9)
