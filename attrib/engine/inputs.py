"""Inputs and baselines as tuples of tensors that fit each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from attrib.engine.graph.modes import transformed

Tensors = Tensor | tuple[Tensor, ...]
Baselines = float | Tensor | tuple[float | Tensor, ...] | Callable[..., Any]


def as_tuple(x: Any, name: str = "x", *, integers: bool = False, noise: bool = False) -> tuple[Tensor, ...]:
    """Inputs as a tuple of tensors with one batch size: of floats, or with `integers` also of whole numbers and booleans.

    With `noise` the error says what to do where noise is added, which no layer takes away.

    Raises
    ------
    TypeError
        If an input is no tensor, or of whole numbers where something is differentiated.
    ValueError
        If batch sizes differ, there are no samples, or values are not finite (the samples are named).
    NotImplementedError
        Under `torch.func.vmap`.
    """
    xs = tuple(x) if isinstance(x, tuple | list) else (x,)
    for j, t in enumerate(xs):
        which = name if len(xs) == 1 else f"{name}[{j}]"
        _check(t, which, integers, noise)
        if len(t) != len(xs[0]):
            raise ValueError(
                f"`{name}` has inputs of {len(xs[0])} and {len(t)} samples; all need the same number on dim 0"
            )
    return xs if transformed() else tuple(t.detach() for t in xs)


def _check(t: Any, which: str, integers: bool, noise: bool) -> None:
    if not isinstance(t, Tensor):
        raise TypeError(
            f"`{which}` is a {type(t).__name__}, expected a torch.Tensor; the functions of `attrib` itself take other arrays"
        )
    if t.layout != torch.strided:
        raise TypeError(f"`{which}` is a sparse tensor; pass {which}.to_dense()")
    if is_batchedtensor(t):
        raise NotImplementedError(
            f"`{which}` comes from torch.func.vmap, and this method looks at values; pass all samples at once, on dim 0 "
            "(deep_lift goes through vmap)"
        )
    if noise and not (integers or t.is_floating_point() or t.is_complex()):
        raise TypeError(
            f"`{which}` is {t.dtype}, to which no noise can be added; explain the output of the embedding, with up_to and from_layer of "
            "attrib.functional: pass from_layer(f, layer) for `f`, up_to(f, layer)(x) for `x`, and additional_forward_args=(x,)"
        )
    if t.is_complex() or not (integers or t.is_floating_point()):
        raise TypeError(
            f"`{which}` is {t.dtype}, which has no gradient; convert it with x.float(), or explain the embedding's output "
            "with `layer`"
        )
    if t.ndim == 0 or len(t) == 0:
        raise ValueError(f"`{which}` has shape {tuple(t.shape)}, expected at least one sample on dim 0")
    refuse_non_finite(t, which)


def refuse_non_finite(t: Tensor, which: str) -> None:
    """Raise a ValueError that names the samples (dim 0) with NaN or infinite values."""
    bad = non_finite_samples(t)
    if bad:
        raise ValueError(
            f"`{which}` has NaN or infinite values in {len(bad)} of {len(t)} samples: {listed(bad)}; "
            "drop those samples or fill the values"
        )


def non_finite_samples(t: Tensor, dim: int = 0) -> list[int]:
    """Positions on a dim that hold NaN or infinite values."""
    if math.isfinite(t.sum().item()):  # quicker than a test of each
        return []
    fine = torch.isfinite(t).movedim(dim, 0).flatten(1).all(1) if t.ndim > 1 else torch.isfinite(t)
    return [int(i) for i in (~fine).nonzero()[:, 0]]


def listed(numbers: list[int]) -> str:
    """The first few numbers, as text."""
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")


def as_baselines(baselines: Any, xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Baselines as tensors (1, ...) or (N, ...), one per input.

    Parameters
    ----------
    baselines : float, Tensor, tuple of these, or callable
        A number for all inputs; a tensor shaped like a sample, like (1, ...), or like the input; a function of the
        inputs that returns one of these.
    xs : tuple of Tensor
        The inputs.

    Raises
    ------
    ValueError, TypeError
        For other shapes and types.
    """
    parts = _per_input(baselines, xs)
    return tuple(_fit(b, x, _name(j, xs)) for j, (b, x) in enumerate(zip(parts, xs, strict=True)))


