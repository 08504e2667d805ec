"""What single precision loses: which rows do not add up, the same graph in double precision, and the op that is at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.engine.graph import Graph
from attrib.engine.secant.report import shares

ALLOWED = 1e-3  # completeness error, as a share of the change
ROUNDINGS = 64  # of the scores: a change that is hardly more than these cannot be shared out more exactly
NEGLIGIBLE = 1e-9  # of the largest output: a probability that is 0 at both ends has attributions of rounding
LARGE = 1e3  # entries, as multiples of the change

_WIDE = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32), torch.float64),
    **dict.fromkeys((torch.complex32, torch.complex64), torch.complex128),
}


def rounding(*values: Tensor) -> Tensor:
    """What of a change between values of this size may be rounding."""
    largest = torch.stack([v.abs() for v in torch.broadcast_tensors(*values)]).amax(0)
    return ROUNDINGS * torch.finfo(largest.dtype).eps * largest


def adds_up(total: Tensor, at_input: Tensor, at_baseline: Tensor, *outputs: Tensor) -> Tensor:
    """Whether sums of attributions (T, rows) are the change of the score; True where a score is not finite.

    Parameters
    ----------
    total, at_input, at_baseline : Tensor (T, rows)
        Sums of attributions, and scores.
    outputs : Tensor (rows, ...)
        All outputs of the model, of which a negligible part is then allowed too: a score of zero may be the difference of
        large numbers, as a probability behind large logits is.
    """
    change = at_input - at_baseline
    share = max(ALLOWED, 8 * torch.finfo(at_input.dtype).eps)
    allowed = share * change.abs() + rounding(at_input, at_baseline)
    for y in outputs:
        allowed = allowed + NEGLIGIBLE * y.reshape(len(y), -1).abs().amax(1)
    return ((total - change).abs() <= allowed) | ~change.isfinite()


def in_double(graph: Graph) -> Graph:
    """A graph that computes the same in double precision."""
    nodes = tuple(
        dataclasses.replace(n, args=_widened(n.args), kwargs=_widened(n.kwargs)) for n in graph.nodes
    )
    constants = {ref: t.to(_WIDE.get(t.dtype, t.dtype)) for ref, t in graph.constants.items()}
    return dataclasses.replace(graph, nodes=nodes, constants=constants, seen={})


def _widened(tree: Any) -> Any:
    """Arguments of an op with double in place of shorter dtypes."""
    if isinstance(tree, dict):
        return {name: _widened(branch) for name, branch in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(map(_widened, tree))
    return _WIDE.get(tree, tree) if isinstance(tree, torch.dtype) else tree


def most_lost(graph: Graph, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangent: Tensor) -> str:
    """The op at which most of the change is lost, with the model's line; `cotangent` selects the row."""
    worst = max(shares(graph, x0, x1, cotangent), key=lambda op: abs(op.residual))
    return f"{worst.op} at {worst.source}"
