"""Replays a graph on twins, and transposes the linear map that their carriers took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from attrib.engine.graph import Graph, Node, Ref, record, transformed
from attrib.engine.secant.decompositions import decompose
from attrib.engine.secant.families import RULES
from attrib.engine.secant.linear_change import sharing
from attrib.engine.secant.pair import Arguments, NoRule, Twin, has_twin

Pull = Callable[..., tuple[Tensor, ...]]


class Secant(NamedTuple):
    """A graph's output at two points, and the transpose of its secant between them.

    Attributes
    ----------
    y0, y1 : Tensor
        At the baseline and at the input.
    changes : tuple of Tensor
        Input minus baseline, per input.
    pull : callable
        Takes cotangents (T, *output shape), gives multipliers (T, *input shape), one tensor per input. Its memory goes
        with the call, unless ``keep=True``.
    """

    y0: Tensor
    y1: Tensor
    changes: tuple[Tensor, ...]
    pull: Pull


def expressed(f: Callable[..., Tensor], inputs: Sequence[Tensor], keep: bool = False) -> Graph:
    """Record `f` in ops that have rules, as far as they can be had; see `record` for `keep`."""
    return record(f, inputs, decompose, keep)


def secant(
    graph: Graph, x0: Sequence[Tensor], x1: Sequence[Tensor], seen: dict[Ref, Tensor] | None = None
) -> Secant:
    """Replay a graph between two points.

    Parameters
    ----------
    graph : Graph
        From `expressed`.
    x0, x1 : sequence of Tensor
        Baselines and inputs, each shaped like what was recorded; or one row of baselines, for all rows.
    seen : dict of Ref to Tensor, optional
        Values that ops are known to have at `x1`, which need not be computed again; each is dropped once it is read.

    Returns
    -------
    Secant

    Raises
    ------
    NotImplementedError
        An op that the inputs reach has no rule; the message names it and the model's line.
    ValueError
        The output does not depend on the inputs.

    Notes
    -----
    Two forward passes, or one where all values at `x1` were `seen`; that at one row of baselines is of one row as far as
    the model keeps rows apart (see `sharing`). `pull` is one backward pass to the inputs alone.
    """
    if transformed():
        return _by_func(graph, tuple(x0), tuple(x1))
    return _by_autograd(graph, tuple(x0), tuple(x1), {} if seen is None else seen)


def _by_autograd(
    graph: Graph, x0: tuple[Tensor, ...], x1: tuple[Tensor, ...], seen: dict[Ref, Tensor]
) -> Secant:
    """The same as `_by_func` with less overhead for each op."""
    x0, x1 = tuple(v.detach() for v in x0), tuple(v.detach() for v in x1)
    with torch.enable_grad():
        changes = [(b - a).requires_grad_() for a, b in zip(x0, x1, strict=True)]
        y = _replay(graph, x0, x1, changes, seen)

    def pull(cotangents: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        several = len(cotangents) > 1
        options = {"retain_graph": keep, "is_grads_batched": several, "materialize_grads": True}
        found = torch.autograd.grad(y.dv, changes, cotangents if several else cotangents[0], **options)
        return found if several else tuple(m[None] for m in found)

    return Secant(y.v0.expand_as(y.v1).detach(), y.v1.detach(), tuple(c.detach() for c in changes), pull)


def _by_func(graph: Graph, x0: tuple[Tensor, ...], x1: tuple[Tensor, ...]) -> Secant:
    """Inside a `torch.func` transform: multipliers that can be differentiated and vmapped."""

    def carried(*changes: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y = _replay(graph, x0, x1, changes, {})
        return y.dv, (y.v0, y.v1)

    changes = [b - a for a, b in zip(x0, x1, strict=True)]
    _, transpose, (y0, y1) = vjp(carried, *changes, has_aux=True)  # type: ignore[misc]

    def pull(cotangents: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        if len(cotangents) == 1:
            return tuple(m[None] for m in transpose(cotangents[0]))
        return vmap(transpose)(cotangents)

    return Secant(y0, y1, tuple(changes), pull)


def start(x0: Sequence[Tensor], x1: Sequence[Tensor], changes: Sequence[Tensor]) -> list[Twin]:
    """The inputs as twins."""
    return [Twin(*parts) for parts in zip(x0, x1, changes, strict=True)]


def _replay(
    graph: Graph,
    x0: Sequence[Tensor],
    x1: Sequence[Tensor],
    changes: Sequence[Tensor],
    seen: dict[Ref, Tensor],
) -> Twin:
    def known(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        result, taken = _seen(node.out, seen), sharing(node.op, args)
        return read(node, taken if result is None else Arguments(taken, node.op, kwargs, result), kwargs)

    y = graph.run(start(x0, x1, changes), known)
    if not isinstance(y, Twin):
        raise ValueError("the output of `f` does not depend on its inputs; is `target` the output you meant?")
    return y


def _seen(out: Any, seen: dict[Ref, Tensor]) -> Any:
    """A node's results where all of them were seen, else None."""
    if not seen:
        return None
    if type(out) is Ref:
        return seen.pop(out, None)
    found = [None if ref is None else seen.pop(ref, None) for ref in out]
    return None if any(v is None for v in found) else found


def read(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One op by its rule; an op that no input reaches as it is."""
    if not (has_twin(args) or has_twin(kwargs)):
        return node.op(*args, **kwargs)
    if node.op not in RULES:
        raise NotImplementedError(
            f"no DeepLIFT rule for {node.op}, at {node.source}; write it in ops that have one "
            "(docs/deeplift.md lists them), or explain the part of the model behind it"
        )
    try:
        return RULES[node.op](node.op, args, kwargs)
    except NoRule as problem:
        raise NotImplementedError(f"no DeepLIFT rule for {node.op} at {node.source}: {problem}") from None


# FOLDED attrib/engine/secant/replay.py: """A replay as one compiled program: torch.compile fuses the chains of elementwise ops between the heavy ones."""
Program = Callable[..., tuple[Tensor, ...]]


class Compiled:
    """Replays of one graph, compiled for the sizes of the first.

    Parameters
    ----------
    graph : Graph
        What is replayed.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._programs: dict[int, Program] = {}  # by the number of targets

    def __call__(self, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangents: Tensor) -> Secant:
        """As `secant`; `pull` gives the multipliers of these cotangents and of no others.

        Raises
        ------
        RuntimeError
            If torch.compile cannot work here, for example without a C++ compiler.
        NotImplementedError
            As `secant`.
        """
        given = (*x0, *x1, cotangents)
        try:
            if len(cotangents) not in self._programs:
                self._programs[len(cotangents)] = self._program(given)
            y0, y1, *multipliers = self._programs[len(cotangents)](*given)
        except (
            NotImplementedError,
            torch.OutOfMemoryError,
        ):  # the model's own, and what a smaller chunk mends
            raise
        except Exception as problem:
            first = str(problem).strip().partition("\n")[0]
            raise RuntimeError(
                f"`compile=True` does not work here; leave it out. torch.compile says: {first}"
            ) from problem
        changes = tuple(b - a for a, b in zip(x0, x1, strict=True))
        return Secant(y0, y1, changes, lambda *_, **__: tuple(multipliers))

    def _program(self, given: tuple[Tensor, ...]) -> Program:
        count = len(self.graph.inputs)

        def replay(*given: Tensor) -> tuple[Tensor, ...]:
            found = secant(self.graph, given[:count], given[count : 2 * count])
            return found.y0, found.y1, *found.pull(given[-1])

        return torch.compile(make_fx(replay)(*given))
