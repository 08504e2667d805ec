"""What errors in all rooms say of arguments: the name that was probably meant, seeds, and sizes that memory cannot hold."""

from __future__ import annotations

import functools
import inspect
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

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


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A public function beside the methods: it names the argument where a keyword is unknown, or labels are missing.

    Unknown keywords are answered with the nearest name. Arguments that are annotated as a DataArray, a Dataset or a mapping of
    DataArrays, and are none, are refused with what to pass.

    Examples
    --------
    >>> from attrib.plots import bars
    >>> bars([1.0, 2.0])
    Traceback (most recent call last):
    TypeError: `a` is a list, expected a DataArray; make one: xr.DataArray(a, dims=...)
    """
    parameters = inspect.signature(function).parameters
    names = tuple(parameters)
    kinds = {name: str(p.annotation).removesuffix(" | None") for name, p in parameters.items()}
    kinds = {name: kind for name, kind in kinds.items() if kind in _LABELLED}
    optional = {name for name in kinds if parameters[name].default is None}

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        for option in options:
            if option not in parameters:
                meant = near(option, names) or f"; it has {', '.join(names)}"
                raise TypeError(f"{function.__name__} has no argument {option!r}{meant}")
        for name, value in (*zip(names, args, strict=False), *options.items()):
            if name in kinds and not (value is None and name in optional):
                _refuse_unlabelled(name, value, kinds[name])
        return function(*args, **options)

    return call


_LABELLED = {  # what is expected, and how to come by it
    "xr.DataArray": ("a DataArray", "; make one: xr.DataArray({0}, dims=...)"),
    "xr.Dataset": ("a Dataset", ", as attrib.stats.moments_by gives it"),
    "Mapping[str, xr.DataArray]": ("a mapping of names to DataArrays", ", such as {{'saliency': a}}"),
    "Mapping[str, Labelled]": ("a mapping of names to results", ", such as {{'saliency': a}}"),
}


def _refuse_unlabelled(name: str, value: Any, kind: str) -> None:
    is_dataset = hasattr(value, "data_vars")
    fits = {
        "xr.DataArray": hasattr(value, "dims") and hasattr(value, "coords") and not is_dataset,
        "xr.Dataset": is_dataset,
    }
    if not fits.get(kind, isinstance(value, Mapping)):
        expected, advice = _LABELLED[kind]
        advice = f"; pick a variable: {name}[...]" if is_dataset else advice.format(name)
        what = "None" if value is None else f"a {type(value).__name__}"
        raise TypeError(f"`{name}` is {what}, expected {expected}{advice}")


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
