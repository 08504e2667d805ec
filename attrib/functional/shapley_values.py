"""Shapley values: the fair share of each feature, or group of features, in the change of the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attrib._arguments import near
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.edits.edits import PATHS
from attrib.engine.gradient.passes import Passes, by_sample
from attrib.engine.inputs import Baselines, Tensors, as_pool, as_tuple
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.moments import Moments
from attrib.engine.sampling.perturbations import permutations, sample_keys
from attrib.engine.target import TargetLike
from attrib.functional.arguments import at_least
from attrib.functional.explanation import Explanation, finish, method
from attrib.functional.players import Coalitions, players_of

AUTO_EXACT = 12  # players up to which all coalitions are evaluated
MOST_EXACT = 24
MOST_ROUNDS = 6  # `rtol` doubles the permutations so often
ORDERS = 66  # stream of draws


@method(
    "Shapley value",
    axioms=("completeness", "sensitivity", "dummy", "implementation_invariance", "linearity", "symmetry"),
    cost="2^players forward, or n_permutations x players",
    units="output",
    reference="doi:10.1007/s10115-013-0679-x",
    baselines="any",
    complete=True,
    draws=True,
    edits=True,
)
def shapley_values(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines = 0.0,
    groups: Any = None,
    n_permutations: int = 25,
    exact: bool | str = "auto",
    rtol: float | None = None,
    path: str = "auto",
    seed: int = 0,
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
) -> Explanation:
    """What a feature, or a group of features, adds to the score, averaged over all orders in which they can come.

    ``a_i = mean over orders of v(those before i, and i) - v(those before i)``, where ``v(S)`` is the score with the
    features of S as they are and all others at the baseline, averaged over the baselines.

    Parameters
    ----------
    {f}
    {x}
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What stands for an absent feature: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of
        the inputs. A distribution has one dim more than the input: (1, B, ...) for all samples (``pool[None]``) or
        (N, B, ...) for each; all its members are used, and averaged.
    groups : Tensor of int, tuple of these (one per input; None: each feature alone), or None
        The players: the group of each feature, as for `feature_ablation`. Equal numbers in two inputs are one player.
        Features with a negative number always keep their values, and are NaN in the result.
    n_permutations : int, default 25
        Random orders where not all coalitions are evaluated. They come in pairs, an order and its reverse: an odd number
        is rounded up.
    exact : bool or "auto", default "auto"
        Whether to evaluate all coalitions of players; `"auto"`: up to 12 players.
    rtol : float, optional
        Double the orders, up to 64 times `n_permutations`, until the standard error of every player is at most `rtol`
        times the largest magnitude of the sample's values, for every target. `n_steps` of the explanation are the model
        evaluations of each sample.
    path : {"auto", "window", "dense"}
        How coalitions are computed. `"dense"`: a row of the model for each. `"window"`: only the values that change in
        the smallest box that holds the absent players, if the model's ops allow it. `"auto"`: the window for
        coalitions whose box is small, where that needs fewer operations. All give the same numbers up to rounding.
    {seed}
    {layer}
    {passes}

    Returns
    -------
    {returns_output}
        Every feature of a group has the group's value. `standard_error` is that over the pairs of orders: infinite with a
        single pair, zero where all coalitions were evaluated.

    Raises
    ------
    {raises}
        Also for groups that do not fit or leave no player, and more than 24 players with ``exact=True``.

    Notes
    -----
    Complete over players, however many orders there are: `delta` is the sum over players, each counted once, minus
    ``f(x) - mean f(baselines)``. Satisfies sensitivity, dummy, linearity and implementation invariance; symmetry where
    all coalitions are evaluated, else in expectation. Cost in rows of the model, per sample and baseline: ``2^P - 1`` for P
    players, or ``n_permutations (P - 1) + 1``. All targets come from the same rows. Where players are small parts
    of one input, such as motifs in a sequence, the window path of `occlusion` computes less than rows. Memory: `batch_size`
    rows, three float64 numbers per player, sample and target, and for the window the scores of some samples' coalitions.

    References
    ----------
    Shapley (1953), A value for n-person games. doi:10.1515/9781400881970-018
    Štrumbelj, Kononenko (2014), Explaining prediction models and individual predictions with feature contributions.
    doi:10.1007/s10115-013-0679-x
    Mitchell, Cooper, Frank, Holmes (2022), Sampling permutations for Shapley value estimation (pairs of orders).
    arXiv:2104.12199

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import shapley_values
    >>> x = torch.tensor([[2.0, 3.0, 1.0]])
    >>> shapley_values(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x)
    tensor([[3., 3., 1.]])
    """
    xs = as_tuple(x, integers=True)
    pool = as_pool(baselines, xs)
    players = players_of(groups, xs)
    every = _takes_all(exact, players.count)
    pairs = _pair_count(n_permutations)
    if path not in PATHS:
        raise ValueError(f"`path` is {path!r}, expected one of {', '.join(PATHS)}{near(path, PATHS)}")
    if rtol is not None and not rtol > 0:
        raise ValueError(f"`rtol` is {rtol}, expected a positive number")
    keys = sample_keys(xs, seed)
    coalitions = 2**players.count - 1 if every else 1 + 2 * pairs * (players.count - 1)
    with Passes(
        f, xs, len(xs[0]) * (1 + coalitions * pool[0].shape[1]), more=path != "dense" or (rtol is not None and not every),
        target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        game = Coalitions(passes, xs, pool, players, path)
        origin = score.cpu().double()
        empty = _without_players(passes, game, origin)
        errors, evaluations = torch.zeros(*empty.shape, players.count), None
        if every:
            values = _exact(game, score, origin, empty)
        else:
            values, errors, evaluations = _sampled(game, score, origin, empty, keys, pairs, rtol)
        passes.engine = str(game.notes["path"])
    delta = (values.sum(2) + empty).to(score.device)
    explanation = finish(
        passes, xs, players.spread(values), score, delta=delta, standard_error=players.spread(errors),
        n_steps=None if rtol is None else evaluations,
        notes={"players": players.count, "coalitions": "all" if every else "permutations", **game.notes},
    )  # fmt: skip
    return explanation._replace(
        attribution=players.masked(explanation.attribution),
        standard_error=players.masked(explanation.standard_error),
    )


def _takes_all(exact: bool | str, count: int) -> bool:
    """Whether all coalitions are evaluated."""
    if exact == "auto":
        return count <= AUTO_EXACT
    if not isinstance(exact, bool):
        raise TypeError(f'`exact` is {exact!r}, expected True, False or "auto"')
    if exact and count > MOST_EXACT:
        raise ValueError(
            f"`exact` is True for {count} players, which have 2^{count} coalitions; pass `groups` of at most {MOST_EXACT}, "
            'or exact="auto"'
        )
    return exact or count == 1


def _pair_count(n_permutations: int) -> int:
    """Pairs of orders."""
    at_least(n_permutations, "n_permutations", 1)
    return -(-n_permutations // 2)


# The score of the input is the origin of all others: the coalition of all players needs no row, and sums stay small.
# Sums are float64, on the CPU.


def _without_players(passes: Passes, game: Coalitions, origin: Tensor) -> Tensor:
    """The change of the score (T, N) where every player is absent."""
    nobody = lambda i, k: torch.zeros(len(i), game.players.count, dtype=torch.bool)
    n, steps = len(game.xs[0]), game.baselines
    change = -origin
    rows = passes.scores_along(lambda i, k: game.points(nobody, i, k), torch.arange(n), steps)
    for start, scores in rows:
        for samples, _, part in by_sample(scores.cpu().double(), start, steps):
            change[:, samples] += part.sum(2) / steps
    return change


# ------------------------------------------------------------------ all coalitions


def _exact(game: Coalitions, score: Tensor, origin: Tensor, empty: Tensor) -> Tensor:
    """Values (T, N, P) from all coalitions.

    A coalition S counts ``(|S| - 1)! (P - |S|)! / P!`` for its members, and ``-|S|! (P - |S| - 1)! / P!`` for the others.
    """
    count, baselines = game.players.count, game.baselines
    n, steps = len(game.xs[0]), (2**count - 2) * baselines
    joining, leaving = (
        torch.tensor(
            [0.0, *(1 / (count * math.comb(count - 1, s - member)) for s in range(1, count))],
            dtype=torch.float64,
        )
        for member in (1, 0)
    )

    def present(i: Tensor, k: Tensor) -> Tensor:
        return ((k + 1)[:, None] >> torch.arange(count)) & 1 == 1

    values = (-empty[:, :, None] / count).repeat(1, 1, count)
    for start, scores in game.scores(present, torch.arange(n), steps, score):
        r = start
        for samples, _, part in by_sample(scores.cpu().double(), start, steps):
            k = torch.arange(r, r + part.shape[2]) % steps
            members = present(k, k.div(baselines, rounding_mode="floor"))
            size = members.sum(1, keepdim=True)
            weights = torch.where(members, joining[size], -leaving[size]) / baselines
            values[:, samples] += (part - origin[:, samples, None]) @ weights
            r += part.shape[1] * part.shape[2]
    return values


# ------------------------------------------------------------------ orders


def _sampled(
    game: Coalitions,
    score: Tensor,
    origin: Tensor,
    empty: Tensor,
    keys: Tensor,
    pairs: int,
    rtol: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (T, N, P) from pairs of orders, their standard errors, and the model evaluations of each sample (N,)."""
    n = len(game.xs[0])
    samples, drawn = torch.arange(n), torch.zeros(n, dtype=torch.long)
    mean, squares = (empty.new_zeros(*empty.shape, game.players.count) for _ in range(2))
    errors = torch.full_like(mean, torch.inf)
    for turn in range(1 if rtol is None else MOST_ROUNDS + 1):
        first = 0 if turn == 0 else pairs * 2 ** (turn - 1)
        fresh = pairs if turn == 0 else first  # each round doubles the pairs
        orders = Orders(game, keys, first)
        if turn > 0:
            game.passes.batches.expect(len(samples) * fresh * orders.steps)
        moments = _marginals(orders, samples, fresh, score, origin, empty)
        (average,), (variance,) = moments.mean(), moments.variance()
        total, shift = first + fresh, average - mean[:, samples]
        mean[:, samples] += shift * (fresh / total)
        squares[:, samples] += fresh * variance + shift**2 * (first * fresh / total)
        drawn[samples] = total
        if total > 1:
            errors[:, samples] = (squares[:, samples] / (total * (total - 1))).sqrt()
        if rtol is not None:
            allowed = rtol * mean[:, samples].abs().amax(2)
            samples = samples[(errors[:, samples].amax(2) > allowed).any(0)]
            if len(samples) == 0:
                break
    return mean, errors, 1 + game.baselines + drawn * orders.steps


