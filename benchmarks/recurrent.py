"""DeepLIFT and integrated gradients on recurrent layers: `python -m benchmarks.recurrent [--rounds 15] [--output FILE]`.

Beside one forward and backward pass of the bare model on inputs and baselines together, and beside the same rules op by op, which
is what the recording gives where a layer is taken apart. Every answer is checked before anything is timed; all sides in turn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attrib
from attrib.engine.graph import Graph, record
from attrib.engine.model.prepared import PreparedModel
from attrib.engine.secant import expressed, secant
from attrib.engine.secant.decompositions import decompose
from attrib.functional import deep_lift, integrated_gradients
from attrib.workflows.bench import peak_memory
from benchmarks.setting import Setting, alternate, check, ratio, table, verdict

STEPS, SAMPLES = 100, 8


class Net(nn.Module):
    """A recurrent layer of 16 features, the mean over its steps, and a linear head."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(16, 32, batch_first=True, **options)  # type: ignore[call-arg]
        width = (options.get("proj_size") or 32) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0].mean(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": partial(Net, nn.LSTM),
    "LSTM, 2 layers, both directions": partial(Net, nn.LSTM, num_layers=2, bidirectional=True),
    "LSTM, projected": partial(Net, nn.LSTM, proj_size=8),
    "GRU": partial(Net, nn.GRU),
    "RNN": partial(Net, nn.RNN),
}


def bare(f: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor) -> object:
    """One forward and backward pass of the doubled batch."""
    both = torch.cat([x, x0]).requires_grad_()
    return torch.autograd.grad(f(both)[:, 1].sum(), both)


def replayed(graph: Graph, x: Tensor, x0: Tensor) -> Tensor:
    """Multipliers by a graph that is recorded already."""
    replay = secant(graph, [x0], [x])
    cotangents = torch.zeros_like(replay.y1)
    cotangents[:, 1] = 1
    return replay.pull(cotangents[None])[0][0]


def taken_apart(op: Any) -> Any:
    """Decompositions of the recording in which recurrent layers are loops over steps."""
    return (
        op.decompose
        if op._schema.name.split("::")[1] in ("lstm", "gru", "rnn_tanh", "rnn_relu")
        else decompose(op)
    )


def rows(setting: Setting) -> list[list[str]]:
    """A row for each net and precision."""
    results = []
    for name, build in NETS.items():
        for dtype in (torch.float32, torch.float64):
            net = build().to(dtype).eval()
            x, x0 = torch.randn(
                2, SAMPLES, STEPS, 16, dtype=dtype, generator=torch.Generator().manual_seed(1)
            )
            with torch.no_grad():
                one, small = expressed(net, [x]), record(net, [x], taken_apart)
            multipliers, before = replayed(one, x, x0), replayed(small, x, x0)
            off = float((multipliers - before).abs().max() / before.abs().max())
            check(f"multipliers of {name}", off, 1e-6 if dtype == torch.float32 else 1e-10)
            prepared = PreparedModel(net)
            works = {
                "bare": partial(bare, net, x, x0),
                "replay": partial(replayed, one, x, x0),
                "by steps": partial(replayed, small, x, x0),
                "all": partial(deep_lift, net, x, baselines=x0, target=1),
                "prepared": partial(deep_lift, prepared, x, baselines=x0, target=1),
                "zeros": partial(deep_lift, net, x, target=1),
            }
            times = alternate(works, setting)
            cost = {key: ratio(times, key, "bare") for key in works}
            numbers = (cost[key] for key in ("replay", "by steps", "all", "prepared", "zeros"))
            judged = f"<= 6: {verdict(cost['all'], 6)}"
            results.append([name, str(dtype)[6:], f"{off:.0e}", *(f"{v:.2f}" for v in numbers), judged])
    return results


def captum_ig(net: nn.Module, x: Tensor) -> Tensor:
    """captum's, all steps of all samples in one call, as it does unless told otherwise."""
    from captum.attr import IntegratedGradients

    return IntegratedGradients(net).attribute(x, target=1, n_steps=50)


def bare_ig(net: nn.Module, x: Tensor) -> None:
    """The rows of integrated gradients through the bare model, one step of all samples after the other."""
    for _ in range(50):
        row = x.clone().requires_grad_()
        torch.autograd.grad(net(row)[:, 1].sum(), row)


def peak(work: Callable[[], object]) -> float:
    """MiB of a second call, in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def measured() -> None:
        work()
        theirs.send(peak_memory(work, torch.device("cpu")) / 2**20)

    child = context.Process(target=measured)
    child.start()
    value = ours.recv()
    child.join()
    return value


def gradients(setting: Setting) -> list[list[str]]:
    """Integrated gradients with the automatic batch: a row for each kind of layer and number of samples."""
    results = []
    for name, kind in (("LSTM", nn.LSTM), ("GRU", nn.GRU)):
        for samples in (8, 64):
            net, x = Net(kind).eval(), torch.randn(samples, STEPS, 16)
            off = integrated_gradients(net, x, target=1, quadrature="gausslegendre") - captum_ig(net, x)
            check(f"integrated gradients of {name}", float(off.abs().max()), 1e-5)
            works = {
                "bare": partial(bare_ig, net, x),
                "captum": partial(captum_ig, net, x),
                "attrib": partial(integrated_gradients, net, x, target=1),
            }
            memory = {key: peak(work) for key, work in works.items()}
            times = alternate(works, setting)
            fast, small = ratio(times, "attrib", "bare"), memory["attrib"] / memory["captum"]
            results.append(
                [name, str(samples), f"{fast:.2f}", f"{ratio(times, 'captum', 'bare'):.2f}", f"{memory['attrib']:.0f}",
                 f"{memory['captum']:.0f}", f"<= 1.1: {verdict(fast, 1.1)}", f"<= 1.2 of captum: {verdict(small, 1.2)}"]
            )  # fmt: skip
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and write to a file if there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers mean nothing")
    parser.add_argument("--rounds", type=int, default=15, help="alternating rounds (default 15)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    setting = Setting(rounds=1 if options.quick else options.rounds, quick=options.quick)
    command = " ".join(["python -m benchmarks.recurrent", *sys.argv[1:]])
    text = table(
        f"DeepLIFT on recurrent layers, {time.strftime('%Y-%m-%d')}",
        f"`{command}`; one thread, torch {torch.__version__}, attrib {attrib.__version__}. {SAMPLES} samples of {STEPS} steps, "
        "16 features, 32 units. Times as multiples of one forward and backward pass of the bare model on inputs and baselines "
        "together. Replay: values at both ends and the way back, by the rule of the layer and by those of its steps; difference: the "
        "largest between the two, as a share of the largest multiplier. Whole call: with recording and check; prepared: the model is.",
        ["layer", "dtype", "difference", "replay", "by steps", "whole call", "prepared", "baseline of zeros", "demand on the whole call"],
        rows(setting),
    )  # fmt: skip
    text += "\n" + table(
        "Integrated gradients on recurrent layers",
        "50 steps, automatic batch; captum takes all rows at once. Times as multiples of the bare passes, a step of all samples after "
        "the other; memory: MiB beyond model and inputs.",
        [
            "layer",
            "samples",
            "attrib",
            "captum",
            "MiB, attrib",
            "MiB, captum",
            "demand on time",
            "demand on memory",
        ],
        gradients(setting),
    )
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
