"""Class activation maps against their formulas, what every method owes its callers, and what peers get wrong."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

import attrib
from attrib.functional import (
    METHODS,
    filters,
    grad_cam,
    guided_grad_cam,
    hires_cam,
    layer_activation,
    layer_cam,
    noise_tunnel,
    saliency,
)
from attrib.functional.cam import grad_cam_plus_plus
from attrib.functional.layer_maps import layer_maps
from attrib.testing import CONTRACT, untouched
from tests.cams import ChannelsLast, Transformer, convnet

MAPS = [m for m in METHODS.values() if m.about.result == "layer map"]
each_map = pytest.mark.parametrize("cam", MAPS, ids=lambda m: m.about.name)


def images(n: int = 4, size: tuple[int, ...] = (16, 16), seed: int = 0) -> Tensor:
    return torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def by_hand(name: str, a: Tensor, g: Tensor) -> Tensor:
    """One sample's map from its features and gradients (C, positions), channel by channel."""
    total = torch.zeros(a.shape[1], dtype=a.dtype)
    for f, d in zip(a, g, strict=True):
        if name == "grad_cam":
            total += d.sum() / len(d) * f
        elif name == "grad_cam_plus_plus":
            weight = 0.0
            for v in d:
                weight += (v**2 / (2 * v**2 + f.sum() * v**3 + 1e-6)) * max(v, 0.0)
            total += weight * f
        elif name == "layer_cam":
            total += d.clamp(min=0) * f
        else:
            total += d * f
    return total


@each_map
@pytest.mark.parametrize("layer", ["features.1", "features"])
def test_the_formula(cam: Any, layer: str) -> None:
    model, x = convnet().double(), images().double()
    found = cam(model, x, layer=layer, target=2, relu=False, upsample=False)
    a = model.features[:2](x) if layer == "features.1" else model.features(x)
    a = a.detach().requires_grad_()
    y = model.head(model.features[2:](a.clone()) if layer == "features.1" else a)
    g = torch.autograd.grad(y[:, 2].sum(), a)[0]
    for i in range(len(x)):
        expected = by_hand(cam.__name__, a[i].detach().flatten(1), g[i].flatten(1))
        assert torch.allclose(found[i].flatten(), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(cam(model, x, layer=layer, target=2, upsample=False), found.clamp(min=0))


@each_map
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_inputs_of_one_two_and_three_dims(cam: Any, dims: int) -> None:
    model, x = convnet(dims), images(2, (12, 16, 8)[:dims])
    coarse = cam(model, x, target=1, upsample=False)
    found = cam(model, x, target=1)
    assert coarse.shape == (2, *(3, 4, 2)[:dims])
    assert found.shape == (2, *x.shape[2:])
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dims]
    assert torch.allclose(found, F.interpolate(coarse[:, None], x.shape[2:], mode=mode)[:, 0])
    assert float(found.max()) > 0


@each_map
@pytest.mark.parametrize("model", [ChannelsLast().eval(), Transformer().eval()], ids=["last", "tokens"])
def test_layouts_are_put_in_image_form(cam: Any, model: nn.Module) -> None:
    """The same map from the layer as it is and from one that puts it in image form by hand."""
    layer = "blocks.1" if isinstance(model, ChannelsLast) else "blocks.1.norm1"

    def by_reshape(t: Tensor) -> Tensor:
        t = t if t.ndim == 4 else t[:, 1:].reshape(len(t), 4, 4, -1)
        return t.permute(0, 3, 1, 2)

    x = images()
    found = cam(model, x, layer=layer, target=1, relu=False)
    assert torch.equal(found, cam(model, x, layer=layer, target=1, relu=False, reshape=by_reshape))
    assert float(found.abs().max()) > 0


def test_a_layer_of_which_only_the_class_token_goes_on() -> None:
    with pytest.raises(ValueError, match=r"class token and on no position.*blocks\.1\.norm1 \(4 x 4\)"):
        grad_cam(Transformer().eval(), images(), layer="blocks.1", target=0)


@pytest.mark.parametrize("reshape", [lambda t: t.mean(1), lambda t: t[:1], lambda t: None])
def test_a_reshape_that_gives_no_image(reshape: Callable) -> None:
    with pytest.raises(ValueError, match="`reshape` made"):
        grad_cam(Transformer().eval(), images(), layer="blocks.1.norm1", target=0, reshape=reshape)


