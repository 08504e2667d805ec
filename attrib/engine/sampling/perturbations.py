"""Random points: noisy copies of the inputs, and points between them and drawn baselines."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.gradient.affine_first_layer import FirstLayer
from attrib.engine.gradient.pullback import Rows
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import of_samples
from attrib.engine.sampling.noise import block, choice, normal_blocks, sample_keys, uniform

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
        See `attrib.engine.sampling.noise`.
    device : torch.device
        Where the copies are made.
    """

    def __init__(self, xs: Rows, stdevs: list[Tensor], seed: int, device: torch.device) -> None:
        self.xs, self.stdevs, self.device = xs, stdevs, device
        self.keys = sample_keys(xs, seed)

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Copy `k` of samples `i`."""
        keys, k = self.keys[i].to(self.device), k.to(self.device)
        return tuple(self._copies(j, i, keys, k) for j in range(len(self.xs)))

    def _copies(self, j: int, i: Tensor, keys: Tensor, k: Tensor) -> Tensor:
        """Of input `j`."""
        x, s = self.xs[j], self.stdevs[j]
        if not bool(s.any()):
            return of_samples(x, i, self.device).expand(len(i), *x.shape[1:])
        first = int(i[0])
        part, at = (
            x[first : int(i[-1]) + 1].to(self.device, non_blocking=True).flatten(1),
            (i - first).to(self.device),
        )
        out = part.new_empty(len(i), part.shape[1])
        scale = of_samples(s, i, self.device).expand(len(i))[:, None]
        blocks = normal_blocks(keys, k, NOISE + j, out.shape[1], out.dtype)
        if transformed():  # what is written to has no derivative
            out = torch.cat([part[at[rows]] + (z.clone() * scale[rows]).to(part.dtype) for rows, z in blocks])
            return out.view(len(i), *x.shape[1:])
        for rows, z in blocks:
            torch.addcmul(part[at[rows]].to(z.dtype), z, scale[rows].to(z.dtype), out=out[rows])
        return out.view(len(i), *x.shape[1:])


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
        which, mix = self._drawn(i, k)
        ends = self.noisy.points(i, k)
        starts = [_picked(b, i, which, self.noisy.device) for b in self.pool]
        self._difference = tuple(e - s for e, s in zip(ends, starts, strict=True))
        return tuple(
            torch.addcmul(s, mix.to(d.dtype).view(-1, *[1] * (d.ndim - 1)), d)
            for s, d in zip(starts, self._difference, strict=True)
        )

    def _drawn(self, i: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The baseline and the place on the way from it, for each row."""
        keys, k = self.noisy.keys[i], k.cpu()
        which = choice(keys, k, BASELINE, self.pool[0].shape[1])
        return which, uniform(keys, k, MIX).to(self.noisy.device)

    def at_input(self, grads: Rows) -> Rows:
        """Gradients (T, rows, ...) at the points drawn last."""
        return grads

    def products(self, grads: Rows) -> Rows:
        """These gradients times the differences there; to be asked for once, for memory that is not needed is used again."""
        difference, self._difference = self._difference, ()
        return tuple(
            d.mul_(g[0])[None] if len(g) == 1 else g * d for g, d in zip(grads, difference, strict=True)
        )


class DrawsBehind(Draws):
    """The same points as the output of an affine first layer, which maps straight lines to straight lines.

    It runs once for each input and baseline, instead of once for each point.

    Parameters
    ----------
    noisy : Noise
        The inputs, without noise.
    pool : tuple of Tensor (1, B, ...)
        Baselines shared by all samples.
    layer : FirstLayer
        The layer.
    size : int
        Rows that go through it at a time.
    """

    def __init__(self, noisy: Noise, pool: Rows, layer: FirstLayer, size: int) -> None:
        super().__init__(noisy, pool)
        self.layer = layer
        self._heads, self._tails = (
            torch.cat([layer(part.to(noisy.device)) for part in t.split(size)])
            for t in (noisy.xs[0], pool[0][0].expand(-1, *noisy.xs[0].shape[1:]))
        )
        self._rows = self._which = torch.empty(0, dtype=torch.long)

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Draw `k` of samples `i`, behind the layer."""
        self._rows = i.to(self.noisy.device)
        which, mix = self._drawn(i, k)
        self._which = which.to(mix.device)
        heads, tails = self._heads[self._rows], self._tails[self._which]
        return (torch.addcmul(tails, mix.to(heads.dtype).view(-1, *[1] * (heads.ndim - 1)), heads - tails),)

    def at_input(self, grads: Rows) -> Rows:
        """Gradients (T, rows, ...) at the points drawn last, before the layer."""
        return (self.layer.back(grads[0]),)

    def products(self, grads: Rows) -> Rows:
        """These gradients times the differences there, in their place."""
        x, pool = self.noisy.xs[0], self.pool[0][0].to(self.noisy.device)
        size = max(1, block(pool.device) // max(x[0].numel(), 1))  # rows that stay in the cache
        for start in range(0, len(self._rows), size):
            rows = slice(start, start + size)
            ends = of_samples(x, self._rows[rows].cpu(), pool.device)
            grads[0][:, rows].mul_(ends - pool[self._which[rows]])
        return grads


def _picked(pool: Tensor, i: Tensor, which: Tensor, device: torch.device) -> Tensor:
    """Baseline `which` of each sample `i` from (1, B, ...) or (N, B, ...), as a copy."""
    part = of_samples(pool, i, device)
    row = torch.zeros_like(i) if len(part) == 1 else torch.arange(len(i))
    return part[row.to(device), which.to(device)]
