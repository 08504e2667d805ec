"""Groups compared: against exhaustive relabelling, on planted effects, and calibrated without any."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import ttest_ind

from attrib.stats import cluster_contrast, consistency, contrast, region_contrast


def attributions(values: np.ndarray) -> xr.DataArray:
    dims = ("sample", "y", "x")[: values.ndim]
    return xr.DataArray(values, dims=dims, attrs={"units": "output"})


def test_t_is_students() -> None:
    rng = np.random.default_rng(0)
    values, label = rng.normal(size=(30, 4, 5)), np.arange(30) < 11
    found = contrast(attributions(values), label, n_permutations=9, n_bootstrap=9)
    expected = ttest_ind(values[label], values[~label])
    assert np.allclose(found.t, expected.statistic)
    assert np.allclose(found.difference, values[label].mean(0) - values[~label].mean(0))
    assert found.difference.dims == ("y", "x")
    assert (found.attrs["positives"], found.attrs["negatives"]) == (11, 19)
    assert found.lower.attrs["units"] == "output"


def test_p_values_near_those_of_all_relabellings() -> None:
    """Seven samples: all 35 ways to name three positives, for single entries and for the largest, by brute force."""
    rng = np.random.default_rng(1)
    values, label = rng.normal(size=(7, 3)), np.array([1, 1, 1, 0, 0, 0, 0])
    values[:3, 0] += 3
    found = contrast(attributions(values), label, n_permutations=6999, seed=3)
    every = []
    for chosen in combinations(range(7), 3):
        is_in = np.isin(np.arange(7), chosen)
        every.append(np.abs(ttest_ind(values[is_in], values[~is_in]).statistic))
    t = np.abs(ttest_ind(values[:3], values[3:]).statistic)
    single = (np.array(every) >= t - 1e-9).mean(0)
    assert np.allclose(found.p, single, atol=0.02)
    order = np.argsort(-t)
    step, corrected = 0.0, np.empty(3)
    for place, entry in enumerate(order):
        rest = order[place:]
        step = max(step, float((np.array(every)[:, rest].max(1) >= t[entry] - 1e-9).mean()))
        corrected[entry] = step
    assert np.allclose(found.p_corrected, corrected, atol=0.02)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 123.456])
@pytest.mark.parametrize("count", [10, 11, 13])
def test_an_entry_that_is_the_same_in_all_samples_says_nothing(value: float, count: int) -> None:
    """Their mean is rounded, so that they vary about it: t was infinite, and no other entry could differ."""
    values, label = np.random.default_rng(0).normal(size=(count, 3)), np.arange(count) % 2 == 0
    values[label, 0] += 9
    values[:, 1] = value
    a = attributions(values[:, None])
    found = contrast(a, label, n_permutations=99, n_bootstrap=9).isel(y=0)
    clusters = cluster_contrast(a, label, n_permutations=99, mask=xr.ones_like(a[0])).isel(y=0)
    for groups in (found, clusters):
        assert groups.t[1] == 0
        assert groups.p[1] == groups.p_corrected[1] == 1
        assert groups.p_corrected[0] < 0.05
    regions = region_contrast(xr.DataArray(values, dims=("sample", "region")), label, n_permutations=99)
    assert regions.set_index("region").loc[1, ["difference", "t", "p"]].tolist() == pytest.approx(
        [0, 0, 1], abs=1e-12
    )
    same = xr.DataArray(np.full((3, 1000), value), dims=("sample", "gene"))
    assert consistency(same, [0, 0, 1], n_permutations=1).correlation[:4].tolist()[::3] == [0, 0]


def test_a_planted_effect_is_found_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    values, label = rng.normal(size=(60, 16, 16)), np.arange(60) % 2 == 0
    values[label, 3, 5] += 2.0
    found = contrast(attributions(values).assign_coords(bound=("sample", label)), "bound", seed=1)
    assert np.argwhere(found.p_corrected.values < 0.05).tolist() == [[3, 5]]
    assert float(found.lower[3, 5]) < 2.0 < float(found.upper[3, 5]) < 3.2
    assert (found.p <= found.p_corrected).all()
    assert "bound" not in found.coords


def test_without_effect_one_run_in_twenty_has_a_finding() -> None:
    """Family-wise error: findings in 5% of 200 data sets; 22 or more have a chance below 0.1% (binomial)."""
    rng = np.random.default_rng(3)
    wrong = covered = 0
    for run in range(200):
        mixed = rng.normal(size=(24, 12)) @ rng.normal(size=(12, 12))  # entries depend on each other
        found = contrast(
            attributions(mixed), np.arange(24) < 12, n_permutations=199, n_bootstrap=199, seed=run
        )
        wrong += bool((found.p_corrected <= 0.05).any())
        covered += int(((found.lower <= 0) & (found.upper >= 0)).sum())
    assert 1 <= wrong <= 21
    assert 0.90 <= covered / (200 * 12) <= 0.96  # percentile intervals of 12 are a little narrow


def test_entries_that_do_not_vary_are_no_finding() -> None:
    values = np.random.default_rng(4).normal(size=(20, 3))
    values[:, 1] = 7.3
    values[:, 2] = np.arange(20) < 10  # two values that say the group
    found = contrast(attributions(values), np.arange(20) < 10, n_permutations=99)
    assert (float(found.t[1]), float(found.p[1]), float(found.p_corrected[1])) == (0.0, 1.0, 1.0)
    assert np.isinf(found.t[2])
    assert float(found.p_corrected[2]) == 0.01


def test_the_seed_settles_everything() -> None:
    values, label = np.random.default_rng(5).normal(size=(12, 4)), np.arange(12) < 5
    one, same, other = (
        contrast(attributions(values), label, n_permutations=50, n_bootstrap=50, seed=s) for s in (1, 1, 2)
    )
    assert one.identical(same)
    assert not one.lower.equals(other.lower)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ([0, 1, 2, 0], "expected 4 of 0 and 1"),
        ([0, 1, 0], "expected 4 of 0 and 1"),
        ([0, 0, 0, 1], "1 positives and 3 negatives"),
        ("bound", "expected a coord along 'sample'; there are group"),
    ],
)
def test_labels_that_are_none(label, text: str) -> None:
    a = attributions(np.ones((4, 2))).assign_coords(group=("sample", [0, 0, 1, 1]))
    with pytest.raises(ValueError, match=text):
        contrast(a, label)
    with pytest.raises(ValueError, match="not finite"):
        contrast(a * np.nan, "group")


def test_labels_with_coords_are_matched_by_name() -> None:
    a = attributions(np.random.default_rng(8).normal(size=(6, 3))).assign_coords(sample=list("abcdef"))
    label = xr.DataArray([0, 0, 1, 1, 0, 1], dims="sample", coords={"sample": list("abcdef")})
    expected = contrast(a, label.values, n_permutations=9, n_bootstrap=9)
    turned = contrast(a, label[::-1], n_permutations=9, n_bootstrap=9)
    assert turned.identical(expected)
    with pytest.raises(ValueError, match="`label` lacks 1 of the 6 samples of `a`, such as 'f'"):
        contrast(a, label[:5])
    with pytest.raises(ValueError, match="`label` has dims"):
        contrast(a, label.rename(sample="cell"))


def test_attributions_without_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="`a` has no entries"):
        contrast(attributions(np.ones((4, 0))), [0, 1, 0, 1])


def test_a_series_of_labels_goes_by_sample() -> None:
    values = np.random.default_rng(0).normal(size=(4, 2))
    a = xr.DataArray(values, dims=("sample", "gene"), coords={"sample": list("abcd")})
    label = pd.Series([1, 0, 1, 0, 0], index=list("dbaec"))
    groups = contrast(a, label, n_permutations=9, n_bootstrap=9)
    np.testing.assert_allclose(groups.difference, values[[0, 3]].mean(0) - values[[1, 2]].mean(0))
    with pytest.raises(ValueError, match="`label` lacks 1 of the 4 samples of `a`, such as 'b'"):
        contrast(a, label.drop("b"))
