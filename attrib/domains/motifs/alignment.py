"""Windows of sequences laid onto each other: shifts and strands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Alignment(NamedTuple):
    """The best way to lay windows onto each other: arrays (window, window).

    Attributes
    ----------
    similarity : array
        Cosine, from -1 to 1.
    shift : array of int
        Positions that the second is moved to the right.
    flipped : array of bool
        Whether the second is turned to the other strand.
    """

    similarity: np.ndarray
    shift: np.ndarray
    flipped: np.ndarray


def aligned(windows: np.ndarray, both_strands: bool = True) -> Alignment:
    """The best shift, up to half the width, and strand for each pair of windows (window, 4, width)."""
    n, _, width = windows.shape
    norm = np.linalg.norm(windows.reshape(n, -1), axis=1)
    unit = windows / np.where(norm > 0, norm, 1)[:, None, None]
    best = Alignment(np.full((n, n), -np.inf), np.zeros((n, n), int), np.zeros((n, n), bool))
    for flipped, other in [(False, unit), *([(True, unit[:, ::-1, ::-1])] if both_strands else [])]:
        for shift in sorted(range(-(width // 2), width // 2 + 1), key=abs):
            cosine = unit.reshape(n, -1) @ moved(other, shift).reshape(n, -1).T
            better = cosine > best.similarity + 1e-12
            best.similarity[better] = cosine[better]
            best.shift[better] = shift
            best.flipped[better] = flipped
    return best


def moved(windows: np.ndarray, shift: int) -> np.ndarray:
    """Windows (..., width) moved to the right, zeros coming in."""
    found = np.zeros_like(windows)
    width = windows.shape[-1]
    found[..., max(0, shift) : width + min(0, shift)] = windows[..., max(0, -shift) : width - max(0, shift)]
    return found
