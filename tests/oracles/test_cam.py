"""Class activation maps against pytorch-grad-cam (`pip install grad-cam`), beside a stand-in for the torchvision it imports."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import METHODS
from tests.cams import ChannelsLast, Transformer, convnet


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, imported beside an empty torchvision where there is none."""
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in (
            "torchvision",
            "torchvision.ops",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            stub = ModuleType(name)
            stub.Compose = stub.Normalize = stub.ToTensor = stub.resize = None  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, name, stub)
    return pytest.importorskip("pytorch_grad_cam")


PEERS = {
    "grad_cam": "GradCAM", "grad_cam_plus_plus": "GradCAMPlusPlus", "layer_cam": "LayerCAM", "hires_cam": "HiResCAM",
}  # fmt: skip


def last(t: Tensor) -> Tensor:
    return t.permute(0, 3, 1, 2)


def tokens(t: Tensor) -> Tensor:
    return t[:, 1:].reshape(len(t), 4, 4, -1).permute(0, 3, 1, 2)


MODELS: dict[str, tuple[nn.Module, str, Any]] = {
    "convnet": (convnet(), "features", None),
    "middle": (
        convnet(),
        "features.3",
        None,
    ),  # not features.2: the peer sees what the activation in place writes there
    "channels last": (ChannelsLast().eval(), "blocks.0", last),
    "transformer": (Transformer().eval(), "blocks.1.norm1", tokens),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", PEERS)
def test_the_peers_numbers(peer: Any, name: str, kind: str) -> None:
    model, layer, reshape = MODELS[kind]
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    classes = [1, 0, 3, 2, 1]
    targets = [peer.utils.model_targets.ClassifierOutputTarget(c) for c in classes]
    with getattr(peer, PEERS[name])(model, [model.get_submodule(layer)], reshape_transform=reshape) as cam:
        whole = cam(x, targets)
        a, g = (
            t[0].numpy() for t in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        maps = cam.get_cam_image(x, model.get_submodule(layer), targets, a, g, False)
        scaled = peer.utils.image.scale_cam_image(maps.clip(0), None)
    model.zero_grad(set_to_none=True)
    ours = {
        "raw": METHODS[name](model, x, layer=layer, target=classes, relu=False, upsample=False),
        "scaled": METHODS[name](model, x, layer=layer, target=classes, upsample=False, normalize="minmax"),
        "whole": METHODS[name](model, x, layer=layer, target=classes, normalize="minmax"),
    }
    assert abs(ours["raw"].numpy() - maps).max() < 1e-6 * max(1.0, abs(maps).max())
    assert abs(ours["scaled"].numpy() - scaled).max() < 1e-5  # divided by ranges of 1e-3 and less
    assert abs(ours["whole"].numpy() - whole).max() < 1e-4


def test_captums_layer_grad_cam() -> None:
    attr = pytest.importorskip("captum.attr")
    model = convnet()
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    expected = attr.LayerGradCam(model, model.features).attribute(x, target=2)[:, 0]
    found = METHODS["grad_cam"](model, x, layer="features", target=2, relu=False, upsample=False)
    assert torch.allclose(found, expected, atol=1e-6)
