"""Predictions: the model's own outputs, in chunks, with the inputs' labels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import attrib
from attrib.testing import untouched

X = xr.DataArray(
    np.random.default_rng(0).normal(size=(5, 2, 6)).astype("float32"),
    dims=("cell", "channel", "position"),
    coords={"cell": list("abcde"), "donor": ("cell", [1, 1, 2, 2, 3]), "channel": ["u", "v"]},
    name="x",
)


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.ReLU()).eval()


@pytest.mark.parametrize("batch_size", ["auto", 1, 2, 5])
def test_outputs_are_the_models(batch_size) -> None:
    f, x = model(), torch.from_numpy(X.values)
    sizes: list[int] = []
    hook = f.register_forward_pre_hook(lambda m, given: sizes.append(len(given[0])))
    found = attrib.functional.predict(f, x, batch_size=batch_size)
    hook.remove()
    assert torch.allclose(found, f(x), atol=1e-6)
    assert not found.requires_grad
    assert sizes[0] == (3 if batch_size == 2 else 2)  # the trial, of another size than the first chunk
    assert sizes[1:] == {"auto": [5], 1: [1] * 5, 2: [2, 2, 1], 5: [5]}[batch_size]


def test_labels() -> None:
    f = model()
    y = attrib.predict(f, X, sample_dims="cell", classes=["p", "q", "r"])
    assert y.dims == ("cell", "target", "output_1")
    assert y.name == "prediction"
    assert y.target.values.tolist() == ["p", "q", "r"]
    assert y.donor.values.tolist() == [1, 1, 2, 2, 3]
    assert set(y.coords) == {"cell", "donor", "target"}
    named = attrib.predict(f, X, outputs=("track", "bin"), classes=["p", "q", "r"])
    assert named.dims == ("cell", "track", "bin")
    assert named.track.values.tolist() == ["p", "q", "r"]
    assert attrib.predict(f, X).target.values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(named, f(torch.from_numpy(X.values)).detach(), atol=1e-6)


def test_one_number_per_sample_and_scores_of_methods() -> None:
    f = lambda x: (x**2).sum((1, 2))
    y = attrib.predict(f, X)
    assert y.dims == ("cell",)
    np.testing.assert_allclose(y, attrib.saliency(f, X).prediction)


def test_several_inputs_and_sample_dims() -> None:
    both = {"a": X, "b": X.isel(position=slice(2)).rename(position="bin")}
    y = attrib.predict(lambda a, b: a.sum((1, 2)) - b.sum((1, 2)), both)
    np.testing.assert_allclose(
        y, X.sum(("channel", "position")) - X[..., :2].sum(("channel", "position")), atol=1e-5
    )
    grid = attrib.predict(lambda x: x, X, sample_dims=("cell", "channel"))
    assert grid.dims == ("cell", "channel", "target")
    np.testing.assert_array_equal(grid, X)


def test_dask_gives_a_lazy_result() -> None:
    pytest.importorskip("dask.array")
    f = model()
    lazy = attrib.predict(f, X.chunk(cell=2), classes=["p", "q", "r"])
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), attrib.predict(f, X, classes=["p", "q", "r"]), atol=1e-6)
    both = {"a": X.chunk(cell=2), "b": X.chunk(cell=3).rename(position="bin")}
    f2 = lambda a, b: a.sum((1, 2)) - b[:, 0].sum(1)
    found = attrib.predict(f2, both)
    assert found.chunks is not None
    xr.testing.assert_allclose(
        found.compute(), attrib.predict(f2, {k: v.compute() for k, v in both.items()}), atol=1e-5
    )
    grid = X.transpose("position", "channel", "cell").chunk(cell=2)
    flat = attrib.predict(lambda x: x * 2, grid, sample_dims=("cell", "channel"))
    xr.testing.assert_allclose(
        flat.compute(), attrib.predict(lambda x: x * 2, grid.compute(), sample_dims=("cell", "channel"))
    )


def test_objects_with_logits_outputs_that_are_not_finite_and_a_coord_called_target() -> None:
    class Output:
        def __init__(self, logits: torch.Tensor) -> None:
            self.logits = logits

    y = attrib.predict(lambda x: Output(-x.sum((1, 2)).relu().log()), X)
    assert y.dims == ("cell",)
    assert np.isinf(y).any()
    named = X.assign_coords(target=("cell", [0, 1, 0, 1, 0]))
    assert attrib.predict(model(), named).target.dims == ("target",)
    one = attrib.predict(lambda x: x.sum((1, 2)), named)  # no dim is called so: the samples' own coord stays
    assert one.target.dims == ("cell",)
    assert one.target.values.tolist() == [0, 1, 0, 1, 0]
    renamed = attrib.predict(model(), named, outputs=("track", "bin"))
    assert renamed.target.dims == ("cell",)
    donors = attrib.predict(model(), named, outputs=("donor", "bin"), classes=["p", "q", "r"])
    assert donors.donor.dims == ("donor",)


@pytest.mark.parametrize("batch_size", ["auto", 2])
def test_tokens_are_predicted_though_they_have_no_gradient(batch_size) -> None:
    torch.manual_seed(0)
    f = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(24, 2)).eval()
    ids = xr.DataArray(np.random.default_rng(0).integers(5, size=(7, 6)), dims=("read", "position"))
    expected = f(torch.from_numpy(ids.values)).detach()
    assert torch.allclose(
        attrib.functional.predict(f, torch.from_numpy(ids.values), batch_size=batch_size), expected
    )
    for x in (ids, ids.chunk(read=3)):
        np.testing.assert_allclose(attrib.predict(f, x, batch_size=batch_size), expected, atol=1e-6)
    both = attrib.predict(
        lambda t, w: f(t) * w, (ids, xr.DataArray(np.ones((7, 2), "float32"), dims=("read", "w")))
    )
    np.testing.assert_allclose(both, expected, atol=1e-6)
    with pytest.raises(TypeError, match="which has no gradient"):
        attrib.saliency(f, ids, target=0)


def test_inputs_that_cannot_be_predicted() -> None:
    ids = torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"`x` has shape \(0, 2\), expected at least one sample"):
        attrib.functional.predict(lambda x: x, ids[:0])
    with pytest.raises(ValueError, match="inputs of 3 and 2 samples"):
        attrib.functional.predict(lambda x, y: y, (ids, torch.zeros(2, 2)))
    with pytest.raises(ValueError, match=r"`x\[1\]` has NaN"):
        attrib.functional.predict(lambda x, y: y, (ids, torch.full((3, 2), torch.nan)))
    with pytest.raises(TypeError, match="is a str"):
        attrib.functional.predict(lambda x: x, "x")  # type: ignore[arg-type]


def test_nothing_is_changed_and_what_is_refused() -> None:
    f, x = model(), torch.from_numpy(X.values)
    with untouched(f, x):
        attrib.functional.predict(f, x)
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        attrib.predict(model().train(), X)
    with pytest.raises(ValueError, match="`classes` has 2 names"):
        attrib.predict(f, X, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"`outputs` is \('a',\)"):
        attrib.predict(f, X, outputs=("a",))
    with pytest.raises(ValueError, match="NaN or infinite values in 1 of 5 samples: cell b"):
        attrib.predict(f, X.where(X.cell != "b"))
    with pytest.raises(TypeError, match="returned a tuple"):
        attrib.predict(lambda x: (x, x), X)


def test_models_in_bfloat16_give_single_precision() -> None:
    torch.manual_seed(0)
    f = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).bfloat16().eval()
    t = torch.from_numpy(X.values).bfloat16()
    expected = f(t).detach().float().numpy()
    for x in (X, X.chunk({"cell": 2})):
        y = attrib.predict(f, x)
        assert y.dtype == np.float32
        assert np.array_equal(y, expected)
        a = attrib.saliency(f, x, target=1)
        assert a.dtype == a.prediction.dtype == np.float32
        assert np.array_equal(a.prediction, expected[:, 1])
        coarse = attrib.grad_cam(f, x, layer="0", target=1)
        exact = attrib.grad_cam(copy.deepcopy(f).float(), X, layer="0", target=1)
        np.testing.assert_allclose(coarse, exact, rtol=0, atol=0.02 * float(exact.max()))
    activation = attrib.layer_activation(f, X, layer="0")
    assert activation.dtype == np.float32
    assert np.array_equal(activation, f[0](t).detach().float())


def test_a_target_is_taken_of_the_result() -> None:
    for predict in (attrib.predict, attrib.functional.predict):
        with pytest.raises(
            TypeError, match=r"no argument 'target'; it gives all outputs; take some of the result"
        ):
            predict(model(), torch.from_numpy(X.values), target=0)  # type: ignore[call-arg]
