"""Which ops are recorded as smaller ops, normalisation layers among them, and exact rules for softmax and its logarithm.

Each function of a layer does what the layer does in evaluation mode.

Let s = softmax(v), l = log s, and E = (s1 - s0) / (l1 - l0), the logarithmic mean of the two softmaxes. With c the
change of the log-sum-exp, l1 - l0 = dv - c and s1 - s0 = E (dv - c). Both softmaxes sum to one, so
0 = sum E (dv - c), which gives c = sum(E dv) / sum(E) without a logarithm of a sum that could overflow.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload

from attrib.engine.graph.recorder import composite
from attrib.engine.secant.elementwise import divided, smallest_change
from attrib.engine.secant.pair import RULES, Pair, rule, values

aten = torch.ops.aten


def masked_fill(x: Tensor, mask: Tensor, value: float | Tensor) -> Tensor:
    """``value`` where the mask is True, else x."""
    number = value if isinstance(value, Tensor) else torch.full((), value, dtype=x.dtype, device=x.device)
    return torch.where(mask, number, x)


def clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """min(max(x, low), high)."""
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def vector_norm(
    x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, dtype: torch.dtype | None = None
) -> Tensor:
    """(sum |x|^p)^(1/p)."""
    x = x if dtype is None else x.to(dtype)
    dims = [dim] if isinstance(dim, int) else list(range(x.ndim)) if not dim else list(dim)
    if order == 2:
        return (x * x).sum(dims, keepdim=keepdim).sqrt()
    if order == 1:
        return x.abs().sum(dims, keepdim=keepdim)
    if math.isinf(order):
        return (x.abs().amax if order > 0 else x.abs().amin)(dims, keepdim=keepdim)
    return (x.abs() ** order).sum(dims, keepdim=keepdim) ** (1 / order)


def log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """log sigmoid(x) = -softplus(-x), with a softplus that has no threshold."""
    return torch.minimum(x, x.new_zeros(())) - torch.log1p((-x.abs()).exp()), x.new_zeros(0)


def choose(c: Tensor, u: float | Tensor, v: float | Tensor) -> Tensor:
    """``where`` with tensors or numbers."""
    like = next((t for t in (u, v) if isinstance(t, Tensor)), None)
    dtype = torch.result_type(u, v)  # type: ignore[call-overload]
    device = c.device if like is None else like.device
    u, v = (t if isinstance(t, Tensor) else torch.full((), t, dtype=dtype, device=device) for t in (u, v))
    return torch.where(c, u, v)


def distances(a: Tensor, b: Tensor, order: float = 2.0, mode: int | None = None) -> Tensor:
    """The norm of the difference between each row of a and each row of b."""
    return vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), order, -1)


def trilinear(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    ones_a: list[int],
    ones_b: list[int],
    ones_c: list[int],
    summed: list[int],
    *_: int,
) -> Tensor:
    """The sum over some dims of a product of three tensors with new dims; `torch.nn.Bilinear` uses it."""
    for d in ones_a:
        a = a.unsqueeze(d)
    for d in ones_b:
        b = b.unsqueeze(d)
    for d in ones_c:
        c = c.unsqueeze(d)
    return (a * b * c).sum(summed)


def product_along(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """A product of many factors as a tree of products of two."""
    x = x if dtype is None else x.to(dtype)
    while x.shape[dim] > 1:
        half = x.shape[dim] // 2
        paired = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = torch.cat([paired, x.narrow(dim, 2 * half, x.shape[dim] - 2 * half)], dim)
    return x if keepdim else x.squeeze(dim)


def scan(x: Tensor, dim: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combinations of all values up to each place, from combinations of twice as many in each step."""
    dim, step = dim % max(x.ndim, 1), 1
    while x.ndim and step < x.shape[dim]:
        length = x.shape[dim] - step
        combined = combine(x.narrow(dim, step, length), x.narrow(dim, 0, length))
        x, step = torch.cat([x.narrow(dim, 0, step), combined], dim), 2 * step
    return x


