"""Two dims as an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from attrib.plots.scale import (
    DIVERGING,
    PERCENTILE,
    axes,
    dim_label,
    number,
    robust_limit,
    value_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = 8  # labels per axis, at most


def image(
    a: xr.DataArray,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = True,
) -> Axes:
    """Draw two dims as an image, diverging colours centred at zero.

    Parameters
    ----------
    a : DataArray
        Two dims: rows from the top, columns. Dims of size 1 are dropped.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window (``ax.figure.savefig(...)``).
    limit : float, optional
        Values from ``-limit`` to ``limit`` have a colour of their own, in the unit of `a`; default: `robust_limit`.
    percentile : float, default 99
        For the default limit.
    colorbar : bool, default True
        Whether to add a colour bar; its label names the quantity, the unit and the limit.

    Returns
    -------
    Axes
        With the dims' names and units at the axes and coords at the ticks.

    Raises
    ------
    ValueError
        If `a` has not two dims, naming them.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import image
    >>> ax = image(xr.DataArray([[1.0, -1.0]], dims=("y", "x")))
    >>> ax.get_xlabel()
    'x'
    """
    a = two_dims(a)
    ax = axes(ax, (5.2, 4.4))
    bound = robust_limit(a, percentile) if limit is None else limit
    shown = ax.imshow(
        a.values, cmap=DIVERGING, vmin=-bound, vmax=bound, interpolation="nearest", aspect=aspect(a)
    )
    label_axes(ax, a)
    if colorbar:
        bar = ax.figure.colorbar(
            shown, ax=ax, extend="both" if bound < np.nanmax(np.abs(a.values), initial=0) else "neither"
        )
        said = (
            f"{percentile:g}th percentile of magnitudes: {number(bound)}"
            if limit is None
            else f"limit {number(bound)}"
        )
        bar.set_label(f"{wrapped(value_label(a), 44)}\n({said})")
    return ax


def two_dims(a: xr.DataArray) -> xr.DataArray:
    """The array without dims of size 1, if two dims are left."""
    kept = [d for d in a.dims if a.sizes[d] != 1]
    slim = a.squeeze([d for d in a.dims if a.sizes[d] == 1], drop=True) if len(kept) >= 2 else a
    if slim.ndim != 2:
        dims = ", ".join(f"{d}: {n}" for d, n in a.sizes.items())
        raise ValueError(
            f"`a` has the dims ({dims}), expected 2; select or add up the others, e.g. a.sum({str(a.dims[0])!r})"
        )
    return slim


def aspect(a: xr.DataArray) -> Literal["equal", "auto"]:
    """Square pixels, unless an axis holds names or the image would become a line."""
    rows, columns = a.shape
    places = not any(_words(a, d) for d in a.dims)
    return "equal" if places and max(rows, columns) <= 6 * min(rows, columns) else "auto"


def _words(a: xr.DataArray, dim: Any) -> bool:
    return a[dim].dtype.kind not in "iuf"


def label_axes(ax: Axes, a: xr.DataArray) -> None:
    """Names and units of the dims, and some of their labels at the ticks."""
    y, x = a.dims
    ax.set_xlabel(dim_label(a, x))
    ax.set_ylabel(dim_label(a, y))
    places, names = ticks(a, x)
    ax.set_xticks(places, names, rotation=90 if _words(a, x) and max(map(len, names)) > 2 else 0)
    places, names = ticks(a, y, 40 if a.sizes[y] <= 40 and _words(a, y) else TICKS)
    ax.set_yticks(places, names)


def ticks(a: xr.DataArray, dim: Any, most: int | None = None) -> tuple[list[int], list[str]]:
    """Positions along a dim, evenly spaced, and what they are called there; all of them where labels are words."""
    n, words = a.sizes[dim], _words(a, dim)
    most = most or (40 if words else TICKS)
    places = list(range(0, n, -(-n // most)))
    values = a[dim].values
    return places, [number(float(values[i])) if not words else str(values[i]) for i in places]
