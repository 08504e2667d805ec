"""Runs a callable under a recorder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attrib.engine.graph.modes import Unfused, outside_transforms, plain
from attrib.engine.graph.nodes import Graph
from attrib.engine.graph.recorder import Decompose, Recorder, composite


def record(
    f: Callable[..., Tensor], inputs: Sequence[Tensor], decompose: Decompose = composite, keep: bool = False
) -> Graph:
    """Run `f` once and write down every ATen op between its inputs and its output.

    Writes in place become their pure counterparts, whatever views they go through; `detach` is dropped; what no
    input reaches is a constant.

    Parameters
    ----------
    f : callable
        Takes the inputs and returns a tensor.
    inputs : sequence of Tensor
        Where to run it. Copies are used, so `f` may write to them. Under `torch.func.vmap` the first example is used:
        the graph is that of one example.
    decompose : callable, optional
        `decompose(op)` gives a Python function to record in place of an op, or None to record the op itself. The
        default takes apart the ops that torch itself always takes apart.
    keep : bool, default False
        Hand over what each op gave, as `Graph.seen`, unless `f` wrote in place or gave memory away.

    Returns
    -------
    Graph

    Raises
    ------
    NotImplementedError
        `f` takes a Python value from a tensor that depends on its inputs, or writes such a tensor into memory that it
        closes over, or has an op that writes and has no pure counterpart.
    TypeError
        `f` returns something else than one tensor.

    Notes
    -----
    One forward pass of `f`, whose activations are held until the recording ends.

    Examples
    --------
    >>> import torch
    >>> graph = record(lambda x: (x * 2).relu_().sum(), [torch.ones(3)])
    >>> [str(node.op) for node in graph.nodes]
    ['aten.mul.Tensor', 'aten.relu.default', 'aten.sum.default']
    >>> graph.run([torch.tensor([1.0, -1.0, 2.0])])
    tensor(6.)
    """
    with outside_transforms() as lifted:
        copies = [plain(x).clone(memory_format=torch.contiguous_format) for x in inputs]
        recorder = Recorder(copies, decompose, _call.__code__)
        lifted.register = recorder.memory.activate
        with Unfused() as mode, recorder:
            value = _call(f, copies)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"`f` returned {type(value).__name__}, expected one tensor; pass a function that picks it"
            )
        return recorder.graph(value, lifted.pairs.values(), keep and not (lifted.pairs or mode.exposed))


def evaluate(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """`f(*inputs)` on plain tensors, without derivatives; under `torch.func.vmap`, that of the first example."""
    with outside_transforms():
        return f(*(plain(x) for x in inputs))


def _call(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    return f(*inputs)  # a frame of its own: where the search for a source line ends
