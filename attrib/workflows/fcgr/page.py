"""A page of its own in which the pairs can be browsed: no server, no other files, no network."""

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
from attrib.workflows.fcgr.samplefiles import own_site, track
from attrib.workflows.fcgr.squares import per_sample

BYTES = 30_000_000  # maps in a page; a browser takes that in a second or two


def page(
    found: xr.Dataset, names: Mapping[str, str], summary: Mapping[str, Any], files: Sequence[str]
) -> str:
    """The page as text.

    Parameters
    ----------
    found : Dataset
        Of all pairs.
    names : mapping of str to str
        Beginnings of the file names by pair.
    summary : mapping
    files : sequence of str
        Of all pairs together.

    Returns
    -------
    str
        Maps are there in 255 steps from minus to plus their limit; pairs beyond 30 MB of maps are left to the files.
    """
    own = per_sample(found)
    methods = own + [m for m in map(str, found["method"].values) if m not in own]
    samples = [str(s) for s in found["sample"].values]
    size = 2 * len(methods) * found["mirna"][0, 0].size * 4 // 3
    shown = samples[: max(1, BYTES // size)]
    data = {
        "said": _said(summary, len(samples), len(shown)), "k": len(str(found["kmer"].values[0, 0])),
        "side": found.sizes["y"], "kmers": "".join(found["kmer"].values.ravel().tolist()), "seed": SEED,
        "methods": methods, "summary": {"methods": summary["methods"]},
        "samples": [_sample(found.sel(sample=s), s, names[s]) for s in shown],
        "cohort": [f for f in files if f != "index.html"],
    }  # fmt: skip
    text = json.dumps(strict(data), separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # no tag can end the script
    template = package_files("attrib.workflows.fcgr").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("__DATA__", text)


def _said(summary: Mapping[str, Any], count: int, shown: int) -> str:
    """The page's first lines: how many pairs, which network, what was left out."""
    bad = [f"{n}: {reason}" for n, reason in summary.get("bad_pairs", {}).items()]
    said = f"{count} pairs, accuracy {summary['accuracy']:.1%}; network: {summary.get('source', '')}."
    if bad:
        said += f" {len(bad)} could not be used: {'; '.join(bad[:5])}{'; ...' if len(bad) > 5 else ''}."
    if shown < count:
        said += f" The first {shown} can be browsed here, the others are in the files."
    return said


def _sample(one: xr.Dataset, sample: str, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "sample": sample, "label": int(one["label"]), "score": float(one["score"]), "probability": float(one["probability"]),
        "site": np.flatnonzero(own_site(one)).tolist(),
        "files": [f"{name}_{f}.png" for f in ("mirna_comparison", "mrna_comparison", "grad_cam", "interaction_heatmap", "mirna_clusters", "mrna_clusters", "along")],
    }  # fmt: skip
    for b in BRANCHES:
        methods = [str(m) for m in one["method"].values]
        made[b] = {
            "sequence": str(one[f"{b}_sequence"].values).upper().replace("U", "T"),
            "maps": {m: quantised(one[b].sel({"method": m}).values) for m in methods},
            "along": {m: _short(track(one, b, m).values) for m in methods},
        }
    lengths = [len(made[b]["sequence"]) for b in BRANCHES]
    made["interaction"] = None
    if "interaction" in one:
        made["interaction"] = [_short(r) for r in one["interaction"].values[: lengths[0], : lengths[1]]]
    if not any(f"{b}_cam" in one for b in BRANCHES):
        made["files"] = [f for f in made["files"] if not f.endswith("_grad_cam.png")]
    return made


def quantised(values: np.ndarray) -> dict[str, Any]:
    """Numbers as signed bytes in base64, and what 127 stands for."""
    limit = float(np.nanmax(np.abs(values), initial=0.0))
    steps = np.rint(np.nan_to_num(values) / (limit or 1.0) * 127).astype(np.int8)
    return {"limit": limit, "values": base64.b64encode(steps.tobytes()).decode("ascii")}


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{v:.4g}") for v in np.nan_to_num(values)]
