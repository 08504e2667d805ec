"""Agreement, entropy and mass of attributions against closed forms."""

import math

import numpy as np
import pytest
import xarray as xr

from attrib.stats import (
    agreement,
    cluster_contrast,
    consistency,
    contrast,
    entropy,
    mass_inside,
    pointing_game,
    rank_correlation,
)  # fmt: skip


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


def test_results_whose_samples_have_another_name() -> None:
    values = np.random.default_rng(0).normal(size=(8, 5))
    a = xr.DataArray(values, dims=("obs", "var"), coords={"prediction": ("obs", np.ones(8))})
    labels = np.arange(8) < 4
    plain = a.rename(obs="sample")
    np.testing.assert_array_equal(agreement({"a": a, "b": -a}), agreement({"a": plain, "b": -plain}))
    np.testing.assert_array_equal(contrast(a, labels).t, contrast(plain, labels).t)
    assert consistency(a, labels).equals(consistency(plain, labels))
    with pytest.raises(ValueError, match="expected 'sample' among them"):
        agreement({"a": a.drop_vars("prediction")})


def test_chance_beside_mass_inside() -> None:
    mask = xr.DataArray([[1, 0], [0, 0]], dims=("y", "x"))
    inside = mass_inside(attributions([[3, 1], [0, 0]], [[1, 1], [1, 1]]), mask)
    assert inside.chance.item() == 0.25
    assert inside[1].item() == pytest.approx(0.25)  # without a preference: chance
    partly = mass_inside(attributions([[3, 1], [0, math.nan]], [[1, 1], [1, 1]]), mask)
    assert partly.chance.values == pytest.approx([1 / 3, 1 / 4])
    each = mass_inside(
        attributions([[3, 1], [0, 0]], [[1, 1], [1, 1]]), mask * xr.DataArray([0, 1], dims="image")
    )
    assert each.chance.values.tolist() == [0, 0.25]
    assert each.values.tolist() == [0, 0.25]
    volume = xr.DataArray(np.arange(8.0).reshape(1, 2, 2, 2), dims=("sample", "z", "y", "x"))
    assert mass_inside(volume, volume[0] > 6).values.tolist() == [0.25]
    whole = mass_inside(volume, xr.ones_like(volume[0]))
    assert (whole.item(), whole.chance.item()) == (1, 1)
    genes = xr.DataArray([[1.0, 3.0]], dims=("sample", "gene"), coords={"gene": ["a", "b"]})
    back = xr.DataArray([1, 0], dims="gene", coords={"gene": ["b", "a"]})
    assert mass_inside(genes, back).item() == 0.75


def test_pointing_game() -> None:
    mask = xr.DataArray([[1, 0, 0, 0]], dims=("y", "x"))
    a = attributions([[9, 1, 0, 0]], [[0, 0, 5, 0]], [[0, 2, 0, 0]], [[1, 1, 1, 1]], [[math.nan, 4, 1, 0]])
    hits = pointing_game(a, mask)
    assert hits.values[:3].tolist() == [1, 0, 0]
    assert math.isnan(hits[3])
    assert hits[4].item() == 0
    assert hits.chance.values == pytest.approx([0.25, 0.25, 0.25, 0.25, 0])
    assert pointing_game(a, mask, tolerance=1).values[:3].tolist() == [1, 0, 1]
    nothing = pointing_game(a, 0 * mask, tolerance=1)
    assert nothing.values[:3].tolist() == [0, 0, 0]
    assert nothing.chance.max() == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (xr.DataArray([1, 0, 0], dims="x"), "`mask` and `a` differ along 'x': 3 entries and 2"),
        (xr.DataArray([1, 0], dims="z"), r"`mask` has dims \['z'\] that `a` lacks"),
        (xr.DataArray([1, 0], dims="x", coords={"x": [5, 6]}), "different labels along 'x'"),
    ],
)
def test_masks_of_another_shape(mask: xr.DataArray, message: str) -> None:
    a = attributions([[3, 1], [0, 0]]).assign_coords(x=[0, 1])
    for measure in (mass_inside, pointing_game):
        with pytest.raises(ValueError, match=message):
            measure(a, mask)
    with pytest.raises(ValueError, match=r"`dims` is \['q'\]"):
        mass_inside(a, a > 1, dims=["q"])
    with pytest.raises(ValueError, match="`tolerance` is -1"):
        pointing_game(a, a > 1, tolerance=-1)


