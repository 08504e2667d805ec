"""The files of all pairs together: attributions, tables, groups compared, motifs, averages, summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib import __version__
from attrib.domains.fcgr import by_kmer
from attrib.domains.mirna import SEED
from attrib.io import replacing, save, write_json
from attrib.io.run import strict
from attrib.stats import agreement, assemble, contrast, describe
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.page import page
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import leading, rows

LEAST = 3  # samples per label below which groups are not compared


def write_cohort(
    folder: Path, found: xr.Dataset, names: Mapping[str, str], facts: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Everything of all pairs.

    Parameters
    ----------
    folder : Path
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
    (dict, list of str)
        The summary, and the names of the files.
    """
    samples = [str(s) for s in found["sample"].values]
    table = pd.DataFrame([r for s in samples for r in rows(found.sel(sample=s), s)])
    save(found.assign_attrs(found.attrs | {"attrib_version": __version__, "long_name": "attributions of chaos game images"}), folder / "attributions.nc")  # fmt: skip
    save(table, folder / "attribution_statistics.csv")
    files = ["attributions.nc", "attribution_statistics.csv"]
    files += _averages(folder, found) + _agreement(folder, found) + _described(folder, found)
    compared, more = _compared(folder, found, seed)
    files += more + _along(folder, found)
    motifs, more = _motifs(folder, found)
    summary = strict(
        _summary(found, table, facts) | {"positives_against_negatives": compared, "motifs": motifs}
    )
    write_json(summary, folder / "analysis_summary.json")
    files += [*more, "analysis_summary.json", "index.html"]
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(page(found, names, summary, table, files), encoding="utf-8")
    return summary, files


def _save(folder: Path, name: str, made: Any) -> str:
    with replacing(folder / name) as temporary:
        made.savefig(temporary)
    return name


def _averages(folder: Path, found: xr.Dataset) -> list[str]:
    files = []
    n = found.sizes["sample"]
    for method in (str(m) for m in found["method"].values):
        maps = {b: found[b].sel({"method": method}).mean("sample") for b in BRANCHES}
        title = f"{squares.spoken(method)}, mean of {n} pairs"
        files.append(_save(folder, f"average_attribution_{method}.png", overviews.averages(title, maps)))
    return files


def _agreement(folder: Path, found: xr.Dataset) -> list[str]:
    methods = [str(m) for m in found["method"].values]
    tables = {}
    for b in BRANCHES:
        plain = found[b].drop_vars([c for c in found[b].coords if c not in ("method",)])
        tables[b] = agreement({m: plain.sel({"method": m}, drop=True) for m in methods})
    frame = pd.concat([t.to_pandas().assign(branch=b) for b, t in tables.items()]).reset_index()
    save(frame, folder / "method_agreement.csv")
    title = f"mean rank correlation over {found.sizes['sample']} pairs"
    return [
        "method_agreement.csv",
        _save(folder, "method_agreement.png", overviews.agreement_picture(title, tables)),
    ]


def _described(folder: Path, found: xr.Dataset) -> list[str]:
    """Per cell, over the pairs."""
    parts = {b: describe(found[b], "sample").assign_coords(kmer=found["kmer"]) for b in BRANCHES}
    save(parts, folder / "cell_statistics.nc")
    return ["cell_statistics.nc"]


