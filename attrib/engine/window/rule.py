"""What a rule is: how an op maps the box that an edit changes."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverloadPacket

from attrib.engine.graph import Node, Ref

Span = tuple[tuple[int, int], ...]  # first and last but one position along each axis of a box

LOCAL, FLAT, MERGED = "local", "flat", "merged"


class Reader(Protocol):
    """What a rule sees while it computes some rows."""

    def read(self, ref: Ref, span: Span, fill: float | None = None) -> Tensor:
        """A value after the edits over a box (rows, ...); `fill` for positions that the value does not have."""
        ...

    def before(self, ref: Ref, span: Span) -> Tensor:
        """The same without the edits."""
        ...

    def take(self, ref: Ref, span: Span) -> tuple[Tensor, bool]:
        """A value as `read` gives it, and whether it may be overwritten."""
        ...

    def add_before(self, ref: Ref, span: Span, t: Tensor) -> Tensor:
        """`t` (rows, ...) over a box plus the value without the edits, in place."""
        ...

    def change(self, ref: Ref) -> Tensor:
        """Value minus value without the edits over the value's own box, zero for positions it does not have."""
        ...

    def axes(self, ref: Ref) -> tuple[int, ...]:
        """The dims of a value's box."""
        ...

    def span(self, ref: Ref) -> Span | None:
        """The box of a value; None where it does not change."""
        ...


@dataclass
class Known:
    """What is known of the values of a program, for one row.

    Attributes
    ----------
    shape : dict
        Shapes with a batch of 1; of a flattened or merged value, the shape it had before.
    axes : dict
        Of values that change in a box: the dims of the box.
    form : dict
        Of those: "local", or "flat" (dims after the batch flattened) or "merged" (all dims but the last flattened).
    constants : dict
    read : set
        The values that an op reads, and the output.
    floating : set
        The values that are floating point.
    rowwise : set
        The values whose first dim is the samples' or a multiple of it.
    """

    shape: dict[Ref, tuple[int, ...]]
    constants: dict[Ref, Tensor]
    read: set[Ref]
    floating: set[Ref]
    rowwise: set[Ref]
    axes: dict[Ref, tuple[int, ...]] = field(default_factory=dict)
    form: dict[Ref, str] = field(default_factory=dict)

    def local(self, value: Any, *forms: str) -> bool:
        """Whether a value changes in a box and has one of the forms (default: its own)."""
        return type(value) is Ref and self.form.get(value) in (forms or (LOCAL,))


@dataclass
class Rule:
    """An op whose result changes in a box, position by position where its sources do.

    Attributes
    ----------
    node : Node
    sources : tuple of Ref
        The values that change.
    axes : tuple of int
        Dims of the result's box.
    compute : callable
        (reader, span) to the result over a span.
    form : str
    shape : tuple or None
        The shape to note where it is not the value's own.
    owns : bool
        Whether the result has memory of its own.
    priced : Node or None
        The op whose products are computed, where it is not the rule's own.
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
        """The box that changes, from the boxes of the sources that change."""
        return tuple(
            (min(lo for lo, _ in along), max(hi for _, hi in along)) for along in zip(*spans, strict=True)
        )

    def need(self, span: Span) -> Span:
        """The part of the sources that a part of the result reads."""
        return span

    def scaled(self, node: Node, factor: Tensor) -> Rule | None:
        """The rule of an op that multiplies this one's result by a factor per channel; None where that takes two."""
        return None

    def behind(self, earlier: Rule) -> Rule | None:
        """One rule in place of this one and of the earlier one that only this one reads; None where it takes two."""
        return None

    @property
    def strides(self) -> tuple[int, ...]:
        """Positions of the sources per position of the result, along each axis."""
        return (1,) * len(self.axes)

    @property
    def products_by_source(self) -> bool:
        """Whether the products to compute are as many as the source's changed positions ask for, not the result's."""
        return False


Builder = Callable[[Node, Known], Rule | None]
RULES: dict[OpOverloadPacket, Builder] = {}


def rule(*ops: OpOverloadPacket) -> Callable[[Builder], Builder]:
    """Register how some ops map boxes; the builder gives None where it cannot say."""

    def register(build: Builder) -> Builder:
        RULES.update(dict.fromkeys(ops, build))
        return build

    return register


def bound(node: Node) -> dict[str, Any]:
    """A node's arguments by name, defaults included."""
    found = {}
    for i, a in enumerate(node.op._schema.arguments):
        found[a.name] = node.args[i] if i < len(node.args) else node.kwargs.get(a.name, a.default_value)
    return found


def only_first_is_read(node: Node, known: Known) -> bool:
    """Whether nothing reads an op's further results."""
    return known.read.isdisjoint(node.writes[1:])


def apply(node: Node, known: Known, values: dict[Ref, Tensor]) -> Any:
    """The op on the given values in place of its sources."""
    given = ChainMap(values, known.constants)
    return node.op(*_put(node.args, given), **{k: _put(v, given) for k, v in node.kwargs.items()})


def _put(tree: Any, given: Mapping[Ref, Tensor]) -> Any:
    if type(tree) is Ref:
        return given[tree]
    return type(tree)(_put(t, given) for t in tree) if type(tree) in (list, tuple) else tree


def first(result: Any) -> Tensor:
    """The first of an op's results."""
    return result if isinstance(result, torch.Tensor) else result[0]
