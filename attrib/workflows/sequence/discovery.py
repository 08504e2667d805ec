"""Motifs that the model has learned, from its filters and from seqlets, and the known motifs that match them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.domains.motifs import Clusters, FilterMotifs, cluster_seqlets, find_seqlets, tomtom
from attrib.io.place import file_names
from attrib.workflows.context import Context
from attrib.workflows.sequence.convolution import Kernel, filters_of

Motifs = Mapping[str, xr.DataArray]
TELLING = 3.0  # bits that a filter's motif must have to be matched and inserted


class Discovered(NamedTuple):
    """Motifs and their matches.

    Attributes
    ----------
    filters : FilterMotifs or None
    clusters : Clusters
    hits : DataFrame or None
        Of TOMTOM, with a database.
    notes : dict of str to str
        Steps that failed, and why.
    modisco : mapping of str to DataArray
        Motifs of TF-MoDISco, if it was run.
    """

    filters: FilterMotifs | None
    clusters: Clusters
    hits: pd.DataFrame | None
    notes: dict[str, str]
    modisco: Motifs = {}  # noqa: RUF012  (never changed)

    @property
    def motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of seqlets, of TF-MoDISco, then of informative filters."""
        return {**self.clusters.motifs, **self.modisco, **self.filter_motifs}

    @property
    def filter_motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of the informative filters."""
        if self.filters is None:
            return {}
        rows = self.filters.table[self.filters.table.information >= TELLING]
        return {n: self.filters.motifs[n] for n in rows.sort_values("information", ascending=False)["motif"]}


def discover(
    model: Callable[..., Any],
    x: xr.DataArray,
    contribution: xr.DataArray,
    database: Motifs | None,
    kernels: Sequence[Kernel],
    *,
    top: int | None = None,
    both_strands: bool = True,
    seed: int = 0,
    modisco: Motifs | None = None,
    context: Context | None = None,
) -> Discovered:
    """Motifs of filters and seqlets, matched to a database.

    Parameters
    ----------
    model : callable
    x, contribution : DataArray
        Sequences, and an attribution of each position, with a leading dim `target` for several outputs.
    database : mapping of str to DataArray, optional
        Known motifs.
    kernels : sequence of Kernel
        Of the layers whose filters become motifs.
    top : int, optional
        Number of a filter's strongest windows; default: all windows of at least half of its maximum.
    both_strands : bool
        Whether motifs may lie on the other strand; False for RNA.
    seed : int
        Of the seqlets' null distribution.
    modisco : mapping of str to DataArray, optional
        Motifs of TF-MoDISco, to be matched too.
    context : Context, optional
        What goes into the model beside the sequences.
    """
    filters, notes = _filters(model, x, kernels, top, context) if kernels else (None, {})
    clusters = seqlet_motifs(contribution, x, both_strands=both_strands, seed=seed)
    discovered = Discovered(filters, clusters, None, notes, modisco or {})
    if not database or not discovered.motifs:
        return discovered
    hits, warning = _matched(discovered.motifs, database, both_strands)
    return discovered._replace(hits=hits, notes=notes | warning)


def _filters(
    model: Callable[..., Any], x: xr.DataArray, kernels: Sequence[Kernel], top: int | None, context: Context | None
) -> tuple[FilterMotifs | None, dict[str, str]]:  # fmt: skip
    """Motifs of the filters of all layers, or why there are none; for a layer that was named the error is raised."""
    parts: list[FilterMotifs] = []
    try:
        for kernel in kernels:
            motifs, table = filters_of(model, x, kernel, top=top, context=context)
            begin = "" if len(kernels) == 1 else f"{kernel.layer}_"
            named = {
                f"{begin}{name}": m.assign_attrs(m.attrs | {"name": f"{begin}{name}"})
                for name, m in motifs.items()
            }
            names = [f"{begin}filter_{k}" for k in table["filter"]]
            letters = [kernel.width] * len(table)
            parts.append(FilterMotifs(named, table.assign(layer=kernel.layer, letters=letters, motif=names)))
    except (ValueError, TypeError) as error:
        if any(kernel.named for kernel in kernels):
            raise
        return None, {"filters": str(error)}
    tables = pd.concat([p.table for p in parts], ignore_index=True)
    return FilterMotifs({n: m for p in parts for n, m in p.motifs.items()}, tables), {}


def seqlet_motifs(
    contribution: xr.DataArray, x: xr.DataArray, *, both_strands: bool = True, seed: int = 0
) -> Clusters:
    """Seqlets and their motifs, for each of several outputs separately, with the output in the motifs' names.

    Parameters
    ----------
    contribution, x, both_strands, seed
        As for `discover`.

    Returns
    -------
    Clusters
        Seqlets of several outputs have the column `target`.
    """
    if "target" not in contribution.dims:
        seqlets = find_seqlets(contribution, seed=seed)
        return cluster_seqlets(seqlets, contribution, x, both_strands=both_strands)
    targets = contribution["target"].values.tolist()
    parts = [
        _named(
            seqlet_motifs(contribution.sel(target=t, drop=True), x, both_strands=both_strands, seed=seed),
            t,
            name,
        )
        for t, name in zip(targets, file_names(map(str, targets)).values(), strict=True)
    ]
    motifs = {name: m for part in parts for name, m in part.motifs.items()}
    means = {name: m for part in parts for name, m in part.contributions.items()}
    return Clusters(motifs, means, pd.concat([part.seqlets for part in parts], ignore_index=True))


def _named(clusters: Clusters, target: Any, prefix: str) -> Clusters:
    """One output's motifs with a prefix in their names, its seqlets with the column `target`."""
    names = {"": ""} | {name: f"{prefix}_{name}" for name in clusters.motifs}
    table = clusters.seqlets.assign(cluster=clusters.seqlets.cluster.map(names))
    table.insert(1, "target", target)
    motifs = {names[n]: m.rename(names[n]) for n, m in clusters.motifs.items()}
    return Clusters(motifs, {names[n]: m for n, m in clusters.contributions.items()}, table)


def _matched(motifs: Motifs, database: Motifs, both_strands: bool) -> tuple[pd.DataFrame, dict[str, str]]:
    """TOMTOM's five best matches of each motif, and its warning."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", UserWarning)
        hits = tomtom(motifs, database, top=5, both_strands=both_strands)
    messages = [str(w.message) for w in raised if issubclass(w.category, UserWarning)]
    return hits, {"tomtom": messages[0]} if messages else {}
