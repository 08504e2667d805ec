"""Interaction of two inputs: mixed second derivatives, integrated from the baselines to the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.edits.input_groups import InputGroups
from attrib.engine.gradient.differentiate import refuse_cut
from attrib.engine.gradient.mixed_partials import Mixed
from attrib.engine.gradient.passes import Passes, add_by_sample
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import Baselines, as_baselines, as_tuple, moved, of_samples
from attrib.engine.model.parameters import Model
from attrib.engine.model.smooth_relu import with_softplus
from attrib.engine.sampling.quadrature import rule
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, finish, method, missed_completeness


@method(
    "Integrated Hessians",
    axioms=(),
    cost="n_steps^2 x directions x (forward + 2 backward)",
    units="output",
    reference="arXiv:2002.04138",
    inputs="two",
    result="pairs",
    baselines="point",
    complete=True,
)
def interaction(
    f: Model,
    x: tuple[Tensor, Tensor],
    *,
    baselines: Baselines = 0.0,
    groups: tuple[Tensor | None, Tensor | None] | None = None,
    n_steps: int = 8,
    quadrature: str = "gausslegendre",
    softplus: float | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """How much of the score two inputs make together, shared among pairs of their values.

    ``a_ij = (x_i - x0_i) (y_j - y0_j) * integral over alpha, beta in [0, 1] of``
    ``d2 f(x0 + alpha (x - x0), y0 + beta (y - y0)) / d x_i d y_j``

    Parameters
    ----------
    {f}
    x : tuple of two Tensor
        The two inputs, samples on dim 0, floating point.
    baselines : float, tuple of Tensor, or callable, default 0.0
        Where the paths begin, as for `integrated_gradients`.
    groups : tuple of two Tensor or None, optional
        Values taken together, per input; None there: each by itself. Integers shaped like a sample number the groups
        (negative: in none). Floats (G, ...) or (N, G, ...) are shares of the groups in the values, so that a value may
        be divided among groups, and differently in each sample.
    n_steps : int, default 8
        Points on each of the two paths: `n_steps` squared in all.
    quadrature : str, default "gausslegendre"
        Or captum's rules, see `integrated_gradients`.
    softplus : float, optional
        Explain the model with ``log(1 + exp(softplus * v)) / softplus`` in place of ReLU, while this call runs. Where
        ReLU comes after the inputs have met, second derivatives are zero almost everywhere, and this is needed; 10 is
        close to ReLU. Prediction and `delta` are then those of the smooth model.
    {shared}

    Returns
    -------
    Tensor
        (N, *x, *y), or (N, G, H) with groups, with a leading dim for `targets`. Unit: output units.
        ``.explain(...)`` with the same arguments returns an `Explanation`: prediction, delta, and more.

    Raises
    ------
    TypeError
        For inputs that are no float tensors, and targets of a wrong type.
    ValueError
        If there are not two inputs; for groups that do not fit; for a model that is piecewise linear where its inputs
        meet, so that nothing is found although they interact; and all that `integrated_gradients` refuses.

    Notes
    -----
    The sum over all pairs is the interaction effect ``f(x, y) - f(x, y0) - f(x0, y) + f(x0, y0)``, up to the quadrature:
    `delta` is the difference. (The cited method integrates along one line, and its sums hold effects of each input
    alone; two independent paths leave the joint effect only.) For ``x' A y`` it is ``x_i A_ij y_j``, exactly. Cost: for
    each of the `n_steps` squared points and each direction a derivative of a gradient, about three passes. Directions
    are the groups, or the values that differ from the baseline, of the input that has fewer. Memory: `batch_size` rows
    times directions, and the result, which has as many entries as there are pairs: use groups for large inputs.

    References
    ----------
    Janizek, Sturmfels, Lee (2021), Explaining explanations: axiomatic feature interactions for deep networks.
    arXiv:2002.04138

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import interaction
    >>> f = lambda x, y: x[:, 0] * y[:, 1] + x[:, 1] + y[:, 0]
    >>> interaction(f, (torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]]))).round()
    tensor([[[ 0., 14.],
             [ 0.,  0.]]])
    """
    xs = as_tuple(x)
    if len(xs) != 2:
        raise ValueError(f"`x` has {len(xs)} inputs, expected two; close over the others, or join them")
    x0s = as_baselines(baselines, xs)
    rule(quadrature, n_steps)  # refuses what is wrong before any pass
    sides = _sides(xs, x0s, groups)
    smooth = None if softplus is None else with_softplus(f, softplus)
    with Passes(
        f, xs, len(xs[0]) * (4 + n_steps * n_steps), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine="auto",
    ) as passes:  # fmt: skip
        if smooth is not None:
            passes.scores(xs)  # the model itself is checked, and settles the targets
            passes.function.model = smooth
        score = passes.scores(xs)
        effect = _effect(passes, xs, x0s, score)
        attribution, used = _integrated(passes, sides, *rule(quadrature, n_steps), engine)
        passes.engine = used
        if not transformed() and not bool(attribution.any()):
            i = torch.arange(min(len(xs[0]), 2, passes.batches.chunk()))
            refuse_cut(_scores(passes, i, swap=False), passes.rows_of(xs, i), (0, 1))
            _refuse_piecewise_linear(effect, score, softplus)
    delta = attribution.reshape(*attribution.shape[:2], -1).sum(2).to(effect.device) - effect
    notes = missed_completeness(delta, effect, (attribution,), score, "n_steps=") or {}
    notes |= {} if softplus is None else {"softplus": float(softplus)}
    return finish(passes, xs[:1], (attribution,), score, delta=delta, notes=notes)


def _sides(
    xs: tuple[Tensor, ...], x0s: tuple[Tensor, ...], groups: tuple[Tensor | None, Tensor | None] | None
) -> tuple[InputGroups, InputGroups]:
    each = (None, None) if groups is None else groups
    if (
        not isinstance(each, tuple | list)
        or len(each) != 2
        or not all(g is None or isinstance(g, Tensor) for g in each)
    ):
        raise TypeError("`groups` has to be a tuple of two, each a tensor or None")
    first, second = (
        InputGroups(t, b, g, f"groups[{j}]") for j, (t, b, g) in enumerate(zip(xs, x0s, each, strict=True))
    )
    return first, second


def _effect(passes: Passes, xs: tuple[Tensor, ...], x0s: tuple[Tensor, ...], score: Tensor) -> Tensor:
    """f(x, y) - f(x, y0) - f(x0, y) + f(x0, y0): (T, N)."""
    n = torch.arange(len(xs[0]))
    (x, y), (x0, y0) = xs, (b.expand_as(t) for b, t in zip(x0s, xs, strict=True))
    return score - passes.scores_at((x, y0), n) - passes.scores_at((x0, y), n) + passes.scores_at((x0, y0), n)


def _integrated(
    passes: Passes, sides: tuple[InputGroups, InputGroups], nodes: Tensor, weights: Tensor, engine: str
) -> tuple[Tensor, str]:
    """Interactions (T, N, *x or G, *y or H), and the engine used."""
    swap = sides[0].count > sides[1].count
    along, across = sides[::-1] if swap else sides
    n, steps, count = len(along.x), len(nodes) ** 2, len(passes.targets)
    total = along.x.new_zeros(count, n, along.count, across.size)
    mixed = Mixed(engine)

    def share() -> int:
        return min(along.count * count, passes.batches.chunk())

    def work(start: int, stop: int) -> tuple[int, Tensor]:
        r = torch.arange(start, stop)
        i, k = r.div(steps, rounding_mode="floor"), r % steps
        inner, outer = k % len(nodes), k.div(len(nodes), rounding_mode="floor")
        a, b = _point(along, i, nodes[inner], passes.device), _point(across, i, nodes[outer], passes.device)
        w = moved(weights[inner] * weights[outer], a.device, a.dtype)
        score = _scores(passes, i, swap)
        most = max(1, passes.batches.chunk() // (len(r) * count))
        parts = [
            across.contributions(mixed(score, a, b, along.directions(i, some, passes.device), w, count), i)
            for some in _blocks(along.count, most)
        ]
        return start, torch.cat(parts, 1).transpose(1, 2)

    for start, part in passes.batches.run(n * steps, work, share=share):
        add_by_sample(total, part, start, steps)
    placed = along.scattered(total)
    placed = placed.transpose(2, 3) if swap else placed
    return placed.reshape(count, n, *sides[0].shape, *sides[1].shape), mixed.engine


def _scores(passes: Passes, i: Tensor, swap: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Scores (T, rows) of the sample numbers `i` as a function of the two sides."""

    def score(a: Tensor, b: Tensor) -> Tensor:
        return passes.score(passes.function(*((b, a) if swap else (a, b)), samples=i), i)

    return score


def _point(side: InputGroups, i: Tensor, alpha: Tensor, device: torch.device) -> Tensor:
    """Rows on the straight lines of samples `i`."""
    start, step = of_samples(side.x0, i, device), of_samples(side.difference, i, device)
    return start + moved(alpha, device, step.dtype).view(-1, *[1] * (step.ndim - 1)) * step


def _blocks(total: int, size: int) -> list[slice]:
    return [slice(k, min(total, k + size)) for k in range(0, total, size)]


def _refuse_piecewise_linear(effect: Tensor, score: Tensor, softplus: float | None) -> None:
    """Raise if nothing was found although the inputs interact: second derivatives do not see kinks."""
    rounding = 64 * torch.finfo(score.dtype).eps * (1 + score.abs())
    if softplus is None and bool((effect.abs() > rounding).any()):
        raise ValueError(
            f"`f` is piecewise linear where its inputs meet (ReLU): all second derivatives are zero, although the inputs "
            f"make up to {float(effect.abs().max()):.3g} together. Pass softplus=10.0 to explain a smooth copy of it, or "
            "take edits of both inputs (feature_ablation)"
        )