class Orders:
    """Pairs of orders of the players: an order and its reverse.

    Parameters
    ----------
    game : Coalitions
    keys : Tensor (N, 2)
        Keys of the samples' draws.
    first : int
        Number of the first pair.

    Attributes
    ----------
    steps : int
        Rows of a pair: the coalitions of both orders, but for those of nobody and of all, times the baselines.
    pair, first_of_order : Tensor (rows,)
        Of the coalitions asked for last: number of the pair among them, and whether they hold the first player of an order alone.
    joined, next : Tensor (rows,)
        Of the same: the player that came last, and the one that comes next.
    """

    def __init__(self, game: Coalitions, keys: Tensor, first: int) -> None:
        self.game, self.keys, self.first = game, keys, first
        self.half = game.players.count - 1
        self.steps = 2 * self.half * game.baselines

    def present(self, i: Tensor, k: Tensor) -> Tensor:
        """Which players are present in coalitions `k` of samples `i`, of all their pairs."""
        pair, place = k.div(2 * self.half, rounding_mode="floor"), k % (2 * self.half)
        ids, self.pair = torch.stack([i, pair]).unique_consecutive(dim=1, return_inverse=True)
        orders = permutations(self.keys[ids[0]], self.first + ids[1], ORDERS, self.half + 1)
        ranks = orders.argsort(dim=1)
        size, back = place % self.half + 1, place >= self.half  # of the coalition; in the reverse order
        self.first_of_order = size == 1
        self.joined, self.next = (
            orders[self.pair, torch.where(back, self.half - at, at)] for at in (size - 1, size)
        )
        rank = ranks[self.pair]
        return torch.where(back[:, None], self.half - rank, rank) < size[:, None]


