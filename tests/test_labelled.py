"""The labelled functions add labels and nothing else: any dim order, any coords, any chunks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import attrib
from attrib import functional
from attrib.io import load, save
from attrib.testing import labelled_arrays
from tests.examples import examples

W = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = ["low", "mid", "high"]
FEATURES = {"y": 3, "x": 4}
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 5, "baselines": 0.25},
    "smooth_grad": {"n_samples": 3},
    "gradient_shap": {"n_samples": 3, "baselines": 0.25},
}
methods = pytest.mark.parametrize("name", METHODS)


def model(x: Tensor) -> Tensor:
    """Depends on the order of a sample's features."""
    return torch.tanh(x.flatten(1).double() @ W + 0.1) * x.flatten(1)[:, :3].exp()


def pure(
    name: str, a: xr.DataArray, sample_dims: tuple[str, ...] = ("sample",), **options: Any
) -> np.ndarray:
    """The pure method on the array's own values, back in the array's order of dims."""
    core = [d for d in a.dims if d not in sample_dims]
    t = a.transpose(*sample_dims, *core)
    rows = torch.from_numpy(np.ascontiguousarray(t.values).reshape(-1, *[a.sizes[d] for d in core]))
    found = getattr(functional, name)(model, rows, **METHODS[name], **options)
    return t.copy(data=found.numpy().reshape(t.shape)).transpose(*a.dims).values


def same_labels(found: xr.DataArray, a: xr.DataArray) -> None:
    """Every coord of the input is a coord of the result, with its dims, values and attrs."""
    for name, coord in a.coords.items():
        assert found.coords[name].variable.identical(coord.variable)


@pytest.mark.explore
@methods
def test_any_dim_order_and_any_coords(name: str) -> None:
    @given(labelled_arrays(FEATURES))
    def check(a: xr.DataArray) -> None:
        before = a.copy(deep=True)
        found = getattr(attrib, name)(model, a, target=1, **METHODS[name])
        assert a.identical(before)
        assert (found.name, found.dims) == ("attribution", a.dims)
        same_labels(found, a)
        np.testing.assert_allclose(found.values, pure(name, a, target=1), rtol=1e-5, atol=1e-6)

    check()


@pytest.mark.explore
@methods
def test_several_sample_dims(name: str) -> None:
    dims = ("subject", "visit")

    @examples(12)
    @given(labelled_arrays(FEATURES, sample_dims=dims))
    def check(a: xr.DataArray) -> None:
        found = getattr(attrib, name)(model, a, target=2, sample_dims=dims, **METHODS[name])
        assert found.dims == a.dims
        same_labels(found, a)
        np.testing.assert_allclose(found.values, pure(name, a, dims, target=2), rtol=1e-5, atol=1e-6)
        assert set(found.prediction.dims) == set(dims)

    check()


@pytest.mark.explore
@methods
def test_dask_is_lazy_and_equal(name: str) -> None:
    pytest.importorskip("dask")

    @examples(5)
    @given(
        labelled_arrays(FEATURES, most=3, chunked=True), st.sampled_from([{"target": 1}, {"targets": "all"}])
    )
    def check(a: xr.DataArray, how: dict) -> None:
        lazy = getattr(attrib, name)(model, a, **how, **METHODS[name])
        eager = getattr(attrib, name)(model, a.compute(), **how, **METHODS[name])
        assert lazy.chunks is not None
        assert lazy.dims == eager.dims
        xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-6)
        same_labels(lazy.compute(), a.compute())

    check()


@pytest.mark.explore
@methods
def test_targets_are_a_labelled_dim(name: str) -> None:
    @examples(8)
    @given(labelled_arrays(FEATURES))
    def check(a: xr.DataArray) -> None:
        found = getattr(attrib, name)(model, a, targets="all", classes=CLASSES, **METHODS[name])
        assert found.dims == ("target", *a.dims)
        assert found.target.values.tolist() == CLASSES
        for k, label in enumerate(CLASSES):
            np.testing.assert_allclose(found.sel(target=label), pure(name, a, target=k), rtol=1e-5, atol=1e-6)

    check()


