"""Random points, noisy copies or points towards drawn baselines, and the draws behind them: the only source of randomness.

A draw is a pure function of the seed, of the sample's own values and of the draw's number. So it does not depend on
where in the batch the sample stands, on the other samples, on chunks or on the device; a position on dim 0 would tie it
to the order of the samples.

Numbers come from a counter-based generator in the sense of Salmon et al. (2011), doi:10.1145/2063384.2063405: each is a
hash of its coordinates. The hash is the 32-bit finaliser "lowbias32" of Wellons (2018, public domain), carried out in
int32, whose sums and products wrap around, so that every device gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attrib._arguments import refuse_what_cannot_fit, whole_seed
from attrib.engine.gradient.affine_first_layer import FirstLayer, affine_first_layer
from attrib.engine.gradient.differentiate import Rows
from attrib.engine.gradient.passes import Passes
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import moved, of_samples

Stdevs = float | tuple[float, ...]
_BYTES = 48  # of memory for each drawn baseline of a sample
MOST = 100_000_000  # draws of a sample; more would run for days
NOISE, BASELINE, MIX = 0, 64, 65  # streams of draws; noise takes one per input

_MASK = 0xFFFFFFFF
_STEPS = ((16, 0x7FEB352D), (15, 0x846CA68B - (1 << 32)))
_GOLDEN = 0x9E3779B9
_CPU_BLOCK = 1 << 17  # values made at a time: they stay in the cache
_GPU_BLOCK = 1 << 24


def draw_count(n_samples: int) -> int:
    """The number of draws per sample, checked."""
    if isinstance(n_samples, bool) or not isinstance(n_samples, int):
        raise TypeError(f"`n_samples` is {n_samples!r}, expected an int")
    if n_samples < 1:
        raise ValueError(f"`n_samples` is {n_samples}, expected at least 1")
    if n_samples > MOST:
        raise ValueError(
            f"`n_samples` is {n_samples:,}, expected at most {MOST:,}: each is a pass of the model, of every sample"
        )
    return n_samples


def stdevs_of(xs: Rows, stdevs: Stdevs) -> list[Tensor]:
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
        return stdevs_of(xs, stdevs)
    if not 0 <= stdev_spread < float("inf"):
        raise ValueError(f"`stdev_spread` is {stdev_spread}, expected a number of at least 0")
    flat = [t.reshape(len(t), -1) for t in xs]
    if all(t.shape[1] == 1 for t in flat):
        raise ValueError(
            "`stdev_spread` is a share of each sample's range, which is 0 where a sample is a single number; pass `stdevs`"
        )
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
        See `attrib.engine.sampling.perturbations`.
    device : torch.device
        Where the copies are made.
    antithetic : bool
        Whether copies 2j and 2j + 1 have opposite noise: what is odd in the noise then cancels in an average.
    """

    def __init__(
        self, xs: Rows, stdevs: list[Tensor], seed: int, device: torch.device, *, antithetic: bool = False
    ) -> None:
        self.xs, self.stdevs, self.device, self.antithetic = xs, stdevs, device, antithetic
        self.keys = sample_keys(xs, seed)
        self._noisy = [bool(s.any()) for s in stdevs]

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Copy `k` of samples `i`."""
        keys, k = moved(self.keys[i], self.device), moved(k, self.device)
        return tuple(self._copies(j, i, keys, k) for j in range(len(self.xs)))

    def _copies(self, j: int, i: Tensor, keys: Tensor, k: Tensor) -> Tensor:
        """Of input `j`."""
        x, s = self.xs[j], self.stdevs[j]
        if not self._noisy[j]:
            return of_samples(x, i, self.device).expand(len(i), *x.shape[1:])
        first = int(i[0])
        part = moved(x[first : int(i[-1]) + 1], self.device)
        part, at = part.reshape(len(part), -1), moved(i - first, self.device)
        out = part.new_empty(len(i), part.shape[1])
        scale = of_samples(s, i, self.device).expand(len(i))[:, None]
        if self.antithetic:
            scale = torch.where((k % 2 == 1)[:, None], -scale, scale)
            k = k.div(2, rounding_mode="floor")
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
    count : int
        Draws per sample.

    Notes
    -----
    The path is cut into `count` strata, with one draw in each, uniform in it. Of every B strata in a row each is given to another
    baseline, in random order. So baselines are in balance, and the draws of each are spread along its path. Every stratum is as
    likely to be given to one baseline as to another, so the mean over the draws is unbiased.
    """

    def __init__(self, noisy: Noise, pool: Rows, count: int) -> None:
        refuse_what_cannot_fit(_BYTES * count, "n_samples", f"{count:,} draws of baselines for a sample")
        self.noisy, self.pool, self.count = noisy, pool, count
        self._difference: Rows = ()  # of the chunk drawn last, which is the one `products` is asked for
        self._designed: tuple[range, Tensor, Tensor] | None = None

    def design(self, samples: range) -> tuple[Tensor, Tensor]:
        """Baseline and place on the way from it (n, count) of each draw of some samples: by baseline, then by place."""
        computed = range(0) if self._designed is None else self._designed[0]
        if samples[0] not in computed or samples[-1] not in computed:
            n, count, size = len(samples), self.count, self.pool[0].shape[1]
            keys = self.noisy.keys[samples.start : samples.stop]

            def draws(number: int, stream: int) -> Tensor:
                each = keys.repeat_interleave(number, 0)
                return uniform(each, torch.arange(number).repeat(n), stream).view(n, number)

            rounds = -(-count // size)
            order = draws(rounds * size, BASELINE).view(n, rounds, size).argsort(2)
            baselines = order.flatten(1)[:, :count]
            place = (torch.arange(count) + draws(count, MIX)) / count
            by_baseline = baselines.argsort(dim=1, stable=True)
            self._designed = samples, baselines.gather(1, by_baseline), place.gather(1, by_baseline)
        assert self._designed is not None
        computed, baselines, place = self._designed
        part = slice(samples.start - computed.start, samples.stop - computed.start)
        return baselines[part], place[part]

    def differences(self) -> tuple[int, Callable[[range], Tensor]]:
        """Which differences of successive draws tell the error of their mean: their order, and those that count.

        The second differences within a baseline, which a path that bends evenly leaves small; with fewer than three draws of
        each, the first; with one of each, the first between baselines, which overstate the error.
        """
        each = self.count // self.pool[0].shape[1]
        order = 2 if each > 2 else 1

        def counted(samples: range) -> Tensor:
            baselines = self.design(samples)[0]
            return (baselines[:, order:] == baselines[:, :-order]) | (each < 2)

        return order, counted

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Draw `k` of samples `i`."""
        baselines, mix = self._drawn(i, k)
        ends = self.noisy.points(i, k)
        starts = [_picked(b, i, baselines, self.noisy.device) for b in self.pool]
        self._difference = tuple(e - s for e, s in zip(ends, starts, strict=True))
        return tuple(
            torch.addcmul(s, mix.to(d.dtype).view(-1, *[1] * (d.ndim - 1)), d)
            for s, d in zip(starts, self._difference, strict=True)
        )

    def _drawn(self, i: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The baseline and the place on the way from it, for each row."""
        first = int(i[0])
        baselines, place = self.design(range(first, int(i[-1]) + 1))
        at = i - first, k.cpu()
        return baselines[at], moved(place[at], self.noisy.device)

    def at_input(self, gradients: Rows) -> Rows:
        """Gradients (T, rows, ...) at the points drawn last."""
        return gradients

    def products(self, gradients: Rows) -> Rows:
        """These gradients times the differences there; to be asked for once, for memory that is not needed is used again."""
        difference, self._difference = self._difference, ()
        return tuple(
            d.mul_(g[0])[None] if len(g) == 1 else g * d for g, d in zip(gradients, difference, strict=True)
        )


def _picked(pool: Tensor, i: Tensor, numbers: Tensor, device: torch.device) -> Tensor:
    """Baseline number `numbers` of each sample `i` from (1, B, ...) or (N, B, ...), as a copy."""
    part = of_samples(pool, i, device)
    row = torch.zeros_like(i) if len(part) == 1 else torch.arange(len(i))
    return part[moved(row, device), moved(numbers, device)]


def _word(values: Tensor | int) -> Tensor:
    """The low 32 bits, as int32."""
    t = torch.as_tensor(values & _MASK)
    return ((t ^ (1 << 31)) - (1 << 31)).to(torch.int32)


def _mix(h: Tensor) -> Tensor:
    """Scramble int32 words in place: every input bit changes every output bit with probability about 1/2."""
    for shift, factor in _STEPS:
        h ^= (h >> shift) & (_MASK >> shift)  # the mask takes the sign's copies away
        h *= factor
    h ^= (h >> 16) & (_MASK >> 16)
    return h


def sample_keys(xs: tuple[Tensor, ...], seed: int) -> Tensor:
    """A key (N, 2) of two int32 words for each sample, from `seed` and the sample's own values.

    Values count as float32, so that float64 copies of the same numbers get the same draws.
    """
    seed = whole_seed(seed)
    words = []
    for word in range(2):
        total = _mix(_word(seed + word * _GOLDEN) ^ _mix(_word(seed >> 32))).expand(len(xs[0])).long()
        for j, x in enumerate(xs):
            total = total + _sums(x.detach(), (j + 1) * _GOLDEN, 2 * word + 1)
        words.append(_mix(_word(total)))
    return torch.stack(words, 1)


def _sums(x: Tensor, salt: int, factor: int) -> Tensor:
    """Sum (N,) of hashes of each sample's values and their places, in blocks of samples; int64 on the CPU."""
    flat = x.reshape(len(x), -1)
    n = flat.shape[1]
    places = _mix(_word(torch.arange(n, device=x.device) + salt)) * factor
    parts = []
    for part in flat.split(max(1, block(x.device) // max(n, 1))):
        bits = part.float().add(0.0).contiguous().view(torch.int32)  # adding zero makes -0.0 a 0.0
        parts.append(_mix(bits + places).sum(1).cpu())
    return torch.cat(parts)


def block(device: torch.device) -> int:
    """Values to work on at a time."""
    return _CPU_BLOCK if device.type == "cpu" else _GPU_BLOCK


def _seeds(keys: Tensor, draws: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """Two words (rows, 1) for each row, from its sample's key and the number of the draw."""
    keys = keys.to(draws.device)
    salt = _mix(_word(draws + (stream + 1) * _GOLDEN))
    first = _mix(keys[:, 0] ^ salt)
    second = _mix(keys[:, 1] + first + salt)
    return first[:, None], second[:, None]


def _places(n: int, device: torch.device) -> Tensor:
    return _mix(torch.arange(n, device=device, dtype=torch.int32) * 2 + 1)[None]


def uniform(keys: Tensor, draws: Tensor, stream: int) -> Tensor:
    """One number in (0, 1) per row, float64.

    Parameters
    ----------
    keys : Tensor (rows, 2)
        Keys of the rows' samples.
    draws : Tensor (rows,)
        Number of the draw in each row.
    stream : int
        Tells independent uses apart.
    """
    first, second = _seeds(keys, draws, stream)
    h = _mix((_places(1, draws.device) ^ first) + second)[:, 0]
    return ((h.long() & _MASK).double() + 0.5) / 2**32


def normal_blocks(
    keys: Tensor, draws: Tensor, stream: int, n: int, dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """The values of `normal` for `n` features, some rows at a time, so that what is done with them finds them in the cache.

    They are float64 for float64, else float32. The next block is written over the one before.
    """
    places, seeds = _places(n, draws.device), _seeds(keys, draws, stream)
    size = max(1, min(len(draws), block(draws.device) // max(n, 1)))
    words = torch.empty(2, size, n, dtype=torch.int32, device=draws.device)
    values = words.new_empty(size, n, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    for start in range(0, len(draws), size):
        rows = slice(start, min(start + size, len(draws)))
        h, spare = words[:, : rows.stop - start]
        torch.bitwise_xor(places, seeds[0][rows], out=h).add_(seeds[1][rows])
        for (
            shift,
            factor,
        ) in _STEPS:  # as `_mix`; the sign's copies do no harm here, and the low bits are not used
            h ^= torch.bitwise_right_shift(h, shift, out=spare)
            h *= factor
        # the arithmetic shift leaves a signed 24-bit number: half a step up and scaled it lies inside (-1, 1), exactly
        inside = values[: len(h)].copy_(torch.bitwise_right_shift(h, 8, out=spare))
        yield rows, inside.add_(0.5).mul_(2.0**-23).erfinv_().mul_(math.sqrt(2))


class DrawsBehind(Draws):
    """Drawn points as the output of the first layer, which runs once for each input and baseline, not for each point.

    Parameters
    ----------
    noisy : Noise
        The inputs, without noise.
    pool : tuple of Tensor (1, B, ...)
        Baselines shared by all samples.
    count : int
        Draws per sample.
    layer : FirstLayer
        The layer.
    size : int
        Rows that go through it at a time.
    """

    def __init__(self, noisy: Noise, pool: Rows, count: int, layer: FirstLayer, size: int) -> None:
        super().__init__(noisy, pool, count)
        self._layer = layer
        self._ends, self._starts = (
            torch.cat([layer(part.to(noisy.device)) for part in t.split(size)])
            for t in (noisy.xs[0], pool[0][0].expand(-1, *noisy.xs[0].shape[1:]))
        )
        self._samples = self._baselines = torch.empty(0, dtype=torch.long)  # of the points drawn last

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Draw `k` of samples `i`, behind the layer."""
        baselines, mix = self._drawn(i, k)
        self._samples, self._baselines = moved(i, mix.device), moved(baselines, mix.device)
        ends, starts = self._ends[self._samples], self._starts[self._baselines]
        return (torch.addcmul(starts, mix.to(ends.dtype)[:, None], ends - starts),)

    def at_input(self, gradients: Rows) -> Rows:
        """Gradients (T, rows, ...) at the points drawn last, before the layer."""
        return (self._layer.back(gradients[0]),)

    def products(self, gradients: Rows) -> Rows:
        """These gradients times the differences there, in their place."""
        x, pool = self.noisy.xs[0], self.pool[0][0].to(self.noisy.device)
        size = max(1, block(pool.device) // max(x[0].numel(), 1))  # rows that stay in the cache
        for start in range(0, len(self._samples), size):
            rows = slice(start, start + size)
            ends = of_samples(x, self._samples[rows].cpu(), pool.device)
            gradients[0][:, rows].mul_(ends - pool[self._baselines[rows]])
        return gradients


def draws_between(passes: Passes, noisy: Noise, pool: Rows, steps: int) -> Draws:
    """Points between inputs and drawn baselines: at the input, or behind the first layer where ends are without noise."""
    without_noise = not any(bool(s.any()) for s in noisy.stdevs)
    if len(pool[0]) > 1 or not without_noise:
        return Draws(noisy, pool, steps)
    layer = affine_first_layer(passes, noisy.xs, pool[0][0, :1], steps, wide_rows=True)
    if layer is None:
        return Draws(noisy, pool, steps)
    return DrawsBehind(noisy, pool, steps, layer, passes.batches.chunk())


def choice(keys: Tensor, draws: Tensor, stream: int, n: int) -> Tensor:
    """One integer in [0, n) per row."""
    return (uniform(keys, draws, stream) * n).long().clamp_(max=n - 1)


def permutations(keys: Tensor, draws: Tensor, stream: int, n: int) -> Tensor:
    """A random order (rows, n) of the integers 0 to n - 1 in each row."""
    return _words(keys, draws, stream, n).argsort(dim=1, stable=True)


def signed_uniform(keys: Tensor, draws: Tensor, stream: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Values (rows, *shape), uniform on (-1, 1): 2^24 evenly spaced ones."""
    words = _words(keys, draws, stream, math.prod(shape)) >> 8  # signed 24-bit numbers
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return ((words.to(wide) + 0.5) * 2.0**-23).to(dtype).reshape(len(draws), *shape)


def _words(keys: Tensor, draws: Tensor, stream: int, n: int) -> Tensor:
    """Random int32 words (rows, n)."""
    first, second = _seeds(keys, draws, stream)
    return _mix((_places(n, draws.device) ^ first) + second)


def normal(keys: Tensor, draws: Tensor, stream: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Standard normal values (rows, *shape): quantiles of 2^24 evenly spaced probabilities, between -5.42 and 5.42."""
    out = torch.empty(len(draws), math.prod(shape), dtype=dtype, device=draws.device)
    for rows, z in normal_blocks(keys, draws, stream, out.shape[1], dtype):
        out[rows] = z
    return out.reshape(len(draws), *shape)
