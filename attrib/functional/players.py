"""Players: features, or groups of them, that keep their values or are replaced together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib.engine.edits.edits import Notes, effects
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import listed, moved, of_samples
from attrib.functional.occlusion import group_numbers

Present = Callable[
    [Tensor, Tensor], Tensor
]  # samples and steps of some rows -> which players are present (rows, P)

MOST_SCORES = 2**22  # scores kept at a time where coalitions are edits
ROWS_AT_ONCE = 2**16  # of coalitions whose boxes are looked up
SMALL = 0.25  # share of the input up to which absent players are looked at as an edit: beyond, windows take no less time


@dataclass(frozen=True)
class Players:
    """Which features are one player.

    Attributes
    ----------
    numbers : tuple of Tensor
        The player of each feature, per input: (1, ...) for all samples, or (N, ...); negative where a feature belongs to none.
    count : int
        How many players there are, in the sample with the most of them.
    counts : Tensor (1,) or (N,)
        How many there are in each sample: those behind these have no features.
    """

    numbers: tuple[Tensor, ...]
    count: int
    counts: Tensor

    def inside(self, present: Tensor, i: Tensor, j: int) -> Tensor:
        """Which features (rows, ...) of input `j` of samples `i` keep their values, of the players (rows, P) that are present."""
        numbers = of_samples(self.numbers[j], i, present.device)
        at = numbers.clamp(min=0).flatten(1).expand(len(present), -1)
        return present.gather(1, at).view(len(present), *numbers.shape[1:]) | (numbers < 0)

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values (T, N, P) of the players as values (T, N, *sample) of their features, zero for those of no player."""
        spread = []
        for numbers in self.numbers:
            at = numbers.to(values.device)
            flat = at.clamp(min=0).flatten(1).expand(*values.shape[:2], -1)
            each = values.gather(2, flat).view(*values.shape[:2], *at.shape[1:])
            spread.append(torch.where(at < 0, 0.0, each))
        return tuple(spread)

    def masked(self, values: Any) -> Any:
        """Values shaped like the inputs (or with a leading dim), NaN for the features of no player."""
        if isinstance(values, tuple):
            pairs = zip(values, self.numbers, strict=True)
            return tuple(torch.where(n.to(v.device) < 0, torch.nan, v) for v, n in pairs)
        return torch.where(self.numbers[0].to(values.device) < 0, torch.nan, values)

    def means(self, attributions: Sequence[Tensor]) -> Tensor:
        """The mean attribution (N, P) or (T, N, P) over the features of each player, in float64 on the CPU.

        It is minus infinity for players without features. Attributions are (N, *sample) or (T, N, *sample), per input.
        """
        lead = attributions[0].shape[: attributions[0].ndim - self.numbers[0].ndim + 1]
        sums = torch.zeros(*lead, self.count + 1, dtype=torch.float64)
        sizes = torch.zeros_like(sums)
        for numbers, a in zip(self.numbers, attributions, strict=True):
            at = torch.where(numbers < 0, self.count, numbers).flatten(1).expand(*lead, -1)
            values = a.detach().cpu().double().reshape(*lead, -1)
            sums.scatter_add_(-1, at, values)
            sizes.scatter_add_(-1, at, torch.ones_like(values))
        return torch.where(sizes > 0, sums / sizes, -torch.inf)[..., :-1]


def players_of(groups: Any, xs: Sequence[Tensor]) -> Players:
    """Each group a player, or each feature.

    Parameters
    ----------
    groups : Tensor of int, tuple of these (one per input; None: each feature alone), or None
        As for `feature_ablation`, also (N, ...), groups for each sample; equal numbers in two inputs are one player.
    xs : tuple of Tensor
        The inputs.

    Raises
    ------
    TypeError, ValueError
        For groups that are no ints, that do not fit the inputs, or that leave a sample without a player.
    """
    each = groups if isinstance(groups, tuple | list) else (groups,) * len(xs)
    if len(each) != len(xs):
        raise ValueError(f"`groups` has {len(each)} entries for {len(xs)} inputs; pass one per input")
    grouped = [
        None if g is None else group_numbers(g, x).expand(-1, *x.shape[1:])
        for g, x in zip(each, xs, strict=True)
    ]
    rows = max((len(g) for g in grouped if g is not None), default=1)
    labels = [g.flatten(1).expand(rows, -1) for g in grouped if g is not None]
    joined = torch.cat(labels, 1) if labels else torch.zeros(1, 0, dtype=torch.long)
    ranks, counts = _ranks(joined)
    parts = iter(ranks.split([p.shape[1] for p in labels], 1))
    numbers = []
    for g, x in zip(grouped, xs, strict=True):
        if g is None:
            size = x[0].numel()
            numbers.append((counts[:, None] + torch.arange(size)).view(rows, *x.shape[1:]))
            counts = counts + size
        else:
            numbers.append(next(parts).view(rows, *x.shape[1:]))
    if not bool(counts.all()):
        where = (
            "" if rows == 1 else f" in the samples {listed([int(i) for i in (counts == 0).nonzero()[:, 0]])}"
        )
        what = "has negative numbers only" if joined.numel() else "is empty"
        raise ValueError(f"`groups` {what}{where}: no feature belongs to a group; number the groups from 0")
    return Players(tuple(numbers), int(counts.max()), counts)