@pytest.mark.explore
@methods
def test_results_survive_a_file(name: str, tmp_path: Path) -> None:
    numbers = iter(range(1000))

    @examples(10)
    @given(
        labelled_arrays(FEATURES),
        st.sampled_from([{"target": 1}, {"targets": "all"}, {"target": "predicted"}]),
    )
    def check(a: xr.DataArray, how: dict) -> None:
        found = getattr(attrib, name)(model, a, **how, classes=CLASSES, **METHODS[name])
        path = tmp_path / f"{next(numbers)}.nc"
        save(found, path)
        assert load(path).identical(found)

    check()


@pytest.mark.explore
@methods
def test_some_samples_alone(name: str) -> None:
    @examples(8)
    @given(labelled_arrays(FEATURES))
    def check(a: xr.DataArray) -> None:
        whole = getattr(attrib, name)(model, a, target=0, **METHODS[name])
        last = getattr(attrib, name)(model, a.isel(sample=[-1]), target=0, **METHODS[name])
        xr.testing.assert_allclose(last, whole.isel(sample=[-1]), rtol=1e-5)

    check()


def example() -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((3, 3, 4))
    coords = {"sample": ["a", "b", "c"], "x": [10, 20, 30, 40], "site": ("sample", ["N", "S", "N"])}
    return xr.DataArray(values, dims=("sample", "y", "x"), coords=coords, name="scan")


