"""Letters of DNA and RNA: their codes, the other strand, and letters that are not nucleotides."""

from __future__ import annotations

import numpy as np

NUCLEOTIDES = "ACGT"
UNKNOWN, OTHER = 4, 255  # codes of N and of letters that are not nucleotides


def _table() -> np.ndarray:
    table = np.full(256, OTHER, np.uint8)
    for code, letters in enumerate(("Aa", "Cc", "Gg", "TtUu", "Nn")):
        table[list(letters.encode())] = code
    return table


_CODES = _table()
_OTHER_STRAND = str.maketrans("ACGTUacgtu", "TGCAAtgcaa")


def codes(text: str) -> np.ndarray:
    """Letters as numbers: A, C, G, T 0 to 3 (U as T, any case), N 4, others 255."""
    return _CODES[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]


def other_strand(text: str) -> str:
    """The reverse complement of a text. N and other letters are not changed."""
    return text.translate(_OTHER_STRAND)[::-1]


def fault(text: str) -> str:
    """Why a text is not a sequence of nucleotides, in words; empty if it is one."""
    if not text:
        return "it has no letters"
    wrong = np.flatnonzero(codes(text) == OTHER)
    if not len(wrong):
        return ""
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"letter {text[wrong[0]]!r} at position {wrong[0]} (counted from 0){more}; expected A, C, G, T, U or N"
