"""The files of all pairs together and their page: attributions, tables, groups compared, motifs, averages, summary."""

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
from attrib.workflows.fcgr import layers, samplefiles
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import (
    TITLES,
    in_log_odds,
    leading,
    per_sample,
    rows,
    runs,
    site_of,
    track,
)
from attrib.workflows.folder import Folder
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, quantised, table

LEAST = 3  # samples per label below which groups are not compared
LEVEL = 0.05
LOGOS, SITES = 8, 3  # motifs of a branch that are looked at, and the sites that a logo must have

BYTES = 30_000_000  # of attributions in a page; a browser loads that in a second or two
CAPTION = "Red speaks for binding, blue against; each picture has its own scale. Shaded and outlined: the seed and its site."


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
        title = f"{samplefiles.TITLES[b]}, {groups}"
        run.picture(f"positive_negative_{b}.png", layers.contrast_picture(title, difference))
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
        summary["interaction"] = {"completeness_error_max": float(delta.max()), "softplus": results["interaction"].attrs.get("softplus"), "top_joins_seed_and_site": _joined(results)}  # fmt: skip
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


def _joined(results: xr.Dataset) -> dict[str, Any]:
    """How often the largest entry of the interaction joins seed and site, among positives with a site."""
    hits = []
    for s in results["sample"].values:
        pair = results.sel(sample=s)
        site = site_of(pair)
        if int(pair["label"]) != 1 or not site.any():
            continue
        values = pair["interaction"].values[: len(str(pair["mirna_sequence"].values)), : len(site)]
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
        run.picture(f"average_attribution_{method}.png", layers.averages(title, maps))


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
        run.picture("method_agreement.png", layers.agreement_picture(title, tables))


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
        spelled = [str(s).upper().replace("U", "T") for s in bound[f"{b}_sequence"].values]
        sequences = list(dict.fromkeys(spelled))  # a miRNA of many pairs is one
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
    methods = samplefiles.per_sample(results)
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
    run.picture("consensus.png", layers.averages(title, maps, "mean rank of the magnitude (0 to 1)", "Reds"))


