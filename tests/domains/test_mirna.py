"""Sites of seeds, letter by letter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.fcgr.kmers import seed_site

PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A"}


@given(st.text("ACGT", min_size=7, max_size=10), st.text("ACGT", max_size=12), st.text("ACGT", max_size=12))
def test_every_site_pairs_letter_by_letter(mirna: str, before: str, after: str) -> None:
    seed = mirna[1:7]
    target = before + "".join(PAIRS[c] for c in reversed(seed)) + after
    expected = np.zeros(len(target), bool)
    for i in range(len(target) - 5):
        if all(PAIRS[target[i + j]] == seed[5 - j] for j in range(6)):
            expected[i : i + 6] = True
    assert np.array_equal(seed_site(mirna, target), expected)
    assert expected[len(before) : len(before) + 6].all()


def test_other_seeds_and_refusals() -> None:
    assert seed_site("ugga", "TTCCA", first=2, last=4).tolist() == [False, True, True, True, False]
    with pytest.raises(ValueError, match="1 to 4"):
        seed_site("TGGA", "TTCC")
