"""Chaos game images: against the game itself, step by step; sums kept on the way back to the sequence."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.fcgr import (
    along,
    by_cell,
    by_kmer,
    cell_of,
    complement_cells,
    divided,
    fcgr,
    kmers,
    shares,
    smoothed,
    tangent,
)

PAPER = {"A": (0.0, 0.0), "C": (0.0, 1.0), "G": (1.0, 1.0), "T": (1.0, 0.0)}  # Jeffrey (1990), y upwards
PAIRS = str.maketrans("ACGT", "TGCA")
SEQUENCES = st.lists(st.text("ACGTUNacgtR", min_size=4, max_size=20), min_size=1, max_size=4)


def game(sequence: str) -> tuple[float, float]:
    """Where the chaos game stands after the last letter."""
    x = y = 0.5
    for letter in sequence:
        x, y = (x + PAPER[letter][0]) / 2, (y + PAPER[letter][1]) / 2
    return x, y


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_cells_are_where_the_game_stands(k: int) -> None:
    """Whatever came before: the last k letters settle the cell."""
    side = 2**k
    for letters in product("ACGT", repeat=k):
        word = "".join(letters)
        for before in ("", "GATTACA", "TTTTTT"):
            x, y = game(before + word)
            assert cell_of(word) == (side - 1 - int(y * side), int(x * side))


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize(("corners", "leading"), [("CGAT", "last"), ("CGAT", "first"), ("AGTC", "last")])
def test_each_cell_has_one_kmer(k: int, corners: str, leading: str) -> None:
    words = kmers(k, corners=corners, leading=leading)
    assert words.shape == (2**k, 2**k)
    assert len(set(words.ravel())) == 4**k
    rng = np.random.default_rng(k)
    for row, column in rng.integers(0, 2**k, (20, 2)):
        assert cell_of(str(words[row, column]), corners=corners, leading=leading) == (row, column)


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
    rows, columns = complement_cells(k, corners=corners, leading=leading)
    expected = [[w.translate(PAIRS)[::-1] for w in row] for row in words.tolist()]
    assert words[rows][:, columns].tolist() == expected


def counted(sequence: str, k: int) -> Counter:
    text = sequence.upper().replace("U", "T")
    return Counter(text[i : i + k] for i in range(len(text) - k + 1))


@given(SEQUENCES, st.integers(1, 4))
def test_images_count_kmers(sequences: list[str], k: int) -> None:
    images = fcgr(sequences, k=k)
    for n, sequence in enumerate(sequences):
        words = counted(sequence, k)
        for word, value in by_kmer(images)[n].to_series().items():
            assert value == words[word]
        assert images.skipped[n] == sum(c for w, c in words.items() if set(w) - set("ACGT"))
    assert by_cell(by_kmer(images)).drop_attrs().equals(images.drop_attrs())
    assert np.allclose(fcgr(sequences, k=k, scale="log"), np.log(1 + images))
    total = images.sum(("y", "x"))
    assert np.allclose(fcgr(sequences, k=k, scale="frequency") * total, images)


def test_many_sequences_are_counted_in_parts() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGTN"), rng.integers(8, 30))) for _ in range(150)]
    images = fcgr(texts, k=8)  # 64 images at a time
    for n in (0, 63, 64, 149):
        words = {w: c for w, c in counted(texts[n], 8).items() if "N" not in w}
        assert float(images[n].sum()) == sum(words.values())
        assert all(float(images[n].values[cell_of(w)]) == c for w, c in words.items())
    assert images.dtype == np.float32


def attribution(images: xr.DataArray, seed: int) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=(2, *images.shape))
    return xr.DataArray(values, dims=("target", *images.dims), coords=images.coords, name="attribution")


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
    found = [0.0] * len(text)
    for i in range(len(text) - k + 1):
        word = text[i : i + k]
        for j in range(i, i + k):
            found[j] += values.get(word, 0.0) / words[word] / k
    return found, sum(v for w, v in values.items() if w not in words)


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


def test_division_is_stable_near_zero() -> None:
    images = fcgr(["AAAAC", "NNNNN"], k=1)
    a = xr.ones_like(images)
    assert by_kmer(divided(a, images)).values.tolist() == [[0.25, 1.0, 1.0, 1.0], [1.0] * 4]
    assert by_kmer(divided(a, images, floor=2.0)).values[0].tolist() == [0.25, 0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match="`floor` is 0"):
        divided(a, images, floor=0)


def test_the_filter_is_a_median_of_each_image() -> None:
    a = attribution(fcgr(["ACGTAC", "GGGGCA"], k=3), 1)
    inner = np.median([a.values[..., 2 + i, 3 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    assert np.allclose(smoothed(a).values[..., 2, 3], inner)
    with pytest.raises(ValueError, match="odd"):
        smoothed(a, size=2)


@pytest.mark.parametrize("scale", ["count", "frequency", "log"])
def test_tangents_keep_the_number_of_windows(scale: str) -> None:
    """Along the projected direction the sum of counts does not change, to first order; projecting twice is once."""
    images = fcgr(["ACGTACAA", "GGGGCATT"], k=2, scale=scale).astype(float)
    a = attribution(images, 2)
    t = tangent(a, images)
    step = 1e-6
    total = lambda x: (np.exp(x) - 1 if scale == "log" else x).sum(("y", "x"))
    assert float(abs((total(images + step * t) - total(images)) / step).max()) < 1e-4
    assert np.allclose(tangent(t, images), t)
    assert not np.allclose(t, a)


def test_tangents_by_neighbours_stay_in_their_span() -> None:
    rng = np.random.default_rng(0)
    near = fcgr(["".join(rng.choice(list("ACGT"), 12)) for _ in range(12)], k=2)
    images = near[:2]
    t = tangent(attribution(images, 3), images, neighbours=near, count=6, components=3)
    assert np.allclose(t.sum(("y", "x")), 0)
    assert np.linalg.matrix_rank(t.values[:, 0].reshape(2, -1)) <= 3
    again = tangent(t, images, neighbours=near, count=6, components=3)
    assert np.allclose(again, t)
    empty_in_all = (near.sum("sample") == 0).values
    assert not np.abs(t.values[..., empty_in_all]).any()
    with pytest.raises(ValueError, match="`components` is 6"):
        tangent(t, images, neighbours=near, count=6, components=6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fcgr(["ACGT"], k=9), ValueError, "`k` is 9, expected a whole number from 1 to 8"),
        (lambda: fcgr(["ACGTAC", "ACG"], k=4, samples=["a", "b"]), ValueError, "'b' has 3 letters"),
        (lambda: fcgr("ACGT"), TypeError, "one text"),
        (lambda: fcgr(["ACGTACG", None]), TypeError, "number 1 is a NoneType"),
        (lambda: fcgr(["ACGTACG"], scale="max"), ValueError, "expected one of count, frequency, log"),
        (lambda: fcgr(["ACGTACG"], corners="ACGG"), ValueError, "upper left"),
        (lambda: fcgr(["ACGTACG"], leading="middle"), ValueError, "expected \"last\""),
        (lambda: kmers(3, leading="middle"), ValueError, "expected \"last\""),
        (lambda: complement_cells(3, leading="middle"), ValueError, "expected \"last\""),
        (lambda: fcgr(["ACGTACG"], samples=["a", "b"]), ValueError, "one per sequence"),
        (lambda: cell_of("ACN"), ValueError, "`kmer` is 'ACN'"),
        (lambda: along(xr.DataArray(np.ones((1, 2, 2)), dims=("sample", "y", "x"))), ValueError, "no coord `sequence`"),
        (lambda: along(fcgr(["ACGTACG"]), ["A", "C"]), ValueError, "has 2 texts, expected 1"),
        (lambda: by_kmer(xr.DataArray(np.ones((2, 2)), dims=("y", "x"))), ValueError, "no coord kmer"),
        (lambda: by_cell(by_kmer(fcgr(["ACGT"], k=1))[:, :3]), ValueError, "has 3 k-mers"),
    ],
)  # fmt: skip
def test_refusals(call, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_tangents_of_other_samples_are_refused() -> None:
    x = fcgr(["ACGTAC", "GGGTTT"], k=2, scale="log", samples=["p", "q"])
    with pytest.raises(ValueError, match="`a` and `images` have other labels along 'sample'"):
        tangent(x, x[::-1])
    assert tangent(x[::-1], x[::-1])[::-1].equals(tangent(x, x))
