"""Where views lie in the memory that they share."""

from __future__ import annotations

import torch
from torch import Tensor


def layout(tensor: Tensor) -> tuple:
    """Where a tensor's elements lie in its storage."""
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.dtype


def disjoint(a: Tensor, b: Tensor, owner: Tensor) -> bool:
    """Whether two views are certainly of different elements: boxes of the owner that do not meet."""
    box_a, box_b = box(a, owner), box(b, owner)
    if box_a is None or box_b is None:
        return False
    return any(lo + n <= other or other + m <= lo for (lo, n), (other, m) in zip(box_a, box_b, strict=True))


def box(view: Tensor, owner: Tensor) -> list[tuple[int, int]] | None:
    """(start, size) of a view along each of its owner's dims, if it is a plain slice of a contiguous owner."""
    if view.stride() != owner.stride() or not owner.is_contiguous() or view.dtype != owner.dtype:
        return None
    rest: int = view.storage_offset() - owner.storage_offset()  # type: ignore[assignment]
    spans = []
    for stride, size, full in zip(owner.stride(), view.shape, owner.shape, strict=True):
        start, rest = divmod(rest, stride) if stride else (0, rest)
        if start < 0 or start + size > full:
            return None
        spans.append((start, size))
    return spans


def positions(view: Tensor, owner: Tensor) -> Tensor:
    """Indices into `owner.reshape(-1)` of a view's elements, in the view's shape."""
    if view.dtype != owner.dtype:
        raise NotImplementedError(
            f"`f` reads memory written as {owner.dtype} as {view.dtype}; use .to() instead"
        )
    size = owner.untyped_storage().nbytes() // owner.element_size()
    cells = torch.arange(size, device=owner.device)
    logical = torch.full((size,), -1, device=owner.device)
    logical[cells.as_strided(owner.shape, owner.stride(), owner.storage_offset()).reshape(-1)] = torch.arange(
        owner.numel(), device=owner.device
    )
    index = logical[cells.as_strided(view.shape, view.stride(), view.storage_offset())]
    if bool((index < 0).any()):
        raise NotImplementedError(
            "`f` has a view of an activation's memory that reaches outside the activation"
        )
    return index
