"""Replays a graph on pairs of values, transposes the linear map of their changes, and compiles both on request.

Where all rows have one baseline, its values are computed once, as long as an op keeps the rows apart.

A `Pair` is shared where `v0` has one row and `v1` has more; both broadcast against each other. The ops that are listed
here take and give shared pairs; for any other op, the values at the baseline are expanded to all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.func import vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from attrib.engine.graph import Graph, Node, Ref, record, transformed
from attrib.engine.graph.modes import NO_GRADIENT
from attrib.engine.secant import bilinear, decompositions, elementwise, norms, pair, recurrent, selection
from attrib.engine.secant.decompositions import decompose
from attrib.engine.secant.pair import RULES, Arguments, NoRule, Pair, has_pair

FAMILIES = (
    bilinear,
    decompositions,
    elementwise,
    norms,
    pair,
    recurrent,
    selection,
)  # their import registers their rules

Pull = Callable[..., tuple[Tensor, ...]]
Program = Callable[..., tuple[Tensor, ...]]

aten = torch.ops.aten

SharedArguments = Callable[[Sequence[Any]], Sequence[Any] | None]  # None where the op may mix rows

POINTWISE = (
    *(
        aten.relu,
        aten.relu6,
        aten.leaky_relu,
        aten.hardtanh,
        aten.hardsigmoid,
        aten.abs,
        aten.clamp_min.default,
    ),
    *(aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.softplus, aten.mish, aten.elu, aten.hardswish),
    *(
        aten.exp,
        aten.erf,
        aten.sin,
        aten.cos,
        aten.log,
        aten.log1p,
        aten.sqrt,
        aten.rsqrt,
        aten.neg,
        aten.clamp.default,
    ),
    *(aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.pow.Tensor_Scalar),
)
BROADCAST = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
IMAGES = {  # how many dims a batch of what they take has
    **dict.fromkeys((aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default), 3),
    **dict.fromkeys((aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default), 4),
    **dict.fromkeys((aten.avg_pool3d.default, aten._adaptive_avg_pool3d.default), 5),
    aten.max_pool2d_with_indices.default: 4,
    aten.max_pool3d_with_indices.default: 5,
}


class Secant(NamedTuple):
    """A graph's output at two points, and the transpose of its secant between them.

    Attributes
    ----------
    y0, y1 : Tensor
        At the baseline and at the input.
    changes : tuple of Tensor
        Input minus baseline, per input.
    pull : callable
        Takes cotangents (T, *output shape), returns multipliers (T, *input shape), one tensor per input. The call frees
        its memory, unless ``keep=True``.
    """

    y0: Tensor
    y1: Tensor
    changes: tuple[Tensor, ...]
    pull: Pull


def expressed(f: Callable[..., Tensor], inputs: Sequence[Tensor], keep: bool = False) -> Graph:
    """Record `f` in ops that have rules, as far as possible; see `record` for `keep`."""
    return norms.with_norms(record(f, inputs, decompose, keep))


def secant(
    graph: Graph, x0: Sequence[Tensor], x1: Sequence[Tensor], seen: dict[Ref, Tensor] | None = None
) -> Secant:
    """Replay a graph between two points.

    Parameters
    ----------
    graph : Graph
        From `expressed`.
    x0, x1 : sequence of Tensor
        Baselines and inputs, shaped like the recorded inputs; or one row of baselines for all rows.
    seen : dict of Ref to Tensor, optional
        Results of ops at `x1` that the recording computed already; each is removed once it is read.

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
    Two forward passes, or one where all values at `x1` are in `seen`. The pass at one row of baselines has one row as far
    as the model keeps rows apart (see `shared_arguments`). `pull` is one backward pass, to the inputs only.
    """
    if transformed():
        return _by_func(graph, tuple(x0), tuple(x1))
    return _by_autograd(graph, tuple(x0), tuple(x1), {} if seen is None else seen)


def _by_autograd(
    graph: Graph, x0: tuple[Tensor, ...], x1: tuple[Tensor, ...], seen: dict[Ref, Tensor]
) -> Secant:
    """Outside `torch.func`, with less overhead for each op."""
    x0, x1 = tuple(v.detach() for v in x0), tuple(v.detach() for v in x1)
    with torch.enable_grad():
        changes = [(b - a).requires_grad_() for a, b in zip(x0, x1, strict=True)]
        y = _replay(graph, x0, x1, changes, seen)

    def pull(cotangents: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        several = len(cotangents) > 1
        options = {"retain_graph": keep, "is_grads_batched": several, "materialize_grads": True}
        multipliers = torch.autograd.grad(y.dv, changes, cotangents if several else cotangents[0], **options)
        return multipliers if several else tuple(m[None] for m in multipliers)

    return Secant(y.v0.expand_as(y.v1).detach(), y.v1.detach(), tuple(c.detach() for c in changes), pull)


def _by_func(graph: Graph, x0: tuple[Tensor, ...], x1: tuple[Tensor, ...]) -> Secant:
    """Inside a `torch.func` transform: multipliers that can be differentiated and vmapped."""

    def change_of_output(*changes: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y = _replay(graph, x0, x1, changes, {})
        return y.dv, (y.v0, y.v1)

    changes = [b - a for a, b in zip(x0, x1, strict=True)]
    _, transpose, (y0, y1) = vjp(change_of_output, *changes, has_aux=True)  # type: ignore[misc]

    def pull(cotangents: Tensor, keep: bool = False) -> tuple[Tensor, ...]:
        if len(cotangents) == 1:
            return tuple(m[None] for m in transpose(cotangents[0]))
        return vmap(transpose)(cotangents)

    return Secant(y0, y1, tuple(changes), pull)


def start(x0: Sequence[Tensor], x1: Sequence[Tensor], changes: Sequence[Tensor]) -> list[Pair]:
    """The pairs of the inputs."""
    return [Pair(*parts) for parts in zip(x0, x1, changes, strict=True)]


def _replay(
    graph: Graph,
    x0: Sequence[Tensor],
    x1: Sequence[Tensor],
    changes: Sequence[Tensor],
    seen: dict[Ref, Tensor],
) -> Pair:
    def call(node: Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        result, arguments = _take_seen(node.out, seen), shared_arguments(node.op, args)
        if result is not None:
            arguments = Arguments(arguments, node.op, kwargs, result)
        return apply_rule(node, arguments, kwargs)

    with _as_recorded(x1):
        y = graph.run(start(x0, x1, changes), call)
    if not isinstance(y, Pair):
        if graph.exposed:
            raise TypeError(NO_GRADIENT)
        raise ValueError("the output of `f` does not depend on its inputs; is `target` the output you meant?")
    return y


def _as_recorded(x1: Sequence[Tensor]) -> AbstractContextManager:
    """Context without autocast: its casts are ops of the graph already, and a rule mixes values before and after them."""
    kinds = {t.device.type for t in x1 if torch.is_autocast_enabled(t.device.type)}
    return torch.autocast(kinds.pop(), enabled=False) if kinds else nullcontext()


def _take_seen(out: Any, seen: dict[Ref, Tensor]) -> Any:
    """Remove a node's results from `seen`; None unless all of them are there."""
    if not seen:
        return None
    if type(out) is Ref:
        return seen.pop(out, None)
    results = [None if ref is None else seen.pop(ref, None) for ref in out]
    return None if any(v is None for v in results) else results


