"""Matrix products of any dims."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from attrib.interop.jaxpr.program import Step, dtype_of
from attrib.interop.jaxpr.table import translation


@translation("dot_general")
def dot_general(step: Step, u: Tensor, v: Tensor) -> Tensor:
    """sum over k of u[b, m, k] v[b, k, n], each letter any number of dims."""
    (ku, kv), (bu, bv) = step.params["dimension_numbers"]
    dtype = dtype_of(step.makes[0].dtype)
    u, v = u.to(dtype), v.to(dtype)
    mu, nv = others(u.ndim, ku, bu), others(v.ndim, kv, bv)
    batch, rows, columns = sizes(u, bu), sizes(u, mu), sizes(v, nv)
    inner = math.prod(sizes(u, ku))
    u = shaped(permuted(u, [*bu, *mu, *ku]), [*_joined(batch), math.prod(rows), inner])
    v = shaped(permuted(v, [*bv, *kv, *nv]), [*_joined(batch), inner, math.prod(columns)])
    return shaped(u @ v, [*batch, *rows, *columns])


def _joined(batch: list[int]) -> list[int]:
    return [math.prod(batch)] if batch else []


def permuted(x: Tensor, order: Sequence[int]) -> Tensor:
    """Its dims in another order; itself, if in this one."""
    return x if list(order) == list(range(x.ndim)) else x.permute(*order)


def shaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape; itself, if in this one."""
    return x if list(x.shape) == list(shape) else x.reshape(list(shape))


def restored(x: Tensor, order: Sequence[int]) -> Tensor:
    """The inverse of `permuted`."""
    return permuted(x, sorted(range(x.ndim), key=lambda d: order[d]))


def others(ndim: int, *groups: Sequence[int]) -> list[int]:
    """The dims that are in no group."""
    taken = {d for group in groups for d in group}
    return [d for d in range(ndim) if d not in taken]


def sizes(x: Tensor, dims: Sequence[int]) -> list[int]:
    """How long some dims are."""
    return [x.shape[d] for d in dims]
