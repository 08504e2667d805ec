"""The limit: the model's own forward and input-gradient passes, parameters frozen, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def frozen(model: nn.Module) -> nn.Module:
    """A copy whose parameters take no gradients."""
    return copy.deepcopy(model).requires_grad_(False)


def bare_passes(
    model: nn.Module, xs: tuple[Tensor, ...], rows: int, chunk: int, target: int
) -> Callable[[], None]:
    """Work that takes `rows` rows through the model and back, `chunk` at a time.

    The rows are the samples over and over; they lie ready, so that nothing but the passes is timed.
    """
    net = frozen(model)
    order = torch.arange(min(rows, chunk), device=xs[0].device) % len(xs[0])
    ready = tuple(t[order] for t in xs)

    def work() -> None:
        for start in range(0, rows, chunk):
            leaves = tuple(t[: min(chunk, rows - start)].detach().requires_grad_() for t in ready)
            torch.autograd.grad(net(*leaves)[:, target].sum(), leaves)

    return work
