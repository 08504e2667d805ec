"""Pairs of label 1 against pairs of label 0, k-mer by k-mer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from attrib.domains.fcgr import by_kmer
from attrib.io import save
from attrib.stats import contrast
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import leading
from attrib.workflows.folder import Folder

LEAST = 3  # samples per label below which groups are not compared
LEVEL = 0.05


def write_contrast(run: Folder, results: xr.Dataset, seed: int) -> dict[str, Any]:
    """Tables and pictures of the leading method's difference between both labels.

    Parameters
    ----------
    run : Folder
    results : Dataset
        Of all pairs.
    seed : int
        Of resampling.

    Returns
    -------
    dict
        Entries of the summary.
    """
    label = results["label"].values
    counts = int(label.sum()), int((1 - label).sum())
    if min(counts) < LEAST:
        few = f"{counts[0]} positives and {counts[1]} negatives, expected at least {LEAST} of each"
        return {"left_out": few}
    lead, summary = leading(results), {}
    groups = f"{squares.spoken(lead)}: {counts[0]} positives less {counts[1]} negatives"
    for b in BRANCHES:
        a = results[b].sel({"method": lead}, drop=True)
        difference = contrast(
            a.drop_vars([c for c in a.coords if c not in ("y", "x", "kmer")]), label, seed=seed
        )
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
