"""A JAX function as a torch function of the same values.

Loops and branches are unrolled and taken, so they must not depend on the inputs' values. A softmax is recognised in
the formulas that JAX writes for it.

JAX writes a softmax as exponentials, a sum and a quotient, and subtracts a maximum that cancels. Attributions op by op
would be complete too, but minus infinity in a mask would become NaN, and they would differ from those of the same model
in torch, whose ops have rules of their own. Each pattern is an identity for all values; steps that are no longer needed
are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib._install import install_hint
from attrib.engine.graph import Recorder
from attrib.engine.model.parameters import present
from attrib.interop.jaxpr import contractions, elementwise, shaping
from attrib.interop.jaxpr.interpreter import filled, python_value, run, translation
from attrib.interop.jaxpr.program import Builder, Constants, Program, Shape, Step, without_dead_steps
from attrib.interop.jaxpr.shaping import others, permuted, restored

# their import registers the translations
FAMILIES = (elementwise, contractions, shaping)

Key = tuple[Any, ...]

COPIES = ("stop_gradient", "copy", "copy_p", "name")


class Trace(NamedTuple):
    """The program of a function for inputs of some shapes, and the structure of its output."""

    program: Program
    structure: Any


class Traced:
    """A JAX function as a torch function, traced once for each set of shapes.

    Parameters
    ----------
    fn : callable
        A JAX function of arrays, jitted or not.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.constants = Constants()
        self.traces: dict[Key, Trace] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """Run `fn` on tensors; its arrays are returned as tensors, in the structure of its output."""
        import jax

        narrowed = [_narrowed(x, i) for i, x in enumerate(inputs)]
        program, structure = self.trace(narrowed)
        outputs = run(program, narrowed)
        tensors = [filled(v, m, program.device) for v, m in zip(outputs, program.makes, strict=True)]
        return jax.tree.unflatten(structure, tensors)

    def trace(self, inputs: Sequence[Tensor]) -> Trace:
        """The program for inputs of these shapes and dtypes."""
        import jax

        device = inputs[0].device if inputs else torch.device("cpu")
        key = (device, jax.dtypes.canonicalize_dtype("float64"), *((tuple(x.shape), x.dtype) for x in inputs))
        if key not in self.traces:
            self.traces[key] = self._trace(inputs, device)
        return self.traces[key]

    def _trace(self, inputs: Sequence[Tensor], device: torch.device) -> Trace:
        import jax

        like = [jax.ShapeDtypeStruct(tuple(x.shape), _name(x.dtype)) for x in inputs]
        closed, shapes = jax.make_jaxpr(self.fn, return_shape=True)(*like)
        program = Builder(lambda array: self.constants.on(array, device), device).program(closed)
        return Trace(simplified(program), jax.tree.structure(shapes))


def in_torch(fn: Callable[..., Any], *examples: Any) -> Traced:
    """A torch function of the same values as a JAX function, made of ATen ops.

    Parameters
    ----------
    fn : callable
        A JAX function of arrays, jitted or not. Arrays that it closes over become constants, which share memory with
        JAX and are never written to.
    *examples : array-like, optional
        Inputs for which it is traced at once; other shapes and dtypes are traced at their first call.

    Returns
    -------
    callable
        Takes tensors, returns tensors in the structure of the output of `fn`.

    Raises
    ------
    ImportError
        If JAX is not installed.
    NotImplementedError
        In a call: a primitive has no translation, or a loop or branch depends on the values of the inputs; the message
        names the primitive and the user's line.
    TypeError
        An input is float64, or holds integers beyond 32 bits, and JAX runs in 32 bits.

    Notes
    -----
    The values are those of `fn` up to rounding; the order of sums may differ. Loops of known length are unrolled.
    Random numbers and callbacks raise an error. Softmax, its logarithm and log-sum-exp, which JAX writes as several
    primitives, are recognised and become the ops of torch.

    Examples
    --------
    >>> import jax, torch
    >>> from attrib.interop.jaxpr import in_torch
    >>> f = in_torch(lambda x: jax.nn.relu(x) @ jax.numpy.ones((3, 2)))
    >>> f(torch.tensor([[1.0, -1.0, 2.0]]))
    tensor([[3., 3.]])
    """
    try:
        import jax  # noqa: F401
    except ImportError as error:
        raise ImportError(f"JAX is not installed: {install_hint('jax')}") from error
    traced = Traced(fn)
    if examples:
        traced.trace([_narrowed(torch.as_tensor(x), i) for i, x in enumerate(examples)])
    return traced


