"""Integrated gradients: the gradient averaged along the straight line from a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.affine_first_layer import Lines, straight_lines
from attrib.engine.gradient.exact_lines import Averages, exact_averages, order_of, refuse_what_is_bent
from attrib.engine.gradient.passes import Passes, add_by_sample
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple, of_samples
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.quadrature import LEVELS, nested, rule
from attrib.engine.target import TargetLike
from attrib.functional.explanation import (
    Explanation,
    finish,
    method,
    missed_completeness,
    refuse_non_finite_baselines,
)

Rows = tuple[Tensor, ...]
STEPS, MOST_EVALUATIONS = 50, 10_000  # of rules, and of "exact"
ROUNDINGS = 64  # of an entry, which no rule can do without


@method(
    "Integrated gradients",
    axioms=(
        "completeness",
        "sensitivity",
        "dummy",
        "implementation_invariance",
        "linearity",
        "symmetry",
        "translation",
    ),
    cost="n_steps x (forward + backward)",
    units="output",
    reference="arXiv:1703.01365",
    baselines="point",
    complete=True,
)
def integrated_gradients(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines = 0.0,
    n_steps: int | None = None,
    quadrature: str = "gausslegendre",
    multiply_by_inputs: bool = True,
    rtol: float | None = None,
    max_steps: int = LEVELS[-1],
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Gradient integrated along the straight line from a baseline to the input.

    ``a_i = (x_i - x0_i) * integral over alpha in [0, 1] of d f(x0 + alpha (x - x0)) / d x_i``

    Parameters
    ----------
    {f}
    {x}
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        Where the path begins: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the
        inputs.
    n_steps : int, optional
        Points on the path of a rule, 50 by default. With `"exact"` the most evaluations of the model that a sample may take,
        10,000 by default.
    quadrature : str, default "gausslegendre"
        Or `"riemann_left"`, `"riemann_right"`, `"riemann_middle"`, `"riemann_trapezoid"`, with captum's nodes and
        weights. (The weights of its trapezoid sum to 1 - 1/n_steps; `delta` shows it.) Or `"exact"`, for networks of linear ops
        and kinks (ReLU, leaky and parametric ReLU, abs, clamp, hardtanh, maximum, max-pooling): every place of the path
        where the network bends is computed, and the gradient is taken once on each linear part. `segments` and `evaluations`
        per sample are in `per_sample` of the explanation. Models with other ops are refused.
    multiply_by_inputs : bool, default True
        False leaves out the factor ``x - x0``: the average gradient, in output units per input unit.
    rtol : float, optional
        Instead of `n_steps`: nested Clenshaw-Curtis points (5, 9, 17, ... 1025) per sample until the attributions of two
        rules, one with twice the points, differ in no entry by more than `rtol` times the largest, and
        ``|delta| <= rtol * |f(x) - f(x0)|``, for every target. The points used are `n_steps` of the explanation; what samples
        that do not get there have reached is in its notes.
    max_steps : int, default 1025
        With `rtol`: the most points of a sample, at least 5.
    {layer}
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    {raises}

    Notes
    -----
    Satisfies completeness (up to the quadrature: see `delta`, and the note `completeness` where it is more than a tenth of the
    change of the score and of the largest entry), sensitivity, dummy, implementation invariance, linearity and symmetry. Cost: `n_steps` forward and backward passes per sample and two forward passes; where the
    model's input goes into one linear layer and nowhere else, that layer runs once per sample instead of once per
    step. Memory: `batch_size` rows. A small completeness error does not prove that the attribution is
    right: errors of the rule can cancel. `"exact"` takes about two forward passes and one backward pass per linear part of
    the path, of which a network of 2,000 inputs and two layers has some hundreds; what more parts than `n_steps` allows would
    have added shows in `delta`. `rtol` watches the entries too; smooth networks take 9 to 33 points for 1e-3, those
    with kinks (ReLU) several hundred.

    References
    ----------
    Sundararajan, Taly, Yan (2017), Axiomatic attribution for deep networks. arXiv:1703.01365

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import integrated_gradients
    >>> integrated_gradients(lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]]))
    tensor([[3., 3.]])
    """
    xs = as_tuple(x)
    x0s = as_baselines(baselines, xs)
    exact = quadrature == "exact"
    if exact:
        _check_exact(n_steps, rtol)
        steps = MOST_EVALUATIONS if n_steps is None else n_steps
    else:
        steps = STEPS if n_steps is None else n_steps
        nodes, weights = rule(quadrature, steps)
    if rtol is not None and not rtol > 0:
        raise ValueError(f"`rtol` is {rtol}, expected a positive number")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < LEVELS[1]:
        raise ValueError(f"`max_steps` is {max_steps!r}, expected an int, at least {LEVELS[1]}")
    starts = _at_least_one_row(x0s, xs)
    rows = len(xs[0]) * (1 + (2 if exact else steps if rtol is None else LEVELS[1])) + len(starts[0])
    with Passes(
        f, xs, rows, more=exact, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        at_baseline = passes.scores_at(starts, torch.arange(len(xs[0])))
        refuse_non_finite_baselines(at_baseline, score)
        change = score - at_baseline
        mean, evaluations, notes, per_sample = _zeros(passes, xs), None, None, None
        if exact:
            refuse_what_is_bent(passes, xs)
            averages = []
            for lines in straight_lines(passes, xs, x0s, steps):
                averages.append(exact_averages(passes, lines, order_of(passes, lines), steps))
                _put(mean, lines, lines.at_input(averages[-1].mean))
                averages[-1] = averages[-1]._replace(mean=())
            per_sample, notes = _counts(averages), _too_many(averages, steps)
        elif rtol is None:
            for lines in straight_lines(passes, xs, x0s, steps):
                (average,) = _sums(passes, lines, lines.samples, nodes, weights[None])
                _put(mean, lines, lines.at_input(average))
        else:
            levels = sum(n <= max_steps for n in LEVELS)
            allowed = rtol * change.abs() + _rounding(score, change)
            refined = []
            for lines in straight_lines(passes, xs, x0s, LEVELS[levels - 1]):
                differences = _differences(passes, lines, xs, x0s) if multiply_by_inputs else None
                refined.append(_refined(passes, lines, differences, change, allowed, rtol, levels))
                _put(mean, lines, refined[-1].mean)
            evaluations = torch.cat([r.points for r in refined])
            notes = _reached(rtol, torch.cat([r.gap for r in refined]), evaluations)
    complete = tuple(m * (t - b) for m, t, b in zip(mean, xs, x0s, strict=True))
    delta = sum(c.reshape(*c.shape[:2], -1).sum(2).to(change.device) for c in complete) - change
    if rtol is None and not exact:
        advice = "n_steps=, or rtol=1e-3, which adds them where they are needed"
        notes = missed_completeness(delta, change, complete, score, advice)
    attribution = complete if multiply_by_inputs else mean
    return finish(
        passes, xs, attribution, score, delta=delta, n_steps=evaluations, notes=notes, per_sample=per_sample
    )


def _check_exact(n_steps: int | None, rtol: float | None) -> None:
    if rtol is not None:
        raise ValueError('`rtol` refines rules, but `quadrature` is "exact"; pass one of them')
    if n_steps is not None and (isinstance(n_steps, bool) or not isinstance(n_steps, int)):
        raise TypeError(f"`n_steps` is {n_steps!r}, expected an int")
    if n_steps is not None and n_steps < 4:
        raise ValueError(f'`n_steps` is {n_steps}, expected at least 4 evaluations for "exact"')


def _counts(averages: Sequence[Averages]) -> dict[str, Tensor]:
    """Linear parts and evaluations of each sample."""
    return {
        "segments": torch.cat([a.segments for a in averages]),
        "evaluations": torch.cat([a.evaluations for a in averages]),
    }


def _too_many(averages: Sequence[Averages], most: int) -> dict[str, str | int | float] | None:
    """The note on samples whose paths have more parts than they were allowed."""
    count = sum(int(a.short.sum()) for a in averages)
    if not count:
        return None
    return {
        "quadrature": f"the paths of {count} samples bend more often than n_steps={most} evaluations can resolve; see delta"
    }


def _at_least_one_row(x0s: Rows, xs: Rows) -> Rows:
    """Baselines as model inputs: (1, ...) where all samples share them, else (N, ...)."""
    n = max(len(b) for b in x0s)
    return tuple(b.expand(n, *t.shape[1:]) for b, t in zip(x0s, xs, strict=True))


def _zeros(passes: Passes, xs: Rows) -> Rows:
    count = len(passes.targets)
    return tuple(torch.zeros(count, *t.shape, dtype=t.dtype, device=t.device) for t in xs)


def _put(total: Rows, lines: Lines, mean: Rows) -> None:
    for t, m in zip(total, mean, strict=True):
        t[:, lines.samples.start : lines.samples.stop] = m


def _sums(passes: Passes, lines: Lines, samples: Sequence[int], nodes: Tensor, weights: Tensor) -> list[Rows]:
    """Gradients (T, n, ...) per input, summed over the nodes with each of the rows of `weights` (W, nodes)."""
    sums: list[Rows] = []
    one_rule = weights[0] if len(weights) == 1 else None
    for chunk in passes.gradients(
        lines.points(nodes), torch.tensor(list(samples)), len(nodes), weights=one_rule
    ):
        sums = sums or [tuple(_zeros_like(g, len(samples)) for g in chunk.gradients) for _ in weights]
        k = torch.arange(chunk.start, chunk.start + chunk.scores.shape[1]) % len(nodes)
        for totals, w in zip(sums, weights, strict=True):
            for total, g in zip(totals, chunk.gradients, strict=True):
                weighted = g if one_rule is not None else g * w[k].to(g).view(1, -1, *[1] * (g.ndim - 2))
                add_by_sample(total, weighted, chunk.start, len(nodes))
    return sums


def _zeros_like(g: Tensor, n: int) -> Tensor:
    return torch.zeros(len(g), n, *g.shape[2:], dtype=g.dtype, device=g.device)


# ------------------------------------------------------------------ nested rules, for `rtol`


def _rounding(score: Tensor, change: Tensor) -> Tensor:
    """What of a completeness error (T, N) is rounding."""
    return 8 * torch.finfo(score.dtype).eps * torch.maximum(score.abs(), (score - change).abs())


class Refined(NamedTuple):
    """What refinement of a group of samples came to.

    Attributes
    ----------
    mean : tuple of Tensor (T, n, ...)
        Average gradients at the input.
    points : Tensor (n,)
        Points used.
    gap : Tensor (n,)
        How far the last two rules of samples that are not done are apart, as a share of the largest entry, or their
        completeness error as a share of the change if that is more; 0 for samples that are done.
    """

    mean: Rows
    points: Tensor
    gap: Tensor


def _refined(
    passes: Passes,
    lines: Lines,
    differences: Rows | None,
    change: Tensor,
    allowed: Tensor,
    rtol: float,
    levels: int,
) -> Refined:
    """Refine the rule of each sample until entries and sum agree; `differences` (n, ...) turn gradients into attributions."""
    samples = lines.samples
    change, allowed = (t[:, samples.start : samples.stop] for t in (change, allowed))
    unfinished = torch.arange(len(samples))
    points = torch.full((len(samples),), LEVELS[1])
    gap = torch.zeros(len(samples), dtype=torch.float64)
    sums: list[Rows] = []  # per level still ahead, per input (T, n, ...): this level's integral first
    mean: Rows = ()
    for level in range(levels):
        nodes, weights = nested(level)
        weights = weights[: levels - level]
        fresh = _sums(passes, lines, [samples[int(j)] for j in unfinished], nodes, weights)
        if level == 0:  # no rule to compare with
            sums, mean = fresh, lines.at_input(fresh[0])
            continue
        sums = [_advanced(s, more, sums[0], unfinished) for s, more in zip(sums[1:], fresh, strict=True)]
        before, mean = mean, lines.at_input(sums[0])
        points[unfinished] = LEVELS[level]
        residual = (lines.change(sums[0]) - change).abs()
        apart = _apart(before, mean, differences)
        entries = max(rtol, ROUNDINGS * torch.finfo(apart.dtype).eps)
        short = ((residual > allowed) | (apart > entries)).any(0).cpu()[unfinished]
        unfinished = unfinished[short]
        if len(unfinished) == 0:
            break
        if level == levels - 1:
            share = residual / change.abs().clamp_min(torch.finfo(change.dtype).tiny)
            share = torch.where(residual > allowed, share, 0)
            gap[unfinished] = torch.maximum(apart, share).amax(0).cpu().double()[unfinished]
        else:
            passes.batches.expect(len(unfinished) * (LEVELS[level + 1] - LEVELS[level]))
    return Refined(mean, points, gap)


def _differences(passes: Passes, lines: Lines, xs: Rows, x0s: Rows) -> Rows:
    """Inputs minus baselines (n, ...) of a group, where the model is."""
    i = torch.arange(lines.samples.start, lines.samples.stop)
    return tuple(
        of_samples(t, i, passes.device) - of_samples(b, i, passes.device)
        for t, b in zip(xs, x0s, strict=True)
    )


def _apart(before: Rows, after: Rows, differences: Rows | None) -> Tensor:
    """The largest change (T, n) of an entry from one rule to the next, as a share of the largest entry."""
    change = largest = after[0].new_zeros(())
    for j, (old, new) in enumerate(zip(before, after, strict=True)):
        factor = 1 if differences is None else differences[j]
        entries = (((new - old) * factor).abs(), (new * factor).abs())
        steps, sizes = (e.reshape(*e.shape[:2], -1).amax(2) for e in entries)
        change, largest = torch.maximum(change, steps), torch.maximum(largest, sizes)
    return torch.where(change > 0, change / largest, 0)


def _reached(rtol: float, gap: Tensor, points: Tensor) -> dict[str, str | int | float] | None:
    """The note on samples that did not reach `rtol`."""
    short = gap > 0
    if not bool(short.any()):
        return None
    most = int(points[short].max())
    return {
        "rtol": f"{int(short.sum())} of {len(gap)} samples did not reach rtol={rtol:g} with {most} points: "
        f"their error is up to {float(gap.max()):.1e}"
    }


def _advanced(sums: Rows, fresh: Rows, before: Rows, unfinished: Tensor) -> Rows:
    """A level's sums one level on: unfinished samples take the new nodes' part, the others keep the integral `before`."""
    advanced = []
    for total, more, old in zip(sums, fresh, before, strict=True):
        ahead = old.clone()
        ahead[:, unfinished] = total[:, unfinished] + more
        advanced.append(ahead)
    return tuple(advanced)
