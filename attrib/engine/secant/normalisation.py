"""Normalisation layers, written in ops that have rules, and exact rules for softmax and its logarithm.

Each function of a layer does what the layer does in evaluation mode.

Let s = softmax(v), l = log s, and E = (s1 - s0) / (l1 - l0), the logarithmic mean of the two softmaxes. With c the
change of the log-sum-exp, l1 - l0 = dv - c and s1 - s0 = E (dv - c). Both softmaxes sum to one, so
0 = sum E (dv - c), which gives c = sum(E dv) / sum(E) without a logarithm of a sum that could overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.elementwise import divided, smallest_change
from attrib.engine.secant.pair import Pair, rule, values

aten = torch.ops.aten


def variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """sum((x - mean)^2) / (n - correction)."""
    dims = list(dim or range(x.ndim))
    centred = x - x.mean(dims, keepdim=True)
    count = math.prod(x.shape[d] for d in dims) - (1 if correction is None else correction)
    return (centred * centred).sum(dims, keepdim=keepdim) / count


def standard_deviation(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Root of the variance."""
    return variance(x, dim, correction=correction, keepdim=keepdim).sqrt()


def variance_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Both moments."""
    dims = list(dim or range(x.ndim))
    return variance(x, dim, correction=correction, keepdim=keepdim), x.mean(dims, keepdim=keepdim)


def standardised(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(var + eps), the mean, and 1 / sqrt(var + eps)."""
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    scale = ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
    return centred * scale, mean, scale


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``x * weight + bias``, without those that are None."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm over the last dims."""
    y, mean, scale = standardised(x, list(range(x.ndim - len(shape), x.ndim)), eps)
    return scaled(y, weight, bias), mean, scale


def rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> tuple[Tensor, Tensor]:
    """``x / sqrt(mean(x^2) + eps)`` over the last dims."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = ((x * x).mean(list(range(x.ndim - len(shape), x.ndim)), keepdim=True) + eps).rsqrt()
    return scaled(x * scale, weight, None), scale


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    channels: int,
    size: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Group norm: over the channels of a group and all positions."""
    y, mean, scale = standardised(x.reshape(n, groups, -1), [-1], eps)
    shape = [1, channels] + [1] * (x.ndim - 2)
    weight, bias = (None if p is None else p.view(shape) for p in (weight, bias))
    return scaled(y.reshape(x.shape), weight, bias), mean.view(n, groups), scale.view(n, groups)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    *options: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by the running moments; without these, by the moments of the one image, which is an instance norm."""
    training, eps = len(options) == 3 and bool(options[0]), options[-1]
    if mean is None or var is None:
        if len(x) != 1:  # torch folds an instance norm's batch into the channels
            raise NotImplementedError("batch norm without running statistics mixes the samples of a batch")
        y = standardised(x, [0, *range(2, x.ndim)], eps)[0]
    elif training:
        raise NotImplementedError(
            "batch norm in training mode mixes the samples of a batch; call model.eval()"
        )
    else:  # with the mean moved into the bias: one product and one sum of activations
        scale = (var + eps).rsqrt()
        y, weight = x, scale if weight is None else scale * weight
        bias = -mean * weight if bias is None else bias - mean * weight
    weight, bias = (None if p is None else p.view(1, -1, *[1] * (x.ndim - 2)) for p in (weight, bias))
    return scaled(y, weight, bias), x.new_zeros(0), x.new_zeros(0)


NORMALISATIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.native_layer_norm.default: layer_norm,
    aten._fused_rms_norm.default: rms_norm,
    aten.native_group_norm.default: group_norm,
    aten.native_batch_norm.default: batch_norm,
    aten.cudnn_batch_norm.default: batch_norm,
    aten.miopen_batch_norm.default: batch_norm,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.var.correction: variance,
    aten.std.correction: standard_deviation,
    aten.var_mean.correction: variance_and_mean,
}


def logarithmic_mean(l0: Tensor, l1: Tensor, s0: Tensor, s1: Tensor) -> Tensor:
    """(s1 - s0) / (l1 - l0) with l = log s; the geometric mean where the two are close, and 0 where both s are 0."""
    d = l1 - l0
    apart = d.abs() >= smallest_change(d.dtype)  # False for NaN, which is -inf minus -inf
    return torch.where(apart, divided(s1 - s0, d, apart), ((l0 + l1) / 2).exp())


def weighted_mean(weights: Tensor, dv: Tensor, dim: int | list[int]) -> Tensor:
    """sum(E dv) / sum(E): the change of the log-sum-exp."""
    return (weights * dv).sum(dim, keepdim=True) / weights.sum(dim, keepdim=True)


@rule(aten._softmax, aten._safe_softmax)
def softmax(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d softmax = E (dv - sum(E dv) / sum(E))."""
    x, dim = args[:2]
    v0, v1 = values(op, args, kwargs)
    weights = logarithmic_mean(x.v0.log_softmax(dim), x.v1.log_softmax(dim), v0, v1)
    return Pair(v0, v1, weights * (x.dv - weighted_mean(weights, x.dv, dim)))


@rule(aten._log_softmax)
def log_softmax(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d log_softmax = dv - sum(E dv) / sum(E)."""
    x, dim = args[:2]
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, x.dv - weighted_mean(logarithmic_mean(v0, v1, v0.exp(), v1.exp()), x.dv, dim))


@rule(aten.logsumexp)
def logsumexp(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d logsumexp = sum(E dv) / sum(E)."""
    x, dims = args[:2]
    (y0, y1), (v0, v1) = values(op, [x, dims, True], {}), values(op, args, kwargs)
    l0, l1 = x.v0 - y0, x.v1 - y1
    weights = logarithmic_mean(l0, l1, l0.exp(), l1.exp())
    return Pair(v0, v1, weighted_mean(weights, x.dv, dims).reshape(v0.shape))
