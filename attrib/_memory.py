"""How much memory there is, and the refusal of sizes that cannot fit in it."""

from __future__ import annotations

import os
from pathlib import Path

GROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


def memory_in_all() -> float:
    """Bytes of memory of this machine or container; infinite where the system does not tell."""
    try:
        machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
    try:
        return min(machine, float(GROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return machine


def refuse_what_cannot_fit(size: float, name: str, what: str) -> None:
    """Refuse a size before memory is asked for it.

    Parameters
    ----------
    size : float
        Bytes.
    name : str
        The argument that asks for it.
    what : str
        What it would be, for the message.

    Raises
    ------
    ValueError
        If it is more than all memory of the machine.
    """
    limit = memory_in_all()
    if size > limit:
        raise ValueError(
            f"`{name}`: {what} would take {size / 2**30:,.0f} GiB, and this machine has {limit / 2**30:,.0f}"
        )
