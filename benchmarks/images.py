"""Image networks at their usual sizes: what DeepLIFT is timed on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import CASES, Case, unit


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut, activations in place (He et al. 2016)."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = unit(i, o, 3, stride=stride), nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.two(self.one(x))) + self.short(x), inplace=True)


def resnet18(classes: int = 1000) -> nn.Module:
    """ResNet-18."""
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]  # fmt: skip
    blocks = [Basic(*w) for w in widths]
    stem = [unit(3, 64, 7, stride=2), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class Block(nn.Module):
    """Pre-norm attention and a GELU MLP (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + self.out(y)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """ViT-Ti/16: 12 blocks, width 192, 3 heads."""

    def __init__(self, size: int = 224, width: int = 192, depth: int = 12, classes: int = 1000) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, (size // 16) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, 3) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.position
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def digits(classes: int = 10) -> nn.Module:
    """A small CNN, in modules, pools without overlap."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(16, 32, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, classes),
    )  # fmt: skip


def varied(net: nn.Module) -> nn.Module:
    """Weights whose outputs vary with the input as those of a trained network do; torch's shrink layer by layer."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return net


EFFICIENTNET, DNA = CASES[1], CASES[3]
LARGE = (
    Case("ResNet-18 3x224x224", lambda: varied(resnet18()), ((3, 224, 224),), 1000, 4),
    Case("EfficientNetV2-like 3x224x224", lambda: varied(EFFICIENTNET.build()), ((3, 224, 224),), 10, 8),
    Case("ViT-Ti/16 3x224x224", ViT, ((3, 224, 224),), 1000, 4),
)
SMALL = (
    Case("CNN 1x28x28", digits, ((1, 28, 28),), 10, 16),
    Case("CNN 1x28x28", digits, ((1, 28, 28),), 10, 64),
    Case("DNA conv1d 4x1000", DNA.build, DNA.shapes, 12, 16),
    Case("MLP 2,000 genes", CASES[4].build, CASES[4].shapes, 54, 64),
)
