"""Moments, tests against scipy, honest rates on noise, leading entries, overlap, enrichment and fold changes."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from attrib.stats import (
    enrichment,
    false_discovery_rate,
    fold_change,
    moments_by,
    one_against_rest,
    overlap,
    top,
)


def drawn(seed: int = 0, n: int = 40, genes: int = 30) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    label = np.array([*"aabbbbcccccc", *rng.choice([*"abc"], size=n - 12)], dtype=object)
    return xr.DataArray(
        rng.normal(size=(n, genes)) * rng.uniform(0.1, 3, genes),
        dims=("sample", "gene"),
        coords={
            "gene": [f"g{k}" for k in range(genes)],
            "tissue": ("sample", label),
            "symbol": ("gene", [f"S{k}" for k in range(genes)]),
        },
        attrs={"units": "logit"},
    )


def test_moments_are_those_of_numpy() -> None:
    a = drawn()
    moments = moments_by(a, "tissue")
    for name in "abc":
        own = a.values[a.tissue.values == name]
        at = moments.sel(tissue=name)
        np.testing.assert_allclose(at["mean"], own.mean(0))
        np.testing.assert_allclose(at["var"], own.var(0))
        np.testing.assert_allclose(at["positive"], (own > 0).mean(0))
        assert int(at["count"]) == len(own)
    shifted = moments_by(a + 1e7, "tissue")
    np.testing.assert_allclose(shifted["var"], moments["var"], rtol=1e-6)


def test_tests_are_those_of_scipy() -> None:
    a = drawn()
    tests = one_against_rest(moments_by(a, "tissue"))
    for name in "abc":
        own, rest = a.values[a.tissue.values == name], a.values[a.tissue.values != name]
        expected = stats.ttest_ind(own, rest, equal_var=False)
        np.testing.assert_allclose(tests["t"].sel(tissue=name), expected.statistic)
        np.testing.assert_allclose(tests["p"].sel(tissue=name), expected.pvalue)
        np.testing.assert_allclose(tests["difference"].sel(tissue=name), own.mean(0) - rest.mean(0))
        np.testing.assert_allclose(
            tests["q"].sel(tissue=name), stats.false_discovery_control(expected.pvalue)
        )


def test_labels_of_one_sample_and_entries_that_do_not_vary() -> None:
    a = xr.DataArray(
        [[1.0, 0, 2], [1, 0, 2], [1, 0, 0], [1, 0, 0], [1, 9, 0]],
        dims=("sample", "gene"),
        coords={"tissue": ("sample", [*"aabbc"])},
    )
    tests = one_against_rest(moments_by(a, "tissue"))
    assert tests.p.sel(tissue="a").values.tolist()[0] == 1
    assert tests.p.sel(tissue="a").values.tolist()[2] == 0
    assert tests.p.sel(tissue="c").isnull().all()
    assert tests.q.sel(tissue="c").isnull().all()
    with pytest.raises(ValueError, match="rename the coord"):
        moments_by(a.rename(tissue="t"), "t")
    with pytest.raises(ValueError, match="alone"):
        one_against_rest(moments_by(a[:2], "tissue"))


def test_noise_is_rarely_called() -> None:
    """On noise alone a label has any q below 0.05 in about one of twenty runs."""
    called = [
        (one_against_rest(moments_by(drawn(s, 60), "tissue")).q < 0.05).any("gene").values
        for s in range(1, 121)
    ]
    assert np.mean(called) < 0.09


def test_false_discovery_rate_of_rows_with_nan() -> None:
    q = false_discovery_rate(np.array([[0.01, 0.5], [np.nan, 0.1]]))
    assert q[0].tolist() == [0.02, 0.5]
    assert np.isnan(q[1]).all()


def test_leading_entries() -> None:
    a = drawn()
    a[a.tissue.values == "b", 7] = -20.0 + a[a.tissue.values == "b", 7]
    moments = moments_by(a, "tissue")
    tests = one_against_rest(moments)
    table = top(moments, 5, tests=tests, beside={"twice": moments["mean"] * 2}, labels={"symbol": "symbol"})
    assert table.groupby("tissue").size().tolist() == [5, 5, 5]
    first = table[(table.tissue == "b") & (table["rank"] == 1)].iloc[0]
    own = a.values[a.tissue.values == "b", 7]
    assert (first.gene, first.symbol, first.samples) == ("g7", "S7", len(own))
    assert first["mean"] == pytest.approx(own.mean())
    assert first.sd == pytest.approx(own.std(ddof=1))
    assert first.se == pytest.approx(own.std(ddof=1) / len(own) ** 0.5)
    assert first.same_sign == 1
    assert first.twice == pytest.approx(2 * own.mean())
    means = np.abs(moments["mean"].sel(gene="g7").values)
    assert first.specificity == pytest.approx(means[1] / means.sum())
    assert first.q < 1e-6
    for _, part in table.groupby("tissue"):
        assert (part["mean"].abs().diff().dropna() <= 0).all()


def test_counts_of_each_entry_as_cohorts_reduce_them() -> None:
    moments = moments_by(drawn(), "tissue")
    each = moments.assign(count=moments["count"].broadcast_like(moments["mean"]))
    xr.testing.assert_allclose(
        one_against_rest(each).drop_vars("symbol"), one_against_rest(moments).drop_vars("symbol")
    )
    pd.testing.assert_frame_equal(top(each, 3), top(moments, 3))


def test_overlap() -> None:
    table = pd.DataFrame({"tissue": [*"aaabbb"], "gene": ["x", "y", "z", "z", "y", "w"]})
    counts = overlap(table, "tissue")
    assert counts.sel(tissue="a", other="b") == 2
    assert counts.sel(tissue="b", other="b") == 3


def test_enrichment_is_fishers_test_and_honest_on_noise() -> None:
    genes = [f"g{k}" for k in range(300)]
    sets = {"one": genes[:20], "two": genes[10:60], "none": ["other"], "single": genes[:1]}
    table = enrichment({"liver": genes[:30], "skin": genes[100:110]}, sets, genes).set_index(["label", "set"])
    assert set(table.index.get_level_values("set")) == {"one", "two"}
    row = table.loc[("liver", "two")]
    assert (row.overlap, row["size"], row.chosen, row.expected) == (20, 50, 30, 5.0)
    assert row.p == pytest.approx(stats.fisher_exact([[20, 10], [30, 240]], alternative="greater")[1])
    assert table.loc[("skin", "one"), "p"] == 1
    assert table.loc[("liver", "one"), "genes"].split() == genes[:20]
    rng = np.random.default_rng(0)
    sets = {str(k): rng.choice(genes, 30, replace=False) for k in range(40)}
    small = [
        (enrichment({"x": list(rng.choice(genes, 20, replace=False))}, sets, genes).q < 0.05).any()
        for _ in range(60)
    ]
    assert np.mean(small) < 0.12
    with pytest.raises(ValueError, match="genes are called INS"):
        enrichment({"x": genes[:2]}, {"s": ["INS", "GCG"]}, genes)
    with pytest.raises(ValueError, match="'INS' for x, which is not in the background"):
        enrichment({"x": ["INS"]}, sets, genes)


def test_fold_changes() -> None:
    a = abs(drawn())
    table = fold_change(a, "tissue", pseudocount=0.5)
    own, rest = a.values[a.tissue.values == "a"].mean(0), a.values[a.tissue.values != "a"].mean(0)
    np.testing.assert_allclose(table.log2_fold_change.sel(tissue="a"), np.log2((own + 0.5) / (rest + 0.5)))
    np.testing.assert_allclose(table.mean_expression.sel(tissue="a"), own)
