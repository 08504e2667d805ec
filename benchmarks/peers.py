"""captum's methods at a given number of rows per call, and plain loops to check answers against."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.sampling.perturbations import Draws, Noise, spread

try:
    from captum.attr import GradientShap, IntegratedGradients, NoiseTunnel, Saliency
except ImportError:  # a GPU machine may lack it
    Saliency = None

CAPTUM = Saliency is not None
Tensors = tuple[Tensor, ...]


def captum_ig(model: nn.Module, xs: Tensors, target: int, steps: int, chunk: int) -> Tensors:
    return IntegratedGradients(model).attribute(xs, target=target, n_steps=steps, internal_batch_size=chunk)


def captum_smooth_grad(
    model: nn.Module, xs: Tensors, target: int, count: int, chunk: int, stdev: float
) -> Tensors:
    tunnel = NoiseTunnel(Saliency(model))
    return tunnel.attribute(
        xs, nt_samples=count, nt_samples_batch_size=max(1, chunk // len(xs[0])), stdevs=(stdev,) * len(xs),
        target=target, abs=False,
    )  # fmt: skip


def captum_gradient_shap(
    model: nn.Module, xs: Tensors, target: int, count: int, chunk: int, baselines: Tensors
) -> Tensors:
    """In portions of `chunk` rows: captum itself makes all rows at once."""
    method = GradientShap(model)
    portions = [max(1, chunk // len(xs[0]))] * count
    done, total = 0, tuple(torch.zeros_like(t) for t in xs)
    for portion in portions:
        portion = min(portion, count - done)
        if portion == 0:
            break
        part = method.attribute(xs, baselines=baselines, n_samples=portion, target=target)
        total = tuple(t + p * portion / count for t, p in zip(total, part, strict=True))
        done += portion
    return total


def captum_all_classes(model: nn.Module, xs: Tensors, classes: int) -> Tensors:
    """One pass per class, which is all that captum offers."""
    method = Saliency(model)
    by_class = [_quiet(method.attribute, xs, target=c, abs=False) for c in range(classes)]
    return tuple(torch.stack(parts) for parts in zip(*by_class, strict=True))


def captum_ig_all_classes(model: nn.Module, xs: Tensors, classes: int, steps: int, chunk: int) -> Tensors:
    by_class = [captum_ig(model, xs, c, steps, chunk) for c in range(classes)]
    return tuple(torch.stack(parts) for parts in zip(*by_class, strict=True))


def _quiet(work: Any, *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work(*args, **kwargs)


def gradient(model: nn.Module, xs: Tensors, target: int) -> Tensors:
    """Plain autograd."""
    leaves = tuple(t.detach().requires_grad_() for t in xs)
    return torch.autograd.grad(model(*leaves)[:, target].sum(), leaves)


def loop_ig(model: nn.Module, xs: Tensors, target: int, steps: int) -> Tensors:
    """Integrated gradients from zero, one step at a time, by NumPy's Gauss-Legendre rule."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = tuple(torch.zeros_like(t) for t in xs)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        grads = gradient(model, tuple(t * float(node) for t in xs), target)
        total = tuple(t + float(weight) * g for t, g in zip(total, grads, strict=True))
    return tuple(t * x for t, x in zip(total, xs, strict=True))


def loop_smooth_grad(model: nn.Module, xs: Tensors, target: int, count: int, stdev: float) -> Tensors:
    """SmoothGrad with the same draws, one copy at a time."""
    noise = Noise(xs, spread(xs, stdev, 0.0), 0, xs[0].device, antithetic=True)
    return _mean_over(count, xs, lambda i, k: gradient(model, noise.points(i, k), target))


def loop_gradient_shap(model: nn.Module, xs: Tensors, target: int, count: int, baselines: Tensors) -> Tensors:
    """GradientSHAP with the same draws, one at a time."""
    noisy = Noise(xs, spread(xs, 0.0, 0.0), 0, xs[0].device)
    draws = Draws(noisy, tuple(b[None] for b in baselines), count)
    return _mean_over(count, xs, lambda i, k: draws.products(gradient(model, draws.points(i, k), target)))


def _mean_over(count: int, xs: Tensors, work: Any) -> Tensors:
    i = torch.arange(len(xs[0]))
    terms = [work(i, torch.full_like(i, k)) for k in range(count)]
    return tuple(torch.stack(parts).mean(0) for parts in zip(*terms, strict=True))
