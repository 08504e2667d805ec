"""The plan of a program: which values an edit changes in a box, which are aggregated, and which are computed in full."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window import convolution, pointwise
from attrib.engine.window.aggregations import AGGREGATIONS, Aggregation
from attrib.engine.window.program import Program, Unsuited, simplified
from attrib.engine.window.rule import LOCAL, RULES, Layout, Rule, Span

FAMILIES = (convolution, pointwise)  # importing one registers its rules, as does `aggregations`


@dataclass(frozen=True)
class Plan:
    """How to compute a program for edits that are boxes along some axes of its input.

    Attributes
    ----------
    program : Program
        The ops.
    layout : Layout
        The layout of its values.
    rules : tuple of Rule
        The rules of the local values that are needed, in order.
    aggregations : tuple of Aggregation
        Ops over all positions, updated from the box.
    splices : tuple of Ref
        Local values that the suffix reads in full.
    suffix : tuple of Node
        Ops that are computed in full.
    demand : dict of Ref to Span
        The part of each local value that is read.
    strides : dict of Ref to tuple of int
        Input positions per position of a value, along each axis.
    overwritable : frozenset of Ref
        Values in memory of their own that a single rule reads.
    last_reads : tuple of tuple of Ref
        For each rule, the local values that it is the last to read.
    """

    program: Program
    layout: Layout
    rules: tuple[Rule, ...]
    aggregations: tuple[Aggregation, ...]
    splices: tuple[Ref, ...]
    suffix: tuple[Node, ...]
    demand: dict[Ref, Span]
    strides: dict[Ref, tuple[int, ...]]
    overwritable: frozenset[Ref]
    last_reads: tuple[tuple[Ref, ...], ...]

    @property
    def period(self) -> tuple[int, ...]:
        """Edits that are this far apart, along each axis, change boxes of equal shape in every value."""
        strides = [self.strides[r] for r in self.demand]
        return tuple(math.lcm(*along) for along in zip(*strides, strict=True))

    def followed_axes(self, axes: Sequence[int]) -> list[int]:
        """Numbers of the axes of edits that the plan follows; along the others it takes the input in full."""
        return [k for k, a in enumerate(axes) if a in self.layout.axes[self.program.input]]

    def spans(self, box: Span, least: Sequence[int], most: Sequence[int]) -> dict[Ref, Span]:
        """The boxes that an edit of `box` changes, without positions that nothing reads.

        `least` and `most` are the smallest and the largest shift, along each axis, of further edits whose positions are
        included.
        """
        spans = {self.program.input: box}
        for r in self.rules:
            sources = [spans[s] for s in r.sources if s in spans]
            if not sources:
                continue
            out = r.node.writes[0]
            stride = self.strides[out]
            span = tuple(
                (max(lo, first - b // s), min(hi, stop - a // s))
                for (lo, hi), (first, stop), a, b, s in zip(
                    r.reach(sources), self.demand[out], least, most, stride, strict=True
                )
            )
            if all(lo < hi for lo, hi in span):
                spans[out] = span
        return spans


def plan(program: Program, layout: Layout, axes: tuple[int, ...]) -> Plan:
    """Plan a program: decide which of its values are local.

    Parameters
    ----------
    program : Program
        The ops.
    layout : Layout
        The layout of its values, from `learn_layout`.
    axes : tuple of int
        The dims of the input along which edits are boxes.

    Raises
    ------
    Unsuited
        If an edit changes every value from the first op on.
    """
    program = simplified(program, layout.shape)
    layout = replace(layout, shape=dict(layout.shape), axes={}, form={})
    layout.axes[program.input], layout.form[program.input] = axes, LOCAL
    strides = {program.input: (1,) * len(axes)}
    rules: list[Rule] = []
    others: list[Node] = []
    for node in program.nodes:
        r = _rule(node, layout, strides)
        if r is None:
            others.append(node)
        else:
            rules.append(r)
    readers = Counter(r for node in program.nodes for r in node.reads) + Counter([program.output])
    rules = _merged(rules, readers)
    aggregations, suffix = _aggregations(others, layout)
    read_in_full = [*(r for node in suffix for r in node.reads), program.output]
    splices = [r for r in dict.fromkeys(read_in_full) if r in layout.form]
    ends = [*(a.source for a in aggregations), *splices]
    demand = _demand(rules, ends, layout)
    live = tuple(r for r in rules if r.node.writes[0] in demand)
    if not live and not aggregations:
        first = program.nodes[0] if program.nodes else None
        raise Unsuited(
            f"an edit changes everything from {first.op} at {first.source} on"
            if first
            else "the model has no ops"
        )
    return Plan(
        program,
        layout,
        rules=live,
        aggregations=tuple(aggregations),
        splices=tuple(splices),
        suffix=tuple(suffix),
        demand=demand,
        strides=strides,
        overwritable=frozenset(r.node.writes[0] for r in live if r.owns and readers[r.node.writes[0]] == 1),
        last_reads=_last_reads(live, set(ends)),
    )


def _last_reads(rules: Sequence[Rule], ends: set[Ref]) -> tuple[tuple[Ref, ...], ...]:
    """The values that each rule is the last to read; `ends` are read after all rules."""
    seen = set(ends)
    last: list[tuple[Ref, ...]] = []
    for r in reversed(rules):
        last.append(tuple(s for s in r.sources if s not in seen))
        seen.update(r.sources)
    return tuple(reversed(last))


def _merged(rules: list[Rule], readers: Counter[Ref]) -> list[Rule]:
    """The rules, with one in place of two where an op and its only reader can be computed at once."""
    merged: dict[Ref, Rule] = {}
    for r in rules:
        earlier = merged.get(r.sources[0]) if readers[r.sources[0]] == 1 else None
        both = None if earlier is None else r.behind(earlier)
        if both is not None:
            del merged[r.sources[0]]
        merged[r.node.writes[0]] = both or r
    return list(merged.values())


def learn_layout(program: Program, x: Tensor) -> tuple[Layout, dict[Ref, Tensor], Tensor]:
    """The layout of a program's values, all values at the first row of `x`, and the outputs at the others."""
    first, more = program.values(x[:1]), program.values(x[1:])
    n = len(x) - 1
    shape = {r: tuple(t.shape) for r, t in first.items()}
    rowwise = {r for r, t in more.items() if shape[r] and t.shape == (n * shape[r][0], *shape[r][1:])}
    read = {r for node in program.nodes for r in node.reads} | {program.output}
    floating = {r for r, t in first.items() if t.is_floating_point()}
    return Layout(shape, program.constants, read, floating, rowwise), first, more[program.output]


