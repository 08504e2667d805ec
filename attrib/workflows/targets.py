"""Which outputs are explained: the text of an option as the argument of a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def targets(target: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """`target` or `targets` of a method for the text of an option.

    Raises
    ------
    ValueError
        For a name without `classes` or not among them.
    """
    if target is None or target == "predicted":
        return {"target": target}
    if target == "all":
        return {"targets": "all"}
    if classes is not None and target in classes:
        return {"target": target}
    chosen = [_target(part.strip(), classes) for part in target.split(",")]
    return {"target": chosen[0]} if len(chosen) == 1 else {"targets": chosen}


def _target(text: str, classes: Sequence[str] | None) -> int | str:
    if classes is not None and text in classes:
        return text
    if text.isdecimal():
        return int(text)
    if classes is None:
        raise ValueError(
            f"`target` is {text!r}: to name a class, give `classes`; else a number, predicted or all"
        )
    raise ValueError(f"`target` is {text!r}, which is not among the classes {', '.join(classes[:12])}")
