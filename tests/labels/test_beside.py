"""What goes into a model beside x, with labels: each sample gets its own, whatever the order, the blocks and the method."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib
from attrib.engine.model.companions import Shared
from attrib.labels.align import args_at, forward_args
from attrib.labels.inputs import labelled_inputs

CELLS, GENES = ["s1", "s2", "s3"], ["a", "b"]
X = xr.DataArray(
    np.random.default_rng(0).normal(size=(3, 2)), dims=("cell", "gene"), coords={"cell": CELLS, "gene": GENES}
)
DONOR = xr.DataArray([3, 1, 2], dims="cell", coords={"cell": ["s3", "s1", "s2"]})  # s1: 1, s2: 2, s3: 3
EFFECT = {"s1": 1, "s2": 2, "s3": 3}


def by_donor(x: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
    """Its gradient is twice x times the number of the donor."""
    assert donor.dtype == torch.int64
    return (x**2).sum(1) * donor


def each(values: Any, x: xr.DataArray = X) -> list:
    """The values of `additional_forward_args` in the form of the pure functions, as lists."""
    found = forward_args((values,), labelled_inputs(x), torch.float32)[0]
    return found.tolist()


def test_values_with_labels_go_by_them() -> None:
    assert each(DONOR) == [1, 2, 3]
    assert each(DONOR.to_series()) == [1, 2, 3]
    assert each(pd.DataFrame({"u": [1, 2, 3], "v": [4, 5, 6]}, index=["s2", "s3", "s1"])) == [
        [3, 6],
        [1, 4],
        [2, 5],
    ]
    mask = xr.DataArray(
        [[1, 2], [3, 4], [5, 6]], dims=("cell", "gene"), coords={"cell": CELLS[::-1], "gene": ["b", "a"]}
    )
    assert each(mask.T) == [[6, 5], [4, 3], [2, 1]]
    assert each(np.array([True, False, True])) == [True, False, True]
    assert each(torch.tensor([7, 8, 9])) == [7, 8, 9]


def test_all_else_goes_as_it_is() -> None:
    inputs = labelled_inputs(X)
    values = (2, "eval", None, attrib.shared(np.ones(3)), torch.ones(2, 4), np.ones((2, 2)), xr.DataArray([5.0, 6.0], dims="gene", coords={"gene": ["b", "a"]}))  # fmt: skip
    found = forward_args(values, inputs, torch.float32)
    assert found[:4] == values[:4]
    assert all(isinstance(v, Shared) for v in found[4:])
    assert found[5].value.dtype == torch.float32  # as x is: in the dtype of the model
    assert found[6].value.tolist() == [6, 5]
    named = forward_args({"mask": DONOR, "flag": True}, inputs, None)
    assert (named["mask"].tolist(), named["flag"]) == ([1, 2, 3], True)
    some = args_at(forward_args((DONOR, torch.ones(2)), inputs, None), [2, 0], inputs)[0]
    assert some[0].tolist() == [3, 1]
    assert isinstance(some[1], Shared)


def test_several_sample_dims_are_stacked() -> None:
    x = X.expand_dims(visit=[10, 20]).transpose("cell", "gene", "visit")
    found = lambda v: forward_args((v,), labelled_inputs(x, ("visit", "cell")), None)[0].tolist()
    assert found(DONOR) == [1, 2, 3, 1, 2, 3]
    assert found(xr.DataArray([7, 8], dims="visit", coords={"visit": [20, 10]})) == [8, 8, 8, 7, 7, 7]
    assert found(np.arange(6).reshape(2, 3)) == [0, 1, 2, 3, 4, 5]
    assert found(np.arange(6)) == [0, 1, 2, 3, 4, 5]
    index = pd.MultiIndex.from_product([CELLS[::-1], [10, 20]], names=["cell", "visit"])
    assert found(pd.Series(range(6), index=index)) == [4, 2, 0, 5, 3, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            DONOR.assign_coords(cell=["s1", "s2", "s9"]),
            r"`additional_forward_args\[0\]` lacks 's3' and .* has 's9'",
        ),
        (DONOR[:2], r"`additional_forward_args\[0\]` lacks 's2'"),
        (pd.Series([1, 2, 3]), r"have different labels along 'cell'"),
        (xr.DataArray([1, 2], dims="gene", coords={"gene": ["a", "c"]}), r"different labels along 'gene'"),
    ],
)
def test_labels_that_do_not_fit_are_named(value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        attrib.saliency(lambda x, d: x.sum(1), X, additional_forward_args=(value,))


METHODS: dict[str, dict[str, Any]] = {
    "saliency": {"absolute": False},
    "input_x_gradient": {},
    "integrated_gradients": {"baselines": X.mean("cell")},
    "smooth_grad": {"n_samples": 2},
    "gradient_shap": {"n_samples": 2, "baselines": 0.5},
    "deep_lift": {},
    "deep_lift_shap": {"baselines": np.ones((2, 2))},
    "feature_ablation": {},
    "occlusion": {},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("chunked", [False, True])
def test_every_sample_gets_its_own(name: str, chunked: bool) -> None:
    if chunked:
        pytest.importorskip("dask")
    method = partial(getattr(attrib, name), **METHODS[name])
    x = X.chunk(cell=2) if chunked else X
    a = method(by_donor, x, additional_forward_args=(DONOR,))
    named = method(by_donor, x, additional_forward_args={"donor": DONOR.to_series()})
    xr.testing.assert_allclose(a.compute(), named.compute())
    for cell, donor in EFFECT.items():
        alone = method(lambda x, donor=donor: (x**2).sum(1) * donor, X.sel(cell=[cell]))
        np.testing.assert_allclose(a.sel(cell=[cell]), alone, rtol=1e-9)


def of_donors() -> torch.nn.Module:
    """A network of two outputs beside whose six genes goes the donor."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.donor, self.layer, self.head = (
                torch.nn.Embedding(4, 6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 2)
            )  # fmt: skip

        def forward(self, x: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.layer(x) + self.donor(donor)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().double().eval()


def test_a_method_inside_a_method() -> None:
    inner = partial(attrib.integrated_gradients, baselines=X.mean("cell"))
    a = attrib.noise_tunnel(inner, by_donor, X, stdevs=0.0, n_samples=2, additional_forward_args=(DONOR,))
    np.testing.assert_allclose(a, inner(by_donor, X, additional_forward_args=(DONOR,)))


@pytest.mark.parametrize("chunked", [False, True])
def test_predictions(chunked: bool) -> None:
    x = X.chunk(cell=1) if chunked else X
    y = attrib.predict(by_donor, x, additional_forward_args=(DONOR,))
    np.testing.assert_allclose(y, (X**2).sum("gene") * [1, 2, 3])


def test_activations_maps_and_interactions() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Identity()

        def forward(self, x: torch.Tensor, donor: torch.Tensor) -> torch.Tensor:
            return self.scale(x * donor[:, None, None]).mean((1, 2))

    x = X.expand_dims(channel=1, axis=1)
    a = attrib.layer_activation(Net(), x, layer="scale", additional_forward_args=(DONOR,))
    np.testing.assert_allclose(a.squeeze(), X * [[1], [2], [3]])
    m = attrib.grad_cam(Net(), x, layer="scale", relu=False, upsample=False, additional_forward_args=(DONOR,))
    np.testing.assert_allclose(m, X * [[1], [2], [3]] / 2)
    two = {"u": X, "v": X.rename(gene="peak")}
    i = attrib.interaction(lambda u, v, d: u[:, 0] * v[:, 1] * d, two, additional_forward_args=(DONOR,))
    np.testing.assert_allclose(i.sel(gene="a", peak="b"), X[:, 0] * X[:, 1].values * [1, 2, 3])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_target_function_gets_the_numbers_of_samples(chunked: bool) -> None:
    weights = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    target = lambda y, samples: y * weights[samples]
    x = X.chunk(cell=2) if chunked else X
    a = attrib.saliency(lambda x: x.sum(1), x, target=target)
    np.testing.assert_allclose(a, [[1, 1], [10, 10], [100, 100]])
    b = attrib.integrated_gradients(lambda x: x.sum(1), x, targets=[target, lambda y: y])
    np.testing.assert_allclose(b, np.stack([X * [[1], [10], [100]], X]))


def test_what_went_in_is_told() -> None:
    a = attrib.saliency(by_donor, X, additional_forward_args=(DONOR,))
    assert '"additional_forward_args": ["array {\'cell\': 3}"]' in a.attrs["params"]