def apply_rule(node: Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an op by its rule, or the op itself if its arguments do not depend on the inputs."""
    if not (has_pair(args) or has_pair(kwargs)):
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


class Compiled:
    """Replays of one graph as one compiled program, in which torch.compile fuses chains of elementwise ops.

    The program is for the sizes of the first call.

    Parameters
    ----------
    graph : Graph
        The graph to replay.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._programs: dict[int, Program] = {}  # by the number of targets

    def __call__(self, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangents: Tensor) -> Secant:
        """Replay as `secant` does; `pull` returns the multipliers of these cotangents only.

        Raises
        ------
        RuntimeError
            If torch.compile cannot work here, for example without a C++ compiler.
        NotImplementedError
            As `secant`.
        """
        arguments = (*x0, *x1, cotangents)
        try:
            if len(cotangents) not in self._programs:
                self._programs[len(cotangents)] = self._program(arguments)
            y0, y1, *multipliers = self._programs[len(cotangents)](*arguments)
        except (
            NotImplementedError,
            torch.OutOfMemoryError,
        ):  # an op without a rule; a chunk that is too large
            raise
        except Exception as problem:
            first = str(problem).strip().partition("\n")[0]
            raise RuntimeError(
                f"`compile=True` does not work here; leave it out. torch.compile says: {first}"
            ) from problem
        changes = tuple(b - a for a, b in zip(x0, x1, strict=True))
        return Secant(y0, y1, changes, lambda *_, **__: tuple(multipliers))

    def _program(self, arguments: tuple[Tensor, ...]) -> Program:
        count = len(self.graph.inputs)

        def replay(*arguments: Tensor) -> tuple[Tensor, ...]:
            y0, y1, _, pull = secant(self.graph, arguments[:count], arguments[count : 2 * count])
            return y0, y1, *pull(arguments[-1])

        return torch.compile(make_fx(replay)(*arguments))


def is_shared(value: Any) -> bool:
    """Whether a value is a pair with one row at the baseline and several rows at the input."""
    return type(value) is Pair and value.v0.shape != value.v1.shape


def shared_arguments(op: OpOverload, args: Sequence[Any]) -> Sequence[Any]:
    """An op's arguments: shared pairs stay shared if the op keeps rows apart, else they are expanded."""
    if not _has_shared(args):
        return args
    arguments = SHARED_ARGUMENTS[op](args) if op in SHARED_ARGUMENTS else None
    return [_expanded(a) for a in args] if arguments is None else arguments


def _has_shared(args: Sequence[Any]) -> bool:
    return any(is_shared(a) or (type(a) in (list, tuple) and _has_shared(a)) for a in args)


def _expanded(value: Any) -> Any:
    """Arguments in which the baseline of each pair has as many rows as the input."""
    if type(value) in (list, tuple):
        return [_expanded(v) for v in value]
    if not is_shared(value):
        return value
    return Pair(value.v0.expand_as(value.v1), value.v1, value._dv, value._change)


# ---------------------------------------------------------------------- ops that keep rows apart


def _as_they_are(args: Sequence[Any]) -> Sequence[Any]:
    return args


def _of_equal_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """Broadcasting: rows meet rows only where no argument has more dims than a pair."""
    dims = [a.v1.ndim if type(a) is Pair else getattr(a, "ndim", 0) for a in args[:2]]
    return args if all(d == max(dims) for a, d in zip(args, dims, strict=False) if type(a) is Pair) else None


def _rows_times_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    *bias, rows, weights = args[:3]
    if type(rows) is not Pair or any(type(a) is Pair for a in (*bias, weights)):
        return None
    return args if all(b.ndim < 2 or len(b) == 1 for b in bias) else None  # a bias may differ between rows


def _by_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    return args if not any(type(a) is Pair for a in args[1:3]) else None


def _images(dims: int) -> SharedArguments:
    return lambda args: args if args[0].v1.ndim == dims else None


def _other_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """A sum over other dims than that of the rows."""
    dims = args[1] if len(args) > 1 else None
    return args if dims and all(d % args[0].v1.ndim for d in dims) else None


def _rows_first(args: Sequence[Any]) -> Sequence[Any] | None:
    """A shape that keeps the rows in front; the new size -1 fits one row and many."""
    x, sizes = args
    same = len(sizes) > 1 and sizes[0] == len(x.v1) and -1 not in sizes
    return [x, [-1, *sizes[1:]]] if same and x.v0.numel() else None


def _overloads(*ops: OpOverload | OpOverloadPacket) -> list[OpOverload]:
    return [o for op in ops for o in ([op] if isinstance(op, OpOverload) else [op.default])]


SHARED_ARGUMENTS: dict[OpOverload, SharedArguments] = {
    **dict.fromkeys(_overloads(*POINTWISE), _as_they_are),
    **dict.fromkeys(BROADCAST, _of_equal_dims),
    **{op: _images(dims) for op, dims in IMAGES.items()},
    aten.addmm.default: _rows_times_weights,
    aten.mm.default: _rows_times_weights,
    aten.convolution.default: _by_weights,
    aten.mean.dim: _other_dims,
    aten.sum.dim_IntList: _other_dims,
    aten.reshape.default: _rows_first,
}
