"""Piecewise linear networks: whether a model is one, and where it bends on the way between two points.

Along a straight line all that such a network computes is linear, up to the first place where one of its kinks (a ReLU, a maximum) is
passed. So where the inputs of a kink are known at both ends of a stretch on which nothing before it bends, its places follow from
two numbers. The ops are looked at in the order in which they run: the first that bends within a stretch divides it, at places that
are exact; on the parts the next ones are looked at. A part on which no op bends belongs to one linear function: the points of one
pattern of kinks are a convex set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attrib.engine.graph import Node, record
from attrib.engine.graph.nodes import AVERAGES, GATHERS, SUMS, VIEWS, Ref, refs

aten = torch.ops.aten

# ------------------------------------------------------------------ ops that bend


def _at(*places: float) -> Callable[..., list[Tensor]]:
    return lambda x, *_, **__: [x - p if p else x for p in places]


def _clamp(x: Tensor, *args: Any, **kwargs: Any) -> list[Tensor]:
    bounds = [*args, kwargs.get("min"), kwargs.get("max")]
    return [x - b for b in bounds if b is not None]


def _hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> list[Tensor]:
    return [x - low, x - high]


def _softshrink(x: Tensor, width: float = 0.5) -> list[Tensor]:
    return [x - width, x + width]


SIGNS: dict[Any, Callable[..., list[Tensor]]] = {
    aten.relu: _at(0), aten.leaky_relu: _at(0), aten._prelu_kernel: _at(0), aten.prelu: _at(0), aten.abs: _at(0),
    aten.threshold: lambda x, threshold, value: [x - threshold],
    aten.hardtanh: _hardtanh, aten.hardsigmoid: _at(-3, 3), aten.softshrink: _softshrink,
    aten.clamp: _clamp, aten.clamp_min: _clamp, aten.clamp_max: _clamp,
    aten.maximum: lambda a, b: [a - b], aten.minimum: lambda a, b: [a - b],
}  # fmt: skip
"""Ops that bend where a number changes its sign: from their arguments to those numbers."""

SIGNS |= {
    getattr(aten, p._qualified_op_name.split("::")[1] + "_"): f
    for p, f in list(SIGNS.items())
    if hasattr(aten, p._qualified_op_name.split("::")[1] + "_")
}


def _pooled(dims: int) -> Callable[..., tuple[Tensor, Tensor]]:
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]

    def choose(
        x: Tensor, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> tuple[Tensor, Tensor]:
        index = pool(x, size, stride or None, padding, dilation, ceil_mode, return_indices=True)[1]
        return x.flatten(-dims), index.flatten(-dims)

    return choose


def _adaptive(dims: int) -> Callable[..., tuple[Tensor, Tensor]]:
    pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[dims - 1]

    def choose(x: Tensor, size: Any) -> tuple[Tensor, Tensor]:
        return x.flatten(-dims), pool(x, size, return_indices=True)[1].flatten(-dims)

    return choose


def _reduced(sign: int) -> Callable[..., tuple[Tensor, Tensor]]:
    def choose(x: Tensor, dim: Any = (), keepdim: bool = False) -> tuple[Tensor, Tensor]:
        dims = [dim] if isinstance(dim, int) else list(dim) or list(range(x.ndim))
        lead = [d for d in range(x.ndim) if d not in {d % x.ndim for d in dims}]
        moved = x.permute(*lead, *(d % x.ndim for d in dims)).flatten(len(lead))
        return moved, (sign * moved).argmax(-1, keepdim=True)

    return choose


CHOICES: dict[Any, Callable[..., tuple[Tensor, Tensor]]] = {
    aten.max_pool1d: _pooled(1), aten.max_pool1d_with_indices: _pooled(1), aten.max_pool2d: _pooled(2),
    aten.max_pool2d_with_indices: _pooled(2), aten.max_pool3d: _pooled(3), aten.max_pool3d_with_indices: _pooled(3),
    aten.adaptive_max_pool1d: _adaptive(1), aten.adaptive_max_pool2d: _adaptive(2), aten.adaptive_max_pool3d: _adaptive(3),
    aten.amax: _reduced(1), aten.amin: _reduced(-1), aten.max: _reduced(1), aten.min: _reduced(-1),
}  # fmt: skip
"""Ops that bend where another entry becomes the largest: from their arguments to candidates (..., entries) and chosen (..., windows)."""

# ------------------------------------------------------------------ whether a model is piecewise linear

LINEAR = {
    *VIEWS,
    *GATHERS,
    *SUMS,
    *AVERAGES,
    aten.constant_pad_nd,
    aten._to_copy,
    aten.view,
    aten._unsafe_view,
    aten.to,
    aten.masked_fill,
}
SUMMED = {
    aten.add,
    aten.sub,
    aten.rsub,
    aten.cat,
    aten.stack,
    aten.slice_scatter,
    aten.select_scatter,
    aten.copy,
    aten.hstack,
    aten.vstack,
}
FACTORS: dict[Any, tuple[int, ...]] = {
    aten.mul: (0, 1), aten.mm: (0, 1), aten.bmm: (0, 1), aten.mv: (0, 1), aten.dot: (0, 1), aten.matmul: (0, 1), aten.linear: (0, 1),
    aten.addmm: (1, 2), aten.addmv: (1, 2), aten.baddbmm: (1, 2), aten.addbmm: (1, 2), aten.convolution: (0, 1),
}  # fmt: skip
"""Places of arguments of which only one may depend on the inputs."""
FIRST = {
    aten.div,
    aten._native_batch_norm_legit_no_training,
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
    aten.where,
}


def refuse_bent(f: Callable[..., Tensor], rows: Sequence[Tensor]) -> None:
    """Refuse a model with an op that is not piecewise linear.

    Parameters
    ----------
    f : callable
        From rows to the scores that are explained.
    rows : sequence of Tensor
        Where it is recorded.

    Raises
    ------
    NotImplementedError
        Naming the op and the line of the model.
    """
    graph = record(f, rows)
    if graph.translated or graph.lifted:
        raise NotImplementedError(
            '`quadrature` is "exact", which needs a torch model outside of transforms; take a rule and more `n_steps`'
        )
    active = set(graph.inputs)
    for node in graph.nodes:
        reason = _bend(node, active, graph.constants)
        if reason:
            raise NotImplementedError(
                f'`quadrature` is "exact", which needs a piecewise linear network, but {node.op} at {node.source} {reason}; take a '
                "rule, such as gausslegendre"
            )
        active.update(node.writes)


def _bend(node: Node, active: set[Ref], constants: dict[Ref, Tensor]) -> str:
    """Why an op is not piecewise linear in what depends on the inputs; empty if it is."""
    op = node.op.overloadpacket
    places = [k for k, a in enumerate(node.args) if any(r in active for r in refs(a))]
    if any(r in active for r in refs(node.kwargs)):
        return "takes an option that depends on the inputs"
    if op is aten.threshold:
        return "" if node.args[1] == node.args[2] else "jumps"
    if op in SIGNS:
        return (
            ""
            if places == [0] or op in (aten.maximum, aten.minimum)
            else "has a bound that depends on the inputs"
        )
    if op in CHOICES:
        return "" if places == [0] or (op in (aten.max, aten.min) and len(node.args) == 1) else "is none"
    if op in (aten.native_batch_norm, aten.cudnn_batch_norm) and node.args[5]:
        return "uses the statistics of the batch"
    if op is aten.where:
        return "chooses by a condition that depends on the inputs, where it may jump" if 0 in places else ""
    if op in SUMMED:
        return ""
    if op is aten.index_put:
        return "writes where the inputs say" if 1 in places else ""
    if op in LINEAR or op in FIRST:
        return "" if places == [0] else "takes an index or a factor that depends on the inputs"
    if op in FACTORS:
        both = [k for k in places if k in FACTORS[op]]
        return "multiplies what depends on the inputs with itself" if len(both) > 1 else ""
    return "is none"


# ------------------------------------------------------------------ where it bends


class Bends(TorchDispatchMode):
    """Finds the first op that bends between neighbouring rows of a call, and where.

    Parameters
    ----------
    neighbours : Tensor of bool (rows - 1,)
        Which rows are the ends of a stretch with the row after them.
    order : sequence of bool
        Which of the ops that can bend depend on the rows, in the order in which they run.
    least : Tensor (rows - 1,)
        Shares of a stretch, from either end, within which a place is the end itself.

    Attributes
    ----------
    places : list of (Tensor, Tensor)
        Numbers of stretches, and shares at which they are divided.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self, neighbours: Tensor, order: Sequence[bool], least: Tensor) -> None:
        super().__init__()
        self.open, self._order, self._least = neighbours.clone(), order, least
        self.places: list[tuple[Tensor, Tensor]] = []
        self._number = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        packet = op.overloadpacket
        if packet in SIGNS or packet in CHOICES:
            varies = self._number < len(self._order) and self._order[self._number]
            self._number += 1
            if varies and bool(self.open.any()):
                self._look(packet, args, kwargs)
        return op(*args, **kwargs)

    def _look(self, packet: Any, args: tuple, kwargs: dict) -> None:
        count = len(self.open) + 1
        stretches, shares = [], []
        if packet in SIGNS:
            crossings = [_crossings(d.reshape(count, -1)) for d in SIGNS[packet](*args, **kwargs)]
        elif packet in (aten.max, aten.min) and len(args) > 1 and isinstance(args[1], Tensor):
            crossings = [_crossings((args[0] - args[1]).reshape(count, -1))]
        else:
            candidates, chosen = CHOICES[packet](*args, **kwargs)
            crossings = [
                _overtakings(
                    candidates.reshape(count, -1, candidates.shape[-1]),
                    chosen.reshape(count, -1, chosen.shape[-1]),
                )
            ]
        for stretch, share in crossings:
            inside = self.open[stretch] & (share > self._least[stretch]) & (share < 1 - self._least[stretch])
            stretches.append(stretch[inside])
            shares.append(share[inside])
        stretch, share = torch.cat(stretches), torch.cat(shares)
        if len(stretch):
            self.places.append((stretch.cpu(), share.cpu()))
            self.open[stretch] = False


