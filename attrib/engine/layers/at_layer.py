"""Activations of named layers and the gradients at them, in one pass of the model."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.gradient.passes import Passes
from attrib.engine.graph import transformed
from attrib.engine.model.parameters import Model, modules

Rows = tuple[Tensor, ...]
Layer = str | nn.Module
See = Callable[[str, Any], Any]  # name and output of a layer -> what it returns instead, or None

_HANDLES = threading.Lock()  # torch numbers its hooks without one


@contextmanager
def tapped(parts: Mapping[str, nn.Module], see: See) -> Iterator[None]:
    """Show `see` the outputs of some modules that this thread runs; no hook stays behind.

    Other threads that run the same modules meanwhile go on undisturbed: the hook looks who is calling.
    """
    me = threading.get_ident()

    def hook(name: str) -> Callable:
        return lambda module, args, output: see(name, output) if threading.get_ident() == me else None

    handles = []
    try:
        with _HANDLES:
            for name, part in parts.items():
                handles.append(part.register_forward_hook(hook(name)))
        yield
    finally:
        with _HANDLES:
            for handle in handles:
                handle.remove()


def named_layers(model: Model) -> dict[str, nn.Module]:
    """Every layer of the modules that a callable is made of, by dotted name; two modules' names may coincide."""
    found: dict[str, nn.Module] = {}
    for root in modules(model):
        for name, part in root.named_modules():
            if name:
                found.setdefault(name, part)
    return found


def find_layer(model: Model, layer: Layer) -> tuple[str, nn.Module] | None:
    """Name and module of a layer given by either; None if there is no layer of that name.

    Raises
    ------
    TypeError
        For anything but a dotted name or a module.
    ValueError
        If the name stands for different layers of several modules.
    """
    if isinstance(layer, nn.Module):
        names = [n for n, part in named_layers(model).items() if part is layer]
        return (names[0] if names else type(layer).__name__), layer
    if not isinstance(layer, str):
        raise TypeError(
            f'`layer` is a {type(layer).__name__}, expected a dotted name, a torch.nn.Module, "auto", or a list'
        )
    roots = [dict(root.named_modules(remove_duplicate=False)) for root in modules(model)]
    found = {id(r[layer]): r[layer] for r in roots if layer and layer in r}
    if len(found) > 1:
        raise ValueError(
            f"`layer` {layer!r} is a name in {len(found)} modules; pass the module itself: layer=net.{layer}"
        )
    return next(((layer, part) for part in found.values()), None)


class Taken:
    """One chunk's pass: scores, activations, and the gradients at them.

    Attributes
    ----------
    scores : Tensor (T, rows)
    activations : list of Tensor (rows, ...)
        One per layer.
    """

    def __init__(
        self, passes: Passes, y: Tensor, i: Tensor, names: Sequence[str], found: list[Tensor]
    ) -> None:
        self._kernel, self._y, self._i, self._names, self._leaves = passes, y, i, names, found
        self.activations = [a.detach() for a in found]
        self.scores = passes.score(y.detach(), i, at_inputs=True)

    def gradients(self) -> Iterator[tuple[slice, list[Tensor]]]:
        """Gradients (targets, rows, ...) per layer, some targets at a time.

        Raises
        ------
        ValueError
            If no gradient path leads from the output to a layer.
        """
        count, rows = len(self.scores), len(self._i)
        block = max(1, self._kernel.batches.chunk() // rows)
        for first in range(0, count, block):
            some = slice(first, min(count, first + block))
            cotangents = self._kernel.score.cotangents(self._y.detach(), self._i, some)
            found = self._pulled(cotangents)
            lost = [n for n, g in zip(self._names, found, strict=True) if g is None]
            if lost:
                raise OffPath(lost[0], "no gradient path leads from the output back to it")
            yield some, [g for g in found if g is not None]

    def _pulled(self, cotangents: Tensor) -> list[Tensor | None]:
        if not self._y.requires_grad:
            return [None] * len(self._leaves)
        if len(cotangents) == 1:
            return [None if g is None else g[None] for g in self._grad(cotangents[0])]
        try:
            with warnings.catch_warnings():  # vmap warns of slow fallbacks on its way to failing
                warnings.simplefilter("ignore", UserWarning)
                return self._grad(cotangents, is_grads_batched=True)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):  # an autograd.Function without a rule for vmap
            each = [self._grad(c) for c in cotangents]
            return [None if gs[0] is None else torch.stack(gs) for gs in zip(*each, strict=True)]

    def _grad(self, cotangent: Tensor, **how: Any) -> list[Tensor | None]:
        return list(
            torch.autograd.grad(self._y, self._leaves, cotangent, retain_graph=True, allow_unused=True, **how)
        )