def test_baselines_are_broadcast_by_name() -> None:
    a = example()
    mean = a.mean("sample")
    expected = attrib.functional.integrated_gradients(
        model, torch.from_numpy(a.values), baselines=torch.from_numpy(mean.values), target=1
    )
    for given_ in (
        mean,
        mean.transpose("x", "y"),
        mean.expand_dims(sample=a.sample).transpose("x", "sample", "y"),
    ):
        found = attrib.integrated_gradients(model, a, baselines=given_, target=1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    row = a.isel(sample=0).mean("y", keepdims=False)
    by_row = attrib.integrated_gradients(model, a, baselines=row, target=1)
    full = torch.from_numpy(np.broadcast_to(row.values, (3, 4)).copy())
    again = attrib.functional.integrated_gradients(
        model, torch.from_numpy(a.values), baselines=full, target=1
    )
    np.testing.assert_allclose(by_row, again, rtol=1e-6)


def test_targets_per_sample_by_name_and_by_array() -> None:
    a = example()
    expected = attrib.functional.saliency(model, torch.from_numpy(a.values), target=[2, 0, 1])
    names = ["high", "low", "mid"]
    for target in (
        [2, 0, 1], np.array([2, 0, 1]), names, np.array(names), xr.DataArray([2, 0, 1], dims="sample"),
        xr.DataArray(names, dims="sample", coords={"sample": a.sample}),
    ):  # fmt: skip
        found = attrib.saliency(model, a, target=target, classes=CLASSES)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.target.values.tolist() == names


def test_coords_and_attrs_of_a_result() -> None:
    a = example()
    found = attrib.integrated_gradients(model, a, target="mid", classes=CLASSES, n_steps=40)
    scores = model(torch.from_numpy(a.values))[:, 1]
    scores = scores.numpy()
    change = scores - model(torch.zeros(1, 3, 4).double())[:, 1].numpy()
    np.testing.assert_allclose(found.prediction, scores, rtol=1e-6)
    np.testing.assert_allclose(found.delta, found.sum(("y", "x")) - change, atol=1e-9)
    assert all(isinstance(v, str | int | float | np.number) for v in found.attrs.values())
    assert found.attrs["method"] == "integrated_gradients"
    assert json.loads(found.attrs["params"])["n_steps"] == 40
    assert {"units", "long_name", "references", "attrib_version", "torch_version", "history"} <= set(
        found.attrs
    )


def test_rtol_gives_the_steps_used() -> None:
    x = example()
    found = attrib.integrated_gradients(model, x, target=1, rtol=1e-3)
    assert found.n_steps.dims == ("sample",)
    change = found.prediction - model(torch.zeros(1, 3, 4).double())[:, 1].item()
    assert bool((abs(found.delta) <= 1e-3 * abs(change)).all())
    expected = functional.integrated_gradients.explain(model, torch.from_numpy(x.values), target=1, rtol=1e-3)
    assert found.n_steps.values.tolist() == expected.n_steps.tolist()


def two(a: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(a.sum(1) * b.flatten(1).sum(1))


def test_several_inputs() -> None:
    genes = xr.DataArray(np.random.default_rng(1).standard_normal((3, 5)), dims=("sample", "gene"))
    scan = example()
    pure_ = functional.saliency(two, (torch.from_numpy(genes.values), torch.from_numpy(scan.values)))
    as_set = attrib.saliency(
        two, xr.Dataset({"genes": genes.assign_coords(sample=scan.sample), "scan": scan})
    )
    as_mapping = attrib.saliency(two, {"genes": genes, "scan": scan})
    as_tuple = attrib.saliency(two, (genes, scan))
    assert isinstance(as_set, xr.Dataset)
    assert isinstance(as_tuple, tuple)
    for k, name in enumerate(("genes", "scan")):
        for found in (as_set[name], as_mapping[name], as_tuple[k]):
            np.testing.assert_allclose(found, pure_[k], rtol=1e-6)
    assert as_set["genes"].dims == ("sample", "gene")


@pytest.mark.parametrize(
    "form", [lambda v: v, torch.from_numpy, lambda v: v.astype(">f8"), lambda v: v[::-1][::-1]]
)
def test_arrays_without_labels(form: Any) -> None:
    values = example().values
    found = attrib.saliency(model, form(values), target=1)
    assert found.dims == ("sample", "dim_1", "dim_2")
    np.testing.assert_allclose(found, functional.saliency(model, torch.from_numpy(values), target=1))
    named = attrib.saliency(
        model, form(values), target=1, dims=("mouse", "y", "x"), coords={"x": list("abcd")}
    )
    assert named.dims == ("mouse", "y", "x")
    assert named.x.values.tolist() == list("abcd")


def test_the_model_gets_the_dtype_of_its_parameters() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    a = example()
    slopes = net[1].weight[0].detach().abs().view(3, 4)
    np.testing.assert_allclose(attrib.saliency(net, a, target=0), slopes.expand(*a.shape), rtol=1e-6)
    with pytest.raises(TypeError, match="int16, which has no gradient"):
        attrib.saliency(net, a.astype("int16"), target=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_label(bad: float) -> None:
    a = example()
    a[1, 0, 0] = bad
    with pytest.raises(ValueError, match=r"1 of 3 samples: .*b"):
        attrib.saliency(model, a, target=0)


def test_a_coord_of_the_samples_is_no_class() -> None:
    x = xr.DataArray(
        np.ones((2, 3)), dims=("cell", "gene"), coords={"type": ("cell", ["b", "a"]), "gene": list("xyz")}
    )
    f = lambda v: torch.stack([v.sum(1), 2 * v.sum(1)], 1)
    with pytest.raises(
        ValueError,
        match=r"`target` is 'type', a coord of the samples and no class; pass its values, target=x\['type'\]",
    ):
        attrib.saliency(f, x, target="type", classes=["a", "b"])
    assert attrib.saliency(f, x, target=x["type"], classes=["a", "b"]).values[:, 0].tolist() == [2, 1]
    assert attrib.saliency(f, x, target="type", classes=["a", "type"]).values[:, 0].tolist() == [2, 2]
    with pytest.raises(ValueError, match="`target` 'gene' is not one of the classes"):
        attrib.saliency(f, x, target="gene", classes=["a", "b"])
