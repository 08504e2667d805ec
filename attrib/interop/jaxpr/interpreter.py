"""The interpreter: runs a program on tensors by the registered translations of its primitives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from attrib.engine.graph.nodes import at
from attrib.interop.jaxpr.program import Number, Program, Shape, Step, dtype_of, number

Value = Tensor | Number

UNSIGNED = tuple(f"not implemented for 'UInt{bits}'" for bits in (16, 32, 64))

Run = Callable[..., Any]


def run(program: Program, inputs: Sequence[Value]) -> list[Value]:
    """The outputs of a program.

    Raises
    ------
    NotImplementedError
        For a primitive without a translation, or one whose control flow depends on the inputs; the message names it and
        the user's line.
    """
    values: dict[int, Any] = {**program.fixed, **dict(zip(program.inputs, inputs, strict=True))}
    for step in program.steps:
        results = at(step.source, evaluate, step, [values[i] for i in step.ins])
        values.update(zip(step.outs, results, strict=True))
    return [values[i] for i in program.outputs]


def evaluate(step: Step, values: list[Value]) -> Sequence[Value]:
    """The results of one step; numbers if all arguments are numbers."""
    if step.name not in TRANSLATIONS:
        refuse(step, _reason(step.name))
    translation = TRANSLATIONS[step.name]
    if not translation.numbers:
        values = [filled(v, t, step.device) for v, t in zip(values, step.takes, strict=True)]
    elif len(step.outs) == 1 and values and not any(isinstance(v, Tensor) for v in values):
        return [_number(step, translation.run, values)]
    results = _translated(step, translation.run, values)
    results = results if isinstance(results, (list, tuple)) else [results]
    return [_expanded(r, m.shape) for r, m in zip(results, step.makes, strict=True)]


def _reason(name: str) -> str:
    if name.startswith(("random_", "rng_", "threefry", "philox")):
        return "it draws random numbers, and results of the model must not be random"
    if "callback" in name:
        return "it calls Python code, which cannot be recorded"
    return "it has no translation into torch"


def _translated(step: Step, run: Any, values: list[Value]) -> Any:
    try:
        return run(step, *values)
    except NotImplementedError as error:
        if str(error).endswith(UNSIGNED):  # torch has uint16, uint32 and uint64, but no ops for them
            refuse(step, str(error))
        raise


def _number(step: Step, run: Any, values: list[Value]) -> Value:
    scalars = [filled(v, t._replace(shape=()), step.device) for v, t in zip(values, step.takes, strict=True)]
    result = run(step, *scalars)
    (result,) = result if isinstance(result, (list, tuple)) else [result]
    return number(result) if isinstance(result, Tensor) and result.ndim == 0 else result


def _expanded(value: Value, shape: tuple[int, ...]) -> Value:
    """A tensor in the shape of the result, as JAX broadcasts arrays without dims and dims of size 1."""
    return value.expand(shape) if isinstance(value, Tensor) and value.shape != torch.Size(shape) else value


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
