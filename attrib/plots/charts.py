"""Bars of the largest entries by name, lines over one dim, and samples as points in two dims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_unnamed
from attrib._public import public
from attrib.plots.scale import (
    NEGATIVE,
    POSITIVE,
    axes,
    dim_label,
    figure,
    literal,
    shortened,
    value_label,
    whole_ticks,
    with_unit,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STYLES = ("-", "--", ":", "-.")  # each for ten lines

OTHERS = "#cccccc"
NAME = 36  # letters of a bar's name


@public
def bars(a: xr.DataArray, *, n: int = 20, ax: Axes | None = None, label: str | None = None) -> Axes:
    """Draw the entries of largest magnitude as bars, the largest on top.

    Parameters
    ----------
    a : DataArray
        One dim, and the samples: the dims of the coord `prediction`, or "sample". Of several samples the mean is drawn, and a line of
        one standard deviation over them to each side. A mean that was taken before may have its standard deviation as the coord `sd`.
    n : int, default 20
        Number of entries to draw.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes
        Entries above zero in red, below in blue.

    Raises
    ------
    ValueError
        If `a` has more or fewer dims than one beside the samples, or `n` is below 1.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import bars
    >>> ax = bars(xr.DataArray([0.1, -2.0], dims="gene", coords={"gene": ["INS", "GCG"]}))
    >>> [t.get_text() for t in ax.get_yticklabels()]
    ['GCG', 'INS']
    """
    count, a = a.size, _over_samples(a)
    count //= max(1, a.size)
    if a.ndim != 1:
        dims = ", ".join(f"{d}: {k}" for d, k in a.sizes.items())
        raise ValueError(
            f"`a` has the dims ({dims}), expected 1; select or average the others, e.g. a.mean({str(a.dims[0])!r})"
        )
    if n < 1:
        raise ValueError(f"`n` is {n}, expected at least 1")
    from matplotlib.ticker import MaxNLocator

    (dim,) = a.dims
    values = np.asarray(a.values, dtype=float)
    top = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:n]
    names = [shortened(str(v), NAME) for v in a[dim].values[top]]
    longest = max(map(len, names), default=0)
    ax = axes(ax, (max(5.0, 3.2 + 0.085 * longest), 1.0 + 0.24 * len(top)))
    ax.barh(range(len(top)), values[top], color=np.where(values[top] < 0, NEGATIVE, POSITIVE), height=0.75)
    spread = "sd" in a.coords and a["sd"].dims == a.dims
    if spread:
        ax.errorbar(
            values[top], range(len(top)), xerr=a["sd"].values[top], fmt="none", ecolor="black", elinewidth=1.2
        )
    ax.set_yticks(range(len(top)), names)
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(y=0.01)
    ax.xaxis.set_major_locator(MaxNLocator(4))  # small numbers are long
    whole_ticks(ax.xaxis)
    ax.set_ylabel(dim_label(a, dim))
    mean = f"mean of {count} samples: " if count > 1 else ""
    quantity = f"{mean}{value_label(a)}" if label is None else label
    ax.set_xlabel(wrapped(f"{quantity}; lines: sd" if spread else quantity, 34))
    return literal(ax)


def _over_samples(a: xr.DataArray) -> xr.DataArray:
    """The mean over the samples, with their standard deviation as the coord `sd`; an array without samples as it is."""
    along = a["prediction"].dims if "prediction" in a.coords else ("sample",)
    samples = [d for d in a.dims if d in along and d != "target"]
    if not samples or a.ndim - len(samples) != 1:
        return a
    mean = a.mean(samples, keep_attrs=True)
    several = math.prod(a.sizes[d] for d in samples) > 1
    return mean.assign_coords(sd=a.std(samples, ddof=1)) if several else mean


@public
def bar_panels(attributions: Mapping[str, xr.DataArray], *, n: int = 15, label: str = "") -> Figure:
    """Draw `bars` of several arrays side by side, each with its own scale and order.

    Parameters
    ----------
    attributions : mapping of str to DataArray
        Titles and arrays of one dim, or of one and the samples, as for `bars`.
    n : int, default 15
        Entries per panel.
    label : str
        What the values are, such as ``"mean |attribution|"``; each axis adds its array's unit. Default: the arrays' long
        names.

    Returns
    -------
    Figure
        Three panels to a row.

    Raises
    ------
    ValueError
        If there are no arrays.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import bar_panels
    >>> a = xr.DataArray([0.1, -2.0], dims="gene", coords={"gene": ["INS", "GCG"]})
    >>> [ax.get_title() for ax in bar_panels({"saliency": a, "deep_lift": a}).axes]
    ['saliency', 'deep_lift']
    """
    if not attributions:
        raise ValueError("`attributions` is empty, expected at least one array")
    columns = min(3, len(attributions))
    attributions = {title: _over_samples(a) for title, a in attributions.items()}
    rows = -(-len(attributions) // columns)
    longest = max(len(str(v)) for a in attributions.values() for v in a[a.dims[0]].values[:1000])
    most = max(3, min(n, max(a.size for a in attributions.values())))
    drawing = figure((columns * (3.0 + 0.07 * min(NAME, longest)), rows * (1.1 + 0.2 * most)))
    for k, (title, a) in enumerate(attributions.items()):
        ax = drawing.add_subplot(rows, columns, k + 1)
        unit = a.attrs.get("units")
        bars(a, n=n, ax=ax, label=f"{label} ({unit})" if label and unit else label or None)
        ax.set_title(wrapped(title, 34), fontsize=10)
        ax.tick_params(labelsize=8)
        ax.set_ylim(most - 0.4, -0.6)  # bars of one height in all panels
    return drawing


@public
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
    if control is not None and dim not in control.dims:
        raise ValueError(f"`control` has dims {control.dims}, expected {dim!r} among them")
    if order is not None:
        refuse_unnamed("lines", list(lines), order)
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
            label=shortened(name),
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


@public
def points(
    a: xr.DataArray,
    by: str,
    *,
    n: int = 10,
    labels: Sequence[str] | None = None,
    limits: Sequence[tuple[float, float]] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw samples as points, coloured by their label.

    Parameters
    ----------
    a : DataArray
        Two dims: samples, and the two coordinates, whose labels name the axes.
    by : str
        A coord along the samples.
    n : int, default 10
        Labels with colours of their own: those with the most samples. Other samples are grey, and the legend counts their labels.
    labels : sequence of str, optional
        The labels with colours of their own instead, at most 20, so that several pictures have the same colours.
    limits : two pairs of float, optional
        Ends of the axes, so that several pictures can be compared; default: those of the data.
    title : str
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other dims, and an unknown `by`.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import points
    >>> pca = xr.DataArray([[0.0, 1.0]], dims=("sample", "component"), coords={"tissue": ("sample", ["skin"])})
    >>> points(pca, "tissue").get_legend_handles_labels()[1]
    ['skin (1)']
    """
    if by in a.coords and a[by].ndim == 1:
        a = a.transpose(*a[by].dims, ...)
    if a.ndim != 2 or a.shape[1] != 2 or by not in a.coords or a[by].dims != (a.dims[0],):
        raise ValueError(
            f"`a` has shape {a.shape} and `by` is {by!r}, expected (samples, 2) and a coord along the samples"
        )
    ax = axes(ax, (6.4, 4.4))
    of = pd.Series(a[by].values.astype(str))
    coloured = of.value_counts().index[:n].tolist() if labels is None else list(labels)
    colours = _colours(len(coloured))
    others = ~of.isin(coloured).to_numpy()
    if others.any():
        ax.scatter(
            a.values[others, 0],
            a.values[others, 1],
            s=8,
            color=OTHERS,
            linewidths=0,
            label=f"{of[others].nunique()} other labels ({int(others.sum())})",
        )
    for name, colour in zip(coloured, colours, strict=True):
        of_label = (of == name).to_numpy()
        ax.scatter(
            a.values[of_label, 0],
            a.values[of_label, 1],
            s=10,
            color=colour,
            linewidths=0,
            alpha=0.8,
            label=f"{name} ({int(of_label.sum())})",
        )
    dim = a.dims[1]
    names = a[dim].values if dim in a.coords else (f"{dim} 1", f"{dim} 2")
    ax.locator_params(axis="x", nbins=5)  # small numbers are long
    ax.set_xlabel(with_unit(names[0], a.attrs))
    ax.set_ylabel(with_unit(names[1], a.attrs))
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6)
    return literal(ax)


def _colours(n: int) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["tab10" if n <= 10 else "tab20"](np.arange(n))
