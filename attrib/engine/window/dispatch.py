"""Whether edits are computed by windows: these must cost fewer operations than rows of the model, and agree with it.

Operations are counted on the graph, so that equal calls take equal paths whatever a clock says.

Edits that lie close together may be computed as edits of one larger box: their windows are nearly the same, and all of
them start at the same positions then. `block_size` finds the box size that costs least.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.plan import Plan, domain, plan, volume
from attrib.engine.window.program import RECURRENT_OPS, Costly, Program, Unsuited
from attrib.engine.window.rule import Edits, Layout, Span

CHECKS_FIRST, CHECKS_FURTHER, CHECKS_MOST = 16, 4, 64  # edits of the first sample, a further one, a call
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-5}  # relative to the largest output
RECORDED_ROWS = 10  # rows of the model for recording and planning, besides the checked edits
WORTH = 0.6  # a window is taken below this share of the dense operations: the same operations take up to 1.7 times as long in it
STARTUP = 60  # recording and planning take this many times the start of an op
STARTUP_PER_NODE = 60  # and this many more for each op
SUFFICIENT_GAIN = 2.0  # a gain from which plans along fewer axes are not tried

aten = torch.ops.aten

PER_ELEMENT = 12.0  # multiplications in the time that an op takes for one element of its result
PER_OP = 5e5  # multiplications in the time that it takes to start an op
PER_WEIGHT = 50.0  # and to read a weight of a convolution and bring it into the kernel's order, once for all rows of a call
DENSE_ROWS = 32
PROBES = 6
BLOCK_SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
BLOCK_PROBES = 5
WINDOW_ELEMENTS = 1 << 20  # of the largest value in a propagation: larger ones leave the cache


# ---------------------------------------------------------------------- cost


def refuse_edits(edits: Edits, dtype: torch.dtype, device: torch.device, must: bool) -> None:
    """Refuse edits for which the window is never taken; fewer of them if it `must` be.

    Raises
    ------
    Unsuited
    """
    rows = len(edits.samples)
    if not edits.axes or rows == 0:
        raise Unsuited("the edits are no boxes")
    if dtype not in ROUNDING:
        raise Unsuited(f"inputs of {dtype} leave no room for rounding")
    if must:
        return
    if device.type != "cpu":
        raise Unsuited(
            "on an accelerator the window is taken only if asked for: dense batches are fast there"
        )
    if rows <= 3 * (CHECKS_FIRST + RECORDED_ROWS):  # the window would have to cost a quarter of them
        raise Unsuited(f"{rows} edits are too few to pay for recording and checking")


def cheapest(program: Program, layout: Layout, edits: Edits, r: Tensor) -> tuple[Plan, float]:
    """The plan with the fewest operations for edits `r` of a sample.

    It follows all axes of the edits, or all but one and takes that one in full, as most networks mix all channels at once.

    Returns
    -------
    plan : Plan
    gain : float
        Operations of one row of the model for each edit, as a multiple of those of the plan.

    Raises
    ------
    Unsuited
        If an edit changes every value from the first op on.
    """
    lo, hi = edits.box(r)
    axes = edits.axes
    plans: list[tuple[float, Plan]] = []
    refusal: Unsuited | None = None
    for some in (axes, *((*axes[:k], *axes[k + 1 :]) for k in range(len(axes)) if len(axes) > 1)):
        try:
            candidate = plan(program, layout, some)
        except Unsuited as reason:
            refusal = refusal or reason
            continue
        k = candidate.followed_axes(axes)
        plans.append((dense_cost(candidate) / window_cost(candidate, lo[:, k], hi[:, k]), candidate))
        if plans[-1][0] >= SUFFICIENT_GAIN:
            break
    if not plans:
        raise refusal or Unsuited("the edits are no boxes")
    gain, best = max(plans, key=lambda pair: pair[0])
    return best, gain


def refuse_costly(best: Plan, gain: float, count: int) -> None:
    """Refuse a window that needs 1 / `gain` of the operations if it does not pay for `count` edits.

    Raises
    ------
    Costly
    """
    row = dense_cost(best)
    edited_row = row + 2 * PER_ELEMENT * math.prod(best.layout.shape[best.program.input])
    startup = (CHECKS_FIRST + RECORDED_ROWS) * edited_row
    startup += PER_OP * (STARTUP + STARTUP_PER_NODE * len(best.program.nodes))
    if count * row / gain + startup <= WORTH * count * edited_row:
        return
    if 1 / gain <= WORTH:
        raise Costly(f"{count} edits are too few to pay for recording and checking")
    end = next((node for node in best.suffix if not set(best.splices).isdisjoint(node.reads)), None)
    place = f": from {end.op} at {end.source} on it needs whole rows" if end else ""
    raise Costly(f"the window would need {100 / gain:.0f}% of the operations of whole rows{place}")


# ---------------------------------------------------------------------- agreement with the model


def edits_to_check(count: int, checked: int) -> Tensor:
    """Numbers of the edits of a sample to compare with the model: evenly from the first to the last.

    Parameters
    ----------
    count : int
        Edits of the sample.
    checked : int
        Edits of earlier samples that have been checked.
    """
    checks = min(CHECKS_FURTHER if checked else CHECKS_FIRST, CHECKS_MOST - checked, count)
    if checks <= 0:
        return torch.zeros(0, dtype=torch.long)
    return torch.linspace(0, count - 1, checks, dtype=torch.float64).round().long().unique()


def unlike(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Inputs (rows, ...) that differ from a sample (1, ...) nearly everywhere: reversed, zero, and shifted.

    They expose a value of the sample that the recording holds as a constant.
    """
    shifted = [x.roll(by, axes) for by in ([1] * len(axes), [x.shape[a] // 2 for a in axes])]
    return torch.cat([x.flip(axes), torch.zeros_like(x), *shifted])


def difference(outputs: Tensor, expected: Tensor) -> float:
    """Largest difference of outputs (rows, ...), relative to the largest; infinite where one is not finite."""
    if outputs.shape != expected.shape:
        return math.inf
    largest = float((outputs - expected).detach().abs().max())
    if not math.isfinite(largest):
        return math.inf
    return largest / max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)


def agrees(outputs: Tensor, expected: Tensor) -> bool:
    """Whether outputs are equal up to rounding."""
    return difference(outputs, expected) <= ROUNDING.get(expected.dtype, 0.0)


def agrees_where_finite(outputs: Tensor, expected: Tensor) -> bool:
    """Whether outputs are equal up to rounding in the rows in which `expected` is finite."""
    rows = torch.isfinite(expected).reshape(len(expected), -1).all(1)
    if outputs.shape != expected.shape:
        return False
    return not bool(rows.any()) or agrees(outputs[rows], expected[rows])


# ---------------------------------------------------------------------- operations of a row


def dense_cost(plan: Plan) -> float:
    """Operations for one row of the model."""
    nodes = plan.program.nodes
    call = len(nodes) * PER_OP + PER_WEIGHT * sum(_weights(n, plan) for n in nodes)
    return sum(_operations(n, plan) for n in nodes) + call / DENSE_ROWS


def window_cost(plan: Plan, lo: Tensor, hi: Tensor) -> float:
    """Operations for one edit, as a mean over some of the boxes [lo, hi) (edits, k)."""
    probes = _probes(lo, hi, min(PROBES, len(lo)))
    local = sum(local_cost(plan, box) for box in probes) / len(probes)
    suffix = sum(_operations(n, plan) for n in plan.suffix)
    suffix += sum(2 * PER_ELEMENT * math.prod(plan.layout.shape[ref]) for ref in plan.splices)
    alike = len(lo) / _kinds(plan, lo, hi)
    rows = min(alike, max(8, WINDOW_ELEMENTS // largest_value(plan, lo, hi)))
    call = 2 * PER_OP * len(plan.rules) + PER_WEIGHT * sum(_weights(r.node, plan) for r in plan.rules)
    suffix_call = PER_OP * len(plan.suffix) + PER_WEIGHT * sum(_weights(n, plan) for n in plan.suffix)
    return local + suffix + call / rows + suffix_call / DENSE_ROWS


def local_cost(plan: Plan, box: Span) -> float:
    """Operations for the windows of an edit of `box`."""
    none = [0] * len(box)
    spans, total = plan.spans(box, none, none), 0.0
    for r in plan.rules:
        out = r.node.writes[0]
        if out not in spans:
            continue
        size = math.prod(plan.layout.shape[out]) * _share(plan, out, spans[out])
        counted = r.sources[0] if r.products_by_source and r.sources[0] in spans else out
        share = _share(plan, counted, spans[counted])
        total += _products(r.priced or r.node, plan) * share + 2 * PER_ELEMENT * size
    for a in plan.aggregations:
        if a.source in spans:
            total += a.work(volume(spans[a.source])) + PER_ELEMENT * _size(a.node, plan)
    return total


def _operations(node: Node, plan: Plan) -> float:
    return _products(node, plan) + PER_ELEMENT * _size(node, plan)


def _products(node: Node, plan: Plan) -> float:
    """Multiplications of an op for one row."""
    layout, size = plan.layout, _size(node, plan)
    if node.op.overloadpacket is aten.convolution:
        weight = layout.shape[node.args[1]]
        return float(size * math.prod(weight[1:]))
    if node.op.overloadpacket in (aten.addmm, aten.mm, aten.bmm, aten.baddbmm):
        return float(size * layout.shape[node.reads[-1]][-2])
    if node.op in RECURRENT_OPS:
        return _recurrent(node, plan)
    return 0.0


def _weights(node: Node, plan: Plan) -> int:
    """Weights of a convolution."""
    return math.prod(plan.layout.shape[node.args[1]]) if node.op.overloadpacket is aten.convolution else 0


def _recurrent(node: Node, plan: Plan) -> float:
    """Multiplications of a recurrent layer, and the time that its steps take, for one row."""
    source, _, weights = (node.args[0], *node.args[1:3])
    shape = plan.layout.shape
    steps = math.prod(shape[source]) // shape[source][-1]
    products = sum(math.prod(shape[w]) for w in weights if len(shape[w]) == 2)
    return steps * (products + len(weights) * PER_OP / DENSE_ROWS)


def _size(node: Node, plan: Plan) -> int:
    return math.prod(plan.layout.shape[node.writes[0]])


def _share(plan: Plan, ref: Ref, span: Span) -> float:
    """The part of a local value's positions that lie in a span."""
    return volume(span) / volume(domain(ref, plan.layout))


def _probes(lo: Tensor, hi: Tensor, count: int) -> list[Span]:
    """Some boxes, from the first to the last."""
    at = torch.linspace(0, len(lo) - 1, count).long()
    return [tuple(zip(a, b, strict=True)) for a, b in zip(lo[at].tolist(), hi[at].tolist(), strict=True)]


def _kinds(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """How many kinds of boxes there are: those of a kind change boxes of equal shape in every value, and share calls."""
    place = torch.cat([lo % torch.tensor(plan.period), hi - lo], 1)
    return len(place.unique(dim=0))


# ---------------------------------------------------------------------- elements of a row


def row_elements(plan: Plan) -> int:
    """Elements of all values of one row of the model."""
    return sum(_size(node, plan) for node in plan.program.nodes)


def window_elements(plan: Plan, box: Span) -> int:
    """Elements of all local values of one row."""
    return sum(_elements(plan, box).values())


def largest_value(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """Elements of the largest local value of one row."""
    middle = len(lo) // 2  # away from the ends, where boxes are cut off
    return max(_elements(plan, _probes(lo[middle : middle + 1], hi[middle : middle + 1], 1)[0]).values())


def piece_elements(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """Elements that one row keeps for the suffix, with the results of aggregations."""
    ends = [*(a.source for a in plan.aggregations if a.keeps_box), *plan.splices]
    results = sum(_size(a.node, plan) for a in plan.aggregations)
    probes = _probes(lo, hi, min(PROBES, len(lo)))
    return results + max(sum(_elements(plan, box).get(e, 0) for e in ends) for box in probes)


def _elements(plan: Plan, box: Span) -> dict[Ref, int]:
    none = [0] * len(box)
    return {
        ref: max(1, math.prod(plan.layout.shape[ref]) * volume(span) // volume(domain(ref, plan.layout)))
        for ref, span in plan.spans(box, none, none).items()
    }


# ---------------------------------------------------------------------- edits of one box


def snapped(plan: Plan, lo: Tensor, hi: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Boxes (rows, k) enlarged so that they begin and end at multiples of `size` or at the ends of the input."""
    if size == 1:
        return lo, hi
    ends = torch.tensor([end for _, end in domain(plan.program.input, plan.layout)])
    stop = -((-hi).div(size, rounding_mode="floor")) * size
    return lo.div(size, rounding_mode="floor") * size, stop.minimum(ends)


def block_size(plan: Plan, lo: Tensor, hi: Tensor) -> int:
    """The box size with the fewest operations for edits of boxes [lo, hi); 1 along more than one axis."""
    if lo.shape[1] != 1 or not plan.rules or len(lo) < 2:
        return 1
    costs: dict[int, float] = {}
    for size in BLOCK_SIZES:
        cost, elements = _block_cost(plan, lo, hi, size)
        if size == 1 or elements <= WINDOW_ELEMENTS:
            costs[size] = cost
    return min(costs, key=costs.__getitem__)


def _block_cost(plan: Plan, lo: Tensor, hi: Tensor, size: int) -> tuple[float, float]:
    """Multiplications for one row, and the elements of the largest value of the rows that share a box."""
    a, b = snapped(plan, lo, hi, size)
    boxes = _probes(a, b, BLOCK_PROBES)
    local = sum(local_cost(plan, box) for box in boxes) / BLOCK_PROBES
    kinds = _kinds(plan, a, b)
    each = len(lo) / max(1, len(a.unique()))
    largest = largest_value(plan, a, b)
    rows = min(len(lo) / kinds, max(each, WINDOW_ELEMENTS / largest))
    read = PER_ELEMENT * window_elements(plan, boxes[BLOCK_PROBES // 2]) / each
    call = 4 * PER_OP * len(plan.rules) + PER_WEIGHT * sum(_weights(r.node, plan) for r in plan.rules)
    return local + read + call / rows, each * largest
