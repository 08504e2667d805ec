"""Formulas that are recognised as what they mean, because an op with a rule of its own says it exactly.

JAX has no softmax: it is written out as exponentials, a sum and a quotient, less a maximum that cancels. Op by op that
would be complete too, but minus infinity in a mask would turn into NaN, and the maps would not be those of the same
model in torch. Each pattern is an identity whatever the values are; what it leaves without use is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.interop.jaxpr.contractions import others, permuted, restored
from attrib.interop.jaxpr.program import Program, Shape, Step, without_dead_steps
from attrib.interop.jaxpr.table import translation

PASSED = ("stop_gradient", "copy", "copy_p", "name")


class Landed(NamedTuple):
    """A value that another one broadcasts: `value`'s dim k is the other's dim `dims[k]`."""

    value: int
    dims: tuple[int, ...]
    shape: tuple[int, ...]


class Reader:
    """Looks at how values came about.

    Parameters
    ----------
    program : Program
        What is read.
    """

    def __init__(self, program: Program) -> None:
        self.fixed = program.fixed
        self.made: dict[int, Step] = {ref: step for step in program.steps for ref in step.outs}
        self.shapes: dict[int, tuple[int, ...]] = {}
        for step in program.steps:
            for refs, known in ((step.ins, step.takes), (step.outs, step.makes)):
                self.shapes.update((ref, s.shape) for ref, s in zip(refs, known, strict=True))

    def step(self, ref: int, *names: str) -> Step | None:
        """The step that made a value, if it is one of these."""
        found = self.made.get(self.same(ref))
        return found if found is not None and found.name in names else None

    def same(self, ref: int) -> int:
        """The value that this one is, behind copies."""
        while ref in self.made and self.made[ref].name in PASSED:
            ref = self.made[ref].ins[0]
        return ref

    def landed(self, ref: int) -> Landed:
        """The value behind broadcasts."""
        ref = self.same(ref)
        dims = tuple(range(len(self.shapes[ref])))
        while (step := self.step(ref, "broadcast_in_dim")) is not None and len(step.ins) == 1:
            dims = tuple(dims[d] for d in step.params["broadcast_dimensions"])
            ref = self.same(step.ins[0])
        return Landed(ref, dims, self.shapes.get(ref, ()))

    def constant_along(self, ref: int, axes: tuple[int, ...], rank: int) -> bool:
        """Whether a value is the same along some dims of what it is combined with."""
        shape = self.shapes[ref]
        if not shape:
            return True
        found = self.landed(ref)
        size = dict(zip(found.dims, found.shape, strict=True))
        return len(shape) == rank and all(shape[a] == 1 or size.get(a, 1) == 1 for a in axes)

    def unshifted(self, ref: int, axes: tuple[int, ...]) -> int:
        """x of x - m, where m is the same along `axes`: a softmax over them does not see it."""
        step = self.step(ref, "sub")
        if step is None or step.takes[0].shape != step.makes[0].shape:
            return self.same(ref)
        x, m = step.ins
        constant = self.constant_along(m, axes, len(step.makes[0].shape))
        return self.unshifted(x, axes) if constant else self.same(ref)

    def number(self, ref: int) -> Any:
        """The number that an array holds everywhere, if that can be seen."""
        while (step := self.step(ref, "broadcast_in_dim", "convert_element_type")) is not None:
            ref = step.ins[0]
        value = self.fixed.get(self.same(ref))
        return None if isinstance(value, Tensor) else value

    def exponent(self, ref: int) -> int | None:
        """Z of exp(z), also where what a mask made minus infinity in z is made zero once more."""
        exponential = self.step(ref, "exp")
        if exponential is not None:
            return self.same(exponential.ins[0])
        zeroed = self.step(ref, "select_n")
        if zeroed is None or len(zeroed.ins) != 3 or self.number(zeroed.ins[1]) != 0:
            return None
        z = self.exponent(zeroed.ins[2])
        masked = None if z is None else self.step(self._minuend(z), "select_n")
        if masked is None or self.number(masked.ins[1]) != -math.inf:
            return None
        return z if self.same(masked.ins[0]) == self.same(zeroed.ins[0]) else None

    def _minuend(self, ref: int) -> int:
        step = self.step(ref, "sub")
        return ref if step is None else step.ins[0]

    def summed(self, ref: int, *reducers: str) -> tuple[Step, int] | None:
        """The reduction that a value broadcasts back along the dims it went over, and what it reduced."""
        value, dims, shape = self.landed(ref)
        step = self.step(value, *reducers)
        if step is None:
            return None
        axes, rank = step.params["axes"], len(step.takes[0].shape)
        kept = tuple(d for d in range(rank) if d not in axes) if len(shape) < rank else tuple(range(rank))
        return (step, self.same(step.ins[0])) if dims == kept else None


Idiom = Callable[[Step, Reader], Step | None]


def as_softmax(step: Step, reader: Reader) -> Step | None:
    """exp(z) / sum exp(z)."""
    if step.name != "div" or (found := reader.summed(step.ins[1], "reduce_sum")) is None:
        return None
    total, e = found
    z = reader.exponent(e)
    if z is None or reader.exponent(step.ins[0]) != z:
        return None
    return _of(step, "softmax", reader.unshifted(z, total.params["axes"]), total)


def as_logsumexp(step: Step, reader: Reader) -> Step | None:
    """Log sum exp(z), also of the absolute value of that sum, which is none."""
    if step.name != "log":
        return None
    positive = reader.step(step.ins[0], "abs")
    found = reader.landed(positive.ins[0] if positive else step.ins[0])
    total = reader.step(found.value, "reduce_sum")
    z = reader.exponent(total.ins[0]) if total else None
    if total is None or z is None or not _as_many(total.makes[0], step.makes[0]):
        return None
    return _of(step, "logsumexp", z, total)


def as_unshifted_logsumexp(step: Step, reader: Reader) -> Step | None:
    """Log sum exp(x - m) + m."""
    if step.name != "add":
        return None
    for part, m in (step.ins, step.ins[::-1]):
        inner = reader.step(part, "logsumexp")
        shift = reader.step(inner.ins[0], "sub") if inner else None
        if inner is None or shift is None or shift.takes[0].shape != shift.makes[0].shape:
            continue
        axes = inner.params["axes"]
        constant = reader.constant_along(shift.ins[1], axes, len(shift.makes[0].shape))
        shown = reader.landed(m).value == reader.landed(shift.ins[1]).value
        if constant and shown and _as_many(inner.makes[0], step.makes[0]):
            return _of(step, "logsumexp", reader.same(shift.ins[0]), inner)
    return None


def as_log_softmax(step: Step, reader: Reader) -> Step | None:
    """Z - log sum exp(z)."""
    if step.name != "sub" or (found := reader.summed(step.ins[1], "logsumexp")) is None:
        return None
    logarithm, z = found
    if reader.same(step.ins[0]) != z:
        return None
    return _of(step, "log_softmax", reader.unshifted(z, logarithm.params["axes"]), logarithm)


IDIOMS: tuple[Idiom, ...] = (as_softmax, as_logsumexp, as_unshifted_logsumexp, as_log_softmax)


def simplified(program: Program) -> Program:
    """A program with its idioms recognised."""
    reader, steps = Reader(program), []
    for step in program.steps:
        found = next((s for idiom in IDIOMS if (s := idiom(step, reader)) is not None), step)
        reader.made.update(dict.fromkeys(found.outs, found))
        steps.append(found)
    return without_dead_steps(replace(program, steps=tuple(steps)))


def _of(step: Step, name: str, x: int, over: Step) -> Step:
    """A step that makes the same from x, over the dims of another one."""
    like = Shape(over.takes[0].shape, step.makes[0].dtype)
    return replace(step, name=name, params={"axes": over.params["axes"]}, ins=(x,), takes=(like,))


def _as_many(u: Shape, v: Shape) -> bool:
    """Whether two shapes differ in dims of size 1 alone."""
    return [n for n in u.shape if n != 1] == [n for n in v.shape if n != 1]


# FOLDED attrib/interop/jaxpr/idioms.py: """What idioms stand for: softmax, its logarithm, and the logarithm of a sum of exponentials."""
@translation("softmax")
def softmax(step: Step, x: Tensor) -> Tensor:
    """exp(x) / sum exp(x)."""
    return _joined(torch.softmax, x, step.params["axes"])


@translation("log_softmax")
def log_softmax(step: Step, x: Tensor) -> Tensor:
    """X - log sum exp(x)."""
    return _joined(torch.log_softmax, x, step.params["axes"])


@translation("logsumexp")
def logsumexp(step: Step, x: Tensor) -> Tensor:
    """Log sum exp(x)."""
    return torch.logsumexp(x, tuple(step.params["axes"])).reshape(step.makes[0].shape)


def _joined(f: Callable[[Tensor, int], Tensor], x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Over several dims as over one."""
    if len(axes) == 1:
        return f(x, axes[0])
    order = [*others(x.ndim, axes), *axes]
    moved = permuted(x, order)
    return restored(f(moved.flatten(x.ndim - len(axes)), -1).reshape(moved.shape), order)
