"""Small models with feature maps in every layout: channels first, channels last, tokens with a class token."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Convnet(nn.Module):
    """Convolutions with activations in place, a mean, a linear head."""

    def __init__(self, classes: int = 4, dims: int = 2, channels: int = 3) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.features = nn.Sequential(
            conv(channels, 6, 3, 1, 1), nn.ReLU(inplace=True), conv(6, 8, 3, 2, 1), nn.ReLU(inplace=True),
            conv(8, 9, 3, 2, 1), nn.SiLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Sequential(
            {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims](1), nn.Flatten(),
            nn.Linear(9, 6), nn.GELU(), nn.Linear(6, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class LastBlock(nn.Module):
    """A block of ConvNeXt on maps (N, y, x, C)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(c, c, 3, padding=1, groups=c), nn.LayerNorm(c)
        self.wide, self.narrow = nn.Linear(c, 2 * c), nn.Linear(2 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.narrow(nn.functional.gelu(self.wide(self.norm(h))))


class ChannelsLast(nn.Module):
    """Patches of 4 x 4, blocks with channels last, the mean over positions."""

    def __init__(self, classes: int = 4, channels: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 4, 4)
        self.blocks = nn.ModuleList(LastBlock(channels) for _ in range(2))
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class TokenBlock(nn.Module):
    """Attention and a dense layer, norms before both."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.out, self.dense = nn.Linear(c, 3 * c), nn.Linear(c, c), nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(torch.softmax(q @ k.transpose(1, 2) / 3, -1) @ v)
        return x + torch.nn.functional.gelu(self.dense(self.norm2(x)))


class Transformer(nn.Module):
    """Patches of 4 x 4 and a class token in front; read from that token, or from the mean of the others."""

    def __init__(self, classes: int = 4, size: int = 16, c: int = 12, mean: bool = False) -> None:
        super().__init__()
        self.mean, self.patches = mean, nn.Conv2d(3, c, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, c))
        self.position = nn.Parameter(torch.randn(1, (size // 4) ** 2 + 1, c))
        self.blocks = nn.ModuleList(TokenBlock(c) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 1:].mean(1) if self.mean else x[:, 0])


def convnet(dims: int = 2, classes: int = 4, channels: int = 3, seed: int = 0) -> Convnet:
    """A convnet with weights of a seed, and lively biases."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Convnet(classes, dims, channels).eval()
        for p in net.parameters():
            nn.init.normal_(p, 0, 0.3 if p.ndim == 1 else 1.5 / p[0].numel() ** 0.5)
    return net
