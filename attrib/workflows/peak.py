"""The peak memory of a piece of work."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident size back to the present one


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that `work()` took at its peak, beyond the memory in use before.

    Parameters
    ----------
    work : callable
        Called once.
    device : torch.device
        On CUDA the allocator counts. On a CPU it is the growth of the process's resident size, which Linux counts;
        other systems have no peak that can be set back, so the answer there is NaN.

    Returns
    -------
    float
        Bytes.

    Notes
    -----
    Memory that the process had freed but kept is reused without being counted, so the first call in a process may
    read higher than later ones, and a call that needs less than that reads low.
    """
    if device.type == "cuda":
        return _on_cuda(work, device)
    _give_back()
    try:
        _CLEAR.write_text(_RESET_PEAK)
        before = _resident("VmRSS")
        work()
        return max(0.0, _resident("VmHWM") - before)
    except OSError:
        return float("nan")


def _on_cuda(work: Callable[[], object], device: torch.device) -> float:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def _give_back() -> None:
    """Return freed memory to the system, so that it does not hide the memory of the work."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident(field: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return 1024.0 * int(line.split()[1])
