"""From a call to the model: frames, files, calls and fixed cost: `python -m benchmarks.way --before ../older-checkout`.

Each round measures every checkout in a process of its own (`benchmarks/walk.py`), in turn; tables have medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.setting import table

ROOT = Path(__file__).parents[1]
Measured = dict[str, dict[str, dict[str, Any]]]


def measured(checkout: Path, repeats: int) -> Measured:
    """What `benchmarks/walk.py` measures of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "walk.py"), str(repeats)]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def ways(sides: dict[str, list[Measured]]) -> str:
    """The table of what lies between the call and the model."""
    (latest, *_), rows = sides["after"], []
    for network, methods in latest.items():
        for method in methods:
            columns = [runs[0][network][method]["ways"]["attrib"] for runs in sides.values()]
            columns.append(latest[network][method]["ways"]["captum"])
            counts = [
                " / ".join(str(c[key]) for c in columns) for key in ("frames", "files", "moves", "calls")
            ]
            types = " / ".join(", ".join(c["types"]) for c in columns)
            rows.append([network, method, *counts, types])
    words = (
        f"{' / '.join([*sides, 'captum'])}. One sample. Frames of the package on the stack where the model's forward begins; "
        "files that the call enters, and moves from file to file; calls of the model; types of what the model is handed."
    )
    return table("The way", words, ["network", "method", "frames", "files", "moves", "calls", "types"], rows)


def costs(sides: dict[str, list[Measured]]) -> str:
    """The table of microseconds."""
    (latest, *_), rows = sides["after"], []
    for network, methods in latest.items():
        for method in methods:
            bare = _median(sides["after"], network, method, "bare", "bare")[0]
            columns = [_median(runs, network, method, "attrib", "bare") for runs in sides.values()]
            columns += [
                _median(sides["after"], network, method, key, "bare") for key in ("prepared", "captum")
            ]
            rows.append(
                [network, method, f"{bare:.0f}", *(f"{us:.0f} ({share:.1f}x)" for us, share in columns)]
            )
    words = (
        "Microseconds of CPU time per call for one sample, and as a multiple of bare: the method's rows through the model "
        "in one call, forward and, except for ablation, backward. Prepared: a call of a model that was explained before "
        "and remembers what was learned. captum is given all ablations in one call."
    )
    names = [*(f"attrib {side}" for side in sides), "attrib, prepared", "captum"]
    return table("Fixed cost", words, ["network", "method", "bare", *names], rows)


def _median(runs: list[Measured], network: str, method: str, key: str, unit: str) -> tuple[float, float]:
    """Microseconds, and the ratio to a unit that was measured in the same process."""
    times = [run[network][method]["microseconds"] for run in runs]
    return statistics.median(t[key] for t in times), statistics.median(t[key] / t[unit] for t in times)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.way", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--quick", action="store_true", help="one short round; its times mean nothing")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    checkouts = ({"before": options.before} if options.before else {}) | {"after": ROOT}
    sides: dict[str, list[Measured]] = {side: [] for side in checkouts}
    for turn in range(1 if options.quick else options.rounds):
        for side in checkouts if turn % 2 else reversed(checkouts):
            sides[side].append(measured(checkouts[side], 1 if options.quick else 7))
    text = "\n".join([heading(), ways(sides), costs(sides)])
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


def heading() -> str:
    """What was run, and on what."""
    command = " ".join(["python -m benchmarks.way", *sys.argv[1:]])
    return (
        f"# From the call to the model, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n{os.cpu_count()}-core "
        f"{platform.machine()} CPU, 1 thread; Python {platform.python_version()}, torch {torch.__version__}, "
        f"captum {version('captum')}. Answers equal captum's to 1e-5 before anything is timed.\n"
    )


if __name__ == "__main__":
    main()
