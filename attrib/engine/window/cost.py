"""Operations that edits cost, counted on the graph: for the choice of a path, which must not depend on a clock."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


# FOLDED attrib/engine/window/cost.py: """The check that a plan computes what the model does."""
FIRST, FURTHER, MOST = 16, 4, 64  # edits of the first sample, of each further one, of a call
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-5}  # relative to the largest output


def some(count: int, before: int) -> Tensor:
    """The numbers of the edits of a sample to check, out of `count`: from the first to the last, evenly.

    Parameters
    ----------
    count : int
    before : int
        How many edits of the samples before it have been checked.
    """
    wanted = min(FURTHER if before else FIRST, MOST - before, count)
    if wanted <= 0:
        return torch.zeros(0, dtype=torch.long)
    return torch.linspace(0, count - 1, wanted, dtype=torch.float64).round().long().unique()


def others(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inputs (rows, ...) unlike a sample (1, ...) nearly everywhere: reversed, zero, and moved along.

    A value of the sample that a recording took for a constant shows in them, wherever it comes from.
    """
    moved = [x.roll(by, axes) for by in ([1] * len(axes), [x.shape[a] // 2 for a in axes])]
    return torch.cat([x.flip(axes), torch.zeros_like(x), *moved])


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of outputs (rows, ...), relative to the largest; infinite where one is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    off = float((found - expected).detach().abs().max())
    return (
        off / max(scale, torch.finfo(expected.dtype).tiny)
        if off == off and off > 0
        else 0.0
        if off == 0
        else float("inf")
    )


def agrees(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs are equal up to rounding."""
    return difference(found, expected) <= ROUNDING.get(expected.dtype, 0.0)


def agrees_where_finite(found: Tensor, expected: Tensor) -> bool:
    """The same for those rows of the outputs that are finite as expected, if there are any."""
    rows = torch.isfinite(expected).reshape(len(expected), -1).all(1)
    return found.shape == expected.shape and (not bool(rows.any()) or agrees(found[rows], expected[rows]))


# FOLDED attrib/engine/window/cost.py: """Edits that lie close together as edits of one box: their windows are nearly the same, and then they start alike."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
WINDOW_ELEMENTS = 1 << 20  # of the largest value that a pass holds: larger ones leave the cache
BOXES = 5


def snapped(plan: Plan, lo: Tensor, hi: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Boxes (rows, k) made larger, so that they begin and end at multiples of a size or at the ends."""
    if size == 1:
        return lo, hi
    ends = torch.tensor([end for _, end in domain(plan.program.input, plan.known)])
    return lo.div(size, rounding_mode="floor") * size, (
        -((-hi).div(size, rounding_mode="floor")) * size
    ).minimum(ends)


def block(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """The size that costs least for edits of boxes [lo, hi), counted in operations; along one axis only."""
    if lo.shape[1] != 1 or not plan.rules or len(lo) < 2:
        return 1
    costs: dict[int, float] = {}
    for size in SIZES:
        cost, numbers = _cost(plan, lo, hi, size)
        if size == 1 or numbers <= WINDOW_ELEMENTS:
            costs[size] = cost
    return min(costs, key=costs.__getitem__)


def _cost(plan: Plan, lo: Tensor, hi: Tensor, size: int) -> tuple[float, float]:
    """Of a row, in multiplications; and the numbers in the largest value of the rows that start alike."""
    a, b = snapped(plan, lo, hi, size)
    at = torch.linspace(0, len(lo) - 1, BOXES).long()
    boxes: Sequence = [((p, q),) for p, q in zip(a[at, 0].tolist(), b[at, 0].tolist(), strict=True)]
    local = sum(local_cost(plan, box) for box in boxes) / BOXES
    kinds = len((a % plan.period[0] + plan.period[0] * (b - a)).unique())
    each = len(lo) / max(1, len(a.unique()))
    rows = min(len(lo) / kinds, max(each, WINDOW_ELEMENTS / elements(plan, a, b)))
    read = PER_ELEMENT * volume(plan, boxes[BOXES // 2]) / each
    return local + read + PER_OP * 4 * len(plan.rules) / rows, each * elements(plan, a, b)
