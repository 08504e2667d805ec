"""Edits that lie close together as edits of one box: their windows are nearly the same, and then they start alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib.engine.window.cost import PER_ELEMENT, PER_OP, elements, local_cost, volume
from attrib.engine.window.plan import Plan, domain

SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
WINDOW_ELEMENTS = 1 << 20  # of the largest value that a pass holds: larger ones leave the cache
PROBES = 5


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
    at = torch.linspace(0, len(lo) - 1, PROBES).long()
    boxes: Sequence = [((p, q),) for p, q in zip(a[at, 0].tolist(), b[at, 0].tolist(), strict=True)]
    local = sum(local_cost(plan, box) for box in boxes) / PROBES
    kinds = len((a % plan.period[0] + plan.period[0] * (b - a)).unique())
    each = len(lo) / max(1, len(a.unique()))
    rows = min(len(lo) / kinds, max(each, WINDOW_ELEMENTS / elements(plan, a, b)))
    read = PER_ELEMENT * volume(plan, boxes[PROBES // 2]) / each
    return local + read + PER_OP * 4 * len(plan.rules) / rows, each * elements(plan, a, b)