def _narrowed(x: Tensor, i: int) -> Tensor:
    """64-bit integers as the 32-bit integers that JAX computes with; floats raise an error, as they would be rounded."""
    import jax

    name = _name(x.dtype)
    if jax.dtypes.canonicalize_dtype(name) == name:
        return x
    if x.is_floating_point() or x.is_complex():
        raise TypeError(
            f"input {i} is {name}, but JAX runs in 32 bits and would round it; pass 32-bit numbers, or call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    if not present(Recorder) and bool((x != x.to(torch.int32)).any()):
        raise TypeError(f"input {i} has integers beyond 32 bits, which JAX cannot hold while x64 is off")
    return x.to(torch.int32)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@translation("scan", numbers=True)
def scan(step: Step, *values: Any) -> list[Any]:
    """carry, y[t] = body(constants, carry, x[t])."""
    p = step.params
    body: Program = p["jaxpr"]
    first, carried = _counts(step)
    last = first + carried
    constants, carry, xs = list(values[:first]), list(values[first:last]), values[last:]
    rows = [x.unbind(0) if isinstance(x, Tensor) else [x] * p["length"] for x in xs]
    steps = range(p["length"])
    ys: list[list[Any]] = []
    for t in reversed(steps) if p["reverse"] else steps:
        results = run(body, [*constants, *carry, *(r[t] for r in rows)])
        carry, y = results[:carried], results[carried:]
        ys.append(y)
    return [*carry, *_stacked(step, ys[::-1] if p["reverse"] else ys)]


def _counts(step: Step) -> tuple[int, int]:
    """How many constants and carried values a scan has: in numbers, or since JAX 0.12 as trees of all that it takes."""
    if "num_carry" in step.params:
        return step.params["num_consts"], step.params["num_carry"]
    constants, carry, _ = (len(list(tree)) for tree in step.params["ft_in"].elts)
    return constants, carry


def _stacked(step: Step, ys: list[list[Any]]) -> list[Tensor]:
    """The results of all rounds, stacked."""
    shapes = step.makes[_counts(step)[1] :]
    if not ys:
        return [filled(0, s, step.device) for s in shapes]
    rows = [s._replace(shape=s.shape[1:]) for s in shapes]
    return [
        torch.stack([filled(y, s, step.device) for y in column])
        for column, s in zip(zip(*ys, strict=True), rows, strict=True)
    ]


@translation("while", numbers=True)
def loop(step: Step, *values: Any) -> list[Any]:
    """carry = body(carry) while test(carry), where the test does not depend on the inputs."""
    p = step.params
    m, n = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    test_constants, constants, carry = values[:m], values[m:n], list(values[n:])
    while python_value(step, run(p["cond_jaxpr"], [*test_constants, *carry])[0]):
        carry = run(p["body_jaxpr"], [*constants, *carry])
    return carry


@translation("platform_index", numbers=True)
def platform(step: Step) -> int:
    """The variant of `lax.platform_dependent` for this device; a variant without names is for all other devices."""
    variants = step.params["platforms"]
    matching = [i for i, names in enumerate(variants) if names is not None and step.device.type in names]
    return (matching or [i for i, names in enumerate(variants) if names is None])[0]


@translation("cond", numbers=True)
def branch(step: Step, which: Any, *values: Any) -> list[Any]:
    """branches[which](values), where `which` does not depend on the inputs."""
    branches = step.params["branches"]
    number = min(max(int(python_value(step, which)), 0), len(branches) - 1)
    return run(branches[number], list(values))


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


def _replaced(step: Step, name: str, x: int, over: Step) -> Step:
    """A step that computes the result of `step` from x, over the dims that `over` reduces."""
    like = Shape(over.takes[0].shape, step.makes[0].dtype)
    return replace(step, name=name, params={"axes": over.params["axes"]}, ins=(x,), takes=(like,))


def _same_but_ones(u: Shape, v: Shape) -> bool:
    """Whether two shapes differ in dims of size 1 only."""
    return [n for n in u.shape if n != 1] == [n for n in v.shape if n != 1]


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
