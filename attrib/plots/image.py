"""Two dims as an image, and attributions over the image they explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from attrib.plots.scale import (
    DIVERGING,
    PERCENTILE,
    axes,
    dim_label,
    figure,
    number,
    robust_limit,
    value_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEAT = "inferno"
OPACITY = 0.55
TICKS = 8  # labels per axis, at most


def image(
    a: xr.DataArray,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = True,
) -> Axes:
    """Draw two dims as an image, in diverging colours centred at zero.

    Parameters
    ----------
    a : DataArray
        Two dims: rows from the top, and columns. Dims of size 1 are dropped.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window (``ax.figure.savefig(...)``).
    limit : float, optional
        The colours go from ``-limit`` to ``limit``, in the unit of `a`; default: `robust_limit`.
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
    ax = axes(ax, (5.2, 4.4))
    bound = robust_limit(a, percentile) if limit is None else limit
    picture = ax.imshow(
        a.values, cmap=DIVERGING, vmin=-bound, vmax=bound, interpolation="nearest", aspect=aspect(a)
    )
    label_axes(ax, a)
    if colorbar:
        bar = ax.figure.colorbar(
            picture, ax=ax, extend="both" if bound < np.nanmax(np.abs(a.values), initial=0) else "neither"
        )
        limit_text = (
            f"{percentile:g}th percentile of magnitudes: {number(bound)}"
            if limit is None
            else f"limit {number(bound)}"
        )
        bar.set_label(f"{wrapped(value_label(a), 44)}\n({limit_text})")
    return ax


def overlaid(
    image: xr.DataArray, a: xr.DataArray, *, limit: float | None = None, opacity: float = OPACITY
) -> np.ndarray:
    """An image with an attribution laid over it in colours.

    Parameters
    ----------
    image : DataArray
        Dims y, x, channel; values 0 to 255.
    a : DataArray
        Dims y, x on the same pixels. Without negative values the colours are heat from 0 to `limit`, else blue to red.
        The image is darkened where `a` is NaN.
    limit : float, optional
        The value of the last colour, in the unit of `a`; default: the 99th percentile of the magnitudes.
    opacity : float, default 0.55
        Opacity of the strongest colour; weaker values show more of the image.

    Returns
    -------
    array (y, x, 3)
        Unsigned 8 bit.

    Raises
    ------
    ValueError
        If the pixels differ.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import overlaid
    >>> grey = xr.DataArray(np.full((1, 2, 3), 100), dims=("y", "x", "channel"))
    >>> overlaid(grey, xr.DataArray([[0.0, 1.0]], dims=("y", "x")))[0, 0].tolist()
    [100, 100, 100]
    """
    from matplotlib import colormaps

    values = a.transpose("y", "x").values.astype(float)
    picture = image.transpose("y", "x", "channel").values / 255.0
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


def overlays(
    image: xr.DataArray,
    a: xr.DataArray,
    by: str,
    *,
    title: str = "",
    titles: Sequence[str] | None = None,
    shared: bool = False,
    outline: xr.DataArray | None = None,
) -> Figure:
    """Draw an image, and beside it one overlay per label of a dim.

    Parameters
    ----------
    image : DataArray
        Dims y, x, channel; values 0 to 255.
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

    Returns
    -------
    Figure
        The largest magnitude stands below each panel.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import overlays
    >>> grey = xr.DataArray(np.full((4, 4, 3), 100), dims=("y", "x", "channel"))
    >>> a = xr.DataArray(np.ones((2, 4, 4)), dims=("method", "y", "x"), coords={"method": ["cam", "lift"]})
    >>> [ax.get_title() for ax in overlays(grey, a, "method").axes]
    ['image', 'cam', 'lift']
    """
    count = a.sizes[by]
    drawing = figure((2.3 * (count + 1), 3.1))
    panels: Any = drawing.subplots(1, count + 1, squeeze=False)[0]
    panels[0].imshow(image.transpose("y", "x", "channel").values)
    panels[0].set_title("image", fontsize=10)
    limit = robust_limit(a) if shared else None
    for k, ax in enumerate(panels[1:]):
        attribution = a.isel({by: k})
        ax.imshow(overlaid(image, attribution, limit=limit))
        largest = float(np.nanmax(np.abs(attribution.values), initial=0))
        ax.set_title(str(a[by].values[k]) if titles is None else titles[k], fontsize=10)
        ax.set_xlabel(f"largest {largest:.2g}", fontsize=8)
    for ax in panels:
        ax.set_xticks([])
        ax.set_yticks([])
        if outline is not None:
            ax.contour(outline.transpose("y", "x").values.astype(float), [0.5], colors="cyan", linewidths=0.8)
    if title:
        drawing.suptitle(title, fontsize=11)
    return drawing


def confusion(table: xr.DataArray) -> Figure:
    """Draw a confusion matrix: counts of true by predicted classes.

    Parameters
    ----------
    table : DataArray
        Dims true, predicted, with the classes as labels.

    Returns
    -------
    Figure

    Notes
    -----
    scikit-learn's `ConfusionMatrixDisplay` would load pyplot and its global state.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import confusion
    >>> classes = {"true": ["a", "b"], "predicted": ["a", "b"]}
    >>> ax = confusion(xr.DataArray([[3, 1], [0, 2]], dims=("true", "predicted"), coords=classes)).axes[0]
    >>> [t.get_text() for t in ax.texts]
    ['3', '1', '0', '2']
    """
    drawing = figure((1.6 + 0.8 * table.sizes["predicted"], 1.2 + 0.7 * table.sizes["true"]))
    ax = drawing.add_subplot()
    ax.imshow(table.values, cmap="Blues", vmin=0)
    for (i, j), n in np.ndenumerate(table.values):
        ax.text(
            j, i, str(n), ha="center", va="center", color="white" if n > table.values.max() / 2 else "black"
        )
    ax.set_xticks(range(table.sizes["predicted"]), table["predicted"].values, rotation=30, ha="right")
    ax.set_yticks(range(table.sizes["true"]), table["true"].values)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    return drawing


def two_dims(a: xr.DataArray) -> xr.DataArray:
    """The array without dims of size 1, refused unless two dims remain."""
    single = [d for d in a.dims if a.sizes[d] == 1]
    slim = a.squeeze(single, drop=True) if a.ndim - len(single) >= 2 else a
    if slim.ndim != 2:
        dims = ", ".join(f"{d}: {n}" for d, n in a.sizes.items())
        raise ValueError(
            f"`a` has the dims ({dims}), expected 2; select or add up the others, e.g. a.sum({str(a.dims[0])!r})"
        )
    return slim


def aspect(a: xr.DataArray) -> Literal["equal", "auto"]:
    """Square pixels, unless an axis holds words or the image would be too long."""
    rows, columns = a.shape
    numeric = not any(_words(a, d) for d in a.dims)
    return "equal" if numeric and max(rows, columns) <= 6 * min(rows, columns) else "auto"


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
    """Evenly spaced positions along a dim and their labels: at most `most`, by default 40 words or 8 numbers."""
    n, words = a.sizes[dim], _words(a, dim)
    most = most or (40 if words else TICKS)
    places = list(range(0, n, -(-n // most)))
    values = a[dim].values
    return places, [number(float(values[i])) if not words else str(values[i]) for i in places]
