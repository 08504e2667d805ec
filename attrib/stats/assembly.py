"""Motifs from k-mers that overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from attrib.stats.matching import Labelled, by_labels

COLUMNS = ["consensus", "score", "support", "kmers"]


def assemble(
    scores: Labelled, *, top: int = 20, overlap: int | None = None, sequences: Sequence[str] | None = None
) -> pd.DataFrame:
    """Join the k-mers of the largest scores where they overlap.

    The k-mer of the largest score begins a motif. The k-mer that overlaps an end by the most letters, and by at least
    `overlap`, extends it; among equals the one of the larger score. When none is left that overlaps, the best of the
    remaining k-mers begins the next motif.

    Parameters
    ----------
    scores : DataArray (kmer,) or Series
        Scores, such as a mean attribution, with the k-mers as labels. Only positive scores are used: pass `-scores` for
        motifs that lower the score.
    top : int, default 20
        How many k-mers to use.
    overlap : int, optional
        Letters, 1 to k - 1; default: all but two, at least one.
    sequences : sequence of str, optional
        Sequences in which the k-mers are counted.

    Returns
    -------
    DataFrame
        A row per motif, the largest score first: `consensus`; `score`, the sum over its k-mers; `support`, their
        number; `kmers`, joined by commas. With `sequences`: `sequences`, the number of those that contain at least one of
        the k-mers, and `whole`, the number of those that contain the full consensus.

    Raises
    ------
    ValueError
        If `scores` has another dim, k-mers of different lengths or infinite entries, or `top` or `overlap` is out of range.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import assemble
    >>> a = xr.DataArray([5.0, 4.0, 3.0, 1.0], dims="kmer", coords={"kmer": ["TACC", "CTAC", "ACCT", "GGGG"]})
    >>> assemble(a, sequences=["GCTACCTG", "TTTACCAA"])[["consensus", "score", "support", "sequences", "whole"]]
      consensus  score  support  sequences  whole
    0    CTACCT   12.0        3          2      1
    1      GGGG    1.0        1          0      0
    """
    scores = by_labels(scores, "scores", ("kmer",), exact=True)
    words = _words(scores)
    k = len(words[0])
    least = max(1, k - 2) if overlap is None else overlap
    if top < 1 or not 1 <= least <= max(1, k - 1):
        raise ValueError(
            f"`top` is {top}, `overlap` {overlap}; expected at least 1, and 1 to {max(1, k - 1)}"
        )
    left = _largest(scores, words, top)
    rows = []
    while left:
        text, used = _motif(left, least)
        rows.append(_row(text, used, sequences))
    columns = COLUMNS if sequences is None else [*COLUMNS, "sequences", "whole"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _largest(scores: xr.DataArray, words: Sequence[str], top: int) -> dict[str, float]:
    """The k-mers of the largest scores above 0, the largest first."""
    values = np.nan_to_num(np.asarray(scores.values, dtype=np.float64), posinf=np.inf)
    if np.isinf(values).any():
        raise ValueError("`scores` has infinite entries, expected numbers")
    order = np.argsort(-values, kind="stable")[:top]
    return {words[i]: float(values[i]) for i in order if values[i] > 0}


def _words(scores: xr.DataArray) -> list[str]:
    if scores.dims != ("kmer",) or "kmer" not in scores.coords or not scores.size:
        raise ValueError(f"`scores` has dims {scores.dims}, expected kmer alone, with labels")
    words = [str(w) for w in scores["kmer"].values]
    if len({len(w) for w in words}) > 1 or len(set(words)) < len(words):
        raise ValueError(
            "`scores` has k-mers of different lengths, or one twice; expected each once, of one length"
        )
    return words


def _motif(left: dict[str, float], least: int) -> tuple[str, dict[str, float]]:
    """One motif that begins with the best word. Its words are removed from `left`."""
    word = next(iter(left))
    used = {word: left.pop(word)}
    text = word
    while True:
        joined = _joined(text, left, least)
        if joined is None:
            return text, used
        text, word = joined
        used[word] = left.pop(word)


def _joined(text: str, left: dict[str, float], least: int) -> tuple[str, str] | None:
    """The text, extended by the first word of the longest overlap, and that word. A word inside the text overlaps fully."""
    for word in left:
        if word in text:
            return text, word
    for letters in range(len(next(iter(left), "")) - 1, least - 1, -1):
        for word in left:
            if text.endswith(word[:letters]):
                return text + word[letters:], word
            if text.startswith(word[-letters:]):
                return word[:-letters] + text, word
    return None


def _row(text: str, used: dict[str, float], sequences: Sequence[str] | None) -> dict:
    row = {"consensus": text, "score": sum(used.values()), "support": len(used), "kmers": ",".join(used)}
    if sequences is None:
        return row
    texts, consensus, words = [_as_dna(s) for s in sequences], _as_dna(text), [_as_dna(w) for w in used]
    matched = sum(any(word in s for word in words) for s in texts)
    return row | {"sequences": matched, "whole": sum(consensus in s for s in texts)}


def _as_dna(text: str) -> str:
    return text.upper().replace("U", "T")
