"""A wide linear first layer, taken out of the way: straight lines in the input stay straight behind it.

Between baseline and input the rows are ``x0 + alpha (x - x0)``. If all that the model does with its input is to hand it to
one linear layer A, then ``A(row) = A(x0) + alpha (A(x) - A(x0))``: A runs twice per sample instead of once per step, and
its transpose once, on the sum of the gradients behind it. On a network of 20,000 genes that is most of the work.

Both conditions are tried, not assumed. The layer has to be handed the input itself: the same memory, so that no op stands in
between. And the model has to give the same outputs when its input is NaN or infinite, and the layer's output is put in by a
hook: then the input goes nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.gradient.differentiate import Rows
from attrib.engine.gradient.passes import Passes, Points
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import moved, of_samples
from attrib.engine.model.function import once, one_tensor

WIDE = 512  # features from which on the layer is most of a dense network's work
ENOUGH = 4  # rows per sample from which on the trial pays
_HOOKS = threading.Lock()  # torch numbers its hooks without one


class FirstLayer:
    """A model's linear first layer, and the model behind it.

    Parameters
    ----------
    model : callable
    layer : Linear
        Takes samples laid flat.
    shape : tuple of int
        Of a sample.
    """

    def __init__(self, model: Callable[..., Any], layer: nn.Linear, shape: torch.Size) -> None:
        self._model, self._layer, self._shape = model, layer, shape
        self.widens = layer.out_features > layer.in_features

    def __call__(self, rows: Tensor) -> Tensor:
        """The layer's output (rows, features)."""
        return self._layer(rows.reshape(len(rows), -1))

    def back(self, gradients: Tensor) -> Tensor:
        """Gradients (T, rows, features) at the output, taken to the input."""
        return (gradients @ self._layer.weight).view(*gradients.shape[:2], *self._shape)

    def behind(self, h: Tensor, *extra: Any, **named: Any) -> Any:
        """The rest of the model, as a function of the layer's output, and of what the model takes beside its input."""
        nowhere = h.new_full((1,) * (len(self._shape) + 1), torch.nan)
        return self.behind_with(nowhere, h, *extra, **named)

    def behind_with(self, nowhere: Tensor, h: Tensor, /, *extra: Any, **named: Any) -> Any:
        """The same, `nowhere` (rows, ...) standing in for the input."""
        calls: list[int] = []

        def before(args: tuple) -> tuple:
            return (args[0][:0],)

        def after(output: Tensor) -> Tensor:
            calls.append(len(calls))
            return h if calls == [0] else output.new_full((len(h), output.shape[-1]), torch.nan)

        call = lambda rows: self._model(rows, *extra, **named)
        return self._hooked(call, nowhere.expand(len(h), *self._shape), before, after)

    def outputs(self, call: Callable[..., Tensor], rows: Tensor) -> Tensor | None:
        """The model's outputs by `call`; None if the layer is not handed these rows themselves, laid flat."""
        alike: list[bool] = []

        def before(args: tuple) -> None:
            t = args[0]
            alike.append(t.data_ptr() == rows.data_ptr() and t.numel() == rows.numel() and t.is_contiguous())

        y = self._hooked(call, rows, before, lambda output: None)
        return y if alike == [True] else None

    def _hooked(
        self,
        call: Callable[..., Any],
        rows: Tensor,
        before: Callable[[tuple], Any],
        after: Callable[[Tensor], Any],
    ) -> Any:
        """A call of the model, with hooks on the layer in this thread."""
        me = threading.get_ident()

        def pre(module: nn.Module, args: tuple) -> Any:
            return before(args) if threading.get_ident() == me else None

        def post(module: nn.Module, args: tuple, output: Tensor) -> Any:
            return after(output) if threading.get_ident() == me else None

        with _HOOKS:
            hooks = self._layer.register_forward_pre_hook(pre), self._layer.register_forward_hook(post)
        try:
            return call(rows)
        finally:
            with _HOOKS:
                for hook in hooks:
                    hook.remove()


def affine_first_layer(
    passes: Passes, xs: Rows, elsewhere: Tensor, steps: int, *, wide_rows: bool = False
) -> FirstLayer | None:
    """The first layer, where it is wide, linear and provably alone; `passes` then go on with the model behind it.

    Parameters
    ----------
    passes : Passes
        Entered.
    xs : tuple of Tensor
        The inputs. Several are left as they are, and so are those of a `torch.func` transform, which has to see the layer.
    elsewhere : Tensor (1, ...) or (N, ...)
        Where else the model will be called: what is tried is tried there too.
    steps : int
        Rows per sample.
    wide_rows : bool
        Whether sums over a chunk's rows are kept at the layer's output for all samples. A layer whose output is wider than
        its input is then left in its place: its sums would take more memory than the result.
    """
    if len(xs) > 1 or steps < ENOUGH or transformed():
        return None
    knowledge = passes.function.knowledge
    if knowledge.first_layer == "unknown":
        knowledge.first_layer = _wide_and_alone(passes, xs[0], elsewhere)
    layer = knowledge.first_layer
    if layer is None or (wide_rows and layer.widens):
        return None
    passes.function.model = layer.behind
    return layer


