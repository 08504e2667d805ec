"""Pixels against the chaos game itself, step by step; sites of seeds letter by letter."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.fcgr import complement_pixels, kmers, pixel_of
from attrib.domains.fcgr.images import seed_site

PAPER = {"A": (0.0, 0.0), "C": (0.0, 1.0), "G": (1.0, 1.0), "T": (1.0, 0.0)}  # Jeffrey (1990), y upwards
PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A"}


def game(sequence: str) -> tuple[float, float]:
    """Where the chaos game stands after the last letter."""
    x = y = 0.5
    for letter in sequence:
        x, y = (x + PAPER[letter][0]) / 2, (y + PAPER[letter][1]) / 2
    return x, y


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pixels_are_where_the_game_stands(k: int) -> None:
    """Whatever came before: the last k letters settle the pixel."""
    side = 2**k
    for letters in product("ACGT", repeat=k):
        word = "".join(letters)
        for before in ("", "GATTACA", "TTTTTT"):
            x, y = game(before + word)
            assert pixel_of(word) == (side - 1 - int(y * side), int(x * side))


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize(("corners", "leading"), [("CGAT", "last"), ("CGAT", "first"), ("AGTC", "last")])
def test_each_pixel_has_one_kmer(k: int, corners: str, leading: str) -> None:
    words = kmers(k, corners=corners, leading=leading)
    assert words.shape == (2**k, 2**k)
    assert len(set(words.ravel())) == 4**k
    rng = np.random.default_rng(k)
    for row, column in rng.integers(0, 2**k, (20, 2)):
        assert pixel_of(str(words[row, column]), corners=corners, leading=leading) == (row, column)


def test_the_corners_as_documented() -> None:
    assert kmers(1).tolist() == [["C", "G"], ["A", "T"]]
    assert kmers(1, corners="ACGU").tolist() == [["A", "C"], ["G", "T"]]
    assert {w[-1] for w in kmers(3)[:4, :4].ravel()} == {"C"}
    assert {w[0] for w in kmers(3, leading="first")[:4, :4].ravel()} == {"C"}


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(
    ("corners", "leading"), [("CGAT", "last"), ("CGAT", "first"), ("ATCG", "last"), ("AGCT", "last")]
)
def test_reverse_complements(k: int, corners: str, leading: str) -> None:
    words = kmers(k, corners=corners, leading=leading)
    rows, columns = complement_pixels(k, corners=corners, leading=leading)
    expected = [["".join(PAIRS[c] for c in reversed(w)) for w in row] for row in words.tolist()]
    assert words[rows][:, columns].tolist() == expected


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


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: kmers(3, leading="middle"), ValueError, "expected \"last\""),
        (lambda: complement_pixels(3, leading="middle"), ValueError, "expected \"last\""),
        (lambda: pixel_of("ACN"), ValueError, "`kmer` is 'ACN'"),
    ],
)  # fmt: skip
def test_refusals(call, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
