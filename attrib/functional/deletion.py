"""Deletion and insertion: the score as the features that an attribution calls important go, and come."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec

import torch
from torch import Tensor

from attrib._arguments import near
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.perturbations import permutations, sample_keys
from attrib.engine.target import TargetLike
from attrib.functional.arguments import Measure, at_least, fitting, measured
from attrib.functional.explanation import refuse_non_finite_results
from attrib.functional.players import Coalitions, Players, players_of

P = ParamSpec("P")
ORDERS = ("largest", "magnitude", "random")
RANDOM_ORDER, TIES = 67, 68  # streams of draws

CURVE = """\
f : callable
    The model, as for every method.
x : Tensor or tuple of Tensor
    Input(s), samples on dim 0.
attribution : Tensor or tuple of Tensor
    Shaped like the input(s); with `targets` also with a leading dim of targets, each of which then has its own order.
    A dim of size 1 where the input's is larger, such as (N, 1, y, x) for images (N, C, y, x), means that the features
    along it go together."""
SETTINGS = """\
steps : int, default 20
    Points of the curve after the first.
groups : Tensor of int, tuple of these, or None
    Features that go together, as for `shapley_values`; their importance is their mean attribution. Those of no group
    always keep their values.
order : {"largest", "magnitude", "random"}, default "largest"
    The largest attributions first, the largest absolute ones, or the order of chance. Equal ones go in an order of chance,
    too, one for each sample: a constant attribution is a random order.
n_random : int, default 0
    Random orders as a control, for `random_area` and `z` of ``.explain(...)``: each costs as much as the curve.
