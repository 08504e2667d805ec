"""Layers with maps: which a model has, how a layer's output becomes an image, and maps on the input's grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.gradient.passes import Passes
from attrib.engine.layers.at_layer import Layer, OffPath, Rows, find_layer, named_layers, tapped

AUTO = "auto"


class Candidate(NamedTuple):
    """A layer that ran once and gave a map.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
    output : Tensor (1, ...)
        On the graph of the output.
    form : Form
        How the output becomes an image.
    """

    name: str
    module: nn.Module
    output: Tensor
    form: Form


def candidates(passes: Passes, rows: Rows, onto: int = 0) -> tuple[list[Candidate], Tensor]:
    """Layers with maps in the order in which they finish, and the model's output, for the first of some rows."""
    parts = named_layers(passes.function.model)
    last: dict[str, Tensor] = {}
    calls = dict.fromkeys(parts, 0)

    def see(name: str, output: Any) -> Tensor | None:
        calls[name] += 1
        last.pop(name, None)
        if calls[name] > 1 or not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        if output.requires_grad:
            last[name] = output
            return None
        last[name] = output.detach().requires_grad_()
        return last[name].clone()

    leaves = tuple(r[:1].detach().requires_grad_(r.is_floating_point()) for r in rows)
    with torch.enable_grad(), tapped(parts, see):
        y = passes.function(*(leaf.clone() for leaf in leaves), samples=torch.zeros(1, dtype=torch.long))
    layers = []
    for name, output in last.items():
        form = _form(parts[name], output, rows[onto])
        if form is not None and output is not y:
            layers.append(Candidate(name, parts[name], output, form))
    return layers, y


def _form(part: nn.Module, output: Tensor, x: Tensor) -> Form | None:
    if output.ndim < 3 or len(output) != 1:
        return None
    form = form_of(output.shape, part, x.shape)
    return form if form is not None and math.prod(form.grid) > 1 else None


def last_map(layers: Sequence[Candidate], y: Tensor) -> Candidate | None:
    """The last layer on whose positions the output depends; among layers of tokens, the last block or norm.

    (Behind the last attention of a transformer with a class token, the output depends on that token alone.)
    """
    if not y.requires_grad:
        return None
    along = torch.cos(torch.arange(y.numel(), dtype=y.dtype, device=y.device)).view_as(y)
    for c in reversed(layers):
        if c.form.order == "tokens" and not _is_stage(c.module):
            continue
        g = torch.autograd.grad(y, c.output, along, retain_graph=True, allow_unused=True)[0]
        if g is not None and bool(c.form(g).any()):
            return c
    return None


def _is_stage(part: nn.Module) -> bool:
    return any(True for _ in part.children()) or "norm" in type(part).__name__.lower()


def layers_of(passes: Passes, layer: Layer, rows: Rows, onto: int = 0) -> tuple[str, nn.Module]:
    """Name and module of the layer that the caller means.

    Raises
    ------
    ValueError
        If there is no such layer, or none that `"auto"` could choose; the message lists layers with maps.
    """
    if isinstance(layer, str) and layer == AUTO:
        layers, y = candidates(passes, rows, onto)
        best = last_map(layers, y)
        if best is None:
            raise ValueError(
                '`layer` is "auto", but no layer has spatial dims on which the output depends; '
                f"pass a layer by name, with reshape= to put it in image form{listing(layers)}"
            )
        return best.name, best.module
    named = find_layer(passes.function.model, layer)
    if named is None:
        near = get_close_matches(str(layer), named_layers(passes.function.model), 3)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"`layer` {layer!r} is not in the model{meant}{listing(_tried(passes, rows, onto))}")
    return named


def explained(error: OffPath, passes: Passes, rows: Rows, onto: int = 0) -> ValueError:
    """The error with the layers that could be chosen instead."""
    return ValueError(f"{error}{listing(_tried(passes, rows, onto))}")


def _tried(passes: Passes, rows: Rows, onto: int) -> list[Candidate]:
    return candidates(passes, rows, onto)[0]


def listing(layers: Sequence[Candidate]) -> str:
    """The last few layers with maps, as the end of a message."""
    if not layers:
        return "; no layer of the model has a map"
    grids = [f"{c.name} ({' x '.join(map(str, c.form.grid))})" for c in layers[-10:]]
    return f"; layers with maps: {'..., ' * (len(layers) > 10)}{', '.join(grids)}"


