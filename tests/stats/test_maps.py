"""Figures of maps against closed forms."""

import math

import numpy as np
import pytest
import xarray as xr

from attrib.stats import map_entropy, mass_inside, rank_correlation


def maps(*values: list) -> xr.DataArray:
    return xr.DataArray(np.array(values, dtype=float), dims=("image", "y", "x"))


def test_entropy() -> None:
    found = map_entropy(maps([[1, 1], [1, 1]], [[0, -3], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]))
    assert found.values[:3] == pytest.approx([1, 0, 0.5])
    assert math.isnan(found[3])
    partly = map_entropy(maps([[2, 2], [2, math.nan]]))
    assert partly.item() == pytest.approx(1)


def test_mass_inside() -> None:
    mask = xr.DataArray([[1, 0], [0, 0]], dims=("y", "x"))
    found = mass_inside(maps([[3, 1], [-8, math.nan]], [[-1, -1], [0, 0]]), mask)
    assert found[0].item() == pytest.approx(0.75)
    assert math.isnan(found[1])


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = (xr.DataArray(rng.integers(0, 9, (6, 7)).astype(float), dims=("y", "x")) for _ in range(2))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.values.ravel(), b.values.ravel()).statistic)
    b[0, 0] = math.nan
    assert rank_correlation(a, b) == pytest.approx(
        spearmanr(a.values.ravel()[1:], b.values.ravel()[1:]).statistic
    )
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert math.isnan(rank_correlation(a, xr.zeros_like(a)))
    with pytest.raises(ValueError, match="expected the same"):
        rank_correlation(a, b[:2])
