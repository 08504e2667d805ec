"""Whether windows are worth it: counted on the graph, so that equal calls take equal paths."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.edits.edits import Edits
from attrib.engine.window.cost import FIRST, PER_ELEMENT, PER_OP, ROUNDING, dense_cost, window_cost
from attrib.engine.window.plan import Plan, plan
from attrib.engine.window.program import Program, Unsuited
from attrib.engine.window.rule import Known

RECORDED = 10  # rows of the model for recording and planning, besides the edits that are checked
WORTH = 0.85  # of the dense operations: what the window must stay below to be taken
STARTED = 60  # times the start of an op: what recording and planning take
EACH_NODE = 60  # the same, more for each op
PLENTY = 2.0  # a gain from which plans along fewer axes are not looked at


def refuse_at_once(edits: Edits, dtype: torch.dtype, device: torch.device, must: bool) -> None:
    """Where the window is never taken; less strict if it `must` be.

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
    if rows <= FIRST + RECORDED:
        raise Unsuited(f"{rows} edits are too few to pay for recording and checking")


def cheapest(recorded: Program, known: Known, edits: Edits, r: Tensor) -> tuple[Plan, float]:
    """A plan for edits `r` of a sample, and how many times fewer operations it needs than one row of the model each.

    Along all axes of the edits; or with one of these in full, as most networks mix all channels at once.

    Raises
    ------
    Unsuited
        Where an edit changes everything from the first op on.
    """
    lo, hi = edits.box(r)
    axes = edits.axes
    found: list[tuple[float, Plan]] = []
    why: Unsuited | None = None
    for some in (axes, *((*axes[:k], *axes[k + 1 :]) for k in range(len(axes)) if len(axes) > 1)):
        try:
            p = plan(recorded, known, some)
        except Unsuited as reason:
            why = why or reason
            continue
        own = p.own_axes(axes)
        found.append((dense_cost(p) / window_cost(p, lo[:, own], hi[:, own]), p))
        if found[-1][0] >= PLENTY:
            break
    if not found:
        raise why or Unsuited("the edits are no boxes")
    gain, best = max(found, key=lambda pair: pair[0])
    return best, gain


def refuse_costly(best: Plan, gain: float, count: int) -> None:
    """Where a window that needs 1 / `gain` of the operations does not pay for `count` edits.

    Raises
    ------
    Unsuited
    """
    row, made = dense_cost(best), math.prod(best.known.shape[best.program.input])
    whole = row + 2 * PER_ELEMENT * made  # the edited input is made too
    once = (FIRST + RECORDED) * whole + PER_OP * (STARTED + EACH_NODE * len(best.program.nodes))
    if count * row / gain + once <= WORTH * count * whole:
        return
    if 1 / gain <= WORTH:
        raise Unsuited(f"{count} edits are too few to pay for recording and checking")
    ends = next((node for node in best.tail if not set(best.splices).isdisjoint(node.reads)), None)
    where = f": from {ends.op} at {ends.source} on it needs whole rows" if ends else ""
    raise Unsuited(f"the window would need {100 / gain:.0f}% of the operations of whole rows{where}")
