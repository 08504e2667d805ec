"""Many small panels in one figure: labels of a dim, motifs, filters, and inputs beside attributions of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_other_number
from attrib._public import public
from attrib.labels.frames import laid_like
from attrib.plots.heatmap import orient
from attrib.plots.image import aspect, label_axes, ticks
from attrib.plots.logo import LETTERS, motif_logo
from attrib.plots.scale import (
    DIVERGING,
    PERCENTILE,
    colours,
    dim_label,
    figure,
    number,
    robust_limit,
    shortened,
    value_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation


PANEL = 1.25  # inches
FEW = 6  # labels that fit beside a panel
NAME = 28  # letters of a name above one


@public
def panels(
    a: xr.DataArray,
    by: str,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 5,
    percentile: float = PERCENTILE,
    label: str | None = None,
    shared: bool = True,
) -> Figure:
    """Draw an image per label of a dim, such as the mean attribution of each class.

    Parameters
    ----------
    a : DataArray
        Three dims: `by`, rows, columns. Rows and columns run as those of `image`.
    by : str
        The dim that becomes panels.
    titles : sequence of str, optional
        One per panel; default: the labels of `by`, and the coord `count` along it.
    columns : int, default 5
        Panels side by side.
    percentile : float, default 99
        The colours reach this percentile of all magnitudes, on both sides of zero.
    label : str, optional
        What the values are; default: the array's long name and unit.
    shared : bool, default True
        True: one scale for all panels, so that they can be compared. False: each panel has its own scale, so that weak ones
        are visible.

    Returns
    -------
    Figure
        With one colour bar. Its label states the limit; without a shared scale the titles of the panels state theirs.

    Raises
    ------
    ValueError
        If `a` has more or fewer dims than three, or lacks `by`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import panels
    >>> a = xr.DataArray(np.ones((2, 3, 3)), dims=("tissue", "y", "x"), coords={"tissue": ["liver", "lung"]})
    >>> [ax.get_title() for ax in panels(a, "tissue").axes if ax.get_title()]
    ['liver', 'lung']
    """
    if a.ndim != 3 or by not in a.dims:
        dims = ", ".join(f"{d}: {k}" for d, k in a.sizes.items())
        raise ValueError(f"`a` has the dims ({dims}), expected {by!r} and two more")
    a = a.transpose(by, ...)
    refuse_other_number("titles", titles, a.sizes[by], "panels")
    columns = min(columns, a.sizes[by])
    rows = -(-a.sizes[by] // columns)
    wide = 1.9 * min(3.0, max(1.0, 0.6 * a.shape[2] / a.shape[1])) * (1.5 if columns == 1 else 1.0)
    drawing = figure((wide * columns + 1.5, 2.1 * rows + 0.5))
    limits = (
        [robust_limit(a, percentile)] * a.sizes[by]
        if shared
        else [robust_limit(each, percentile) for each in a]
    )
    scale = colours(a.values, limits[0] if shared else 1.0)
    ends = "both" if bool((a < 0).any()) else "max"
    grid: Any = drawing.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    picture: Any = None
    for k, ax in enumerate(grid.ravel()):
        if k >= a.sizes[by]:
            ax.set_visible(False)
            continue
        title = wrapped(_title(a, by, k), int(12 * wide)) if titles is None else titles[k]
        picture = _panel(ax, a[k], limits[k], shared, title, scale)
    orient(grid[0, 0], a[0])  # the others share its axes
    bar = drawing.colorbar(picture, ax=grid, extend=ends, aspect=30, fraction=0.04, pad=0.02)
    quantity = value_label(a) if label is None else label
    caption = _caption(quantity, percentile, limits[0] if shared else None)
    bar.set_label("\n".join(wrapped(t, 12 + 16 * rows) for t in caption), fontsize=9)
    return drawing


@public
def motif_cards(
    motifs: Mapping[str, xr.DataArray],
    hits: pd.DataFrame | None = None,
    *,
    database: Mapping[str, xr.DataArray] | None = None,
    columns: int = 4,
    most: int = 48,
) -> Figure:
    """Draw motifs side by side, each with its number of sites and its best match.

    Parameters
    ----------
    motifs : mapping of str to DataArray
        By name: dims `nucleotide` and `position`. The number of `sites` is taken from the attrs.
    hits : DataFrame, optional
        The table of `attrib.domains.motifs.tomtom`; each motif's first row is its best match.
    database : mapping of str to DataArray, optional
        Motifs by name. The logo of each match is drawn below its motif, aligned with it.
    columns : int, default 4
        Cards side by side.
    most : int, default 48
        Largest number of cards; later motifs are left out.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no motifs.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif
    >>> from attrib.plots import motif_cards
    >>> motif = as_motif([[1], [0], [0], [0]], sites=20)
    >>> motif_cards({"filter_0": motif}).axes[0].get_title()
    'filter_0, 20 sites'
    """
    if not motifs:
        raise ValueError("`motifs` is empty, expected at least one motif by name")
    cards = dict(list(motifs.items())[:most])
    best = {} if hits is None else {r.motif: r for r in hits.drop_duplicates("motif").itertuples()}
    below = database is not None and any(name in best for name in cards)
    columns = min(columns, len(cards))
    rows = -(-len(cards) // columns)
    drawing = figure((3.0 * columns, (2.9 if below else 1.9) * rows))
    grid: Any = drawing.subplots(rows * (1 + below), columns, squeeze=False)
    for ax in grid.ravel():
        ax.set_axis_off()
    for k, (name, motif) in enumerate(cards.items()):
        row, column = divmod(k, columns)
        ax = grid[row * (1 + below), column]
        ax.set_axis_on()
        motif_logo(motif, ax=ax)
        ax.set_title(_card_title(name, motif, best.get(name)), fontsize=8)
        if below and name in best:
            _draw_match(grid[row * 2 + 1, column], motif, best[name], database or {})
    return drawing


@public
def filter_grid(w: xr.DataArray, *, columns: int = 8) -> Figure:
    """Draw the filters of a convolution of images, all on one scale centred at zero.

    Parameters
    ----------
    w : DataArray
        Weights, of `attrib.filters`: dims filter, channel, y, x. Three channels are drawn as colours, with grey at zero;
        other numbers of channels are summed.
    columns : int, default 8
        Filters side by side.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For other dims.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.plots import filter_grid
    >>> w = xr.DataArray(np.ones((6, 1, 3, 3)), dims=("filter", "channel", "y", "x"), coords={"filter": range(6)})
    >>> len([ax for ax in filter_grid(w, columns=4).axes if ax.images])
    6
    """
    if set(w.dims) != {"filter", "channel", "y", "x"}:
        raise ValueError(f"`w` has dims {w.dims}, expected filter, channel, y, x")
    values = w.transpose("filter", "y", "x", "channel").values
    coloured = values.shape[-1] == 3
    values = values if coloured else values.sum(-1)
    limit = float(np.abs(values).max()) or 1.0
    rows = -(-len(values) // columns)
    drawing = figure((max(1.6, 0.9 * min(columns, len(values))), 1.05 * rows + 0.25))
    axes: Any = drawing.subplots(rows, min(columns, len(values)), squeeze=False)
    for k, ax in enumerate(axes.ravel()):
        ax.set_axis_off()
        if k < len(values):
            picture = 0.5 + 0.5 * values[k] / limit if coloured else values[k]
            ax.imshow(picture, **({} if coloured else {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}))
            ax.set_title(str(w["filter"].values[k]), fontsize=7)
    drawing.supxlabel(f"colours: weights of ± {number(limit)}", fontsize=7)
    return drawing


def _caption(quantity: str, percentile: float, limit: float | None) -> tuple[str, str]:
    """What the colours are, and their limit."""
    limit_text = f"({percentile:g}th percentile of magnitudes"
    if limit is None:
        return f"{quantity}, as a share of its panel's limit", f"{limit_text})"
    return quantity, f"{limit_text}: {number(limit)})"


def _panel(ax: Any, a: xr.DataArray, limit: float, shared: bool, title: str, scale: Mapping[str, Any]) -> Any:
    """Draw one image; in shares of its own limit unless the scale is shared."""
    unit, heading = (1.0, title) if shared else (limit, f"{title}\nlimit {number(limit)}")
    picture = ax.imshow(a.values / unit, **scale, interpolation="nearest", aspect=aspect(a))
    ax.set_title(heading, fontsize=10)
    label_axes(ax, a, most=4)
    ax.label_outer()
    ax.tick_params(labelsize=8)
    return picture


def _title(a: xr.DataArray, by: str, k: int) -> str:
    count = f" (n = {int(a['count'].values[k])})" if "count" in a.coords and a["count"].dims == (by,) else ""
    return (
        f"{by} {a[by].values[k]}{count}"
        if a[by].dtype.kind in "iuf"
        else f"{shortened(str(a[by].values[k]), NAME)}{count}"
    )


def _card_title(name: str, motif: xr.DataArray, hit: Any) -> str:
    name = shortened(name, NAME)
    sites = motif.attrs.get("sites")
    count = "" if sites is None else f", {sites:,.0f} site{'s' * (sites != 1)}"
    if hit is None:
        return f"{name}{count}"
    target = shortened(f"{hit.target} {hit.target_name}".strip(), NAME)
    return f"{name}{count}\nbest match: {target} ({hit.strand})\np {hit.p:.1g}, q {hit.q:.1g}"


def _draw_match(ax: Any, motif: xr.DataArray, hit: Any, database: Mapping[str, xr.DataArray]) -> None:
    """The match's logo at the motif's positions."""
    match = database.get(hit.target)
    if match is None:
        return
    ax.set_axis_on()
    motif, match = (
        m.transpose("nucleotide", "position").sel(nucleotide=list(LETTERS)) for m in (motif, match)
    )
    p = match.values
    stranded = p if hit.strand == "+" else p[::-1, ::-1]
    columns = np.arange(hit.offset, hit.offset + motif.sizes["position"])
    inside = (columns >= 0) & (columns < p.shape[1])
    aligned = np.full((4, len(columns)), 0.25)  # no information: no letters are drawn
    aligned[:, inside] = stranded[:, columns[inside]]
    motif_logo(
        motif.copy(data=aligned).drop_attrs().assign_attrs(match.attrs), ax=ax
    )  # its own number of sites
    ax.set_ylabel("match\n(bits)", fontsize=8)


@public
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
        Inputs (samples, rows, columns), or (samples, rows, columns, 3) for colours in [0, 1]. Rows and columns run as those of
        `image`.
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
    refuse_other_number("titles", titles, len(x), "samples")
    if not attributions:
        raise ValueError("`attributions` is empty, expected at least one array")
    wide = _wide(x)
    labels = (wrapped(shortened(str(v), NAME), letters_above(x)) for v in x[x.dims[0]].values)
    names = list(labels) if titles is None else [str(t) for t in titles]
    bar = _bar_label(len(attributions), percentile)
    drawing = figure(
        (
            2.6 + 1.04 * wide * x.shape[0] + 0.8 + 0.17 * len(bar.splitlines()),
            0.6 + 0.3 * max(n.count("\n") + 1 for n in names) + PANEL * 1.04 * (1 + len(attributions)),
        )
    )
    if x.shape[0] > 2:  # beside one or two the label of the bar would be pushed out
        drawing.set_layout_engine("compressed")  # no gaps between panels of a fixed shape
    grid: Any = drawing.subplots(1 + len(attributions), x.shape[0], squeeze=False)
    row_names = _draw_inputs(grid[0], x, names, cmap)
    for row, (name, a) in zip(grid[1:], attributions.items(), strict=True):
        row_names += _draw_method(row, a, name, percentile)
    left = max(t.get_window_extent().width for t in row_names) / drawing.dpi + 0.2
    margin = left / drawing.get_figwidth()
    drawing.get_layout_engine().set(rect=(margin, 0, 1 - margin, 1))  # type: ignore[union-attr, call-arg]
    for ax in grid.ravel():
        orient(ax, x[0])
    _label_dims(grid, x)
    _draw_colour_bar(drawing, grid, bar)
    return drawing


def _wide(x: xr.DataArray) -> float:
    """Inches of a panel of `comparison`."""
    return PANEL * min(3.0, max(1.0, x.shape[2] / x.shape[1]))


def letters_above(x: xr.DataArray) -> int:
    """How many letters fit in a line above an image (samples, rows, columns) of `comparison`."""
    return int(12 * _wide(x))


def _draw_inputs(row: Sequence[Axes], x: xr.DataArray, titles: Sequence[str], cmap: str) -> list[Annotation]:
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
    return _name(row[0], "Input", scale.rstrip())


def _draw_method(row: Sequence[Axes], a: xr.DataArray, name: str, percentile: float) -> list[Annotation]:
    limit = robust_limit(a, percentile)
    for ax, values in zip(row, a.values, strict=True):
        ax.imshow(
            values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect(a[0])
        )
        ax.set_xticks([])
        ax.set_yticks([])
    unit = wrapped(a.attrs.get("units", ""), 24)
    return _name(
        row[0], name, f"limit {number(limit)}\n{unit}".rstrip() if np.any(a.values) else "zero everywhere"
    )


def _name(ax: Axes, name: str, scale: str) -> list[Annotation]:
    """The row's name and limit, left of it: the layout measures them too small, and is told their margin."""
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
    texts = [
        ax.annotate(wrapped(name, 20), (0, 0.5), (-7, 1), va="bottom", fontsize=9.5, fontweight="bold", **at),
        ax.annotate(scale, (0, 0.5), (-7, -1), va="top", fontsize=9, **at),
    ]
    for text in texts:
        text.set_in_layout(False)
    return texts


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
