"""A JAX function as a torch function of the same values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib._install import install_hint
from attrib.engine.graph import Recorder
from attrib.engine.model.external import present
from attrib.interop.jaxpr import (
    contractions,
    elementwise,
    gathering,
    idioms,
    nesting,
    pooling,
    reductions,
    shaping,
)
from attrib.interop.jaxpr.idioms import simplified
from attrib.interop.jaxpr.interpreter import run
from attrib.interop.jaxpr.program import Builder, Constants, Program
from attrib.interop.jaxpr.table import filled

# their import registers the translations
FAMILIES = (elementwise, contractions, reductions, pooling, shaping, gathering, idioms, nesting)

Key = tuple[Any, ...]


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
