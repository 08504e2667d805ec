"""An affine first layer set apart: rows run through it here, and the kernel goes on with the rest of the model."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.func import vjp, vmap

from attrib.engine.contents import Model
from attrib.engine.gradients import Kernel
from attrib.engine.graph.modes import transformed, untracked
from attrib.engine.inputs import of_samples
from attrib.engine.pullback import Rows
from attrib.engine.straight import behind_first_layer, first_layer, goes_straight


class FirstLayer:
    """A model's affine first layer and its transpose.

    Parameters
    ----------
    model : callable
        A model that `goes_straight`.
    x : Tensor (1, ...)
        Any sample, on the model's device.
    """

    def __init__(self, model: Model, x: Tensor) -> None:
        self._layer = partial(first_layer, model)
        with untracked():
            h, self._pull = vjp(self._layer, x)[:2]
        self.widens = h.numel() > x.numel()

    def __call__(self, rows: Tensor) -> Tensor:
        """The layer's output."""
        with untracked():
            return self._layer(rows)

    def back(self, grads: Tensor) -> Tensor:
        """Gradients (T, rows, ...) at the output, taken to the input; an affine layer does that alike for all rows."""
        with untracked():
            pulled = vmap(lambda g: self._pull(g[None])[0][0])(grads.flatten(0, 1))
        return pulled.unflatten(0, grads.shape[:2])


def set_apart(kernel: Kernel, xs: Rows, other: Tensor, *, same_rows: bool = False) -> FirstLayer | None:
    """The first layer, where it is provably alone; `kernel` then goes on with the rest of the model.

    Parameters
    ----------
    kernel : Kernel
        After it has seen the inputs.
    xs : tuple of Tensor
        The inputs. Several are left as they are, and so are those of a `torch.func` transform, which has to see the layer.
    other : Tensor (1, ...) or (N, ...)
        Where else the model will be called: what is tried is tried there too.
    same_rows : bool
        Whether a chunk's rows are still made at the input, so that there can be no more of them than before. A layer
        whose output is wider than its input is then left in its place: its sums would take more memory than the result.
    """
    if len(xs) > 1 or transformed():
        return None
    model, i = kernel.function.model, torch.arange(min(2, len(xs[0])))
    x = of_samples(xs[0], i, kernel.device)
    if not goes_straight(model, x, of_samples(other, i, kernel.device).expand_as(x), kernel.batches.chunk()):
        return None
    layer = FirstLayer(model, x[:1])
    if same_rows and layer.widens:
        return None
    kernel.go_on_with(behind_first_layer(model, x.shape[1:]), same_rows=same_rows)
    return layer
