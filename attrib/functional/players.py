"""Players: features, or groups of them, that keep their values or are replaced together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import of_samples
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
        The player of each feature of a sample, per input; negative where a feature belongs to none.
    count : int
        How many players there are.
    """

    numbers: tuple[Tensor, ...]
    count: int

    def inside(self, present: Tensor, j: int) -> Tensor:
        """Which features (rows, ...) of input `j` keep their values, of the players (rows, P) that are present."""
        numbers = self.numbers[j].to(present.device)
        members = present[:, numbers.clamp(min=0).flatten()].view(len(present), *numbers.shape)
        return members | (numbers < 0)

    def spread(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values (..., P) of the players as values (..., *sample) of their features, zero for those of no player."""
        spread = []
        for numbers in self.numbers:
            at = numbers.to(values.device)
            each = values[..., at.clamp(min=0).flatten()].view(*values.shape[:-1], *at.shape)
            spread.append(torch.where(at < 0, 0.0, each))
        return tuple(spread)

    def masked(self, values: Any) -> Any:
        """Values shaped like the inputs (or with a leading dim), NaN for the features of no player."""
        if isinstance(values, tuple):
            pairs = zip(values, self.numbers, strict=True)
            return tuple(torch.where(n.to(v.device) < 0, torch.nan, v) for v, n in pairs)
        return torch.where(self.numbers[0].to(values.device) < 0, torch.nan, values)

    def means(self, attributions: Sequence[Tensor]) -> Tensor:
        """The mean attribution (..., P), in float64 on the CPU, over the features of each player; (..., *sample) per input."""
        dims = attributions[0].ndim - self.numbers[0].ndim
        lead = attributions[0].shape[:dims]
        sums = torch.zeros(*lead, self.count, dtype=torch.float64)
        sizes = torch.zeros(self.count, dtype=torch.float64)
        for numbers, a in zip(self.numbers, attributions, strict=True):
            member = numbers >= 0
            at = numbers[member]
            values = a.detach().cpu().double().reshape(*lead, *numbers.shape)[..., member]
            sums.index_add_(dims, at, values)
            sizes.index_add_(0, at, torch.ones(len(at), dtype=torch.float64))
        return sums / sizes


def players_of(groups: Any, xs: Sequence[Tensor]) -> Players:
    """Each group a player, or each feature.

    Parameters
    ----------
    groups : Tensor of int, tuple of these (one per input; None: each feature alone), or None
        As for `feature_ablation`; equal numbers in two inputs are one player.
    xs : tuple of Tensor
        The inputs.

    Raises
    ------
    TypeError, ValueError
        For groups that are no ints, that do not fit the inputs, or that leave no player.
    """
    each = groups if isinstance(groups, tuple | list) else (groups,) * len(xs)
    if len(each) != len(xs):
        raise ValueError(f"`groups` has {len(each)} entries for {len(xs)} inputs; pass one per input")
    grouped = [
        None if g is None else group_numbers(g, x).expand(x.shape[1:]) for g, x in zip(each, xs, strict=True)
    ]
    labels = torch.cat([g.flatten() for g in grouped if g is not None] or [torch.zeros(0, dtype=torch.long)])
    used = labels[labels >= 0].unique()
    count, numbers = len(used), []
    for g, x in zip(grouped, xs, strict=True):
        if g is None:
            size = x[0].numel()
            numbers.append(torch.arange(count, count + size).view(x.shape[1:]))
            count += size
        else:
            at = torch.searchsorted(used, g.clamp(min=0).contiguous())
            numbers.append(torch.where(g < 0, -1, at))
    if count == 0:
        what = "has negative numbers only" if len(labels) else "is empty"
        raise ValueError(f"`groups` {what}: no feature belongs to a group; number the groups from 0")
    return Players(tuple(numbers), count)


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
                self.players.inside(inside, j), of_samples(x, i, self.device), self._baseline(j, i, b)
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