seed : int, default 0
    Of the random orders, and of the order among equals. A sample's depend on it and on the sample's own values alone."""


class Curve(NamedTuple):
    """A curve of deletion or insertion, and its control.

    Attributes
    ----------
    score : Tensor (N, steps + 1) or (T, N, steps + 1)
        The score at each fraction.
    fraction : Tensor (steps + 1,)
        0 to 1: of the features or groups that are gone (deletion) or there (insertion).
    area : Tensor (N,) or (T, N)
        Mean of the curve, by trapezoids.
    random_area : Tensor (N,) or (T, N), or None
        The mean area of random orders.
    z : Tensor (N,) or (T, N), or None
        How many standard deviations of the random areas the area is better than their mean: smaller for deletion,
        larger for insertion. Zero where it equals the mean. The standard deviation counts as at least the areas' rounding, so that
        z is finite where random areas are all equal: large for a real difference, small for one of rounding.
    prediction : Tensor (N,) or (T, N)
        The score of the inputs.
    """

    score: Tensor
    fraction: Tensor
    area: Tensor
    random_area: Tensor | None
    z: Tensor | None
    prediction: Tensor


def _curve(
    insert: bool,
    f: Model,
    x: Tensors,
    attribution: Tensors,
    *,
    baselines: Baselines = 0.0,
    steps: int = 20,
    groups: Any = None,
    order: str = "largest",
    n_random: int = 0,
    seed: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Curve:
    """The curve of insertion or deletion."""
    xs = as_tuple(x, integers=True)
    pool = tuple(b[:, None] for b in as_baselines(baselines, xs))
    if order not in ORDERS:
        raise ValueError(f"`order` is {order!r}, expected one of {', '.join(ORDERS)}{near(order, ORDERS)}")
    at_least(steps, "steps", 1)
    at_least(n_random, "n_random", 0)
    attributions = fitting(attribution, xs, targets is not None, groups is None)
    players = _players(attributions, xs) if groups is None else players_of(groups, xs)
    importance = _importance(players, attributions, xs, groups is None)
    if order == "magnitude":
        importance = torch.where(importance == -torch.inf, importance, importance.abs())
    orders = _Orders(players, importance, sample_keys(xs, seed), steps, order == "random", insert, {})
    n, each = len(xs[0]), (orders.lead + n_random) * (steps + 1)
    with Passes(
        f, xs, n * (1 + each), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        refuse_non_finite_results(score)
        if orders.per_target and orders.lead != len(score):
            raise ValueError(f"`attribution` has {orders.lead} targets, expected {len(score)}")
        points = functools.partial(Coalitions(passes, xs, pool, players).points, orders.present)
        rows = score.new_zeros(len(score), n * each)
        for start, part in passes.scores_along(points, torch.arange(n), each):
            rows[:, start : start + part.shape[1]] = part
    curves = rows.view(len(score), n, orders.lead + n_random, steps + 1)
    return _judged(curves, orders, score, passes.want.many, xs[0].device)


def _judged(curves: Tensor, orders: _Orders, score: Tensor, many: bool, device: torch.device) -> Curve:
    """The curves (T, N, steps + 1) of the attributions among all (T, N, orders, steps + 1), against those of chance."""
    numbers = torch.arange(len(score), device=curves.device)
    curve = curves[numbers, :, numbers if orders.per_target else 0]
    refuse_non_finite_results(curve.flatten(2).mean(2))
    shaped = lambda t: (t if many else t[0]).to(device)
    areas, control = _area(curve), _area(curves[:, :, orders.lead :])
    mean = z = None
    if control.shape[2]:
        mean = control.mean(2)
        z = _z((areas - mean) if orders.insert else (mean - areas), control, areas)
    return Curve(
        shaped(curve),
        torch.arange(orders.steps + 1, dtype=curve.dtype) / orders.steps,
        shaped(areas),
        None if mean is None else shaped(mean),
        None if z is None else shaped(z),
        shaped(score),
    )


class _Orders(NamedTuple):
    """The orders in which players are taken: those of the attributions, and behind them those of chance.

    Attributes
    ----------
    players : Players
    importance : Tensor (N, P) or (T, N, P)
    keys : Tensor (N, ...)
        Of the draws of each sample.
    steps : int
    random : bool
        Whether chance stands in for the attributions.
    insert : bool
        Whether the first players are put in, not taken away.
    latest : dict
        The ranks of the players in the order that points were asked of last: those of the next points are often the same.
    """

    players: Players
    importance: Tensor
    keys: Tensor
    steps: int
    random: bool
    insert: bool
    latest: dict[tuple[int, int], Tensor]

    @property
    def per_target(self) -> bool:
        """Whether each target has its own attribution."""
        return self.importance.ndim == 3

    @property
    def lead(self) -> int:
        """How many orders are those of attributions."""
        return len(self.importance) if self.per_target else 1

    def present(self, i: Tensor, k: Tensor) -> Tensor:
        """Which players (rows, P) are there for samples `i` at points `k`: steps within orders."""
        counts = (self.players.counts[:, None] * torch.arange(self.steps + 1) / self.steps).round().long()
        size = counts[i if len(counts) > 1 else 0, k % (self.steps + 1)]
        ids = torch.stack([i, k.div(self.steps + 1, rounding_mode="floor")])
        ids, back = ids.unique_consecutive(dim=1, return_inverse=True)
        ranks = torch.stack([self._ranks(int(a), int(b)) for a, b in ids.T])
        changed = ranks[back] < size[:, None]
        return changed if self.insert else ~changed

    def _ranks(self, i: int, which: int) -> Tensor:
        """The place of each player of sample `i` in an order; a chunk begins with the order in which the one before it ended."""
        if (i, which) not in self.latest:
            ranks = self._order(i, which).argsort()
            self.latest.clear()
            self.latest[i, which] = ranks
        return self.latest[i, which]

    def _order(self, i: int, which: int) -> Tensor:
        """The players of sample `i`, the most important first, or by chance."""
        if not self.random and which < self.lead:
            return self._by_importance(
                i, self.importance[which, i] if self.per_target else self.importance[i]
            )
        return self._by_chance(
            i, RANDOM_ORDER, max(0, which - self.lead + 1)
        )  # beside however many attributions

    def _by_chance(self, i: int, stream: int, draw: int = 0) -> Tensor:
        """An order of the players of sample `i`, drawn of these alone; behind them the players that other samples have more of."""
        counts = self.players.counts
        count = int(counts[i if len(counts) > 1 else 0])
        drawn = permutations(self.keys[i : i + 1], torch.tensor([draw]), stream, count)[0]
        return torch.cat([drawn, torch.arange(count, self.players.count)])

    def _by_importance(self, i: int, importance: Tensor) -> Tensor:
        """The players of sample `i` by descending importance; equal ones by chance, the same for all targets."""
        ordered, order = importance.sort(descending=True, stable=True)
        if not bool((ordered[1:] == ordered[:-1]).any()):
            return order
        drawn = self._by_chance(i, TIES)
        return drawn[importance[drawn].argsort(descending=True, stable=True)]


def _curve_of(
    curve: Callable[Concatenate[bool, P], Curve], insert: bool
) -> Callable[[Callable[[], None]], Measure[P, Curve]]:
    """Make a measure of its docstring: the arguments of `curve` after its first."""

    def register(described: Callable[[], None]) -> Measure[P, Curve]:
        @functools.wraps(described)
        def explain(*args: P.args, **kwargs: P.kwargs) -> Curve:
            return curve(insert, *args, **kwargs)

        signature = inspect.signature(curve)
        explain.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        explain.__annotations__ = {k: v for k, v in curve.__annotations__.items() if k != "insert"}
        explain.__wrapped__ = curve  # type: ignore  # whose file knows the names in the annotations
        return measured({"curve": CURVE, "settings": SETTINGS})(explain)

    return register


@_curve_of(_curve, insert=False)
def deletion() -> None:
    """The score as the most important features are replaced by their baselines.

    ``c_k = f(x with the baseline in the k / steps most important features)``

    Parameters
    ----------
    {curve}
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What replaces features: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the inputs.
    {settings}
    {passes}

    Returns
    -------
    Tensor
        (N, steps + 1), with `targets` (T, N, steps + 1). Unit: output units. A curve that falls at once says that the
        attribution found what the score rests on. ``.explain(...)`` with the same arguments returns a `Curve`: areas, and z.

    Raises
    ------
    {raises_measure}

    Notes
    -----
    Cost: ``steps + 1`` forward passes per sample and order; several targets share them unless each has its own order.
    Features are replaced by values that the model may never have seen together: compare orders on one model, not models.

    References
    ----------
    Petsiuk, Das, Saenko (2018), RISE: randomized input sampling for explanation of black-box models. arXiv:1806.07421
    Samek et al. (2017), Evaluating the visualization of what a deep neural network has learned.
    doi:10.1109/TNNLS.2016.2599820

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import deletion
    >>> x = torch.tensor([[1.0, 3.0, 2.0]])
    >>> deletion(lambda x: x.sum(1), x, x, steps=3)
    tensor([[6., 3., 1., 0.]])
    >>> deletion.explain(lambda x: x.sum(1), x, x, steps=3).area
    tensor([2.3333])
    """


@_curve_of(_curve, insert=True)
def insertion() -> None:
    """The score of the baseline as the most important features are put in.

    ``c_k = f(baseline with the k / steps most important features of x)``

    Parameters
    ----------
    {curve}
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        Where the curve begins: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the inputs.
    {settings}
    {passes}

    Returns
    -------
    Tensor
        (N, steps + 1), with `targets` (T, N, steps + 1). Unit: output units. A curve that rises at once says that the
        attribution found what the score needs. ``.explain(...)`` with the same arguments returns a `Curve`: areas, and z.

    Raises
    ------
    {raises_measure}

    Notes
    -----
    Cost: as `deletion`.

    References
    ----------
    Petsiuk, Das, Saenko (2018), RISE: randomized input sampling for explanation of black-box models. arXiv:1806.07421

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import insertion
    >>> x = torch.tensor([[1.0, 3.0, 2.0]])
    >>> insertion(lambda x: x.sum(1), x, x, steps=3)
    tensor([[0., 3., 5., 6.]])
    """


def _area(curve: Tensor) -> Tensor:
    """Mean over the last dim, by trapezoids."""
    return (curve[..., 1:] + curve[..., :-1]).mean(-1) / 2


def _z(gain: Tensor, control: Tensor, areas: Tensor) -> Tensor:
    """A gain of areas over the mean of a control (..., R) in standard deviations of the control; zero where there is none."""
    spread = control.std(-1, correction=min(1, control.shape[-1] - 1))
    rounding = 16 * torch.finfo(control.dtype).eps * torch.maximum(control.abs().amax(-1), areas.abs())
    return torch.where(gain.abs() <= rounding, 0.0, gain / torch.maximum(spread, rounding))


def _players(attributions: tuple[Tensor, ...], xs: tuple[Tensor, ...]) -> Players:
    """Each entry of the attributions a player."""
    numbers, count = [], 0
    for a, x in zip(attributions, xs, strict=True):
        shape = a.shape[a.ndim - x.ndim + 1 :]
        numbers.append(torch.arange(count, count + shape.numel()).view(1, *shape).expand(1, *x.shape[1:]))
        count += shape.numel()
    return Players(tuple(numbers), count, torch.tensor([count]))


def _importance(
    players: Players, attributions: tuple[Tensor, ...], xs: tuple[Tensor, ...], each: bool
) -> Tensor:
    """The importance (N, P) or (T, N, P) of the players."""
    if each:
        parts = [a.flatten(a.ndim - x.ndim + 1) for a, x in zip(attributions, xs, strict=True)]
        return torch.cat([p.cpu().double() for p in parts], -1)
    return players.means(
        [
            a.expand(*a.shape[: a.ndim - x.ndim], *x.shape).nan_to_num(nan=0.0)
            for a, x in zip(attributions, xs, strict=True)
        ]
    )
