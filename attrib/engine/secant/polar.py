"""Lengths and angles: of complex numbers, and of points with two coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import kinked, ratio
from attrib.engine.secant.pair import Pair, at0, at1, rule, values
from attrib.engine.secant.sums import change_of

aten = torch.ops.aten


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
