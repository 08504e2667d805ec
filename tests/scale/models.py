"""Models and data of the tests of cohorts, which run in several processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

GENES, TISSUES = 6, ("liver", "lung", "skin")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(GENES, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


def other() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(GENES, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


class Slow(nn.Module):
    """Gives a test the time to kill its process."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("ATTRIB_TEST_SLEEP", "0.02")))
        return self.net(x)


class Picky(nn.Module):
    """Raises for samples whose first gene is over 100."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        if (x[:, 0] > 100).any():
            raise RuntimeError("too much of the first gene")
        return self.net(x)


class Deadly(nn.Module):
    """Kills the first process that gets a sample whose first gene is over 100; the file remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        file = Path(os.environ["ATTRIB_TEST_DEATH"])
        if (x[:, 0] > 100).any() and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)


class Masked(nn.Module):
    """Two inputs, a mask and a number that nobody explains."""

    def forward(self, a: Tensor, b: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
        return ((a * mask).pow(2).sum(1) + b.pow(3).sum(1)) * scale


def expression(n: int = 53, **coords: Any) -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(size=(n, GENES)).astype("float32"),
        dims=("sample", "gene"),
        coords={
            "sample": [f"s{i}" for i in range(n)],
            "gene": list("abcdef")[:GENES],
            "tissue": ("sample", rng.choice(TISSUES, n)),
            **coords,
        },
        name="rna",
    )
