"""A function of JAX arrays as a function of tensors that all torch transforms accept, as its derivatives are bridged too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from attrib.interop.arrays import as_tensor

Tensors = tuple[Tensor, ...]
Dims = tuple[int | None, ...]

Arrays = tuple[jax.Array, ...]
Flat = Callable[..., Arrays]  # (weights, *arrays) -> arrays

_INT32 = torch.iinfo(torch.int32)


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


def cut_off(jaxpr: Any, numbers: Sequence[int]) -> set[int]:
    """The `numbers` of those outputs of a jaxpr that do not depend on its inputs."""
    reached = set(map(id, jaxpr.invars))
    for eqn in jaxpr.eqns:
        if any(id(v) in reached for v in eqn.invars):
            reached.update(map(id, eqn.outvars))
    return {j for j, v in zip(numbers, jaxpr.outvars, strict=True) if id(v) not in reached}


def coarsest(jaxpr: Any) -> float:
    """The largest eps of the numbers that a jaxpr computes with, in calls and loops too."""
    largest = 0.0
    for eqn in jaxpr.eqns:
        dtypes = (getattr(v.aval, "dtype", None) for v in eqn.outvars)
        epses = (float(jnp.finfo(d).eps) for d in dtypes if d is not None and jnp.issubdtype(d, jnp.floating))
        inner = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr"))
        programs = (getattr(v, "jaxpr", v) for v in inner)
        largest = max([largest, *epses, *(coarsest(p) for p in programs if hasattr(p, "eqns"))])
    return largest


def floats(arrays: Sequence[Any]) -> list[int]:
    """Numbers of the arrays or tensors of floats, which have derivatives."""

    def is_float(a: Any) -> bool:
        return a.is_floating_point() if isinstance(a, Tensor) else jnp.issubdtype(a.dtype, jnp.floating)

    return [j for j, a in enumerate(arrays) if is_float(a)]


def floating(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Callable[..., tuple[Arrays, Arrays]], Arrays]:
    """A function of the floating inputs of `f`, which returns its floating and all outputs; and these inputs."""
    at = floats(xs)

    def g(*floating_xs: jax.Array) -> tuple[Arrays, Arrays]:
        inputs = list(xs)
        for j, x in zip(at, floating_xs, strict=True):
            inputs[j] = x
        ys = f(weights, *inputs)
        return tuple(ys[j] for j in floats(ys)), ys

    return g, tuple(xs[j] for j in at)


def pullback(
    f: Flat, weights: list[jax.Array], xs: Sequence[jax.Array]
) -> tuple[Arrays, Callable[..., Arrays]]:
    """All outputs, and the pullback from floating outputs to floating inputs."""
    g, floating_xs = floating(f, weights, xs)
    _, pull, ys = jax.vjp(g, *floating_xs, has_aux=True)
    return ys, pull


class Link:
    """The structure by which residuals become a pullback again; equal only to itself.

    Parameters
    ----------
    tree : PyTreeDef
        The structure of the pullback.
    places : tuple of int
        For each leaf, the number of the weight or input that it is, or -1.
    """

    def __init__(self, tree: Any, places: tuple[int, ...]) -> None:
        self.tree, self.places = tree, places

    def pullback(
        self, weights_and_inputs: Sequence[jax.Array], residuals: Sequence[jax.Array]
    ) -> Callable[..., Arrays]:
        """The pullback."""
        others = iter(residuals)
        leaves = [next(others) if j < 0 else weights_and_inputs[j] for j in self.places]
        return jax.tree.unflatten(self.tree, leaves)


@jax.tree_util.register_pytree_node_class
class Residuals:
    """Arrays that a forward program passes to a backward program, with their `Link` as static data."""

    def __init__(self, link: Link, arrays: Sequence[jax.Array]) -> None:
        self.link, self.arrays = link, arrays

    def tree_flatten(self) -> tuple[Sequence[jax.Array], Link]:
        """The arrays, and the link."""
        return self.arrays, self.link

    @classmethod
    def tree_unflatten(cls, link: Link, arrays: Sequence[jax.Array]) -> Residuals:
        """Residuals from a link and arrays."""
        return cls(link, arrays)


def to_array(t: Tensor, name: str = "x") -> jax.Array:
    """A tensor as a JAX array of the same memory; a copy if the tensor is not contiguous.

    Raises
    ------
    TypeError
        For complex numbers, and for 64-bit numbers that JAX would round while x64 is off.
    ValueError
        For a tensor on a device that JAX does not have.
    """
    if t.is_complex():
        raise TypeError(f"`{name}` is complex; pass its real and imaginary parts as two inputs")
    t = narrowed(t.detach(), name)
    try:
        return jax.dlpack.from_dlpack(t.resolve_neg().contiguous())
    except RuntimeError as error:
        raise ValueError(
            f"`{name}` is on {t.device}, which JAX cannot reach here ({error}); JAX has {jax.devices()}"
        ) from error


def narrowed(t: Tensor, name: str) -> Tensor:
    """64-bit integers as the 32-bit integers that JAX computes with; float64 raises an error, as it would be rounded."""
    if jax.config.jax_enable_x64 or t.dtype not in (torch.float64, torch.int64):  # type: ignore[attr-defined]
        return t
    if t.dtype is torch.float64:
        raise TypeError(
            f"`{name}` is float64, but JAX computes in float32 while x64 is off; pass float32, or turn x64 on first: "
            'jax.config.update("jax_enable_x64", True)'
        )
    if t.numel() and not (_INT32.min <= int(t.min()) and int(t.max()) <= _INT32.max):
        raise TypeError(f"`{name}` has integers beyond 32 bits, which JAX cannot hold while x64 is off")
    return t.to(torch.int32)


def to_arrays(ts: Sequence[Tensor]) -> tuple[jax.Array, ...]:
    """Tensors as JAX arrays; see `to_array`."""
    return tuple(to_array(t, f"x[{j}]" if len(ts) > 1 else "x") for j, t in enumerate(ts))


def to_tensors(arrays: Sequence[jax.Array], others: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
    """JAX arrays as tensors of the same memory; copies of those that share memory with `others` or each other."""
    used = {t.data_ptr() for t in others if t.numel()}
    tensors = []
    for a in arrays:
        t = torch.from_dlpack(a)
        t = t.clone() if t.data_ptr() in used else t
        used.add(t.data_ptr())
        tensors.append(t)
    return tuple(tensors)


def view(a: jax.Array) -> Tensor | None:
    """A tensor in the memory of a JAX array of floats; None if torch cannot hold it."""
    if not jax.numpy.issubdtype(a.dtype, np.floating) or len(a.devices()) != 1:
        return None
    try:
        return torch.from_dlpack(a)
    except (TypeError, RuntimeError, BufferError):  # float8, or a device without torch
        return None


def result_to_jax(result: Any) -> Any:
    """See `attrib.interop.jax.to_jax`."""
    if isinstance(result, tuple):
        return tuple(map(result_to_jax, result))
    if isinstance(result, xr.Dataset):
        return result.map(result_to_jax, keep_attrs=True)
    if isinstance(result, Mapping):
        return {k: result_to_jax(v) for k, v in result.items()}
    if isinstance(result, xr.DataArray):
        return result.copy(data=_array(result.values))
    if isinstance(result, Tensor | np.ndarray | jax.Array):
        return _array(result)
    raise TypeError(
        f"`result` is a {type(result).__name__}, expected a DataArray, Dataset, tensor, array, or a tuple or mapping of these"
    )


def _array(values: Any) -> jax.Array:
    return to_array(as_tensor(values, "result").clone(), "result")