def _compared(folder: Path, found: xr.Dataset, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Pairs of label 1 against pairs of label 0, cell by cell, for the leading method."""
    label = found["label"].values
    counts = int(label.sum()), int((1 - label).sum())
    if min(counts) < LEAST:
        return {
            "left_out": f"{counts[0]} positives and {counts[1]} negatives, expected at least {LEAST} of each"
        }, []
    lead, summary, files = leading(found), {}, []
    for b in BRANCHES:
        a = found[b].sel({"method": lead}, drop=True)
        made = contrast(a.drop_vars([c for c in a.coords if c not in ("y", "x", "kmer")]), label, seed=seed)
        made = made.assign_coords(kmer=found["kmer"])
        words = pd.DataFrame({n: by_kmer(made[n]).to_series() for n in made.data_vars}).reset_index()
        order = words.assign(size=-words["difference"].abs()).sort_values(
            ["p_corrected", "size"], kind="stable"
        )
        save(order.drop(columns="size"), folder / f"positive_negative_{b}.csv")
        title = (
            f"{squares.TITLES[b]}, {squares.spoken(lead)}: {counts[0]} positives less {counts[1]} negatives"
        )
        files += [
            f"positive_negative_{b}.csv",
            _save(folder, f"positive_negative_{b}.png", overviews.contrast_picture(title, made)),
        ]
        found_here = order[order["p_corrected"] < 0.05]
        summary[b] = {
            "method": lead,
            "cells_below_0.05_corrected": len(found_here),
            "kmers": found_here["kmer"].tolist()[:20],
        }
    return summary, files


def _motifs(folder: Path, found: xr.Dataset) -> tuple[dict[str, Any], list[str]]:
    """Motifs from the k-mers of the largest mean attribution among positives."""
    bound = found.isel(sample=np.flatnonzero(found["label"].values == 1))
    if not bound.sizes["sample"]:
        return {}, []
    lead, summary, files = leading(found), {}, []
    for b in BRANCHES:
        scores = by_kmer(bound[b].sel({"method": lead}, drop=True).mean("sample"))
        table = assemble(scores, top=30, sequences=[str(s) for s in bound[f"{b}_sequence"].values])
        save(table, folder / f"motifs_{b}.csv")
        files.append(f"motifs_{b}.csv")
        summary[b] = table.head(10)[["consensus", "score", "support", "sequences"]].to_dict("records")
    return summary, files


def _along(folder: Path, found: xr.Dataset) -> list[str]:
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
    return [_save(folder, "average_along_mirna.png", overviews.positions_picture(title, means, SEED))]


def _summary(found: xr.Dataset, table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, Any]:
    chance, label = found["probability"].values, found["label"].values
    summary = {
        "samples": [str(s) for s in found["sample"].values],
        "accuracy": float(((chance >= 0.5) == (label == 1)).mean()),
        "labels": {str(c): int((label == c).sum()) for c in (0, 1)},
        "methods": _methods(table),
        "scores_look_like_probabilities": facts.get("output_kind") == "logit"
        and bool(((found["score"] >= 0) & (found["score"] <= 1)).all()),
        "skipped_methods": json.loads(found.attrs.get("skipped", "{}")),
        "attrib_version": __version__,
    }
    if "interaction" in found:
        delta = np.abs(found["interaction_delta"].values)
        summary["interaction"] = {"completeness_error_max": float(delta.max()), "softplus": found["interaction"].attrs.get("softplus"), "top_joins_seed_and_site": _joined(found, table)}  # fmt: skip
    return summary | dict(facts)


def _methods(table: pd.DataFrame) -> dict[str, Any]:
    """Completeness error, correlation with integrated gradients and the share of tops in the site, by method."""
    summary: dict[str, Any] = {}
    for method, part in table.groupby("method", sort=False):
        known = part[(part["label"] == 1) & part["has_site"]]
        own: dict[str, Any] = {"completeness_error_max": float(part["delta"].abs().max())}
        for b in BRANCHES:
            here, tops = part[part["branch"] == b], known[known["branch"] == b]["top_in_site"]
            own[b] = {
                "correlation_with_integrated_gradients": float(here["correlation_with_ig"].mean()),
                "top_in_site_share": float(tops.astype(float).mean()) if len(tops) else None,
                "positives_with_site": len(tops),
            }
        summary[str(method)] = own
    return summary


def _joined(found: xr.Dataset, table: pd.DataFrame) -> dict[str, Any]:
    """How often the largest entry of the interaction joins seed and site, among positives with a site."""
    from attrib.workflows.fcgr.samplefiles import own_site

    hits = []
    for s in found["sample"].values:
        one = found.sel(sample=s)
        site = own_site(one)
        if int(one["label"]) != 1 or not site.any():
            continue
        values = np.nan_to_num(one["interaction"].values)
        i, j = np.unravel_index(int(values.argmax()), values.shape)
        hits.append(float(SEED[0] - 1 <= i < SEED[1] and site[j]))
    return {"share": float(np.mean(hits)) if hits else None, "positives_with_site": len(hits)}


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of pairs as one, shorter sequences padded."""
    padded = xr.concat(parts, "sample", join="outer", combine_attrs="override", fill_value={"mirna_letter": " ", "mrna_letter": " "})  # fmt: skip
    return padded
