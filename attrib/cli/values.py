"""Values of options as Python values."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Context = Annotated[
    list[str] | None,
    typer.Option(
        help="What goes into the model beside the inputs and is not explained: FILE or NAME=FILE, with commas or repeated; tables "
        "have the samples' labels in their first column.",
        metavar="[NAME=]FILE",
    ),
]


def names(text: str | None) -> list[str] | None:
    """Names separated by commas as a list."""
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def chosen(text: str) -> list[str] | str:
    """Methods, or `"all"`."""
    return "all" if text.strip() == "all" else names(text) or []


def rows(text: str, flag: str = "--batch-size") -> int | str:
    """A number of rows."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise ValueError(f"{flag} is {text!r}, expected a positive whole number or auto")


def assignments(settings: list[str]) -> dict[str, Any]:
    """``name=value`` as a mapping; values are read as JSON where they are JSON."""
    values: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"--set is {text!r}, expected name=value, such as n_steps=20")
        try:
            values[name.strip()] = json.loads(value)
        except ValueError:
            values[name.strip()] = value
    return values


def workers(text: str | None) -> int | str | None:
    """A number of worker processes, or the address of a Dask scheduler."""
    if text is None or "://" in text:
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(
        f"--cluster is {text!r}, expected a number of processes, or a scheduler's address: tcp://HOST:8786"
    )
