"""Attributions laid along the sequence, against sums by hand; totals stay."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.fcgr import along, by_kmer, fcgr, shares
from tests.chaos import SEQUENCES, attribution, counted


@given(
    SEQUENCES, st.integers(1, 4), st.sampled_from([("CGAT", "last"), ("TACG", "first")]), st.integers(0, 99)
)
def test_totals_are_kept_along_the_sequence(sequences: list[str], k: int, how: tuple, seed: int) -> None:
    a = attribution(fcgr(sequences, k=k, corners=how[0], leading=how[1]), seed)
    p = along(a)
    assert p.dims == ("target", "sample", "position")
    scale = abs(a).sum(("y", "x"))
    assert bool((abs(p.sum("position") + p.remainder - a.sum(("y", "x"))) <= 1e-13 * scale).all())
    for n, sequence in enumerate(sequences):
        expected, remainder = by_hand(a[0, n], sequence, k)
        assert np.allclose(p[0, n, : len(sequence)], expected, rtol=0, atol=1e-12)
        assert np.isnan(p[0, n, len(sequence) :]).all()
        assert float(p.remainder[0, n]) == pytest.approx(remainder, abs=1e-12)


def by_hand(a: xr.DataArray, sequence: str, k: int) -> tuple[list[float], float]:
    text, words = sequence.upper().replace("U", "T"), counted(sequence, k)
    values = by_kmer(a).to_series().to_dict()
    totals = [0.0] * len(text)
    for i in range(len(text) - k + 1):
        word = text[i : i + k]
        for j in range(i, i + k):
            totals[j] += values.get(word, 0.0) / words[word] / k
    return totals, sum(v for w, v in values.items() if w not in words)


def test_positions_have_letters_and_start_at_one() -> None:
    p = along(attribution(fcgr(["ACGU", "ccgatt"], k=2, samples=["a", "b"]), 0))
    assert p.letter.values.tolist() == [list("ACGT  "), list("CCGATT")]
    assert p.position.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert p.sample.values.tolist() == ["a", "b"]


@given(SEQUENCES, st.integers(1, 3))
def test_shares_are_what_along_adds_up(sequences: list[str], k: int) -> None:
    images = fcgr(sequences, k=k)
    a, s = attribution(images, 0), shares(images)
    total = s.sum("position")
    assert np.allclose(total, images > 0, atol=1e-6)
    found = (s.drop_vars("position") * a[0]).sum(("y", "x"))
    assert np.allclose(found, along(a)[0].fillna(0), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: along(xr.DataArray(np.ones((1, 2, 2)), dims=("sample", "y", "x"))), ValueError, "no coord `sequence`"),
        (lambda: along(fcgr(["ACGTACG"]), ["A", "C"]), ValueError, "has 2 texts, expected 1"),
    ],
)  # fmt: skip
def test_refusals(call, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
