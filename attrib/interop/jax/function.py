"""A function of JAX arrays as a function of tensors that all torch transforms accept, as its derivatives are bridged too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from attrib.interop.jax.exchange import to_arrays, to_tensors
from attrib.interop.jax.pullback import Arrays, Flat, Link, Residuals, cut_off, floating, floats, pullback

Tensors = tuple[Tensor, ...]
Dims = tuple[int | None, ...]


class Tape:
    """The arrays that a forward program saves for the backward program.

    It is neither a tuple nor a list, as torch.func would flatten and rebuild these.

    Attributes
    ----------
    inputs : tuple of jax.Array
        Inputs of the forward program.
    residuals : Residuals or None
        None until the forward program has run.
    """

    def __init__(self) -> None:
        self.inputs: Arrays = ()
        self.residuals: Residuals | None = None


class Log:
    """Counts of compiled programs and of their calls.

    Attributes
    ----------
    traced : int
        Programs compiled so far.
    uses : Counter
        Calls of each program: its name, and the shapes and dtypes of its arrays.
    """

    def __init__(self) -> None:
        self.traced = 0
        self.uses: Counter[Hashable] = Counter()

    def compiled(self, f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        """Compile `f` by `jax.jit`, and count it."""

        def traced(*args: Any) -> Any:
            self.traced += 1
            try:
                return f(*args)
            except jax.errors.JAXTypeError as error:
                error.add_note(
                    "A model from `from_jax` is compiled: jax.jit must be able to take the function."
                )
                raise

        return jax.jit(traced, **options)

    def note(self, name: str, arrays: Sequence[jax.Array]) -> None:
        """Count a call."""
        self.uses[(name, *((a.shape, a.dtype) for a in arrays))] += 1


class Bridge:
    """A JAX function as a torch function, closed under grad, vjp, jvp, vmap and their nestings.

    Derivatives and vmapped forms are bridges too, built when they are first needed. The first derivative of plain tensors
    does not run the function again, as the forward program saves a tape for the backward program.

    Parameters
    ----------
    f : callable
        Maps (weights, *arrays) to a tuple of arrays.
    weights : list of jax.Array
        Weights; they are arguments of every call, so that no program holds a copy.
    log : Log
        Counts compilations and calls.
    name : str
        Name of the function in the log.
    """

    def __init__(self, f: Flat, weights: list[jax.Array], log: Log, name: str = "f") -> None:
        self.f, self.weights, self.log, self.name = f, weights, log, name
        self._derived: dict[Hashable, Bridge] = {}
        self._severed: dict[Hashable, set[int]] = {}
        self._call = log.compiled(f)
        self._call_with_residuals = log.compiled(self._linearised)
        self._pull = log.compiled(_pulled, static_argnums=0)

    def __call__(self, *xs: Tensor) -> Tensors:
        """Outputs of tensors, with a derivative in torch."""
        differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in xs)
        ys: Tensors = Call.apply(self, Tape() if differentiable else None, *xs)  # type: ignore[assignment]
        return ys

    def values(self, xs: Sequence[Tensor], tape: Tape | None = None, noted: bool = True) -> Tensors:
        """Outputs of plain tensors; residuals go to `tape`."""
        arrays = to_arrays(xs)
        if noted:
            self.log.note(self.name if tape is None else f"{self.name} and residuals", arrays)
        if tape is None:
            return to_tensors(self._call(self.weights, *arrays), xs)
        ys, tape.residuals = self._call_with_residuals(self.weights, *arrays)
        tape.inputs = arrays
        return to_tensors(ys, xs)

    def _linearised(self, weights: list[jax.Array], *xs: jax.Array) -> tuple[Arrays, Residuals]:
        """Outputs and residuals; weights and inputs among these are linked instead of copied."""
        ys, pull = pullback(self.f, weights, xs)
        leaves, tree = jax.tree.flatten(pull)
        numbers = {id(v): j for j, v in enumerate((*weights, *xs))}
        link = Link(tree, tuple(numbers.get(id(leaf), -1) for leaf in leaves))
        return ys, Residuals(link, [leaf for leaf in leaves if id(leaf) not in numbers])

    def pull(self, tape: Tape, dims: tuple[Dims, ...], gs: Sequence[Tensor]) -> Tensors:
        """Gradients at the floating inputs from cotangents of the floating outputs, vmapped along each of `dims`."""
        arrays = to_arrays(gs)
        self.log.note(f"{self.name} pulled back", arrays)
        return to_tensors(self._pull(dims, self.weights, tape.inputs, tape.residuals, *arrays), gs)

    def severed(self, xs: Sequence[Tensor]) -> set[int]:
        """Numbers of the floating inputs that no gradient reaches (jax.lax.stop_gradient, rounding)."""
        arrays = to_arrays(xs)
        key = ("severed", *((a.shape, a.dtype) for a in arrays))
        if key not in self._severed:
            ys = jax.eval_shape(self.f, self.weights, *arrays)
            gs = tuple(ys[j] for j in floats(ys))
            back = jax.make_jaxpr(lambda gs: pullback(self.f, self.weights, arrays)[1](gs))(gs)
            self._severed[key] = cut_off(back.jaxpr, floats(arrays))
        return self._severed[key]

    def vjp(self, n: int) -> Bridge:
        """The bridge from n inputs and cotangents of floating outputs to gradients at the floating inputs."""

        def f(weights: list[jax.Array], *a: jax.Array) -> Arrays:
            return pullback(self.f, weights, a[:n])[1](a[n:])

        return self._derive(("vjp", n), f)

    def jvp(self, n: int) -> Bridge:
        """The bridge from n inputs and tangents of floating inputs to tangents of the floating outputs."""

        def f(weights: list[jax.Array], *a: jax.Array) -> Arrays:
            g, xs = floating(self.f, weights, a[:n])
            return jax.jvp(lambda *x: g(*x)[0], xs, a[n:])[1]

        return self._derive(("jvp", n), f)

    def vmap(self, dims: Dims) -> Bridge:
        """The bridge over a new dim of the arrays; results have it first."""
        return self._derive(("vmap", *dims), jax.vmap(self.f, (None, *dims)))

    def _derive(self, key: tuple, f: Flat) -> Bridge:
        if key not in self._derived:
            self._derived[key] = Bridge(f, self.weights, self.log, f"{self.name}.{'-'.join(map(str, key))}")
        return self._derived[key]


def _pulled(
    dims: tuple[Dims, ...], weights: list[jax.Array], xs: Arrays, residuals: Residuals, *gs: jax.Array
) -> Arrays:
    pull = residuals.link.pullback((*weights, *xs), residuals.arrays)

    def f(*g: jax.Array) -> Arrays:
        return pull(g)

    for d in dims:
        f = jax.vmap(f, d)
    return f(*gs)


# ---------------------------------------------------------------------- as autograd functions


class Call(torch.autograd.Function):
    """Runs a bridge; its derivatives run bridges too."""

    @staticmethod
    def forward(bridge: Bridge, tape: Tape | None, *xs: Tensor) -> Tensors:
        """Outputs."""
        return bridge.values(xs, tape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Save the inputs, and the tape if its residuals are those of these inputs."""
        ctx.bridge, tape, *xs = inputs
        ctx.save_for_backward(*xs)
        ctx.save_for_forward(*xs)
        ctx.floats, ctx.count = floats(output), len(output)
        ctx.mark_non_differentiable(*(y for y in output if not y.is_floating_point()))
        ctx.tape = tape if tape and tape.residuals and all(map(_innermost, xs)) else None

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple:
        """Gradients from the tape; by another run of the function if they are to be differentiated."""
        xs = ctx.saved_tensors  # raises if an input was overwritten
        cotangents = [gs[j] for j in ctx.floats]
        if ctx.tape and not torch.is_grad_enabled():
            gradients = Pull.apply(ctx.bridge, ctx.tape, (), *cotangents)
        else:
            gradients = ctx.bridge.vjp(len(xs))(*xs, *cotangents)
        by_input = dict(zip(floats(xs), gradients, strict=True))  # type: ignore[arg-type]
        if not any(map(is_functorch_wrapped_tensor, (*xs, *gs))):
            for j in [j for j, g in by_input.items() if not bool(g.any()) and j in ctx.bridge.severed(xs)]:
                by_input.pop(j)  # None, as torch returns where no path leads to an input
        return None, None, *(by_input.get(j) for j in range(len(xs)))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *ts: Tensor | None) -> Any:
        """Tangents of the outputs."""
        xs = ctx.saved_tensors
        tangents = [torch.zeros_like(xs[j]) if ts[j] is None else ts[j] for j in floats(xs)]
        outputs = ctx.bridge.jvp(len(xs))(*xs, *tangents)  # type: ignore[arg-type]
        by_output = dict(zip(ctx.floats, outputs, strict=True))
        return tuple(by_output.get(j) for j in range(ctx.count))

    @staticmethod
    def vmap(info: Any, dims: tuple, bridge: Bridge, tape: Tape | None, *xs: Tensor) -> tuple:
        """Outputs of the vmapped function."""
        ys = bridge.vmap(dims[2:])(*xs)
        return ys, (0,) * len(ys)


class Pull(torch.autograd.Function):
    """Runs a backward program on a tape; its results have no derivatives."""

    @staticmethod
    def forward(bridge: Bridge, tape: Tape, dims: tuple[Dims, ...], *gs: Tensor) -> Tensors:
        """Gradients."""
        return bridge.pull(tape, dims, gs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Save nothing."""

    @staticmethod
    def vmap(
        info: Any, dims: tuple, bridge: Bridge, tape: Tape, inner: tuple[Dims, ...], *gs: Tensor
    ) -> tuple:
        """Gradients of several cotangents, by one program."""
        gradients: Tensors = Pull.apply(bridge, tape, (*inner, dims[3:]), *gs)  # type: ignore[assignment]
        return gradients, (0,) * len(gradients)


def _innermost(x: Tensor) -> bool:
    """Whether only the innermost reverse pass works on a tensor, so that its residuals carry no derivatives."""
    inner = get_unwrapped(x) if is_functorch_wrapped_tensor(x) else x
    if is_functorch_wrapped_tensor(inner):
        return False
    return forward_ad._current_level < 0 or forward_ad.unpack_dual(inner).tangent is None
