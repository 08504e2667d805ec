"""Lines over one dim, such as the score as features are taken away: the mean over samples, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots.scale import axes, dim_label, literal, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = ("-", "--", ":", "-.")  # each for ten lines


def curves(
    lines: Mapping[str, xr.DataArray],
    dim: str = "fraction",
    *,
    control: xr.DataArray | None = None,
    ax: Axes | None = None,
    label: str | None = None,
    legend: bool = True,
    order: Sequence[str] | None = None,
) -> Axes:
    """Draw curves, each averaged over all its other dims, with its standard error over samples as a band where there are several.

    Parameters
    ----------
    lines : mapping of str to DataArray
        Names and curves. A mean over samples that was taken before may have its standard error as the coord `se`. A dim `target`, whose
        entries are of the same samples, is averaged before the standard error is taken.
    dim : str, default "fraction"
        The dim along the horizontal axis: numbers, or names, which are written out.
    control : DataArray, optional
        A curve drawn in grey, such as that of random orders.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    label : str, optional
        What the values are; default: the first curve's long name and unit.
    legend : bool, default True
        Whether to name the lines in the picture.
    order : sequence of str, optional
        All names, in the order of the colours, where some have no line; default: those of `lines`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there are no curves, or one lacks the dim.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import curves
    >>> curve = xr.DataArray([[3.0, 1.0]], dims=("sample", "fraction"), coords={"fraction": [0.0, 1.0]})
    >>> len(curves({"saliency": curve, "deep_lift": curve}).lines)
    2
    """
    if not lines:
        raise ValueError("`lines` is empty, expected at least one curve")
    lacking = [name for name, a in lines.items() if dim not in a.dims]
    if lacking:
        raise ValueError(
            f"`lines`: {lacking[0]!r} has dims {lines[lacking[0]].dims}, expected {dim!r} among them"
        )
    ax = axes(ax, (5.0, 3.6))
    first = next(iter(lines.values()))
    names = first[dim].values.dtype.kind not in "iuf"
    if control is not None:
        ax.plot(*_points(control, dim), color="0.55", linewidth=3, alpha=0.7, label="random order", zorder=1)
        _draw_band(ax, control, dim, "0.55")
    for name, a in lines.items():
        k = list(lines if order is None else order).index(name)
        style = STYLES[k // 10 % len(STYLES)]
        ax.plot(
            *_points(a, dim),
            style,
            color=f"C{k % 10}",
            linewidth=1.5,
            marker="o" if names else "",
            markersize=3,
            label=name,
        )
        _draw_band(ax, a, dim, f"C{k % 10}")
    if names:
        words = [str(v) for v in first[dim].values]
        turned: Any = {"rotation": 60, "ha": "right"} if max(map(len, words)) > 4 else {}
        ax.set_xticks(range(first.sizes[dim]), words, fontsize=7, **turned)
    elif first[dim].dtype.kind in "iu":
        ax.locator_params(axis="x", integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(wrapped(dim_label(first, dim), 60))
    quantity = value_label(first) if label is None else label
    drawn = [*lines.values(), *([] if control is None else [control])]
    several = any(_error(a, dim) is not None for a in drawn)
    ax.set_ylabel(wrapped(f"{quantity}; bands: standard error" if several else quantity, 40))
    if legend:
        ax.legend(fontsize=7, frameon=False)
    return literal(ax)


def _draw_band(ax: Axes, a: xr.DataArray, dim: str, colour: str) -> None:
    error = _error(a, dim)
    if error is not None:
        at, mean = _points(a, dim)
        ax.fill_between(at, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0, zorder=0.5)


def _error(a: xr.DataArray, dim: str) -> np.ndarray | None:
    """The standard error of the mean over the other dims, or the coord `se`; None for a single curve."""
    if "se" in a.coords and a["se"].dims == (dim,):
        return a["se"].values
    a = a.mean("target") if "target" in a.dims and dim != "target" else a  # each has the same samples
    others = [d for d in a.dims if d != dim]
    count = a.count(others)
    if not others or int(count.max()) < 2:
        return None
    return (a.std(others, ddof=1) / np.sqrt(count)).values


def _points(a: xr.DataArray, dim: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and mean values along the dim."""
    mean = a.mean([d for d in a.dims if d != dim])
    labels = a[dim].values
    return (labels if labels.dtype.kind in "iuf" else np.arange(len(labels))), mean.values
