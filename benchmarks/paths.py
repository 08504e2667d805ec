"""Whether `path="auto"` picks the faster path of edits: `python -m benchmarks.paths [--rounds 3] [--out FILE]`.

Small and large networks, those that windows suit and those that they do not; one thread, processor time, both paths in
turn. The gain by count leaves out recording and checking, the measured one has everything in it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.functional import feature_ablation, in_silico_mutagenesis, occlusion
from benchmarks.edited import BPNet, basset, genes, image
from benchmarks.mutagenesis import alternate
from benchmarks.setting import table

CLOSE = 1.15  # a slower path by less than this is no wrong pick


class Pick(NamedTuple):
    """A network, and edits of its input."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    method: Callable[..., Any] = in_silico_mutagenesis
    options: Mapping[str, Any] = MappingProxyType({})


class Mean(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return y.flatten(2).mean(2)


class Largest(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return y.flatten(2).amax(2)


class Excited(nn.Module):
    """A value times a function of its mean over all positions."""

    def forward(self, y: Tensor) -> Tensor:
        return y * y.mean(2, keepdim=True).sigmoid()


class Attention(nn.Module):
    """A convolution, then two transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 32, 9, padding=4)
        self.rest = nn.ModuleList(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).transpose(1, 2)
        for layer in self.rest:
            y = layer(y)
        return y.mean(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = nn.Conv1d(4, 16, 9, padding=4), nn.LSTM(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x).transpose(1, 2))[0][:, -1]


def plain(channels: int, width: int = 9, depth: int = 2, end: type[nn.Module] = Mean) -> nn.Module:
    """Convolutions of one width behind one another, then all positions at once."""
    layers = [nn.Conv1d(4 if k == 0 else channels, channels, width, padding=width // 2) for k in range(depth)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), end())


def dense_head(length: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 32, 11, padding=5), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(8 * length, 64), nn.ReLU(),
        nn.Linear(64, 2),
    )  # fmt: skip


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 32, 9, padding=4), nn.GroupNorm(4, 32), nn.ReLU(), nn.Conv1d(32, 32, 9), Mean()
    )


def volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3), nn.ReLU(), Mean()
    )


def up_and_down() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(8, 8, 3, padding=1), Mean(),
    )  # fmt: skip


def block(size: int, stride: int = 1) -> dict[str, Any]:
    return {"window": (3, size, size), "stride": (1, stride, stride)}


first = {"target": 0}
PICKS = (
    Pick("2 convolutions of 4 channels, L = 100", partial(plain, 4), (4, 100), options=first),
    Pick("2 convolutions of 32 channels, L = 200", partial(plain, 32), (4, 200), options=first),
    Pick("2 convolutions of 128 channels, L = 500, 60 places", partial(plain, 128), (4, 500), options={**first, "positions": range(0, 480, 8)}),
    Pick("6 convolutions of width 25, L = 100", partial(plain, 16, 25, 6), (4, 100), options=first),
    Pick("2 convolutions, global maximum, L = 400", partial(plain, 32, 9, 2, Largest), (4, 400), options=first),
    Pick("8 edits of 2 convolutions, L = 500", partial(plain, 32), (4, 500), options={**first, "positions": range(8)}),
    Pick("convolution, dense head, L = 400", partial(dense_head, 400), (4, 400), options=first),
    Pick("group norm, L = 200", normed, (4, 200), options=first),
    Pick("squeeze and excitation, L = 200", lambda: nn.Sequential(nn.Conv1d(4, 32, 9), nn.ReLU(), Excited(), Mean()), (4, 200), options=first),
    Pick("transformer, L = 100", Attention, (4, 100), options=first),
    Pick("LSTM, L = 100", Recurrent, (4, 100), options=first),
    Pick("Basset, 40 places", basset, (4, 1000), options={**first, "positions": range(0, 1000, 25)}),
    Pick("BPNet, 40 places", BPNet, (4, 2114), options={"target": lambda y: y[:, -1], "positions": range(0, 2114, 53)}),
    Pick("image by pixel, every second", image, (3, 64, 64), occlusion, {**first, "window": (3, 2, 2), "stride": (1, 2, 2)}),
    Pick("image by 8 x 8", image, (3, 64, 64), occlusion, {**first, **block(8, 4)}),
    Pick("image by 40 x 40", image, (3, 64, 64), occlusion, {**first, **block(40, 2)}),
    Pick("encoder and decoder, by 4 x 4", up_and_down, (3, 32, 32), occlusion, {**first, **block(4, 2)}),
    Pick("volume by 4 x 4 x 4", volume, (1, 16, 16, 16), occlusion, {**first, "window": (1, 4, 4, 4), "stride": (1, 2, 2, 2)}),
    Pick("MLP, 2,000 genes", genes, (2000,), feature_ablation, first),
    Pick("MLP, 100 genes", lambda: nn.Sequential(nn.Linear(100, 32), nn.ReLU(), nn.Linear(32, 2)), (100,), feature_ablation, first),
    Pick("linear, 5,000 genes", lambda: nn.Linear(5000, 3), (5000,), feature_ablation, first),
)  # fmt: skip


def sample(pick: Pick) -> Tensor:
    """One-hot letters, or standard normal values."""
    generator = torch.Generator().manual_seed(1)
    if pick.method is not in_silico_mutagenesis:
        return torch.randn(1, *pick.shape, generator=generator)
    at = torch.randint(4, (1, pick.shape[1]), generator=generator)
    return nn.functional.one_hot(at, 4).float().transpose(1, 2).contiguous()


def row(pick: Pick, rounds: int) -> list[object]:
    """A row of the table."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = pick.build().eval().requires_grad_(False), sample(pick)
    notes = pick.method.explain(model, x, **pick.options).notes
    count = f"{notes['path_gain']}x" if "path_gain" in notes else "-"
    works = {
        path: partial(pick.method, model, x, path=path, **pick.options)
        for path in ("window", "dense")
    }  # fmt: skip
    try:
        works["window"]()
    except ValueError as error:
        reason = str(error).partition("here: ")[2].partition(";")[0].partition(" at /")[0]
        return [pick.name, notes["edits"], "-", "-", "not possible", notes["path"], f"right: {reason}"]
    times = {k: statistics.median(v) for k, v in alternate(works, rounds).items()}
    gain = times["dense"] / times["window"]
    lost = gain if notes["path"] == "dense" else 1 / gain
    verdict = "right" if lost <= 1 else f"{lost:.2f}x slower" if lost > CLOSE else "as good"
    return [
        pick.name, notes["edits"], f"{times['dense']:.3f}", count, f"{gain:.2f}x", notes["path"], verdict,
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = table(
        'What `path="auto"` picks',
        f"Processor time, one thread, float32, medians of {arguments.rounds} alternating rounds after one that is not counted; torch {torch.__version__}, {platform.machine()}.",
        ["network", "edits", "dense, s", "gain by count", "gain measured", "auto", "the pick"],
        [row(p, arguments.rounds) for p in PICKS],
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
