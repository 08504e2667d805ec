"""What the page of the pairs shows: maps whose k-mers have names under the pointer, sequences, interaction, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.fcgr.images import SEED
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import site_of, track
from attrib.workflows.fcgr.squares import TITLES, in_log_odds, per_sample, runs
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, quantised, table

BYTES = 30_000_000  # of attributions in a page; a browser loads that in a second or two
CAPTION = "Red speaks for binding, blue against; each picture has its own scale. Shaded and outlined: the seed and its site."


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
            table("Methods", _methods(summary), "analysis_summary.json"),
            pictures("All pairs", [f for f in files if f.endswith(".png")]),
            links(f for f in files if f != "index.html" and not f.endswith(".png")),
        ],
    )  # fmt: skip


def _left_out(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    reason = (summary.get("positives_against_negatives") or {}).get("left_out")
    return paragraphs(f"Positives against negatives: left out, {reason}.", note=True) if reason else None


def _methods(summary: Mapping[str, Any]) -> pd.DataFrame:
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
