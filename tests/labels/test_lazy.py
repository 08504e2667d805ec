"""Results for Dask-backed inputs: what building and computing them costs, and what it must not touch."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib.engine.model.companions import ALONE
from attrib.engine.model.prepared import BlockModel

pytest.importorskip("dask")


class Net(nn.Module):
    """Counts its calls; cannot be pickled or copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        self.calls: list[int] = []  # a number would be part of what the model is

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        return self.layers(x)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise AssertionError("the model was pickled")


@pytest.fixture
def model() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def genes(n: int = 24) -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(n, 5)).astype("float32")
    return xr.DataArray(values, dims=("sample", "gene"), coords={"sample": np.arange(n)})


METHODS = {
    "saliency": attrib.saliency,
    "integrated_gradients": attrib.integrated_gradients,
    "deep_lift": attrib.deep_lift,
    "smooth_grad": attrib.smooth_grad,
}


@pytest.mark.parametrize("name", METHODS)
def test_neither_building_nor_computing_pickles_the_model(name: str, model: Net) -> None:
    lazy = METHODS[name](model, genes().chunk(sample=5), target=1)
    eager = METHODS[name](model, genes(), target=1)
    xr.testing.assert_allclose(lazy.compute(scheduler="threads"), eager, rtol=1e-5, atol=1e-7)


def test_building_calls_the_model_no_more_often_than_it_must(model: Net) -> None:
    """One row to see what the model gives; nothing is measured or tried before the first block."""
    attrib.saliency(model, genes().chunk(sample=5), target=1)
    assert model.calls == [1]
    model.calls.clear()
    attrib.integrated_gradients(model, genes().chunk(sample=5), target=1, n_steps=50)
    assert sum(model.calls) <= 4  # both ends, and two steps


@pytest.mark.parametrize("name", METHODS)
def test_a_prepared_model_is_asked_once_for_the_form_of_a_result(name: str, model: Net) -> None:
    """Not for others of the same form, but for other targets and sizes, and where it was changed."""
    prepared, x = attrib.prepare(model), genes()
    first = METHODS[name](prepared, x.chunk(sample=5), target=1)
    model.calls.clear()
    lazy = METHODS[name](prepared, (2 * x).chunk(sample=7), target=1)
    assert model.calls == []
    xr.testing.assert_allclose(
        lazy.compute(scheduler="synchronous"), METHODS[name](model, 2 * x, target=1), rtol=1e-5, atol=1e-6
    )
    xr.testing.assert_allclose(
        first.compute(scheduler="synchronous"), METHODS[name](model, x, target=1), rtol=1e-5, atol=1e-6
    )
    for change in ({"target": 2}, {"targets": [0, 1]}):
        model.calls.clear()
        assert METHODS[name](prepared, x.chunk(sample=5), **change).sizes.get("target", 1) == len(
            change.get("targets", [0])
        )
        assert model.calls
    model.layers[2] = nn.Linear(8, 3)
    model.calls.clear()
    METHODS[name](prepared, x.chunk(sample=5), target=1)
    assert model.calls


def test_building_integrated_gradients_takes_two_steps_where_none_are_named(model: Net) -> None:
    attrib.integrated_gradients(model, genes().chunk(sample=5), target=1)
    assert sum(model.calls) <= 4


def test_predict_does_not_pickle_the_model(model: Net) -> None:
    x = genes()
    xr.testing.assert_allclose(attrib.predict(model, x.chunk(sample=5)).compute(), attrib.predict(model, x))


def test_each_lazy_result_has_a_name_of_its_own(model: Net) -> None:
    """The model may change between the two, and nothing is looked at that would tell."""
    x = genes(4).chunk(sample=2)
    first = attrib.saliency(model, x, target=0, absolute=False)
    with torch.no_grad():
        model.layers[0].weight *= 2
    second = attrib.saliency(model, x, target=0, absolute=False)
    assert first.data.name != second.data.name


def test_the_model_is_checked_once_for_all_blocks(model: Net) -> None:
    lazy = attrib.saliency(model, genes(24).chunk(sample=4), target=0)
    model.calls.clear()
    lazy[:4].compute(scheduler="synchronous")
    assert len(model.calls) > 1
    model.calls.clear()
    lazy[4:].compute(scheduler="synchronous")
    assert model.calls == [4] * 5


def test_dependent_rows_are_found_in_the_first_block() -> None:
    """The sample of zeros with which a lazy result is built does not show them."""
    lazy = attrib.saliency(lambda x: (x * x.mean(0)).sum(1), genes().chunk(sample=4))
    with pytest.raises(ValueError, match="mixes samples"):
        lazy.compute(scheduler="synchronous")


def test_a_model_in_training_mode_is_refused_after_the_first_block() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.Linear(4, 1)).eval()
    lazy = attrib.saliency(model, genes().chunk(sample=4))
    lazy[:4].compute(scheduler="synchronous")
    model.train()
    with pytest.raises(ValueError, match="deterministic"):
        lazy[4:].compute(scheduler="synchronous")


def test_blocks_do_not_depend_on_the_blocks_before_them() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)).eval()
    lazy = attrib.deep_lift(model, genes().chunk(sample=4))
    alone = attrib.deep_lift(model, genes().chunk(sample=4))[12:16].compute(scheduler="synchronous")
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous")[12:16], alone)


def test_a_pickled_model_has_forgotten_what_was_learned() -> None:
    model = BlockModel(nn.Linear(5, 1).eval())
    attrib.functional.saliency(model, torch.ones(3, 5))
    assert model.knowledge([torch.ones(3, 5)], ALONE.state()).checked
    copy = pickle.loads(pickle.dumps(model))
    assert not copy.knowledge([torch.ones(3, 5)], ALONE.state()).checked


def test_a_block_is_one_task_and_one_for_each_field(model: Net) -> None:
    """The graph holds the input, the blocks, and what is taken of them; arrays are turned only where dims change their places."""
    x = genes().chunk(sample=6)
    a = attrib.saliency(model, x, target=1)
    assert a.dims == x.dims
    layers = dict(a.data.__dask_graph__().layers)
    assert (
        len(layers) == len(x.data.__dask_graph__().layers) + 3
    )  # numbers of the samples, blocks, the attribution
    assert not any("transpose" in str(name) for name in layers)
