"""Norms, y = u / sqrt(q) with q = s sum(u^2) + eps, their Jacobian averaged along the straight line; lengths and angles.

The product rule (mean scale times the change of u, plus mean u times the change of the scale) is complete. But where u is
zero at one end, the scale there is 1 / sqrt(eps), and the rule is the difference of two huge terms. The averaged Jacobian has
the same sum, and no entry larger than the Jacobian has on the way:

    A = integral of (q^-1/2 - s q^-3/2 u u^T),    A (u1 - u0) = y1 - y0.

It is symmetric, and fixed by three facts. Let d = u1 - u0, w the part of u0 (and of u1) that is orthogonal to d, r = sqrt(q),
z = |d| / (r0 + r1) and S = r0 r1 + u0.u1 + eps, with products of vectors weighted by s.

* What is orthogonal to d and w is multiplied by I = integral of q^-1/2 = 2 artanh(z) / |d|, where 1 - z^2 = 2 S / (r0 + r1)^2.
* w . A w = |w|^2 (I - |w|^2 J), where J = integral of q^-3/2 = (r0 + r1) / (r0 r1 S).
* A d = d / r' - u (r1 - r0) / (r0 r1), with u the shorter end and r' the root at the longer one.

None of these cancels, in whatever direction and however far apart the ends are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.graph import Graph, Node, Ref
from attrib.engine.secant.bilinear import linear_change
from attrib.engine.secant.elementwise import divided, kinked, ratio
from attrib.engine.secant.pair import RULES, Pair, at0, at1, change_of, rule, values

aten = torch.ops.aten


class Norm:
    """The op that the ops of a norm are replaced by: ``u / sqrt(weight * sum(u^2) + eps)``, sums over `dims`.

    A `weight` of None stands for the mean.
    """

    def __call__(self, u: Tensor, dims: list[int], weight: float | None, eps: float) -> Tensor:
        """The value."""
        squares = u * u
        q = squares.mean(dims, keepdim=True) if weight is None else weight * squares.sum(dims, keepdim=True)
        return u * (q + eps).rsqrt()

    def __str__(self) -> str:
        return "norm"


NORM: Any = Norm()


def norm(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """dy = A du, with the Jacobian A averaged along the line."""
    u, dims, weight, eps = args
    v0, v1 = values(op, args, kwargs)
    if weight is None:
        weight = 1 / math.prod(v1.shape[d] for d in dims)
    averaged = averaged_jacobian(u, dims, weight, eps)
    return Pair(v0, v1, linear_change(u.dv, v1 - v0, partial(_times, dims), *averaged))


class Averaged(NamedTuple):
    """The averaged Jacobian: ``A v = scale v + d (dd d.v - dw w.v) - w (dw d.v + ww w.v)``, with plain sums over the dims."""

    d: Tensor
    w: Tensor
    scale: Tensor
    dd: Tensor
    dw: Tensor
    ww: Tensor


def _times(dims: list[int], v: Tensor, *averaged: Tensor) -> Tensor:
    d, w, scale, dd, dw, ww = averaged
    along, across = (d * v).sum(dims, keepdim=True), (w * v).sum(dims, keepdim=True)
    return scale * v + (dd * along - dw * across) * d - (dw * along + ww * across) * w


def averaged_jacobian(u: Pair, dims: list[int], weight: float, eps: float) -> Averaged:
    """The Jacobian of ``u / sqrt(weight * sum(u^2) + eps)``, averaged between the two ends of a pair."""
    factor, eps = weight**-0.5, eps / weight  # u / sqrt(weight q) with q = sum(u^2) + eps / weight

    def inner(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dims, keepdim=True)

    square0, square1 = inner(u.v0, u.v0), inner(u.v1, u.v1)
    forward = square0 <= square1  # d leads from the shorter to the longer end
    shorter, d = torch.where(forward, u.v0, u.v1), torch.where(forward, 1, -1) * u.change
    length2, along = inner(d, d), inner(shorter, d)
    divisor = torch.where(length2 > 0, length2, 1)
    share = along / divisor  # zero without a change
    w = shorter - share * d
    square = torch.minimum(square0, square1) + eps
    short, long = square.sqrt(), (torch.maximum(square0, square1) + eps).sqrt()
    both, product, dot = short + long, short * long, square + along
    apart = dot < 0
    opposed = divided(length2 * (inner(w, w) + eps), product - dot, apart)
    s = torch.where(apart, opposed, product + dot)
    z2 = (length2 / (both * both)).clamp(min=1e-30)
    z = z2.sqrt()
    scale = factor / (both * z) * torch.log1p(z * (1 + z) * (both * both) / s)
    slope = factor * (length2 + 2 * along) / (both * product)
    inverse = torch.where(length2 > 0, 1 / divisor, 0)
    along_d = factor / long - slope * share
    ww = factor * both / (product * s)
    off = ww * inner(w, d)  # rounding, which counts where w is short: A d is exact nevertheless
    return Averaged(d, w, scale, (along_d - scale) * inverse, (slope - off) * inverse, ww)


RULES[NORM] = norm


# ---------------------------------------------------------------------- norms written in smaller ops


def with_norms(graph: Graph) -> Graph:
    """A graph in which every ``u / sqrt(mean(u^2) + eps)`` is one op.

    Also with a sum in place of the mean, and a constant times either. It has to be the same u in all places, and the sum has to
    keep its dims; what only looks alike stays as it is.
    """
    search = _Search(graph)
    nodes, live = [], {graph.output}
    for node in reversed([search.norm(node) or node for node in graph.nodes]):
        if not live.isdisjoint(node.writes):
            nodes.append(node)
            live.update(node.reads)
    constants = {ref: t for ref, t in graph.constants.items() if ref in live}
    lifted = {ref: t for ref, t in graph.lifted.items() if ref in live}
    return dataclasses.replace(graph, nodes=tuple(reversed(nodes)), constants=constants, lifted=lifted)


class _Search:
    """Looks for norms in a graph.

    Parameters
    ----------
    graph : Graph
        Two of its nodes that do the same have the same value, although it has two numbers.
    """

    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self.nodes: dict[Ref, Node] = {}
        self.values: dict[Ref, Ref] = {}  # for each number, the first number of the same value
        first: dict[Hashable, Ref] = {}
        for node in graph.nodes:
            if type(node.out) is Ref:
                self.nodes[node.out] = node
                key = node.op, self._key(node.args), self._key(sorted(node.kwargs.items()))
                self.values[node.out] = first.setdefault(key, node.out)

    def _key(self, tree: Any) -> Hashable:
        """Arguments of equal values as equal keys; a number and a Ref differ by their types."""
        if isinstance(tree, (list, tuple)):
            return tuple(map(self._key, tree))
        return type(tree), self.values.get(tree, tree) if type(tree) is Ref else tree

    def norm(self, node: Node) -> Node | None:
        """The norm that a product or a quotient is the last step of."""
        pairs: tuple[tuple[Any, Ref | None], ...]
        if node.op is aten.mul.Tensor:
            u, v = node.args
            pairs = ((u, self.root_below(v)), (v, self.root_below(u)))
        elif node.op is aten.div.Tensor:
            pairs = ((node.args[0], self.root(node.args[1])),)
        else:
            return None
        for u, q in pairs:
            squares = None if q is None else self.mean_square(q)
            if squares is not None and type(u) is Ref and self.same(u, squares[0]):
                return Node(NORM, (u, *squares[1:]), {}, node.out, node.source)
        return None

    def root_below(self, value: Any) -> Ref | None:
        """q of a value 1 / sqrt(q), which Python writes as a reciprocal times one."""
        op, args = self.call(value)
        if op is aten.mul.Tensor and self.number(args[1]) == 1:
            op, args = self.call(args[0])
        if op is aten.rsqrt.default:
            return args[0]
        if op is aten.reciprocal.default:
            return self.root(args[0])
        return args[0] if op is aten.pow.Tensor_Scalar and args[1] == -0.5 else None

    def root(self, value: Any) -> Ref | None:
        """q of a value sqrt(q)."""
        op, args = self.call(value)
        rooted = op is aten.sqrt.default or (op is aten.pow.Tensor_Scalar and args[1] == 0.5)
        return args[0] if rooted else None

    def mean_square(self, q: Ref) -> tuple[Ref, list[int], float | None, float] | None:
        """u, the dims, the weight and eps of a value ``weight * sum(u^2) + eps``."""
        eps: float | None = 0.0
        op, args = self.call(q)
        if op is aten.add.Tensor:
            left, right = args
            q, eps = (
                (right, self.number(left)) if self.number(left) is not None else (left, self.number(right))
            )
            op, args = self.call(q)
        weight: float | None = 1.0
        if op in (aten.div.Tensor, aten.mul.Tensor):
            left, right = args
            if op is aten.mul.Tensor and self.number(right) is None:
                left, right = right, left
            factor = self.number(right)
            weight = None if not factor else factor if op is aten.mul.Tensor else 1 / factor
            op, args = self.sum_that_keeps_dims(left)
            if weight is None or op is not aten.sum.dim_IntList:
                return None
        if eps is None or len(args) != 3 or not args[1] or not args[2]:
            return None
        if op is aten.mean.dim:
            weight = None
        elif op is not aten.sum.dim_IntList:
            return None
        square, factors = self.call(args[0])
        if square is aten.mul.Tensor and all(type(u) is Ref for u in factors) and self.same(*factors):
            return factors[0], args[1], weight, eps
        return (
            (factors[0], args[1], weight, eps)
            if square is aten.pow.Tensor_Scalar and factors[1] == 2
            else None
        )

    def sum_that_keeps_dims(self, value: Any) -> tuple[Any, tuple[Any, ...]]:
        """The op that makes a value, and its arguments; a sum whose dims come back by a reshape, as in JAX, keeps its dims."""
        op, args = self.call(value)
        if op is not aten.reshape.default or type(args[0]) is not Ref:
            return op, args
        summed, shape = self.nodes.get(args[0]), args[1]
        if (
            summed is None
            or summed.op is not aten.sum.dim_IntList
            or len(summed.args) != 2
            or not set(summed.kwargs) <= {"dtype"}
            or not all(-len(shape) <= d < len(shape) and shape[d] == 1 for d in summed.args[1])
        ):
            return op, args
        return summed.op, (*summed.args, True)

    def call(self, value: Any) -> tuple[Any, tuple[Any, ...]]:
        """The op that makes a value, and its arguments; None without one, or where it has options."""
        node = self.nodes.get(value) if type(value) is Ref else None
        return (None, ()) if node is None or node.kwargs else (node.op, node.args)

    def number(self, value: Any) -> float | None:
        """A Python number, or that in a constant of one element."""
        if type(value) is Ref:
            constant = self.constants.get(value)
            return (
                float(constant)
                if constant is not None and constant.numel() == 1 and constant.ndim == 0
                else None
            )
        return float(value) if isinstance(value, (int, float)) else None

    def same(self, u: Ref, v: Ref) -> bool:
        """Whether two numbers are those of one value."""
        return self.values.get(u, u) == self.values.get(v, v)


@rule(aten.abs)
def length(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """|z1| - |z0| = Re(conj(z0 + z1) dz) / (|z0| + |z1|); zero where both are zero. Real numbers have a secant."""
    (z,) = args
    if not z.v0.is_complex():
        return kinked(op, args, kwargs)
    v0, v1 = values(op, args, kwargs)
    along = torch.view_as_real((z.v0 + z.v1).resolve_conj()) * torch.view_as_real(z.dv.resolve_conj())
    return Pair(v0, v1, ratio(torch.ones_like(v1), v0 + v1, 0.0) * along.sum(-1))


@rule(aten.complex)
def of_parts(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d (x + i y) = dx + i dy."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, op(*(change_of(a).expand(v1.shape) for a in args)))


@rule(aten.atan2)
def angle_of_point(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d atan2(y, x) = m (mean(x) dy - mean(y) dx), which for m = 1 is the cross product of the two points.

    So m is the change of the angle over the cross product. A half turn through the origin has none: there the change goes
    along the way from one point to the other.
    """
    y, x = args
    v0, v1 = values(op, args, kwargs)
    (y0, x0), (y1, x1) = at0(list(args)), at1(list(args))
    cross, dot = x0 * y1 - y0 * x1, x0 * x1 + y0 * y1
    swept, change = torch.atan2(cross, dot), v1 - v0
    m = ratio(
        torch.where((change - swept).abs() < 1, swept, change), cross, ratio(torch.ones_like(dot), dot, 0.0)
    )
    turn = m * ((x0 + x1) / 2 * change_of(y) - (y0 + y1) / 2 * change_of(x))
    way = (y1 - y0) ** 2 + (x1 - x0) ** 2
    through = ratio(change, way, 0.0) * ((y1 - y0) * change_of(y) + (x1 - x0) * change_of(x))
    return Pair(v0, v1, torch.where((cross == 0) & (change != 0), through, turn), change)


@rule(aten.angle)
def angle(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """The angle of a complex number is that of its two parts; that of a real one jumps at zero."""
    (z,) = args
    if not z.v0.is_complex():
        return kinked(op, args, kwargs)
    parts = [Pair(part(z.v0), part(z.v1), part(z.dv)) for part in (torch.imag, torch.real)]
    return angle_of_point(aten.atan2.default, parts, {})
