"""Where the attributions of a miRNA-target network lie, on data whose truth is known: the seed and its site.

`python -m benchmarks.sites --data model/test.csv --checkpoint model/model.safetensors`
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.domains.fcgr.images import SEED
from attrib.plots.scale import figure, wrapped
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr import load_predictor
from attrib.workflows.fcgr.layers import branch_layers
from attrib.workflows.fcgr.pairs import BRANCHES, read_pairs
from attrib.workflows.fcgr.samplefiles import site_of, track
from attrib.workflows.fcgr.study import CORRECTIONS, METHODS, Settings, checked_methods, explained

AROUND = 15  # positions on either side of the site in the picture
CHUNK = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--picture", type=Path, default=Path("docs/images/fcgr-sites.png"))
    parser.add_argument("--output", type=Path, default=Path("sites.json"))
    arguments = parser.parse_args()
    pairs, mirnas = computed(arguments.checkpoint, arguments.data, arguments.pairs)
    shares = {m: share(pairs, m) for m in pairs[0]["method"].values.tolist()}
    summary = {
        "positives": len(pairs),
        "mirnas": mirnas,
        "chance": chance(pairs),
        "interaction": joined(pairs),
        "methods": shares,
    }
    arguments.output.write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary, indent=1))
    picture(pairs, list(METHODS)).savefig(arguments.picture)


def computed(checkpoint: Path, data: Path, count: int) -> tuple[list[xr.Dataset], int]:
    """Results of positives with a site, drawn by seed 0."""
    predictor = load_predictor(checkpoint)
    table = read_pairs(data, predictor.images.k).table
    background = predictor.images.of(table.sample(20, random_state=0))
    bound = table[table["label"] == 1].sample(frac=1.0, random_state=1)
    x = predictor.images.of(bound)
    sites = [site_of(x.isel(sample=i)).any() for i in range(len(bound))]
    chosen = np.flatnonzero(sites)[:count]
    layers = branch_layers(predictor.model, {b: torch.from_numpy(x[b].values[:1]) for b in BRANCHES})
    settings = Settings(*checked_methods(METHODS, CORRECTIONS), layers, True, {}, 0, "auto")
    parts, start = [], time.perf_counter()
    for at in range(0, len(chosen), CHUNK):
        part = explained(predictor, x.isel(sample=chosen[at : at + CHUNK]), background, settings, {})
        parts += [part.isel(sample=i) for i in range(part.sizes["sample"])]
        print(f"{len(parts)} of {len(chosen)} after {time.perf_counter() - start:.0f} s", flush=True)
    return parts, int(bound["mirna"].iloc[chosen].nunique())


def share(pairs: list[xr.Dataset], method: str) -> dict[str, float]:
    """How often the largest letter lies in the site (target), in the seed (miRNA)."""
    target, mirna = [], []
    for pair in pairs:
        target.append(site_of(pair)[int(np.argmax(track(pair, "mrna", method).values))])
        mirna.append(SEED[0] - 1 <= int(np.argmax(track(pair, "mirna", method).values)) < SEED[1])
    return {"target": float(np.mean(target)), "mirna": float(np.mean(mirna))}


def chance(pairs: list[xr.Dataset]) -> dict[str, float]:
    """The same for a letter drawn at random."""
    return {
        "target": float(np.mean([site_of(pair).mean() for pair in pairs])),
        "mirna": float(
            np.mean([(SEED[1] - SEED[0] + 1) / len(track(pair, "mirna", METHODS[0])) for pair in pairs])
        ),
    }


def joined(pairs: list[xr.Dataset]) -> dict[str, float]:
    """How often the largest entry of the interaction, and of the outer product, joins seed and site."""
    hits: dict[str, list[bool]] = {"interaction": [], "outer product": []}
    for pair in pairs:
        a, b = (track(pair, branch, METHODS[0]).values for branch in BRANCHES)
        site = site_of(pair)
        true = pair["interaction"].values[: len(a), : len(b)]
        for name, values in (("interaction", true), ("outer product", np.outer(a, b))):
            i, j = np.unravel_index(int(values.argmax()), values.shape)
            hits[name].append(SEED[0] - 1 <= i < SEED[1] and bool(site[j]))
    return {name: float(np.mean(v)) for name, v in hits.items()}


def picture(pairs: list[xr.Dataset], methods: list[str]) -> Any:
    """Mean attribution along the miRNA, and along the target around the site, as a share of each pair's total magnitude."""
    drawing = figure((9.6, 0.9 + 1.25 * len(methods)))
    axes: Any = drawing.subplots(len(methods), 2, sharex="col", width_ratios=[20, 36])
    for row, method in zip(axes, methods, strict=True):
        for ax, (x, mean, low, high), shaded in zip(
            row, lines(pairs, method), ((SEED[0], SEED[1]), (0, SEED[1] - SEED[0])), strict=True
        ):
            ax.axvspan(shaded[0] - 0.5, shaded[1] + 0.5, color="#ffd54d", alpha=0.4, linewidth=0)
            ax.fill_between(x, low, high, color="#b2182b", alpha=0.2, linewidth=0)
            ax.plot(x, mean, color="#b2182b", linewidth=1.3, marker=".", markersize=4)
            ax.axhline(0, color="black", linewidth=0.6)
            ax.tick_params(labelsize=7)
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(wrapped(method_name(method), 14), fontsize=8)
    axes[-1, 0].set_xticks([1, 5, 10, 15, 20])
    axes[-1, 0].set_xlabel("miRNA position (nt)", fontsize=9)
    axes[-1, 1].set_xlabel("target position from the first letter of the site (nt)", fontsize=9)
    axes[0, 0].set_title("miRNA (shaded: seed)", fontsize=9)
    axes[0, 1].set_title("target (shaded: site)", fontsize=9)
    drawing.suptitle(
        f"Share of the attribution, median of {len(pairs)} positives of miRNAs never seen (band: quartiles)",
        fontsize=10,
    )
    return drawing


def lines(pairs: list[xr.Dataset], method: str) -> list[tuple[np.ndarray, ...]]:
    """x, median and quartiles of both branches."""
    length = min(len(track(pair, "mirna", method)) for pair in pairs)
    rows: Mapping[str, list[np.ndarray]] = {"mirna": [], "mrna": []}
    for pair in pairs:
        a = track(pair, "mirna", method).values
        rows["mirna"].append((a / np.abs(a).sum())[:length])
        b = track(pair, "mrna", method).values
        first = int(np.flatnonzero(site_of(pair))[0])
        padded = np.pad(b / np.abs(b).sum(), AROUND, constant_values=np.nan)
        rows["mrna"].append(padded[first : first + 2 * AROUND + SEED[1] - SEED[0] + 1])
    xs = np.arange(1, length + 1), np.arange(-AROUND, AROUND + SEED[1] - SEED[0] + 1)
    return [
        (x, *np.nanquantile(np.stack(rows[b]), (0.5, 0.25, 0.75), axis=0))
        for x, b in zip(xs, BRANCHES, strict=True)
    ]


if __name__ == "__main__":
    main()