def test_a_complete_map() -> None:
    """Linear behind the layer: the map's sum is the score less its bias."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)).eval()
    x = images()
    for cam in (grad_cam, hires_cam):
        found = cam(model, x, layer="0", target=1, relu=False, upsample=False)
        assert torch.allclose(found.sum((1, 2)), (model(x)[:, 1] - model[3].bias[1]).detach(), atol=1e-5)


@each_map
def test_all_targets_from_one_forward(cam: Any) -> None:
    model, x, calls = convnet(classes=20), images(3), []
    counted = lambda t: (calls.append(len(t)), model(t))[1]
    together = cam.explain(counted, x, layer="features", targets="all", classes=[f"c{k}" for k in range(20)])
    assert calls == [2, 7, 3]  # the trial, the input moved, and the pass
    assert together.evaluations == 3
    assert together.target_labels[:2] == ["c0", "c1"]
    assert together.attribution.shape == (20, 3, 16, 16)
    for k in range(20):
        alone = cam.explain(model, x, layer="features", target=k)
        assert torch.allclose(together.attribution[k], alone.attribution, rtol=1e-4, atol=1e-7)
        assert torch.allclose(together.prediction[k], alone.prediction)
    mixed = cam(model, x, layer="features", targets=["predicted", [3, 4, 5], lambda y: y[:, 1] - y[:, 2]])
    assert mixed.shape == (3, 3, 16, 16)
    assert torch.allclose(mixed[1, 1], together.attribution[4, 1], rtol=1e-4, atol=1e-7)
    best = model(x).argmax(1)
    assert torch.allclose(mixed[0], together.attribution[best, torch.arange(3)], rtol=1e-4, atol=1e-7)


def test_several_maps_from_one_pass() -> None:
    model, x, calls = convnet(classes=4), images(5), []
    counted = lambda t: (calls.append(len(t)), model(t))[1]
    cams = [grad_cam, grad_cam_plus_plus, layer_cam]
    options = {"layer": ["features.3", "features"], "targets": [0, 3], "normalize": "minmax"}
    together = layer_maps([c.combine for c in cams], counted, x, batch_size=3, **options)
    assert calls == [2, 3, 3, 1, 3, 2]  # the trial, the input moved, and two chunks, for all three
    assert len(together) == 3
    for cam, found in zip(cams, together, strict=True):
        alone = cam.explain(model, x, **options)
        torch.testing.assert_close(found.attribution, alone.attribution, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.prediction, alone.prediction)
        assert found.target_labels == [0, 3]
        assert found.evaluations == 5


def test_targets_of_models_that_vmap_cannot_trace() -> None:
    class Doubles(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return 2 * g

    model, x = convnet(), images(2)
    doubled = lambda t: Doubles.apply(model(t))
    found = grad_cam(doubled, x, layer="features", targets="all")
    assert torch.allclose(
        found, 2 * grad_cam(model, x, layer="features", targets="all"), rtol=1e-4, atol=1e-7
    )


def test_several_layers() -> None:
    model, x = convnet(), images()
    names = ["features.1", "features.3", "features"]
    found = layer_cam.explain(model, x, layer=names, targets=[0, 1])
    assert found.attribution.shape == (2, 3, 4, 16, 16)
    assert found.layers == ("features.1", "features.3", "features")
    for k, name in enumerate(names):
        alone = layer_cam(model, x, layer=name, targets=[0, 1])
        assert torch.allclose(found.attribution[:, k], alone, rtol=1e-4, atol=1e-7)
    one = layer_cam(model, x, layer=["features"], target=0)
    assert torch.allclose(one[0], layer_cam(model, x, layer="features", target=0))
    with pytest.raises(ValueError, match=r"different sizes: features\.1 \(16, 16\), features \(4, 4\)"):
        layer_cam(model, x, layer=["features.1", "features"], target=0, upsample=False)
    with pytest.raises(ValueError, match="same layer twice"):
        layer_cam(model, x, layer=["features", model.features], target=0)
    with pytest.raises(ValueError, match="`layer` is empty"):
        layer_cam(model, x, layer=[], target=0)


@pytest.mark.parametrize(
    "check",
    [check for name, check in CONTRACT.items() if name not in ("by_name", "by_label")],
    ids=lambda c: c.__name__,
)
@pytest.mark.parametrize("options", [{"target": [0, 3, 1]}, {"targets": [2, [0, 1, 3]]}], ids=["one", "many"])
@each_map
def test_contract(cam: Any, options: dict, check: Any) -> None:
    def shaped_like_x(f: Any, x: Tensor, **more: Any) -> Tensor:
        found = cam(f, x, layer="features.3", normalize="minmax", **more)
        return found.unsqueeze(-3).expand(*found.shape[:-2], *x.shape[1:])

    check(shaped_like_x, convnet().double(), images(3).double(), tolerance=1e-7, **options)


@each_map
def test_by_label_and_by_name(cam: Any) -> None:
    """What two checks of the contract say of attributions that are shaped like the input."""
    model, x = convnet().double(), images(3).double()
    scale, target = torch.tensor([1.0, 2.0, 3.0]).double(), [0, 3, 1]

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor, scale: Tensor) -> Tensor:
            return self.model(image) * scale[:, None]

    names, turned = ["a", "b", "c"], ["c", "b", "a"]
    array = xr.DataArray(x.numpy(), dims=("sample", "channel", "y", "x"), coords={"sample": names})
    maps = getattr(attrib, cam.__name__)(
        Scaled().eval(),
        {"image": array},
        layer="model.features.3",
        target=pd.Series(target[::-1], index=turned),
        additional_forward_args={"scale": pd.Series(scale.tolist()[::-1], index=turned)},
    )
    beside = {"scale": scale}
    expected = cam(
        Scaled().eval(), x, layer="model.features.3", target=target, additional_forward_args=beside
    )
    maps = maps["image"] if isinstance(maps, xr.Dataset) else maps
    np.testing.assert_allclose(maps.transpose("sample", "y", "x"), expected, rtol=1e-6, atol=1e-12)


@each_map
def test_every_image_has_a_map_and_no_parameter_a_gradient(cam: Any) -> None:
    """pytorch-grad-cam: zero maps beyond the number of targets, gradients on every parameter."""
    model, x = convnet(), images(6)
    with untouched(model, x):
        found = cam(model, x, target=1, relu=False)
    assert all(bool(m.abs().max() > 0) for m in found)
    assert all(p.grad is None for p in model.parameters())


def test_normalisation_keeps_the_order() -> None:
    """MONAI's default normaliser inverts; and nothing is normalised unless asked."""
    model, x = convnet(), images()
    plain, scaled = (
        hires_cam(model, x, target=1, relu=False, upsample=False, normalize=n) for n in (None, "minmax")
    )
    assert torch.equal(plain.flatten(1).argsort(dim=1), scaled.flatten(1).argsort(dim=1))
    assert torch.allclose(scaled.amin((1, 2)), torch.zeros(4))
    assert torch.allclose(scaled.amax((1, 2)), torch.ones(4), atol=1e-3)
    doubled = hires_cam(lambda t: 2 * model(t), x, target=1, relu=False, upsample=False, layer="features")
    assert torch.allclose(doubled, 2 * plain, rtol=1e-5)


