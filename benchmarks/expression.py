"""Classifiers of expression at full size: cost beside the bare passes, all labels beside captum's loop, and exact integrals.

    python -m benchmarks.expression [SAMPLES]
    python -m benchmarks.expression cohort SAMPLES

prints the tables, or the memory and time of a cohort of which only statistics by tissue are kept; times are seconds of one thread.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

import attrib
from attrib.functional import integrated_gradients, prepare, saliency
from attrib.workflows.expression.network import Dense
from benchmarks.bare import bare_passes, frozen
from benchmarks.cohort import peak, write_inputs
from benchmarks.peers import CAPTUM, captum_all_classes, captum_ig_all_classes
from benchmarks.setting import table, verdict

GENES, LABELS, STEPS = 20_000, 54, 50


def alternating(works: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
    """Median seconds of this thread, in turns, after one turn that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            begin = time.process_time()
            work()
            if turn:
                times[name].append(time.process_time() - begin)
    return {name: statistics.median(t) for name, t in times.items()}


def costs(samples: int) -> str:
    """Integrated gradients and saliency of a network of the study, beside the bare passes of as many rows."""
    torch.manual_seed(0)
    net = Dense(GENES, LABELS).eval()
    x, f = torch.randn(samples, GENES), prepare(net)
    took = alternating({
        "saliency": partial(saliency, f, x, target="predicted"),
        "bare": bare_passes(net, (x,), samples, 256, 3),
        "path": partial(integrated_gradients, f, x, target="predicted", n_steps=STEPS),
    })  # fmt: skip
    path, once = took["path"] / (STEPS * took["bare"]), took["saliency"] / took["bare"]
    lines: list[list[object]] = [
        [
            "integrated gradients, 50 steps",
            f"{took['path']:.2f} s",
            f"{path:.3f}",
            f"<= 0.25: {verdict(path, 0.25)}",
        ],
        ["saliency", f"{took['saliency']:.2f} s", f"{once:.2f}", f"<= 1.2: {verdict(once, 1.2)}"],
    ]
    words = f"{samples} samples of {GENES} genes, {LABELS} labels, layers of 512, 256 and 128; beside the bare forward and backward passes of as many rows."
    return table("Expression at full size", words, ["method", "time", "of the passes", "demand"], lines)


def labels_at_once() -> str:
    """All labels of one call, beside captum's loop over them."""
    if not CAPTUM:
        return "captum is not installed."
    torch.manual_seed(0)
    net = Dense(GENES, LABELS).eval()
    lines: list[list[object]] = []
    for n in (1, 4, 8, 16, 32):
        x, f = torch.randn(n, GENES), prepare(net)
        took = alternating({
            "attrib": partial(saliency, f, x, absolute=False, targets="all"),
            "captum": partial(captum_all_classes, frozen(net), (x,), LABELS),
        })  # fmt: skip
        gain = took["captum"] / took["attrib"]
        lines.append(
            [
                "saliency",
                n,
                f"{took['attrib']:.2f} s",
                f"{gain:.1f}x",
                f">= 4x: {verdict(gain, 4.0, at_least=True)}",
            ]
        )
    x, f = torch.randn(4, GENES), prepare(net)
    took = alternating({
        "attrib": partial(integrated_gradients, f, x, n_steps=STEPS, targets="all"),
        "captum": partial(captum_ig_all_classes, frozen(net), (x,), LABELS, STEPS, 256),
    }, 1)  # fmt: skip
    gain = took["captum"] / took["attrib"]
    lines.append(
        [
            "integrated gradients, 50 steps",
            4,
            f"{took['attrib']:.2f} s",
            f"{gain:.1f}x",
            f">= 4x: {verdict(gain, 4.0, at_least=True)}",
        ]
    )
    columns = ["method", "samples", "time", "faster than captum", "demand"]
    words = "The bare backward passes through the first layer are the same in both; what is saved are 53 forward passes, and for paths that layer altogether."
    return table("54 labels at once", words, columns, lines)


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Piecewise linear networks and the shapes of their samples."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(2000, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 54))
    letters = nn.Sequential(
        nn.Conv1d(4, 32, 9),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(32, 32, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 44, 12),
    )
    return {"MLP 2000-512-256": (dense, (2000,)), "DNA convnet 4 x 200": (letters, (4, 200))}


def exact() -> str:
    """Segments, evaluations and errors of exact integrals, beside rules of as many points."""
    lines = []
    for name, (net, shape) in networks().items():
        net = net.double().eval()
        x = torch.randn(8, *shape, dtype=torch.float64)
        begin = time.process_time()
        result = integrated_gradients.explain(net, x, target=0, quadrature="exact")
        took = time.process_time() - begin
        assert result.per_sample is not None
        assert result.delta is not None
        evaluations = result.per_sample["evaluations"].double()
        single = integrated_gradients(net.float(), x.float(), target=0, quadrature="exact")
        net = net.double()
        error = partial(_error, result.attribution)
        fifty = integrated_gradients(net, x, target=0, n_steps=50, quadrature="riemann_middle")
        equal = integrated_gradients(
            net, x, target=0, n_steps=int(evaluations.mean()), quadrature="riemann_middle"
        )
        many = integrated_gradients(net, x, target=0, n_steps=8192, quadrature="riemann_middle")
        lines.append([
            name, f"{result.per_sample['segments'].double().mean():.0f}", f"{evaluations.mean():.0f}", f"{took / 8:.2f} s",
            f"{float(result.delta.abs().max()):.0e}", f"{error(single):.0e}", f"{error(fifty):.0e}", f"{error(equal):.0e}", f"{error(many):.0e}",
        ])  # fmt: skip
    words = (
        "Double precision, 8 samples, per sample. Errors are the largest of an entry, as a share of the largest entry: of exact integrals in single "
        "precision, and of the midpoint rule with 50 points, with as many as the exact integral evaluates, and with 8192."
    )
    columns = [
        "network",
        "segments",
        "evaluations",
        "time",
        "residual",
        "float32",
        "50 points",
        "as many",
        "8192",
    ]
    return table("Exact integrals", words, columns, lines)


def _error(right: torch.Tensor, a: torch.Tensor) -> float:
    """The largest error of an entry, as a share of the largest entry."""
    return float(((a - right).flatten(1).abs().amax(1) / right.flatten(1).abs().amax(1)).max())


def cohort(samples: int) -> str:
    """Time and memory of integrated gradients of a cohort, of which mean, variance and leading genes by tissue are kept."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder) / "x.zarr", samples)
        before, begin = peak(), time.process_time()
        tree = attrib.cohort(
            "integrated_gradients", "benchmarks.cohort:network", Path(folder) / "x.zarr", Path(folder) / "out.zarr",
            reductions=("mean", "var", "top:20"), by="tissue", keep=False, target="predicted", n_steps=STEPS,
        )  # fmt: skip
        took = time.process_time() - begin
        shape = tree["reductions/mean"].shape
    return f"{samples} samples x {GENES} genes, means {shape}: {took:.0f} s, peak {peak():.0f} MB ({before:.0f} MB before)"


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["cohort"]:
        print(cohort(int(sys.argv[2])))
    else:
        print(exact())
        print(costs(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
        print(labels_at_once())
