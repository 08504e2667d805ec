"""Two dims as an image, and attributions over the image they explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from attrib._arguments import refuse_other_dims, refuse_other_number, refuse_unnamed
from attrib._public import public
from attrib.labels.frames import laid_like
from attrib.plots.heatmap import is_words, orient, two_dims
from attrib.plots.scale import (
    DIVERGING,
    PERCENTILE,
    axes,
    colour_bar,
    colours,
    dim_label,
    extends,
    figure,
    limit_text,
    literal,
    number,
    robust_limit,
    value_label,
    with_unit,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "inferno"
OPACITY = 0.55
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue
LINES = ("#ffe800", "#ff8c00", "#00d000")  # colours that stains of cells lack
TICKS = 8  # labels per axis, at most
ACROSS = 7  # overlays side by side, at most
FAINT = 0.01  # of the limit: what is less has no ring


@public
def image(
    a: xr.DataArray,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = True,
) -> Axes:
    """Draw two dims as an image: colours centred at zero, or from zero where no value is negative.

    Parameters
    ----------
    a : DataArray
        Two dims: rows and columns. Dims of size 1 are dropped. Higher coordinates lie up and right, as `xarray.plot` has
        it; rows without coords, those called y with coords from 0, and names go down.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window (``ax.figure.savefig(...)``).
    limit : float, optional
        The value of the last colour, in the unit of `a`; default: `robust_limit`.
    percentile : float, default 99
        Percentile of the magnitudes for the default limit.
    colorbar : bool, default True
        Whether to add a colour bar; its label names the quantity, the unit and the limit.

    Returns
    -------
    Axes
        With the dims' names and units at the axes and coords at the ticks.

    Raises
    ------
    ValueError
        If `a` has more or fewer dims than two.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import image
    >>> ax = image(xr.DataArray([[1.0, -1.0]], dims=("y", "x")))
    >>> ax.get_xlabel()
    'x'
    """
    a = two_dims(a)
    ax = axes(ax, _size(a))
    bound = robust_limit(a, percentile) if limit is None else limit
    picture = ax.imshow(a.values, **colours(a.values, bound), interpolation="nearest", aspect=aspect(a))
    orient(ax, a)
    label_axes(ax, a)
    if colorbar:
        note = limit_text(bound, percentile if limit is None else None)
        colour_bar(ax.figure, picture, ax, value_label(a), note, extends(a.values, bound))
    return literal(ax)


def _size(a: xr.DataArray) -> tuple[float, float]:
    """Inches: as high as square pixels, or the names of rows, need."""
    rows, columns = a.shape
    if aspect(a) == "equal":
        return 5.2, min(6.0, max(2.4, 0.8 + 3.6 * rows / columns))
    named = rows if is_words(a, a.dims[0]) else 0
    return 5.2, max(3.0, 1.2 + 0.15 * min(named, 40))


@public
def overlaid(
    image: xr.DataArray,
    a: xr.DataArray,
    *,
    limit: float | None = None,
    opacity: float = OPACITY,
    overlay: str = "colour",
) -> np.ndarray:
    """An image with an attribution laid over it in colours.

    Parameters
    ----------
    image : DataArray
        Dims y, x, channel: whole numbers 0 to 255, or 0 to 1.
    a : DataArray
        Dims y, x on the same pixels. Without negative values the colours are heat from 0 to `limit`, else blue to red.
        The image is darkened where `a` is NaN.
    limit : float, optional
        The value of the last colour, in the unit of `a`; default: the 99th percentile of the magnitudes.
    opacity : float, default 0.55
        Opacity of the strongest colour; weaker values show more of the image.
    overlay : {"colour", "grey"}, default "colour"
        The image below: in its colours, or in grey, from which the colours stand out where a stain has them too.

    Returns
    -------
    array (y, x, 3)
        Unsigned 8 bit.

    Raises
    ------
    ValueError
        If the pixels differ, for another overlay, and for an image of other values.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import overlaid
    >>> grey = xr.DataArray(np.full((1, 2, 3), 100), dims=("y", "x", "channel"))
    >>> overlaid(grey, xr.DataArray([[0.0, 1.0]], dims=("y", "x")))[0, 0].tolist()
    [100, 100, 100]
    """
    from matplotlib import colormaps

    refuse_other_dims("a", a, ("y", "x"))
    values = laid_like(a, image, "a", "image").transpose("y", "x").values.astype(float)
    picture = _colours_of(image)
    if overlay not in ("colour", "grey"):
        raise ValueError(f"`overlay` is {overlay!r}, expected colour or grey")
    if overlay == "grey":
        picture = np.repeat((picture @ LUMINANCE)[..., None], 3, axis=-1)
    if values.shape != picture.shape[:2]:
        raise ValueError(
            f"`a` has shape {values.shape}, the image {picture.shape[:2]}; expected the same pixels"
        )
    bound = limit or robust_limit(a)
    signed = bool((values < 0).any())
    shade = np.nan_to_num(np.clip(values / bound, -1 if signed else 0, 1))
    colour = colormaps[DIVERGING if signed else HEAT]((shade + 1) / 2 if signed else shade)[..., :3]
    weight = opacity * np.abs(shade)[..., None] ** 0.5
    mixed = np.where(np.isnan(values)[..., None], 0.4 * picture, (1 - weight) * picture + weight * colour)
    return (255 * mixed).round().astype(np.uint8)


def _colours_of(image: xr.DataArray) -> np.ndarray:
    """Red, green and blue (y, x, 3) from 0 to 1."""
    refuse_other_dims("image", image, ("y", "x", "channel"))
    if image.sizes["channel"] not in (1, 3):
        raise ValueError(
            f"`image` has {image.sizes['channel']} channels, expected red, green and blue, or one"
        )
    values = image.transpose("y", "x", "channel").values
    low, high = float(values.min()), float(values.max())
    is_8_bit = values.dtype.kind in "iu" or high > 1
    if not 0 <= low <= high <= 255:
        raise ValueError(
            f"`image` has values from {number(low)} to {number(high)}, expected colours, 0 to 255 or 0 to 1; undo the preparation "
            "for the model"
        )
    return values / 255.0 if is_8_bit else values.astype(float)


@public
def kmer_map(
    a: xr.DataArray,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    rings: int = 5,
    named: bool = True,
    cmap: str | None = None,
    colorbar: bool = True,
) -> Axes:
    """Draw numbers of k-mers on the square of the chaos game, with the letters of its corners.

    Parameters
    ----------
    a : DataArray
        One image or attribution of `attrib.domains.fcgr.fcgr`: dims y and x, with the coord `kmer`.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The value of the last colour, in the unit of `a`; default: the largest magnitude, since single k-mers matter.
    rings : int, default 5
        How many k-mers of the largest magnitudes have a ring; those below a hundredth of the limit have none.
    named : bool, default True
        Whether these are named below the square, where no name lies on a cell.
    cmap : str, optional
        Colour map; default: diverging from zero, or sequential where no value is negative.
    colorbar : bool, default True
        Whether to add a colour bar.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other dims, and without the coord `kmer`.

    References
    ----------
    Jeffrey 1990, doi:10.1093/nar/18.8.2163

    Examples
    --------
    >>> from attrib.domains.fcgr import fcgr
    >>> from attrib.plots import kmer_map
    >>> ax = kmer_map(fcgr(["ATATATG"], k=2)[0], rings=2)
    >>> ax.get_xlabel().splitlines()[-1]
    'AT, TA'
    """
    if a.ndim != 2 or a.shape[0] != a.shape[1] or "kmer" not in a.coords or a["kmer"].dims != a.dims:
        raise ValueError(f"`a` has dims {a.dims}, expected y and x of one image, with the coord `kmer` of attrib.domains.fcgr.fcgr")  # fmt: skip
    ax = axes(ax, (5.6, 5.2))
    bound = robust_limit(a, 100) if limit is None else limit
    scale = colours(a.values, bound) if cmap is None else {"cmap": cmap, "vmin": -bound if cmap == DIVERGING else 0.0, "vmax": bound}  # fmt: skip
    picture = ax.imshow(a.values, **scale, interpolation="nearest")
    words = a["kmer"].values.astype(str)
    _label_corners(ax, words)
    ringed = []
    for place in np.argsort(-np.abs(a.values), axis=None, kind="stable")[:rings]:
        y, x = np.unravel_index(place, a.shape)
        if abs(a.values[y, x]) > FAINT * bound:
            ax.plot([x], [y], "o", markersize=7, markerfacecolor="none", markeredgecolor="black", markeredgewidth=0.7)  # fmt: skip
            ringed.append(str(words[y, x]))
    if named and ringed:
        lines = [", ".join(ringed[i : i + 4]) for i in range(0, len(ringed), 4)]
        ax.set_xlabel("rings, the largest first:\n" + "\n".join(lines), fontsize=7)
    if colorbar:
        colour_bar(ax.figure, picture, ax, value_label(a))
    return literal(ax)


def _label_corners(ax: Axes, words: np.ndarray) -> None:
    """The letters of the corners, and the borders of the quarters."""
    ax.set_xticks([])
    ax.set_yticks([])
    end = len(words) - 1
    for y, x in ((0, 0), (0, end), (end, 0), (end, end)):
        ax.annotate(
            words[y, x][-1], (0 if x == 0 else 1, 1 if y == 0 else 0), (-3 if x == 0 else 3, 0),
            xycoords="axes fraction", textcoords="offset points", fontsize=8, color="#555555",
            ha="right" if x == 0 else "left", va="bottom" if y == 0 else "top",
        )  # fmt: skip
    for line in (ax.axhline, ax.axvline):
        line(len(words) / 2 - 0.5, color="#cccccc", linewidth=0.5, zorder=0.5)


@public
def overlays(
    image: xr.DataArray,
    a: xr.DataArray,
    by: str,
    *,
    title: str = "",
    titles: Sequence[str] | None = None,
    shared: bool = False,
    outline: xr.DataArray | None = None,
    overlay: str = "colour",
) -> Figure:
    """Draw an image, and beside it one overlay per label of a dim.

    Parameters
    ----------
    image : DataArray
        Dims y, x, channel: whole numbers 0 to 255, or 0 to 1.
    a : DataArray
        Dims `by`, y, x.
    by : str
        The dim that becomes panels.
    title : str, optional
        Title of the figure.
    titles : sequence of str, optional
        One per panel; default: the labels.
    shared : bool, default False
        True: one scale for all panels, so that they can be compared, as for classes of one method. False: each panel has its
        own scale, as for methods.
    outline : DataArray, optional
        A mask whose edge is drawn: dims y, x.
    overlay : {"colour", "grey", "contours"}, default "colour"
        See `overlaid`; contours are lines at a quarter, half and three quarters of the limit on the image as it is, dashed where the
        attribution is negative.

    Returns
    -------
    Figure
        Rows of at most seven panels. The largest magnitude stands below each.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import overlays
    >>> grey = xr.DataArray(np.full((4, 4, 3), 100), dims=("y", "x", "channel"))
    >>> a = xr.DataArray(np.ones((2, 4, 4)), dims=("method", "y", "x"), coords={"method": ["cam", "lift"]})
    >>> [ax.get_title() for ax in overlays(grey, a, "method").axes]
    ['image', 'cam', 'lift']
    """
    refuse_unnamed("by", [by], a.dims)
    refuse_other_dims("a", a, (by, "y", "x"))
    refuse_other_dims("image", image, ("y", "x", "channel"))
    count = a.sizes[by]
    refuse_other_number("titles", titles, count, "panels")
    if outline is not None:
        refuse_other_dims("outline", outline, ("y", "x"))
        outline = laid_like(outline, image, "outline", "image")
    rows, columns = image.sizes["y"], image.sizes["x"]
    names = [str(v) for v in (a[by].values if titles is None else titles)]
    lines = (
        max([1, *(n.count("\n") + 1 for n in names)])
        + title.count("\n")
        + (2 if overlay == "contours" else 0)
    )
    across = min(count + 1, ACROSS)
    down = -(-(count + 1) // across)
    high = 0.75 + 0.17 * lines + min(4.4, max(1.1, 2.2 * rows / columns))
    drawing = figure((2.3 * across, high * down))
    panels: Any = drawing.subplots(down, across, squeeze=False).ravel()
    for ax in panels[count + 1 :]:
        ax.remove()
    panels = panels[: count + 1]
    picture = _colours_of(image)
    panels[0].imshow(picture)
    panels[0].set_title("image", fontsize=10)
    limit = robust_limit(a) if shared else None
    for k, ax in enumerate(panels[1:]):
        attribution, notes = laid_like(a.isel({by: k}), image, "a", "image"), ""
        if overlay == "contours":
            ax.imshow(picture)
            values = np.nan_to_num(attribution.transpose("y", "x").values.astype(float))
            notes = f"\nlines: {_draw_contours(ax, values, limit or robust_limit(attribution))}"
        else:
            ax.imshow(overlaid(image, attribution, limit=limit, overlay=overlay))
        largest = float(np.nanmax(np.abs(attribution.values), initial=0))
        ax.set_title(names[k], fontsize=10)
        ax.set_xlabel(wrapped(with_unit(f"largest {number(largest)}", a.attrs), 32) + notes, fontsize=8)
    for ax in panels:
        ax.set_xticks([])
        ax.set_yticks([])
        if outline is not None:
            ax.contour(outline.transpose("y", "x").values.astype(float), [0.5], colors="cyan", linewidths=0.8)
    if title:
        drawing.suptitle(title, fontsize=11)
    return drawing


def _draw_contours(ax: Axes, values: np.ndarray, bound: float) -> str:
    """Lines at parts of the limit, dashed where values are negative; returns what they are."""
    levels = np.array([0.25, 0.5, 0.75]) * bound
    signed = bool((values < -levels[0]).any())
    for part, style in ((values, "solid"), (-values, "dashed")):
        if part.max() > levels[0]:
            ax.contour(part, levels, colors=LINES, linewidths=1.0, linestyles=style)
    return f"¼, ½, ¾ of {number(bound)}" + ("\ndashed: negative" if signed else "")


def aspect(a: xr.DataArray) -> Literal["equal", "auto"]:
    """Square pixels, unless an axis holds words or the image would be too long."""
    rows, columns = a.shape
    numeric = not any(is_words(a, d) for d in a.dims)
    return "equal" if numeric and max(rows, columns) <= 6 * min(rows, columns) else "auto"


def label_axes(ax: Axes, a: xr.DataArray, most: int = TICKS) -> None:
    """Names and units of the dims, and some of their labels at the ticks, of numbers below the columns about `most`."""
    y, x = a.dims
    ax.set_xlabel(dim_label(a, x))
    ax.set_ylabel(dim_label(a, y))
    places, names = ticks(a, x, None if is_words(a, x) else most)
    ax.set_xticks(places, names, rotation=90 if is_words(a, x) and max(map(len, names)) > 2 else 0)
    places, names = ticks(a, y, 40 if a.sizes[y] <= 40 and is_words(a, y) else TICKS)
    ax.set_yticks(places, names)


def ticks(a: xr.DataArray, dim: Any, most: int | None = None) -> tuple[list[Any], list[str]]:
    """Evenly spaced positions along a dim and their labels: about `most` at most, by default 40 words or 8 round numbers."""
    n, words = a.sizes[dim], is_words(a, dim)
    most = most or (40 if words else TICKS)
    values = a[dim].values
    if not words and n > most and values.dtype.kind in "iuf" and (np.diff(values.astype(float)) > 0).all():
        from matplotlib.ticker import MaxNLocator

        low, high = float(values[0]), float(values[-1])
        locator = MaxNLocator(most, integer=values.dtype.kind in "iu", steps=[1, 2, 5, 10])
        rounded = [v for v in locator.tick_values(low, high) if low <= v <= high]
        return np.interp(rounded, values, np.arange(n)).tolist(), [f"{v:g}" for v in rounded]
    places = list(range(0, n, -(-n // most)))
    return places, [number(float(values[i])) if not words else str(values[i]) for i in places]
