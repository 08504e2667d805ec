"""Motifs put into sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from attrib.domains.sequences.letters import UNKNOWN, codes, fault

Motifs: TypeAlias = str | Sequence[str] | Mapping[str, str]


def named_motifs(motifs: Motifs) -> dict[str, np.ndarray]:
    """Codes of the motifs by name; a motif without a name is called by its letters.

    Raises
    ------
    ValueError
        If there are none, or one has other letters than A, C, G, T, U, N.
    """
    given = {motifs: motifs} if isinstance(motifs, str) else motifs
    named = dict(given) if isinstance(given, Mapping) else {m: m for m in given}
    if not named:
        raise ValueError("`motifs` is empty; pass at least one, as its letters")
    return {str(name): motif_codes(text, f"motifs[{name!r}]") for name, text in named.items()}


def motif_codes(motif: str, name: str) -> np.ndarray:
    """Codes of a motif.

    Raises
    ------
    ValueError
        If it has no letters, or other ones than A, C, G, T, U, N.
    """
    wrong = (
        fault(motif) if isinstance(motif, str) else f"it is a {type(motif).__name__}, expected its letters"
    )
    if wrong:
        raise ValueError(f"`{name}` is {motif!r}: {wrong}")
    return codes(motif)


def middle(mask: np.ndarray, width: int) -> np.ndarray:
    """Where a stretch of `width` begins that lies in the middle of each sequence (samples, positions)."""
    return mask.argmax(1) + (mask.sum(1) - width) // 2


def put(given: np.ndarray, motif: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Codes (samples, positions) with a motif at each sample's place; N in it leaves what is there."""
    found = given.copy()
    places = at[:, None] + np.arange(len(motif))
    rows = np.arange(len(given))[:, None]
    found[rows, places] = np.where(motif == UNKNOWN, found[rows, places], motif)
    return found


def refuse_outside(at: np.ndarray, width: int | np.ndarray, mask: np.ndarray, what: str) -> None:
    """Raise a ValueError if a stretch does not lie inside of every sequence."""
    begin, end = mask.argmax(1), mask.argmax(1) + mask.sum(1)
    wrong = np.flatnonzero((at < begin) | (at + width > end))
    if len(wrong):
        k = wrong[0]
        last = (at + width)[k] - 1
        raise ValueError(
            f"{what} would lie at positions {at[k]} to {last} of sample number {k}, whose letters are at "
            f"{begin[k]} to {end[k] - 1} ({len(wrong)} samples in all); pass another place, or longer sequences"
        )
