"""Regions, motifs and agreement on maps whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.stats import agreement, assemble, rank_correlation, regions


def planted(spots: list[tuple[int, int, float]], size: int = 32) -> xr.DataArray:
    values = np.zeros((size, size))
    for y, x, height in spots:
        values[y - 1 : y + 2, x - 1 : x + 2] = height
    return xr.DataArray(values, dims=("y", "x"), attrs={"units": "output"})


@pytest.mark.parametrize(
    "spots", [[(5, 5, 3.0), (25, 25, -2.0)], [(4, 4, 1.0), (4, 27, 5.0), (27, 4, -3.0), (27, 27, 2.0)]]
)
def test_as_many_regions_as_spots(spots: list) -> None:
    found = regions(planted(spots), mass=1.0)
    ranked = sorted(spots, key=lambda s: -abs(s[2]))
    assert found.sizes["number"] == len(spots)
    assert np.allclose(found["sum"], [9 * h for _, _, h in ranked])
    assert np.allclose(found.magnitude, [9 * abs(h) for _, _, h in ranked])
    assert np.allclose(found.centre_y, [y for y, _, _ in ranked])
    assert np.allclose(found.centre_x, [x for _, x, _ in ranked])
    assert found["size"].values.tolist() == [9] * len(spots)
    assert (found.region.values >= 0).sum() == 9 * len(spots)
    assert found.attrs["silhouette"] > 0.8


def test_the_number_may_be_given_and_the_mass_too() -> None:
    a = planted([(5, 5, 3.0), (25, 25, -2.0)])
    assert regions(a, count=1).sizes["number"] == 1
    assert regions(a, count=3, mass=1.0).sizes["number"] == 3
    assert int((regions(a, mass=0.5).region >= 0).sum()) == 8  # 8 cells of 3 hold 24 of 45


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_every_strong_entry_is_in_one_region(values: list[float], count: int) -> None:
    a = xr.DataArray(np.array(values), dims="position")
    found = regions(a, count=count)
    inside = found.region.values >= 0
    assert np.isclose(found.magnitude.sum(), np.abs(a.values[inside]).sum())
    assert found["size"].sum() == inside.sum()
    assert abs(a.values[inside]).sum() >= 0.9 * abs(a.values).sum() - 1e-9
    assert (np.diff(found.magnitude) <= 1e-9).all()


def test_maps_of_nothing_have_no_regions() -> None:
    found = regions(planted([]))
    assert found.sizes["number"] == 0
    assert (found.region == -1).all()
    with pytest.raises(ValueError, match="`mass` 2"):
        regions(planted([]), mass=2)


def kmer_scores(scores: dict[str, float]) -> xr.DataArray:
    return xr.DataArray(list(scores.values()), dims="kmer", coords={"kmer": list(scores)})


def test_a_planted_motif_is_assembled() -> None:
    site = "GCACTTTACG"
    words = {site[i : i + 6]: 10.0 - i for i in range(5)} | {"AAAAAA": 1.0, "CCGGTA": 0.5, "TTTTGG": -4.0}
    found = assemble(kmer_scores(words), sequences=[f"TT{site}A", "ccgguaaa", "GCACTTAA"])
    assert found.consensus.tolist() == [site, "AAAAAA", "CCGGTA"]
    assert found.support.tolist() == [5, 1, 1]
    assert found.score.tolist() == [40.0, 1.0, 0.5]
    assert found.sequences.tolist() == [2, 0, 1]
    assert found.whole.tolist() == [1, 0, 1]


def test_only_the_top_and_only_real_overlaps() -> None:
    words = kmer_scores({"ACGTAC": 3.0, "CGTACC": 2.0, "ACCTTT": 1.0})
    assert assemble(words).consensus.tolist() == ["ACGTACC", "ACCTTT"]
    assert assemble(words, overlap=3).consensus.tolist() == ["ACGTACCTTT"]
    assert assemble(words, top=1).consensus.tolist() == ["ACGTAC"]
    assert assemble(kmer_scores({"A": -1.0})).empty


@given(st.text("AC", min_size=4, max_size=14))
def test_each_kmer_is_in_one_motif(text: str) -> None:
    words = {text[i : i + 3]: float(len(text) - i) for i in range(len(text) - 2)}
    found = assemble(kmer_scores(words))
    members = [w.split(",") for w in found.kmers]
    assert sorted(w for m in members for w in m) == sorted(words)
    assert all(w in c for c, m in zip(found.consensus, members, strict=True) for w in m)
    assert found.score.sum() == sum(words.values())


@pytest.mark.parametrize(
    ("scores", "options", "text"),
    [
        ({"AC": 1.0, "A": 1.0}, {}, "different lengths"),
        ({"AC": 1.0}, {"overlap": 2}, "`overlap` 2"),
        ({}, {}, "kmer alone"),
        ({"AC": np.inf}, {}, "infinite"),
    ],
)
def test_refusals_of_assembly(scores: dict, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        assemble(kmer_scores(scores), **options)


def test_agreement_matches_labels() -> None:
    a = xr.DataArray(np.random.default_rng(1).normal(size=(4, 5)), dims=("sample", "x"))
    a = a.assign_coords(sample=list("abcd"), x=range(5))
    turned = a.isel(sample=[2, 0, 3, 1], x=slice(None, None, -1)).transpose("x", "sample")
    assert agreement({"one": a, "other": turned}).values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    for other in (a[:3], a.assign_coords(sample=list("efgh")), a.rename(x="y"), a[:, :4]):
        with pytest.raises(ValueError, match="`results`: 'other'"):
            agreement({"one": a, "other": other})


def test_maps_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="`a` has infinite entries"):
        regions(xr.DataArray([1.0, np.inf], dims="x"))
    with pytest.raises(ValueError, match="`a` has no dims"):
        regions(xr.DataArray(1.0))


def test_assembly_of_rna_words() -> None:
    found = assemble(kmer_scores({"ACU": 2.0, "CUG": 1.0}), sequences=["aacug", "AACTG", "ACC"])
    assert found[["consensus", "sequences", "whole"]].values.tolist() == [["ACUG", 2, 2]]


def test_agreement_is_the_mean_over_samples() -> None:
    rng = np.random.default_rng(0)
    maps = {n: xr.DataArray(rng.normal(size=(3, 4, 4)), dims=("sample", "y", "x")) for n in "abc"}
    maps["c"][2] = 1.0  # constant: left out
    found = agreement(maps)
    expected = [rank_correlation(maps["a"][i], maps["b"][i]) for i in range(3)]
    assert float(found.sel({"method": "a", "other": "b"})) == pytest.approx(np.mean(expected))
    assert found.sel(other="c")["count"].values.tolist() == [2, 2, 3]
    assert np.array_equal(found, found.transpose())
    assert np.array_equal(np.diag(found), np.ones(3))
    one = agreement({n: a[0] for n, a in maps.items()}, dim=None)
    assert float(one[0, 1]) == pytest.approx(expected[0])
    with pytest.raises(ValueError, match="'a' has dims"):
        agreement(maps, dim="cell")
