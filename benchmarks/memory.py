"""Peak memory of each method, of captum at the same rows per call, and of the bare passes.

On a CPU each number is taken in a process of its own: the growth of the resident size from after a warm-up to its peak.
On a GPU it is what the allocator had given out at most.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys

from attrib.workflows.bench import peak_memory
from benchmarks.peers import CAPTUM
from benchmarks.setting import Setting, table, verdict
from benchmarks.speed import trials

DEMAND = 1.20
SIDES = ("attrib", "captum", "bare")


def run(setting: Setting) -> str:
    """The table of peaks."""
    importlib.import_module("torch._dynamo")  # torch.func loads it on first use: not again in every process
    lines = []
    for c, case in enumerate(setting.cases):
        for t in range(3):
            peaks = {
                side: _measured(setting, c, t, side) / 2**20 for side in SIDES if CAPTUM or side != "captum"
            }
            ratio = peaks["attrib"] / peaks["captum"] if CAPTUM else float("nan")
            mib = [f"{peaks[side]:.0f}" if side in peaks else "-" for side in SIDES]
            name = ("integrated gradients", "SmoothGrad", "GradientSHAP")[t]
            lines.append(
                [case.name, name, *mib, f"{ratio:.2f}", verdict(round(ratio, 2), DEMAND) if CAPTUM else "-"]
            )
    words = (
        "MiB beyond model and inputs, at 64 rows per call (MLPs: 256), captum with `internal_batch_size`, "
        f"`nt_samples_batch_size` or in portions. The demand is at most {DEMAND:.2f} of captum."
    )
    return table("Peak memory", words, ["network", "method", *SIDES, "attrib / captum", "demand"], lines)


def _measured(setting: Setting, case: int, trial: int, side: str) -> float:
    """Bytes of one side of one trial; in a forked process where the resident size is what counts."""
    if setting.device.type == "cuda" or sys.platform != "linux":
        return _peak(setting, case, trial, side)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(_peak(setting, case, trial, side)))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise SystemExit(f"the process that measured the memory of {side} ended without an answer") from None
    finally:
        child.join()


def _peak(setting: Setting, case: int, trial: int, side: str) -> float:
    network = setting.cases[case]
    warm = Setting(setting.device, setting.dtype, quick=True)
    small = list(trials(warm, network))[trial]
    getattr(small, side)()
    work = getattr(list(trials(setting, network))[trial], side)
    return peak_memory(work, setting.device)
