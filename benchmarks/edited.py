"""The networks whose inputs are edited one place at a time: sequences, an image, genes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attrib.functional import feature_ablation, in_silico_mutagenesis, occlusion


class BPNet(nn.Module):
    """Residual dilated convolutions, a profile head on a crop, a count head on its mean (Avsec et al. 2021)."""

    def __init__(self, channels: int = 64, layers: int = 8, width: int = 1000) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, channels, 21, padding=10)
        self.rest = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=2**k, dilation=2**k) for k in range(1, layers + 1)
        )
        self.profile, self.counts, self.width = (
            nn.Conv1d(channels, 2, 75, padding=37),
            nn.Linear(channels, 1),
            width,
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        for layer in self.rest:
            y = y + layer(y).relu()
        cut = (y.shape[2] - self.width) // 2
        profile = self.profile(y[:, :, cut - 37 : cut + self.width + 37])[:, :, 37:-37]
        return torch.cat([profile.flatten(1), self.counts(y[:, :, cut : cut + self.width].mean(2))], 1)


def basset() -> nn.Module:
    """Three convolutions with pools, three dense layers (Kelley et al. 2016), for 1,000 letters."""
    return nn.Sequential(
        nn.Conv1d(4, 300, 19, padding=9), nn.BatchNorm1d(300), nn.ReLU(), nn.MaxPool1d(3),
        nn.Conv1d(300, 200, 11, padding=5), nn.BatchNorm1d(200), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(200, 200, 7, padding=3), nn.BatchNorm1d(200), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(),
        nn.Linear(4000, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 164),
    )  # fmt: skip


def deepsea() -> nn.Module:
    """Three wide convolutions, one large dense layer (Zhou, Troyanskaya 2015)."""
    return nn.Sequential(
        nn.Conv1d(4, 320, 8), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(320, 480, 8), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(480, 960, 8), nn.ReLU(), nn.Flatten(), nn.Linear(960 * 53, 925), nn.ReLU(), nn.Linear(925, 919),
    )  # fmt: skip


def image() -> nn.Module:
    """Three convolutions over 64 x 64 pixels, a mean, a dense layer."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def genes() -> nn.Module:
    """A multilayer perceptron on 2,000 genes."""
    return nn.Sequential(nn.Linear(2000, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 54))


def profile_score(y: Tensor) -> Tensor:
    """One number from a profile and a count."""
    return y[:, :-1].logsumexp(1) + y[:, -1]


@dataclass(frozen=True)
class Edited:
    """A network and the edits of its input.

    Attributes
    ----------
    name : str
    build : callable
    shape : tuple of int
        One sample's.
    method : callable
        Of `attrib.functional`.
    options : dict
        Its options.
    edits : int
        Per sample.
    demand, limit : float
        The demanded gain over one forward pass per edit, and the gain by operation counts.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    method: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    edits: int = 3000
    demand: float = 1.0
    limit: float = 1.0

    @property
    def letters(self) -> bool:
        """Whether the input is a sequence."""
        return self.method is in_silico_mutagenesis

    def model(self) -> nn.Module:
        """The network, the same on every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().eval().requires_grad_(False)

    def samples(self, n: int) -> Tensor:
        """One-hot letters, or standard normal values."""
        generator = torch.Generator().manual_seed(1)
        if not self.letters:
            return torch.randn(n, *self.shape, generator=generator)
        at = torch.randint(4, (n, self.shape[1]), generator=generator)
        return nn.functional.one_hot(at, 4).float().transpose(1, 2).contiguous()


CASES = (
    Edited("Basset, L = 1000", basset, (4, 1000), in_silico_mutagenesis, {"target": 3}, 3000, 25, 35),
    Edited("DeepSEA, L = 1000", deepsea, (4, 1000), in_silico_mutagenesis, {"target": 3}, 3000, 11, 24),
    Edited(
        "BPNet, L = 2114", BPNet, (4, 2114), in_silico_mutagenesis, {"target": profile_score}, 6342, 10, 9
    ),
    Edited(
        "CNN 3 x 64 x 64, by pixel",
        image,
        (3, 64, 64),
        occlusion,
        {"target": 3, "window": (3, 1, 1)},
        4096,
        30,
        111,
    ),
    Edited(
        "CNN 3 x 64 x 64, by 8 x 8",
        image,
        (3, 64, 64),
        occlusion,
        {"target": 3, "window": (3, 8, 8)},
        3249,
        1,
        1,
    ),
    Edited("MLP, 2,000 genes", genes, (2000,), feature_ablation, {"target": 3}, 2000, 5, 9),
)
