"""The files of all pairs together: attributions, tables, groups compared, motifs, averages, summary."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from attrib import __version__
from attrib.domains.fcgr import by_kmer
from attrib.domains.fcgr.images import SEED
from attrib.domains.motifs import as_motif
from attrib.domains.sequences import reverse_complement
from attrib.io import save, save_motifs, write_json
from attrib.io.place import strict
from attrib.plots import motif_cards
from attrib.stats import agreement, assemble, contrast, describe
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.page import study_page
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import leading, rows, site_of
from attrib.workflows.folder import Folder

LEAST = 3  # samples per label below which groups are not compared
LEVEL = 0.05
LOGOS, SITES = 8, 3  # motifs of a branch that are looked at, and the sites that a logo must have


def write_contrast(run: Folder, results: xr.Dataset, seed: int) -> dict[str, Any]:
    """Write tables and pictures of the leading method's difference between both labels; returns entries of the summary."""
    label = results["label"].values
    counts = int(label.sum()), int((1 - label).sum())
    if min(counts) < LEAST:
        few = f"{counts[0]} positives and {counts[1]} negatives, expected at least {LEAST} of each"
        return {"left_out": few}
    lead, summary = leading(results), {}
    groups = f"{method_name(lead)}: {counts[0]} positives less {counts[1]} negatives"
    for b in BRANCHES:
        a = results[b].sel({"method": lead})
        plain = a.drop_vars([c for c in a.coords if c not in ("y", "x", "kmer")])
        difference = contrast(plain.assign_attrs(units=a["units"].item()), label, seed=seed)
        difference = difference.assign_coords(kmer=results["kmer"])
        table = _by_kmer(difference)
        save(table, run.file(f"positive_negative_{b}.csv"))
        title = f"{squares.TITLES[b]}, {groups}"
        run.picture(f"positive_negative_{b}.png", overviews.contrast_picture(title, difference))
        clear = table["kmer"][table["p_corrected"] < LEVEL].tolist()
        summary[b] = {"method": lead, "cells_below_0.05_corrected": len(clear), "kmers": clear[:20]}
    return summary


def _by_kmer(difference: xr.Dataset) -> pd.DataFrame:
    """A row per k-mer, the clearest and largest difference first."""
    words = pd.DataFrame({n: by_kmer(difference[n]).to_series() for n in difference.data_vars}).reset_index()
    order = words.assign(size=-words["difference"].abs()).sort_values(["p_corrected", "size"], kind="stable")
    return order.drop(columns="size")


