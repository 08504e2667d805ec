"""Samples as points in two dims, such as principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from attrib.plots.scale import axes, literal, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHERS = "#cccccc"


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
