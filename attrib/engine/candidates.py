"""Which layers of a model have maps: to choose one, and to name them where the caller's does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.engine.gradients import Kernel
from attrib.engine.grids import Form, form_of
from attrib.engine.layers import Layer, OffPath, Rows, find_layer, named_layers, tapped

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


def candidates(kernel: Kernel, rows: Rows, onto: int = 0) -> tuple[list[Candidate], Tensor]:
    """Layers with maps in the order in which they finish, and the model's output, for the first of some rows."""
    parts = named_layers(kernel.function.model)
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

    leaves = tuple(r[:1].detach().requires_grad_() for r in rows)
    with torch.enable_grad(), tapped(parts, see):
        y = kernel.function(*(leaf.clone() for leaf in leaves))
    found = []
    for name, output in last.items():
        form = _form(parts[name], output, rows[onto])
        if form is not None and output is not y:
            found.append(Candidate(name, parts[name], output, form))
    return found, y


def _form(part: nn.Module, output: Tensor, x: Tensor) -> Form | None:
    if output.ndim < 3 or len(output) != 1:
        return None
    form = form_of(output.shape, part, x.shape)
    return form if form is not None and math.prod(form.grid) > 1 else None


def last_map(found: Sequence[Candidate], y: Tensor) -> Candidate | None:
    """The last layer on whose positions the output depends; among layers of tokens, the last block or norm.

    (Behind the last attention of a transformer with a class token, the output depends on that token alone.)
    """
    if not y.requires_grad:
        return None
    along = torch.cos(torch.arange(y.numel(), dtype=y.dtype, device=y.device)).view_as(y)
    for c in reversed(found):
        if c.form.order == "tokens" and not _is_stage(c.module):
            continue
        g = torch.autograd.grad(y, c.output, along, retain_graph=True, allow_unused=True)[0]
        if g is not None and bool(c.form(g).any()):
            return c
    return None


def _is_stage(part: nn.Module) -> bool:
    return any(True for _ in part.children()) or "norm" in type(part).__name__.lower()


def layers_of(kernel: Kernel, layer: Layer, rows: Rows, onto: int = 0) -> tuple[str, nn.Module]:
    """Name and module of the layer that the caller means.

    Raises
    ------
    ValueError
        If there is no such layer, or none that `"auto"` could choose; the message lists layers with maps.
    """
    if isinstance(layer, str) and layer == AUTO:
        found, y = candidates(kernel, rows, onto)
        best = last_map(found, y)
        if best is None:
            raise ValueError(
                '`layer` is "auto", but no layer has spatial dims on which the output depends; '
                f"pass a layer by name, with reshape= to put it in image form{listing(found)}"
            )
        return best.name, best.module
    named = find_layer(kernel.function.model, layer)
    if named is None:
        near = get_close_matches(str(layer), named_layers(kernel.function.model), 3)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"`layer` {layer!r} is not in the model{meant}{listing(_tried(kernel, rows, onto))}")
    return named


def explained(error: OffPath, kernel: Kernel, rows: Rows, onto: int = 0) -> ValueError:
    """The error with the layers that could be chosen instead."""
    return ValueError(f"{error}{listing(_tried(kernel, rows, onto))}")


def _tried(kernel: Kernel, rows: Rows, onto: int) -> list[Candidate]:
    return candidates(kernel, rows, onto)[0]


def listing(found: Sequence[Candidate]) -> str:
    """The last few layers with maps, as the end of a message."""
    if not found:
        return "; no layer of the model has a map"
    shown = [f"{c.name} ({' x '.join(map(str, c.form.grid))})" for c in found[-10:]]
    return f"; layers with maps: {'..., ' * (len(found) > 10)}{', '.join(shown)}"
