"""Integrated gradients, SmoothGrad and GradientSHAP beside the bare passes and captum, at one chunk size."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from attrib.functional import gradient_shap, integrated_gradients, smooth_grad
from benchmarks.bare import bare_passes, frozen
from benchmarks.models import Case
from benchmarks.peers import (
    CAPTUM,
    captum_gradient_shap,
    captum_ig,
    captum_smooth_grad,
    loop_gradient_shap,
    loop_ig,
    loop_smooth_grad,
)
from benchmarks.setting import TARGET, Setting, alternate, check, difference, ratio, table, tolerance, verdict

STDEV = 0.2
DEMAND = 1.10


class Trial(NamedTuple):
    """One method on one network, four ways."""

    name: str
    rows: int
    attrib: Callable[[], Any]
    captum: Callable[[], object]
    bare: Callable[[], object]
    loop: Callable[[nn.Module], Any]


def trials(setting: Setting, case: Case) -> Iterator[Trial]:
    """The three methods on a network."""
    model, xs = setting.ready(case)
    chunk, steps = setting.chunk(case), setting.steps
    x = xs if len(xs) > 1 else xs[0]
    pool = case.inputs(10, setting.device, setting.dtype, seed=2)
    shared = {"target": TARGET, "batch_size": chunk}
    net = frozen(model)
    bare = bare_passes(model, xs, len(xs[0]) * steps, chunk, TARGET)
    rows = len(xs[0]) * steps
    yield Trial(
        "integrated gradients", rows,
        partial(integrated_gradients, model, x, n_steps=steps, **shared),
        partial(captum_ig, net, xs, TARGET, steps, chunk), bare,
        partial(loop_ig, xs=xs, target=TARGET, steps=steps),
    )  # fmt: skip
    yield Trial(
        "SmoothGrad", rows,
        partial(smooth_grad, model, x, n_samples=steps, stdevs=STDEV, **shared),
        partial(captum_smooth_grad, net, xs, TARGET, steps, chunk, STDEV), bare,
        partial(loop_smooth_grad, xs=xs, target=TARGET, count=steps, stdev=STDEV),
    )  # fmt: skip
    yield Trial(
        "GradientSHAP", rows,
        partial(gradient_shap, model, x, baselines=pool if len(xs) > 1 else pool[0], n_samples=steps, **shared),
        partial(captum_gradient_shap, net, xs, TARGET, steps, chunk, pool), bare,
        partial(loop_gradient_shap, xs=xs, target=TARGET, count=steps, baselines=pool),
    )  # fmt: skip


def run(setting: Setting) -> str:
    """The table of times."""
    lines = []
    for case in setting.cases:
        _check_answers(setting, case)
        for trial in trials(setting, case):
            lines.append(_timed(setting, case, trial))
    words = (
        f"{setting.steps} steps or draws per sample, 64 rows per call (MLPs: 256) on all sides. Ratios are medians over "
        f"{setting.rounds} alternating rounds; the demand is at most {DEMAND:.2f} of the bare passes. captum gets frozen "
        "parameters too. Below 1 where the first layer is taken out of the path (integrated gradients of one input)."
    )
    columns = [
        "network",
        "method",
        "attrib / bare passes",
        "demand",
        "captum / bare",
        "attrib / captum",
        "samples/s",
        "share of own speed",
    ]
    return table("Time", words, columns, lines)


def _check_answers(setting: Setting, case: Case) -> None:
    """In double precision equal to a plain loop, and in the precision that is timed nearly so."""
    small = Setting(setting.device, setting.dtype, quick=True)
    for exact, timed in zip(trials(small.exact, case), trials(small, case), strict=True):
        reference = exact.attrib()
        loop = exact.loop(frozen(case.model(setting.device, torch.float64)))
        loop = loop if isinstance(reference, tuple) else loop[0]
        check(f"{exact.name} on {case.name}", difference(reference, loop), tolerance(small.exact))
        check(f"{exact.name} on {case.name}", difference(timed.attrib(), reference), tolerance(small))


def _timed(setting: Setting, case: Case, trial: Trial) -> list[str]:
    works = {"attrib": trial.attrib, "bare": trial.bare} | ({"captum": trial.captum} if CAPTUM else {})
    times = alternate(works, setting)
    to_bare = ratio(times, "attrib", "bare")
    peer = [
        f"{ratio(times, *pair):.2f}" if CAPTUM else "-" for pair in (("captum", "bare"), ("attrib", "captum"))
    ]
    speed = setting.samples(case) / statistics.median(times["attrib"])
    return [
        case.name, trial.name, f"{to_bare:.2f}", verdict(round(to_bare, 2), DEMAND), *peer, f"{speed:.1f}", f"{1 / to_bare:.2f}",
    ]  # fmt: skip
