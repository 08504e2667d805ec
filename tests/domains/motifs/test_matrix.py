"""Motifs as matrices: counts, information, trimming, the other strand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.motifs import (
    as_motif,
    consensus,
    counted_motif,
    flipped_motif,
    information_content,
    trimmed_motif,
)
from tests.jaspar import matrices


def test_counts_become_probabilities() -> None:
    m = counted_motif(
        [[3, 0], [1, 0], [0, 0], [0, 0]], name="m", pseudocount=2, background=[0.4, 0.1, 0.2, 0.3]
    )
    assert m.values[:, 0] == pytest.approx([(3 + 0.8) / 6, (1 + 0.2) / 6, 0.4 / 6, 0.6 / 6])
    assert m.values[:, 1] == pytest.approx([0.4, 0.1, 0.2, 0.3])
    assert m.sites == 4
    assert m.nucleotide.values.tolist() == list("ACGT")


def test_information_is_relative_entropy() -> None:
    m = as_motif([[1, 0.25, 0.5], [0, 0.25, 0.5], [0, 0.25, 0], [0, 0.25, 0]])
    assert information_content(m).values.tolist() == [2, 0, 1]
    b = [0.5, 0.125, 0.125, 0.25]
    expected = [1.0, 0.25 * (-1 + 1 + 1 + 0), 0.5 * 0 + 0.5 * 2]
    assert information_content(m, background=b).values == pytest.approx(expected)


def test_trimming_keeps_what_lies_between() -> None:
    flat = [0.25] * 4
    columns = [flat, [1, 0, 0, 0], flat, [0, 0, 0, 1], flat, flat]
    m = trimmed_motif(as_motif(np.array(columns).T))
    assert consensus(m) == "AAT"
    assert m.position.values.tolist() == [1, 2, 3]
    assert trimmed_motif(
        as_motif(np.array([flat, [0.4, 0.2, 0.2, 0.2]]).T), bits=1
    ).position.values.tolist() == [1]


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=12), st.floats(0, 5)
)
def test_columns_sum_to_one(columns: list[list[int]], pseudocount: float) -> None:
    m = counted_motif(np.array(columns).T, pseudocount=pseudocount)
    assert m.sum("nucleotide").values == pytest.approx(np.ones(len(columns)))
    content = information_content(m).values
    assert ((content >= -1e-12) & (content <= 2 + 1e-12)).all()
    assert flipped_motif(flipped_motif(m)).identical(m)


def test_the_other_strand() -> None:
    """CTCF's core reads CCACCAGGGGGC, its other strand GCCCCCTGGTGG."""
    ctcf = matrices()["MA0139.1"]
    assert consensus(ctcf) == "CCACCAGGGGGC"
    assert consensus(flipped_motif(ctcf)) == "GCCCCCTGGTGG"
    assert flipped_motif(ctcf).attrs == ctcf.attrs


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((3, 2)), r"has shape \(3, 2\), expected \(4, positions\)"),
        ([[1], [1], [0], [0]], "column 0 is .* sums to 2"),
        ([[1.5], [-0.5], [0], [0]], "column 0"),
        ([[np.nan], [0], [0], [1]], "column 0"),
    ],
)
def test_what_is_no_motif_is_refused(values: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_motif(values)


def test_backgrounds_and_counts_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="`background` is"):
        information_content(matrices()["MA0048.1"], background=[1, 0, 0, 0])
    with pytest.raises(ValueError, match="below 0"):
        counted_motif([[-1], [0], [0], [2]])
    with pytest.raises(ValueError, match="`motif` has dims"):
        consensus(as_motif([[1], [0], [0], [0]]).rename(position="y"))


def test_a_motif_of_any_order_of_letters_has_another_strand() -> None:
    """The values were turned around as if they stood in the order A, C, G, T."""
    motif = as_motif([[0.7, 0.1], [0.1, 0.1], [0.1, 0.7], [0.1, 0.1]])  # AG
    for order in ("ACGT", "TCAG", "GATC"):
        assert consensus(flipped_motif(motif.sel(nucleotide=list(order)))) == "CT"
