"""What the page of the study shows: figures of the run, a gene search, leading genes and heat maps label by label."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attrib.workflows.expression.findings import Findings
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, search, table

SEARCHED = 24 << 20  # bytes of mean attributions on the page; beyond, those of the first method alone


def gene_data(results: Mapping[str, Findings]) -> str:
    """The mean attributions of all genes by label, as a script that the page loads."""
    moments = next(iter(results.values())).moments
    data: dict[str, Any] = {
        "genes": moments["gene"].values.astype(str).tolist(),
        "symbols": moments["symbol"].values.astype(str).tolist() if "symbol" in moments.coords else None,
        "labels": moments["label"].values.astype(str).tolist(),
        "means": {},
        "units": {},
    }
    size = moments["mean"].size * 4
    for method in list(results)[: max(1, SEARCHED // max(1, size))]:
        mean = results[method].moments["mean"].transpose("gene", "label")
        data["means"][method] = base64.b64encode(
            np.ascontiguousarray(mean.values, dtype="<f4").tobytes()
        ).decode()
        data["units"][method] = mean.attrs.get("units", "")
    return f"window.GENES = {json.dumps(data)};\n"


def study_page(
    summary: Mapping[str, Any],
    results: Mapping[str, Findings],
    enriched: pd.DataFrame | None,
    files: Sequence[str],
) -> str:
    """The page, with links to all files."""
    overviews = [f for f in files if f.endswith(".png") and not f.startswith("heatmap_")]
    return page(
        "Expression",
        [
            paragraphs(*_head(summary)),
            links(f for f in files if not f.startswith("heatmap_")),
            listing("Left out", [f"{k}: {v}" for k, v in summary["problems"].items()], "summary.json"),
            listing("Genes of the model that the data lack", summary["missing_genes"], "summary.json"),
            table("Methods", _methods(summary["methods"]), "run.json"),
            search("Gene search", "genes.js", "id or symbol"),
            browser(
                "Leading genes",
                _labels(summary, results),
                [{"kind": "picture", "key": "heatmaps", "by": ["method"]}, {"kind": "table", "key": "top", "by": ["method"], "columns": _columns(results)}],
                choices=[{"name": "method", "options": list(results)}], order=["samples"],
            ),
            pictures("Over all labels", overviews),
            _sets(enriched),
        ],
    )  # fmt: skip


def _head(summary: Mapping[str, Any]) -> list[str]:
    accuracy, split = summary["accuracy_of_split"], summary["split"]
    those = (
        "of them"
        if split == "all"
        else f"of the {summary['samples_of_split']} of the training's {split} split"
    )
    correct = "" if accuracy is None else f", {accuracy:.1%} {those} predicted correctly"
    few, without = summary["labels_with_few_samples"], summary["labels_without_explained_samples"]
    lines = [
        f"{summary['samples']} samples of {summary['genes']} genes{correct}; {summary['explained']} explained, of {len(summary['labels'])} labels."
    ]
    if few:
        lines.append(
            f"Labels with fewer than three explained samples, whose figures say little: {', '.join(few)}."
        )
    return [*lines, f"Labels without explained samples: {', '.join(without)}."] if without else lines


def _methods(methods: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "method": m["method"], "completeness error (median)": m.get("completeness_error_median"), "largest": m.get("completeness_error_max"),
            "deletion z (median)": m.get("deletion_z_median"), "seconds": m.get("seconds"),
        }
        for m in methods
    ])  # fmt: skip


def _columns(results: Mapping[str, Findings]) -> list[str]:
    return [str(c) for c in next(iter(results.values())).top.columns if c != "label"]


def _labels(summary: Mapping[str, Any], results: Mapping[str, Findings]) -> list[dict[str, Any]]:
    """Leading genes and heat maps of every label, by method."""
    columns = _columns(results)
    tables = {m: dict(list(f.top.groupby("label"))) for m, f in results.items()}
    return [
        {
            "name": name, "samples": count, "says": f"{count} samples", "heatmaps": summary["heatmaps"].get(name, {}),
            "top": {m: t[name][columns].astype(object).values.tolist() for m, t in tables.items() if name in t},
        }
        for name, count in sorted(summary["labels"].items())
    ]  # fmt: skip


def _sets(enriched: pd.DataFrame | None) -> dict[str, Any] | None:
    if enriched is None:
        return None
    rows = enriched[enriched["q"] <= 0.05].sort_values(["method", "label", "p"], kind="stable")
    return table("Gene sets among the leading genes (q of at most 0.05)", rows, "enrichment.csv")