def test_overlap_of_the_largest() -> None:
    a = xr.DataArray([np.arange(10.0), np.arange(10.0)], dims=("sample", "x"))
    b = a.copy(data=[np.arange(10.0), -np.arange(10.0)])
    both = agreement({"one": a, "other": b}, top=0.2)
    assert both[0, 1].item() == 0.5
    assert "largest 20%" in both.attrs["long_name"]
    one, other = np.zeros((2, 1, 100))
    one[0, :2], other[0, -2:] = 1.0, 1.0  # nothing in common but zeros
    sparse = {n: xr.DataArray(v, dims=("sample", "x")) for n, v in (("one", one), ("other", other))}
    assert agreement(sparse, top=0.1)[0, 1].item() == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="`top` is 2"):
        agreement({"one": a, "other": b}, top=2)


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


def test_tables_of_pandas_go_by_their_labels() -> None:
    import pandas as pd

    a = xr.DataArray([3.0, 1.0, 4.0], dims="gene", coords={"gene": ["x", "y", "z"]})
    turned = pd.Series([4.0, 1.0, 3.0], ["z", "y", "x"])
    assert rank_correlation(a, turned) == rank_correlation(turned, a) == 1.0
    assert rank_correlation(turned, a.to_series()) == 1.0
    with pytest.raises(ValueError, match="w"):
        rank_correlation(a, turned.rename({"x": "w"}))
    table = pd.DataFrame([[1.0, 5.0, 2.0], [7.0, 3.0, 4.0]], ["s1", "s2"], ["x", "y", "z"])
    other = table.loc[["s2", "s1"], ["z", "x", "y"]]
    assert rank_correlation(table, other) == 1.0
    assert agreement({"one": table, "other": other}).values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="shape"):
        rank_correlation(table, table.T)
    inside = pd.Series([False, True, False], ["x", "y", "z"])
    labelled = xr.DataArray(
        table.to_numpy(), dims=("sample", "position"), coords={"position": ["x", "y", "z"]}
    )
    mask = xr.DataArray(inside.to_numpy(), dims="position", coords={"position": ["x", "y", "z"]})
    expected = mass_inside(labelled, mask)
    for m in (inside, inside[::-1]):
        np.testing.assert_allclose(mass_inside(table, m), expected)
        np.testing.assert_allclose(mass_inside(labelled, m), expected)
    with pytest.raises(TypeError, match=r"`mask` is a ndarray, expected a DataArray"):
        mass_inside(labelled, inside.to_numpy())


def test_masks_of_texts_are_refused_and_what_is_missing_is_outside() -> None:
    """Each text is true, "False" too; so is NaN."""
    a = xr.DataArray([[1.0, 3.0]], dims=("y", "x"))
    with pytest.raises(TypeError, match="`mask` has values of <U5, expected"):
        mass_inside(a, (a > 2).astype(str))
    assert mass_inside(a, xr.ones_like(a).where(a > 2)).item() == 0.75
    groups = xr.DataArray(np.random.default_rng(0).normal(size=(8, 4, 4)), dims=("sample", "y", "x"))
    mask = xr.ones_like(groups[0]).where(groups[0] > 0)
    found, wanted = (
        cluster_contrast(groups, [0, 1] * 4, mask=m, threshold=0.2, n_permutations=19)
        for m in (mask, groups[0] > 0)
    )
    xr.testing.assert_equal(found, wanted)
