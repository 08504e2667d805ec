"""Five small networks of kinds that people explain, on data in which it is known what says the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from tests.planted import planted, trained

VOLUMES = 20


@dataclass(frozen=True)
class Problem:
    """A trained network, samples, and where the answer lies.

    `truth` is True at the positions that say the answer, over the samples and the `positions`; `target` is one per sample;
    `pool` are samples that stand for no answer in particular; `options` are those of methods for this input.
    """

    name: str
    model: nn.Module
    x: xr.DataArray
    truth: xr.DataArray
    positions: tuple[str, ...]
    target: list[int]
    pool: xr.DataArray
    accuracy: float
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


def fit(
    model: nn.Module, x: Tensor, y: Tensor, loss: Callable[..., Tensor], epochs: int, rate: float = 3e-3
) -> nn.Module:
    """Train a network, from a generator of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in model.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        steps = torch.optim.Adam(model.train().parameters(), lr=rate)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                error = loss(model(x[rows]), y[rows])
                steps.zero_grad()
                error.backward()
                steps.step()
    return model.eval()


def right(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def images(n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, np.ndarray]:
    """Noise with a cross or a ring of 5 x 5 pixels somewhere: images, which of the two, and its pixels."""
    cross, ring = np.zeros((2, 5, 5), bool)
    cross[2], cross[:, 2] = True, True
    ring[[0, -1]], ring[:, [0, -1]] = True, True
    x, y = 0.3 * rng.normal(size=(n, 1, 16, 16)), rng.integers(0, 2, n)
    mask = np.zeros((n, 16, 16), bool)
    for k, (i, j) in enumerate(rng.integers(0, 12, (n, 2))):
        mask[k, i : i + 5, j : j + 5] = (cross, ring)[y[k]]
    return torch.from_numpy(x + mask[:, None]).float(), torch.from_numpy(y), mask


def cnn(samples: int) -> Problem:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1),
        nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip
    x, y, _ = images(1500, rng)
    model = fit(model, x, y, nn.functional.cross_entropy, 10)
    x, y, mask = images(samples, rng)
    blocks = xr.DataArray(np.add.outer(4 * (np.arange(16) // 4), np.arange(16) // 4), dims=("y", "x"))
    noise = 0.3 * rng.normal(size=(20, 1, 16, 16))
    dims = ("sample", "channel", "y", "x")
    return Problem(
        "ReLU CNN, a shape in noise", model, xr.DataArray(x.numpy(), dims=dims),
        xr.DataArray(mask, dims=("sample", "y", "x")), ("y", "x"), y.tolist(),
        xr.DataArray(noise.astype(np.float32), dims=("baseline", *dims[1:])), right(model, x, y),
        {"occlusion": {"window": {"y": 3, "x": 3}}, "shapley_values": {"groups": blocks}},
    )  # fmt: skip


class Attention(nn.Module):
    """One layer of attention over positions, the mean, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(1))


def transformer(samples: int) -> Problem:
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(2, 8))

    def drawn(n: int) -> tuple[Tensor, Tensor, np.ndarray]:
        x, y, at = rng.normal(size=(n, 12, 8)), rng.integers(0, 2, n), rng.integers(0, 12, n)
        x[np.arange(n), at] = 1.5 * keys[y] + 0.3 * rng.normal(size=(n, 8))
        return torch.from_numpy(x).float(), torch.from_numpy(y), at[:, None] == np.arange(12)

    x, y, _ = drawn(2000)
    model = fit(Attention(), x, y, nn.functional.cross_entropy, 15)
    x, y, mask = drawn(samples)
    dims = ("sample", "token", "feature")
    tokens = xr.DataArray(np.arange(12), dims="token")
    return Problem(
        "transformer, a word among 12", model, xr.DataArray(x.numpy(), dims=dims),
        xr.DataArray(mask, dims=("sample", "token")), ("token",), y.tolist(),
        xr.DataArray(rng.normal(size=(20, 12, 8)).astype(np.float32), dims=("baseline", *dims[1:])), right(model, x, y),
        {"occlusion": {"window": {"token": 1}}, "shapley_values": {"groups": tokens}},
    )  # fmt: skip


def genes(samples: int) -> Problem:
    rng = np.random.default_rng(2)
    pathway = np.repeat(np.arange(10), 6)

    def drawn(n: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """Three classes by which two of four pathways are up."""
        x, y = rng.normal(size=(n, 60)), rng.integers(0, 3, n)
        up = np.array([[2, 5], [2, 7], [5, 7]])[y]
        mask = (pathway[None, None] == up[:, :, None]).any(1)
        return torch.from_numpy(x + 1.2 * mask).float(), torch.from_numpy(y), mask

    x, y, _ = drawn(2000)
    model = nn.Sequential(nn.Linear(60, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    model = fit(model, x, y, nn.functional.cross_entropy, 8, 1e-3)
    x, y, mask = drawn(samples)
    coords = {"pathway": ("gene", [f"p{p}" for p in pathway])}
    return Problem(
        "gene MLP, 2 of 10 pathways", model, xr.DataArray(x.numpy(), dims=("sample", "gene"), coords=coords),
        xr.DataArray(mask, dims=("sample", "gene")), ("gene",), y.tolist(),
        xr.DataArray(rng.normal(size=(20, 60)).astype(np.float32), dims=("baseline", "gene")), right(model, x, y),
        {"occlusion": {"window": {"gene": 1}}, "shapley_values": {"groups": "pathway"}},
    )  # fmt: skip


def motifs(samples: int) -> Problem:
    model, data = trained(), planted(4 * samples, 7)
    rows = np.flatnonzero(data.labels.any(1))[:samples]
    codes, sites = data.codes[rows], data.sites[rows]
    target = data.labels[rows].argmax(1)
    dims = ("sample", "nucleotide", "position")
    one_hot = np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1)
    other = np.eye(4, dtype=np.float32)[np.random.default_rng(3).integers(4, size=(20, 80))].transpose(
        0, 2, 1
    )
    x = torch.from_numpy(one_hot.copy())
    with torch.no_grad():
        share = float(((model(x) > 0).numpy() == data.labels[rows]).mean())
    blocks = xr.DataArray(np.arange(80) // 5, dims="position")
    return Problem(
        "DNA convnet, a planted motif", model, xr.DataArray(one_hot, dims=dims, coords={"nucleotide": list("ACGT")}),
        xr.DataArray(sites[np.arange(len(rows)), :, target], dims=("sample", "position")), ("position",), target.tolist(),
        xr.DataArray(other, dims=("baseline", *dims[1:])), share,
        {"occlusion": {"window": {"position": 5}}, "shapley_values": {"groups": blocks}},
    )  # fmt: skip


def volume(samples: int) -> Problem:
    rng = np.random.default_rng(4)
    grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"))
    tissue = np.exp(-((grid - 7.5) ** 2).sum(0) / 60)

    def drawn(n: int) -> tuple[Tensor, Tensor, np.ndarray]:
        """A head of smooth tissue, with a bright lesion of radius 2 in half of them."""
        y, centre = rng.integers(0, 2, n), rng.integers(4, 12, (n, 3))
        mask = ((grid[None] - centre[:, :, None, None, None]) ** 2).sum(1) <= 4
        mask &= y.astype(bool)[:, None, None, None]
        x = tissue + 0.15 * rng.normal(size=(n, 16, 16, 16)) + 0.6 * mask
        return torch.from_numpy(x[:, None]).float(), torch.from_numpy(y), mask

    model = nn.Sequential(
        nn.Conv3d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(12, 2),
    )  # fmt: skip
    x, y, _ = drawn(400)
    model = fit(model, x, y, nn.functional.cross_entropy, 8)
    x, y, mask = drawn(3 * samples)
    accuracy, ill = right(model, x, y), y.numpy().astype(bool).nonzero()[0][: min(samples, VOLUMES)]
    healthy = tissue + 0.15 * rng.normal(size=(20, 1, 16, 16, 16))
    dims = ("sample", "channel", "z", "y", "x")
    quarters = np.arange(16) // 4
    blocks = 16 * quarters[:, None, None] + 4 * quarters[:, None] + quarters
    return Problem(
        "3-D CNN, a lesion in a phantom", model, xr.DataArray(x.numpy()[ill], dims=dims),
        xr.DataArray(mask[ill], dims=("sample", "z", "y", "x")), ("z", "y", "x"), [1] * len(ill),
        xr.DataArray(healthy.astype(np.float32), dims=("baseline", *dims[1:])), accuracy,
        {"occlusion": {"window": {"z": 4, "y": 4, "x": 4}, "stride": {"z": 2, "y": 2, "x": 2}},
         "shapley_values": {"groups": xr.DataArray(blocks, dims=("z", "y", "x")), "n_permutations": 8}},
    )  # fmt: skip


PROBLEMS = (cnn, transformer, genes, motifs, volume)
