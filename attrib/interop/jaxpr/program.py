"""A jaxpr as a flat list of steps: calls are inlined, names are numbers, loops and branches hold programs of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.graph.source import UNKNOWN, Source
from attrib.interop.jaxpr.constants import Number, number
from attrib.interop.jaxpr.lines import line

CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call"),
    *("custom_vjp_call", "custom_jvp_call_jaxpr", "custom_vjp_call_jaxpr"),
    *("call", "composite", "custom_vmap_call"),
}
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")


class Shape(NamedTuple):
    """What is known of a value before it is computed."""

    shape: tuple[int, ...]
    dtype: Any


@dataclass(frozen=True)
class Step:
    """One primitive.

    Attributes
    ----------
    name, params
        As in the jaxpr; jaxprs among the parameters of loops and branches are a `Program` each.
    ins, outs : tuple of int
        Numbers of the values it takes and makes.
    takes, makes : tuple of Shape
        Their shapes and dtypes.
    source : Source
        The user's line.
    device : torch.device
        Where new tensors are made.
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
        Literals and constants; a number stands for an array that holds it everywhere.
    makes : tuple of Shape
        Of the outputs.
    device : torch.device
        Where it runs.
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
        A JAX array as a tensor or, if it has no dims, as a number.
    device : torch.device
        Where the program is to run.
    source : Source
        The line of steps that say none of their own.
    """

    def __init__(
        self, constant: Callable[[Any], Tensor | Number], device: torch.device, source: Source = UNKNOWN
    ) -> None:
        self.constant, self.device, self.source = constant, device, source
        self.steps: list[Step] = []
        self.fixed: dict[int, Tensor | Number] = {}
        self.count = 0

    def program(self, closed: Any) -> Program:
        """The whole of a closed jaxpr."""
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

        def known(atom: Any) -> int:
            return self._fix(number(atom.val)) if hasattr(atom, "val") else names[atom]

        for equation in jaxpr.eqns:
            here = line(equation.source_info)
            outs = self._step(equation, [known(v) for v in equation.invars], here if here.line else source)
            names.update(zip(equation.outvars, outs, strict=True))
        return [known(v) for v in jaxpr.outvars]

    def _step(self, equation: Any, ins: list[int], source: Source) -> list[int]:
        name = equation.primitive.name
        if name in CALLS:
            inner = next(equation.params[p] for p in INNER if p in equation.params)
            return self._inline(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), ins, source)
        outs = [self._new() for _ in equation.outvars]
        takes, makes = (tuple(map(_shape, vs)) for vs in (equation.invars, equation.outvars))
        self.steps.append(
            Step(
                name,
                self._params(equation, source),
                tuple(ins),
                tuple(outs),
                takes,
                makes,
                source,
                self.device,
            )
        )
        return outs

    def _params(self, equation: Any, source: Source) -> dict[str, Any]:
        """With programs for jaxprs."""
        if equation.primitive.name not in ("scan", "while", "cond"):
            return equation.params
        return {k: self._nested(v, source) for k, v in equation.params.items()}

    def _nested(self, value: Any, source: Source) -> Any:
        if isinstance(value, (tuple, list)):
            return tuple(self._nested(v, source) for v in value)
        return (
            Builder(self.constant, self.device, source).program(value) if hasattr(value, "jaxpr") else value
        )

    def _new(self) -> int:
        self.count += 1
        return self.count - 1

    def _fix(self, value: Tensor | Number) -> int:
        ref = self._new()
        self.fixed[ref] = value
        return ref


def without_dead_steps(program: Program) -> Program:
    """Only what the outputs depend on."""
    live, kept = set(program.outputs), []
    for step in reversed(program.steps):
        if not live.isdisjoint(step.outs):
            kept.append(step)
            live.update(step.ins)
    fixed = {ref: v for ref, v in program.fixed.items() if ref in live}
    return replace(program, steps=tuple(reversed(kept)), fixed=fixed)


def _shape(var: Any) -> Shape:
    return Shape(tuple(getattr(var.aval, "shape", ())), getattr(var.aval, "dtype", None))
