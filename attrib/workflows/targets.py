"""Which outputs are explained, and their names: the text of options as arguments of a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrib._nearest import near


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
    raise ValueError(
        f"`target` is {text!r}, which is not among the classes {', '.join(classes[:12])}{near(text, classes)}"
    )


def class_names(classes: str | None) -> list[str] | None:
    """Names from a list with commas, or from a file with one per line."""
    if classes is None:
        return None
    file = Path(classes)
    if "," not in classes and file.suffix and not file.is_file():
        raise FileNotFoundError(
            f"there is no file {classes} with class names; or list them in `classes`: a,b,c"
        )
    text = file.read_text(encoding="utf-8").splitlines() if file.is_file() else classes.split(",")
    names = [n.strip() for n in text if n.strip()]
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"`classes` has {twice!r} twice; targets could not be told apart")
    return names
