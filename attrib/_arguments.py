"""What errors in all rooms say of arguments: the name that was probably meant, seeds, and sizes that memory cannot hold."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

BITS = 64  # of a seed

GROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


def near(value: object, names: Iterable[object], most: int = 1) -> str:
    """``"; did you mean 'saliency'?"`` where up to `most` names are close to the value or begin with it, else nothing: the end of an error's message.

    Examples
    --------
    >>> from attrib._arguments import near
    >>> near("saliance", ["saliency", "deep_lift"]), near("x", ["saliency"])
    ("; did you mean 'saliency'?", '')
    >>> near("dinuc", ["uniform", "dinucleotide"]), near("bed", ["bad", "bet", "no"], 2)
    ("; did you mean 'dinucleotide'?", "; did you mean 'bet' or 'bad'?")
    """
    from difflib import get_close_matches

    spelled = {str(name).lower(): str(name) for name in names}
    text = str(value).lower()
    close = (
        get_close_matches(text, spelled, most)
        or [s for s in spelled if len(text) > 2 and s.startswith(text)][:most]
    )
    return f"; did you mean {' or '.join(repr(spelled[c]) for c in close)}?" if close else ""


def refuse_unnamed(argument: str, names: Sequence[object], available: Iterable[object]) -> None:
    """Refuse names that there are not, and a list without names.

    Raises
    ------
    ValueError
        Naming the argument, those that are unknown, and those that there are.
    """
    choices = list(available)
    unknown = [n for n in names if n not in choices]
    if unknown or not names:
        raise ValueError(
            f"`{argument}` is {', '.join(map(str, unknown)) or 'empty'}, expected some of {', '.join(map(str, choices[:20]))}"
            f"{near(unknown[0] if unknown else '', choices)}"
        )


def whole_seed(seed: int) -> int:
    """The seed as a whole number from 0 on, of 64 bits; negative ones stand at their end.

    Raises
    ------
    TypeError, ValueError
        For anything but a whole number, and for one of more bits.

    Examples
    --------
    >>> from attrib._arguments import whole_seed
    >>> whole_seed(3), whole_seed(-1) == 2**64 - 1
    (3, True)
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = None
    if number is None or isinstance(seed, bool):
        raise TypeError(f"`seed` is {seed!r}, expected an int")
    if not -(2 ** (BITS - 1)) <= number < 2**BITS:
        raise ValueError(f"`seed` is {seed}, expected an int of {BITS} bits")
    return number % 2**BITS


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
