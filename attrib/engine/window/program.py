"""The model as a list of ops for any number of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode

from attrib.engine.graph import RECURRENT, Graph, Node, Ref, composite, record
from attrib.engine.graph.nodes import store

aten = torch.ops.aten

FEW, MORE = 2, 3  # rows of the two recordings
RECURRENT_OPS = {op for ops in RECURRENT.values() for op in ops}
LEAVING = {Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__, Tensor.__dlpack__, Tensor.__float__}


class Unsuited(Exception):
    """Why edits are not computed by windows."""


class Costly(Unsuited):
    """A window is possible, but does not pay: a fact of the model and the boxes, whatever the values are."""


class PerRow(int):
    """A number in an op's arguments that is proportional to the rows; its value is that for one row."""


@dataclass(frozen=True)
class Program:
    """Ops from one input to the output.

    Attributes
    ----------
    nodes : tuple of Node
        The ops; arguments that depend on the number of rows are `PerRow`.
    input, output : Ref
        The values at both ends.
    constants : dict of Ref to Tensor
        Values that do not depend on the input.
    per_row : dict of Ref to int
        Constants that the model repeats for each row, with the dim of the rows: 0, or 1 for the first state of a recurrent layer.
    counted : frozenset of Ref
        Constants (1, ...) that hold 0, 1, 2, ..., continued for more rows.
    outputs : Tensor (rows, ...)
        The model's outputs for the recorded rows.
    """

    nodes: tuple[Node, ...]
    input: Ref
    output: Ref
    constants: dict[Ref, Tensor]
    per_row: dict[Ref, int]
    counted: frozenset[Ref]
    outputs: Tensor

    def constants_for(self, rows: int) -> dict[Ref, Tensor]:
        """The constants as the model computes them for `rows` rows."""
        repeated = {r: _repeated(self.constants[r], dim, rows) for r, dim in self.per_row.items()}
        repeated |= {r: _counting(self.constants[r], rows) for r in self.counted}
        return {**self.constants, **repeated}

    def values(self, x: Tensor) -> dict[Ref, Tensor]:
        """Every value at `x` (rows, ...)."""
        values = {**self.constants_for(len(x)), self.input: x}
        for node in self.nodes:
            run(node, values, len(x))
        return values


def run(node: Node, values: dict[Ref, Tensor], rows: int) -> None:
    """Run a node for `rows` rows and add its results to `values`."""
    args = filled(node.args, values, rows)
    kwargs = {k: filled(v, values, rows) for k, v in node.kwargs.items()}
    store(node.out, node.op(*args, **kwargs), values)


def filled(tree: Any, values: Mapping[Ref, Any], rows: int) -> Any:
    """Arguments with each Ref and each `PerRow` replaced by its value."""
    if type(tree) is Ref:
        return values[tree]
    if type(tree) is PerRow:
        return int(tree) * rows
    return type(tree)(filled(t, values, rows) for t in tree) if type(tree) in (list, tuple) else tree


def program(f: Callable[[Tensor], Tensor], x: Tensor) -> Program:
    """Record `f` for two numbers of rows and merge the recordings into one program for any number.

    Parameters
    ----------
    f : callable
        Maps rows (n, ...) to outputs (n, ...).
    x : Tensor (5, ...)
        Rows that differ, so that values that agree in all of them are constants of the model.

    Raises
    ------
    Unsuited
        If the ops depend on the number of rows, or cannot be recorded.
    """
    try:
        few, more = (record(_in_torch(f), [rows], _smaller) for rows in x.split([FEW, MORE]))
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise Unsuited(f"the model cannot be recorded: {error}") from error
    if few.lifted or more.lifted or len(few.nodes) != len(more.nodes):
        raise Unsuited("the model's ops depend on the number of rows")
    return _Merge(few, more).program()


def _smaller(op: OpOverload) -> Callable | None:
    """What is recorded in place of an op: a recurrent layer, which needs whole rows, stays one op with a kernel of its own."""
    return None if op in RECURRENT_OPS else composite(op)


