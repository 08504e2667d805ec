"""Which outputs are explained: what was typed, as methods take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def targets(text: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """`target` or `targets` for what was typed.

    Raises
    ------
    ValueError
        For a name without `classes` or not among them.
    """
    if text is None or text == "predicted":
        return {"target": text}
    if text == "all":
        return {"targets": "all"}
    if classes is not None and text in classes:
        return {"target": text}
    found = [_target(part.strip(), classes) for part in text.split(",")]
    return {"target": found[0]} if len(found) == 1 else {"targets": found}


def _target(text: str, classes: Sequence[str] | None) -> int | str:
    if classes is not None and text in classes:
        return text
    if text.isdecimal():
        return int(text)
    if classes is None:
        raise ValueError(
            f"--target is {text!r}: to name a class, give --classes; else a number, predicted or all"
        )
    raise ValueError(f"--target is {text!r}, which is not among the classes {', '.join(classes[:12])}")
