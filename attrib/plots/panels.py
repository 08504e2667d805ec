"""One panel per label of a dim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.plots.image import aspect, label_axes
from attrib.plots.logo import motif_logo
from attrib.plots.scale import DIVERGING, PERCENTILE, figure, number, robust_limit, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        Three dims: `by`, rows, columns.
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
        One scale for all panels, so that they compare, or each its own, so that weak ones are seen.

    Returns
    -------
    Figure
        With one colour bar; its label states the limit, or the panels' titles theirs.

    Raises
    ------
    ValueError
        If `a` has not three dims with `by` among them.
    """
    if a.ndim != 3 or by not in a.dims:
        dims = ", ".join(f"{d}: {k}" for d, k in a.sizes.items())
        raise ValueError(f"`a` has the dims ({dims}), expected {by!r} and two more")
    a = a.transpose(by, ...)
    columns = min(columns, a.sizes[by])
    rows = -(-a.sizes[by] // columns)
    wide = 1.9 * min(3.0, max(1.0, 0.6 * a.shape[2] / a.shape[1])) * (1.5 if columns == 1 else 1.0)
    made = figure((wide * columns + 1.5, 2.1 * rows + 0.5))
    limits = [robust_limit(a if shared else a[k], percentile) for k in range(a.sizes[by])]
    grid: Any = made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    shown: Any = None
    for k, ax in enumerate(grid.ravel()):
        if k >= a.sizes[by]:
            ax.set_visible(False)
            continue
        title = _title(a, by, k) if titles is None else titles[k]
        shown = _panel(ax, a[k], limits[k], shared, title)
    bar = made.colorbar(shown, ax=grid, extend="both", aspect=30, fraction=0.04, pad=0.02)
    what = value_label(a) if label is None else label
    said = _said(what, percentile, limits[0] if shared else None)
    bar.set_label("\n".join(wrapped(t, 12 + 16 * rows) for t in said), fontsize=9)
    return made


def _said(what: str, percentile: float, limit: float | None) -> tuple[str, str]:
    """What the colours are, and where they end."""
    of = f"({percentile:g}th percentile of magnitudes"
    if limit is None:
        return f"{what}, as a share of its panel's limit", f"{of})"
    return what, f"{of}: {number(limit)})"


def _panel(ax: Any, a: xr.DataArray, limit: float, shared: bool, title: str) -> Any:
    """Draw one image; in shares of its own limit unless the scale is shared."""
    unit, said = (1.0, title) if shared else (limit, f"{title}\nlimit {number(limit)}")
    shown = ax.imshow(
        a.values / unit, cmap=DIVERGING, vmin=-limit / unit, vmax=limit / unit, interpolation="nearest", aspect=aspect(a)
    )  # fmt: skip
    ax.set_title(said, fontsize=10)
    label_axes(ax, a)
    ax.label_outer()
    ax.tick_params(labelsize=8)
    return shown


def _title(a: xr.DataArray, by: str, k: int) -> str:
    count = f" (n = {int(a['count'].values[k])})" if "count" in a.coords and a["count"].dims == (by,) else ""
    return f"{by} {a[by].values[k]}{count}" if a[by].dtype.kind in "iuf" else f"{a[by].values[k]}{count}"


# FOLDED attrib/plots/panels.py: """Motifs as cards: logo, name, sites, and the best match in a database."""
if TYPE_CHECKING:
    from matplotlib.figure import Figure


def motif_cards(
    motifs: Mapping[str, xr.DataArray],
    hits: pd.DataFrame | None = None,
    *,
    database: Mapping[str, xr.DataArray] | None = None,
    columns: int = 4,
    most: int = 48,
) -> Figure:
    """Draw motifs side by side, each with its sites and its best match.

    Parameters
    ----------
    motifs : mapping of str to DataArray
        By name, dims `nucleotide` and `position`; `sites` in the attrs are shown.
    hits : DataFrame, optional
        Of `attrib.domains.motifs.tomtom`; each motif's first row is its best match.
    database : mapping of str to DataArray, optional
        The matches' own logos are drawn below, as they lie on the motif.
    columns : int, default 4
        Cards side by side.
    most : int, default 48
        Cards in all, the first ones.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no motifs.
    """
    if not motifs:
        raise ValueError("`motifs` is empty, expected at least one motif by name")
    shown = dict(list(motifs.items())[:most])
    best = {} if hits is None else {r.motif: r for r in hits.drop_duplicates("motif").itertuples()}
    below = database is not None and any(name in best for name in shown)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    made = figure((3.0 * columns, (2.9 if below else 1.9) * rows))
    grid: Any = made.subplots(rows * (1 + below), columns, squeeze=False)
    for ax in grid.ravel():
        ax.set_axis_off()
    for k, (name, motif) in enumerate(shown.items()):
        row, column = divmod(k, columns)
        ax = grid[row * (1 + below), column]
        _card(ax, motif, _card_title(name, motif, best.get(name)))
        if below and name in best:
            _match(grid[row * 2 + 1, column], motif, best[name], database or {})
    return made


def _card(ax: Any, motif: xr.DataArray, title: str) -> None:
    ax.set_axis_on()
    motif_logo(motif, ax=ax)
    ax.set_title(title, fontsize=8)


def _card_title(name: str, motif: xr.DataArray, hit: Any) -> str:
    sites = motif.attrs.get("sites")
    known = "" if sites is None else f", {sites:,.0f} sites"
    if hit is None:
        return f"{name}{known}"
    called = f"{hit.target} {hit.target_name}".strip()
    return f"{name}{known}\nbest match: {called} ({hit.strand})\np {hit.p:.1g}, q {hit.q:.1g}"


def _match(ax: Any, motif: xr.DataArray, hit: Any, database: Mapping[str, xr.DataArray]) -> None:
    """The match's logo on the motif's places."""
    known = database.get(hit.target)
    if known is None:
        return
    ax.set_axis_on()
    p = known.transpose("nucleotide", "position").values
    turned = p if hit.strand == "+" else p[::-1, ::-1]
    there = np.arange(hit.offset, hit.offset + motif.sizes["position"])
    inside = (there >= 0) & (there < p.shape[1])
    laid = np.full((4, len(there)), 0.25)  # says nothing: no letters are drawn
    laid[:, inside] = turned[:, there[inside]]
    motif_logo(motif.transpose("nucleotide", "position").copy(data=laid), ax=ax)
    ax.set_ylabel("match\n(bits)", fontsize=8)


# FOLDED attrib/plots/panels.py: """Filters as small pictures."""
if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filter_grid(w: xr.DataArray, *, columns: int = 8) -> Figure:
    """Draw the filters of a convolution of images, all on one scale centred at zero.

    Parameters
    ----------
    w : DataArray
        Of `attrib.filters`: dims filter, channel, y, x. Three channels are drawn as colours, grey standing for zero;
        of other numbers the sum over channels.
    columns : int, default 8
        Filters side by side.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For other dims.
    """
    if set(w.dims) != {"filter", "channel", "y", "x"}:
        raise ValueError(f"`w` has dims {w.dims}, expected filter, channel, y, x")
    values = w.transpose("filter", "y", "x", "channel").values
    coloured = values.shape[-1] == 3
    values = values if coloured else values.sum(-1)
    limit = float(np.abs(values).max()) or 1.0
    rows = -(-len(values) // columns)
    made = figure((0.9 * min(columns, len(values)), 1.05 * rows))
    axes: Any = made.subplots(rows, min(columns, len(values)), squeeze=False)
    for k, ax in enumerate(axes.ravel()):
        ax.set_axis_off()
        if k < len(values):
            shown = 0.5 + 0.5 * values[k] / limit if coloured else values[k]
            ax.imshow(shown, **({} if coloured else {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}))
            ax.set_title(str(w["filter"].values[k]), fontsize=7)
    return made
