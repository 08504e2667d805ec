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
from attrib.io import replacing, save, write_json
from attrib.io.place import strict
from attrib.stats import agreement, assemble, describe
from attrib.workflows.continued import Continued
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.contrasts import write_contrast
from attrib.workflows.fcgr.page import page
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.pictures import save_picture
from attrib.workflows.fcgr.samplefiles import leading, rows
from attrib.workflows.fcgr.summary import summed_up


def write_cohort(
    run: Continued, found: xr.Dataset, names: Mapping[str, str], facts: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Everything of all pairs.

    Parameters
    ----------
    run : Continued
    found : Dataset
        Of `attrib.workflows.fcgr.maps.explained`, for all pairs.
    names : mapping of str to str
        Beginnings of the file names by pair.
    facts : mapping
        What the summary says besides: settings, bad pairs, seconds.
    seed : int
        Of resampling.

    Returns
    -------
    dict
        The summary.
    """
    table = pd.DataFrame([r for s in map(str, found["sample"].values) for r in rows(found.sel(sample=s), s)])
    told = {"attrib_version": __version__, "long_name": "attributions of chaos game images"}
    save(found.assign_attrs(found.attrs | told), run.file("attributions.nc"))
    save(table, run.file("attribution_statistics.csv"))
    _averages(run, found)
    _agreement(run, found)
    _described(run, found)
    compared = write_contrast(run, found, seed)
    _along(run, found)
    more = {"positives_against_negatives": compared, "motifs": _motifs(run, found)}
    summary: dict[str, Any] = strict(summed_up(found, table, facts) | more)
    write_json(summary, run.file("analysis_summary.json"))
    with replacing(run.file("index.html")) as temporary:
        temporary.write_text(page(found, names, summary, run.files), encoding="utf-8")
    return summary


def _averages(run: Continued, found: xr.Dataset) -> None:
    n = found.sizes["sample"]
    for method in (str(m) for m in found["method"].values):
        maps = {b: found[b].sel({"method": method}).mean("sample") for b in BRANCHES}
        title = f"{squares.spoken(method)}, mean of {n} pairs"
        save_picture(run, f"average_attribution_{method}.png", overviews.averages(title, maps))


def _agreement(run: Continued, found: xr.Dataset) -> None:
    methods = [str(m) for m in found["method"].values]
    tables = {}
    for b in BRANCHES:
        plain = found[b].drop_vars([c for c in found[b].coords if c not in ("method",)])
        tables[b] = agreement({m: plain.sel({"method": m}, drop=True) for m in methods})
    frame = pd.concat([t.to_pandas().assign(branch=b) for b, t in tables.items()]).reset_index()
    save(frame, run.file("method_agreement.csv"))
    title = f"mean rank correlation over {found.sizes['sample']} pairs"
    save_picture(run, "method_agreement.png", overviews.agreement_picture(title, tables))


def _described(run: Continued, found: xr.Dataset) -> None:
    """Per cell, over the pairs."""
    parts = {b: describe(found[b], "sample").assign_coords(kmer=found["kmer"]) for b in BRANCHES}
    save(parts, run.file("cell_statistics.nc"))


def _motifs(run: Continued, found: xr.Dataset) -> dict[str, Any]:
    """Motifs from the k-mers of the largest mean attribution among positives."""
    bound = found.isel(sample=np.flatnonzero(found["label"].values == 1))
    if not bound.sizes["sample"]:
        return {}
    lead, summary = leading(found), {}
    for b in BRANCHES:
        scores = by_kmer(bound[b].sel({"method": lead}, drop=True).mean("sample"))
        table = assemble(scores, top=30, sequences=[str(s) for s in bound[f"{b}_sequence"].values])
        save(table, run.file(f"motifs_{b}.csv"))
        summary[b] = table.head(10)[["consensus", "score", "support", "sequences"]].to_dict("records")
    return summary


def _along(run: Continued, found: xr.Dataset) -> None:
    """Mean attribution along the miRNA, whose positions mean the same in all pairs."""
    label = found["label"].values
    means: dict[str, dict[str, np.ndarray]] = {}
    for m in squares.per_sample(found):
        a = found["mirna_along"].sel({"method": m})
        groups = {
            f"label {c} (n = {(label == c).sum()})": a.values[label == c]
            for c in (1, 0)
            if (label == c).any()
        }
        length = min(len(str(s)) for s in found["mirna_sequence"].values)
        means[m] = {g: v[:, :length].mean(0) for g, v in groups.items()}
    title = "mean attribution along the miRNA; shaded: seed"
    save_picture(run, "average_along_mirna.png", overviews.positions_picture(title, means, SEED))


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of pairs as one, shorter sequences padded."""
    padded = xr.concat(parts, "sample", join="outer", combine_attrs="override", fill_value={"mirna_letter": " ", "mrna_letter": " "})  # fmt: skip
    return padded
