"""Corrections of chaos game attributions against their definitions."""

import numpy as np
import pytest
import xarray as xr

from attrib.domains.fcgr import by_kmer, divided, fcgr, smoothed, tangent
from tests.chaos import attribution


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


def test_tangents_of_other_samples_are_refused() -> None:
    x = fcgr(["ACGTAC", "GGGTTT"], k=2, scale="log", samples=["p", "q"])
    with pytest.raises(ValueError, match="`images` and `a` have different labels along 'sample'"):
        tangent(x, x.assign_coords(sample=["p", "r"]))
    assert tangent(x, x[::-1]).equals(tangent(x, x))
    assert tangent(x[::-1], x[::-1])[::-1].equals(tangent(x, x))
