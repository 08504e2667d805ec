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


def bare_classes(
    model: nn.Module, xs: tuple[Tensor, ...], rows: int, chunk: int, classes: int
) -> dict[str, Callable[[], None]]:
    """The least work for all classes: each chunk goes forward once, and back once for each class, in turn or vmapped."""
    net = frozen(model)
    order = torch.arange(min(rows, chunk), device=xs[0].device) % len(xs[0])
    ready = tuple(t[order] for t in xs)

    def work(together: bool) -> None:
        for start in range(0, rows, chunk):
            leaves = tuple(t[: min(chunk, rows - start)].detach().requires_grad_() for t in ready)
            y = net(*leaves)
            one_hot = torch.eye(classes, dtype=y.dtype, device=y.device)[:, None].expand(-1, *y.shape)
            if together:
                torch.autograd.grad(y, leaves, one_hot, is_grads_batched=True)
                continue
            for c in range(classes):
                torch.autograd.grad(y, leaves, one_hot[c], retain_graph=c < classes - 1)

    return {"in turn": lambda: work(False), "together": lambda: work(True)}
