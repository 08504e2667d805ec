"""What each op contributed: how much of the change flows through it, and how much of the residual it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from attrib.engine.graph import Graph, Node
from attrib.engine.model.function import Function
from attrib.engine.secant.families import RULES
from attrib.engine.secant.pair import Twin, has_twin
from attrib.engine.secant.replay import read, start
from attrib.engine.target import Custom, Scores, Target


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


# FOLDED attrib/engine/secant/report.py: """From a model's output to scores: what is recorded, and which of it each target explains."""
class Readout:
    """A model together with those of its targets that are functions of its output.

    An entry of the output is a cotangent, free of cost. A function of the output is part of what is explained, so it
    is recorded with the model: its value becomes one more column of the output, which is laid flat for that.

    Parameters
    ----------
    function : Function
        The model.
    score : Scores
        The targets; the first output settles them.
    """

    def __init__(self, function: Function, score: Scores) -> None:
        self.function, self.score = function, score
        self._shape: tuple[int, ...] = ()

    @property
    def custom(self) -> list[Target]:
        """The targets that are functions of the output."""
        return [t for t in self.score.targets if isinstance(t, Custom)]

    def outputs(self, *rows: Tensor) -> Tensor:
        """The model's output (rows, ...), or flat with the custom scores behind it."""
        y = self.function(*rows)
        if not self.score.want.functions:  # the targets are no part of what is recorded
            return y
        self._shape = tuple(y.shape[1:])
        with _disable_current_modes():
            self.settle(y.detach())
        i = torch.arange(len(y), device=y.device)
        extra = [t.score(y, i) for t in self.custom]
        return torch.cat([y.reshape(len(y), -1), torch.stack(extra, 1)], 1)

    def settle(self, y: Tensor) -> list[Target]:
        """The targets, which outputs `y` (rows, ...) settle if they are the first."""
        if not self.score.targets:
            self.score(y, torch.zeros(len(y), dtype=torch.long, device=y.device))
        return self.score.targets

    def scores(self, v: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        """(T, rows) scores of samples `i` from what `outputs` gave; `at_inputs` settles `"predicted"`."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score(y, i, at_inputs)
        columns = iter(extra.unbind(1))
        self.score(y, i, at_inputs)
        return torch.stack(
            [next(columns) if isinstance(t, Custom) else t.score(y, i) for t in self.score.targets]
        )

    def cotangents(self, v: Tensor, i: Tensor) -> Tensor:
        """(T, rows, ...): one at what each target explains."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score.cotangents(y, i, slice(None))
        ones, found = iter(torch.eye(extra.shape[1]).to(v)), []
        for t in self.score.targets:
            entry = torch.zeros_like(y) if isinstance(t, Custom) else t.cotangent(y, i)
            column = next(ones).expand_as(extra) if isinstance(t, Custom) else torch.zeros_like(extra)
            found.append(torch.cat([entry.reshape(len(v), -1), column], 1))
        return torch.stack(found)

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """The model's output, and the custom scores if there are any."""
        extra = len(self.custom)
        if not extra:
            return v, None
        return v[:, :-extra].reshape(len(v), *self._shape), v[:, -extra:]