def _along(run: Folder, results: xr.Dataset) -> None:
    """Draw the mean attribution along the miRNA, whose positions correspond in all pairs."""
    label = results["label"].values
    means: dict[str, dict[str, np.ndarray]] = {}
    for m in samplefiles.per_sample(results):
        a = results["mirna_along"].sel({"method": m})
        groups = {
            f"label {c} (n = {(label == c).sum()})": a.values[label == c]
            for c in (1, 0)
            if (label == c).any()
        }
        length = min(len(str(s)) for s in results["mirna_sequence"].values)
        means[samplefiles.in_log_odds(method_name(m), a)] = {g: v[:, :length] for g, v in groups.items()}
    title = "mean attribution along the miRNA, with 95% intervals of three pairs or more; shaded: seed"
    run.picture("average_along_mirna.png", layers.positions_picture(title, means, SEED))


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The parts of all pairs as one dataset; shorter sequences are padded."""
    padded = xr.concat(parts, "sample", join="outer", combine_attrs="override", fill_value={"mirna_letter": " ", "mrna_letter": " "})  # fmt: skip
    return padded


def study_page(
    results: xr.Dataset,
    names: Mapping[str, str],
    summary: Mapping[str, Any],
    files: Sequence[str],
    drawn: Sequence[str],
) -> str:
    """The page as text. Attributions are stored in 255 steps from minus to plus their limit; pairs beyond 30 MB are not in the page."""
    pictured = per_sample(results)
    methods = pictured + [m for m in map(str, results["method"].values) if m not in pictured]
    samples = [str(s) for s in results["sample"].values]
    size = 2 * len(methods) * results["mirna"][0, 0].size * 4 // 3
    browsable = samples[: max(1, BYTES // size)]
    kmers, corner = results["kmer"].values, (0, -1)
    square: dict[str, Any] = {
        "kind": "grid", "by": ["method"], "beside": True, "letters": len(str(kmers[0, 0])), "cells": "".join(kmers.ravel().tolist()),
        "corners": [str(kmers[y, x])[-1] for y in corner for x in corner],
    }  # fmt: skip
    views: list[dict[str, Any]] = [square | {"key": b, "title": TITLES[b]} for b in BRANCHES]
    views += [
        {"kind": "track", "by": ["method"], "key": f"{b}_along", "title": f"{TITLES[b]}, 5' to 3'"} for b in BRANCHES
    ]  # fmt: skip
    views += [
        {
            "kind": "grid", "key": "interaction", "cell": 15, "title": "interaction: miRNA down, target across", "unit": "integrated Hessians (log-odds)",
        },
        {"kind": "links", "key": "files"},
    ]  # fmt: skip
    bad = [f"{n}: {reason}" for n, reason in summary.get("bad_pairs", {}).items()]
    return page(
        "miRNA and target: what the network looked at",
        [
            paragraphs(f"{len(samples)} pairs, accuracy {summary['accuracy']:.1%}; network: {summary.get('source', '')}."),
            paragraphs(f"The first {len(browsable)} can be browsed here, the others are in the files.") if len(browsable) < len(samples) else None,
            _left_out(summary),
            listing("Pairs that could not be used", bad, "analysis_summary.json"),
            browser(
                "Pairs", [_sample(results.sel(sample=s), s, names[s], s in drawn) for s in browsable], views,
                choices=[{"name": "method", "options": methods}], order=["probability", "score"], caption=CAPTION,
            ),
            table("Methods", _method_rows(summary), "analysis_summary.json"),
            pictures("All pairs", [f for f in files if f.endswith(".png")]),
            links(f for f in files if f != "index.html" and not f.endswith(".png")),
        ],
    )  # fmt: skip


def _left_out(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    reason = (summary.get("positives_against_negatives") or {}).get("left_out")
    return paragraphs(f"Positives against negatives: left out, {reason}.", note=True) if reason else None


def _method_rows(summary: Mapping[str, Any]) -> pd.DataFrame:
    rows = []
    for method, figures in summary["methods"].items():
        row = {
            "method": method_name(method),
            "largest completeness error": figures["completeness_error_max"],
            "deletion z (median)": figures["deletion_z_median"],
        }
        for b in BRANCHES:
            for kind in ("Pearson", "Spearman"):
                name = f"{kind.lower()}_with_integrated_gradients"
                row[f"{kind} correlation with integrated gradients, {TITLES[b]}"] = figures[b][name]
            row[f"top position in {'seed' if b == 'mirna' else 'site'}, {TITLES[b]} (share)"] = figures[b][
                "top_in_site_share"
            ]
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(frame.columns[1:], float))


def _sample(pair: xr.Dataset, sample: str, name: str, drawn: bool) -> dict[str, Any]:
    label, probability = int(pair["label"]), float(pair["probability"])
    site = site_of(pair)
    entry: dict[str, Any] = {
        "name": sample, "label": str(label), "score": float(pair["score"]), "probability": probability,
        "says": f"label {label}, probability of binding {probability:.3f}, score {float(pair['score']):.3g} (log-odds)",
        "wrong": (probability >= 0.5) != (label == 1),
        "files": [f"{name}_{f}.png" for f in _files(pair)] if drawn else [],
    }  # fmt: skip
    spans = {"mirna": [[SEED[0] - 1, SEED[1] - SEED[0] + 1]], "mrna": [[a, b - a] for a, b in runs(site)]}
    letters = {b: str(pair[f"{b}_sequence"].values).upper().replace("U", "T") for b in BRANCHES}
    methods = [str(m) for m in pair["method"].values]
    for b in BRANCHES:
        units = {m: in_log_odds("attribution", pair[b].sel({"method": m})) for m in methods}
        entry[b] = {m: quantised(pair[b].sel({"method": m}).values) | {"unit": units[m]} for m in methods}
        entry[f"{b}_along"] = {
            m: {
                "letters": letters[b],
                "values": _short(track(pair, b, m).values),
                "marked": spans[b],
                "unit": units[m],
            }
            for m in methods
        }
    if "interaction" in pair:
        (top, high), lengths = spans["mirna"][0], [len(letters[b]) for b in BRANCHES]
        values = pair["interaction"].values[: lengths[0], : lengths[1]]
        entry["interaction"] = quantised(values) | {
            "row_names": letters["mirna"], "column_names": letters["mrna"],
            "boxes": [[top, start, high, count] for start, count in spans["mrna"]],
        }  # fmt: skip
    return entry


def _files(pair: xr.Dataset) -> list[str]:
    kinds = ["mirna_comparison", "mrna_comparison", "grad_cam", "interaction_heatmap", "mirna_clusters", "mrna_clusters", "along"]  # fmt: skip
    return [k for k in kinds if k != "grad_cam" or any(f"{b}_cam" in pair for b in BRANCHES)]


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in np.nan_to_num(values)]
