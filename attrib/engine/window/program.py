"""The model as a list of ops for any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attrib.engine.graph import Graph, Node, Ref, record
from attrib.engine.graph.nodes import store

FEW, MORE = 2, 3  # rows of the two recordings


class Unsuited(Exception):
    """Why a model cannot be computed by windows."""


class PerRow(int):
    """A number in an op's arguments that grows with the rows: its value for one row."""


@dataclass(frozen=True)
class Program:
    """Ops from one input to the output.

    Attributes
    ----------
    nodes : tuple of Node
        With a `PerRow` wherever an argument holds the number of rows.
    input, output : Ref
    constants : dict of Ref to Tensor
    per_row : frozenset of Ref
        Constants (1, ...) that the model makes for each row anew.
    counted : frozenset of Ref
        Constants (1, ...) that hold 0, 1, 2, ... and for more rows count on.
    outputs : Tensor (rows, ...)
        What the model returned for the rows it was recorded on.
    """

    nodes: tuple[Node, ...]
    input: Ref
    output: Ref
    constants: dict[Ref, Tensor]
    per_row: frozenset[Ref]
    counted: frozenset[Ref]
    outputs: Tensor

    def constants_for(self, rows: int) -> dict[Ref, Tensor]:
        """The constants as the model makes them for so many rows."""
        made = {r: self.constants[r].expand(rows, *self.constants[r].shape[1:]) for r in self.per_row}
        made |= {r: _counting(self.constants[r], rows) for r in self.counted}
        return {**self.constants, **made}

    def values(self, x: Tensor) -> dict[Ref, Tensor]:
        """Every value at `x` (rows, ...)."""
        found = {**self.constants_for(len(x)), self.input: x}
        for node in self.nodes:
            run(node, found, len(x))
        return found


def run(node: Node, values: dict[Ref, Tensor], rows: int) -> None:
    """Put a node's results for so many rows among the values."""
    args = filled(node.args, values, rows)
    kwargs = {k: filled(v, values, rows) for k, v in node.kwargs.items()}
    store(node.out, node.op(*args, **kwargs), values)


def filled(tree: Any, values: Mapping[Ref, Any], rows: int) -> Any:
    """Arguments with values for their Refs and the number of rows in place."""
    if type(tree) is Ref:
        return values[tree]
    if type(tree) is PerRow:
        return int(tree) * rows
    return type(tree)(filled(t, values, rows) for t in tree) if type(tree) in (list, tuple) else tree


def program(f: Callable[[Tensor], Tensor], x: Tensor) -> Program:
    """Record `f` for two numbers of rows and keep what both have in common.

    Parameters
    ----------
    f : callable
        Rows (n, ...) to outputs (n, ...).
    x : Tensor (5, ...)
        Rows that differ: what is the same for all of them is the model's own.

    Raises
    ------
    Unsuited
        Where the ops depend on the number of rows, or cannot be recorded.
    """
    try:
        few, more = (record(_kept_inside(f), [rows]) for rows in x.split([FEW, MORE]))
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise Unsuited(f"the model cannot be recorded: {error}") from error
    if few.lifted or more.lifted or len(few.nodes) != len(more.nodes):
        raise Unsuited("the model's ops depend on the number of rows")
    return _Merge(few, more).program()


LEAVING = {Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__, Tensor.__dlpack__, Tensor.__float__}


class _Watch(TorchFunctionMode):
    """Refuses to let values leave torch, where no recording sees what becomes of them."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func in LEAVING:
            raise Unsuited(f"the model takes values out of torch ({getattr(func, '__name__', func)})")
        return func(*args, **(kwargs or {}))


def _kept_inside(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def watched(x: Tensor) -> Tensor:
        with _Watch():
            return f(x)

    return watched


class _Merge:
    """Two recordings as one."""

    def __init__(self, few: Graph, more: Graph) -> None:
        self.few, self.more = few, more
        self.same = dict(zip(more.inputs, few.inputs, strict=True))
        self.constants = dict(few.constants)
        self.per_row: set[Ref] = set()
        self.counted: set[Ref] = set()

    def program(self) -> Program:
        nodes = []
        for a, b in zip(self.few.nodes, self.more.nodes, strict=True):
            if a.op is not b.op or list(a.kwargs) != list(b.kwargs):
                raise Unsuited("the model's ops depend on the number of rows")
            args, kwargs = (
                self.both(a.args, b.args),
                {k: self.both(v, b.kwargs[k]) for k, v in a.kwargs.items()},
            )
            self.same.update(zip(b.writes, a.writes, strict=True))
            nodes.append(replace(a, args=args, kwargs=kwargs))
        return Program(
            tuple(nodes),
            self.few.inputs[0],
            self.few.output,
            self.constants,
            frozenset(self.per_row),
            frozenset(self.counted),
            torch.cat([self.few.value, self.more.value]),
        )

    def both(self, a: Any, b: Any) -> Any:
        """An argument that is the same in both, or that grows with the rows."""
        if type(a) is Ref and type(b) is Ref:
            return self.value(a, b)
        if type(a) in (list, tuple) and type(a) is type(b) and len(a) == len(b):
            return type(a)(self.both(p, q) for p, q in zip(a, b, strict=True))
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
        """A constant that is the same in both, or that has one and the same part for each row."""
        if _equal(few, more):
            return ref
        if few.dtype == torch.long and few.ndim == more.ndim == 1 and len(few) * MORE == len(more) * FEW:
            raise Unsuited("the model writes to parts of a value, by an index over all rows")
        if not (few.ndim and len(few) == FEW and len(more) == MORE):
            raise Unsuited("the model makes a constant that depends on the number of rows")
        if all(torch.equal(t, _counting(t[:1], len(t))) for t in (few, more)):
            self.constants[ref] = few[:1]
            self.counted.add(ref)
            return ref
        if few.dtype == torch.long:
            raise Unsuited("the model looks values up by an index that differs from row to row")
        if not _equal(few[:1].expand_as(few), few) or not _equal(few[:1].expand_as(more), more):
            raise Unsuited("the model makes a constant that differs from row to row")
        self.constants[ref] = few[:1]
        self.per_row.add(ref)
        return ref


def _counting(one: Tensor, rows: int) -> Tensor:
    """0, 1, 2, ... shaped as so many rows of a constant (1, ...)."""
    return torch.arange(rows * one.numel(), dtype=one.dtype, device=one.device).view(rows, *one.shape[1:])


def _equal(a: Tensor, b: Tensor) -> bool:
    """Up to the rounding of products with another number of rows."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    if torch.equal(a, b):
        return True
    off = 16 * torch.finfo(a.dtype).eps if a.is_floating_point() else 0.0
    return off > 0 and bool((a - b).abs().max() <= off * a.abs().max())
