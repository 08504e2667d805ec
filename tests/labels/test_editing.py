"""Mutagenesis, occlusion and ablation by the names of dims, coords and inputs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import attrib
from attrib import functional
from attrib.testing import specimen


def sequences(dims: tuple[str, ...] = ("sample", "nucleotide", "position")) -> tuple[nn.Module, xr.DataArray]:
    """A model of (N, 2, 5) and its input, laid out in the given order."""
    s = specimen("sequence", dtype=torch.float64)
    x = xr.DataArray(
        s.x.numpy(), dims=("sample", "nucleotide", "position"),
        coords={"nucleotide": ["A", "C"], "position": np.arange(100, 105), "sample": ["a", "b", "c"]},
    )  # fmt: skip
    return s.f, x.transpose(*dims)


def test_mutagenesis_keeps_dims_and_coords() -> None:
    f, x = sequences()
    found = attrib.in_silico_mutagenesis(f, x, target=(0, 1))
    expected = functional.in_silico_mutagenesis(f, torch.from_numpy(x.values), target=(0, 1))
    assert found.dims == x.dims
    assert found.coords["position"].equals(x.coords["position"])
    np.testing.assert_array_equal(found.values, expected.numpy())
    assert found.attrs["path"] == "dense"
    assert found.attrs["edits"] == 5
    assert found.attrs["path_reason"]


@pytest.mark.parametrize(
    "positions",
    [[104, 101], np.array([101, 104]), range(101, 105, 3), slice(101, 104, 3), "x.position[[1, 4]]"],
)
def test_positions_go_by_their_labels(positions: Any) -> None:
    f, x = sequences()
    chosen = x.position[[1, 4]] if isinstance(positions, str) else positions
    edited = attrib.in_silico_mutagenesis(f, x, target=(0, 1), positions=chosen)
    assert edited.notnull().all(("sample", "nucleotide")).values.tolist() == [False, True, False, False, True]
    xr.testing.assert_equal(
        edited.isel(position=[1, 4]), attrib.in_silico_mutagenesis(f, x, target=(0, 1)).isel(position=[1, 4])
    )


def test_positions_without_labels_are_counted() -> None:
    f, x = sequences()
    for unlabelled in (x.drop_vars("position"), x.assign_coords(position=range(5))):
        edited = attrib.in_silico_mutagenesis(f, unlabelled, target=(0, 1), positions=[-1, 1])
        assert edited.notnull().all(("sample", "nucleotide")).values.tolist() == [
            False,
            True,
            False,
            False,
            True,
        ]


def test_positions_that_are_no_labels() -> None:
    f, x = sequences()
    with pytest.raises(
        ValueError,
        match=r"`positions` has \[1\], which are no labels along 'position': these go from 100 to 104",
    ):
        attrib.in_silico_mutagenesis(f, x, target=(0, 1), positions=[1, 101])
    turned = x.assign_coords(position=[104, 100, 102, 101, 103])
    with pytest.raises(
        ValueError, match=r"`positions` is slice\(99, 102, None\), whose ends are no labels along 'position'"
    ):
        attrib.in_silico_mutagenesis(f, turned, target=(0, 1), positions=slice(99, 102))
    twice = x.assign_coords(position=[100, 100, 102, 103, 104])
    with pytest.raises(ValueError, match="`positions` does not say which places of 'position'"):
        attrib.in_silico_mutagenesis(f, twice, target=(0, 1), positions=[102])


def test_letters_go_by_name_where_the_model_has_them_last() -> None:
    f, x = sequences(("sample", "position", "nucleotide"))
    found = attrib.in_silico_mutagenesis(lambda y: f(y.transpose(1, 2)), x, target=(0, 1))
    expected = attrib.in_silico_mutagenesis(*sequences(), target=(0, 1))
    xr.testing.assert_allclose(found.transpose(*expected.dims), expected)


@pytest.mark.parametrize("names", [("letter", "site"), ("letter", "position"), ("nucleotide", "site")])
def test_other_names_and_none(names: tuple[str, str]) -> None:
    f, x = sequences()
    expected = attrib.in_silico_mutagenesis(f, x, target=(0, 1)).values
    renamed = x.rename({a: b for a, b in zip(("nucleotide", "position"), names, strict=True) if a != b})
    for options in ({}, {"axis": names[0], "position": names[1]}):
        np.testing.assert_array_equal(
            attrib.in_silico_mutagenesis(f, renamed, target=(0, 1), **options).values, expected
        )
    np.testing.assert_array_equal(attrib.in_silico_mutagenesis(f, x.values, target=(0, 1)).values, expected)
    with pytest.raises(ValueError, match="`axis` is 'base', but `x` has the dims"):
        attrib.in_silico_mutagenesis(f, x, axis="base", target=(0, 1))


def test_letters_on_another_dim_than_said_go_by_name() -> None:
    letters = np.eye(4)[[0, 1, 1, 3, 2]][None]
    x = xr.DataArray(letters, dims=("sample", "site", "base"))
    with pytest.raises(
        ValueError,
        match=r"`x` has columns with 2 ones along 'site'.*pass `axis`='base' and `position`='site'",
    ):
        attrib.in_silico_mutagenesis(lambda y: y.sum((1, 2)), x)
    several = xr.Dataset({"promoter": x})
    with pytest.raises(ValueError, match="`x\\['promoter'\\]` has columns with 2 ones"):
        attrib.in_silico_mutagenesis(lambda y: y.sum((1, 2)), several)
    with pytest.raises(ValueError, match="`axis`=2 and `position`=1"):
        attrib.in_silico_mutagenesis(lambda y: y.sum((1, 2)), x.chunk(sample=1)).compute()
    found = attrib.in_silico_mutagenesis(lambda y: y.square().sum((1, 2)), x, axis="base", position="site")
    assert float(abs(found).max()) == 0


def images() -> tuple[nn.Module, xr.DataArray]:
    s = specimen("cnn", dtype=torch.float64)
    region = np.array(["front", "back", "", "back", "front", "back"], dtype=object)
    x = xr.DataArray(s.x.numpy(), dims=("subject", "channel", "y", "x"), coords={"region": ("x", region)})
    return s.f, x


def test_windows_by_name() -> None:
    f, x = images()
    found = attrib.occlusion(f, x, window={"y": 2, "x": 3}, stride={"x": 2}, target=1, sample_dims="subject")
    expected = functional.occlusion(
        f, torch.from_numpy(x.values), window=(1, 2, 3), stride=(1, 1, 2), target=1
    )
    np.testing.assert_array_equal(found.values, expected.numpy())
    with pytest.raises(ValueError, match=r"`window` names the dims \['z'\]"):
        attrib.occlusion(f, x, window={"z": 2}, target=1)
    with pytest.raises(ValueError, match="`stride` is 3 and `window` 2 along 'y': features between"):
        attrib.occlusion(f, x, window={"y": 2}, stride={"y": 3}, target=1)
    with pytest.raises(ValueError, match="`window` has size 99 along 'x'"):
        attrib.occlusion(f, x, window=(1, 2, 99), target=1)
    with pytest.raises(ValueError, match=f"`window` has size 99 along 'y', but `x` has {x.sizes['y']} there"):
        attrib.occlusion(f, x, window={"y": 99}, target=1)


def test_regions_by_coord_and_by_array() -> None:
    f, x = images()
    found = attrib.feature_ablation(f, x, groups="region", target=1)
    assert found.isel(x=2).isnull().all()
    numbers = torch.tensor([0, 1, -1, 1, 0, 1])
    expected = functional.feature_ablation(f, torch.from_numpy(x.values), groups=numbers, target=1)
    np.testing.assert_array_equal(found.values, expected.numpy())
    xr.testing.assert_equal(attrib.feature_ablation(f, x, groups=x.region, target=1), found)
    plane = xr.DataArray(np.arange(36.0).reshape(6, 6).T // 12, dims=("x", "y"))
    by_plane = attrib.feature_ablation(f, x, groups=plane, target=1)
    assert len(np.unique(by_plane.isel(subject=0))) == 3


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ("lobe", "`groups` is 'lobe', but `x` has the coords"),
        (xr.DataArray([0, 1, 2], dims="mouse"), r"`groups` has dims \['mouse'\] that `x` lacks"),
        (xr.DataArray(["", None], dims="channel").isel(channel=[0]), "`groups` puts no feature into a group"),
        (xr.DataArray([0, 1, 2], dims="x"), "differ along 'x'"),
    ],
)
def test_groups_that_do_not_fit(groups: Any, text: str) -> None:
    f, x = images()
    with pytest.raises(ValueError, match=text):
        attrib.feature_ablation(f, x, groups=groups, target=1)


def both() -> tuple[nn.Module, xr.Dataset]:
    s = specimen("two_inputs", dtype=torch.float64)
    genes = xr.DataArray(
        s.x[0].numpy(), dims=("sample", "gene"), coords={"pathway": ("gene", ["p", "q", "q", "p"])}
    )
    letters = xr.DataArray(s.x[1].numpy(), dims=("sample", "nucleotide", "position"))
    return s.f, xr.Dataset({"expression": genes, "promoter": letters})


def test_one_of_several_inputs_by_name() -> None:
    f, x = both()
    found = attrib.in_silico_mutagenesis(f, x, only="promoter", target=0)
    assert found["expression"].isnull().all()
    assert found["promoter"].notnull().all()
    assert (
        attrib.occlusion(f, x, only="expression", window={"gene": 2}, target=0)["expression"].notnull().all()
    )
    grouped = attrib.feature_ablation(f, x, only="expression", groups="pathway", target=0)["expression"]
    assert (grouped.isel(gene=[0, 1]).values == grouped.isel(gene=[3, 2]).values).all()
    with pytest.raises(ValueError, match="`only` is 'enhancer'"):
        attrib.occlusion(f, x, only="enhancer", target=0)
    with pytest.raises(ValueError, match=r"`window` names no dim of the inputs \['promoter'\]"):
        attrib.occlusion(f, x, window={"gene": 2}, target=0)


def test_dask_gives_the_same() -> None:
    pytest.importorskip("dask")
    f, x = sequences()
    lazy = attrib.in_silico_mutagenesis(f, x.chunk(sample=1), target=(0, 1))
    assert lazy.chunks is not None
    eager = attrib.in_silico_mutagenesis(f, x, target=(0, 1))
    xr.testing.assert_allclose(lazy.compute(), eager)
    assert lazy.attrs["edits"] == eager.attrs["edits"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (attrib.in_silico_mutagenesis, {"positions": [101, 103, 104]}),
        (attrib.occlusion, {"window": {"position": 2}}),
        (attrib.feature_ablation, {"groups": xr.DataArray(["a", "b", "b", "c", "c"], dims="position")}),
    ],
)
def test_dask_tells_as_many_edits(method: Any, options: dict[str, Any]) -> None:
    """A lazy result is described by one sample of zeros, which has more letters to put in."""
    pytest.importorskip("dask")
    f, x = sequences()
    letters = xr.DataArray(np.eye(2)[[[0, 1, 1, 0, 1]] * 3], dims=("sample", "position", "nucleotide"))
    x = letters.transpose("sample", "nucleotide", "position").assign_coords(x.coords)
    lazy = method(f, x.chunk(sample=2), target=(0, 1), **options)
    eager = method(f, x, target=(0, 1), **options)
    assert lazy.attrs["edits"] == eager.attrs["edits"] == {"in": 3, "oc": 4, "fe": 3}[method.__name__[:2]]
    xr.testing.assert_allclose(lazy.compute(), eager)


def test_result_survives_netcdf(tmp_path: Any) -> None:
    f, x = images()
    found = attrib.occlusion(f, x.drop_vars("region"), window={"y": 2, "x": 3}, targets=[0, 1])
    found.to_netcdf(tmp_path / "a.nc")
    assert xr.load_dataarray(tmp_path / "a.nc").attrs["path"] == "dense"


def test_groups_for_each_sample() -> None:
    x = xr.DataArray(
        [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]],
        dims=("cell", "gene"),
        coords={"cell": ["p", "q"], "gene": list("abc")},
    )
    x = x.assign_coords(module=(("cell", "gene"), [["u", "u", ""], ["u", "v", "v"]]))
    f = lambda x: x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2]  # 2 + 8
    expected = [[10, 10, np.nan], [2, 10, 10]]
    np.testing.assert_array_equal(attrib.feature_ablation(f, x, groups="module"), expected)
    frame = pd.DataFrame([["v", "v", "u"], ["", "u", "u"]], index=["q", "p"], columns=list("cba"))
    np.testing.assert_array_equal(attrib.feature_ablation(f, x, groups=frame), expected)
    numbers = torch.tensor([[0, 0, -1], [0, 1, 1]])
    np.testing.assert_array_equal(attrib.feature_ablation(f, x, groups=numbers), expected)
    np.testing.assert_array_equal(attrib.feature_ablation(f, x.chunk(cell=1), groups=numbers), expected)
    np.testing.assert_array_equal(attrib.feature_ablation(f, x.chunk(cell=1), groups="module"), expected)


def test_equal_labels_of_several_inputs_are_one_group() -> None:
    a = xr.DataArray([[1.0, 2.0, 3.0]], dims=("cell", "gene"), coords={"pathway": ("gene", ["p", "p", "q"])})
    b = xr.DataArray([[4.0, 5.0, 6.0]], dims=("cell", "peak"), coords={"pathway": ("peak", ["p", "", "r"])})
    f = lambda a, b: (a * b).sum(1)  # 4 + 10 + 18
    found = attrib.feature_ablation(f, {"a": a, "b": b}, groups="pathway")
    np.testing.assert_array_equal(found.a, [[14, 14, 18]])
    np.testing.assert_array_equal(found.b, [[14, np.nan, 18]])
    assert found.a_pathway.values.tolist() == ["p", "p", "q"]
    assert found.b_pathway.values.tolist() == ["p", "", "r"]
    mixed = attrib.feature_ablation(
        f, (a, b), groups=(xr.DataArray([7, 7, 8], dims="gene"), torch.tensor([7, -1, 9]))
    )
    for one, other in zip(mixed, (found.a, found.b), strict=True):
        np.testing.assert_array_equal(one, other)
