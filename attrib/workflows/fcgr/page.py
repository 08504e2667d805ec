"""A self-contained page to browse the pairs: it needs no server, no other files, no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any

import numpy as np
import xarray as xr

from attrib.domains.fcgr.kmers import SEED
from attrib.io.place import strict
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.samplefiles import site_of, track
from attrib.workflows.fcgr.squares import per_sample

BYTES = 30_000_000  # of attributions in a page; a browser loads that in a second or two


def page(
    results: xr.Dataset, names: Mapping[str, str], summary: Mapping[str, Any], files: Sequence[str]
) -> str:
    """The page as text.

    Parameters
    ----------
    results : Dataset
        Of all pairs.
    names : mapping of str to str
        Beginnings of the file names by pair.
    summary : mapping
    files : sequence of str
        Of all pairs together.

    Returns
    -------
    str
        Attributions are stored in 255 steps from minus to plus their limit; pairs beyond 30 MB are not in the page.
    """
    pictured = per_sample(results)
    methods = pictured + [m for m in map(str, results["method"].values) if m not in pictured]
    samples = [str(s) for s in results["sample"].values]
    size = 2 * len(methods) * results["mirna"][0, 0].size * 4 // 3
    browsable = samples[: max(1, BYTES // size)]
    data = {
        "message": _message(summary, len(samples), len(browsable)), "k": len(str(results["kmer"].values[0, 0])),
        "side": results.sizes["y"], "kmers": "".join(results["kmer"].values.ravel().tolist()), "seed": SEED,
        "methods": methods, "summary": {"methods": summary["methods"]},
        "samples": [_sample(results.sel(sample=s), s, names[s]) for s in browsable],
        "cohort": [f for f in files if f != "index.html"],
    }  # fmt: skip
    text = json.dumps(strict(data), separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # no tag can end the script
    template = package_files("attrib.workflows.fcgr").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("__DATA__", text)


def _message(summary: Mapping[str, Any], count: int, browsable: int) -> str:
    """The page's first lines: number of pairs, network, pairs left out."""
    bad = [f"{n}: {reason}" for n, reason in summary.get("bad_pairs", {}).items()]
    message = f"{count} pairs, accuracy {summary['accuracy']:.1%}; network: {summary.get('source', '')}."
    if bad:
        message += f" {len(bad)} could not be used: {'; '.join(bad[:5])}{'; ...' if len(bad) > 5 else ''}."
    if browsable < count:
        message += f" The first {browsable} can be browsed here, the others are in the files."
    return message


def _sample(pair: xr.Dataset, sample: str, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "sample": sample, "label": int(pair["label"]), "score": float(pair["score"]), "probability": float(pair["probability"]),
        "site": np.flatnonzero(site_of(pair)).tolist(),
        "files": [f"{name}_{f}.png" for f in ("mirna_comparison", "mrna_comparison", "grad_cam", "interaction_heatmap", "mirna_clusters", "mrna_clusters", "along")],
    }  # fmt: skip
    for b in BRANCHES:
        methods = [str(m) for m in pair["method"].values]
        entry[b] = {
            "sequence": str(pair[f"{b}_sequence"].values).upper().replace("U", "T"),
            "maps": {m: quantised(pair[b].sel({"method": m}).values) for m in methods},
            "along": {m: _short(track(pair, b, m).values) for m in methods},
        }
    lengths = [len(entry[b]["sequence"]) for b in BRANCHES]
    entry["interaction"] = None
    if "interaction" in pair:
        entry["interaction"] = [_short(r) for r in pair["interaction"].values[: lengths[0], : lengths[1]]]
    if not any(f"{b}_cam" in pair for b in BRANCHES):
        entry["files"] = [f for f in entry["files"] if not f.endswith("_grad_cam.png")]
    return entry


def quantised(values: np.ndarray) -> dict[str, Any]:
    """Numbers as signed bytes in base64, and the value of 127."""
    limit = float(np.nanmax(np.abs(values), initial=0.0))
    steps = np.rint(np.nan_to_num(values) / (limit or 1.0) * 127).astype(np.int8)
    return {"limit": limit, "values": base64.b64encode(steps.tobytes()).decode("ascii")}


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in np.nan_to_num(values)]
