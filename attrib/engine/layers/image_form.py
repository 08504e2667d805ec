"""Outputs of layers as images (N, C, *grid): the layouts that they may have, and maps on the input's own grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

Reshape = Callable[[Tensor], Tensor]

_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
)  # fmt: skip
_LAST = (nn.Linear, nn.LayerNorm)  # of exactly these types: subclasses exist that put channels first
_PREFIX = 9  # class token, distillation token, registers: at most so many, and few beside the positions
UNEVEN = 1.5  # strides along two dims of a grid of tokens differ by less


class Form(NamedTuple):
    """How a layer's output (N, ...) becomes an image (N, C, *grid) whose dims are in the order of the input's.

    Attributes
    ----------
    order : {"first", "last", "tokens"}
        Channels on dim 1, on the last dim, or a sequence (N, T, C) of positions.
    prefix : int
        Tokens in front of those that have a position.
    grid : tuple of int
        Sizes of the spatial dims as the layer has them.
    axes : tuple of int, optional
        The dim of a sample (C, ...) that each dim of the grid follows; None where that is not known, and the grid's dims
        are the input's last.
    reversed : tuple of int
        Dims of the grid that run from the input's end to its beginning.
    """

    order: str
    prefix: int
    grid: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    reversed: tuple[int, ...] = ()

    def dims(self, ndim: int) -> tuple[int, ...]:
        """The dims of a sample of `ndim` dims that the image lies on."""
        return tuple(range(ndim - len(self.grid), ndim)) if self.axes is None else tuple(sorted(self.axes))

    def blank(self, gradient: Tensor) -> bool:
        """Whether a gradient (N, T, C) is that of the tokens in front alone, so that no position matters."""
        front, positions = gradient[:, : self.prefix], gradient[:, self.prefix :]
        return self.prefix > 0 and bool(front.any()) and not bool(positions.any())

    def __call__(self, t: Tensor) -> Tensor:
        """(N, ...) as (N, C, *grid), the grid as it lies on the input."""
        if self.order == "tokens":
            t = t[:, self.prefix :].unflatten(1, self.grid)
        t = t if self.order == "first" else t.movedim(-1, 1)
        t = t.flip([2 + d for d in self.reversed]) if self.reversed else t
        if self.axes is None or list(self.axes) == sorted(self.axes):
            return t
        return t.permute(0, 1, *(2 + self.axes.index(axis) for axis in sorted(self.axes)))


def layouts(shape: Sequence[int], sample: Sequence[int], spatial: Sequence[int]) -> Iterator[Form]:
    """All forms that an output of `shape` (1, ...) may have, by its sizes alone.

    Parameters
    ----------
    shape : sequence of int
        Of the output.
    sample : sequence of int
        Shape of a sample of the input.
    spatial : sequence of int
        The dims of a sample that may hold positions.
    """
    counts = {len(sample) - 1, len(sample)} - {0}
    if len(shape) - 2 in counts:
        yield Form("first", 0, tuple(shape[2:]))
        if len(shape) > 3:
            yield Form("last", 0, tuple(shape[1:-1]))
        else:
            yield Form("tokens", 0, (shape[1],))
            yield from (
                Form("tokens", 1, (shape[1] - 1,)) for d in spatial if _class_token(shape[1], sample[d])
            )
    if len(shape) == 3:
        for count in sorted(counts - {1}):
            grids = {
                (prefix, grid)
                for axes in itertools.permutations(spatial, count)
                for prefix in _prefixes(shape[1])
                for grid in _grids(shape[1] - prefix, [sample[d] for d in axes])
            }
            yield from (Form("tokens", prefix, grid) for prefix, grid in sorted(grids))


def _prefixes(tokens: int) -> list[int]:
    return [prefix for prefix in range(_PREFIX) if prefix < 2 or 8 * prefix < tokens]


def _grids(count: int, sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The grids of so many positions whose strides from the input's sizes are about the same in all dims; of films in all but time."""
    if count < 2:
        return
    for k, size in enumerate(sizes if len(sizes) > 2 else ()):
        for frames in {size, size // 2}:
            if frames > 1 and count % frames == 0:
                others = _grids(count // frames, [*sizes[:k], *sizes[k + 1 :]])
                yield from ((*grid[:k], frames, *grid[k:]) for grid in others)
    stride = (math.prod(sizes) / count) ** (1 / len(sizes))
    near = [
        [g for g in range(1, count + 1) if count % g == 0 and 1 / UNEVEN < size / g / stride < UNEVEN]
        for size in sizes
    ]
    yield from (grid for grid in itertools.product(*near) if math.prod(grid) == count)


def form_by_types(shape: Sequence[int], module: nn.Module, inputs: Sequence[int]) -> Form | None:
    """The likely form of an output of `shape` (N, ...) for an input of shape (N, C, ...) or (N, ...); None if it has none.

    Types of layers tell (a convolution puts channels first, `nn.Linear` last); else the layout whose grid has the
    same stride in all dims. A sequence of tokens is cut into the grid that has the input's proportions.
    """
    dims = len(shape) - 2
    if dims >= 1 and len(inputs) - 2 <= dims <= len(inputs) - 1:
        spatial = tuple(inputs[-dims:])
        order, grid = _layout(shape, module, spatial)
        if order == "last" and dims == 1:
            prefix = int(_class_token(grid[0], spatial[0]))
            return Form("tokens", prefix, (grid[0] - prefix,))
        return Form(order, 0, grid)
    if len(shape) == 3 and len(inputs) > 3:
        return _tokens(shape[1], tuple(inputs[2:]))
    return None


def _layout(shape: Sequence[int], module: nn.Module, spatial: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    first, last = tuple(shape[2:]), tuple(shape[1:-1])
    order = order_by_types(module)
    if order is None:
        if len(spatial) == 1:
            order = "last" if first[0] > spatial[0] >= last[0] else "first"
        elif not _fits(first, spatial):
            order = "last" if _fits(last, spatial) else "first"
        else:
            order = "last" if _even(last, spatial) and not _even(first, spatial) else "first"
    return order, first if order == "first" else last


def order_by_types(module: nn.Module) -> str | None:
    """What the types of a layer and its parts say of its layout, if they agree."""
    parts = [module] if not any(True for _ in module.children()) else list(module.modules())
    first = any(isinstance(p, _FIRST) for p in parts)
    last = any(type(p) in _LAST for p in parts)
    return None if first == last else "first" if first else "last"


def convolution_gave(module: nn.Module, channels: int) -> bool:
    """Whether a layer's types put channels first, and one of its parts gives so many."""
    counts = {
        getattr(part, name)
        for part in module.modules()
        if isinstance(part, _FIRST)
        for name in ("out_channels", "num_features", "num_channels")
        if hasattr(part, name)
    }
    return order_by_types(module) == "first" and (not counts or channels in counts)


def _fits(grid: tuple[int, ...], spatial: tuple[int, ...]) -> bool:
    return all(s <= size for s, size in zip(grid, spatial, strict=True))


def _even(grid: tuple[int, ...], spatial: tuple[int, ...]) -> bool:
    """Whether one stride leads from the input's size to the grid's in all dims, up to rounding."""
    low = max(size / (s + 1) for s, size in zip(grid, spatial, strict=True))
    high = min(size / (s - 1) if s > 1 else math.inf for s, size in zip(grid, spatial, strict=True))
    return _fits(grid, spatial) and low < high


def _class_token(tokens: int, length: int) -> bool:
    return tokens > 2 and length % tokens != 0 and length % (tokens - 1) == 0


def _tokens(count: int, spatial: tuple[int, ...]) -> Form | None:
    """The grid of a sequence: whole patches first, then up to rounding; fewest tokens in front."""
    grids = [(prefix, _grid(count - prefix, spatial)) for prefix in _prefixes(count)]
    forms = [Form("tokens", prefix, grid) for prefix, grid in grids if grid is not None]
    even = [f for f in forms if len({s / g for s, g in zip(spatial, f.grid, strict=True)}) == 1]
    exact = [f for f in even if spatial[0] % f.grid[0] == 0]
    return next(iter([*exact, *even, *forms]), None)


def _grid(count: int, spatial: tuple[int, ...]) -> tuple[int, ...] | None:
    if count < 1:
        return None
    patch = (math.prod(spatial) / count) ** (1 / len(spatial))
    grid = tuple(max(1, round(s / patch)) for s in spatial)
    return grid if math.prod(grid) == count and _even(grid, spatial) else None


def reshaped(t: Tensor, reshape: Reshape, n: int) -> Tensor:
    """The caller's own image form of a layer's output, checked."""
    image = reshape(t)
    if not isinstance(image, Tensor) or image.ndim < 3 or len(image) != n:
        got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"`reshape` made {got} of a layer's output {tuple(t.shape)}, expected ({n}, C, ...) with spatial dims"
        )
    return image


def upsampled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (..., *grid) on a grid of another size, linear between the centres of positions."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}.get(len(size))
    if mode is None:
        raise ValueError(f"maps of {len(size)} spatial dims cannot be resized; pass upsample=False")
    lead = maps.shape[: maps.ndim - len(size)]
    flat = maps.reshape(-1, 1, *maps.shape[len(lead) :])
    return F.interpolate(flat, size, mode=mode, align_corners=False).reshape(*lead, *size)


def scaled(maps: Tensor, dims: int) -> Tensor:
    """Each map, its last `dims` dims, from 0 to 1: less its minimum, divided by what is then its maximum (+ 1e-7)."""
    over = tuple(range(-dims, 0))
    above = maps - maps.amin(over, keepdim=True)
    return above / (1e-7 + above.amax(over, keepdim=True))


def lead_merged(form: Form | Reshape, t: Tensor) -> Tensor:
    """A form applied to (T, N, ...)."""
    return form(t.flatten(0, 1)).unflatten(0, t.shape[:2])