class _InTorch(TorchFunctionMode):
    """Raises an error where values leave torch, as a recording cannot follow them."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in LEAVING:
            raise Unsuited(f"the model takes values out of torch ({getattr(func, '__name__', func)})")
        return func(*args, **(kwargs or {}))


def _in_torch(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        with _InTorch():
            return f(x)

    return call


class _Merge:
    """Merges two recordings."""

    def __init__(self, few: Graph, more: Graph) -> None:
        self.few, self.more = few, more
        self.same = dict(zip(more.inputs, few.inputs, strict=True))
        self.constants = dict(few.constants)
        self.per_row: dict[Ref, int] = {}
        self.counted: set[Ref] = set()

    def program(self) -> Program:
        nodes = []
        for a, b in zip(self.few.nodes, self.more.nodes, strict=True):
            if a.op is not b.op or list(a.kwargs) != list(b.kwargs):
                raise Unsuited("the model's ops depend on the number of rows")
            args = self.argument(a.args, b.args)
            kwargs = {k: self.argument(v, b.kwargs[k]) for k, v in a.kwargs.items()}
            self.same.update(zip(b.writes, a.writes, strict=True))
            nodes.append(replace(a, args=args, kwargs=kwargs))
        return Program(
            tuple(nodes),
            self.few.inputs[0],
            self.few.output,
            self.constants,
            self.per_row,
            frozenset(self.counted),
            torch.cat([self.few.value, self.more.value]),
        )

    def argument(self, a: Any, b: Any) -> Any:
        """An argument that is equal in both recordings, or proportional to the rows."""
        if type(a) is Ref and type(b) is Ref:
            return self.value(a, b)
        if type(a) in (list, tuple) and type(a) is type(b) and len(a) == len(b):
            return type(a)(self.argument(p, q) for p, q in zip(a, b, strict=True))
        if type(a) is int and type(b) is int and a != b and a * MORE == b * FEW:
            return PerRow(a // FEW)
        if type(a) is type(b) and (a == b or a != a):
            return a
        raise Unsuited(f"the model's ops depend on the number of rows: {a} and {b}")

    def value(self, a: Ref, b: Ref) -> Ref:
        if b in self.more.constants:
            if a not in self.few.constants:
                raise Unsuited("the model's ops depend on the number of rows")
            return self.constant(a, self.few.constants[a], self.more.constants[b])
        if self.same.get(b) != a:
            raise Unsuited("the model's ops depend on the number of rows")
        return a

    def constant(self, ref: Ref, few: Tensor, more: Tensor) -> Ref:
        """A constant that is equal in both recordings, or repeats or continues one part for each row."""
        if _equal(few, more):
            return ref
        if few.dtype == torch.long and few.ndim == more.ndim == 1 and len(few) * MORE == len(more) * FEW:
            raise Unsuited("the model writes to parts of a value, by an index over all rows")
        dim = _dim_of_rows(few, more)
        if dim is None:
            raise Unsuited("the model makes a constant that depends on the number of rows")
        counts = dim == 0 and few.dtype != torch.bool
        if counts and all(torch.equal(t, _counting(t[:1], len(t))) for t in (few, more)):
            self.constants[ref] = few[:1]
            self.counted.add(ref)
            return ref
        if few.dtype == torch.long:
            raise Unsuited("the model looks values up by an index that differs from row to row")
        first = few.narrow(dim, 0, 1)
        if not _equal(first.expand_as(few), few) or not _equal(first.expand_as(more), more):
            raise Unsuited("the model makes a constant that differs from row to row")
        self.constants[ref] = first
        self.per_row[ref] = dim
        return ref


def _dim_of_rows(few: Tensor, more: Tensor) -> int | None:
    """The dim along which a constant has as many entries as there are rows; None if it is neither of the first two."""
    for dim in range(min(2, few.ndim)):
        if (few.shape[dim], more.shape[dim]) == (FEW, MORE):
            return dim
    return None


def _repeated(first: Tensor, dim: int, rows: int) -> Tensor:
    """A constant of one row as the model makes it for `rows` rows."""
    return first.expand(*first.shape[:dim], rows, *first.shape[dim + 1 :])


def _counting(first: Tensor, rows: int) -> Tensor:
    """0, 1, 2, ... as `rows` rows of which `first` (1, ...) is the first."""
    count = torch.arange(rows * first.numel(), dtype=first.dtype, device=first.device)
    return count.view(rows, *first.shape[1:])


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether tensors are equal up to the rounding of products with another number of rows."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    if torch.equal(a, b):
        return True
    if not a.is_floating_point():
        return False
    return bool((a - b).abs().max() <= 16 * torch.finfo(a.dtype).eps * a.abs().max())


def simplified(program: Program, shape: dict[Ref, tuple[int, ...]]) -> Program:
    """The program with reshapes in place of lookups that only change the shape, and without ops nobody reads.

    A model that reads a value in another memory layout flattens it and indexes it by a count over all rows, as PyTorch's
    adaptive pools to one position do in channels-last memory.
    """
    producers = {ref: node for node in program.nodes for ref in node.writes}
    nodes = tuple(_as_reshape(node, producers, program, shape) or node for node in program.nodes)
    needed, live = {program.output}, []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.writes):
            needed.update(node.reads)
            live.append(node)
    return replace(program, nodes=tuple(reversed(live)))


def _as_reshape(
    node: Node, producers: dict[Ref, Node], program: Program, shape: dict[Ref, tuple[int, ...]]
) -> Node | None:
    """A lookup as a change of shape, if it is one."""
    if node.op is not aten.index.Tensor or len(node.args[1]) != 1 or node.args[1][0] not in program.counted:
        return None
    flat = producers.get(node.args[0])
    if flat is None or flat.op is not aten.reshape.default or list(flat.args[1]) != [-1]:
        return None
    if math.prod(shape[flat.args[0]]) != math.prod(shape[node.out]):
        return None
    return replace(node, op=aten.reshape.default, args=(flat.args[0], [PerRow(1), *shape[node.out][1:]]))