def as_distribution(baselines: Any, xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A distribution of baselines per input: (1, B, ...) shared by all samples, or (N, B, ...).

    A tensor with the input's number of dims is a shared distribution (B, ...); one dim more is a distribution per
    sample (N, B, ...); a number is a distribution of one. Where one input has a distribution per sample, all have; one
    baseline alone stands beside each of those of other inputs.
    """
    parts = _per_input(baselines, xs)
    pools = tuple(_fit_many(b, x, _name(j, xs)) for j, (b, x) in enumerate(zip(parts, xs, strict=True)))
    counts = {b.shape[1] for b in pools}
    if len(counts - {1}) > 1:
        raise ValueError(
            f"`baselines` has {[b.shape[1] for b in pools]} baselines for the inputs; all need the same number"
        )
    samples = max(len(b) for b in pools)
    return tuple(b.expand(samples, max(counts), *b.shape[2:]) for b in pools)


def as_pool(baselines: Any, xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One baseline or a distribution per input, always as a distribution: (1, B, ...) shared by all samples, or (N, B, ...).

    A tensor with a dim more than the input is a distribution, (1, B, ...) for all samples or (N, B, ...) for each; anything
    else is one baseline, as in `as_baselines`.
    """
    pool = []
    for j, (b, x) in enumerate(zip(_per_input(baselines, xs), xs, strict=True)):
        many = isinstance(b, Tensor) and b.ndim == x.ndim + 1
        pool.append(
            _fit_many(b, x, _name(j, xs))
            if many
            else _fit(b, x, _name(j, xs), f"{_name(j, xs)}[None]")[:, None]
        )
    count = max(b.shape[1] for b in pool)
    if any(b.shape[1] not in (1, count) for b in pool):
        raise ValueError(
            f"`baselines` has {[b.shape[1] for b in pool]} baselines for the inputs; all need the same number"
        )
    return tuple(b.expand(-1, count, *b.shape[2:]) for b in pool)


def _name(j: int, xs: tuple[Tensor, ...]) -> str:
    return "baselines" if len(xs) == 1 else f"baselines[{j}]"


def _per_input(baselines: Any, xs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    if callable(baselines) and not isinstance(baselines, Tensor):
        baselines = baselines(*xs)
    if isinstance(baselines, tuple | list):
        if len(baselines) != len(xs):
            raise ValueError(f"`baselines` has {len(baselines)} entries for {len(xs)} inputs")
        return tuple(baselines)
    if isinstance(baselines, Tensor) and baselines.ndim and len(xs) > 1:
        raise ValueError(f"`baselines` is one tensor for {len(xs)} inputs; pass a tuple with one per input")
    return (baselines,) * len(xs)


def _as_tensor(b: Any, x: Tensor, which: str) -> Tensor:
    if isinstance(b, int | float) and not isinstance(b, bool):
        b = torch.full(
            (1,) * x.ndim, float(b), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device
        )
    if not isinstance(b, Tensor):
        raise TypeError(f"`{which}` is a {type(b).__name__}, expected a number, a tensor or a function")
    if b.ndim == 0:
        b = b.reshape((1,) * x.ndim)
    refuse_non_finite(b.detach(), which)
    converted = b.detach().to(x)
    if not x.is_floating_point() and bool((converted != b.detach().to(x.device)).any()):
        raise ValueError(f"`{which}` has values that are no {x.dtype}, which `x` is; pass whole numbers")
    return converted


def _fit(b: Any, x: Tensor, which: str, distribution: str = "gradient_shap") -> Tensor:
    t = _as_tensor(b, x, which)
    t = t[None] if t.ndim == x.ndim - 1 else t
    if t.ndim == x.ndim and len(t) in (1, len(x)) and _broadcasts(t.shape[1:], x.shape[1:]):
        return t
    sizes = ", ".join(map(str, x.shape[1:]))
    hint = (
        f"; pass {which}.mean(0), or use {distribution} for a distribution"
        if t.shape[1:] == x.shape[1:]
        else ""
    )
    raise ValueError(
        f"`{which}` has shape {tuple(t.shape)}, expected (1, {sizes}) or ({len(x)}, {sizes}) to match `x`{hint}"
    )


def _fit_many(b: Any, x: Tensor, which: str) -> Tensor:
    t = _as_tensor(b, x, which)
    if not t.numel():
        raise ValueError(f"`{which}` has shape {tuple(t.shape)}, expected at least one baseline")
    if t.ndim == x.ndim and _broadcasts(t.shape[1:], x.shape[1:]):
        return t[None]
    if t.ndim == x.ndim + 1 and len(t) in (1, len(x)) and _broadcasts(t.shape[2:], x.shape[1:]):
        return t
    sizes = ", ".join(map(str, x.shape[1:]))
    raise ValueError(
        f"`{which}` has shape {tuple(t.shape)}, expected (B, {sizes}) for all samples or ({len(x)}, B, {sizes}) for each"
    )


def _broadcasts(small: torch.Size, large: torch.Size) -> bool:
    return len(small) == len(large) and all(s in (1, n) for s, n in zip(small, large, strict=True))


def moved(t: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on a device. From the CPU the copy waits for nothing; to the CPU it has to, or its values would not be there yet."""
    return t.to(device, dtype or t.dtype, non_blocking=t.is_cpu)


def of_samples(t: Tensor, i: Tensor, device: torch.device) -> Tensor:
    """Rows `i` (ascending sample numbers, on the CPU) of a tensor (1, ...) or (N, ...), on `device`.

    Only the part that holds them is moved. A single row stands for all and comes back alone.
    """
    if len(t) == 1:
        return moved(t, device)
    if not len(i):
        return t[:0].to(device)
    first, last = int(i[0]), int(i[-1]) + 1
    part = moved(t[first:last], device)
    each = last - first == len(i) and bool(
        (i.diff() == 1).all()
    )  # a sample can come twice and another be left out
    return part if each else part[moved(i - first, device)]
