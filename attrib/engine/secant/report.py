"""The change that passes through each op of a graph, the residual that its rule leaves, and what single precision loses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.graph import Graph, Node
from attrib.engine.secant.pair import RULES, Pair, has_pair
from attrib.engine.secant.replay import apply_rule, start

ALLOWED = 1e-3  # completeness error, as a share of the change
ROUNDINGS = 64  # of the scores: a change that is hardly more than these cannot be shared out more exactly
NEGLIGIBLE = 1e-9  # of the largest output: a probability that is 0 at both ends has attributions of rounding
LARGE = 1e3  # entries, as multiples of the change

_WIDE = {
    **dict.fromkeys((torch.float16, torch.bfloat16, torch.float32), torch.float64),
    **dict.fromkeys((torch.complex32, torch.complex64), torch.complex128),
}


class OpShare(NamedTuple):
    """One op of a graph.

    Attributes
    ----------
    op, source, rule : str
        The op's name, the model's line, and the rule for the op.
    shape : tuple of int
        Shape of its first result.
    change : float
        The part of ``f(x) - f(baseline)`` that passes through the op: multipliers at its results times their change,
        summed over samples.
    residual : float
        The part of `change` that the op's arguments do not account for. The residuals of all ops add up to
        ``f(x) - f(baseline) - sum(attributions)``.
    """

    op: str
    source: str
    rule: str
    shape: tuple[int, ...]
    change: float
    residual: float


class _Step(NamedTuple):
    """One op whose changes are functions of its own arguments: `leaves` are the changes of `arguments`."""

    node: Node
    arguments: list[Pair]
    leaves: list[Tensor]
    results: list[Pair]


def shares(graph: Graph, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangent: Tensor) -> list[OpShare]:
    """Split the change of the output by op.

    Parameters
    ----------
    graph : Graph
        From `expressed`.
    x0, x1 : sequence of Tensor
        Baselines and inputs.
    cotangent : Tensor
        The explained output, as weights shaped like the output.

    Notes
    -----
    Each op is transposed alone, to compare the change at its results with that at its arguments. All values stay in memory.
    """
    steps: list[_Step] = []

    def call(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if not (has_pair(args) or has_pair(kwargs)):
            return node.op(*args, **kwargs)
        step, result = _step(node, args, kwargs)
        steps.append(step)
        return result

    with torch.enable_grad():
        y = graph.run(start(x0, x1, [b - a for a, b in zip(x0, x1, strict=True)]), call)
    multipliers = {id(y): cotangent}
    return [_account(step, multipliers) for step in reversed(steps)][::-1]


def _step(node: Node, args: list[Any], kwargs: dict[str, Any]) -> tuple[_Step, Any]:
    """Run an op on copies of its arguments, at which its changes begin."""
    copies: dict[int, tuple[Pair, Pair]] = {}
    result = apply_rule(node, _copied(args, copies), {k: _copied(v, copies) for k, v in kwargs.items()})
    results = [r for r in (result if isinstance(result, list) else [result]) if not r.is_index]
    arguments = [(pair, copy.dv) for pair, copy in copies.values() if not pair.is_index]
    return _Step(node, [pair for pair, _ in arguments], [dv for _, dv in arguments], results), result


def _copied(tree: Any, copies: dict[int, tuple[Pair, Pair]]) -> Any:
    """`tree` with a copy of each Pair, whose `dv` is a leaf; `copies` holds Pairs with their copies, by the Pair's id."""
    if isinstance(tree, (list, tuple)):
        return [_copied(branch, copies) for branch in tree]
    if not isinstance(tree, Pair):
        return tree
    if id(tree) not in copies:
        leaf = None if tree.is_index else tree.change.detach().clone().requires_grad_()
        copies[id(tree)] = tree, Pair(tree.v0, tree.v1, leaf)
    return copies[id(tree)][1]


def _account(step: _Step, multipliers: dict[int, Tensor]) -> OpShare:
    """Pull the multipliers at an op's results back to its arguments, and compare."""
    out = [(r, multipliers[id(r)]) for r in step.results if id(r) in multipliers]
    change = sum(float((m * r.change).sum()) for r, m in out)
    incoming = 0.0
    tracked = [(r.dv, m.expand_as(r.dv)) for r, m in out if r.dv.requires_grad]
    if tracked:
        changes, cotangents = zip(*tracked, strict=True)
        gradients = torch.autograd.grad(changes, step.leaves, cotangents, materialize_grads=True)
        for argument, leaf, m in zip(step.arguments, step.leaves, gradients, strict=True):
            multipliers[id(argument)] = multipliers.get(id(argument), 0) + m
            incoming += float((m * leaf.detach()).sum())
    name = RULES[step.node.op].__name__
    shape = tuple(step.results[0].v1.shape) if step.results else ()
    return OpShare(str(step.node.op), str(step.node.source), name, shape, change, change - incoming)


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