def _rule(node: Node, layout: Layout, strides: dict[Ref, tuple[int, ...]]) -> Rule | None:
    """The rule for a node, if it has one and reads local values and constants only."""
    active = [r for r in node.reads if r not in layout.constants]
    build = RULES.get(node.op.overloadpacket)
    if build is None or any(r not in layout.form for r in active):
        return None
    r = build(node, layout)
    out = node.writes[0]
    if r is None or out not in layout.rowwise or len({strides[s] for s in r.sources}) != 1:
        return None
    layout.axes[out], layout.form[out] = r.axes, r.form
    layout.shape[out] = r.shape or layout.shape[out]
    strides[out] = tuple(a * b for a, b in zip(strides[r.sources[0]], r.strides, strict=True))
    return r


def _aggregations(nodes: list[Node], layout: Layout) -> tuple[list[Aggregation], list[Node]]:
    """The ops whose result can be updated from a box, and the others."""
    aggregations: list[Aggregation] = []
    suffix: list[Node] = []
    for node in nodes:
        build = AGGREGATIONS.get(node.op.overloadpacket)
        aggregation = None if build is None else build(node, layout)
        if aggregation is None:
            suffix.append(node)
        else:
            aggregations.append(aggregation)
    return aggregations, suffix


def domain(ref: Ref, layout: Layout) -> Span:
    """All positions of a local value."""
    return tuple((0, layout.shape[ref][a]) for a in layout.axes[ref])


def _demand(rules: list[Rule], ends: list[Ref], layout: Layout) -> dict[Ref, Span]:
    """The part of each local value that `ends`, which are read in full, depend on."""
    demand = {ref: domain(ref, layout) for ref in ends}
    for r in reversed(rules):
        result = demand.get(r.node.writes[0])
        if result is None:
            continue
        for s in r.sources:
            span = [*zip(r.need(result), domain(s, layout), strict=True)]
            need = tuple((min(max(lo, a), b), max(min(hi, b), a)) for (lo, hi), (a, b) in span)
            before = demand.get(s, need)
            demand[s] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(need, before, strict=True))
    return demand


def volume(span: Span) -> int:
    """Number of positions in a box."""
    return math.prod(hi - lo for lo, hi in span)


def finite(values: dict[Ref, Tensor], refs: Sequence[Ref]) -> bool:
    """Whether values hold neither NaN nor infinities."""
    return all(bool(torch.isfinite(values[r]).all()) for r in refs if values[r].is_floating_point())
