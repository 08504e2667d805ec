"""What errors in all rooms say of arguments: the name that was probably meant, seeds, and sizes that memory cannot hold."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

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


MOST = 10**9  # of what is counted: draws, rows, bars


def real_numbers(name: str, a: Any) -> Any:
    """A DataArray of real numbers as it is; one of objects that are such numbers as one of floats.

    Raises
    ------
    TypeError
        For complex numbers, whose imaginary part would be lost, and for texts and other objects.
    """
    if a.dtype.kind in "biufmM":
        return a
    try:
        if a.dtype.kind == "O":
            return a.astype(float)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"`{name}` has values of {a.dtype}, expected real numbers")


def refuse_empty(name: str, a: Any) -> None:
    """Refuse an array without entries."""
    if not a.size:
        raise ValueError(f"`{name}` has no entries: its sizes are {dict(a.sizes)}")


def plain(value: Any) -> Any:
    """A lone number, flag or text of NumPy as one of Python; anything else as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from attrib._arguments import plain
    >>> plain(np.float32(0.5)), plain(np.int64(3)), plain("a")
    (0.5, 3, 'a')
    """
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def whole(name: str, value: Any) -> int:
    """A whole number, of Python or NumPy, as an int.

    Raises
    ------
    TypeError
        For anything else, such as True or 2.0.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"`{name}` is {shown(value)}, expected an int")
    return number


def real(name: str, value: Any) -> float:
    """A finite number, of Python or an array library; such as are not of Python become a float.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for NaN and infinity.
    """
    lone = isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and hasattr(value, "__float__"))
    try:
        number = float(value) if lone and not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"`{name}` is {shown(value)}, expected a number")
    if not math.isfinite(number):
        raise ValueError(f"`{name}` is {value}, expected a finite number")
    return value if isinstance(value, int | float) else number


def path_of(name: str, value: Any) -> Any:
    """A path that is not empty: that would be the folder one is in.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"`{name}` is {shown(value)}, expected a path")
    if not os.fspath(value):
        raise ValueError(f"`{name}` is empty, expected a path")
    return value


def text_in(name: str, path: Path, encoding: str = "utf-8-sig") -> str:
    """The text of a file that an argument names.

    Raises
    ------
    ValueError
        If it is no text.
    """
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"`{name}`: {path} is no text in UTF-8") from error


def mapping_of(name: str, value: Any) -> Any:
    """A mapping, which may be one of xarray.

    Raises
    ------
    TypeError
        For anything else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"`{name}` is {shown(value)}, expected a mapping")
    return value


def list_of(name: str, value: Any, of_items: Callable[[str, Any], Any] | None = None) -> list[Any]:
    """The items of a list, a tuple, an array or an Index as a list; a single name is a list of one.

    Raises
    ------
    TypeError
        For what has no order, and numbers alone.
    """
    if isinstance(value, str) and of_items is None:
        return [value]
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"`{name}` is {shown(value)}, expected a sequence, such as a list")
    items = list(value.tolist() if hasattr(value, "tolist") else getattr(value, "values", value))
    return items if of_items is None else [of_items(f"{name}[{k}]", v) for k, v in enumerate(items)]


def shown(value: object) -> str:
    """A value in an error's message: itself where it is short, else its type."""
    short = value is None or isinstance(value, bool | int | float | str | bytes | Path)
    return f"{value!r:.60}" if short else f"a {type(value).__name__}"


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


def refuse_other_number(argument: str, names: Sequence[object] | None, count: int, of: str) -> None:
    """Refuse more or fewer names than there are things to name; without names there is nothing to refuse."""
    if names is not None and len(names) != count:
        raise ValueError(f"`{argument}` has {len(names)} entries, expected {count}, one for each of the {of}")


def refuse_other_dims(argument: str, a: Any, dims: Sequence[object]) -> None:
    """Refuse an array whose dims are not these, in any order."""
    if set(a.dims) != set(dims):
        raise ValueError(f"`{argument}` has the dims {a.dims}, expected {', '.join(map(str, dims))}")


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
    number = whole("seed", seed)
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
