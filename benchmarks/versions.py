"""Two checkouts of the package at the same work: `python -m benchmarks.versions --before ../older-checkout`.

Each checkout runs in a process of its own, and calls alternate, so that what else the machine does meets both alike. The
networks and the settings are those of the other benchmarks. Answers are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
TARGET, STEPS = 3, 50
SHORTEST = 0.1  # seconds of one measurement: shorter calls are repeated
SAME = 1e-2  # of the largest value: rounding can turn a ReLU over
Work = Callable[[], Any]


def gradients(few: bool) -> Iterator[tuple[str, Work]]:
    """The gradient methods on the networks of `benchmarks.speed`, and one call for all classes."""
    from attrib.functional import gradient_shap, integrated_gradients, saliency, smooth_grad
    from benchmarks.models import CASES, SMALL

    for case in SMALL if few else CASES:
        device, dtype = torch.device("cpu"), torch.float32
        f, xs = case.model(device, dtype), case.inputs(case.samples, device, dtype)
        pool = case.inputs(10, device, dtype, seed=2)
        x, drawn = (xs, pool) if len(xs) > 1 else (xs[0], pool[0])
        shared = {"target": TARGET, "batch_size": 256 if len(case.shapes[0]) == 1 else 64}
        yield f"saliency, {case.name}", partial(saliency, f, x, **shared)
        yield f"all classes, {case.name}", partial(saliency, f, x, targets="all")
        yield (
            f"integrated gradients, {case.name}",
            partial(integrated_gradients, f, x, n_steps=STEPS, **shared),
        )
        yield f"SmoothGrad, {case.name}", partial(smooth_grad, f, x, n_samples=STEPS, stdevs=0.2, **shared)
        yield (
            f"GradientSHAP, {case.name}",
            partial(gradient_shap, f, x, baselines=drawn, n_samples=STEPS, **shared),
        )


def deeplift(few: bool) -> Iterator[tuple[str, Work]]:
    """DeepLIFT on the networks of `benchmarks.deeplift`, and DeepLIFT/SHAP on the small ones."""
    from attrib.functional import deep_lift, deep_lift_shap
    from benchmarks.images import LARGE, SMALL

    device, dtype = torch.device("cpu"), torch.float32
    for case in SMALL[:1] if few else (*LARGE, *SMALL):
        f, (x,) = case.model(device, dtype), case.inputs(case.samples, device, dtype)
        yield f"DeepLIFT, {case.name}, {len(x)} samples", partial(deep_lift, f, x, target=TARGET)
    for case in () if few else SMALL[2:]:
        f = case.model(device, dtype)
        (x,), (pool,) = case.inputs(4, device, dtype), case.inputs(16, device, dtype, seed=2)
        yield (
            f"DeepLIFT/SHAP, {case.name}",
            partial(deep_lift_shap, f, x, baselines=pool, targets="all", batch_size=64),
        )


def edits(few: bool) -> Iterator[tuple[str, Work]]:
    """Edits on the networks of `benchmarks.mutagenesis`."""
    from benchmarks.edited import CASES

    for case in CASES[-1:] if few else CASES:
        yield f"edits, {case.name}", partial(case.method, case.model(), case.samples(1), **case.options)


SECTIONS = {"gradients": gradients, "deeplift": deeplift, "edits": edits}


def serve(checkout: str) -> None:
    """Do the work that lines of standard input name, with the package of a checkout; seconds go to standard output."""
    torch.set_num_threads(1)
    sys.path.insert(0, checkout)
    import attrib

    assert Path(attrib.__file__).parents[1] == Path(checkout).resolve()
    sys.path.insert(0, str(ROOT))  # the networks are this folder's
    works: dict[str, Work] = {}
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        reply: Any = None
        if command == "prepare":
            works = dict(SECTIONS[arguments[0]](arguments[1]))
            reply = list(works)
        elif command == "answer":
            torch.save(works[arguments[0]](), arguments[1])
        else:
            begin = time.process_time()
            for _ in range(arguments[1]):
                works[arguments[0]]()
            reply = (time.process_time() - begin) / arguments[1]
        print(json.dumps(reply), flush=True)


class Side:
    """A checkout at work in a process of its own."""

    def __init__(self, checkout: Path) -> None:
        command = [sys.executable, "-P", __file__, "--serve", str(checkout.resolve())]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *command: Any) -> Any:
        """The reply to a command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(before: Side, after: Side, name: str) -> None:
    """Refuse to time answers that differ."""
    with tempfile.TemporaryDirectory() as folder:
        answers = []
        for side, file in ((before, "before.pt"), (after, "after.pt")):
            side("answer", name, f"{folder}/{file}")
            answer = torch.load(f"{folder}/{file}")
            answers.append(answer if isinstance(answer, tuple) else (answer,))
    for a, b in zip(*answers, strict=True):
        off = float((a - b).nan_to_num().abs().max() / a.nan_to_num().abs().max())
        if not off < SAME:
            raise SystemExit(f"wrong answer: {name} differs by {off:.1e} of the largest value")


def rows(before: Side, after: Side, section: str, rounds: int, few: bool) -> Iterator[list[str]]:
    """A line of the table for each piece of work."""
    names = before("prepare", section, few)
    after("prepare", section, few)
    for name in names:
        compare(before, after, name)
        count = max(1, round(SHORTEST / before("time", name, 1)))
        ratios, times = [], []
        for turn in range(rounds):
            pair = {
                side: side("time", name, count) for side in ((before, after) if turn % 2 else (after, before))
            }
            ratios.append(pair[after] / pair[before])
            times.append(pair[before])
        low, high = min(ratios), max(ratios)
        yield [
            name,
            f"{1e3 * statistics.median(times):.3g}",
            f"{statistics.median(ratios):.2f}",
            f"{low:.2f} to {high:.2f}",
        ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("--before", type=Path, help="the checkout to compare with")
    parser.add_argument("--after", type=Path, default=ROOT, help="default: this one")
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="few networks, one round")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        return serve(options.serve)
    if options.before is None:
        parser.error("--before names the checkout to compare with")
    parts = [
        f"# Before and after, {time.strftime('%Y-%m-%d')}\n\n`{' '.join(['python -m benchmarks.versions', *sys.argv[1:]])}`\n\n"
        f"{os.cpu_count()}-core {platform.machine()} CPU, 1 thread; Python {platform.python_version()}, torch {torch.__version__}. "
        "Milliseconds of CPU time of one call before, and time after / before: median and range over "
        f"{1 if options.quick else options.rounds} alternating rounds.\n"
    ]
    print(parts[0], flush=True)
    before, after = Side(options.before), Side(options.after)
    try:
        for section in options.sections:
            lines = [
                f"## {section}",
                "",
                "| work | ms before | after / before | range |",
                "| --- | --- | --- | --- |",
            ]
            print("\n".join(lines), flush=True)
            for row in rows(before, after, section, 1 if options.quick else options.rounds, options.quick):
                lines.append(f"| {' | '.join(row)} |")
                print(lines[-1], flush=True)
            parts.append("\n".join(lines) + "\n")
    finally:
        before.close()
        after.close()
    if options.output is not None:
        options.output.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