def _wide_and_alone(passes: Passes, x: Tensor, elsewhere: Tensor) -> FirstLayer | None:
    with_weights = (p for p in passes.function.parts if p._parameters)
    layer = next(with_weights, None)
    if type(layer) is not nn.Linear or layer.in_features < WIDE or x[0].numel() != layer.in_features:
        return None
    if layer._forward_hooks or layer._forward_pre_hooks:
        return None
    first = FirstLayer(passes.function.model, layer, x.shape[1:])
    ends = of_samples(x[:2], torch.arange(min(2, len(x))), passes.device).expand(2, *x.shape[1:])
    starts = of_samples(elsewhere[:2], torch.arange(min(2, len(elsewhere))), passes.device).expand_as(ends)
    points = torch.cat([ends, (ends + starts) / 2])
    nowhere = points.new_tensor([torch.nan, torch.inf, -torch.inf, torch.nan]).view(-1, *[1] * (x.ndim - 1))
    size = passes.batches.chunk()
    samples = torch.arange(len(points)) % 2 % len(x)
    try:
        for rows, values, i in zip(points.split(size), nowhere.split(size), samples.split(size), strict=True):
            y = first.outputs(partial(passes.function, samples=i), rows)
            extra, named = passes.companions.at(i, rows)
            with torch.enable_grad(), once("a checkpoint would run the layer again without its hooks"):
                behind = one_tensor(first.behind_with(values, first(rows), *extra, **named), len(rows))
            if y is None or not _equal(behind.detach(), y):
                return None
    except Exception:  # whatever a model does with an input of NaN: it is then not taken apart
        return None
    return first


def _equal(a: Tensor, b: Tensor) -> bool:
    tolerance = 100 * torch.finfo(b.dtype).eps * float(b.abs().max())
    return a.shape == b.shape and bool(torch.allclose(a, b, rtol=0, atol=tolerance))


class Lines:
    """Straight lines from the baselines to the inputs of a group of samples, walked before or behind the first layer.

    Parameters
    ----------
    xs, x0s : tuple of Tensor
        Inputs (N, ...) and baselines (1, ...) or (N, ...).
    samples : range
        The group.
    device : torch.device
        Where to walk.
    layer : FirstLayer, optional
        Given if the lines shall run behind it.

    Attributes
    ----------
    samples : range
    difference : tuple of Tensor (n, ...)
        End minus start.
    """

    def __init__(
        self, xs: Rows, x0s: Rows, samples: range, device: torch.device, layer: FirstLayer | None
    ) -> None:
        i = torch.arange(samples.start, samples.stop)
        self.samples, self._layer = samples, layer
        ends = tuple(of_samples(t, i, device) for t in xs)
        self._starts = tuple(of_samples(b, i, device) for b in x0s)
        if layer is not None:
            self._starts = (layer(self._starts[0].expand(-1, *ends[0].shape[1:])),)
            ends = (layer(ends[0]),)
        self.difference = tuple(e - s for e, s in zip(ends, self._starts, strict=True))

    def points(self, nodes: Tensor) -> Points:
        """Rows at `nodes` (steps,) on each line."""

        def rows(i: Tensor, k: Tensor) -> Rows:
            at = i - self.samples.start
            points = []
            for s, d in zip(self._starts, self.difference, strict=True):
                alpha = moved(nodes[k], d.device, d.dtype).view(-1, *[1] * (d.ndim - 1))
                here = moved(at, d.device)
                points.append((s if len(s) == 1 else s[here]) + alpha * d[here])
            return tuple(points)

        return rows

    def change(self, mean: Rows) -> Tensor:
        """What average gradients (T, n, ...) account for: (T, n)."""
        products = (
            (m * d).reshape(*m.shape[:2], -1).sum(2) for m, d in zip(mean, self.difference, strict=True)
        )
        return torch.stack(list(products)).sum(0)

    def at_input(self, mean: Rows) -> Rows:
        """Average gradients at the input."""
        return mean if self._layer is None else (self._layer.back(mean[0]),)


def straight_lines(passes: Passes, xs: Rows, x0s: Rows, steps: int) -> Iterator[Lines]:
    """The lines of all samples, in groups of as many as there are rows in a call, so that memory stays bounded."""
    size = passes.batches.chunk(passes.share())
    layer = affine_first_layer(passes, xs, x0s[0], steps)
    for start in range(0, len(xs[0]), size):
        yield Lines(xs, x0s, range(start, min(len(xs[0]), start + size)), passes.device, layer)
