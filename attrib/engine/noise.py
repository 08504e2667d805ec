"""Random draws that belong to a sample: the only source of randomness.

A draw is a pure function of the seed, of the sample's own values and of the draw's number. So it does not depend on
where in the batch the sample stands, on the other samples, on chunks or on the device; a position on dim 0 would tie it
to the order of the samples.

Numbers come from a counter-based generator in the sense of Salmon et al. (2011), doi:10.1145/2063384.2063405: each is a
hash of its coordinates. The hash is the 32-bit finaliser "lowbias32" of Wellons (2018, public domain), carried out in
int64 so that every device gives the same bits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_STEPS = ((16, 0x7FEB352D), (15, 0x846CA68B))
_GOLDEN = 0x9E3779B9
_BLOCK = 1 << 20  # values made at a time: int64 work space of 8 MB


def _mix(h: Tensor) -> Tensor:
    """Scramble 32-bit values in place: every input bit changes every output bit with probability about 1/2."""
    for shift, factor in _STEPS:
        h ^= h >> shift
        h *= factor
        h &= _MASK
    h ^= h >> 16
    return h


def sample_keys(xs: tuple[Tensor, ...], seed: int) -> Tensor:
    """A key (N, 2) of two 32-bit words for each sample, from `seed` and the sample's own values.

    Values count as float32, so that float64 copies of the same numbers get the same draws.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"`seed` is {seed!r}, expected an int")
    keys = []
    for word in range(2):
        start = _mix(torch.tensor((seed + word * _GOLDEN) & _MASK) ^ _mix(torch.tensor((seed >> 32) & _MASK)))
        total = start.expand(len(xs[0])).clone()
        for j, x in enumerate(xs):
            bits = (x.detach().flatten(1) if x.ndim > 1 else x.detach()[:, None]).float().add(0.0)
            values = bits.contiguous().view(torch.int32).to(torch.int64) & _MASK
            place = _mix(torch.arange(values.shape[1], device=x.device) + (j + 1) * _GOLDEN & _MASK)
            total = total + _mix((values + place * (2 * word + 1)) & _MASK).sum(1).cpu()
        keys.append(_mix(total & _MASK))
    return torch.stack(keys, 1)


def _hashes(keys: Tensor, draws: Tensor, stream: int, n: int) -> Tensor:
    """`n` 32-bit values for each row, from its sample's key and the number of the draw: (rows, n), int64."""
    device = draws.device
    keys = keys.to(device)
    salt = _mix(draws.to(torch.int64) + (stream + 1) * _GOLDEN & _MASK)
    first = _mix(keys[:, 0] ^ salt)
    second = _mix((keys[:, 1] + first + salt) & _MASK)
    places = _mix(torch.arange(n, device=device) * 2 + 1)
    h = places[None] ^ first[:, None]
    h += second[:, None]
    h &= _MASK
    return _mix(h)


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
    return (_hashes(keys, draws, stream, 1)[:, 0].double() + 0.5) / 2**32


def choice(keys: Tensor, draws: Tensor, stream: int, n: int) -> Tensor:
    """One integer in [0, n) per row."""
    return (uniform(keys, draws, stream) * n).long().clamp_(max=n - 1)


def normal(keys: Tensor, draws: Tensor, stream: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Standard normal values (rows, *shape), by the transform of Box and Muller (1958), doi:10.1214/aoms/1177706645."""
    n = math.prod(shape)
    block = max(1, _BLOCK // max(n, 1))
    parts = [
        _normal(keys[r : r + block], draws[r : r + block], stream, n, dtype)
        for r in range(0, len(draws), block)
    ]
    return torch.cat(parts).reshape(len(draws), *shape)


def _normal(keys: Tensor, draws: Tensor, stream: int, n: int, dtype: torch.dtype) -> Tensor:
    half = (n + 1) // 2
    h = _hashes(keys, draws, stream, 2 * half)
    work = torch.float64 if dtype == torch.float64 else torch.float32
    # 24 bits fill float32's mantissa; the half keeps the logarithm finite
    radius = (h[:, :half] >> 8).to(work).add_(0.5).mul_(2.0**-24).log_().mul_(-2).sqrt_()
    angle = (h[:, half:] >> 8).to(work).mul_(2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :n].to(dtype)
