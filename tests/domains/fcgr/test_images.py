"""Chaos game images against k-mers counted one by one."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.domains.fcgr import by_kmer, by_pixel, fcgr, pixel_of
from tests.chaos import SEQUENCES, counted


@given(SEQUENCES, st.integers(1, 4))
def test_images_count_kmers(sequences: list[str], k: int) -> None:
    images = fcgr(sequences, k=k)
    for n, sequence in enumerate(sequences):
        words = counted(sequence, k)
        for word, value in by_kmer(images)[n].to_series().items():
            assert value == words[word]
        assert images.skipped[n] == sum(c for w, c in words.items() if set(w) - set("ACGT"))
    assert by_pixel(by_kmer(images)).drop_attrs().equals(images.drop_attrs())
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
        assert all(float(images[n].values[pixel_of(w)]) == c for w, c in words.items())
    assert images.dtype == np.float32


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
        (lambda: fcgr(["ACGTACG"], samples=["a", "b"]), ValueError, "one per sequence"),
        (lambda: by_kmer(xr.DataArray(np.ones((2, 2)), dims=("y", "x"))), ValueError, "no coord kmer"),
        (lambda: by_pixel(by_kmer(fcgr(["ACGT"], k=1))[:, :3]), ValueError, "has 3 k-mers"),
    ],
)  # fmt: skip
def test_refusals(call, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        call()
