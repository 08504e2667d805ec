"""Motifs as cards: logo, name, sites, and the best match in a database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.plots.logo import motif_logo
from attrib.plots.scale import figure

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
        _card(ax, motif, _title(name, motif, best.get(name)))
        if below and name in best:
            _match(grid[row * 2 + 1, column], motif, best[name], database or {})
    return made


def _card(ax: Any, motif: xr.DataArray, title: str) -> None:
    ax.set_axis_on()
    motif_logo(motif, ax=ax)
    ax.set_title(title, fontsize=8)


def _title(name: str, motif: xr.DataArray, hit: Any) -> str:
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
