"""The values of arguments, checked by their names: what means nothing is refused before the model runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch


def check_values(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing for an argument of that name, whatever the method.

    Parameters
    ----------
    options : mapping
        Arguments by name. Names that are not known here are left to the method.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, its value and what is expected.
    """
    for name, value in options.items():
        if name in CHECKS:
            CHECKS[name](name, value)


def _flag(name: str, value: Any) -> None:
    """True or False; text and None would count as one of them, and few would guess which."""
    if type(value).__name__ not in ("bool", "bool_") and not (type(value) is int and value in (0, 1)):
        raise TypeError(f"`{name}` is {value!r}, expected True or False")


def _positive(name: str, value: Any) -> None:
    if value is not None and (not _is_number(value) or not 0 < value < math.inf):
        raise ValueError(f"`{name}` is {value!r}, expected a positive number")


def _not_negative(name: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"`{name}` is {value!r}, expected a number of at least 0")


def _progress(name: str, value: Any) -> None:
    if not callable(value):
        _flag(name, value)


def _device(name: str, value: Any) -> None:
    """A device that torch knows and this machine has."""
    if value is None:
        return
    try:
        torch.zeros(1, device=value).tolist()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(f"`{name}` is {value!r}, which cannot be used here ({reason})") from None


def _keywords(name: str, value: Any) -> None:
    wrong = [k for k in value if not isinstance(k, str)] if isinstance(value, Mapping) else []
    if wrong:
        raise TypeError(f"`{name}` has the key {wrong[0]!r}, expected names of the model's arguments")


def _axis(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"`{name}` is {value!r}, expected a dim's number or name")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("absolute", "center", "check", "compile", "hypothetical", "multiply_by_inputs", "normalized", "upsample"), _flag),
    "relu": _flag, "rtol": _positive, "stdev_spread": _not_negative, "progress": _progress, "device": _device, "additional_forward_args": _keywords,
    "axis": _axis,
}  # fmt: skip
