"""One sequence: attributions of several methods as logos, mutations below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from attrib.plots.logo import MOST, WIDTH, attribution_logo
from attrib.plots.mutations import mutation_map
from attrib.plots.scale import figure, with_unit, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEQLET = "#f2e394"


def sequence_tracks(
    x: xr.DataArray,
    attributions: Mapping[str, xr.DataArray],
    mutations: xr.DataArray | None = None,
    *,
    seqlets: pd.DataFrame | None = None,
    title: str = "",
) -> Figure:
    """Draw attributions of one sequence as logos below each other, and its mutations as a heat map.

    Parameters
    ----------
    x : DataArray
        The sequence, one-hot: dims `nucleotide` and `position`.
    attributions : mapping of str to DataArray
        Names, and attributions of the positions: dim `position`, or with `nucleotide` too, which is summed.
    mutations : DataArray, optional
        Of `attrib.in_silico_mutagenesis`: dims `nucleotide` and `position`.
    seqlets : DataFrame, optional
        Rows with `start` and `end`, half-open and counted from 0 in `x`. Their spans are shaded.
    title : str
        Title of the figure; default: none.

    Returns
    -------
    Figure
        Each row has its own scale.

    Raises
    ------
    ValueError
        For more than 400 positions, and where there is nothing to draw.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.sequences import one_hot
    >>> from attrib.plots import sequence_tracks
    >>> a = xr.DataArray([1.0, -1.0, 0.5, 0.0], dims="position")
    >>> len(sequence_tracks(one_hot("ACGT")[0], {"saliency": a, "deep_lift": a}).axes)
    2
    """
    count = len(attributions) + (mutations is not None)
    size = x.sizes["position"]
    if not count or size > MOST:
        raise ValueError(
            f"`x` has {size} positions, there are {count} rows to draw; expected at most {MOST} positions and at least one row"
        )
    drawing = figure((1.9 + WIDTH * max(40, size), 0.5 + 1.45 * count))
    grid: Any = drawing.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, a) in zip(grid, attributions.items(), strict=False):
        unit = with_unit("", a.attrs).strip()
        attribution_logo(a, x, ax=ax, label=f"{name}\n{unit}".strip())
        _shade(ax, seqlets)
    if mutations is not None:
        mutation_map(mutations, x, ax=grid[-1], label=with_unit("score change", mutations.attrs))
        grid[-1].set_ylabel("mutant\nletter", fontsize=9)
        grid[-1].set_xlim(-0.7, size - 0.3)
    for ax in grid[:-1]:
        ax.set_xlabel("")
    drawing.suptitle(wrapped(title, 100), fontsize=10)
    return drawing


def _shade(ax: Any, seqlets: pd.DataFrame | None) -> None:
    """Shade the seqlets' spans behind the letters."""
    if seqlets is not None:
        for start, end in zip(seqlets.start, seqlets.end, strict=True):
            ax.axvspan(start - 0.5, end - 0.5, color=SEQLET, alpha=0.6, zorder=-2, linewidth=0)
