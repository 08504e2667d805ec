"""Regions of an atlas: shares, groups compared, sides."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from attrib.stats import consistency, lateralisation, region_contrast, region_shares
from attrib.stats.parcels import holm, pairs_of, studentised

ATLAS = xr.DataArray([[0, 1, 1], [2, 2, 7]], dims=("i", "j"))
NAMES = {1: "Hippocampus_L", 2: "Hippocampus_R", 7: "Stem"}


def test_shares_sum_up_what_lies_in_a_region() -> None:
    a = xr.DataArray(
        [[[1.0, -2, 3], [4, 0, -10]]],
        dims=("sample", "i", "j"),
        coords={"sample": ["sub-1"]},
        attrs={"units": "logit"},
    )
    result = region_shares(a, ATLAS, NAMES)
    assert result["sum"].values.tolist() == [[1, 4, -10]]
    assert result.absolute_sum.values.tolist() == [[5, 4, 10]]
    np.testing.assert_allclose(result.share, [[0.25, 0.2, 0.5]])
    np.testing.assert_allclose(result.density, [[0.25 / (2 / 6), 0.2 / (2 / 6), 0.5 / (1 / 6)]])
    assert result["rank"].values.tolist() == [[2, 3, 1]]
    assert region_shares(a * 0, ATLAS)["rank"].values.tolist() == [[2, 2, 2]]  # not the order of the atlas
    assert result.region.values.tolist() == list(NAMES.values())
    assert result["sum"].attrs["units"] == "logit"
    assert result["sample"].item() == "sub-1"


def test_each_sample_may_have_its_own_parcellation_in_any_order_of_dims() -> None:
    rng = np.random.default_rng(0)
    a = xr.DataArray(rng.normal(size=(2, 3, 2, 3)), dims=("method", "sample", "i", "j"))
    atlas = xr.DataArray(rng.integers(0, 4, (3, 2, 3)), dims=("sample", "i", "j"))
    result = region_shares(a, atlas)
    for m in range(2):
        for s in range(3):
            for r in result.number.values:
                there = result["sum"].isel(method=m, sample=s).sel(region=str(r))
                assert float(there) == pytest.approx(float(a[m, s].values[atlas[s].values == r].sum()))
    turned = region_shares(a.transpose("j", "sample", "i", "method"), atlas.transpose("j", "i", "sample"))
    xr.testing.assert_allclose(turned.transpose(*result["sum"].dims), result)


@pytest.mark.parametrize(
    ("atlas", "names", "message"),
    [
        (ATLAS.isel(j=slice(2)), NAMES, "`atlas` has sizes"),
        (ATLAS.rename(i="z"), NAMES, "`atlas` has sizes"),
        (ATLAS * 0, NAMES, "no regions"),
        (ATLAS, {1: "a"}, "none for 2 regions of `atlas`: 2, 7"),
        (ATLAS, {1: "a", 2: "a", 7: "b"}, "'a' more than once"),
    ],
)
def test_shares_refuse(atlas: xr.DataArray, names: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        region_shares(xr.DataArray(np.ones((4, 2, 3)), dims=("sample", "i", "j")), atlas, names)


def test_contrast_by_region_is_the_t_test_with_holm() -> None:
    rng = np.random.default_rng(1)
    values = xr.DataArray(
        rng.normal(size=(30, 6)), dims=("sample", "region"), coords={"region": list("abcdef")}
    )
    values[:15, 2] += 1.2
    positive = np.arange(30) < 15
    table = region_contrast(values, positive, n_permutations=4999)
    test = stats.ttest_ind(values.values[:15], values.values[15:])
    ordered = table.set_index("region").loc[list("abcdef")]
    np.testing.assert_allclose(ordered.t, test.statistic)
    np.testing.assert_allclose(ordered.p, test.pvalue, atol=0.02)
    assert table.region[0] == "c"
    assert table.p_holm[0] == pytest.approx(6 * table.p[0])
    assert (table.p_holm >= table.p).all()
    assert ((table.lower < table.difference) & (table.difference < table.upper)).all()


def test_regions_that_some_sample_lacks_are_left_out_of_the_tests() -> None:
    values = xr.DataArray(np.random.default_rng(0).normal(size=(8, 3)), dims=("sample", "region"))
    values[3, 1] = np.nan
    table = region_contrast(values, np.arange(8) < 4)
    assert table.p.isna().sum() == 1
    assert table.p_holm.min() == pytest.approx(min(1, 2 * table.p.min()))
    with pytest.raises(ValueError, match="2 positives and 6 negatives"):
        region_contrast(values, np.arange(8) < 2)


def test_intervals_cover_what_they_claim() -> None:
    """95% intervals of a difference of two groups of ten, of skewed numbers too: 400 columns at once."""
    rng = np.random.default_rng(2)
    for draw, low in ((rng.normal, 0.92), (rng.exponential, 0.90)):
        x = draw(size=(20, 400)) if draw == rng.normal else draw(1.0, size=(20, 400))
        lower, upper = studentised(x, np.arange(20) < 10, 799, 0.95, 0)
        assert low < ((lower <= 0) & (upper >= 0)).mean() < 0.985


def test_holm_is_r_s_p_adjust() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])), [0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm(np.array([0.9, 0.6])).tolist() == [1.0, 1.0]


def test_pairs_are_found_by_their_names() -> None:
    for left, right, stem in (
        ("Hippocampus_L", "Hippocampus_R", "Hippocampus"),
        ("Left-Hippocampus", "Right-Hippocampus", "Hippocampus"),
        ("lh.insula", "rh.insula", "insula"),
        ("Insula (left)", "Insula (right)", "Insula"),
        ("R Frontal Pole", "L Frontal Pole", "Frontal Pole"),
    ):
        names = ["Brain-Stem", right, left, "Vermis_L"]
        places = pairs_of(names)
        is_left = names.index(left if not left.startswith("R") else right)
        assert places == {stem: (is_left, 3 - is_left)}


def test_lateralisation_is_left_over_right() -> None:
    shares = xr.DataArray(
        [[0.3, 0.1, 0.5], [0.0, 0.0, 0.5]], dims=("sample", "region"), coords={"region": list(NAMES.values())}
    )
    index = lateralisation(shares)
    np.testing.assert_allclose(index, [[0.5], [np.nan]])
    assert lateralisation(shares.isel(region=[0, 2])).sizes["pair"] == 0


def test_consistency_is_the_mean_of_pearson_s_r() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 40))
    x[:3] += np.linspace(-2, 2, 40)
    labels = np.array(["TLE"] * 3 + ["HC"] * 3)
    table = consistency(xr.DataArray(x.reshape(6, 5, 8), dims=("sample", "i", "j")), labels).set_index(
        "samples"
    )
    r = np.corrcoef(x)
    assert table.correlation["within TLE"] == pytest.approx(np.mean([r[0, 1], r[0, 2], r[1, 2]]))
    assert table.correlation["between labels"] == pytest.approx(r[:3, 3:].mean())
    assert table.pairs["between labels"] == 9
    gap = table.correlation["within labels"] - table.correlation["between labels"]
    assert table.correlation["within - between"] == pytest.approx(gap)
    with pytest.raises(ValueError, match="1 different values"):
        consistency(xr.DataArray(x, dims=("sample", "i")), ["TLE"] * 6)
