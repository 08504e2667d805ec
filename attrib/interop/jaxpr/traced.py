"""A JAX function as a torch function of the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.graph import Recorder
from attrib.engine.model.external import present
from attrib.interop.jaxpr import families  # noqa: F401  (enters the translations in the table)
from attrib.interop.jaxpr.idioms import simplified
from attrib.interop.jaxpr.interpreter import run
from attrib.interop.jaxpr.program import Builder, Constants, Program
from attrib.interop.jaxpr.table import filled

Key = tuple[Any, ...]


class Trace(NamedTuple):
    """What a function does with inputs of some shapes, and the structure of what it returns."""

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
        """`fn` of tensors, as tensors, in the structure that `fn` returns."""
        import jax

        given = [_narrowed(x, i) for i, x in enumerate(inputs)]
        program, structure = self.trace(given)
        outputs = run(program, given)
        tensors = [filled(v, m, program.device) for v, m in zip(outputs, program.makes, strict=True)]
        return jax.tree.unflatten(structure, tensors)

    def trace(self, inputs: Sequence[Tensor]) -> Trace:
        """The program for inputs like these."""
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
        A JAX function of arrays, jitted or not. What it closes over becomes constants, shared with JAX by DLPack and
        never written to.
    *examples : array-like, optional
        Inputs to trace it for at once; other shapes and dtypes are traced when they come.

    Returns
    -------
    callable
        Takes tensors, returns tensors in the structure that `fn` returns.

    Raises
    ------
    ImportError
        Without JAX.
    NotImplementedError
        When it is called: a primitive has no translation, or a loop or branch depends on the values of the inputs;
        the message names it and the user's line.
    TypeError
        An input is float64, or holds integers beyond 32 bits, and JAX runs in 32 bits.

    Notes
    -----
    The values are those of `fn` up to rounding; the order of sums may differ. Loops of known length are unrolled.
    Random numbers and callbacks are refused. Softmax and its relatives, which JAX writes out, are recognised and become
    the ops that torch has for them.

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
        raise ImportError("JAX is not installed: pip install 'attrib[jax]'") from error
    traced = Traced(fn)
    if examples:
        traced.trace([_narrowed(torch.as_tensor(x), i) for i, x in enumerate(examples)])
    return traced


def _narrowed(x: Tensor, i: int) -> Tensor:
    """64-bit integers as the 32-bit ones that JAX computes with; floats are not rounded behind the caller's back."""
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
