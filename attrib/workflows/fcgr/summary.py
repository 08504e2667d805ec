"""The figures of all pairs together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib import __version__
from attrib.domains.fcgr.kmers import SEED
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import site_of


def summed_up(results: xr.Dataset, table: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy, figures of the methods and of the interaction, and the facts of the run.

    Parameters
    ----------
    results : Dataset
        Of all pairs.
    table : DataFrame
        Of `attribution_statistics.csv`.
    facts : mapping
    """
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
