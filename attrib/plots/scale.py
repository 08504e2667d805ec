"""Colours, limits and labels that all pictures share."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib._public import public

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DIVERGING = "RdBu_r"
SEQUENTIAL = "Reds"  # of values without a sign: the upper half of the diverging colours, so to speak
BAR = 2.2  # inches of a colour bar
POSITIVE, NEGATIVE = "#b2182b", "#2166ac"  # the ends of the colour map
PERCENTILE = 99.0


@public
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


def colours(values: np.ndarray, limit: float) -> dict[str, Any]:
    """The colour map and its ends: centred at zero where there are negative values, else from zero."""
    signed = bool((np.asarray(values) < 0).any())
    return {"cmap": DIVERGING if signed else SEQUENTIAL, "vmin": -limit if signed else 0.0, "vmax": limit}


def extends(values: np.ndarray, limit: float) -> str:
    """At which ends of the colours values go on."""
    values = np.asarray(values, dtype=float)
    below = bool((values < -limit * (1 + 1e-6)).any())
    above = bool((values > limit * (1 + 1e-6)).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def limit_text(limit: float, percentile: float | None) -> str:
    """What the last colour is: a percentile, or a value that somebody chose."""
    what = "limit" if percentile is None else f"{percentile:g}th percentile of magnitudes:"
    return f"({what} {number(limit)})"


def colour_bar(
    drawing: Any, picture: Any, ax: Any, label: str, note: str = "", extend: Any = "neither"
) -> Any:
    """A short colour bar with its label, and a note such as `limit_text` below."""
    first = ax if not np.ndim(ax) else np.ravel(ax)[0]
    height = drawing.get_size_inches()[1] * (0.8 if np.ndim(ax) else first.get_position().height)
    length = min(height, BAR)
    bar = drawing.colorbar(picture, ax=ax, extend=extend, shrink=length / height, aspect=18, pad=0.02)
    letters = max(12, int(1.15 * length / 0.068))
    bar.set_label("\n".join(wrapped(text, letters) for text in (label, note) if text), fontsize=9)
    bar.ax.tick_params(labelsize=8)
    literal(bar.ax)
    return bar


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """`ax`, or the axes of a new figure of that size."""
    return figure(size).add_subplot() if ax is None else ax


def figure(size: tuple[float, float]) -> Figure:
    """A figure of `size` inches (width, height)."""
    from attrib.plots.drawing import Drawing

    return Drawing(size)


def literal(ax: Any) -> Any:
    """The axes, whose texts are drawn as they are written also where they lie in another figure than a `Drawing`."""
    from matplotlib.ticker import FixedLocator

    from attrib.plots.drawing import Drawing

    if isinstance(ax.figure, Drawing):
        return ax
    for axis in (ax.xaxis, ax.yaxis):
        names = [t.get_text() for t in axis.get_ticklabels()]
        if isinstance(axis.get_major_locator(), FixedLocator) and any("$" in n for n in names):
            axis.set_ticks(axis.get_majorticklocs(), [_escaped(t) for t in names])
    legend = ax.get_legend()
    for text in [
        *ax.texts,
        ax.title,
        ax.xaxis.label,
        ax.yaxis.label,
        *(legend.get_texts() if legend else ()),
    ]:
        text.set_text(_escaped(text.get_text()))
    return ax


def _escaped(text: str) -> str:
    """Matplotlib takes what stands between two dollar signs for a formula, unless they have backslashes."""
    return re.sub(r"(?<!\\)\$", r"\\$", text)


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
    """Text in lines of at most `width` characters; a unit with a stroke stays in one line where that is long enough."""
    together = text.replace(" / ", "\u00a0/\u00a0")
    lines = textwrap.wrap(together, width, break_on_hyphens=False, break_long_words=False)
    if any(len(line) > width for line in lines):
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
    return "\n".join(lines).replace("\u00a0", " ") or text


def inches(text: str, size: float) -> float:
    """Width of the longest line of a text whose letters have `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    measure, font = TextToPath().get_text_width_height_descent, FontProperties(size=size)
    return max([float(measure(line, font, ismath=False)[0]) / 72 for line in text.splitlines()], default=0.0)


def shortened(text: str, most: int = 44) -> str:
    """A name without its middle, if it is longer than `most`."""
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[:keep]}…{text[-keep:]}"


def number(value: float) -> str:
    """A number with three significant digits, such as 0.00025, 3400 or 2e-6."""
    digits, _, exponent = f"{value:.3g}".partition("e")
    if not exponent:
        return digits
    return (
        f"{float(digits) * 10 ** int(exponent):.0f}" if 0 < int(exponent) < 6 else f"{digits}e{int(exponent)}"
    )


def whole_ticks(axis: Axis) -> None:
    """Write 2e-6 at a tick of an axis through zero, not 2 there and 1e-6 at the axis' end, over which a long label would lie."""
    from matplotlib.ticker import FuncFormatter

    def words(value: float, _: int | None) -> str:
        rounding = 1e-9 * np.abs(axis.get_view_interval()).max()
        return number(value if abs(value) > rounding else 0.0).replace("-", "\u2212")

    axis.set_major_formatter(FuncFormatter(words))