class OffPath(ValueError):
    """A layer that cannot be explained; whoever catches it adds the names of layers that can.

    Attributes
    ----------
    layer, why : str
    """

    def __init__(self, layer: str, why: str) -> None:
        super().__init__(f"`layer` {layer!r}: {why}")
        self.layer, self.why = layer, why


def take(passes: Passes, parts: Mapping[str, nn.Module], rows: Rows, i: Tensor) -> Taken:
    """Run the model on some rows up to the layers without a graph, and from there on with one.

    The first layer's output goes on as a leaf of the graph, so that nothing before it is recorded; layers behind it
    are found on its graph.

    Parameters
    ----------
    passes : Passes
        Entered.
    parts : mapping
        The layers by name.
    rows : tuple of Tensor (rows, ...)
        Inputs.
    i : Tensor (rows,)
        Their samples.

    Raises
    ------
    OffPath
        If a layer is not called, is called more than once, or returns something else than a float tensor (rows, ...).
    NotImplementedError
        Under a `torch.func` transform.
    """
    if transformed():
        raise NotImplementedError(
            "gradients at a layer cannot be differentiated again: torch.func transforms do not reach into the model there; "
            "explain the input, or the part of the model behind the layer"
        )
    found: dict[str, Tensor] = {}
    calls = dict.fromkeys(parts, 0)

    def see(name: str, output: Any) -> Tensor | None:
        calls[name] += 1
        if calls[name] > 1:
            return None
        check_output(name, output, len(rows[0]))
        torch.set_grad_enabled(True)
        found[name] = output if found and output.requires_grad else output.detach().requires_grad_()
        return found[name].clone()  # the next layer may write to it

    with torch.no_grad(), tapped(parts, see):  # on leaving, the grad mode is as it was
        y = passes.function(*rows)
    check_calls(calls)
    return Taken(passes, y, i, list(parts), [found[name] for name in parts])


def activations(passes: Passes, parts: Mapping[str, nn.Module], rows: Rows) -> dict[str, Tensor]:
    """Outputs (rows, ...) of some layers, without gradients; the errors are those of `take`."""
    found: dict[str, Tensor] = {}
    calls = dict.fromkeys(parts, 0)

    def see(name: str, output: Any) -> None:
        calls[name] += 1
        if calls[name] == 1:
            check_output(name, output, len(rows[0]))
            found[name] = output.detach().clone()

    with torch.no_grad(), tapped(parts, see):
        passes.function(*rows)
    check_calls(calls)
    return found


def check_output(name: str, output: Any, n: int) -> None:
    """Raise `OffPath` unless a layer's output is a float tensor with a row for each of `n`."""
    if not isinstance(output, Tensor):
        raise OffPath(
            name, f"it returns a {type(output).__name__}, expected a tensor; choose a layer inside it"
        )
    if not output.is_floating_point() or output.ndim == 0 or len(output) != n:
        raise OffPath(
            name, f"it returns {output.dtype} of shape {tuple(output.shape)}, expected floats ({n}, ...)"
        )


def check_calls(calls: Mapping[str, int]) -> None:
    """Raise `OffPath` for a layer that did not run exactly once."""
    for name, count in calls.items():
        if count == 0:
            raise OffPath(
                name, "the model does not call it (compiled and exported models run without their modules)"
            )
        if count > 1:
            raise OffPath(name, f"the model calls it {count} times, so that its output is not one map")
