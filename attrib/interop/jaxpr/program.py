"""A jaxpr as a flat list of steps: calls are inlined, values are numbered, loops and branches hold programs of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attrib.engine.graph.nodes import UNKNOWN, Source

CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call"),
    *("custom_vjp_call", "custom_jvp_call_jaxpr", "custom_vjp_call_jaxpr"),
    *("call", "composite", "custom_vmap_call"),
}
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
_ATTRIB = str(Path(__file__).parents[2])
_LIBRARIES = tuple(f"/site-packages/{name}/" for name in ("jax", "jaxlib", "flax", "equinox", "haiku"))

Number = bool | int | float | complex


class Shape(NamedTuple):
    """Shape and dtype of a value."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class Step:
    """One primitive.

    Attributes
    ----------
    name, params
        As in the jaxpr; each jaxpr among the parameters of a loop or branch is a `Program`.
    ins, outs : tuple of int
        Numbers of the arguments and results.
    takes, makes : tuple of Shape
        Their shapes and dtypes.
    source : Source
        The user's line.
    device : torch.device
        The device of new tensors.
    """

    name: str
    params: dict[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    takes: tuple[Shape, ...]
    makes: tuple[Shape, ...]
    source: Source
    device: torch.device


@dataclass(frozen=True)
class Program:
    """Steps from inputs to outputs.

    Attributes
    ----------
    inputs, outputs : tuple of int
        Numbers of values.
    steps : tuple of Step
        In order.
    fixed : dict
        Literals and constants; a number stands for an array filled with it.
    makes : tuple of Shape
        Shapes and dtypes of the outputs.
    device : torch.device
        The device on which it runs.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    fixed: dict[int, Tensor | Number]
    makes: tuple[Shape, ...]
    device: torch.device


class Builder:
    """Builds a program from a closed jaxpr.

    Parameters
    ----------
    constant : callable
        Maps a JAX array to a tensor or, if it has no dims, to a number.
    device : torch.device
        The device on which the program will run.
    source : Source
        The line of steps that have none themselves.
    """

    def __init__(
        self, constant: Callable[[Any], Tensor | Number], device: torch.device, source: Source = UNKNOWN
    ) -> None:
        self.constant, self.device, self.source = constant, device, source
        self.steps: list[Step] = []
        self.fixed: dict[int, Tensor | Number] = {}
        self.count = 0

    def program(self, closed: Any) -> Program:
        """The program of a closed jaxpr."""
        inputs = [self._new() for _ in closed.jaxpr.invars]
        outputs = self._inline(closed.jaxpr, closed.consts, inputs, self.source)
        makes = tuple(_shape(v) for v in closed.jaxpr.outvars)
        return without_dead_steps(
            Program(tuple(inputs), tuple(outputs), tuple(self.steps), self.fixed, makes, self.device)
        )

    def _inline(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int], source: Source) -> list[int]:
        names = dict(zip(jaxpr.invars, inputs, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            names[var] = self._fix(self.constant(value))

        def ref(atom: Any) -> int:
            return self._fix(number(atom.val)) if hasattr(atom, "val") else names[atom]

        for equation in jaxpr.eqns:
            own_line = line(equation.source_info)
            ins = [ref(v) for v in equation.invars]
            outs = self._step(equation, ins, own_line if own_line.line else source)
            names.update(zip(equation.outvars, outs, strict=True))
        return [ref(v) for v in jaxpr.outvars]

    def _step(self, equation: Any, ins: list[int], source: Source) -> list[int]:
        name = equation.primitive.name
        if name in CALLS:
            inner = next(equation.params[p] for p in INNER if p in equation.params)
            return self._inline(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), ins, source)
        outs = [self._new() for _ in equation.outvars]
        takes, makes = (tuple(map(_shape, vs)) for vs in (equation.invars, equation.outvars))
        params = self._params(equation, source)
        self.steps.append(Step(name, params, tuple(ins), tuple(outs), takes, makes, source, self.device))
        return outs

    def _params(self, equation: Any, source: Source) -> dict[str, Any]:
        """Parameters with a program for each jaxpr."""
        if equation.primitive.name not in ("scan", "while", "cond"):
            return equation.params
        return {k: self._nested(v, source) for k, v in equation.params.items()}

    def _nested(self, value: Any, source: Source) -> Any:
        if isinstance(value, (tuple, list)):
            return tuple(self._nested(v, source) for v in value)
        if not hasattr(value, "jaxpr"):
            return value
        return Builder(self.constant, self.device, source).program(value)

    def _new(self) -> int:
        self.count += 1
        return self.count - 1

    def _fix(self, value: Tensor | Number) -> int:
        ref = self._new()
        self.fixed[ref] = value
        return ref


def without_dead_steps(program: Program) -> Program:
    """The program without steps and constants that no output depends on."""
    live, steps = set(program.outputs), []
    for step in reversed(program.steps):
        if not live.isdisjoint(step.outs):
            steps.append(step)
            live.update(step.ins)
    fixed = {ref: v for ref, v in program.fixed.items() if ref in live}
    return replace(program, steps=tuple(reversed(steps)), fixed=fixed)


def _shape(var: Any) -> Shape:
    return Shape(tuple(getattr(var.aval, "shape", ())), getattr(var.aval, "dtype", None))


def line(info: Any) -> Source:
    """The user's line of a primitive: the innermost outside JAX, libraries of layers, and attrib."""
    trace = getattr(info, "traceback", None)
    for frame in trace.frames if trace is not None else ():
        file = frame.file_name.replace("\\", "/")
        if not (file.startswith((_ATTRIB, "<frozen")) or any(part in file for part in _LIBRARIES)):
            return Source(file, frame.line_num, frame.function_name)
    return UNKNOWN


# ---------------------------------------------------------------------- arrays and dtypes of JAX in torch


class Constants:
    """Tensors of the arrays that a function closes over, one for each array.

    They share the arrays' memory where DLPack allows it, as they are never written to.
    """

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, torch.device], tuple[Any, Tensor | Number]] = {}

    def on(self, array: Any, device: torch.device) -> Tensor | Number:
        """An array as a tensor; one without dims as a number."""
        key = (id(array), device)
        if key not in self._tensors:  # the reference to the array keeps its id from being used again
            value = number(array) if np.ndim(array) == 0 else tensor(array).to(device)
            self._tensors[key] = (array, value)
        return self._tensors[key][1]


def tensor(array: Any) -> Tensor:
    """A JAX or NumPy array as a tensor that must not be written to."""
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        try:
            return torch.from_dlpack(array)
        except (RuntimeError, BufferError, TypeError, ValueError):  # for example, on several devices
            pass
    dtype_of(array.dtype)
    values = np.array(array)  # a writable copy: torch warns of others
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(values)


def number(scalar: Any) -> Number:
    """The value of an array without dims, or of a literal."""
    with torch._C.DisableTorchFunction():  # a constant may leave torch
        return scalar.item() if hasattr(scalar, "item") else scalar


def dtype_of(dtype: Any) -> torch.dtype:
    """The dtype of torch that has the name of a dtype of NumPy or JAX.

    Raises
    ------
    NotImplementedError
        If there is none, as for keys of random numbers or four-bit numbers.
    """
    of_torch = getattr(torch, getattr(dtype, "name", str(dtype)), None)
    if not isinstance(of_torch, torch.dtype):
        raise NotImplementedError(
            f"`f` holds an array of {dtype}, a dtype that torch does not have, so its ops cannot be followed; use "
            "`integrated_gradients`, which needs no more than derivatives, or another dtype"
        )
    return of_torch
