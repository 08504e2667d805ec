"""Integrated gradients: the gradient averaged along the straight line from a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.affine_first_layer import Lines, groups
from attrib.engine.gradient.passes import Passes, add_by_sample
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.quadrature import LEVELS, nested, rule
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, finish, method

Rows = tuple[Tensor, ...]


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
    n_steps: int = 50,
    quadrature: str = "gausslegendre",
    multiply_by_inputs: bool = True,
    rtol: float | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
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
    n_steps : int, default 50
        Points on the path.
    quadrature : str, default "gausslegendre"
        Or `"riemann_left"`, `"riemann_right"`, `"riemann_middle"`, `"riemann_trapezoid"`, with captum's nodes and
        weights. (The weights of its trapezoid sum to 1 - 1/n_steps; `delta` shows it.)
    multiply_by_inputs : bool, default True
        False leaves out the factor ``x - x0``: the average gradient, in output units per input unit.
    rtol : float, optional
        Instead of `n_steps`: nested Clenshaw-Curtis points (3, 5, 9, ... 1025) per sample until
        ``|delta| <= rtol * |f(x) - f(x0)|`` for every target. The points used are `n_steps` of the explanation. A
        sample that does not get there keeps its residual in `delta`.
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    {raises}

    Notes
    -----
    Satisfies completeness (up to the quadrature, see `delta`), sensitivity, dummy, implementation invariance,
    linearity and symmetry. Cost: `n_steps` forward and backward passes per sample and two forward passes; where the
    model's input goes into one linear layer and nowhere else, that layer runs once per sample instead of once per
    step. Memory: `batch_size` rows. A small completeness error does not prove that the attribution is
    right: errors of the rule can cancel.

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
    rule(quadrature, n_steps)  # refuses what is wrong before any pass
    if rtol is not None and not rtol > 0:
        raise ValueError(f"`rtol` is {rtol}, expected a positive number")
    with Passes(
        f, xs, target=target, targets=targets, classes=classes,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        starts = _at_least_one_row(x0s, xs)
        passes.batches.expect(len(xs[0]) * (1 + (n_steps if rtol is None else LEVELS[0])) + len(starts[0]))
        score = passes.scores(xs)
        change = score - passes.scores_at(starts, torch.arange(len(xs[0])))
        if rtol is not None:
            mean, used = _by_levels(passes, xs, x0s, change, score, rtol)
        else:
            mean, used = _by_rule(passes, xs, x0s, *rule(quadrature, n_steps)), None
    complete = tuple(m * (t - b) for m, t, b in zip(mean, xs, x0s, strict=True))
    delta = sum(c.reshape(*c.shape[:2], -1).sum(2).to(change.device) for c in complete) - change
    return finish(passes, xs, complete if multiply_by_inputs else mean, score, delta=delta, n_steps=used)


def _at_least_one_row(x0s: Rows, xs: Rows) -> Rows:
    """Baselines as model inputs: (1, ...) where all samples share them, else (N, ...)."""
    n = max(len(b) for b in x0s)
    return tuple(b.expand(n, *t.shape[1:]) for b, t in zip(x0s, xs, strict=True))


def _by_rule(passes: Passes, xs: Rows, x0s: Rows, nodes: Tensor, weights: Tensor) -> Rows:
    """Average gradients (T, N, ...) by a fixed rule."""
    total = _zeros(passes, xs)
    for group, lines in groups(passes, xs, x0s, hoist=len(nodes) >= 4):
        mean = _sums(passes, lines, group, nodes, weights[None])
        for t, m in zip(total, lines.at_input(tuple(m[0] for m in mean)), strict=True):
            t[:, group.start : group.stop] = m
    return total


def _by_levels(
    passes: Passes, xs: Rows, x0s: Rows, change: Tensor, score: Tensor, rtol: float
) -> tuple[Rows, Tensor]:
    """Average gradients (T, N, ...) by nested rules, each sample's refined until it is complete; the points used (N,)."""
    total, used = _zeros(passes, xs), torch.zeros(len(xs[0]), dtype=torch.long)
    floor = 8 * torch.finfo(score.dtype).eps * torch.maximum(score.abs(), (score - change).abs())
    allowed = rtol * change.abs() + floor
    for group, lines in groups(passes, xs, x0s, hoist=True):
        span = slice(group.start, group.stop)
        mean, used[span] = _refined(passes, lines, group, change[:, span], allowed[:, span])
        for t, m in zip(total, lines.at_input(mean), strict=True):
            t[:, span] = m
    return total, used


def _refined(
    passes: Passes, lines: Lines, group: range, change: Tensor, allowed: Tensor
) -> tuple[Rows, Tensor]:
    """One group's average gradients (T, n, ...) and points used (n,)."""
    open_ = torch.arange(len(group))
    used = torch.full((len(group),), LEVELS[0])
    sums: list[Tensor] = []  # per input (levels still ahead, T, n, ...): this level's integral first
    for level in range(len(LEVELS)):
        nodes, weights = nested(level)
        fresh = _sums(passes, lines, [group[int(j)] for j in open_], nodes, weights)
        if level == 0:
            sums = list(fresh)
        else:
            for j, (old, new) in enumerate(zip(sums, fresh, strict=True)):
                sums[j] = _advanced(old, new, open_)
        used[open_] = LEVELS[level]
        residual = (lines.change(tuple(s[0] for s in sums)) - change).abs()
        open_ = open_[(residual > allowed).any(0).cpu()[open_]]
        if len(open_) == 0 or level == len(LEVELS) - 1:
            break
        passes.batches.expect(len(open_) * (LEVELS[level + 1] - LEVELS[level]))
    return tuple(s[0] for s in sums), used


def _advanced(sums: Tensor, fresh: Tensor, open_: Tensor) -> Tensor:
    """The sums one level on: open samples take the next level's integral, the others keep theirs."""
    ahead = sums[1:].clone()
    closed = torch.ones(sums.shape[2], dtype=torch.bool, device=sums.device)
    closed[open_] = False
    ahead[:, :, closed] = sums[:1, :, closed]
    ahead[:, :, open_] += fresh
    return ahead


def _sums(passes: Passes, lines: Lines, samples: Sequence[int], nodes: Tensor, weights: Tensor) -> Rows:
    """Gradients (W, T, n, ...) summed over the nodes with each of the rows of `weights` (W, nodes)."""
    sums: list[list[Tensor]] = []  # apart: under torch.func, what is added to must not be a view
    alone = weights[0] if len(weights) == 1 else None
    for chunk in passes.gradients(
        lines.points(nodes), torch.tensor(list(samples)), len(nodes), weights=alone
    ):
        sums = sums or [[_zeros_like(g, len(samples)) for _ in weights] for g in chunk.grads]
        k = torch.arange(chunk.start, chunk.start + chunk.scores.shape[1]) % len(nodes)
        for totals, g in zip(sums, chunk.grads, strict=True):
            for total, w in zip(totals, weights, strict=True):
                factor = None if alone is not None else w[k].to(g).view(1, -1, *[1] * (g.ndim - 2))
                add_by_sample(total, g if factor is None else g * factor, chunk.start, len(nodes))
    return tuple(t[0][None] if len(t) == 1 else torch.stack(t) for t in sums)


def _zeros_like(g: Tensor, n: int) -> Tensor:
    return torch.zeros(len(g), n, *g.shape[2:], dtype=g.dtype, device=g.device)


def _zeros(passes: Passes, xs: Rows) -> Rows:
    count = len(passes.targets)
    return tuple(torch.zeros(count, *t.shape, dtype=t.dtype, device=t.device) for t in xs)