def _crossings(d: Tensor) -> tuple[Tensor, Tensor]:
    """Stretches between rows of `d` (rows, entries) in which an entry changes its sign, and the shares at which it does.

    Entries that are zero up to rounding have no sign: they lie on the kink, at which a stretch may begin and end.
    """
    eps = 16 * torch.finfo(d.dtype).eps
    sign = torch.where(d.abs() > eps * d.abs().amax(1, keepdim=True), d.sign(), torch.zeros_like(d))
    stretch, entry = (sign[:-1] * sign[1:] < 0).nonzero(as_tuple=True)
    before, after = d[stretch, entry].double(), d[stretch + 1, entry].double()
    return stretch, before / (before - after)


def _overtakings(candidates: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Stretches at whose ends another candidate (rows, groups, entries) is chosen, and the shares at which these two are equal."""
    stretch, group, window = (chosen[:-1] != chosen[1:]).nonzero(as_tuple=True)
    first, last = chosen[stretch, group, window], chosen[stretch + 1, group, window]
    before = (candidates[stretch, group, first] - candidates[stretch, group, last]).double()
    after = (candidates[stretch + 1, group, first] - candidates[stretch + 1, group, last]).double()
    size = candidates.abs().amax((1, 2)).double()
    eps = 16 * torch.finfo(candidates.dtype).eps
    apart = (
        (before.abs() > eps * size[stretch]) & (after.abs() > eps * size[stretch + 1]) & (before * after < 0)
    )
    return stretch[apart], (before / (before - after))[apart]


class Order(TorchDispatchMode):
    """Notes the arguments of the ops that can bend, as they run."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if op.overloadpacket in SIGNS or op.overloadpacket in CHOICES:
            self.seen.append(args[0].detach().clone())
        return op(*args, **(kwargs or {}))


def bending_order(f: Callable[[Tensor], Any]) -> list[bool]:
    """Which ops that can bend depend on the rows, in the order in which they run.

    Parameters
    ----------
    f : callable
        Runs the model on rows by number: 0 and 1 are two different rows.

    Raises
    ------
    NotImplementedError
        If an op's rows are not in front, so that they cannot be told apart.
    """
    runs = []
    for numbers in ([0, 1], [1, 0], [0, 1, 0]):
        with Order() as mode:
            f(torch.tensor(numbers))
        runs.append(mode.seen)
    order = []
    for a, swapped, three in zip(*runs, strict=True):
        grows = 2 * three.numel() == 3 * a.numel()
        order.append(grows)
        if not grows and a.shape == three.shape:
            continue  # of weights
        halves = a.reshape(2, -1) if grows and a.numel() % 2 == 0 else None
        close = 1e3 * torch.finfo(a.dtype).eps * float(a.abs().max())
        if halves is None or not torch.allclose(halves.flip(0), swapped.reshape(2, -1), rtol=0, atol=close):
            raise NotImplementedError(
                '`quadrature` is "exact", but the model has a kink at values whose first dim is not the rows (shape '
                f"{tuple(a.shape)} for 2 rows); take a rule, such as gausslegendre"
            )
    return order


class Stretches(NamedTuple):
    """Parts of lines, each with the number of its line and its ends (float64, on the CPU)."""

    line: Tensor
    left: Tensor
    right: Tensor

    def where(self, chosen: Tensor) -> Stretches:
        """Some of them."""
        return Stretches(self.line[chosen], self.left[chosen], self.right[chosen])


def divided(stretches: Stretches, places: Sequence[tuple[Tensor, Tensor]]) -> Stretches:
    """The parts of stretches that are divided at shares of their length."""
    number, share = (torch.cat([p[k] for p in places]) for k in range(2))
    span = stretches.right - stretches.left
    inner = stretches.left[number] + share * span[number]
    chosen = number.unique()
    line = torch.cat([stretches.line[number], stretches.line[chosen]])
    begins = torch.cat([inner, stretches.left[chosen]])
    owner = torch.cat([number, chosen])
    order = (owner.double() * 2 + begins).argsort(stable=True)  # places lie within [0, 1]
    line, begins, owner = line[order], begins[order], owner[order]
    ends = torch.cat([begins[1:], begins.new_ones(1)])
    last = torch.cat([owner[1:] != owner[:-1], owner.new_ones(1, dtype=torch.bool)])
    ends[last] = stretches.right[owner[last]]
    return Stretches(line, begins, ends)
