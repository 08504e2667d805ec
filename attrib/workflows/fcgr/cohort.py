"""The files of all pairs together: attributions, tables, groups compared, motifs, averages, summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib import __version__
from attrib.domains.fcgr import by_kmer
from attrib.domains.fcgr.kmers import SEED
from attrib.io import save, write_json
from attrib.io.place import strict
from attrib.stats import agreement, assemble, describe
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.contrasts import write_contrast
from attrib.workflows.fcgr.page import study_page
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import leading, rows
from attrib.workflows.fcgr.summary import summed_up
from attrib.workflows.folder import Folder


def write_cohort(
    run: Folder, results: xr.Dataset, names: Mapping[str, str], facts: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Write the files of all pairs together.

    Parameters
    ----------
    run : Folder
    results : Dataset
        Of `attrib.workflows.fcgr.maps.explained`, for all pairs.
    names : mapping of str to str
        Beginnings of the file names by pair.
    facts : mapping
        Further entries of the summary: settings, bad pairs, seconds.
    seed : int
        Of resampling.

    Returns
    -------
    dict
        The summary.
    """
    table = pd.DataFrame(
        [r for s in map(str, results["sample"].values) for r in rows(results.sel(sample=s), s)]
    )
    attrs = {"attrib_version": __version__, "long_name": "attributions of chaos game images"}
    save(results.assign_attrs(results.attrs | attrs), run.file("attributions.nc"))
    save(table, run.file("attribution_statistics.csv"))
    _averages(run, results)
    _agreement(run, results)
    _described(run, results)
    compared = write_contrast(run, results, seed)
    _along(run, results)
    more = {"positives_against_negatives": compared, "motifs": _motifs(run, results)}
    summary: dict[str, Any] = strict(summed_up(results, table, facts) | more)
    write_json(summary, run.file("analysis_summary.json"))
    run.text("index.html", study_page(results, names, summary, run.files, list(names)))
    return summary


def _averages(run: Folder, results: xr.Dataset) -> None:
    n = results.sizes["sample"]
    for method in (str(m) for m in results["method"].values):
        maps = {b: results[b].sel({"method": method}).mean("sample") for b in BRANCHES}
        title = f"{squares.spoken(method)}, mean of {n} pairs"
        run.picture(f"average_attribution_{method}.png", overviews.averages(title, maps))


def _agreement(run: Folder, results: xr.Dataset) -> None:
    methods = [str(m) for m in results["method"].values]
    tables = {}
    for b in BRANCHES:
        plain = results[b].drop_vars([c for c in results[b].coords if c not in ("method",)])
        tables[b] = agreement({m: plain.sel({"method": m}, drop=True) for m in methods})
    frame = pd.concat([t.to_pandas().assign(branch=b) for b, t in tables.items()]).reset_index()
    save(frame, run.file("method_agreement.csv"))
    title = f"mean rank correlation over {results.sizes['sample']} pairs"
    run.picture("method_agreement.png", overviews.agreement_picture(title, tables))


def _described(run: Folder, results: xr.Dataset) -> None:
    """Statistics of each k-mer over the pairs."""
    parts = {b: describe(results[b], "sample").assign_coords(kmer=results["kmer"]) for b in BRANCHES}
    save(parts, run.file("cell_statistics.nc"))


def _motifs(run: Folder, results: xr.Dataset) -> dict[str, Any]:
    """Motifs assembled from the k-mers of the largest mean attribution among positives."""
    bound = results.isel(sample=np.flatnonzero(results["label"].values == 1))
    if not bound.sizes["sample"]:
        return {}
    lead, summary = leading(results), {}
    for b in BRANCHES:
        scores = by_kmer(bound[b].sel({"method": lead}, drop=True).mean("sample"))
        table = assemble(scores, top=30, sequences=[str(s) for s in bound[f"{b}_sequence"].values])
        save(table, run.file(f"motifs_{b}.csv"))
        summary[b] = table.head(10)[["consensus", "score", "support", "sequences"]].to_dict("records")
    return summary


def _along(run: Folder, results: xr.Dataset) -> None:
    """Draw the mean attribution along the miRNA, whose positions correspond in all pairs."""
    label = results["label"].values
    means: dict[str, dict[str, np.ndarray]] = {}
    for m in squares.per_sample(results):
        a = results["mirna_along"].sel({"method": m})
        groups = {
            f"label {c} (n = {(label == c).sum()})": a.values[label == c]
            for c in (1, 0)
            if (label == c).any()
        }
        length = min(len(str(s)) for s in results["mirna_sequence"].values)
        means[m] = {g: v[:, :length].mean(0) for g, v in groups.items()}
    title = "mean attribution along the miRNA; shaded: seed"
    run.picture("average_along_mirna.png", overviews.positions_picture(title, means, SEED))


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of all pairs as one dataset; shorter sequences are padded."""
    padded = xr.concat(parts, "sample", join="outer", combine_attrs="override", fill_value={"mirna_letter": " ", "mrna_letter": " "})  # fmt: skip
    return padded
