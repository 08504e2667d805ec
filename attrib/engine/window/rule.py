"""Edits as boxes of positions, and rules: how an op maps the box that an edit changes, and computes its result there."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

from attrib.engine.graph import Node, Ref
from attrib.engine.inputs import moved

Span = tuple[tuple[int, int], ...]  # start and stop along each axis of a box

LOCAL, FLAT, MERGED = "local", "flat", "merged"


class Reader(Protocol):
    """The values that a rule reads while it computes some rows."""

    def read(self, ref: Ref, span: Span, fill: float | None = None) -> Tensor:
        """A value after the edits over a box (rows, ...); `fill` at positions outside the value."""
        ...

    def before(self, ref: Ref, span: Span) -> Tensor:
        """A value without the edits over a box (rows, ...)."""
        ...

    def take(self, ref: Ref, span: Span) -> tuple[Tensor, bool]:
        """A value after the edits, and whether the rule may overwrite it."""
        ...

    def add_before(self, ref: Ref, span: Span, t: Tensor) -> Tensor:
        """Add the value without the edits to `t` (rows, ...) over a box, in place."""
        ...

    def change(self, ref: Ref) -> Tensor:
        """The change by the edits over the value's own box; zero at positions outside the value."""
        ...

    def constant(self, t: Tensor, like: Ref, span: Span) -> Tensor:
        """A constant, whose entries differ along the axes of the value `like`, over a box of it (rows, ...)."""
        ...

    def axes(self, ref: Ref) -> tuple[int, ...]:
        """The dims of a value's box."""
        ...

    def span(self, ref: Ref) -> Span | None:
        """The box of a value; None if it does not change."""
        ...


@dataclass
class Layout:
    """The layout of a program's values, for one row.

    Attributes
    ----------
    shape : dict
        Shapes with a batch of 1; for a flattened or merged value, its shape before that.
    constants : dict
        Values that do not depend on the input.
    read : set
        Values that an op reads, and the output.
    floating : set
        Values that are floating point.
    rowwise : set
        Values whose first dim is that of the rows, or a multiple of it.
    axes : dict
        For each local value, the dims of its box.
    form : dict
        For each local value, "local", "flat" (dims after the batch are flattened) or "merged" (all dims but the last are
        flattened).
    """

    shape: dict[Ref, tuple[int, ...]]
    constants: dict[Ref, Tensor]
    read: set[Ref]
    floating: set[Ref]
    rowwise: set[Ref]
    axes: dict[Ref, tuple[int, ...]] = field(default_factory=dict)
    form: dict[Ref, str] = field(default_factory=dict)

    def local(self, value: Any, *forms: str) -> bool:
        """Whether a value is local and has one of the forms (default: "local")."""
        return type(value) is Ref and self.form.get(value) in (forms or (LOCAL,))


@dataclass
class Rule:
    """An op with a local result; by default each position depends on the same position of the sources.

    Attributes
    ----------
    node : Node
        The op.
    sources : tuple of Ref
        The local values that it reads.
    axes : tuple of int
        Dims of the result's box.
    compute : callable
        Maps (reader, span) to the result over a span.
    form : str
        The form of the result, see `Layout`.
    shape : tuple or None
        The result's entry in `Layout.shape`; None if it is the shape of the value.
    owns : bool
        Whether the result is in memory of its own.
    priced : Node or None
        The op whose products are counted; None for `node`.
    """

    node: Node
    sources: tuple[Ref, ...]
    axes: tuple[int, ...]
    compute: Callable[[Reader, Span], Tensor]
    form: str = LOCAL
    shape: tuple[int, ...] | None = None
    owns: bool = False
    priced: Node | None = None

    def reach(self, spans: Sequence[Span]) -> Span:
        """The box of the result, from the boxes of the sources that change."""
        return tuple(
            (min(lo for lo, _ in along), max(hi for _, hi in along)) for along in zip(*spans, strict=True)
        )

    def need(self, span: Span) -> Span:
        """The part of the sources that a part of the result depends on."""
        return span

    def scaled(self, node: Node, factor: Tensor) -> Rule | None:
        """One rule for this op and `node`, which multiplies its result by a factor per channel; None if there is none."""
        return None

    def behind(self, earlier: Rule) -> Rule | None:
        """One rule for this op and an earlier one that nothing else reads; None if there is none."""
        return None

    @property
    def strides(self) -> tuple[int, ...]:
        """Positions of the sources per position of the result, along each axis."""
        return (1,) * len(self.axes)

    @property
    def products_by_source(self) -> bool:
        """Whether the number of products depends on the changed positions of the source, not of the result."""
        return False


Builder = Callable[[Node, Layout], Rule | None]

RULES: dict[OpOverloadPacket, Builder] = {}


def rule(*ops: OpOverloadPacket) -> Callable[[Builder], Builder]:
    """Register a builder of rules for ops; it returns None for a node that has no rule."""

    def register(build: Builder) -> Builder:
        RULES.update(dict.fromkeys(ops, build))
        return build

    return register


def bound(node: Node) -> dict[str, Any]:
    """A node's arguments by name, with defaults."""
    return {
        a.name: node.args[i] if i < len(node.args) else node.kwargs.get(a.name, a.default_value)
        for i, a in enumerate(node.op._schema.arguments)
    }


def only_first_is_read(node: Node, layout: Layout) -> bool:
    """Whether nothing reads a result of an op but the first."""
    return layout.read.isdisjoint(node.writes[1:])


def apply(node: Node, layout: Layout, values: dict[Ref, Tensor]) -> Any:
    """Run an op with `values` for its sources."""
    filled = ChainMap(values, layout.constants)
    return node.op(*_filled(node.args, filled), **{k: _filled(v, filled) for k, v in node.kwargs.items()})


def _filled(tree: Any, values: Mapping[Ref, Tensor]) -> Any:
    if type(tree) is Ref:
        return values[tree]
    return type(tree)(_filled(t, values) for t in tree) if type(tree) in (list, tuple) else tree


def first(result: Any) -> Tensor:
    """The first of an op's results."""
    return result if isinstance(result, torch.Tensor) else result[0]


class Edits(Protocol):
    """A list of edits of one input, sorted by sample; each edit is one row for the model.

    Attributes
    ----------
    samples : Tensor (R,)
        The sample of each edit, ascending.
    axes : tuple of int
        The dims of the input along which an edit is a box; empty if edits have any shape.
    each : int
        Edits of a sample.
    """

    samples: Tensor
    axes: tuple[int, ...]
    each: int

    def inside(self, r: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
        """The features that the edits `r` replace in rows shaped (rows, *shape); broadcasts against the rows."""
        ...

    def content(self, r: Tensor) -> Tensor:
        """The values that replace them; broadcasts against the rows."""
        ...

    def box(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Start and stop of the boxes (rows, k) along `axes`."""
        ...


def in_boxes(
    lo: Tensor, hi: Tensor, axes: Sequence[int], shape: Sequence[int], device: torch.device
) -> Tensor:
    """The features of rows (rows, *shape) on a device that lie in boxes [lo, hi) (rows, k) along `axes`."""
    lo, hi = moved(lo, device), moved(hi, device)  # a few numbers; the mask is made where it is used
    inside = torch.ones((len(lo), *[1] * len(shape)), dtype=torch.bool, device=device)
    for k, axis in enumerate(axes):
        size = shape[axis - 1]
        position = torch.arange(size, device=device).view(
            [size if d == axis else 1 for d in range(len(shape) + 1)]
        )
        start, stop = (t[:, k].view(-1, *[1] * len(shape)) for t in (lo, hi))
        inside = inside & (position >= start) & (position < stop)
    return inside