# ------------------------------------------------------------------ a layer's output as an image

Reshape = Callable[[Tensor], Tensor]

_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
)  # fmt: skip
_LAST = (nn.Linear, nn.LayerNorm)  # of exactly these types: subclasses exist that put channels first
_PREFIX = 9  # class token, distillation token, registers: at most so many, and few beside the positions


class Form(NamedTuple):
    """How a layer's output (N, ...) becomes an image (N, C, *grid).

    Attributes
    ----------
    order : {"first", "last", "tokens"}
        Channels on dim 1, on the last dim, or a sequence (N, T, C) of positions.
    prefix : int
        Tokens in front of those that have a position.
    grid : tuple of int
        Sizes of the spatial dims.
    """

    order: str
    prefix: int
    grid: tuple[int, ...]

    def blank(self, gradient: Tensor) -> bool:
        """Whether a gradient (N, T, C) is that of the tokens in front alone, so that no position matters."""
        front, positions = gradient[:, : self.prefix], gradient[:, self.prefix :]
        return self.prefix > 0 and bool(front.any()) and not bool(positions.any())

    def __call__(self, t: Tensor) -> Tensor:
        """(N, ...) as (N, C, *grid)."""
        if self.order == "first":
            return t
        if self.order == "tokens":
            t = t[:, self.prefix :].unflatten(1, self.grid)
        return t.movedim(-1, 1)


def form_of(shape: Sequence[int], module: nn.Module, inputs: Sequence[int]) -> Form | None:
    """The image form of an output of `shape` (N, ...) for an input of shape (N, C, ...) or (N, ...); None if it has none.

    Types of layers tell (a convolution puts channels first, `nn.Linear` last); else the layout whose grid has the
    same stride in all dims. A sequence of tokens is cut into the grid that has the input's proportions.
    """
    dims = len(shape) - 2
    if dims >= 1 and len(inputs) - 2 <= dims <= len(inputs) - 1:
        spatial = tuple(inputs[-dims:])
        order, grid = _layout(shape, module, spatial)
        if order == "last" and dims == 1:
            prefix = _class_token(grid[0], spatial[0])
            return Form("tokens", prefix, (grid[0] - prefix,))
        return Form(order, 0, grid)
    if len(shape) == 3 and len(inputs) > 3:
        return _tokens(shape[1], tuple(inputs[2:]))
    return None


def _layout(shape: Sequence[int], module: nn.Module, spatial: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    first, last = tuple(shape[2:]), tuple(shape[1:-1])
    order = _order_by_type(module)
    if order is None:
        if len(spatial) == 1:
            order = "last" if first[0] > spatial[0] >= last[0] else "first"
        elif not _fits(first, spatial):
            order = "last" if _fits(last, spatial) else "first"
        else:
            order = "last" if _even(last, spatial) and not _even(first, spatial) else "first"
    return order, first if order == "first" else last


def _order_by_type(module: nn.Module) -> str | None:
    """What the types of a layer and its parts say of its layout, if they agree."""
    parts = [module] if not any(True for _ in module.children()) else list(module.modules())
    first = any(isinstance(p, _FIRST) for p in parts)
    last = any(type(p) in _LAST for p in parts)
    return None if first == last else "first" if first else "last"


def _fits(grid: tuple[int, ...], spatial: tuple[int, ...]) -> bool:
    return all(s <= size for s, size in zip(grid, spatial, strict=True))


def _even(grid: tuple[int, ...], spatial: tuple[int, ...]) -> bool:
    """Whether one stride leads from the input's size to the grid's in all dims, up to rounding."""
    low = max(size / (s + 1) for s, size in zip(grid, spatial, strict=True))
    high = min(size / (s - 1) if s > 1 else math.inf for s, size in zip(grid, spatial, strict=True))
    return _fits(grid, spatial) and low < high


def _class_token(tokens: int, length: int) -> int:
    return int(tokens > 2 and length % tokens != 0 and length % (tokens - 1) == 0)


def _tokens(count: int, spatial: tuple[int, ...]) -> Form | None:
    """The grid of a sequence: whole patches first, then up to rounding; fewest tokens in front."""
    grids = [
        (prefix, _grid(count - prefix, spatial))
        for prefix in range(_PREFIX)
        if prefix < 2 or 8 * prefix < count
    ]
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
