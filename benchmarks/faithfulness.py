"""Which method finds what is known to say the answer, and at what cost: `python -m benchmarks.faithfulness --output FILE`."""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr

import attrib
from attrib.stats import mass_inside, pointing_game
from benchmarks.known_truth import PROBLEMS, Problem
from benchmarks.setting import table

METHODS = (
    "saliency", "smooth_grad", "input_x_gradient", "integrated_gradients", "gradient_shap", "deep_lift", "deep_lift_shap",
    "occlusion", "feature_ablation", "shapley_values", "grad_cam", "layer_cam",
)  # fmt: skip
COLUMNS = (
    "method", "inside the truth", "largest inside", "deletion z", "insertion z", "sensitivity", "randomization",
    "seconds per sample",
)  # fmt: skip
NUDGE = 0.02  # of the input's range: perturbations
REFUSALS = (ValueError, TypeError, NotImplementedError)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--output", type=Path)
    settings = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    text = "\n".join([head(settings.samples), *(section(make(settings.samples)) for make in PROBLEMS)])
    print(text)
    if settings.output is not None:
        settings.output.write_text(text, encoding="utf-8")


def head(samples: int) -> str:
    """What was run, where and with which versions."""
    return f"""\
# What finds a known truth

{datetime.now(UTC):%Y-%m-%d}, attrib {version("attrib")}, torch {torch.__version__}, {platform.machine()}, 1 thread, float32.
`python -m benchmarks.faithfulness --samples {samples}`. Small networks, trained on data in which it is known what says the
answer (benchmarks/known_truth.py); {samples} samples or fewer that they had not seen; the score is the logit of the right class.

*Inside the truth*: the share of the positive attribution on the positions that say the answer, summed over channels, letters or features
(magnitudes, where the method gives gradients). *Largest inside*: how often the largest attribution lies there. Chance is in the
line above each table. *Deletion* and *insertion*: z of the area against 10 random orders of the positions, median; baselines are the mean of samples
without an answer, as for all methods that take one. *Sensitivity*: largest relative change under noise of 2% of the range.
*Randomization*: rank correlation with the attribution of the network after all its weights were drawn anew.
"""


def section(problem: Problem) -> str:
    """The table of one problem."""
    rows = [line for line in (row(name, problem) for name in METHODS) if line is not None]
    inside = mass_inside(xr.ones_like(problem.truth, dtype=float), problem.truth, problem.positions)
    words = (
        f"{problem.x.sizes['sample']} samples. Right answers: {problem.accuracy:.0%}. By chance {float(inside.chance.mean()):.1%} lie inside. Input of a sample: "
        f"{' x '.join(map(str, problem.x.shape[1:]))}; players of `shapley_values`: {players(problem)}."
    )
    return table(problem.name, words, COLUMNS, rows)


def players(problem: Problem) -> str:
    groups = problem.options["shapley_values"]["groups"]
    if isinstance(groups, str):
        return f"{len(set(problem.x[groups].values))} by {groups}"
    return f"{len(set(groups.values.ravel().tolist()))} blocks along {', '.join(map(str, groups.dims))}"


def row(name: str, problem: Problem) -> list[str] | None:
    """The line of a method; None where it does not apply."""
    method, options = getattr(attrib, name), dict(problem.options.get(name, {}))
    about = method.about
    start = problem.pool.mean("baseline")
    if about.baselines is not None:
        options["baselines"] = problem.pool if about.baselines == "distribution" else start
    shared: dict[str, Any] = {"target": problem.target}
    try:
        begin = time.process_time()
        a = method(problem.model, problem.x, **options, **shared)
        spent = (time.process_time() - begin) / problem.x.sizes["sample"]
    except REFUSALS:
        return None
    if not set(problem.positions) <= set(a.dims):  # a map of a layer without positions
        return None
    over = [d for d in a.dims if d not in ("sample", *problem.positions)]
    on_positions = abs(a).sum(over) if about.units == "gradient" else a.sum(over)
    inside = mass_inside(on_positions, problem.truth, problem.positions)
    hits = pointing_game(on_positions, problem.truth, problem.positions)
    measured = {
        n: getattr(attrib, n)(problem.model, problem.x, on_positions, baselines=start, n_random=10, **shared)
        for n in ("deletion", "insertion")
    }
    inner = partial(method, **options)
    span = float(problem.x.max() - problem.x.min())
    moved = attrib.sensitivity_max(
        inner, problem.model, problem.x, perturb_radius=NUDGE * span, n_perturb_samples=3, **shared
    )
    drawn = attrib.randomization(inner, problem.model, problem.x, **shared).isel(layer=-1)
    return [
        f"`{name}`", f"{float(inside.mean()):.0%}", f"{float(hits.mean()):.0%}", f"{float(measured['deletion'].z.median()):.1f}",
        f"{float(measured['insertion'].z.median()):.1f}", f"{float(moved.mean()):.2f}", f"{float(drawn.mean()):.2f}",
        f"{spent:.2g}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
