"""Players: features, or groups of them, that keep their values or are replaced together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import listed, of_samples
from attrib.functional.occlusion import group_numbers

Present = Callable[
    [Tensor, Tensor], Tensor
]  # samples and steps of some rows -> which players are present (rows, P)


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
    """

    def __init__(
        self, passes: Passes, xs: tuple[Tensor, ...], pool: tuple[Tensor, ...], players: Players
    ) -> None:
        self.device, self.xs, self.pool, self.players = passes.device, xs, pool, players
        self.baselines = pool[0].shape[1]

    def points(self, present: Present, i: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        """Rows of samples `i`; step `k` is the coalition ``k // baselines`` of `present`, with baseline ``k % baselines``."""
        coalition, b = k.div(self.baselines, rounding_mode="floor"), k % self.baselines
        inside = present(i, coalition).to(self.device)
        return tuple(
            torch.where(
                self.players.inside(inside, i, j), of_samples(x, i, self.device), self._baseline(j, i, b)
            )
            for j, x in enumerate(self.xs)
        )

    def _baseline(self, j: int, i: Tensor, b: Tensor) -> Tensor:
        """Baseline `b` of samples `i`."""
        pool = self.pool[j]
        if len(pool) == 1:
            return pool[0].to(self.device)[b.to(self.device) if self.baselines > 1 else slice(None)]
        first = int(i[0])
        part = pool[first : int(i[-1]) + 1].to(self.device)
        return part[(i - first).to(self.device), b.to(self.device)]
