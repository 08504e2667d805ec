"""One dim as bars: the entries of largest magnitude, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from attrib.plots.scale import (
    NEGATIVE,
    POSITIVE,
    axes,
    dim_label,
    figure,
    literal,
    value_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bars(a: xr.DataArray, *, n: int = 20, ax: Axes | None = None, label: str | None = None) -> Axes:
    """Draw the entries of largest magnitude as bars, the largest on top.

    Parameters
    ----------
    a : DataArray
        One dim. A coord `sd` along it, the standard deviation of what a mean was taken of, is drawn as a line of one sd to each side.
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
        If `a` has more or fewer dims than one, or `n` is below 1.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import bars
    >>> ax = bars(xr.DataArray([0.1, -2.0], dims="gene", coords={"gene": ["INS", "GCG"]}))
    >>> [t.get_text() for t in ax.get_yticklabels()]
    ['GCG', 'INS']
    """
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
    ax = axes(ax, (5.0, 1.0 + 0.24 * len(top)))
    ax.barh(range(len(top)), values[top], color=np.where(values[top] < 0, NEGATIVE, POSITIVE), height=0.75)
    spread = "sd" in a.coords and a["sd"].dims == a.dims
    if spread:
        ax.errorbar(
            values[top], range(len(top)), xerr=a["sd"].values[top], fmt="none", ecolor="black", elinewidth=1.2
        )
    ax.set_yticks(range(len(top)), [str(v) for v in a[dim].values[top]])
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(y=0.01)
    ax.xaxis.set_major_locator(MaxNLocator(4))  # small numbers are long
    ax.set_ylabel(dim_label(a, dim))
    quantity = value_label(a) if label is None else label
    ax.set_xlabel(wrapped(f"{quantity}; lines: sd" if spread else quantity, 34))
    return literal(ax)


def bar_panels(attributions: Mapping[str, xr.DataArray], *, n: int = 15, label: str = "") -> Figure:
    """Draw `bars` of several arrays side by side, each with its own scale and order.

    Parameters
    ----------
    attributions : mapping of str to DataArray
        Titles and arrays of one dim.
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
    rows = -(-len(attributions) // columns)
    longest = max(len(str(v)) for a in attributions.values() for v in a[a.dims[0]].values[:1000])
    most = max(3, min(n, max(a.size for a in attributions.values())))
    drawing = figure((columns * (3.0 + min(2.0, 0.07 * longest)), rows * (1.1 + 0.2 * most)))
    for k, (title, a) in enumerate(attributions.items()):
        ax = drawing.add_subplot(rows, columns, k + 1)
        unit = a.attrs.get("units")
        bars(a, n=n, ax=ax, label=f"{label} ({unit})" if label and unit else label or None)
        ax.set_title(wrapped(title, 34), fontsize=10)
        ax.tick_params(labelsize=8)
        ax.set_ylim(most - 0.4, -0.6)  # bars of one height in all panels
    return drawing
