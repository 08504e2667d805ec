"""Softmax, its logarithm, and the logarithm of a sum of exponentials, recognised in the formulas that JAX writes for them.

JAX writes a softmax as exponentials, a sum and a quotient, and subtracts a maximum that cancels. Attributions op by op
would be complete too, but minus infinity in a mask would become NaN, and they would differ from those of the same model
in torch, whose ops have rules of their own. Each pattern is an identity for all values; steps that are no longer needed
are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Program, Shape, Step, without_dead_steps
from attrib.interop.jaxpr.shaping import others, permuted, restored
from attrib.interop.jaxpr.table import translation

COPIES = ("stop_gradient", "copy", "copy_p", "name")


class Broadcast(NamedTuple):
    """The value behind a broadcast: its dim k is dim `dims[k]` of the result."""

    value: int
    dims: tuple[int, ...]
    shape: tuple[int, ...]


class Reader:
    """Answers which steps a value comes from.

    Parameters
    ----------
    program : Program
        The program that is read.
    """

    def __init__(self, program: Program) -> None:
        self.fixed = program.fixed
        self.producers: dict[int, Step] = {ref: step for step in program.steps for ref in step.outs}
        self.shapes: dict[int, tuple[int, ...]] = {}
        for step in program.steps:
            for refs, shapes in ((step.ins, step.takes), (step.outs, step.makes)):
                self.shapes.update((ref, s.shape) for ref, s in zip(refs, shapes, strict=True))

    def step(self, ref: int, *names: str) -> Step | None:
        """The step that computes a value, if it has one of these names."""
        step = self.producers.get(self.same(ref))
        return step if step is not None and step.name in names else None

    def same(self, ref: int) -> int:
        """The value of which this is a copy, or itself."""
        while ref in self.producers and self.producers[ref].name in COPIES:
            ref = self.producers[ref].ins[0]
        return ref

    def broadcast(self, ref: int) -> Broadcast:
        """The value behind broadcasts."""
        ref = self.same(ref)
        dims = tuple(range(len(self.shapes[ref])))
        while (step := self.step(ref, "broadcast_in_dim")) is not None and len(step.ins) == 1:
            dims = tuple(dims[d] for d in step.params["broadcast_dimensions"])
            ref = self.same(step.ins[0])
        return Broadcast(ref, dims, self.shapes.get(ref, ()))

    def constant_along(self, ref: int, axes: tuple[int, ...], rank: int) -> bool:
        """Whether a value is constant along some dims of the value that it is combined with."""
        shape = self.shapes[ref]
        if not shape:
            return True
        source = self.broadcast(ref)
        size = dict(zip(source.dims, source.shape, strict=True))
        return len(shape) == rank and all(shape[a] == 1 or size.get(a, 1) == 1 for a in axes)

    def unshifted(self, ref: int, axes: tuple[int, ...]) -> int:
        """x of x - m, where m is constant along `axes`: the softmax of both is the same."""
        step = self.step(ref, "sub")
        if step is None or step.takes[0].shape != step.makes[0].shape:
            return self.same(ref)
        x, m = step.ins
        constant = self.constant_along(m, axes, len(step.makes[0].shape))
        return self.unshifted(x, axes) if constant else self.same(ref)

    def number(self, ref: int) -> Any:
        """The number that fills an array, if the program shows it."""
        while (step := self.step(ref, "broadcast_in_dim", "convert_element_type")) is not None:
            ref = step.ins[0]
        value = self.fixed.get(self.same(ref))
        return None if isinstance(value, Tensor) else value

    def exponent(self, ref: int) -> int | None:
        """z of exp(z), also where a mask sets elements of z to minus infinity and those of exp(z) to zero."""
        exponential = self.step(ref, "exp")
        if exponential is not None:
            return self.same(exponential.ins[0])
        zeroed = self.step(ref, "select_n")
        if zeroed is None or len(zeroed.ins) != 3 or self.number(zeroed.ins[1]) != 0:
            return None
        z = self.exponent(zeroed.ins[2])
        masked = None if z is None else self._masked(z)
        if masked is None or self.number(masked.ins[1]) != -math.inf:
            return None
        return z if self.same(masked.ins[0]) == self.same(zeroed.ins[0]) else None

    def _masked(self, z: int) -> Step | None:
        """The mask of z, also behind a difference."""
        step = self.step(z, "sub")
        return self.step(z if step is None else step.ins[0], "select_n")

    def reduction(self, ref: int, *reducers: str) -> tuple[Step, int] | None:
        """The reduction that a value broadcasts back along the reduced dims, and the reduced value."""
        value, dims, shape = self.broadcast(ref)
        step = self.step(value, *reducers)
        if step is None:
            return None
        axes, rank = step.params["axes"], len(step.takes[0].shape)
        remaining = tuple(d for d in range(rank) if len(shape) == rank or d not in axes)
        return (step, self.same(step.ins[0])) if dims == remaining else None


Idiom = Callable[[Step, Reader], Step | None]


def recognise_softmax(step: Step, reader: Reader) -> Step | None:
    """exp(z) / sum exp(z)."""
    if step.name != "div" or (reduction := reader.reduction(step.ins[1], "reduce_sum")) is None:
        return None
    total, e = reduction
    z = reader.exponent(e)
    if z is None or reader.exponent(step.ins[0]) != z:
        return None
    return _replaced(step, "softmax", reader.unshifted(z, total.params["axes"]), total)


def recognise_logsumexp(step: Step, reader: Reader) -> Step | None:
    """log sum exp(z), also of the absolute value of that sum, which is positive."""
    if step.name != "log":
        return None
    positive = reader.step(step.ins[0], "abs")
    source = reader.broadcast(positive.ins[0] if positive else step.ins[0])
    total = reader.step(source.value, "reduce_sum")
    z = reader.exponent(total.ins[0]) if total else None
    if total is None or z is None or not _same_but_ones(total.makes[0], step.makes[0]):
        return None
    return _replaced(step, "logsumexp", z, total)


def recognise_shifted_logsumexp(step: Step, reader: Reader) -> Step | None:
    """log sum exp(x - m) + m, where m is constant along the sum."""
    if step.name != "add":
        return None
    for part, m in (step.ins, step.ins[::-1]):
        inner = reader.step(part, "logsumexp")
        shift = reader.step(inner.ins[0], "sub") if inner else None
        if inner is None or shift is None or shift.takes[0].shape != shift.makes[0].shape:
            continue
        axes = inner.params["axes"]
        constant = reader.constant_along(shift.ins[1], axes, len(shift.makes[0].shape))
        same_shift = reader.broadcast(m).value == reader.broadcast(shift.ins[1]).value
        if constant and same_shift and _same_but_ones(inner.makes[0], step.makes[0]):
            return _replaced(step, "logsumexp", reader.same(shift.ins[0]), inner)
    return None


def recognise_log_softmax(step: Step, reader: Reader) -> Step | None:
    """z - log sum exp(z)."""
    if step.name != "sub" or (reduction := reader.reduction(step.ins[1], "logsumexp")) is None:
        return None
    logarithm, z = reduction
    if reader.same(step.ins[0]) != z:
        return None
    return _replaced(step, "log_softmax", reader.unshifted(z, logarithm.params["axes"]), logarithm)


IDIOMS: tuple[Idiom, ...] = (
    recognise_softmax,
    recognise_logsumexp,
    recognise_shifted_logsumexp,
    recognise_log_softmax,
)


def simplified(program: Program) -> Program:
    """A program with one step for each recognised formula."""
    reader, steps = Reader(program), []
    for step in program.steps:
        step = next((s for idiom in IDIOMS if (s := idiom(step, reader)) is not None), step)
        reader.producers.update(dict.fromkeys(step.outs, step))
        steps.append(step)
    return without_dead_steps(replace(program, steps=tuple(steps)))


def _replaced(step: Step, name: str, x: int, over: Step) -> Step:
    """A step that computes the result of `step` from x, over the dims that `over` reduces."""
    like = Shape(over.takes[0].shape, step.makes[0].dtype)
    return replace(step, name=name, params={"axes": over.params["axes"]}, ins=(x,), takes=(like,))


def _same_but_ones(u: Shape, v: Shape) -> bool:
    """Whether two shapes differ in dims of size 1 only."""
    return [n for n in u.shape if n != 1] == [n for n in v.shape if n != 1]


# ---------------------------------------------------------------------- in torch


@translation("softmax")
def softmax(step: Step, x: Tensor) -> Tensor:
    """exp(x) / sum exp(x)."""
    return _over_dims(torch.softmax, x, step.params["axes"])


@translation("log_softmax")
def log_softmax(step: Step, x: Tensor) -> Tensor:
    """x - log sum exp(x)."""
    return _over_dims(torch.log_softmax, x, step.params["axes"])


@translation("logsumexp")
def logsumexp(step: Step, x: Tensor) -> Tensor:
    """log sum exp(x)."""
    return torch.logsumexp(x, tuple(step.params["axes"])).reshape(step.makes[0].shape)


def _over_dims(f: Callable[[Tensor, int], Tensor], x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """f over several dims, joined into one."""
    if len(axes) == 1:
        return f(x, axes[0])
    order = [*others(x.ndim, axes), *axes]
    x = permuted(x, order)
    return restored(f(x.flatten(x.ndim - len(axes)), -1).reshape(x.shape), order)
