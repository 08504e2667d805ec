"""Interactions with labels: dims of both inputs, groups by coord and by shares, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import attrib


def product(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.stack([u.flatten(1).sum(1) * v.flatten(1).sum(1), u.flatten(1).sum(1)], 1)


@pytest.fixture
def pair() -> xr.Dataset:
    rng = np.random.default_rng(0)
    kmers = [["AA", "AC"], ["AG", "AT"], ["CA", "CC"]]
    return xr.Dataset(
        {
            "mirna": (("sample", "y", "x"), rng.normal(size=(3, 3, 2))),
            "mrna": (("sample", "y", "x"), rng.normal(size=(3, 3, 2))),
        },
        coords={"sample": ["a", "b", "c"], "kmer": (("y", "x"), kmers), "label": ("sample", [0, 1, 1])},
    )


def test_dims_of_both_inputs_are_told_apart_by_name(pair: xr.Dataset) -> None:
    a = attrib.interaction(product, pair, target=0)
    assert a.dims == ("sample", "mirna_y", "mirna_x", "mrna_y", "mrna_x")
    assert a.name == "interaction"
    assert list(a.sample.values) == ["a", "b", "c"]
    assert a.mirna_kmer.dims == ("mirna_y", "mirna_x")
    assert a.label.dims == ("sample",)
    one, other = (pair[n].rename(y=f"{n}_y", x=f"{n}_x").drop_vars("kmer") for n in ("mirna", "mrna"))
    np.testing.assert_allclose(a.values, (one * other).transpose(*a.dims).values, rtol=1e-10)
    np.testing.assert_allclose(a.delta, 0, atol=1e-12)
    np.testing.assert_allclose(a.prediction, pair.mirna.sum(("y", "x")) * pair.mrna.sum(("y", "x")))


def test_all_targets_and_netcdf(pair: xr.Dataset, tmp_path) -> None:
    a = attrib.interaction(product, pair, targets="all", classes=["both", "one"])
    assert list(a.target.values) == ["both", "one"]
    assert not a.sel(target="one").any()
    attrib.save(a, tmp_path / "a.nc")
    xr.testing.assert_identical(attrib.load(tmp_path / "a.nc"), a)


def test_groups_by_a_coord() -> None:
    x = {
        "drug": xr.DataArray([[1.0, 2.0]], dims=("cell", "dose")),
        "rna": xr.DataArray(
            [[3.0, 5.0, 7.0, 9.0]],
            dims=("cell", "gene"),
            coords={"pathway": ("gene", ["insulin", "other", "insulin", ""])},
        ),
    }
    a = attrib.interaction(product, x, target=0, groups={"rna": "pathway"})
    assert a.dims == ("cell", "dose", "pathway")
    assert list(a.pathway.values) == ["insulin", "other"]
    np.testing.assert_allclose(a.values[0], [[10, 5], [20, 10]])


def test_groups_by_shares_of_each_sample(pair: xr.Dataset) -> None:
    rng = np.random.default_rng(1)
    shares = xr.DataArray(
        rng.random((4, 3, 2, 3)), dims=("position", "y", "x", "sample"), coords={"position": [1, 2, 3, 4]}
    )
    fine = attrib.interaction(product, pair, target=0)
    a = attrib.interaction(product, pair, target=0, groups={"mrna": shares})
    assert a.dims == ("sample", "y", "x", "position")
    expected = (fine * shares.rename(y="mrna_y", x="mrna_x")).sum(("mrna_y", "mrna_x"))
    np.testing.assert_allclose(a.values, expected.transpose(*expected.dims).values, rtol=1e-10)
    both = attrib.interaction(product, pair, target=0, groups={"mirna": shares, "mrna": shares})
    assert both.dims == ("sample", "mirna_position", "mrna_position")


def test_two_sample_dims_and_a_tuple() -> None:
    u = xr.DataArray(np.ones((2, 3, 4)), dims=("subject", "visit", "gene"))
    v = xr.DataArray(np.ones((2, 3, 2)), dims=("subject", "visit", "dose"))
    a = attrib.interaction(product, (u, v), target=0, sample_dims=("subject", "visit"))
    assert a.dims == ("subject", "visit", "gene", "dose")
    np.testing.assert_allclose(a.values, 1)


def test_what_does_not_fit_is_refused(pair: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="expected two"):
        attrib.interaction(product, pair.mirna, target=0)
    with pytest.raises(ValueError, match=r"`groups` names \['rna'\]"):
        attrib.interaction(product, pair, target=0, groups={"rna": "kmer"})
    with pytest.raises(ValueError, match=r"is 'pathway', but this input has the coords \['kmer'\]"):
        attrib.interaction(product, pair, target=0, groups={"mrna": "pathway"})
    with pytest.raises(ValueError, match=r"expected .* and one more"):
        attrib.interaction(product, pair, target=0, groups={"mrna": pair.mrna})
    with pytest.raises(TypeError, match="expected a coord's name"):
        attrib.interaction(product, pair, target=0, groups={"mrna": 3})
    shares = pair.mrna.expand_dims(position=2).assign_coords(sample=["a", "b", "d"])
    with pytest.raises(ValueError, match="differ along 'sample'"):
        attrib.interaction(product, pair, target=0, groups={"mrna": shares})
    with pytest.raises(ValueError, match="backed by Dask"):
        attrib.interaction(product, pair.chunk(sample=1), target=0)
