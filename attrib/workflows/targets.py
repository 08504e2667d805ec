"""Which outputs are explained, and their names: the text of options as arguments of a method, and heads as outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrib._nearest import near

if TYPE_CHECKING:
    from torch import Tensor

PROFILE = "profile"


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
            f"`target` is {text!r}: to name a class, give `classes`; else a number, predicted or all; of a model with several "
            "heads HEAD:OUTPUT, such as 1:0, or 0:profile for the score of a profile"
        )
    raise ValueError(
        f"`target` is {text!r}, which is not among the classes {', '.join(classes[:12])}{near(text, classes)}"
    )


def heads_of(target: str | None, classes: Sequence[str] | None) -> list[str]:
    """Parts of a target that name heads: `HEAD:OUTPUT`, `HEAD:profile` or `profile`; none if no part does.

    Raises
    ------
    ValueError
        If only some parts do.
    """
    if target is None or target in (classes or ()):
        return []
    parts = [part.strip() for part in target.split(",")]
    named = [p for p in parts if (":" in p or p == PROFILE) and p not in (classes or ())]
    if named and len(named) < len(parts):
        other = next(p for p in parts if p not in named)
        raise ValueError(
            f"`target` is {target!r}: {named[0]} names a head, {other} does not; name all of them HEAD:OUTPUT"
        )
    return named


class Heads:
    """Numbers of a model's heads as outputs (N, parts).

    Parameters
    ----------
    f : callable
        The model.
    parts : sequence of str
        Of `heads_of`.
    classes : sequence of str, optional
        Names of a head's outputs.
    """

    def __init__(
        self, f: Callable[..., Any], parts: Sequence[str], classes: Sequence[str] | None = None
    ) -> None:
        self.model, self.parts, self.classes = f, tuple(parts), classes
        self.__wrapped__ = getattr(f, "forward", f)  # names of the inputs

    def __call__(self, *x: Any, **named: Any) -> Tensor:
        """One number per row and part."""
        import torch

        y = self.model(*x, **named)
        return torch.stack([self._one(y, part) for part in self.parts], 1)

    def _one(self, y: Any, part: str) -> Tensor:
        from attrib.functional.heads import profile_score, taken

        name, _, output = part.rpartition(":")
        try:
            of_head = taken(y, (int(name) if name.isdecimal() else name,) if name else ())
        except ValueError as error:
            raise ValueError(f"`target` is {part!r}: {str(error).partition(', but ')[2]}") from None
        if output == PROFILE:
            return profile_score(of_head)
        if output in (self.classes or ()):
            of_head = of_head[:, (self.classes or []).index(output)]  # type: ignore[union-attr]
        elif output.isdecimal() and of_head.ndim > 1 and int(output) < of_head.shape[1]:
            of_head = of_head[:, int(output)]
        if of_head.ndim != 1:
            raise ValueError(
                f"`target` is {part!r}: that is an output {tuple(of_head.shape)}, expected one number per row; name one by "
                f"HEAD:NUMBER, or the score of a profile by HEAD:{PROFILE}"
            )
        return of_head


def headed(target: str | None, classes: Sequence[str] | None) -> tuple[str | None, Sequence[str] | None]:
    """Target and classes for a model that gives the heads named in `target` as its outputs (`Heads`)."""
    parts = heads_of(target, classes)
    return (target, classes) if not parts else (parts[0] if len(parts) == 1 else "all", parts)


def with_heads(
    f: Callable[..., Any], target: str | None, classes: Sequence[str] | None
) -> Callable[..., Any]:
    """The model, or its heads as outputs where `target` names some."""
    parts = heads_of(target, classes)
    return Heads(f, parts, classes) if parts else f


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
