"""The register of translations: the function that runs each primitive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Number, Shape, Step, dtype_of, number

Run = Callable[..., Any]


class Translation(NamedTuple):
    """How a primitive runs: `run(step, *values)`; with `numbers`, values may be numbers."""

    run: Run
    numbers: bool


TRANSLATIONS: dict[str, Translation] = {}


def translation(*names: str, numbers: bool = False) -> Callable[[Run], Run]:
    """Register ``run(step, *values) -> tensor, number or list of these`` for primitives.

    Parameters
    ----------
    *names : str
        Names of primitives.
    numbers : bool
        Whether the function takes numbers too; each stands for an array filled with it.
    """

    def register(run: Run) -> Run:
        TRANSLATIONS.update(dict.fromkeys(names, Translation(run, numbers)))
        return run

    return register


def filled(value: Tensor | Number, like: Shape, device: torch.device) -> Tensor:
    """A number as a tensor; a tensor unchanged."""
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=dtype_of(like.dtype), device=device).expand(like.shape)


def python_value(step: Step, value: Tensor | Number) -> Any:
    """The Python value of an array without dims, which must not depend on the inputs."""
    if not isinstance(value, Tensor):
        return value
    try:
        return number(value)
    except NotImplementedError:
        refuse(step, "what it does depends on the values of the inputs")


def refuse(step: Step, reason: str) -> NoReturn:
    """Raise an error that names the primitive and the user's line.

    Raises
    ------
    NotImplementedError
        Always.
    """
    raise NotImplementedError(
        f"JAX's `{step.name}` at {step.source} cannot be followed op by op: {reason}; use `integrated_gradients`, which "
        "needs no more than derivatives, or write that line in other operations"
    )
