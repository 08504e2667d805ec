"""What is public: functions beside the methods check their arguments by what these are annotated as."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from attrib._arguments import (
    MOST,
    list_of,
    mapping_of,
    near,
    path_of,
    real,
    real_numbers,
    refuse_empty,
    shown,
    whole,
)

P = ParamSpec("P")
R = TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A public function beside the methods: it names the argument where a keyword is unknown, or labels are missing.

    Unknown keywords are answered with the nearest name. Arguments that are annotated as a DataArray, a Dataset or a mapping of
    DataArrays, and are none, are refused with what to pass; so is what is annotated as a number, a flag, a text, a path, a sequence, a
    DataFrame or Axes. Numbers and flags of NumPy come to the function as those of Python, sequences as lists.

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
    optional = {name for name, p in parameters.items() if p.default is None or "None" in str(p.annotation)}
    checks = {name: check for name, kind in kinds.items() if (check := _check(kind)) is not None}
    draws = function.__module__.startswith("attrib.plots")  # of nothing there is no picture

    def sound(name: str, value: Any) -> Any:
        if name not in checks or (value is None and name in optional):
            return value
        value = checks[name](name, value)
        if name in _RANGES and isinstance(value, int | float):
            low, high, expected = _RANGES[name]
            if not low <= value <= high:
                raise ValueError(f"`{name}` is {value}, expected {expected}")
        if draws and kinds[name] == "xr.DataArray":
            refuse_empty(name, value)
            value = value.astype("uint8") if value.dtype.kind == "b" else value
        return value

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        for option in options:
            if option not in parameters:
                meant = near(option, names) or f"; it has {', '.join(names)}"
                raise TypeError(f"{function.__name__} has no argument {option!r}{meant}")
        values = [sound(name, value) for name, value in zip(names, args, strict=False)]
        beside: dict[str, Any] = {name: sound(name, value) for name, value in options.items()}
        return function(*values, *args[len(values) :], **beside)  # type: ignore[arg-type]

    return call


_RANGES: dict[str, tuple[float, float, str]] = {
    "columns": (1, MOST, "at least 1"),
    "limit": (0, math.inf, "a number of at least 0"),
    "most": (1, MOST, "at least 1"),
    "opacity": (0, 1, "a number from 0 to 1"),
    "percentile": (5e-324, 100, "a number above 0, at most 100"),
    "dilation": (1, MOST, f"1 to {MOST:,}"),
    "level": (5e-324, 1, "a share above 0, at most 1"),
    "padding": (0, MOST, f"0 to {MOST:,}"),
    "stride": (1, MOST, f"1 to {MOST:,}"),
    "n_bootstrap": (1, MOST, f"1 to {MOST:,}"),
    "n_permutations": (1, MOST, f"1 to {MOST:,}"),
    "n": (0, MOST, f"0 to {MOST:,}"),
    **dict.fromkeys(("count", "length", "size", "width"), (1, MOST, f"1 to {MOST:,}")),
}


def _check(kind: str) -> Callable[[str, Any], Any] | None:
    """What refuses a value for an argument of that annotation, and gives it as the function takes it."""
    if kind in _LABELLED:
        return lambda name, value: _labelled(name, value, kind)
    inner = re.fullmatch(r"(Sequence|Mapping)\[([^|]*)\]", kind)
    if inner and inner[1] == "Mapping":
        return mapping_of
    if inner and inner[2] != "float":  # of letters, which may have labels
        of_items = whole if inner[2] == "int" else None
        return lambda name, value: list_of(name, value, of_items)
    return _PLAIN.get(kind)


_LABELLED = {  # what is expected, and how to come by it
    "xr.DataArray": ("a DataArray", "; make one: xr.DataArray({0}, dims=...)"),
    "xr.Dataset": ("a Dataset", ", as attrib.stats.moments_by gives it"),
    "Mapping[str, xr.DataArray]": ("a mapping of names to DataArrays", ", such as {{'saliency': a}}"),
    "Mapping[str, Labelled]": ("a mapping of names to results", ", such as {{'saliency': a}}"),
}


def _labelled(name: str, value: Any, kind: str) -> Any:
    """A value of such a kind, whose numbers are real ones."""
    is_dataset = hasattr(value, "data_vars")
    is_array = hasattr(value, "dims") and hasattr(value, "coords") and not is_dataset
    fits = {"xr.DataArray": is_array, "xr.Dataset": is_dataset}
    if not fits.get(kind, isinstance(value, Mapping)):
        expected, advice = _LABELLED[kind]
        advice = f"; pick a variable: {name}[...]" if is_dataset else advice.format(name)
        what = "None" if value is None else f"a {type(value).__name__}"
        raise TypeError(f"`{name}` is {what}, expected {expected}{advice}")
    if kind == "Mapping[str, xr.DataArray]":
        return {str(k): _labelled(f"{name}[{k!r}]", v, "xr.DataArray") for k, v in value.items()}
    return real_numbers(name, value) if is_array else value


def _flag(name: str, value: Any) -> bool:
    """True or False, for which 1 and 0 stand too; text and None would count as one of them, and few would guess which."""
    if not (type(value).__name__ in ("bool", "bool_") or (type(value) is int and value in (0, 1))):
        raise TypeError(f"`{name}` is {shown(value)}, expected True or False")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` is {shown(value)}, expected a str")
    return value


def _frame(name: str, value: Any) -> Any:
    if type(value).__name__ != "DataFrame":
        raise TypeError(f"`{name}` is {shown(value)}, expected a DataFrame")
    return value


def _axes(name: str, value: Any) -> Any:
    if not hasattr(value, "transAxes"):
        raise TypeError(f"`{name}` is {shown(value)}, expected Axes of matplotlib")
    return value


_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    "int": whole,
    "float": real,
    "bool": _flag,
    "str": _text,
    "str | os.PathLike[str]": path_of,
    "str | Path": path_of,
    "pd.DataFrame": _frame,
    "Axes": _axes,
}
