"""Colours, limits and labels that all pictures share."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIVERGING = "RdBu_r"
POSITIVE, NEGATIVE = "#b2182b", "#2166ac"  # the ends of the colour map
PERCENTILE = 99.0


def robust_limit(a: xr.DataArray, percentile: float = PERCENTILE) -> float:
    """Half-width of a colour scale centred at zero: a percentile of the magnitudes.

    Parameters
    ----------
    a : DataArray
        Values; entries that are not finite are left out.
    percentile : float, default 99
        Percentage of the magnitudes that lie within the scale; 100 gives the maximum.

    Returns
    -------
    float
        In the unit of `a`; the maximum where the percentile is 0, and 1 where all values are zero.

    Raises
    ------
    ValueError
        For a percentile outside of (0, 100].

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import robust_limit
    >>> robust_limit(xr.DataArray([-3.0, 1.0, 0.0]), 100)
    3.0
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"`percentile` is {percentile}, expected a number above 0, at most 100")
    size = np.abs(np.asarray(a.values, dtype=float))
    size = size[np.isfinite(size)]
    if not size.size or not size.max():
        return 1.0
    return float(np.percentile(size, percentile)) or float(size.max())


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """`ax`, or the axes of a new figure of that size."""
    return figure(size).add_subplot() if ax is None else ax


def figure(size: tuple[float, float]) -> Figure:
    """A figure of `size` inches (width, height), drawn by Agg: no window, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size, layout="constrained", dpi=110)
    FigureCanvasAgg(drawing)
    return drawing


def with_unit(name: Any, attrs: dict[Any, Any]) -> str:
    """A label with its unit: ``position (bp)``."""
    unit = attrs.get("units")
    return f"{name} ({unit})" if unit and unit != "1" else str(name)


def dim_label(a: xr.DataArray, dim: Any) -> str:
    """The label of an axis."""
    attrs = a[dim].attrs if dim in a.coords else {}
    return with_unit(attrs.get("long_name", dim), attrs)


def value_label(a: xr.DataArray) -> str:
    """What the values are, with their unit."""
    return with_unit(a.attrs.get("long_name", a.name or "value"), a.attrs)


def wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width)) or text


def number(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:.3g}"
