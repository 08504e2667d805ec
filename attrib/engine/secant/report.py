"""What each op contributed: how much of the change flows through it, and how much of the residual it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.graph import Graph, Node
from attrib.engine.secant.families import RULES
from attrib.engine.secant.replay import read, start
from attrib.engine.secant.twin import Twin, has_twin


class OpShare(NamedTuple):
    """One op of a graph.

    Attributes
    ----------
    op, source, rule : str
        Its name, the model's line, and the rule that read it.
    shape : tuple of int
        Of its first result.
    change : float
        Multipliers at its results times their change: how much of ``f(x) - f(baseline)`` passes through it, summed
        over samples.
    residual : float
        How much of that its arguments do not account for. The residuals of all ops add up to
        ``f(x) - f(baseline) - sum(attributions)``.
    """

    op: str
    source: str
    rule: str
    shape: tuple[int, ...]
    change: float
    residual: float


class _Step(NamedTuple):
    """One op with carriers of its own: `leaves` stand for `arguments`."""

    node: Node
    arguments: list[Twin]
    leaves: list[Tensor]
    results: list[Twin]


def shares(graph: Graph, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangent: Tensor) -> list[OpShare]:
    """Account for the change op by op.

    Parameters
    ----------
    graph : Graph
        From `expressed`.
    x0, x1 : sequence of Tensor
        Baselines and inputs.
    cotangent : Tensor
        Which output is explained, shaped like the output.

    Notes
    -----
    Each op is transposed alone, so that what goes in can be compared with what comes out. All values are held.
    """
    steps: list[_Step] = []

    def separately(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if not (has_twin(args) or has_twin(kwargs)):
            return node.op(*args, **kwargs)
        step, result = _apart(node, args, kwargs)
        steps.append(step)
        return result

    with torch.enable_grad():
        y = graph.run(start(x0, x1, [b - a for a, b in zip(x0, x1, strict=True)]), separately)
    multipliers = {id(y): cotangent}
    return [_account(step, multipliers) for step in reversed(steps)][::-1]


def _apart(node: Node, args: list[Any], kwargs: dict[str, Any]) -> tuple[_Step, Any]:
    """Apply an op to carriers that end at its own arguments."""
    copies: dict[int, tuple[Twin, Twin]] = {}
    result = read(node, _own(args, copies), {name: _own(v, copies) for name, v in kwargs.items()})
    results = [r for r in (result if isinstance(result, list) else [result]) if not r.is_index]
    kept = [(twin, copy.dv) for twin, copy in copies.values() if not twin.is_index]
    return _Step(node, [twin for twin, _ in kept], [dv for _, dv in kept], results), result


def _own(tree: Any, copies: dict[int, tuple[Twin, Twin]]) -> Any:
    """`tree` with a copy of each Twin, whose carrier begins there; `copies` has Twins and copies, by the Twin's id."""
    if isinstance(tree, (list, tuple)):
        return [_own(branch, copies) for branch in tree]
    if not isinstance(tree, Twin):
        return tree
    if id(tree) not in copies:
        leaf = None if tree.is_index else tree.change.detach().clone().requires_grad_()
        copies[id(tree)] = tree, Twin(tree.v0, tree.v1, leaf)
    return copies[id(tree)][1]


def _account(step: _Step, multipliers: dict[int, Tensor]) -> OpShare:
    """Pull the multipliers at an op's results back to its arguments, and compare."""
    out = [(r, multipliers[id(r)]) for r in step.results if id(r) in multipliers]
    change = sum(float((m * r.change).sum()) for r, m in out)
    incoming = 0.0
    tracked = [(r.dv, m.expand_as(r.dv)) for r, m in out if r.dv.requires_grad]
    if tracked:
        carriers, cotangents = zip(*tracked, strict=True)
        found = torch.autograd.grad(carriers, step.leaves, cotangents, materialize_grads=True)
        for argument, leaf, m in zip(step.arguments, step.leaves, found, strict=True):
            multipliers[id(argument)] = multipliers.get(id(argument), 0) + m
            incoming += float((m * leaf.detach()).sum())
    name = RULES[step.node.op].__name__
    shape = tuple(step.results[0].v1.shape) if step.results else ()
    return OpShare(str(step.node.op), str(step.node.source), name, shape, change, change - incoming)
