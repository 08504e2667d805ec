"""Whether edits are computed by windows: these must cost fewer operations than rows of the model, and agree with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attrib.engine.window.boxes import Edits
from attrib.engine.window.cost import PER_ELEMENT, PER_OP, dense_cost, window_cost
from attrib.engine.window.plan import Plan, plan
from attrib.engine.window.program import Costly, Program, Unsuited
from attrib.engine.window.rule import Layout

CHECKS_FIRST, CHECKS_FURTHER, CHECKS_MOST = 16, 4, 64  # edits of the first sample, a further one, a call
ROUNDING = {torch.float64: 1e-10, torch.float32: 5e-5}  # relative to the largest output
RECORDED_ROWS = 10  # rows of the model for recording and planning, besides the checked edits
WORTH = 0.6  # a window is taken below this share of the dense operations: the same operations take up to 1.7 times as long in it
STARTUP = 60  # recording and planning take this many times the start of an op
STARTUP_PER_NODE = 60  # and this many more for each op
SUFFICIENT_GAIN = 2.0  # a gain from which plans along fewer axes are not tried


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
