"""The register of translations: which function runs which primitive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Number, Shape, Step, dtype_of, number

Run = Callable[..., Any]


class Translation(NamedTuple):
    """How a primitive is run: `run(step, *values)`; with `numbers`, values may be numbers."""

    run: Run
    numbers: bool


TRANSLATIONS: dict[str, Translation] = {}


def translation(*names: str, numbers: bool = False) -> Callable[[Run], Run]:
    """Register ``run(step, *values) -> tensor, number or list of these`` for primitives.

    Parameters
    ----------
    *names : str
        Primitives.
    numbers : bool
        Whether the function takes numbers too, each standing for an array that holds it everywhere.
    """

    def register(run: Run) -> Run:
        TRANSLATIONS.update(dict.fromkeys(names, Translation(run, numbers)))
        return run

    return register


def filled(value: Tensor | Number, like: Shape, device: torch.device) -> Tensor:
    """A number as a tensor; a tensor as it is."""
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=dtype_of(like.dtype), device=device).expand(like.shape)


def settled(step: Step, value: Tensor | Number) -> Any:
    """The Python value of an array without dims, which must not depend on the inputs."""
    if not isinstance(value, Tensor):
        return value
    try:
        return number(value)
    except NotImplementedError:
        refuse(step, "what it does depends on the values of the inputs")


def refuse(step: Step, why: str) -> NoReturn:
    """Raise, naming the primitive and the user's line.

    Raises
    ------
    NotImplementedError
        Always.
    """
    raise NotImplementedError(
        f"JAX's `{step.name}` at {step.source} cannot be followed op by op: {why}; use `integrated_gradients`, which "
        "needs no more than derivatives, or write that line in other operations"
    )