def _ranks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's labels as 0, 1, ..., -1 where they are negative, and how many there are in each row."""
    ordered, at = labels.sort(1)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ranks = (fresh & (ordered >= 0)).cumsum(1) - 1
    counts = ranks[:, -1] + 1 if ranks.shape[1] else torch.zeros(len(labels), dtype=torch.long)
    return torch.empty_like(ranks).scatter_(1, at, torch.where(ordered < 0, -1, ranks)), counts


class Coalitions:
    """Rows in which some players have their own values and all others those of a baseline.

    Parameters
    ----------
    passes : Passes
        The model.
    xs : tuple of Tensor (N, ...)
        The inputs.
    pool : tuple of Tensor (1, B, ...) or (N, B, ...)
        Baselines.
    players : Players
    path : {"auto", "window", "dense"}
        How scores are computed, as for edits.

    Attributes
    ----------
    notes : dict
        `path` and why it ran, once scores have been computed.
    """

    def __init__(
        self,
        passes: Passes,
        xs: tuple[Tensor, ...],
        pool: tuple[Tensor, ...],
        players: Players,
        path: str = "dense",
    ) -> None:
        self.passes, self.device, self.xs, self.pool, self.players = passes, passes.device, xs, pool, players
        self.baselines, self.path = pool[0].shape[1], path
        self._hulls = None if path == "dense" else Hulls.of(players, xs)
        reason = (
            "players lie in several inputs, or fill theirs"
            if self._hulls is None
            else "absent players fill most of the input"
        )
        self.notes: Notes = {"path": "dense", "path_reason": "asked for" if path == "dense" else reason}

    def points(self, present: Present, i: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        """Rows of samples `i`; step `k` is the coalition ``k // baselines`` of `present`, with baseline ``k % baselines``."""
        coalition, b = k.div(self.baselines, rounding_mode="floor"), k % self.baselines
        inside = moved(present(i, coalition), self.device)
        return tuple(
            torch.where(
                self.players.inside(inside, i, j), of_samples(x, i, self.device), self.baseline(j, i, b)
            )
            for j, x in enumerate(self.xs)
        )

    def baseline(self, j: int, i: Tensor, b: Tensor) -> Tensor:
        """Baseline `b` of samples `i` in input `j`."""
        pool = self.pool[j]
        if len(pool) == 1:
            return moved(pool[0], self.device)[moved(b, self.device) if self.baselines > 1 else slice(None)]
        first = int(i[0]) if len(i) else 0
        part = moved(pool[first : int(i[-1]) + 1 if len(i) else 1], self.device)
        return part[moved(i - first, self.device), moved(b, self.device)]

    def scores(
        self, present: Present, samples: Tensor, steps: int, prediction: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Scores (T, rows) of coalitions, chunk by chunk, as `Passes.scores_along` gives them.

        Coalitions whose absent players lie in a small part of the one input that has players go by the window, if that
        needs fewer operations. `present` is called for each chunk before it is given.

        Parameters
        ----------
        present : callable
        samples : Tensor (n,)
        steps : int
            Coalitions of a sample, times the baselines.
        prediction : Tensor (T, N)
            Scores of the inputs.

        Raises
        ------
        ValueError
            If `path` is "window" and the window does not serve.
        """
        if self._hulls is None:
            if self.path == "window":
                raise ValueError(
                    '`path` is "window", but players lie in several inputs, or each fills its input; pass "auto" or "dense"'
                )
            yield from self.passes.scores_along(lambda i, k: self.points(present, i, k), samples, steps)
            return
        size = max(1, MOST_SCORES // max(1, steps * len(prediction)))
        for first in range(0, len(samples), size):
            some = samples[first : first + size]
            part = self._by_both_paths(present, some, steps, prediction)
            for s, i in enumerate(some):
                k = torch.arange(steps)
                present(i.expand(steps), k.div(self.baselines, rounding_mode="floor"))
                yield (first + s) * steps, part[:, s * steps : (s + 1) * steps]

    def _by_both_paths(self, present: Present, samples: Tensor, steps: int, prediction: Tensor) -> Tensor:
        """Scores (T, n * steps): those of small parts of the input as edits, all others by rows of the model."""
        assert self._hulls is not None
        absences = Absences(self, self._hulls, present, samples.repeat_interleave(steps), torch.arange(steps).repeat(len(samples)))  # fmt: skip
        small = absences.shares() <= (1.0 if self.path == "window" else SMALL)
        total = prediction.new_zeros(len(prediction), len(small))
        if bool(small.any()):
            edits = absences.at(small.nonzero()[:, 0])
            values, notes = effects(self.passes, self.xs, self._hulls.j, edits, prediction, self.path)
            before = prediction.index_select(1, edits.samples.to(prediction.device))
            total[:, small.to(total.device)] = values + before
            if self.notes["path"] == "dense":
                self.notes = {k: v for k, v in notes.items() if k != "edits"}
        wide = absences.at((~small).nonzero()[:, 0])

        def work(start: int, stop: int) -> Tensor:
            i, k = wide.samples[start:stop], wide.steps[start:stop]
            return self.passes.score(self.passes.function(*self.points(present, i, k), samples=i), i)

        parts = list(self.passes.batches.run(len(wide.samples), work))
        if parts:
            total[:, ~small.to(total.device)] = torch.cat(parts, 1)
        return total


@dataclass(frozen=True)
class Hulls:
    """Where the players lie: the smallest boxes that hold their features.

    Attributes
    ----------
    j : int
        Number of the one input that has players.
    axes : tuple of int
        Its dims along which some player does not fill it.
    lo, hi : Tensor (1 or N, P, axes)
        Boxes [lo, hi).
    sizes : Tensor (axes,)
        Of the input.
    """

    j: int
    axes: tuple[int, ...]
    lo: Tensor
    hi: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, players: Players, xs: tuple[Tensor, ...]) -> Hulls | None:
        """The boxes; None where players lie in several inputs, or each fills its input."""
        inputs = [j for j, numbers in enumerate(players.numbers) if bool((numbers >= 0).any())]
        if len(inputs) != 1:
            return None
        (j,) = inputs
        numbers, shape = players.numbers[j], xs[j].shape
        at = torch.where(numbers < 0, players.count, numbers).flatten(1)
        starts, stops, axes = [], [], []
        for axis in range(1, len(shape)):
            along = torch.arange(shape[axis]).view([-1 if d == axis else 1 for d in range(1, len(shape))])
            place = along.expand(shape[1:]).flatten().expand(len(at), -1)
            empty = torch.full((len(at), players.count + 1), shape[axis])
            lo = empty.scatter_reduce(1, at, place, "amin")[:, :-1]
            hi = torch.zeros_like(empty).scatter_reduce(1, at, place + 1, "amax")[:, :-1]
            if bool((hi - lo < shape[axis]).any()):
                axes.append(axis)
                starts.append(lo)
                stops.append(hi)
        if not axes:
            return None
        return cls(j, tuple(axes), torch.stack(starts, 2), torch.stack(stops, 2), torch.tensor([shape[a] for a in axes]))  # fmt: skip


class Absences:
    """Coalitions as edits of one input: the features of absent players have the values of a baseline.

    Parameters
    ----------
    game : Coalitions
    hulls : Hulls
    present : callable
    samples, steps : Tensor (R,)
        Sample and step of each.
    """

    def __init__(
        self, game: Coalitions, hulls: Hulls, present: Present, samples: Tensor, steps: Tensor
    ) -> None:
        self.game, self.hulls, self.present, self.samples, self.steps = game, hulls, present, samples, steps
        self.axes, self.each = hulls.axes, int(samples.bincount().max()) if len(samples) else 0

    def at(self, r: Tensor) -> Absences:
        """Some of them."""
        return Absences(self.game, self.hulls, self.present, self.samples[r], self.steps[r])

    def shares(self) -> Tensor:
        """Share (R,) of the input that the boxes hold."""
        shares = []
        for r in torch.arange(len(self.samples)).split(ROWS_AT_ONCE):
            lo, hi = self.box(r)
            shares.append(((hi - lo) / self.hulls.sizes).prod(1))
        return torch.cat(shares)

    def _members(self, r: Tensor) -> Tensor:
        return self.present(self.samples[r], self.steps[r].div(self.game.baselines, rounding_mode="floor"))

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The features of the absent players."""
        return ~self.game.players.inside(moved(self._members(r), device), self.samples[r], self.hulls.j)

    def content(self, r: Tensor) -> Tensor:
        """The rows themselves: windows take all values of a box from here."""
        return self.game.points(self.present, self.samples[r], self.steps[r])[self.hulls.j]

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest box that holds all absent players."""
        absent = ~self._members(r)[:, :, None]
        lo, hi = (t[self.samples[r]] if len(t) > 1 else t for t in (self.hulls.lo, self.hulls.hi))
        start = torch.where(absent, lo, self.hulls.sizes).amin(1)
        return start, torch.where(absent, hi, 0).amax(1).maximum(start)
