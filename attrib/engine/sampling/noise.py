"""Random draws that belong to a sample: the only source of randomness.

A draw is a pure function of the seed, of the sample's own values and of the draw's number. So it does not depend on
where in the batch the sample stands, on the other samples, on chunks or on the device; a position on dim 0 would tie it
to the order of the samples.

Numbers come from a counter-based generator in the sense of Salmon et al. (2011), doi:10.1145/2063384.2063405: each is a
hash of its coordinates. The hash is the 32-bit finaliser "lowbias32" of Wellons (2018, public domain), carried out in
int32, whose sums and products wrap around, so that every device gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from attrib._seed import whole_seed

_MASK = 0xFFFFFFFF
_STEPS = ((16, 0x7FEB352D), (15, 0x846CA68B - (1 << 32)))
_GOLDEN = 0x9E3779B9
_CPU_BLOCK = 1 << 17  # values made at a time: they stay in the cache
_GPU_BLOCK = 1 << 24


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
