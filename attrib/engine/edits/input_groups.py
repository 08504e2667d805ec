"""Groups of an input for interactions: the change of each value from its baseline, or of groups of values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.inputs import of_samples


class InputGroups:
    """The changes of one input from its baseline, value by value or in groups.

    Parameters
    ----------
    x, x0 : Tensor (N, ...), (1, ...) or (N, ...)
        Input and baseline.
    groups : Tensor, optional
        Integers shaped like a sample: the number of each value's group, negative for none. Or floats (G, ...) or
        (N, G, ...): the share of each group in each value.
    name : str
        Name of `groups` in errors.

    Attributes
    ----------
    shape : tuple of int
        Shape of a sample, or (G,).
    """

    def __init__(self, x: Tensor, x0: Tensor, groups: Tensor | None, name: str) -> None:
        self.x, self.x0 = x, x0
        self.difference = x - x0
        self.weights = None if groups is None else _weights(groups, x, name)
        self.shape = tuple(x.shape[1:]) if self.weights is None else (self.weights.shape[1],)
        self._differing = _differing(self.difference) if self.weights is None else None

    @property
    def size(self) -> int:
        """Number of values or groups."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Number of directions: of groups, or of values that differ from the baseline in the sample with most of them."""
        return self.shape[0] if self._differing is None else self._differing[0].shape[1]

    def directions(self, i: Tensor, part: slice, device: torch.device) -> Tensor:
        """The changes (D, rows, ...) along a part of the directions for samples `i`."""
        d = of_samples(self.difference, i, device).expand(len(i), *self.x.shape[1:])
        if self.weights is not None:
            return (of_samples(self.weights, i, device)[:, part] * d[:, None]).transpose(0, 1)
        assert self._differing is not None
        index, real = (of_samples(t, i, device).expand(len(i), -1)[:, part] for t in self._differing)
        values = d.reshape(len(d), -1).gather(1, index) * real
        one_hot = torch.zeros(len(d), index.shape[1], self.size, dtype=d.dtype, device=device)
        one_hot.scatter_(2, index[:, :, None], values[:, :, None])
        return one_hot.transpose(0, 1).reshape(-1, *d.shape)

    def contributions(self, slopes: Tensor, i: Tensor) -> Tensor:
        """Slopes (T, D, rows, ...) times the changes of this input: (T, D, rows, values or G)."""
        changes = slopes * of_samples(self.difference, i, slopes.device)
        changes = changes.reshape(*changes.shape[:3], -1)
        if self.weights is None:
            return changes
        shares = of_samples(self.weights, i, slopes.device).expand(changes.shape[2], *self.weights.shape[1:])
        return torch.einsum("tdns,ngs->tdng", changes, shares.flatten(2))

    def scattered(self, values: Tensor) -> Tensor:
        """Values (T, N, D, other) of the directions, by value or group: (T, N, values or G, other)."""
        if self._differing is None:
            return values
        index, real = (t.to(values.device) for t in self._differing)
        out = values.new_zeros(*values.shape[:2], self.size, values.shape[3])
        positions = index[None, :, :, None].expand(len(values), -1, -1, values.shape[3])
        return out.scatter_add_(2, positions, values * real[None, :, :, None])


def _differing(difference: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (N, D) of the values that differ from the baseline, and which entries do differ: the rows are filled up."""
    differs = difference.reshape(len(difference), -1) != 0
    most = max(1, int(differs.sum(1).max()))
    order = differs.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return order, differs.gather(1, order)


def _weights(groups: Tensor, x: Tensor, name: str) -> Tensor:
    """Groups as shares (1, G, ...) or (N, G, ...)."""
    sample = x.shape[1:]
    if not groups.is_floating_point():
        if groups.shape != sample:
            raise ValueError(
                f"`{name}` has shape {tuple(groups.shape)}, expected that of a sample {tuple(sample)}"
            )
        if int(groups.max()) < 0:
            raise ValueError(f"`{name}` puts no value into a group; number the groups from 0")
        numbers = torch.arange(int(groups.max()) + 1, device=groups.device)
        return (groups[None] == numbers.view(-1, *[1] * len(sample))).to(x)[None]
    shares = groups[None] if groups.ndim == x.ndim else groups
    if shares.ndim != x.ndim + 1 or shares.shape[2:] != sample or len(shares) not in (1, len(x)):
        dims = ", ".join(map(str, sample))
        raise ValueError(
            f"`{name}` has shape {tuple(groups.shape)}, expected (G, {dims}) for all samples or ({len(x)}, G, {dims})"
        )
    return shares.detach().to(x)
