"""Every function of statistics with tables of pandas and with AnnData: by their labels, as DataArrays, whatever the order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import attrib.stats as S
from attrib.io import from_anndata

RNG = np.random.default_rng(0)
CELLS, GENES = [f"c{k}" for k in range(12)], ["INS", "GCG", "SST", "ACTB"]
A = pd.DataFrame(RNG.normal(size=(12, 4)), CELLS, pd.Index(GENES, name="gene"))
B = A + RNG.normal(size=(12, 4))
KIND = pd.Series([*"aabbab" * 2], CELLS, name="kind")
GROUP = (KIND == "a").astype(int)
ATLAS = pd.Series([1, 2, 0, 2], GENES)
INSIDE = ATLAS > 1
P = A.set_axis(range(4), axis=1)
SHARES = pd.DataFrame(
    RNG.random((12, 3)), CELLS, pd.Index(["Amygdala_L", "Amygdala_R", "Stem"], name="region")
)


def turned(table: Any) -> Any:
    """The same values in another order."""
    return table.iloc[::-1] if isinstance(table, pd.Series) else table.iloc[::-1, ::-1]


def array(table: Any, dims: tuple[str, ...] = ("sample", "gene")) -> xr.DataArray:
    """What a caller without pandas passes."""
    if isinstance(table, pd.Series):
        dims = (dims[0] if len(table) == len(CELLS) else dims[1],)
    labels = {d: index.to_numpy() for d, index in zip(dims, table.axes, strict=True)}
    return xr.DataArray(table.to_numpy(), dims=dims, coords=labels)


def with_kind(a: xr.DataArray) -> xr.DataArray:
    return a.assign_coords(kind=("sample", KIND.to_numpy()))


MOMENTS = S.moments_by(with_kind(array(A)), "kind")
# with tables in any order; with arrays in one order
CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "agreement": (lambda: S.agreement({"one": A, "other": turned(B)}), lambda: S.agreement({"one": array(A), "other": array(B)})),
    "rank_correlation": (lambda: S.rank_correlation(A, turned(B)), lambda: S.rank_correlation(array(A), array(B))),
    "rank_correlation of rows": (
        lambda: S.rank_correlation(A.iloc[0], turned(B.iloc[0])), lambda: S.rank_correlation(array(A)[0], array(B)[0])
    ),
    "entropy": (lambda: S.entropy(A, ["gene"]), lambda: S.entropy(array(A), ["gene"])),
    "mass_inside": (lambda: S.mass_inside(A, turned(INSIDE)), lambda: S.mass_inside(array(A), array(INSIDE))),
    "mass_inside of arrays": (lambda: S.mass_inside(array(A), turned(INSIDE)), lambda: S.mass_inside(array(A), array(INSIDE))),
    "pointing_game": (lambda: S.pointing_game(A, turned(INSIDE)), lambda: S.pointing_game(array(A), array(INSIDE))),
    "region_shares": (lambda: S.region_shares(A, turned(ATLAS)), lambda: S.region_shares(array(A), array(ATLAS))),
    "region_contrast": (
        lambda: S.region_contrast(SHARES, turned(GROUP)),
        lambda: S.region_contrast(array(SHARES, ("sample", "region")), GROUP.to_numpy()),
    ),
    "lateralisation": (lambda: S.lateralisation(SHARES), lambda: S.lateralisation(array(SHARES, ("sample", "region")))),
    "contrast": (lambda: S.contrast(A, turned(GROUP)), lambda: S.contrast(array(A), GROUP.to_numpy())),
    "cluster_contrast": (
        lambda: S.cluster_contrast(A, turned(GROUP), mask=turned(INSIDE), threshold=0.4),
        lambda: S.cluster_contrast(array(A), GROUP.to_numpy(), mask=array(INSIDE), threshold=0.4),
    ),
    "consistency": (lambda: S.consistency(A, turned(KIND)), lambda: S.consistency(array(A), KIND.to_numpy())),
    "describe": (lambda: S.describe(A), lambda: S.describe(array(A))),
    "summary": (lambda: S.summary(A), lambda: S.summary(array(A))),
    "sample_dims": (lambda: S.sample_dims(A), lambda: ("sample",)),
    "mean_by": (lambda: S.mean_by(A, turned(KIND)), lambda: S.mean_by(with_kind(array(A)), "kind")),
    "mean_by of an index": (
        lambda: S.mean_by(A.set_axis(pd.Index(KIND, name="kind"), axis=0), "kind"),
        lambda: S.mean_by(with_kind(array(A)), "kind"),
    ),
    "moments_by": (lambda: S.moments_by(A, turned(KIND)), lambda: MOMENTS),
    "fold_change": (lambda: S.fold_change(A.abs(), turned(KIND)), lambda: S.fold_change(with_kind(array(A.abs())), "kind")),
    "one_against_rest": (lambda: S.one_against_rest(S.moments_by(A, turned(KIND))), lambda: S.one_against_rest(MOMENTS)),
    "top": (
        lambda: S.top(MOMENTS, 2, beside={"mean again": MOMENTS["mean"][::-1, ::-1]}).drop(columns="mean again"),
        lambda: S.top(MOMENTS, 2),
    ),
    "regions": (lambda: S.regions(A.iloc[0], mass=1.0), lambda: S.regions(array(A)[0].drop_vars("sample"), mass=1.0)),
    "assemble": (
        lambda: S.assemble(pd.Series([5.0, 4.0], ["TACC", "CTAC"])),
        lambda: S.assemble(xr.DataArray([5.0, 4.0], dims="kmer", coords={"kmer": ["TACC", "CTAC"]})),
    ),
    "strongest": (
        lambda: S.strongest(array(A, ("sample", "position")).drop_vars("position").expand_dims("filter", 1), P.iloc[::-1], size=1)["patch"],
        lambda: S.strongest(array(A, ("sample", "position")).drop_vars("position").expand_dims("filter", 1), array(P, ("sample", "position")), size=1)["patch"],
    ),
    "performance": (
        lambda: S.performance(GROUP, turned(SHARES["Stem"]), n_bootstrap=9), lambda: S.performance(GROUP.values, SHARES["Stem"].values, n_bootstrap=9)
    ),
    "report": (lambda: S.report(KIND, turned(KIND), n_bootstrap=9), lambda: S.report(KIND.values, KIND.values, n_bootstrap=9)),
    "false_discovery_rate": (
        lambda: S.false_discovery_rate(SHARES.T), lambda: S.false_discovery_rate(SHARES.to_numpy().T)
    ),
}  # fmt: skip
OTHERS = {"enrichment", "overlap"}  # take names, and a table of `top`


def test_every_function_has_a_case() -> None:
    assert {name.partition(" ")[0] for name in CASES} | OTHERS == set(S.__all__)


def plain(result: Any) -> Any:
    """A result without the name of a dim that only one of two callers gave."""
    if isinstance(result, xr.DataArray | xr.Dataset):
        result = result.drop_vars([c for c in result.coords if c in ("kind",) and c not in result.dims])
    return result


@pytest.mark.parametrize("name", CASES)
def test_tables_go_by_their_labels(name: str) -> None:
    found, expected = (plain(call()) for call in CASES[name])
    if isinstance(expected, xr.DataArray | xr.Dataset):
        xr.testing.assert_allclose(found, expected)
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        np.testing.assert_array_equal(found, expected)


def test_a_row_in_reverse_has_the_labels_that_pandas_gave_it() -> None:
    """Tables nobody labelled are numbered by pandas; a part of one in reverse has its numbers in reverse."""
    a = pd.DataFrame(A.to_numpy())
    assert S.rank_correlation(a, a[::-1]) == 1.0
    assert S.agreement({"one": a, "other": a[::-1]}).values.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: S.mean_by(A, KIND.iloc[1:]), "`by` lacks 1 of the 12 samples of `a`, such as 'c0'"),
        (lambda: S.mean_by(A, KIND.to_numpy()[1:]), r"`by` has shape \(11,\), expected 12"),
        (lambda: S.moments_by(A, KIND.rename({"c3": "d3"})), "`by` lacks 1 of the 12 samples of `a`, such as 'c3'"),
        (lambda: S.consistency(A, KIND.iloc[:-1]), "`label` lacks 1 of the 12"),
        (lambda: S.contrast(A, pd.concat([GROUP, GROUP])), "`label` has a sample more than once"),
        (lambda: S.region_shares(A, ATLAS.rename({"INS": "INS2"})), "`atlas` lacks 'INS' and `atlas` has 'INS2'"),
        (lambda: S.cluster_contrast(A, GROUP, mask=INSIDE.rename({"INS": "x"})), "`mask` lacks 'INS'"),
        (lambda: S.top(MOMENTS, tests=S.one_against_rest(MOMENTS).assign_coords(gene=[*"wxyz"])), "`tests` and `moments`"),
    ],
)  # fmt: skip
def test_other_labels_are_named(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("call", [S.describe, S.summary, S.entropy, S.regions, S.sample_dims])
def test_what_has_no_labels_is_refused(call: Any) -> None:
    with pytest.raises(TypeError, match=r"`a` is a ndarray, expected a (DataArray|result)"):
        call(np.ones((2, 2)))


def test_anndata() -> None:
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(A.to_numpy(), KIND.to_frame(), pd.DataFrame({"symbol": GENES}, GENES))
    other = adata[::-1, GENES[::-1]].copy()
    assert S.rank_correlation(adata, other) == S.rank_correlation(A, other) == 1.0
    xr.testing.assert_allclose(S.mean_by(adata, "kind"), S.mean_by(from_anndata(adata), "kind"))
    np.testing.assert_allclose(
        S.moments_by(other, "kind")["mean"].sel(feature=GENES), S.moments_by(A, KIND)["mean"]
    )
    np.testing.assert_allclose(S.mass_inside(adata, turned(INSIDE)), S.mass_inside(A, INSIDE))
    np.testing.assert_allclose(S.region_shares(adata, turned(ATLAS)).share, S.region_shares(A, ATLAS).share)
    np.testing.assert_allclose(
        S.contrast(adata, turned(GROUP), n_permutations=9).t, S.contrast(A, GROUP, n_permutations=9).t
    )
    assert S.agreement({"one": from_anndata(adata), "other": other}, dim="obs")[0, 1] == 1.0
