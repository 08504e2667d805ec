"""Values of options as Python values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrib._nearest import near

EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}
PYTHON = {"True": True, "False": False, "None": None}  # which JSON spells in another way


def listed(values: Sequence[str] | None) -> list[str]:
    """Values that came one by one, with commas, or both."""
    return [v.strip() for text in values or () for v in text.split(",") if v.strip()]


def names(values: Sequence[str] | None) -> list[str] | None:
    """The same; None for an option that was not used."""
    return None if values is None else listed(values)


def joined(values: Sequence[str] | None) -> str | None:
    """The same as a text with commas, for those who take a text: a file's name, or names."""
    return None if values is None else ",".join(values)


def chosen(values: Sequence[str]) -> list[str] | str:
    """Methods, or `"all"`."""
    return "all" if listed(values) == ["all"] else listed(values)


def rows(text: str, flag: str = "--batch-size") -> int | str:
    """A number of rows."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise ValueError(f"{flag} is {text!r}, expected a positive whole number or auto")


def assignments(settings: Sequence[str] | None, flag: str = "--set") -> dict[str, Any]:
    """``name=value`` as a mapping; values are read as JSON where they are JSON, as lists of it where they have commas, and as Python's ``True``, ``False``, ``None``."""
    values: dict[str, Any] = {}
    for text in settings or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{flag} is {text!r}, expected name=value, such as n_steps=20")
        try:
            values[name.strip()] = json.loads(
                f"[{value}]" if re.fullmatch(r"[-\d.]+(,[-\d.]+)+", value) else value
            )
        except ValueError:
            values[name.strip()] = PYTHON.get(value.strip(), value)
    return values


def divided(
    values: Mapping[str, Any],
    study: Mapping[str, tuple[type, Any]],
    flag: str = "--set",
    methods: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a study, whose kinds and defaults are `study`, and what is left: arguments of methods, if it takes some.

    Raises
    ------
    ValueError
        For a name that is neither, with the nearest one; and for values of another kind.
    """
    from attrib.functional import METHODS  # torch: not for a list of options

    known = {a for m in METHODS.values() for a in m.about.arguments} if methods else set()
    for name in values:
        if not (name in study or name in known or (methods and "." in name)):
            also = "; or an argument of a method, such as n_steps" if methods else ""
            raise ValueError(
                f"{flag} has {name}, expected some of {', '.join(study)}{also}{near(name, [*study, *known])}"
            )
    settings = {
        name: default if values.get(name) is None else _of_kind(values[name], kind, f"{flag} {name}")
        for name, (kind, default) in study.items()
    }
    return settings, {k: v for k, v in values.items() if k not in study}


def _of_kind(value: Any, kind: type, name: str) -> Any:
    """A value of a setting: a text, a list of texts, or a number or flag that is one."""
    if kind in (str, list):
        texts = [str(v) for v in value] if isinstance(value, list) else [str(value)]
        return listed(texts) if kind is list else ",".join(texts)
    is_flag = isinstance(value, bool)
    if is_flag != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{name} is {value!r}, expected {EXPECTED[kind]}")
    return value


def renamed(values: Sequence[str] | None, flag: str = "--columns") -> dict[str, str]:
    """``name=other`` as a mapping of texts."""
    pairs = {}
    for text in listed(values):
        name, equals, other = text.partition("=")
        if not (name.strip() and equals and other.strip()):
            raise ValueError(f"{flag} is {text!r}, expected NAME=OTHER")
        pairs[name.strip()] = other.strip()
    return pairs


def drawers() -> int:
    """Processes that draw the pictures of a study."""
    return min(4, os.cpu_count() or 1)


def workers(text: str | None) -> int | str | None:
    """A number of worker processes, or the address of a Dask scheduler."""
    if text is None or "://" in text:
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(
        f"--cluster is {text!r}, expected a number of processes, or a scheduler's address: tcp://HOST:8786"
    )