def _marginals(
    orders: Orders, samples: Tensor, pairs: int, score: Tensor, origin: Tensor, empty: Tensor
) -> Moments:
    """What each player adds to the score, over pairs of orders: moments of (T, n * pairs, P)."""
    game, count = orders.game, orders.game.players.count
    moments = Moments(len(samples), pairs, empty.device, second=True)
    unfinished = empty.new_zeros(len(empty), count)  # of the pair whose rows go on in the next chunk
    share = 1 / (2 * game.baselines)  # two orders
    for start, scores in game.scores(orders.present, samples, pairs * orders.steps, score):
        r = torch.arange(start, start + scores.shape[1])
        i = samples[r.div(pairs * orders.steps, rounding_mode="floor")]
        change = (scores.cpu().double() - origin[:, i]) * share
        gained = change - torch.where(orders.first_of_order, empty[:, i] * share, 0.0)
        here = int(orders.pair[-1]) + 1
        added = change.new_zeros(len(change), here * count)
        added.index_add_(1, orders.pair * count + orders.joined, gained)
        added.index_add_(1, orders.pair * count + orders.next, -change)
        added = added.view(len(change), here, count)
        added[:, 0] += unfinished
        complete = here - int((start + scores.shape[1]) % orders.steps > 0)
        unfinished = added[:, -1] if complete < here else torch.zeros_like(unfinished)
        if complete:
            moments.add((added[:, :complete],), start // orders.steps)
    return moments
