"""What the measures of an attribution share: how they are called, documented and checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from torch import Tensor

from attrib.engine.inputs import listed, non_finite_samples
from attrib.functional.arguments import checked
from attrib.functional.docstrings import fill

P = ParamSpec("P")
R = TypeVar("R")
Returned = TypeVar("Returned", covariant=True)

RAISES = """\
TypeError, ValueError
    For attributions and groups that do not fit the inputs, attributions that are NaN or infinite (the samples are named), and
    whatever the methods refuse of models, inputs and targets."""


class Measure(Protocol[P, Returned]):
    """A function that returns one tensor, and whose `explain` returns a tuple of all that is known beside it."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The tensor alone."""
        ...

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Returned:
        """All of it."""
        ...


def measuring(function: Callable[P, R]) -> Callable[P, R]:
    """A public measure: the passages of its docstring filled in, the names of its arguments checked."""
    function.__doc__ = fill(function.__doc__, {"raises_measure": RAISES})
    return checked(function)


def measured(passages: Mapping[str, str]) -> Callable[[Callable[P, Returned]], Measure[P, Returned]]:
    """Make a measure of a function that returns a tuple: called, it gives the first field; `explain` gives them all.

    Parameters
    ----------
    passages : mapping
        Passages of its docstring beside those of all methods.
    """

    def measure(function: Callable[P, Returned]) -> Measure[P, Returned]:
        function.__doc__ = fill(function.__doc__, passages)
        explain = cast("Any", measuring(function))

        @functools.wraps(explain)
        def first(*args: Any, **options: Any) -> Tensor:
            return explain(*args, **options)[0]

        first.__annotations__ = {**function.__annotations__, "return": "Tensor"}
        first.explain = explain  # type: ignore[attr-defined]
        return cast("Measure[P, Returned]", first)

    return measure


def fitting(attribution: Any, xs: tuple[Tensor, ...], many: bool, dense: bool = True) -> tuple[Tensor, ...]:
    """Attributions as tensors with as many dims as the inputs, or one more for the targets.

    Parameters
    ----------
    attribution : Tensor or tuple of Tensor
        As the caller passed it.
    xs : tuple of Tensor
        The inputs.
    many : bool
        Whether a dim of targets is allowed.
    dense : bool
        Whether NaN is refused: features of no group have it.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the inputs, or have values that are not finite (the samples are named).
    """
    parts = tuple(attribution) if isinstance(attribution, tuple | list) else (attribution,)
    if len(parts) != len(xs):
        raise ValueError(f"`attribution` has {len(parts)} entries for {len(xs)} inputs; pass one per input")
    for j, (a, x) in enumerate(zip(parts, xs, strict=True)):
        name = "attribution" if len(xs) == 1 else f"attribution[{j}]"
        if not isinstance(a, Tensor):
            raise TypeError(f"`{name}` is a {type(a).__name__}, expected a torch.Tensor")
        shape = a.shape[1:] if many and a.ndim == x.ndim + 1 else a.shape
        if (
            len(shape) != x.ndim
            or shape[0] != len(x)
            or any(s not in (1, n) for s, n in zip(shape[1:], x.shape[1:], strict=True))
        ):
            raise ValueError(
                f"`{name}` has shape {tuple(a.shape)}, expected {tuple(x.shape)} as `x`, or 1 along dims whose features go together"
            )
        values = a.detach().movedim(a.ndim - x.ndim, 0)
        bad = non_finite_samples(values if dense else values.nan_to_num(nan=0.0))
        if bad:
            raise ValueError(
                f"`{name}` has NaN or infinite values in {len(bad)} of {len(x)} samples: {listed(bad)}; pass the `groups` it "
                "was computed with, or fill the values"
            )
    if len({a.ndim - x.ndim for a, x in zip(parts, xs, strict=True)}) > 1:
        raise ValueError("`attribution` has a dim of targets for some inputs only; pass it for all")
    return tuple(a.detach() for a in parts)


def samples_first(n: int) -> Callable[[Tensor], Tensor]:
    """Attributions (T, N, ...) as they are, maps of several layers (T, L, N, ...) with the layers behind the samples."""
    return lambda a: a if a.shape[1] == n else a.movedim(1, 2)


def at_least(value: Any, name: str, least: int) -> None:
    """Refuse what is no int, or too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` is {value!r}, expected an int")
    if value < least:
        raise ValueError(f"`{name}` is {value}, expected at least {least}")
