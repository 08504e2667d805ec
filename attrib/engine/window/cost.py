"""Operations that edits cost, counted on the graph: for the choice of a path, which must not depend on a clock."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.graph import Node
from attrib.engine.window.plan import Plan, domain, wide
from attrib.engine.window.rule import Span

aten = torch.ops.aten

PER_ELEMENT = 12.0  # multiplications in the time that an op takes for one element of its result
PER_OP = 5e5  # in the time that it takes to start an op
DENSE_ROWS = 32
PROBES = 16


def products(node: Node, plan: Plan) -> float:
    """Multiplications of an op for one row."""
    known, out = plan.known, math.prod(plan.known.shape[node.writes[0]])
    if node.op.overloadpacket is aten.convolution:
        weight = known.shape[node.args[1]]
        return float(out * math.prod(weight[1:]))
    if node.op.overloadpacket in (aten.addmm, aten.mm, aten.bmm, aten.baddbmm):
        return float(out * known.shape[node.reads[-1]][-2])
    return 0.0


def dense_cost(plan: Plan) -> float:
    """Of a row of the model."""
    nodes = plan.program.nodes
    each = sum(products(n, plan) + PER_ELEMENT * _size(n, plan) for n in nodes)
    return each + len(nodes) * PER_OP / DENSE_ROWS


def _size(node: Node, plan: Plan) -> int:
    return math.prod(plan.known.shape[node.writes[0]])


def window_cost(plan: Plan, lo: Tensor, hi: Tensor) -> float:
    """Of an edit, as a mean over some of the boxes [lo, hi) (edits, k)."""
    probes = _probes(lo, hi)
    local = sum(local_cost(plan, box) for box in probes) / len(probes)
    tail = sum(products(n, plan) + PER_ELEMENT * _size(n, plan) for n in plan.tail)
    tail += sum(2 * PER_ELEMENT * math.prod(plan.known.shape[ref]) for ref in plan.splices)
    alike = max(1.0, len(lo) / math.prod(plan.period))
    rows = min(alike, max(8, (1 << 20) // elements(plan, lo, hi)))
    return local + tail + PER_OP * (2 * len(plan.rules) / rows + len(plan.tail) / DENSE_ROWS)


def local_cost(plan: Plan, box: Span) -> float:
    """Of the windows of an edit of a box."""
    none = [0] * len(box)
    spans, total = plan.spans(box, none, none), 0.0
    for r in plan.rules:
        out = r.node.writes[0]
        if out not in spans:
            continue
        whole = wide(domain(out, plan.known))
        size = math.prod(plan.known.shape[out]) * wide(spans[out]) / whole
        counted = r.sources[0] if r.products_by_source and r.sources[0] in spans else out
        share = wide(spans[counted]) / wide(domain(counted, plan.known))
        total += products(r.priced or r.node, plan) * share + 2 * PER_ELEMENT * size
    for b in plan.bridges:
        if b.source in spans:
            total += b.work(wide(spans[b.source])) + PER_ELEMENT * math.prod(
                plan.known.shape[b.node.writes[0]]
            )
    return total


def _probes(lo: Tensor, hi: Tensor) -> list[Span]:
    """Some boxes, from the first to the last."""
    at = torch.linspace(0, len(lo) - 1, min(PROBES, len(lo))).long()
    return [tuple(zip(a, b, strict=True)) for a, b in zip(lo[at].tolist(), hi[at].tolist(), strict=True)]


def elements(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """Of a row's largest local value."""
    middle = len(lo) // 2  # away from the ends, where boxes are cut off
    return max(_elements(plan, _probes(lo[middle : middle + 1], hi[middle : middle + 1])[0]).values())


def volume(plan: Plan, box: Span) -> int:
    """Elements of all local values of a row."""
    return sum(_elements(plan, box).values())


def piece_elements(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """Of what a row keeps for the rest of the program, results of bridges included."""
    ends = [*(b.source for b in plan.bridges if b.keeps_box), *plan.splices]
    results = sum(_size(b.node, plan) for b in plan.bridges)
    return results + max(sum(_elements(plan, box).get(e, 0) for e in ends) for box in _probes(lo, hi))


def _elements(plan: Plan, box: Span) -> dict:
    none = [0] * len(box)
    return {
        ref: max(1, math.prod(plan.known.shape[ref]) * wide(span) // wide(domain(ref, plan.known)))
        for ref, span in plan.spans(box, none, none).items()
    }