def summed_up(results: xr.Dataset, table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy, figures of the methods (of `attribution_statistics.csv`) and of the interaction, and the facts of the run."""
    chance, label = results["probability"].values, results["label"].values
    summary = {
        "samples": [str(s) for s in results["sample"].values],
        "accuracy": float(((chance >= 0.5) == (label == 1)).mean()),
        "labels": {str(c): int((label == c).sum()) for c in (0, 1)},
        "methods": _methods(table),
        "scores_look_like_probabilities": facts.get("own_network", True)
        and facts.get("output_kind") == "logit"
        and bool(((results["score"] >= 0) & (results["score"] <= 1)).all()),
        "skipped_methods": json.loads(results.attrs.get("skipped", "{}")),
        "attrib_version": __version__,
    }
    if "interaction" in results:
        delta = np.abs(results["interaction_delta"].values)
        summary["interaction"] = {"completeness_error_max": float(delta.max()), "softplus": results["interaction"].attrs.get("softplus"), "top_joins_seed_and_site": _joined(results, table)}  # fmt: skip
    return summary | dict(facts)


def _methods(table: pd.DataFrame) -> dict[str, Any]:
    """Completeness error, deletion against random orders, correlation with integrated gradients and the share of tops in the site, by method."""
    summary: dict[str, Any] = {}
    for method, part in table.groupby("method", sort=False):
        with_site = part[(part["label"] == 1) & part["has_site"]]
        figures: dict[str, Any] = {
            "completeness_error_max": float(part["delta"].abs().max()),
            "deletion_z_median": float(part["deletion_z"].median()),
        }
        for b in BRANCHES:
            here, tops = part[part["branch"] == b], with_site[with_site["branch"] == b]["top_in_site"]
            figures[b] = {
                "pearson_with_integrated_gradients": float(here["pearson_with_ig"].mean()),
                "spearman_with_integrated_gradients": float(here["spearman_with_ig"].mean()),
                "top_in_site_share": float(tops.astype(float).mean()) if len(tops) else None,
                "positives_with_site": len(tops),
            }
        summary[str(method)] = figures
    return summary


def _joined(results: xr.Dataset, table: pd.DataFrame) -> dict[str, Any]:
    """How often the largest entry of the interaction joins seed and site, among positives with a site."""
    hits = []
    for s in results["sample"].values:
        pair = results.sel(sample=s)
        site = site_of(pair)
        if int(pair["label"]) != 1 or not site.any():
            continue
        values = np.nan_to_num(pair["interaction"].values)
        i, j = np.unravel_index(int(values.argmax()), values.shape)
        hits.append(float(SEED[0] - 1 <= i < SEED[1] and site[j]))
    return {"share": float(np.mean(hits)) if hits else None, "positives_with_site": len(hits)}


def write_cohort(
    run: Folder,
    results: xr.Dataset,
    names: Mapping[str, str],
    facts: Mapping[str, Any],
    seed: int,
    drawn: Sequence[str],
) -> dict[str, Any]:
    """Write the files of all pairs together, some of which have pictures (`drawn`); returns the summary, with further `facts`."""
    table = pd.DataFrame(
        [r for s in map(str, results["sample"].values) for r in rows(results.sel(sample=s), s)]
    )
    attrs = {"attrib_version": __version__, "long_name": "attributions of chaos game images"}
    save(results.assign_attrs(results.attrs | attrs), run.file("attributions.nc"))
    save(table, run.file("attribution_statistics.csv"))
    _averages(run, results)
    _agreement(run, results)
    _described(run, results)
    _consensus(run, results)
    compared = write_contrast(run, results, seed)
    _along(run, results)
    more = {"positives_against_negatives": compared, "motifs": _motifs(run, results)}
    summary: dict[str, Any] = strict(summed_up(results, table, facts) | more)
    write_json(summary, run.file("analysis_summary.json"))
    run.text("index.html", study_page(results, names, summary, run.files, drawn))
    return summary


def _averages(run: Folder, results: xr.Dataset) -> None:
    n = results.sizes["sample"]
    for method in (str(m) for m in results["method"].values):
        maps = {b: results[b].sel({"method": method}).mean("sample") for b in BRANCHES}
        title = f"{method_name(method)}, mean of {n} pairs"
        run.picture(f"average_attribution_{method}.png", overviews.averages(title, maps))


def _agreement(run: Folder, results: xr.Dataset) -> None:
    methods = [str(m) for m in results["method"].values]
    tables = {}
    for b in BRANCHES:
        plain = results[b].drop_vars([c for c in results[b].coords if c not in ("method",)])
        tables[b] = agreement({m: plain.sel({"method": m}, drop=True) for m in methods})
    frame = pd.concat([t.to_pandas().assign(branch=b) for b, t in tables.items()]).reset_index()
    save(frame, run.file("method_agreement.csv"))
    title = f"Spearman's correlation of two methods over k-mers, mean of {results.sizes['sample']} pairs"
    if len(methods) > 1:
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
    logos: dict[str, xr.DataArray] = {}
    for b in BRANCHES:
        scores = by_kmer(bound[b].sel({"method": lead}, drop=True).mean("sample"))
        sequences = [str(s).upper().replace("U", "T") for s in bound[f"{b}_sequence"].values]
        table = assemble(scores, top=30, sequences=sequences)
        table["seed"] = [_seed_of(text, b, bound["mirna_sequence"].values) for text in table["consensus"]]
        save(table, run.file(f"motifs_{b}.csv"))
        logos_of = {
            f"{b}_{k}_{row.consensus}": _sites(row.consensus, row.kmers.split(","), sequences)
            for k, row in enumerate(table.head(LOGOS).itertuples())
        }
        logos |= {name: motif for name, motif in logos_of.items() if motif is not None}
        summary[b] = table.head(10)[["consensus", "score", "support", "sequences", "seed"]].to_dict("records")
    if logos:
        save_motifs(logos, run.file("motifs.meme"))
        run.picture("motifs.png", motif_cards(logos))
    return summary


def _sites(consensus: str, kmers: Sequence[str], sequences: Sequence[str]) -> xr.DataArray | None:
    """The letters of the sequences where one of a motif's k-mers lies, aligned with its consensus, as a motif; None with few sites."""
    counts = np.zeros((4, len(consensus)))
    places = {word: consensus.find(word) for word in kmers}
    sites = 0
    for text in sequences:
        starts = {
            m.start() - at for word, at in places.items() if at >= 0 for m in re.finditer(f"(?={word})", text)
        }
        windows = [text[s : s + len(consensus)] for s in starts if s >= 0 and s + len(consensus) <= len(text)]
        if windows:  # one of each sequence: the one most like the consensus
            best = max(sorted(windows), key=lambda w: sum(a == b for a, b in zip(w, consensus, strict=True)))
            for k, letter in enumerate(best):
                counts["ACGT".find(letter), k] += letter in "ACGT"
            sites += 1
    empty = counts.sum(0) == 0
    counts[:, empty] = 1
    return as_motif(counts / counts.sum(0), sites=sites, name=consensus) if sites >= SITES else None


def _seed_of(consensus: str, branch: str, mirnas: np.ndarray) -> str:
    """The most frequent seed of the miRNAs of which the motif has six letters in a row, or their site in the target."""
    counts: dict[str, int] = {}
    for text in (str(m).upper().replace("U", "T") for m in mirnas):
        seed = text[SEED[0] - 1 : SEED[1]]
        wanted = seed if branch == "mirna" else reverse_complement(seed)
        if any(wanted[i : i + 6] in consensus for i in range(max(0, len(wanted) - 5))):
            counts[seed] = counts.get(seed, 0) + 1
    return max(counts, key=lambda s: (counts[s], s)) if counts else ""


def _consensus(run: Folder, results: xr.Dataset) -> None:
    """What all methods agree on: of each k-mer the mean rank of its magnitude over methods and pairs, and the pairs by agreement."""
    methods = squares.per_sample(results)
    if len(methods) < 2:
        return
    maps, rows = {}, []
    for b in BRANCHES:
        a = results[b].sel({"method": methods})
        flat = np.abs(
            a.stack(cell=("y", "x"), create_index=False).transpose("sample", "method", "cell").values
        )
        ranks = (rankdata(flat, axis=-1) - 1) / max(1, flat.shape[-1] - 1)
        mean = ranks.mean((0, 1)).reshape(results["kmer"].shape)
        maps[b] = xr.DataArray(mean, dims=("y", "x"), coords={"kmer": results["kmer"]})
        for k, s in enumerate(results["sample"].values):
            with np.errstate(invalid="ignore", divide="ignore"):  # maps that are the same everywhere
                r = np.corrcoef(ranks[k])[np.triu_indices(len(methods), 1)]
            rows.append(
                {
                    "sample": str(s),
                    "branch": b,
                    "spearman_of_methods": float(np.nanmean(r)) if np.isfinite(r).any() else np.nan,
                }
            )
    table = pd.concat(
        [by_kmer(m).to_series().rename("mean_rank").reset_index().assign(branch=b) for b, m in maps.items()]
    )
    save(
        table.sort_values(["branch", "mean_rank"], ascending=[True, False], kind="stable"),
        run.file("consensus.csv"),
    )
    agreed = pd.DataFrame(rows).sort_values("spearman_of_methods", ascending=False, kind="stable")
    save(agreed, run.file("pair_agreement.csv"))
    title = f"consensus of {len(methods)} methods and {results.sizes['sample']} pairs"
    run.picture(
        "consensus.png", overviews.averages(title, maps, "mean rank of the magnitude (0 to 1)", "Reds")
    )


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
        means[squares.in_log_odds(method_name(m), a)] = {g: v[:, :length] for g, v in groups.items()}
    title = "mean attribution along the miRNA, with 95% intervals of three pairs or more; shaded: seed"
    run.picture("average_along_mirna.png", overviews.positions_picture(title, means, SEED))


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of all pairs as one dataset; shorter sequences are padded."""
    padded = xr.concat(parts, "sample", join="outer", combine_attrs="override", fill_value={"mirna_letter": " ", "mrna_letter": " "})  # fmt: skip
    return padded
