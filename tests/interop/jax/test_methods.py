"""The same network in torch and in JAX, with the same weights, has the same attributions, whatever the method."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import attrib
from attrib.functional import METHODS
from attrib.testing import Specimen, specimen
from tests.cases import CASES, Case, each

jax = pytest.importorskip("jax")

from tests.interop.jaxzoo import enable_x64  # noqa: E402
from tests.interop.networks import WRITTEN, arrays, in_jax, weights  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


@functools.cache
def pair(kind: str, dtype: torch.dtype) -> tuple[Specimen, Any]:
    """A specimen and its network in JAX, compiled once for all methods."""
    s = specimen(kind, seed=3, dtype=dtype, baselines="one")
    with enable_x64(dtype is torch.float64):
        return s, attrib.from_jax(*in_jax(s))


def kind_for(case: Case) -> str:
    """Each method on another network."""
    kinds = [k for k in WRITTEN if k in case.kinds]
    return kinds[sum(map(ord, case.name)) % len(kinds)]


def agree(found: Any, expected: Any, tolerance: float) -> None:
    for a, b in zip(each(found), each(expected), strict=True):
        assert a.shape == b.shape
        assert torch.equal(a.isnan(), b.isnan())
        assert float((a - b).nan_to_num().abs().max()) <= tolerance * float(b.nan_to_num().abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_attributions_are_those_of_the_torch_network(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    s, model = pair(kind_for(case), dtype)
    options = {"target": s.target, **case.baselines(s)}
    with enable_x64(dtype is torch.float64):
        found = case.explain()(model, s.x, **options)
    expected = case.explain()(s.f, s.x, **options)
    agree(found.attribution, expected.attribution, TOLERANCE[dtype])
    agree(found.prediction, expected.prediction, TOLERANCE[dtype])
    if expected.delta is not None:
        scale = max(1.0, float(expected.prediction.abs().max()))
        assert float((found.delta - expected.delta).abs().max()) <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize("engine", ["func", "autograd"])
@pytest.mark.parametrize("name", ["saliency-signed", "integrated_gradients", "gradient_shap"])
def test_many_targets_by_both_engines(name: str, engine: str) -> None:
    case = CASES[name]
    s, model = pair("mlp", torch.float32)
    options = {"targets": "all", "engine": engine, **case.baselines(s)}
    agree(case.bound()(model, s.x, **options), case.bound()(s.f, s.x, **options), 1e-5)


def test_forward_mode_where_there_are_fewer_inputs() -> None:
    few = attrib.from_jax(lambda x: jax.numpy.concatenate([jax.numpy.sin(x * k) for k in range(1, 6)], 1))
    x = torch.randn(3, 2)
    found = attrib.functional.integrated_gradients.explain(few, x, targets="all", n_steps=3)
    by_func = attrib.functional.integrated_gradients(few, x, targets="all", n_steps=3, engine="func")
    assert found.engine == "forward"
    agree(found.attribution, by_func, 1e-5)


def test_labels_and_arrays_of_jax() -> None:
    s, model = pair("mlp", torch.float32)
    x = arrays(s.x)
    a = attrib.integrated_gradients(model, x, target="b", classes=["a", "b", "c"], n_steps=5)
    expected = attrib.functional.integrated_gradients(s.f, s.x, target=1, n_steps=5)
    agree(torch.from_numpy(a.values), expected, 1e-5)
    assert a.dims == ("sample", "dim_1")
    assert x.tolist() == arrays(s.x).tolist()


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.about.result == "layer map"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_at_an_activation_that_the_user_exposes(name: str, channels_last: bool) -> None:
    """The model in two parts, each a module; against the torch network in one."""
    s, _ = pair("cnn", torch.float32)
    p = weights(s.f)
    first, last = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
    numbers = first if channels_last else last
    spatial, channel = ((1, 2), (1,) * 3) if channels_last else ((2, 3), (1, -1, 1, 1))

    def prefix(p: Any, x: Any) -> Any:
        w = p["0.weight"].transpose(2, 3, 1, 0) if channels_last else p["0.weight"]
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)
        return jax.nn.relu(y + (p["0.bias"] if channels_last else p["0.bias"].reshape(channel)))

    def suffix(p: Any, a: Any) -> Any:
        return jax.numpy.tanh(a).mean(spatial) @ p

    head = jax.numpy.array([[1.0, -2.0], [0.5, 1.0], [-1.0, 0.25]])
    parts = [attrib.from_jax(f, q, channels_last=channels_last) for f, q in ((prefix, p), (suffix, head))]
    convolution = torch.nn.Sequential(s.f[0], torch.nn.ReLU())  # type: ignore[index]

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = convolution

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(x).tanh().mean((2, 3)) @ torch.tensor(head.tolist())

    found = METHODS[name](torch.nn.Sequential(*parts).eval(), s.x, layer="0", target=1, relu=False)
    agree(found, METHODS[name](Whole().eval(), s.x, layer="features", target=1, relu=False), 1e-5)


def test_a_map_of_a_jax_function_says_how_to_get_one() -> None:
    model = attrib.from_jax(lambda x: x.mean((1, 2)))
    with pytest.raises(ValueError, match=r"torch sees no layers in a function of JAX.*torch\.nn\.Sequential"):
        attrib.grad_cam(model, torch.ones(2, 4, 4))
