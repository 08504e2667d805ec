"""The autograd functions that run a bridge: torch's transforms come in here, and go on with bridges of derivatives."""

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


class Call(torch.autograd.Function):
    """Runs a Bridge; its derivatives run Bridges in their turn."""

    @staticmethod
    def forward(bridge: Bridge, kept: Kept | None, *xs: Tensor) -> Tensors:
        """Outputs."""
        return bridge.values(xs, kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Note the inputs, and whether the residuals are theirs."""
        ctx.bridge, kept, *xs = inputs
        ctx.save_for_backward(*xs)
        ctx.save_for_forward(*xs)
        ctx.floats, ctx.count = floats(output), len(output)
        ctx.mark_non_differentiable(*(y for y in output if not y.is_floating_point()))
        ctx.kept = kept if kept and kept.residuals and all(map(_innermost, xs)) else None

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple:
        """From residuals; with the function run again where derivatives of this are wanted."""
        xs = ctx.saved_tensors  # raises if an input was written to meanwhile
        some = [gs[j] for j in ctx.floats]
        if ctx.kept and not torch.is_grad_enabled():
            found = Pull.apply(ctx.bridge, ctx.kept, (), *some)
        else:
            found = ctx.bridge.vjp(len(xs))(*xs, *some)
        each = dict(zip(floats(xs), found, strict=True))  # type: ignore[arg-type]
        if not any(map(is_functorch_wrapped_tensor, (*xs, *gs))):
            for j in [j for j, g in each.items() if not bool(g.any()) and j in ctx.bridge.severed(xs)]:
                each.pop(j)  # as torch says that there is no path: None, not zeros
        return None, None, *(each.get(j) for j in range(len(xs)))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *ts: Tensor | None) -> Any:
        """Tangents."""
        xs = ctx.saved_tensors
        some = [torch.zeros_like(xs[j]) if ts[j] is None else ts[j] for j in floats(xs)]
        found = dict(zip(ctx.floats, ctx.bridge.jvp(len(xs))(*xs, *some), strict=True))  # type: ignore[arg-type]
        return tuple(found.get(j) for j in range(ctx.count))

    @staticmethod
    def vmap(info: Any, dims: tuple, bridge: Bridge, kept: Kept | None, *xs: Tensor) -> tuple:
        """The vmapped function."""
        found = bridge.vmap(dims[2:])(*xs)
        return found, (0,) * len(found)


class Pull(torch.autograd.Function):
    """Runs a backward program on residuals; what it gives has no derivative."""

    @staticmethod
    def forward(bridge: Bridge, kept: Kept, dims: tuple[Dims, ...], *gs: Tensor) -> Tensors:
        """Gradients."""
        return bridge.pull(kept, dims, gs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Nothing."""

    @staticmethod
    def vmap(
        info: Any, dims: tuple, bridge: Bridge, kept: Kept, inner: tuple[Dims, ...], *gs: Tensor
    ) -> tuple:
        """Several cotangents in one program."""
        found: Tensors = Pull.apply(bridge, kept, (*inner, dims[3:]), *gs)  # type: ignore[assignment]
        return found, (0,) * len(found)


def _innermost(x: Tensor) -> bool:
    """Whether nothing but the innermost reverse pass works on a tensor, so that its residuals hold no derivatives."""
    inner = get_unwrapped(x) if is_functorch_wrapped_tensor(x) else x
    if is_functorch_wrapped_tensor(inner):
        return False
    return forward_ad._current_level < 0 or forward_ad.unpack_dual(inner).tangent is None


# FOLDED attrib/interop/jax/function.py: """A function of JAX arrays as a function of tensors that every transform of torch takes: by wrapping its derivatives too."""
Dims = tuple[int | None, ...]


class Kept:
    """Where a forward program leaves what a backward program needs.

    Neither a tuple nor a list, which torch.func would take apart and put together anew on the way.

    Attributes
    ----------
    inputs : tuple of jax.Array
    residuals : Residuals or None
        None until the program has run.
    """

    def __init__(self) -> None:
        self.inputs: Arrays = ()
        self.residuals: Residuals | None = None


class Log:
    """What was compiled and used.

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
        """`jax.jit(f)`, counted."""

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

    Derivatives and vmapped forms are Bridges again, made when first needed. The first derivative of plain tensors does
    not run the function a second time: its forward program gives what the backward program needs.

    Parameters
    ----------
    f : callable
        (weights, *arrays) to a tuple of arrays.
    weights : list of jax.Array
        Handed to every call, so that no program holds a copy.
    log : Log
    name : str
        What the log calls it.
    """

    def __init__(self, f: Flat, weights: list[jax.Array], log: Log, name: str = "f") -> None:
        self.f, self.weights, self.log, self.name = f, weights, log, name
        self._derived: dict[Hashable, Bridge] = {}
        self._severed: dict[Hashable, set[int]] = {}
        self._call = log.compiled(f)
        self._keep = log.compiled(self._linearised)
        self._pull = log.compiled(_pulled, static_argnums=0)

    def __call__(self, *xs: Tensor) -> Tensors:
        """Outputs of tensors, on torch's graph."""
        keeps = torch.is_grad_enabled() and any(x.requires_grad for x in xs)
        found: Tensors = Call.apply(self, Kept() if keeps else None, *xs)  # type: ignore[assignment]
        return found

    def values(self, xs: Sequence[Tensor], kept: Kept | None = None, noted: bool = True) -> Tensors:
        """Outputs of plain tensors; what the backward program needs is left in `kept`."""
        arrays = to_arrays(xs)
        if noted:
            self.log.note(self.name if kept is None else f"{self.name} and residuals", arrays)
        if kept is None:
            return to_tensors(self._call(self.weights, *arrays), xs)
        ys, kept.residuals = self._keep(self.weights, *arrays)
        kept.inputs = arrays
        return to_tensors(ys, xs)

    def _linearised(self, weights: list[jax.Array], *xs: jax.Array) -> tuple[Arrays, Residuals]:
        """Outputs, and those residuals that are neither weights nor inputs, which would be copied."""
        ys, pull = pullback(self.f, weights, xs)
        leaves, tree = jax.tree.flatten(pull)
        known = {id(v): j for j, v in enumerate((*weights, *xs))}
        link = Link(tree, tuple(known.get(id(leaf), -1) for leaf in leaves))
        return ys, Residuals(link, [leaf for leaf in leaves if id(leaf) not in known])

    def pull(self, kept: Kept, dims: tuple[Dims, ...], gs: Sequence[Tensor]) -> Tensors:
        """Gradients at the floating inputs from cotangents of the floating outputs, vmapped along `dims` in turn."""
        arrays = to_arrays(gs)
        self.log.note(f"{self.name} pulled back", arrays)
        return to_tensors(self._pull(dims, self.weights, kept.inputs, kept.residuals, *arrays), gs)

    def severed(self, xs: Sequence[Tensor]) -> set[int]:
        """Floating inputs that no gradient path leads back to (jax.lax.stop_gradient, rounding), by their numbers."""
        arrays = to_arrays(xs)
        key = ("severed", *((a.shape, a.dtype) for a in arrays))
        if key not in self._severed:
            ys = jax.eval_shape(self.f, self.weights, *arrays)
            gs = tuple(ys[j] for j in floats(ys))
            back = jax.make_jaxpr(lambda gs: pullback(self.f, self.weights, arrays)[1](gs))(gs)
            self._severed[key] = cut_off(back.jaxpr, floats(arrays))
        return self._severed[key]

    def vjp(self, n: int) -> Bridge:
        """(n inputs, cotangents of floating outputs) to gradients at the floating inputs."""

        def f(weights: list[jax.Array], *a: jax.Array) -> Arrays:
            return pullback(self.f, weights, a[:n])[1](a[n:])

        return self._derive(("vjp", n), f)

    def jvp(self, n: int) -> Bridge:
        """(n inputs, tangents of floating inputs) to tangents of the floating outputs."""

        def f(weights: list[jax.Array], *a: jax.Array) -> Arrays:
            g, some = floating(self.f, weights, a[:n])
            return jax.jvp(lambda *x: g(*x)[0], some, a[n:])[1]

        return self._derive(("jvp", n), f)

    def vmap(self, dims: Dims) -> Bridge:
        """The same over a new dim of its arrays; results have it first."""
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
