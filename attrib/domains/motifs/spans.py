"""Spans of a sequence: how much more of the attribution they have than chance would give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Spans(NamedTuple):
    """Every span of a sequence.

    Attributes
    ----------
    start, end : array (spans,)
        Half-open.
    z : array (spans,)
    """

    start: np.ndarray
    end: np.ndarray
    z: np.ndarray


def _z(sums: np.ndarray, length: int, size: int, mean: float, spread: float) -> np.ndarray:
    """Sums of spans in standard deviations; the whole sequence has none."""
    deviation = spread * np.sqrt(length * (size - length) / max(size - 1, 1))
    return (sums - length * mean) / deviation if deviation > 0 else np.zeros_like(sums)


def _by_length(
    v: np.ndarray, mean: float, spread: float, shortest: int, longest: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Each length, and z of the spans (..., starts)."""
    size = v.shape[-1]
    sums = np.concatenate([np.zeros((*v.shape[:-1], 1)), np.cumsum(v, -1)], -1)
    for length in range(shortest, min(longest, size) + 1):
        yield length, _z(sums[..., length:] - sums[..., :-length], length, size, mean, spread)


def largest(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> np.ndarray:
    """The largest |z| of each row."""
    return np.max([np.abs(z).max(-1) for _, z in _by_length(v, mean, spread, shortest, longest)], axis=0)


def every_span(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> Spans:
    """All spans of a sequence."""
    parts = [
        (np.arange(len(z)), np.arange(len(z)) + length, z)
        for length, z in _by_length(v, mean, spread, shortest, longest)
    ]
    return Spans(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def taken(spans: Spans) -> Iterator[tuple[int, int, float]]:
    """The strongest span, then the strongest of those that do not overlap it, and so on."""
    left = np.ones(len(spans.z), bool)
    strength = np.abs(spans.z)
    while left.any():
        best = int(np.where(left, strength, -1).argmax())
        start, end = int(spans.start[best]), int(spans.end[best])
        yield start, end, float(spans.z[best])
        left &= (spans.end <= start) | (spans.start >= end)