def product_up_to(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Products of all values up to each place."""
    return scan(x if dtype is None else x.to(dtype), dim, torch.mul)


def log_of_sums_up_to(x: Tensor, dim: int) -> Tensor:
    """Logarithms of the sums of the exponentials of all values up to each place."""
    return scan(x, dim, lambda a, b: torch.stack([a, b]).logsumexp(0))


def fixed_slope(x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any) -> Tensor:
    """RReLU in evaluation mode. In training mode it draws random numbers, and a recording raises an error."""
    return aten.leaky_relu(x, (lower + upper) / 2)


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log x - log(1 - x)."""
    x = x if eps is None else x.clamp(eps, 1 - eps)
    return x.log() - (1 - x).log()


def pack_padded(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """The steps of padded sequences one behind the other, and how many rows each step has, which is no function of x."""
    steps = torch.arange(int(lengths.max()))
    inside = steps[:, None] < lengths.cpu()
    x = x.transpose(0, 1) if batch_first else x
    return x[: len(steps)].flatten(0, 1)[inside.flatten().nonzero()[:, 0].to(x.device)], inside.sum(1)


def pad_packed(
    data: Tensor, sizes: Tensor, batch_first: bool, value: float | Tensor, total: int
) -> tuple[Tensor, Tensor]:
    """Padded sequences of `total` steps, or as many as there are, and their lengths."""
    sizes = torch.cat([sizes, sizes.new_zeros(max(0, total - len(sizes)))])
    inside = torch.arange(int(sizes[0])) < sizes[:, None]
    place = (inside.flatten().cumsum(0) - 1).view(inside.shape).to(data.device)
    mask = inside.to(data.device).view(*inside.shape, *[1] * (data.ndim - 1))
    padding = torch.as_tensor(value, dtype=data.dtype, device=data.device)
    padded = torch.where(mask, data[place], padding)
    return padded.transpose(0, 1) if batch_first else padded, inside.sum(0)


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

DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    **NORMALISATIONS,
    aten.masked_fill.Scalar: masked_fill,
    aten.masked_fill.Tensor: masked_fill,
    aten.clamp.Tensor: clamp,
    aten.linalg_vector_norm.default: vector_norm,
    aten.log_sigmoid_forward.default: log_sigmoid,
    aten.rrelu_with_noise.default: fixed_slope,
    aten.prod.dim_int: product_along,
    aten.prod.default: lambda x, **options: product_along(x.reshape(-1), 0, **options),
    aten.cumprod.default: product_up_to,
    aten.logcumsumexp.default: log_of_sums_up_to,
    aten.pow.Tensor_Tensor: lambda u, v: (v * u.log()).exp(),
    aten.pow.Scalar: lambda u, v: (v * math.log(u)).exp(),
    aten.where.ScalarSelf: choose,
    aten.where.ScalarOther: choose,
    aten.where.Scalar: choose,
    aten._cdist_forward.default: distances,
    aten._euclidean_dist.default: distances,
    aten._trilinear.default: trilinear,
    aten._pack_padded_sequence.default: pack_padded,
    aten._pad_packed_sequence.default: pad_packed,
    aten._convolution.default: lambda *args: aten.convolution(*args[:9]),  # in models from torch.jit.trace
    aten.square.default: lambda x: x * x,
    aten.polar.default: lambda r, angle: torch.complex(r * angle.cos(), r * angle.sin()),
    aten.hypot.default: lambda u, v: (u * u + v * v).sqrt(),
    aten.sinc.default: lambda x: torch.where(x == 0, 1.0, torch.sin(math.pi * x) / (math.pi * x)),
    aten.logit.default: logit,
}


@functools.cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """The decomposition of each op that has one and has no rule."""
    of_torch = {
        op: d for op, d in decomposition_table.items() if isinstance(op, OpOverload) and _takes_tensors(op)
    }
    return {op: d for op, d in (of_torch | DECOMPOSITIONS).items() if op not in RULES}


def _takes_tensors(op: OpOverload) -> bool:
    """Whether an op has a tensor argument and does not write; the recorder makes ops pure that write."""
    return not op._schema.is_mutable and any("Tensor" in str(a.type) for a in op._schema.arguments)


def decompose(op: OpOverload) -> Callable | None:
    """The function to record in place of an op, or None to record the op."""
    if op in RULES:
        return None
    if op.namespace == "prims":
        return _primitive(op)
    return decompositions().get(op) or composite(op)


def _primitive(op: OpOverload) -> Callable | None:
    """The ATen function of a primitive, as torch's decompositions end in primitives.

    None where that function is decomposed into the primitive again.
    """
    counterpart = getattr(aten, op._schema.name.split("::")[1], None)
    if counterpart is not None and not any(getattr(counterpart, o) in RULES for o in counterpart.overloads()):
        return None
    return op.impl_aten  # type: ignore[attr-defined]


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
