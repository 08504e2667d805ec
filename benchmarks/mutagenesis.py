"""Time and memory of edits: `python -m benchmarks.mutagenesis [--cases basset ...] [--rounds 3] [--out FILE]`.

Against one forward pass of the bare model per edit, 32 rows at a time, one thread, one sample; answers are checked
first, sides alternate in one run. A full run of the bare passes takes minutes, so that some batches of it are timed in
each round and scaled.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from attrib.functional import feature_ablation
from attrib.workflows.bench import peak_memory
from benchmarks.edited import CASES, Edited
from benchmarks.setting import check, table, verdict

ROWS = 32
BATCHES = 6
CHECKED = 96
ROUNDING = 1e-8  # of the largest effect of the edits that are checked, in double precision


def edits(case: Edited, x: Tensor, some: Tensor) -> Tensor:
    """Rows of the edits with the given numbers, made by hand."""
    rows = x[:1].repeat(len(some), *[1] * (x.ndim - 1))
    for row, e in zip(rows, some.tolist(), strict=True):
        if case.letters:
            p, k = divmod(e, 3)
            letter = (int(x[0, :, p].argmax()) + 1 + k) % 4
            row[:, p] = torch.eye(4, dtype=x.dtype)[letter]
        elif case.method is feature_ablation:
            row[e] = 0
        else:
            size = case.options["window"][1]
            i, j = divmod(e, case.shape[2] - size + 1)
            row[:, i : i + size, j : j + size] = 0
    return rows


def by_hand(case: Edited, model: nn.Module, x: Tensor, some: Tensor) -> Tensor:
    """Scores after the edits, less the score before, by one forward pass per edit."""
    target = case.options["target"]
    score: Callable[[Tensor], Tensor] = target if callable(target) else lambda y: y[:, target]
    with torch.no_grad():
        parts = [score(model(edits(case, x, e))) for e in some.split(ROWS)]
        return torch.cat(parts) - score(model(x[:1]))


def correct(case: Edited) -> None:
    """Refuse to time wrong answers: edits spread from the first to the last, in double precision, made by hand."""
    model, x = case.model().double(), case.samples(1).double()
    some = torch.linspace(0, case.edits - 1, CHECKED).long()
    expected = by_hand(case, model, x, some)
    if case.letters:
        p, k = some // 3, some % 3
        effects = case.method(model, x, path="window", positions=p, **case.options)
        got = effects[0, (x[0, :, p].argmax(0) + 1 + k) % 4, p]
    elif case.method is feature_ablation:
        got = -ours(case, model, x, "window")[0, some]
    elif case.options["window"][1] == 1:
        got = -ours(case, model, x, "window")[0, 0].flatten()[some]
    else:  # features are means over windows
        got, expected = ours(case, model, x, "window"), ours(case, model, x, "dense")
    check(case.name, float((got - expected).abs().max() / expected.abs().max()), ROUNDING)


def ours(case: Edited, model: nn.Module, x: Tensor, path: str = "auto") -> Tensor:
    return case.method(model, x, path=path, **case.options)


def tangermeme(case: Edited, model: nn.Module, x: Tensor) -> object:
    """Its fast path, also where it would find a job too short for it."""
    from tangermeme import saturation_mutagenesis as peer

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            target = case.options["target"]
            y = self.model(x)
            return (target(y) if callable(target) else y[:, target]).unsqueeze(1)

    peer._FAST_MIN_SECONDS = 0
    return peer.saturation_mutagenesis(
        Scored().eval(), x, hypothetical=True, target=0, device="cpu", batch_size=ROWS
    )


def alternate(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each piece of work in each round, after one round that is not counted.

    One thread is used, so that this is the time on an idle machine; other work on the machine does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name in works if turn % 2 else reversed(works):
            begin = time.process_time()
            works[name]()
            if turn:
                times[name].append(time.process_time() - begin)
    return times


def timed(case: Edited, rounds: int, peer: bool) -> list[object]:
    """A row of the table."""
    model, single, pair = case.model(), case.samples(1), case.samples(2)
    correct(case)
    some = torch.linspace(0, case.edits - 1, ROWS * BATCHES).long()
    batches = [edits(case, single, e) for e in some.split(ROWS)]

    def bare() -> None:
        with torch.no_grad():
            for rows in batches:
                model(rows)

    works: dict[str, Callable[[], object]] = {
        "bare": bare, "one": partial(ours, case, model, single), "two": partial(ours, case, model, pair),
    }  # fmt: skip
    if peer and case.letters:
        works["tangermeme"] = partial(tangermeme, case, model, single)
    times = alternate(works, rounds)
    naive = [t * case.edits / len(some) for t in times["bare"]]
    gain = statistics.median(n / t for n, t in zip(naive, times["one"], strict=True))
    further = statistics.median(
        n / (b - a) for n, a, b in zip(naive, times["one"], times["two"], strict=True)
    )
    notes = case.method.explain(model, single, **case.options).notes
    peers = [t / o for t, o in zip(times.get("tangermeme", []), times["one"], strict=False)]
    theirs = f"{statistics.median(peers):.1f}x" if peers else "-"
    cells: list[object] = [
        case.name,
        case.edits,
        f"{statistics.median(naive):.2f}",
        f"{statistics.median(times['one']):.3f}",
    ]
    demand = f"{case.demand:.0f}x: {verdict(gain, case.demand, at_least=True)}" if case.demand > 1 else "-"
    return [*cells, f"{gain:.1f}x", f"{further:.1f}x", demand, f"{notes['path_gain']}x", theirs]


def memory(case: Edited) -> list[object]:
    """A row of the table of peaks."""
    model, x = case.model(), case.samples(1)
    ours(case, model, x)  # what the first call loads stays
    peaks = [
        peak_memory(partial(ours, case, model, x, path), x.device) / 2**20 for path in ("window", "dense")
    ]
    return [case.name, *(f"{p:.0f}" for p in peaks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", help="words of the names of networks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="tangermeme too")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [
        c for c in CASES if not arguments.cases or any(w.lower() in c.name.lower() for w in arguments.cases)
    ]
    rows = []
    for case in chosen:
        rows.append(timed(case, arguments.rounds, arguments.peer))
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    words = (
        f"One sample, one thread, float32, processor time, medians of {arguments.rounds} alternating rounds after one that is not counted; answers were checked in float64. One forward per edit: the bare "
        f"model, {ROWS} rows at a time, {ROWS * BATCHES} edits timed and scaled. The whole call records the model, plans, "
        "and checks 16 edits against the model; a further sample in the same call checks 4."
    )
    columns = [
        "network", "edits", "one forward per edit, s", "attrib, s", "gain", "gain, further sample", "demand",
        "by operation counts", "tangermeme / attrib",
    ]  # fmt: skip
    text = table("Edits by window", words, columns, rows)
    text += "\n" + table(
        "Peak memory", "MiB beyond model and input, `batch_size=\"auto\"`.", ["network", "window", "dense"],
        [memory(c) for c in chosen if c.edits * len(c.shape) < 10000],
    )  # fmt: skip
    text = f"# Mutagenesis, occlusion, ablation\n\ntorch {torch.__version__}, {platform.machine()}.\n\n{text}"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
