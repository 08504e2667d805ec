"""Motifs that the model has learned: of its filters, of seqlets, and which known ones they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.domains.motifs import Clusters, FilterMotifs, cluster_seqlets, find_seqlets, tomtom
from attrib.workflows.sequence.convolution import filters_of, first_kernel

Motifs = Mapping[str, xr.DataArray]
TELLING = 3.0  # bits that a filter's motif must have to be matched and inserted


class Discovered(NamedTuple):
    """What was found.

    Attributes
    ----------
    filters : FilterMotifs or None
    clusters : Clusters
    hits : DataFrame or None
        Of TOMTOM, with a database.
    notes : dict of str to str
        What could not be done, and why.
    """

    filters: FilterMotifs | None
    clusters: Clusters
    hits: pd.DataFrame | None
    notes: dict[str, str]

    @property
    def motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of seqlets, then of filters that say something."""
        return self.clusters.motifs | self.filter_motifs

    @property
    def filter_motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of the filters that say something."""
        if self.filters is None:
            return {}
        rows = self.filters.table[self.filters.table.information >= TELLING]
        names = [f"filter_{k}" for k in rows.sort_values("information", ascending=False)["filter"]]
        return {n: self.filters.motifs[n] for n in names}


def discover(
    model: Callable[..., Any],
    x: xr.DataArray,
    contribution: xr.DataArray,
    database: Motifs | None,
    *,
    layer: str = "first",
    both_strands: bool = True,
    seed: int = 0,
) -> Discovered:
    """Motifs of filters and seqlets, matched to a database.

    Parameters
    ----------
    model : callable
    x, contribution : DataArray
        Sequences, and an attribution of each position.
    database : mapping of str to DataArray, optional
        Known motifs.
    layer : str
        The convolution, or `"first"`.
    both_strands : bool
        Whether the other strand counts: not for RNA.
    seed : int
        Of the seqlets' null distribution.
    """
    notes: dict[str, str] = {}
    filters = None
    try:
        filters = filters_of(model, x, first_kernel(model, layer))
    except (ValueError, TypeError) as error:
        if layer != "first":
            raise
        notes["filters"] = str(error)
    clusters = cluster_seqlets(
        find_seqlets(contribution, seed=seed), contribution, x, both_strands=both_strands
    )
    found = Discovered(filters, clusters, None, notes)
    if not database or not found.motifs:
        return found
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", UserWarning)
        hits = tomtom(found.motifs, database, top=5, both_strands=both_strands)
    said = [str(w.message) for w in raised if issubclass(w.category, UserWarning)]
    return found._replace(hits=hits, notes=notes | ({"tomtom": said[0]} if said else {}))
