"""Which values of a model an edit changes in a box, and where that ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window import channels, convolution, linear, pointwise, pooling, shaping
from attrib.engine.window.aggregations import BRIDGES, Bridge
from attrib.engine.window.linear import plain
from attrib.engine.window.program import Program, Unsuited
from attrib.engine.window.rule import LOCAL, RULES, Known, Rule, Span

FAMILIES = (channels, convolution, linear, pointwise, pooling, shaping)  # importing one registers its rules


@dataclass(frozen=True)
class Plan:
    """How a program is computed for edits that are boxes along some axes of its input.

    Attributes
    ----------
    program : Program
    known : Known
    rules : tuple of Rule
        Values that change in a box and are needed, in order.
    bridges : tuple of Bridge
        Ops that gather all positions, updated from the box.
    splices : tuple of Ref
        Values that change in a box and that are needed whole.
    tail : tuple of Node
        Ops that are computed as the model would.
    demand : dict of Ref to Span
        The part of each local value that anything needs.
    strides : dict of Ref to tuple of int
        Input positions per position of a value, along each axis.
    passing : frozenset of Ref
        Values with memory of their own that one rule reads, and nothing else.
    last : tuple of tuple of Ref
        For each rule, the values that change in a box and that nothing reads after it.
    """

    program: Program
    known: Known
    rules: tuple[Rule, ...]
    bridges: tuple[Bridge, ...]
    splices: tuple[Ref, ...]
    tail: tuple[Node, ...]
    demand: dict[Ref, Span]
    strides: dict[Ref, tuple[int, ...]]
    passing: frozenset[Ref]
    last: tuple[tuple[Ref, ...], ...]

    @property
    def period(self) -> tuple[int, ...]:
        """Edits that are this far apart, along each axis, change boxes of equal shape in every value."""
        every = [self.strides[r] for r in self.demand]
        return tuple(math.lcm(*along) for along in zip(*every, strict=True))

    def own_axes(self, axes: Sequence[int]) -> list[int]:
        """Which of the axes of some edits the plan follows: along the others it takes the input in full."""
        own = self.known.axes[self.program.input]
        return [k for k, a in enumerate(axes) if a in own]

    def spans(self, box: Span, least: Sequence[int], most: Sequence[int]) -> dict[Ref, Span]:
        """The boxes that change, for an edit of `box` and for edits up to `least` and `most` further along each axis.

        Positions that no edit of these needs are left out, and values that do not change.
        """
        found = {self.program.input: box}
        for r in self.rules:
            sources = [found[s] for s in r.sources if s in found]
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
                found[out] = span
        return found


def plan(program: Program, learnt: Known, axes: tuple[int, ...]) -> Plan:
    """Class every value of a program as local or not.

    Parameters
    ----------
    program : Program
    learnt : Known
        Of its values.
    axes : tuple of int
        The dims of the input along which edits are boxes.

    Raises
    ------
    Unsuited
        Where an edit changes everything from the first op on.
    """
    program = plain(program, learnt.shape)
    known = replace(learnt, shape=dict(learnt.shape), axes={}, form={})
    known.axes[program.input], known.form[program.input] = axes, LOCAL
    strides = {program.input: (1,) * len(axes)}
    rules: list[Rule] = []
    rest: list[Node] = []
    for node in program.nodes:
        r = _rule(node, known, strides)
        if r is None:
            rest.append(node)
        else:
            rules.append(r)
    readers = Counter(r for node in program.nodes for r in node.reads) + Counter([program.output])
    rules = _together(rules, readers)
    bridges, tail = _bridges(rest, known)
    spliced = _spliced(program, tail, known)
    demand = _demand(rules, [*(b.source for b in bridges), *spliced], known)
    live = tuple(r for r in rules if r.node.writes[0] in demand)
    if not live and not bridges:
        raise Unsuited(_why(program, known))
    passing = frozenset(r.node.writes[0] for r in live if r.owns and readers[r.node.writes[0]] == 1)
    last = _last_reads(live, {*(b.source for b in bridges), *spliced})
    return Plan(
        program, known, live, tuple(bridges), tuple(spliced), tuple(tail), demand, strides, passing, last
    )


def _last_reads(rules: Sequence[Rule], ends: set[Ref]) -> tuple[tuple[Ref, ...], ...]:
    """The values that each rule is the last to read; `ends` are read after all of them."""
    seen = set(ends)
    found: list[tuple[Ref, ...]] = []
    for r in reversed(rules):
        found.append(tuple(s for s in r.sources if s not in seen))
        seen.update(r.sources)
    return tuple(reversed(found))


def _together(rules: list[Rule], readers: Counter[Ref]) -> list[Rule]:
    """One rule for two, where an op and the only one that reads it can be computed at once."""
    found: dict[Ref, Rule] = {}
    for r in rules:
        earlier = found.get(r.sources[0]) if readers[r.sources[0]] == 1 else None
        both = None if earlier is None else r.behind(earlier)
        if both is not None:
            del found[r.sources[0]]
        found[r.node.writes[0]] = both or r
    return list(found.values())


def learn(program: Program, x: Tensor) -> tuple[Known, dict[Ref, Tensor], Tensor]:
    """What is known of a program's values, the values of the first of some rows, and the outputs of the others."""
    one, more = program.values(x[:1]), program.values(x[1:])
    n = len(x) - 1
    shape = {r: tuple(t.shape) for r, t in one.items()}
    rowwise = {r for r, t in more.items() if shape[r] and t.shape == (n * shape[r][0], *shape[r][1:])}
    read = {r for node in program.nodes for r in node.reads} | {program.output}
    floating = {r for r, t in one.items() if t.is_floating_point()}
    return Known(shape, program.constants, read, floating, rowwise), one, more[program.output]


