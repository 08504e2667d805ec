"""Inputs with names go to the parameters of those names, whatever their order; names that results need are refused."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import attrib
from attrib.labels.inputs import parameters


class Pair(nn.Module):
    def forward(self, mirna: torch.Tensor, target: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return (mirna * 10 + target).sum(1) * scale


def free(*xs: torch.Tensor) -> torch.Tensor:
    return Pair()(*xs)


U, V = np.ones((1, 2), dtype="float32"), np.full((1, 2), 3, dtype="float32")
MODELS: dict[str, Any] = {
    "module": Pair(),
    "function": lambda mirna, target: Pair()(mirna, target),
    "partial": partial(Pair(), scale=1.0),
    "partial of a function": partial(lambda scale, mirna, target: Pair()(mirna, target, scale), 1.0),
    "DataParallel": nn.DataParallel(Pair()),
    "prepared": attrib.prepare(Pair()),
    "compiled": torch.compile(Pair(), backend="eager"),
    "by name alone": lambda *, target, mirna: Pair()(mirna, target),
    "with others between": lambda target=None, other=None, mirna=None: Pair()(mirna, target),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "method", [attrib.input_x_gradient, attrib.integrated_gradients, attrib.feature_ablation]
)
def test_inputs_go_by_the_names_of_parameters(name: str, method: Any) -> None:
    for x in ({"mirna": U, "target": V}, {"target": V, "mirna": U}):
        a = method(MODELS[name], x)
        assert list(a) == list(x)
        np.testing.assert_allclose(a.mirna, [[10, 10]], rtol=1e-6)
        np.testing.assert_allclose(a.target, [[3, 3]], rtol=1e-6)
        assert attrib.predict(MODELS[name], x).values.tolist() == [26]


def test_what_was_learned_is_remembered_of_inputs_that_go_by_name() -> None:
    calls: list[int] = []

    class Counting(Pair):
        def forward(self, mirna: torch.Tensor, other: Any = None, target: Any = None) -> torch.Tensor:
            calls.append(len(mirna))
            return super().forward(mirna, target)

    f, x = attrib.prepare(Counting()), {"target": V, "mirna": U}
    counts = []
    for _ in range(3):
        calls.clear()
        np.testing.assert_allclose(attrib.input_x_gradient(f, x).mirna, [[10, 10]])
        counts.append(len(calls))
    assert counts[0] > counts[1] == counts[2] == 1


def test_a_scripted_module_tells_its_names() -> None:
    scripted = torch.jit.trace(Pair(), (torch.ones(1, 2), torch.ones(1, 2)))
    a = attrib.input_x_gradient(scripted, {"target": V, "mirna": U})
    np.testing.assert_allclose(a.mirna, [[10, 10]])


@pytest.mark.parametrize("f", [free, lambda a, b: Pair()(a, b)])
def test_names_of_no_parameter_go_by_position(f: Any) -> None:
    a = attrib.input_x_gradient(f, {"target": U, "mirna": V})
    np.testing.assert_allclose(a.target, [[10, 10]])


def test_names_of_which_some_are_parameters() -> None:
    with pytest.raises(ValueError, match=r"`x` has the names \['rna'\], which are no parameters .*\(mirna, target, scale\), beside \['mirna'\]"):  # fmt: skip
        attrib.saliency(Pair(), {"mirna": U, "rna": V})


def test_what_names_inputs_by_their_place_means_the_callers_places() -> None:
    x = {"target": V, "mirna": U}
    a = attrib.integrated_gradients(Pair(), x, baselines=(V, 0 * U))
    np.testing.assert_allclose(a.target, [[0, 0]])
    np.testing.assert_allclose(a.mirna, [[10, 10]])
    a = attrib.integrated_gradients(Pair(), x, baselines={"mirna": 0.0, "target": V})
    np.testing.assert_allclose(a.mirna, [[10, 10]])
    a = attrib.feature_ablation(Pair(), x, only=0)
    assert a.mirna.isnull().all()
    np.testing.assert_allclose(a.target, [[3, 3]])
    a = attrib.feature_ablation(Pair(), x, groups=(torch.tensor([0, 0]), torch.tensor([0, 1])), only="target")
    np.testing.assert_allclose(a.target, [[6, 6]])
    noisy = {"stdevs": (0.0, 1.0), "n_samples": 8}  # at mirna alone
    for square, flat in (
        (lambda mirna, target: (mirna**2).sum(1), False),
        (lambda mirna, target: (target**2).sum(1), True),
    ):
        for method in (
            attrib.smooth_grad,
            partial(attrib.noise_tunnel, partial(attrib.saliency, absolute=False)),
        ):
            of_var = method(square, x, reduce="variance", **noisy)
            assert bool(((of_var.mirna + of_var.target) == 0).all()) is flat
    a = attrib.smooth_grad(square, x, reduce="variance", stdevs={"mirna": 0.0, "target": 1.0}, n_samples=8)
    assert float(a.target.min()) > 0
    model = lambda mirna, target: mirna[:, 0] * 10 + target[:, 1]
    parts = attrib.input_x_gradient(model, x)
    expected = attrib.deletion(model, x, parts, steps=4)
    np.testing.assert_array_equal(attrib.deletion(model, x, (parts.target, parts.mirna), steps=4), expected)
    off = attrib.infidelity(square, x, attrib.saliency(square, x, absolute=False), stdevs=(0.0, 1.0))
    assert off.item() == 0  # the score does not move where mirna alone does
    a = attrib.occlusion(Pair(), x, window=(2, 1))
    np.testing.assert_allclose(a.target, [[6, 6]])
    np.testing.assert_allclose(a.mirna, [[10, 10]])


def test_values_beside_inputs_that_go_by_name() -> None:
    f = lambda target=None, other=None, mirna=None, *, scale=1.0: Pair()(mirna, target, scale)
    x = {"mirna": U, "target": V}
    a = attrib.input_x_gradient(f, x, additional_forward_args={"scale": torch.tensor(2.0)})
    np.testing.assert_allclose(a.mirna, [[20, 20]])
    with pytest.raises(TypeError, match="pass a mapping of the values by their names"):
        attrib.input_x_gradient(f, x, additional_forward_args=(2.0,))
    a = attrib.input_x_gradient(Pair(), {"target": V, "mirna": U}, additional_forward_args=(2.0,))
    np.testing.assert_allclose(a.mirna, [[20, 20]])


def test_interaction_by_name() -> None:
    x = {"target": xr.DataArray(V, dims=("sample", "t")), "mirna": xr.DataArray(U, dims=("sample", "m"))}
    a = attrib.interaction(lambda mirna, target: mirna[:, 0] * target[:, 1] ** 2, x)
    np.testing.assert_allclose(a.sel(m=0, t=1).item(), 9, rtol=1e-5)


def test_parameters_that_nobody_can_tell() -> None:
    assert parameters(free) is None
    assert parameters(torch.relu) is None


@pytest.mark.parametrize("name", ["delta", "prediction", "target", "baseline", "n_steps", "standard_error"])
def test_dims_that_results_need(name: str) -> None:
    x = xr.DataArray(np.ones((2, 3)), dims=("sample", name))
    with pytest.raises(ValueError, match=rf"`x` has a dim called '{name}', a name that results need; rename it: x.rename\({name}="):  # fmt: skip
        attrib.saliency(lambda x: x.sum(1), x)
    with pytest.raises(ValueError, match=f"`x` has a dim called '{name}'"):
        attrib.saliency(lambda x: x.sum(1), x.rename({"sample": "gene", name: "sample"}).rename(sample=name), sample_dims=name)  # fmt: skip
    with pytest.raises(ValueError, match=f"`dims` has a dim called '{name}'"):
        attrib.saliency(lambda x: x.sum(1), x.values, dims=("sample", name))


def test_tensors_of_other_sizes_get_dims_of_their_own() -> None:
    x = {"b": torch.ones(2, 4), "a": torch.ones(2, 3, 5), "c": torch.ones(2, 3)}
    f = lambda a, b, c: a.sum((1, 2)) * 2 + b.sum(1) * 3 + c.sum(1)
    found = attrib.saliency(f, x)
    assert {name: v.dims for name, v in found.data_vars.items()} == {
        "b": ("sample", "dim_1"), "a": ("sample", "dim_1_a", "dim_2"), "c": ("sample", "dim_1_c"),
    }  # fmt: skip
    assert [float(found[name].values.flat[0]) for name in "abc"] == [2, 3, 1]
    with pytest.raises(ValueError, match=r"dim 'gene' has size 4 in one input and 3 in `x\['c'\]`"):
        attrib.saliency(f, x, dims={"b": ("sample", "gene"), "c": ("sample", "gene")})


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        ({"b": torch.ones(2, 3), "a": torch.ones(2, 3).long()}, {}, r"`x\['a'\]` is torch.int64"),
        ({"b": torch.ones(2, 3), "a": torch.ones(2, 3)}, {}, "cuts the gradient of input 'a':"),
        (
            {"b": torch.ones(2, 3), "a": torch.ones(2, 3)},
            {"baselines": {"a": 0.0, "b": torch.ones(3, 3)}},
            r"`baselines\['b'\]` has shape \(3, 3\).*pass baselines\['b'\]\.mean\(0\)",
        ),
    ],
)
def test_errors_name_inputs_as_the_caller_did(x: Any, options: dict, words: str) -> None:
    f = lambda a, b: a.detach().float().sum(1) + b.sum(1)
    with pytest.raises((TypeError, ValueError), match=words):
        attrib.integrated_gradients(f, x, **options)
    tuple_of = (x["a"], x["b"])
    if not options:
        with pytest.raises((TypeError, ValueError), match=r"`x\[0\]`|of input 0"):
            attrib.integrated_gradients(f, tuple_of)
