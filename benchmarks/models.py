"""The networks that are timed: small enough for one core, built like the ones people explain.

Each builder gives a network in evaluation mode with seeded weights; batch norms are given statistics other than (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A network, the shapes of one sample's inputs, and how much of it to time.

    Attributes
    ----------
    name : str
        How tables call it.
    build : callable
        Gives the network.
    shapes : tuple
        One sample's inputs.
    classes : int
        Outputs.
    samples : int
        How many inputs are explained per timing on a CPU.
    smooth : bool
        Whether the network is smooth (GELU, SiLU), so that quadrature converges fast.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    classes: int
    samples: int
    smooth: bool = False

    def model(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The network, the same on every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = self.build().eval()
            for part in net.modules():
                if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_mean is not None:
                    nn.init.normal_(part.running_mean, std=0.1)
                    nn.init.uniform_(part.running_var, 0.8, 1.2)
        return net.to(device, dtype)

    def inputs(self, n: int, device: torch.device, dtype: torch.dtype, seed: int = 1) -> tuple[Tensor, ...]:
        """`n` standard normal samples."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(n, *s, generator=generator).to(device, dtype) for s in self.shapes)


def unit(
    i: int, o: int, k: int, act: type[nn.Module] = nn.ReLU, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), act())


class Inception(nn.Module):
    """1x1, 3x3, 5x5 and pooled branches side by side (Szegedy et al. 2015)."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        q = o // 4
        self.one, self.three = unit(i, q, 1), nn.Sequential(unit(i, q, 1), unit(q, q, 3))
        self.five = nn.Sequential(unit(i, q, 1), unit(q, q, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(i, q, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class TwoBranches(nn.Module):
    """Two single-channel images, an Inception tower each, joined by a dense layer."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.left, self.right = self._tower(), self._tower()
        self.head = nn.Sequential(nn.Linear(2 * 96, 64), nn.ReLU(), nn.Linear(64, classes))

    @staticmethod
    def _tower() -> nn.Sequential:
        return nn.Sequential(
            unit(1, 16, 5, stride=2), Inception(16, 32), nn.MaxPool2d(2), Inception(32, 64), nn.MaxPool2d(2),
            Inception(64, 96), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(a), self.right(b)], 1))


class MBConv(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection (Tan, Le 2021)."""

    def __init__(self, i: int, o: int, stride: int, fused: bool) -> None:
        super().__init__()
        wide = 4 * i
        self.skip = stride == 1 and i == o
        self.expand = (
            unit(i, wide, 3, nn.SiLU, stride=stride)
            if fused
            else nn.Sequential(
                unit(i, wide, 1, nn.SiLU), unit(wide, wide, 3, nn.SiLU, stride=stride, groups=wide)
            )
        )
        squeeze = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, i // 2, 1), nn.SiLU(), nn.Conv2d(i // 2, wide, 1)]
        self.gate = nn.Identity() if fused else nn.Sequential(*squeeze, nn.Sigmoid())
        self.fused = fused
        self.project = nn.Sequential(nn.Conv2d(wide, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        y = self.project(y if self.fused else y * self.gate(y))
        return x + y if self.skip else y


def efficientnet(classes: int = 10) -> nn.Module:
    """A short EfficientNetV2: fused blocks first, then MBConv with squeeze and excitation."""
    return nn.Sequential(
        unit(3, 16, 3, nn.SiLU, stride=2), MBConv(16, 16, 1, True), MBConv(16, 32, 2, True), MBConv(32, 32, 1, True),
        MBConv(32, 48, 2, False), MBConv(48, 48, 1, False), MBConv(48, 48, 1, False), unit(48, 160, 1, nn.SiLU),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, classes),
    )  # fmt: skip


class ConvNeXt(nn.Module):
    """Depthwise 7x7, layer norm, inverted bottleneck with GELU, channels last inside (Liu et al. 2022)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm, self.wide, self.narrow = nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.scale = nn.Parameter(torch.full((c,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(nn.functional.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext(classes: int = 10) -> nn.Module:
    """Patches of 4x4 and two stages of ConvNeXt blocks."""
    return nn.Sequential(
        nn.Conv2d(3, 48, 4, 4), ConvNeXt(48), ConvNeXt(48), nn.Conv2d(48, 96, 2, 2), ConvNeXt(96), ConvNeXt(96),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(96), nn.Linear(96, classes),
    )  # fmt: skip


def dna(classes: int = 12) -> nn.Module:
    """Convolutions over one-hot DNA of 1,000 letters, as in Basset (Kelley et al. 2016)."""
    return nn.Sequential(
        nn.Conv1d(4, 64, 19, padding=9), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(64, 64, 11, padding=5), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(64, 64, 7, padding=3), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(4),
        nn.Flatten(), nn.Linear(64 * 15, 128), nn.ReLU(), nn.Linear(128, classes),
    )  # fmt: skip


def mlp(genes: int, act: type[nn.Module] = nn.ReLU, classes: int = 54) -> nn.Module:
    """Gene expression to tissues."""
    return nn.Sequential(nn.Linear(genes, 512), act(), nn.Linear(512, 256), act(), nn.Linear(256, classes))


SMALL = (
    Case("ConvNeXt blocks 3x16x16", convnext, ((3, 16, 16),), 10, 2, smooth=True),
    Case("MLP 200 genes, GELU", lambda: mlp(200, nn.GELU), ((200,),), 54, 2, smooth=True),
)
CASES = (
    Case("two-branch Inception 2x1x64x64", TwoBranches, ((1, 64, 64), (1, 64, 64)), 10, 4),
    Case("EfficientNetV2-like 3x64x64", efficientnet, ((3, 64, 64),), 10, 4, smooth=True),
    Case("ConvNeXt blocks 3x64x64", convnext, ((3, 64, 64),), 10, 4, smooth=True),
    Case("DNA conv1d 4x1000", dna, ((4, 1000),), 12, 8),
    Case("MLP 2,000 genes", lambda: mlp(2000), ((2000,),), 54, 32),
    Case("MLP 20,000 genes", lambda: mlp(20000), ((20000,),), 54, 32),
    Case("MLP 2,000 genes, GELU", lambda: mlp(2000, nn.GELU), ((2000,),), 54, 32, smooth=True),
)
