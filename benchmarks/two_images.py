"""Two images of 64 pixels, where a network's passes are many small ops: `python -m benchmarks.two_images [--rounds 9] [--output FILE]`.

Needs timm. Each method is timed beside the network's own passes over the same rows, in turn: DeepLIFT beside one forward and backward pass of
inputs and baselines together, the others beside 50 rows a sample in chunks of 64. Grad-CAM, also of eight images of 224 pixels, is timed beside
captum, where it is installed: on the network as it was loaded, and on one whose parameters want no gradients.
"""

from __future__ import annotations

import argparse
import os
import platform
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import attrib
from attrib.functional import deep_lift, grad_cam, gradient_shap, integrated_gradients, smooth_grad
from benchmarks.bare import bare_passes, frozen
from benchmarks.images import varied
from benchmarks.peers import CAPTUM, gradient
from benchmarks.setting import Setting, alternate, ratio, table, verdict
from benchmarks.zoo_families import torchvision_without_ops

NETS = {
    "ResNet18": ("resnet18", "layer4", {}),
    "EfficientNet-B0": ("efficientnet_b0", "conv_head", {}),
    "ConvNeXt V2": ("convnextv2_atto", "stages.3", {}),
    "ViT-tiny": ("vit_tiny_patch16_224", None, {"img_size": 64}),
}
TARGET, DRAWS, CHUNK = 3, 50, 64


def main() -> None:
    """Print the machine and the tables, and write them to a file if there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_images", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds (default 9)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torchvision_without_ops()
    text = "\n".join([heading(), *tables(Setting(rounds=options.rounds))])
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


def heading() -> str:
    """Machine and versions."""
    import timm

    return (
        "# Two images of 64 pixels\n\n"
        f"attrib {attrib.__version__}, torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()}-core {platform.machine()} CPU, one thread; medians of ratios to what was timed in turn.\n"
    )


def tables(setting: Setting) -> list[str]:
    """DeepLIFT, methods of many rows, and Grad-CAM."""
    import timm

    lift, paths, cams = [], [], []
    for name, (timm_name, layer, options) in NETS.items():
        torch.manual_seed(0)
        net = with_biases(varied(timm.create_model(timm_name, num_classes=10, **options))).eval()
        x = torch.randn(2, 3, 64, 64)
        lift.append([name, *deep_lift_row(net, x, setting)])
        paths += [[name, *row] for row in path_rows(net, x, setting)]
        if layer is not None and CAPTUM:
            for images in (x, torch.randn(8, 3, 224, 224)):
                cams.append(
                    [name, f"{len(images)} of {images.shape[-1]}", *cam_row(net, images, layer, setting)]
                )
    heads = ["network", "first call", "demand", "prepared", "demand"]
    return [
        table("DeepLIFT", "In ratio to one forward and backward pass of four rows.", heads, lift),
        table(
            "Many rows", f"In ratio to the passes of {DRAWS} rows an image.",
            ["network", "method", "ratio", "demand", "prepared", "demand"], paths,
        ),
        table(
            "Grad-CAM",
            "In ratio to captum's LayerGradCam, interpolated to the image; its parameters frozen for the limit, the network's forward pass alone.",
            ["network", "images", "first call", "demand", "prepared", "demand", "prepared / frozen", "limit / frozen"], cams,
        ),
    ]  # fmt: skip


def with_biases(net: nn.Module) -> nn.Module:
    """Biases of trained size: with none, each norm sees a constant at a baseline of zeros, and DeepLIFT goes on in double precision."""
    for name, weight in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight, std=0.1)
    return net


def deep_lift_row(net: nn.Module, x: Tensor, setting: Setting) -> list[str]:
    """DeepLIFT of two images against zeros."""
    both, bare, prepared = torch.cat([x, torch.zeros_like(x)]), frozen(net), attrib.prepare(net)
    return ratios(
        {
            "bare": lambda: gradient(bare, (both,), TARGET),
            "first": lambda: deep_lift(net, x, target=TARGET),
            "prepared": lambda: deep_lift(prepared, x, target=TARGET),
        },
        setting,
        {"first": 2.0, "prepared": 1.3},
    )


def path_rows(net: nn.Module, x: Tensor, setting: Setting) -> list[list[str]]:
    """Integrated gradients, SmoothGrad and GradientSHAP."""
    calls = {
        "integrated gradients": (partial(integrated_gradients, n_steps=DRAWS), 1.08),
        "SmoothGrad": (partial(smooth_grad, n_samples=DRAWS), 1.08),
        "GradientSHAP": (
            partial(gradient_shap, n_samples=DRAWS, baselines=torch.zeros(1, *x.shape[1:])),
            1.15,
        ),
    }
    prepared = attrib.prepare(net)
    rows = []
    for name, (method, demand) in calls.items():
        works = {
            "bare": bare_passes(net, (x,), DRAWS * len(x), CHUNK, TARGET),
            "first": partial(method, net, x, target=TARGET, batch_size=CHUNK),
            "prepared": partial(method, prepared, x, target=TARGET, batch_size=CHUNK),
        }
        rows.append([name, *ratios(works, setting, {"first": demand, "prepared": demand})])
    return rows


def cam_row(net: nn.Module, x: Tensor, layer: str, setting: Setting) -> list[str]:
    """Grad-CAM of some images; the answers are compared before anything is timed."""
    from captum.attr import LayerAttribution, LayerGradCam

    bare, prepared = frozen(net), attrib.prepare(net)

    def captum(model: nn.Module) -> Tensor:
        maps = LayerGradCam(model, model.get_submodule(layer)).attribute(x, TARGET, relu_attributions=True)
        return LayerAttribution.interpolate(maps, x.shape[2:], interpolate_mode="bilinear")

    ours = grad_cam(net, x, target=TARGET, layer=layer)
    torch.testing.assert_close(F.interpolate(ours[:, None], x.shape[2:]), captum(net), rtol=1e-3, atol=1e-5)
    times = alternate(
        {
            "bare": partial(captum, net),
            "frozen": partial(captum, bare),
            "limit": torch.no_grad()(partial(bare, x)),
            "first": partial(grad_cam, net, x, target=TARGET, layer=layer),
            "prepared": partial(grad_cam, prepared, x, target=TARGET, layer=layer),
        },
        setting,
    )
    of_frozen = [f"{ratio(times, name, 'frozen'):.2f}" for name in ("prepared", "limit")]
    return [*judged(times, {"first": 0.9, "prepared": 0.9}), *of_frozen]


def ratios(works: dict[str, Callable[[], object]], setting: Setting, demands: dict[str, float]) -> list[str]:
    """Each piece of work timed in turn, to the bare passes: the median ratio, and whether the demand is met."""
    return judged(alternate(works, setting), demands)


def judged(times: dict[str, list[float]], demands: dict[str, float]) -> list[str]:
    """Ratios to the bare passes, and whether the demands are met."""
    cells = []
    for name, demand in demands.items():
        of_bare = ratio(times, name, "bare")
        cells += [f"{of_bare:.2f}", verdict(of_bare, demand)]
    return cells


if __name__ == "__main__":
    main()
