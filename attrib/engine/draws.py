"""Random points: noisy copies of the inputs, and points between them and drawn baselines."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.inputs import of_samples
from attrib.engine.noise import choice, normal, sample_keys, uniform
from attrib.engine.pullback import Rows

Stdevs = float | tuple[float, ...]
NOISE, BASELINE, MIX = 0, 64, 65  # streams of draws; noise takes one per input


def draw_count(n_samples: int) -> int:
    """The number of draws per sample, checked."""
    if isinstance(n_samples, bool) or not isinstance(n_samples, int):
        raise TypeError(f"`n_samples` is {n_samples!r}, expected an int")
    if n_samples < 1:
        raise ValueError(f"`n_samples` is {n_samples}, expected at least 1")
    return n_samples


def given(xs: Rows, stdevs: Stdevs) -> list[Tensor]:
    """Standard deviations (1,) per input."""
    each = tuple(stdevs) if isinstance(stdevs, tuple | list) else (stdevs,) * len(xs)
    if len(each) != len(xs):
        raise ValueError(f"`stdevs` has {len(each)} entries for {len(xs)} inputs")
    if any(isinstance(s, bool) or not isinstance(s, int | float) or not 0 <= s < float("inf") for s in each):
        raise ValueError(f"`stdevs` is {stdevs!r}, expected a number of at least 0, or one per input")
    return [torch.tensor([float(s)]) for s in each]


def spread(xs: Rows, stdevs: Stdevs | None, stdev_spread: float) -> list[Tensor]:
    """Standard deviations (1,) or (N,) per input: as given, or a share of each sample's range."""
    if stdevs is not None:
        return given(xs, stdevs)
    if not 0 <= stdev_spread < float("inf"):
        raise ValueError(f"`stdev_spread` is {stdev_spread}, expected a number of at least 0")
    flat = [t.reshape(len(t), -1) for t in xs]
    return [stdev_spread * (t.amax(1) - t.amin(1)) for t in flat]


class Noise:
    """Noisy copies of the inputs.

    Parameters
    ----------
    xs : tuple of Tensor (N, ...)
        Inputs.
    stdevs : list of Tensor (1,) or (N,)
        Standard deviation of the noise, per input.
    seed : int
        See `attrib.engine.noise`.
    device : torch.device
        Where the copies are made.
    """

    def __init__(self, xs: Rows, stdevs: list[Tensor], seed: int, device: torch.device) -> None:
        self.xs, self.stdevs, self.device = xs, stdevs, device
        self.keys = sample_keys(xs, seed)

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Copy `k` of samples `i`."""
        keys, k = self.keys[i].to(self.device), k.to(self.device)
        rows = []
        for j, (t, s) in enumerate(zip(self.xs, self.stdevs, strict=True)):
            row = of_samples(t, i, self.device).expand(
                len(i), *t.shape[1:]
            )  # of one sample there is one row for all
            if bool(s.any()):
                scale = of_samples(s, i, self.device).to(row.dtype).view(-1, *[1] * (row.ndim - 1))
                row = normal(keys, k, NOISE + j, row.shape[1:], row.dtype).mul_(scale).add_(row)
            rows.append(row)
        return tuple(rows)


class Draws:
    """Points between noisy inputs and drawn baselines.

    Parameters
    ----------
    noisy : Noise
        The inputs' copies.
    pool : tuple of Tensor (1, B, ...) or (N, B, ...)
        Baselines to draw from; rows of equal number belong together.
    """

    def __init__(self, noisy: Noise, pool: Rows) -> None:
        self.noisy, self.pool = noisy, pool
        self._difference: Rows = ()  # of the chunk drawn last, which is the one `products` is asked for

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Draw `k` of samples `i`."""
        keys, k = self.noisy.keys[i], k.cpu()
        which = choice(keys, k, BASELINE, self.pool[0].shape[1])
        mix = uniform(keys, k, MIX).to(self.noisy.device)
        ends = self.noisy.points(i, k)
        starts = [_drawn(b, i, which, self.noisy.device) for b in self.pool]
        self._difference = tuple(e - s for e, s in zip(ends, starts, strict=True))
        return tuple(
            torch.addcmul(s, mix.to(d.dtype).view(-1, *[1] * (d.ndim - 1)), d)
            for s, d in zip(starts, self._difference, strict=True)
        )

    def products(self, grads: Rows) -> Rows:
        """Gradients (T, rows, ...) at the points drawn last, times the differences there."""
        return tuple(g * d for g, d in zip(grads, self._difference, strict=True))


def _drawn(pool: Tensor, i: Tensor, which: Tensor, device: torch.device) -> Tensor:
    """Baseline `which` of each sample `i` from (1, B, ...) or (N, B, ...), as a copy."""
    part = of_samples(pool, i, device)
    row = torch.zeros_like(i) if len(part) == 1 else torch.arange(len(i))
    return part[row.to(device), which.to(device)]
