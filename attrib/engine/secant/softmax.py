"""Softmax and its logarithm, exactly.

Let s = softmax(v), l = log s, and E = (s1 - s0) / (l1 - l0), the logarithmic mean of the two softmaxes. With c the
change of the log-sum-exp, l1 - l0 = dv - c and s1 - s0 = E (dv - c). Both softmaxes sum to one, so
0 = sum E (dv - c), which gives c = sum(E dv) / sum(E) without a logarithm of a sum that could overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import divided
from attrib.engine.secant.rules import rule
from attrib.engine.secant.twin import Twin, values

aten = torch.ops.aten


def logarithmic_mean(l0: Tensor, l1: Tensor, s0: Tensor, s1: Tensor) -> Tensor:
    """(s1 - s0) / (l1 - l0) with l = log s; the geometric mean where the two are close, and 0 where both s are 0."""
    d = l1 - l0
    apart = d.abs() >= (24 * torch.finfo(d.dtype).eps) ** (1 / 3)  # False for NaN, that is -inf minus -inf
    return torch.where(apart, divided(s1 - s0, d, apart), ((l0 + l1) / 2).exp())


def weighted_mean(weights: Tensor, dv: Tensor, dim: int | list[int]) -> Tensor:
    """sum(E dv) / sum(E): the change of the log-sum-exp."""
    return (weights * dv).sum(dim, keepdim=True) / weights.sum(dim, keepdim=True)


@rule(aten._softmax, aten._safe_softmax)
def softmax(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d softmax = E (dv - sum(E dv) / sum(E))."""
    x, dim = args[:2]
    v0, v1 = values(op, args, kwargs)
    weights = logarithmic_mean(x.v0.log_softmax(dim), x.v1.log_softmax(dim), v0, v1)
    return Twin(v0, v1, weights * (x.dv - weighted_mean(weights, x.dv, dim)))


@rule(aten._log_softmax)
def log_softmax(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d log_softmax = dv - sum(E dv) / sum(E)."""
    x, dim = args[:2]
    v0, v1 = values(op, args, kwargs)
    return Twin(v0, v1, x.dv - weighted_mean(logarithmic_mean(v0, v1, v0.exp(), v1.exp()), x.dv, dim))


@rule(aten.logsumexp)
def logsumexp(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Twin:
    """d logsumexp = sum(E dv) / sum(E)."""
    x, dims = args[:2]
    (y0, y1), (v0, v1) = values(op, [x, dims, True], {}), values(op, args, kwargs)
    l0, l1 = x.v0 - y0, x.v1 - y1
    weights = logarithmic_mean(l0, l1, l0.exp(), l1.exp())
    return Twin(v0, v1, weighted_mean(weights, x.dv, dims).reshape(v0.shape))