def _rule(node: Node, known: Known, strides: dict[Ref, tuple[int, ...]]) -> Rule | None:
    """The rule for a node, if it has one and all that it reads is local or constant."""
    active = [r for r in node.reads if r not in known.constants]
    build = RULES.get(node.op.overloadpacket)
    if build is None or any(r not in known.form for r in active):
        return None
    r = build(node, known)
    out = node.writes[0]
    if r is None or out not in known.rowwise or len({strides[s] for s in r.sources}) != 1:
        return None
    known.axes[out], known.form[out] = r.axes, r.form
    known.shape[out] = r.shape or known.shape[out]
    strides[out] = tuple(a * b for a, b in zip(strides[r.sources[0]], r.strides, strict=True))
    return r


def _bridges(rest: list[Node], known: Known) -> tuple[list[Bridge], list[Node]]:
    """The ops that can be updated from a box, and the others."""
    found: list[Bridge] = []
    tail: list[Node] = []
    for node in rest:
        build = BRIDGES.get(node.op.overloadpacket)
        bridge = None if build is None else build(node, known)
        if bridge is None:
            tail.append(node)
        else:
            found.append(bridge)
    return found, tail


def _spliced(program: Program, tail: list[Node], known: Known) -> list[Ref]:
    read = [r for node in tail for r in node.reads] + [program.output]
    return [r for r in dict.fromkeys(read) if r in known.form]


def domain(ref: Ref, known: Known) -> Span:
    """All positions of a local value."""
    return tuple((0, known.shape[ref][a]) for a in known.axes[ref])


def _demand(rules: list[Rule], ends: list[Ref], known: Known) -> dict[Ref, Span]:
    demand = {ref: domain(ref, known) for ref in ends}
    for r in reversed(rules):
        wanted = demand.get(r.node.writes[0])
        if wanted is None:
            continue
        for s in r.sources:
            span = [*zip(r.need(wanted), domain(s, known), strict=True)]
            need = tuple((min(max(lo, a), b), max(min(hi, b), a)) for (lo, hi), (a, b) in span)
            before = demand.get(s, need)
            demand[s] = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(need, before, strict=True))
    return demand


def _why(program: Program, known: Known) -> str:
    first = program.nodes[0] if program.nodes else None
    return (
        f"an edit changes everything from {first.op} at {first.source} on"
        if first
        else "the model has no ops"
    )


def wide(span: Span) -> int:
    """Positions in a box."""
    return math.prod(hi - lo for lo, hi in span)


def finite(values: dict[Ref, Tensor], refs: Sequence[Ref]) -> bool:
    """Whether values hold neither NaN nor infinities."""
    return all(bool(torch.isfinite(values[r]).all()) for r in refs if values[r].is_floating_point())
