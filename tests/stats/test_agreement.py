"""Agreement, entropy and mass of attributions against closed forms."""

import math

import numpy as np
import pytest
import xarray as xr

from attrib.stats import agreement, entropy, mass_inside, rank_correlation


def attributions(*values: list) -> xr.DataArray:
    return xr.DataArray(np.array(values, dtype=float), dims=("image", "y", "x"))


def test_entropy() -> None:
    found = entropy(attributions([[1, 1], [1, 1]], [[0, -3], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]))
    assert found.values[:3] == pytest.approx([1, 0, 0.5])
    assert math.isnan(found[3])
    partly = entropy(attributions([[2, 2], [2, math.nan]]))
    assert partly.item() == pytest.approx(1)


def test_mass_inside() -> None:
    mask = xr.DataArray([[1, 0], [0, 0]], dims=("y", "x"))
    found = mass_inside(attributions([[3, 1], [-8, math.nan]], [[-1, -1], [0, 0]]), mask)
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


def test_agreement_matches_labels() -> None:
    a = xr.DataArray(np.random.default_rng(1).normal(size=(4, 5)), dims=("sample", "x"))
    a = a.assign_coords(sample=list("abcd"), x=range(5))
    turned = a.isel(sample=[2, 0, 3, 1], x=slice(None, None, -1)).transpose("x", "sample")
    assert agreement({"one": a, "other": turned}).values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    for other in (a[:3], a.assign_coords(sample=list("efgh")), a.rename(x="y"), a[:, :4]):
        with pytest.raises(ValueError, match=r"results\['other'\]"):
            agreement({"one": a, "other": other})


def test_agreement_is_the_mean_over_samples() -> None:
    rng = np.random.default_rng(0)
    results = {n: xr.DataArray(rng.normal(size=(3, 4, 4)), dims=("sample", "y", "x")) for n in "abc"}
    results["c"][2] = 1.0  # constant: left out
    found = agreement(results)
    expected = [rank_correlation(results["a"][i], results["b"][i]) for i in range(3)]
    assert float(found.sel({"method": "a", "other": "b"})) == pytest.approx(np.mean(expected))
    assert found.sel(other="c")["count"].values.tolist() == [2, 2, 3]
    assert np.array_equal(found, found.transpose())
    assert np.array_equal(np.diag(found), np.ones(3))
    single = agreement({n: a[0] for n, a in results.items()}, dim=None)
    assert float(single[0, 1]) == pytest.approx(expected[0])
    with pytest.raises(ValueError, match=r"results\['a'\]` has dims"):
        agreement(results, dim="cell")


def test_masks_and_second_attributions_go_by_labels() -> None:
    a = xr.DataArray([[3.0, 1.0, 4.0]], dims=("y", "x"), coords={"x": ["l", "m", "r"]})
    mask = xr.DataArray([0, 1, 0], dims="x", coords={"x": ["r", "l", "m"]})
    assert mass_inside(a, mask).item() == 3 / 8
    with pytest.raises(ValueError, match="`mask` and `a` have different labels along 'x': `mask` lacks 'r'"):
        mass_inside(a, mask.assign_coords(x=["u", "l", "m"]))
    with pytest.raises(ValueError, match="`mask` lacks 'r'"):
        mass_inside(a, mask.isel(x=[1, 2]))
    assert rank_correlation(a, a.isel(x=[2, 0, 1])) == 1
    with pytest.raises(ValueError, match="`b` lacks 'l'"):
        rank_correlation(a, a.assign_coords(x=["u", "m", "r"]))