def to_unit(m: list[list[float]]) -> list[list[float]]:
    low = min(map(min, m))
    high = max(v - low for row in m for v in row)
    return [[(v - low) / (1e-7 + high) for v in row] for row in m]


def between_centres(m: list[list[float]], size: tuple[int, int]) -> list[list[float]]:
    """Each pixel's centre in positions of the map, linear between their centres, flat beyond the outer ones."""

    def at(k: int, n: int, cells: int) -> list[tuple[int, float]]:
        place = min(max((k + 0.5) * cells / n - 0.5, 0.0), cells - 1.0)
        low = min(int(place), max(cells - 2, 0))
        return [(low, 1 - (place - low)), (min(low + 1, cells - 1), place - low)]

    return [
        [sum(u * v * m[i][j] for i, u in at(r, size[0], len(m)) for j, v in at(c, size[1], len(m[0]))) for c in range(size[1])]
        for r in range(size[0])
    ]  # fmt: skip


@each_map
def test_minmax_is_before_and_after_resizing(cam: Any) -> None:
    """What pytorch-grad-cam documents: negative values dropped, to [0, 1], resized, to [0, 1]; number by number."""
    model, x = convnet().double(), images(3, (16, 24)).double()
    raw = cam(model, x, layer="features", target=2, relu=False, upsample=False)
    whole = cam(model, x, layer="features", target=2, normalize="minmax")
    coarse = cam(model, x, layer="features", target=2, normalize="minmax", upsample=False)
    for i in range(3):
        kept = to_unit([[max(v, 0.0) for v in row] for row in raw[i].tolist()])
        assert torch.allclose(coarse[i], torch.tensor(kept, dtype=x.dtype), rtol=1e-9, atol=1e-12)
        expected = to_unit(between_centres(kept, (16, 24)))
        assert torch.allclose(whole[i], torch.tensor(expected, dtype=x.dtype), rtol=1e-9, atol=1e-12)


