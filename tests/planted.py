"""A small network trained on sequences with planted motifs, and the sequences."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tests.jaspar import drawn, matrices

LENGTH = 80
PLANTED = ("MA0139.1", "MA0046.1")  # the two outputs: is CTCF there, is HNF1A there


class Planted(NamedTuple):
    """Codes (n, LENGTH), labels (n, 2), and where each motif lies (n, LENGTH, 2)."""

    codes: np.ndarray
    labels: np.ndarray
    sites: np.ndarray


def planted(n: int, seed: int) -> Planted:
    """Random sequences; each motif is in half of them, one in either half of the sequence."""
    rng = np.random.default_rng(seed)
    own = matrices()
    codes = rng.integers(4, size=(n, LENGTH))
    labels = rng.random((n, 2)) < 0.5
    sites = np.zeros((n, LENGTH, 2), bool)
    order = rng.random(n) < 0.5
    for k, name in enumerate(PLANTED):
        letters = drawn(own[name], n, rng)
        width = letters.shape[1]
        half = np.where(order ^ bool(k), 0, LENGTH // 2)
        start = half + rng.integers(0, LENGTH // 2 - width, size=n)
        at = start[:, None] + np.arange(width)
        rows = np.flatnonzero(labels[:, k])
        codes[rows[:, None], at[rows]] = letters[rows]
        sites[rows[:, None], at[rows], k] = True
    return Planted(codes, labels, sites)


def network() -> nn.Module:
    """Two convolutions with a function for ReLU that is used twice, and the strongest place."""
    return Net().eval()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, 16, 15, padding=7)
        self.mix = nn.Conv1d(16, 16, 1)
        self.relu = nn.ReLU()
        self.out = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.relu(self.motifs(x))
        h = self.relu(self.mix(nn.functional.max_pool1d(h, 4)))
        return self.out(h.amax(2))


@functools.cache
def trained(seed: int = 0) -> nn.Module:
    """The network after some seconds of training."""
    data = planted(3000, seed)
    x = torch.eye(4)[torch.from_numpy(data.codes)].transpose(1, 2).contiguous()
    y = torch.from_numpy(data.labels).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network().train()
        steps = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
        for _ in range(8):
            for rows in torch.randperm(len(x)).split(64):
                loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
                steps.zero_grad()
                loss.backward()
                steps.step()
    return model.eval()


def accuracy(model: nn.Module, data: Planted) -> float:
    """Share of right answers."""
    x = torch.eye(4)[torch.from_numpy(data.codes)].transpose(1, 2).contiguous()
    with torch.no_grad():
        return float(((model(x) > 0).numpy() == data.labels).mean())


def fasta(data: Planted) -> str:
    """The sequences as FASTA: s0, s1, ..."""
    rows = ("".join("ACGT"[c] for c in line) for line in data.codes)
    return "".join(f">s{k}\n{row}\n" for k, row in enumerate(rows))
