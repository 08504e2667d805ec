"""What a call costs beyond the passes, where the passes take next to nothing."""

from __future__ import annotations

import statistics

import torch
from torch import nn

from attrib.functional import saliency
from benchmarks.bare import frozen
from benchmarks.models import mlp
from benchmarks.peers import CAPTUM, captum_all_classes, gradient
from benchmarks.setting import Setting, alternate, check, difference, table


def digits() -> nn.Module:
    """A small CNN for 8x8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def run(setting: Setting) -> str:
    """The table of microseconds per call."""
    lines = []
    for name, build, shape in (
        ("CNN 1x8x8", digits, (1, 8, 8)),
        ("MLP 2,000 genes", lambda: mlp(2000), (2000,)),
    ):
        torch.manual_seed(0)
        model = build().eval().to(setting.device, setting.dtype)
        x, net = torch.randn(1, *shape).to(setting.device, setting.dtype), frozen(model)
        works = {
            "bare": lambda net=net, x=x: [gradient(net, (x,), 3) for _ in range(50)],
            "attrib": lambda model=model, x=x: [
                saliency(model, x, target=3, absolute=False) for _ in range(50)
            ],
        }
        if CAPTUM:
            works["captum"] = lambda net=net, x=x: [captum_all_classes(net, (x,), 1) for _ in range(50)]
        check(
            f"saliency of {name}",
            difference(saliency(model, x, target=3, absolute=False), gradient(net, (x,), 3)[0]),
            1e-5,
        )
        times = alternate(works, setting)
        micro = {k: statistics.median(v) / 50 * 1e6 for k, v in times.items()}
        lines.append(
            [name, *(f"{micro[k]:.0f}" if k in micro else "-" for k in ("bare", "attrib", "captum"))]
        )
    words = "Saliency of one sample, microseconds per call: checks of model, inputs and result included."
    return table("Overhead", words, ["network", "bare pass", "attrib", "captum"], lines)