def test_the_input_that_the_map_lies_on() -> None:
    left, right = convnet(seed=1), convnet(seed=2)
    a, b = images(2), images(2, (20, 28))
    both = lambda a, b: left(a) + right(b)
    found = grad_cam(both, (a, b), layer=right.features, onto=1, target=0)
    assert torch.allclose(found, grad_cam(right, b, layer="features", target=0), rtol=1e-5)
    for onto in (2, -1, "b", True):
        with pytest.raises(ValueError, match="`onto` is"):
            grad_cam(both, (a, b), layer=right.features, onto=onto, target=0)


def test_wrong_arguments() -> None:
    model, x = convnet(), images()
    with pytest.raises(ValueError, match="`normalize` is 'max'"):
        grad_cam(model, x, target=0, normalize="max")
    with pytest.raises(ValueError, match="`target` 9 is out of range"), untouched(model, x):
        grad_cam(model, x, target=9)
    with pytest.raises(ValueError, match="not deterministic row by row"):
        grad_cam(nn.Sequential(model, nn.Dropout()), x, target=0)
    with pytest.raises(TypeError, match="`layer` is a int"):
        grad_cam(model, x, target=0, layer=3)


def test_inputs_of_inference_mode() -> None:
    model = nn.Sequential(nn.Identity(), convnet())
    with torch.inference_mode():
        x = images()
        found = grad_cam(model, x, layer="0", target=0)
    assert torch.equal(found, grad_cam(model, images(), layer="0", target=0))


@pytest.mark.parametrize("options", [{"target": 1}, {"targets": "all"}])
def test_guided_grad_cam_is_a_product(options: dict) -> None:
    model, x = convnet(), images()
    fine = partial(saliency, absolute=False)
    found = guided_grad_cam(fine, model, x, **options)
    maps = grad_cam(model, x, **options)
    assert torch.allclose(found, fine(model, x, **options) * maps.unsqueeze(-3))
    assert found.shape[-4:] == x.shape
    with pytest.raises(ValueError, match="takes one"):
        guided_grad_cam(fine, lambda a, b: model(a + b), (x, x), **options)
    with pytest.raises(ValueError, match="takes one layer"):
        guided_grad_cam(fine, model, x, layer=["features"], **options)


@each_map
def test_a_noise_tunnel_takes_the_product_and_refuses_the_map(cam: Any) -> None:
    model, x = convnet(), images(2)
    with pytest.raises(
        ValueError, match=f"`method` is {cam.__name__}, whose maps .* such as guided_grad_cam"
    ):
        noise_tunnel(partial(cam, layer="features"), model, x, target=1)
    product = partial(guided_grad_cam, saliency, layer="features")
    still = noise_tunnel(product, model, x, target=1, n_samples=2, stdevs=0.0)
    assert torch.allclose(still, product(model, x, target=1), rtol=1e-5, atol=1e-8)


def test_activations_in_image_form() -> None:
    model, x = convnet(), images()
    assert torch.allclose(layer_activation(model, x), model.features(x), atol=1e-6)
    assert torch.allclose(layer_activation(model, x, batch_size=1), model.features(x), atol=1e-6)
    last = ChannelsLast().eval()
    h = last.blocks[0](last.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.allclose(layer_activation(last, x, layer="blocks.0"), h, atol=1e-6)
    assert torch.allclose(layer_activation(last, x, layer="head"), last(x), atol=1e-6)
    with untouched(model, x), pytest.raises(ValueError, match="layers with maps"):
        layer_activation(model, x, layer="features.9")


def test_filters_are_a_copy_of_the_weights() -> None:
    model = convnet()
    found = filters(model)
    assert torch.equal(found, model.features[0].weight)
    found.zero_()
    assert bool(model.features[0].weight.any())
    assert torch.equal(filters(model, model.features[2]), model.features[2].weight)
    alone = nn.Conv1d(2, 3, 5)
    assert torch.equal(filters(alone), alone.weight)
    with pytest.raises(ValueError, match=r"no convolution.*features\.0, features\.2, features\.4"):
        filters(model, "head")
    with pytest.raises(ValueError, match="its convolutions: none"):
        filters(nn.Linear(2, 2))


def test_scripted_modules_are_told() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2)
    ).eval()
    for layer in ("auto", "0"):
        with pytest.raises(ValueError, match="scripted program, which runs without hooks"):
            grad_cam(torch.jit.script(net), torch.rand(2, 1, 8, 8), layer=layer, target=0)
