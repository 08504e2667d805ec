"""Time and memory of the gradient methods: `python -m benchmarks`.

Every section checks its answers before it times them, and takes all sides in alternating rounds of one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import attrib
from benchmarks import classes, first_layer, memory, small, smooth, speed, sweep
from benchmarks.peers import CAPTUM
from benchmarks.setting import Setting

SECTIONS = {
    "memory": memory.run,  # first: its forked processes should find little in this one
    "time": speed.run,
    "classes": classes.run,
    "first-layer": first_layer.run,
    "quadrature": smooth.run,
    "batch-sizes": sweep.run,
    "overhead": small.run,
}
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the chosen sections, print each as soon as it is done, and write them to a file if one is named."""
    options = _options(argv)
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    parts = [_heading(options)]
    print(parts[0], flush=True)
    for dtype in options.dtype:
        setting = _setting(options, DTYPES[dtype])
        for name in options.sections:
            parts.append(SECTIONS[name](setting).replace("\n", f" ({dtype})\n", 1))
            print(parts[-1], flush=True)
    parts.append(f"The whole run took {(time.perf_counter() - begin) / 60:.1f} minutes.\n")
    print(parts[-1])
    if options.output is not None:
        options.output.write_text("\n".join(parts), encoding="utf-8")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test of seconds; its numbers mean nothing"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=DTYPES)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[4, 16, 64, 256, 1024])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--samples", type=int, help="samples explained per timing (default: few, by network)")
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=SECTIONS)
    parser.add_argument("--output", type=Path, help="write the tables there, as Markdown")
    options = parser.parse_args(argv)
    if min(options.threads, options.rounds, *options.batch_sizes, options.samples or 1) < 1:
        parser.error("--threads, --rounds, --samples and --batch-sizes take positive numbers")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: this torch sees no GPU")
    return options


def _setting(options: argparse.Namespace, dtype: torch.dtype) -> Setting:
    return Setting(
        torch.device(options.device),
        dtype,
        1 if options.quick else options.rounds,
        tuple(options.batch_sizes),
        options.quick,
        options.samples,
    )


def _heading(options: argparse.Namespace) -> str:
    cuda = options.device.startswith("cuda")
    machine = (
        torch.cuda.get_device_name(options.device)
        if cuda
        else f"{os.cpu_count()}-core {platform.machine()} CPU"
    )
    peer = f"captum {_version('captum')}" if CAPTUM else "captum not installed: its columns are left out"
    clock = "" if cuda or options.threads > 1 else " Times are CPU time of the one thread."
    smoke = "A smoke test: its numbers and verdicts mean nothing.\n\n" if options.quick else ""
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    return (
        f"# Gradient methods, {time.strftime('%Y-%m-%d')}\n\n{smoke}"
        f"`{command}`\n\n"
        f"{machine}, {options.threads} thread(s); Python {platform.python_version()}, torch {torch.__version__}, "
        f"attrib {attrib.__version__}, {peer}.{clock}\n"
    )


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
