"""Activations of named layers and the gradients at them, in one pass of the model."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib._arguments import near
from attrib.engine.gradient.differentiate import Rows, flows_to, has_batch_norm
from attrib.engine.gradient.passes import Passes
from attrib.engine.graph import transformed
from attrib.engine.model.function import (
    comparing,
    in_reentrant_checkpoint,
    inside_checkpoint,
    refuse_checkpoint,
    refuse_without_derivative,
)
from attrib.engine.model.parameters import Model, modules

Layer = str | nn.Module
Call = int | str | None  # number of a call of a layer, "all", or None where there is one
See = Callable[[str, Any], Any]  # name and output of a layer -> what it returns instead, or None

_HANDLES = threading.Lock()  # torch numbers its hooks without one


@contextmanager
def tapped(parts: Mapping[str, nn.Module], see: See, compared: bool = False) -> Iterator[None]:
    """Show `see` the outputs of some modules that this thread runs; no hook stays behind.

    Other threads that run the same modules meanwhile go on undisturbed: the hook looks who is calling. So do calls that
    only compare the model with itself, unless the model is one with the hook: `compared`.
    """
    me = threading.get_ident()

    def hook(name: str) -> Callable:
        def look(module: nn.Module, args: Any, output: Any) -> Any:
            mine = threading.get_ident() == me and (compared or not comparing())
            return see(name, output) if mine else None

        return look

    handles = []
    try:
        with _HANDLES:
            for name, part in parts.items():
                if isinstance(part, torch.jit.ScriptModule):
                    raise ValueError(
                        f"`layer` {name!r} is a part of a scripted program, which runs without hooks; pass the module that was scripted"
                    )
                handles.append(part.register_forward_hook(hook(name)))
        yield
    finally:
        with _HANDLES:
            for handle in handles:
                handle.remove()


def samples_first(see: See, n: int, second: bool = False, turned: set[str] | None = None) -> See:
    """`see` is shown outputs (n, ...) also where samples are the second dim; what it returns is turned back.

    Of a tuple it is shown the only tensor with positions, such as the states beside a scale, or beside no weights. Where there are as
    many samples as positions, `second` tells; `turned` collects the layers that sizes told.
    """

    def look(name: str, output: Any) -> Any:
        if type(output) is tuple:
            with_positions = [
                k
                for k, t in enumerate(output)
                if isinstance(t, Tensor) and t.is_floating_point() and t.ndim > 2
            ]
            if len(with_positions) == 1:
                (k,) = with_positions
                seen = look(name, output[k])
                return None if seen is None else (*output[:k], seen, *output[k + 1 :])
        several = isinstance(output, Tensor) and output.ndim > 2 and output.shape[1] == n
        if not several or (len(output) == n and not second):
            return see(name, output)
        if turned is not None:
            turned.add(name)
        seen = see(name, output.transpose(0, 1))
        return None if seen is None else seen.transpose(0, 1)

    return look


def not_in_the_model(model: Model, layer: Layer) -> str:
    """What to say of a layer that a model does not have: with the nearest names, or those that end as it does."""
    names = list(named_layers(model))
    ends = [n for n in names if n.rpartition(".")[2] == str(layer).rpartition(".")[2]]
    meant = f"; did you mean {ends[0]!r}?" if ends else near(layer, names, 3)
    return f"`layer` {layer!r} is not in the model{meant}"


def named_layers(model: Model) -> dict[str, nn.Module]:
    """Every layer of the modules that a callable is made of, by dotted name; two modules' names may coincide."""
    layers: dict[str, nn.Module] = {}
    for root in modules(model):
        for name, part in root.named_modules():
            if name:
                layers.setdefault(name, part)
    return layers


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
    namesakes = {id(r[layer]): r[layer] for r in roots if layer and layer in r}
    if len(namesakes) > 1:
        raise ValueError(
            f"`layer` {layer!r} is a name in {len(namesakes)} modules; pass the module itself: layer=net.{layer}"
        )
    return next(((layer, part) for part in namesakes.values()), None)


class Site(NamedTuple):
    """One call of a layer.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
    call : int, optional
        Its number; None where the model calls the layer once.
    second : bool
        Whether samples are the second dim of its output, as in transformers with ``batch_first=False``. Sizes tell it too,
        but where there are as many samples as positions.
    """

    name: str
    module: nn.Module
    call: int | None = None
    second: bool = False


class LayerPass:
    """One chunk's pass through a model: scores, activations at some layers, and the gradients at them.

    Attributes
    ----------
    scores : Tensor (T, rows)
    activations : list of Tensor (rows, ...)
        One per layer and call.
    """

    def __init__(
        self, passes: Passes, y: Tensor, i: Tensor, sites: Sequence[Site], leaves: list[Tensor]
    ) -> None:
        self._passes, self._y, self._i, self._sites, self._leaves = passes, y, i, sites, leaves
        self.activations = [a.detach()[: len(i)] for a in leaves]
        self.scores = passes.score(y.detach()[: len(i)], i, at_inputs=True)

    def gradients(self) -> Iterator[list[Tensor]]:
        """Gradients (targets, rows, ...) per layer, some targets at a time.

        Raises
        ------
        OffPath
            If no gradient path leads from the output to a layer.
        """
        count, rows = len(self.scores), len(self._i)
        block = max(1, self._passes.batches.chunk() // rows)
        for first in range(0, count, block):
            targets = slice(first, min(count, first + block))
            cotangents = self._passes.score.cotangents(self._y.detach()[:rows], self._i, targets)
            if len(self._y) > rows:  # a single row and its copy
                cotangents = torch.cat([cotangents, torch.zeros_like(cotangents)], 1)
            gradients = self._pulled(cotangents)
            cut = [site.name for site, g in zip(self._sites, gradients, strict=True) if g is None]
            if cut:
                raise OffPath(cut[0], "no gradient path leads from the output back to it")
            # of the first samples alone: a look at values makes a GPU wait
            if first == 0 and int(self._i[0]) == 0:
                self._refuse_flat(gradients)
            yield [g[:, :rows] for g in gradients if g is not None]

    def _refuse_flat(self, gradients: Sequence[Tensor | None]) -> None:
        """Raise an `OffPath` where gradients are zero because every path back is cut, not because a ReLU is closed."""
        for site, leaf, g in zip(self._sites, self._leaves, gradients, strict=True):
            if g is not None and not bool(g.any()) and not flows_to(self._y, leaf):
                raise OffPath(
                    site.name,
                    "no gradient path leads from the output back to it but through rounding or signs, whose derivative is zero",
                )

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
            return [None if gs[0] is None else torch.stack(gs) for gs in zip(*each, strict=True)]  # type: ignore[arg-type]

    def _grad(self, cotangent: Tensor, **options: Any) -> list[Tensor | None]:
        try:
            return list(
                torch.autograd.grad(
                    self._y, self._leaves, cotangent, retain_graph=True, allow_unused=True, **options
                )
            )
        except RuntimeError as error:
            refuse_checkpoint(error)
            refuse_without_derivative(error)
            raise


class OffPath(ValueError):
    """A layer that cannot be explained; whoever catches it adds the names of layers that can.

    Attributes
    ----------
    layer, why : str
    """

    def __init__(self, layer: str, why: str) -> None:
        super().__init__(f"`layer` {layer!r}: {why}")
        self.layer, self.why = layer, why


def refuse_transforms() -> None:
    """Raise a NotImplementedError under a `torch.func` transform: hooks do not see what it traces."""
    if transformed():
        raise NotImplementedError(
            "gradients at a layer cannot be differentiated again: torch.func transforms do not reach into the model there; "
            "explain the input, or the part of the model behind the layer"
        )


def pass_through(passes: Passes, sites: Sequence[Site], rows: Rows, i: Tensor) -> LayerPass:
    """Run the model on some rows up to the layers without a graph, and from there on with one.

    The first layer's output goes on as a leaf of the graph, so that nothing before it is recorded; layers behind it
    are on its graph.

    Parameters
    ----------
    passes : Passes
        Entered.
    sites : sequence of Site
        The layers and their calls.
    rows : tuple of Tensor (rows, ...)
        Inputs.
    i : Tensor (rows,)
        Their samples.

    Raises
    ------
    OffPath
        If a layer is not called as often as its site says, or returns something else than a float tensor (rows, ...).
    NotImplementedError
        Under a `torch.func` transform.
    """
    refuse_transforms()
    y, leaves = _from_layers(passes, sites, rows, i)
    if not y.requires_grad:  # where the model itself turns gradients off and on, as for a frozen part
        y, leaves = _from_layers(passes, sites, rows, i, recorded=True)
    may_double = len(i) == 1 and rows[0].is_cpu and not passes.function.knowledge.sizes_fixed
    if may_double and y.grad_fn is not None and has_batch_norm(y.grad_fn):
        # torch's pass back through it is wrong for one row
        y, leaves = _from_layers(passes, sites, tuple(torch.cat([r, r]) for r in rows), i)
    return LayerPass(passes, y, i, sites, leaves)


def _from_layers(
    passes: Passes, sites: Sequence[Site], rows: Rows, i: Tensor, recorded: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """The output, and the layers' outputs on its graph; whether the model begins with gradients on."""
    leaves: dict[Site, Tensor] = {}
    apart: set[Site] = set()

    def leaf(site: Site, output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        if in_reentrant_checkpoint():
            apart.add(site)
        leaves[site] = output if leaves and output.requires_grad else output.detach().requires_grad_()
        return leaves[site].clone()  # the next layer may write to it

    with (
        torch.set_grad_enabled(recorded),
        at_sites(sites, len(rows[0]), leaf),
    ):  # on leaving, the grad mode is as it was
        y = passes.function(*rows, samples=i)
    if apart and not y.requires_grad:
        raise inside_checkpoint(apart.pop().name)
    return y, [leaves[site] for site in sites]


def activations(passes: Passes, sites: Sequence[Site], rows: Rows, i: Tensor) -> list[Tensor]:
    """Outputs (rows, ...) of some layers, without gradients; the errors are those of `pass_through`."""
    outputs: dict[Site, Tensor] = {}

    def keep(site: Site, output: Tensor) -> None:
        outputs[site] = output.detach().clone()

    with torch.no_grad(), at_sites(sites, len(rows[0]), keep):
        passes.function(*rows, samples=i)
    return [outputs[site] for site in sites]


@contextmanager
def at_sites(sites: Sequence[Site], n: int, see: Callable[[Site, Tensor], Tensor | None]) -> Iterator[None]:
    """Show `see` the outputs at some sites while the model runs `n` rows; each must come once."""
    calls = {site.name: 0 for site in sites}
    by_call = {(site.name, site.call or 0): site for site in sites}

    def look(name: str, output: Any) -> Tensor | None:
        site = by_call.get((name, calls[name]))
        calls[name] += 1
        if site is None:
            return None

        def checked(name: str, output: Any) -> Tensor | None:
            check_output(name, output, n)
            return see(site, output)

        return samples_first(checked, n, site.second)(name, output)

    with tapped({site.name: site.module for site in sites}, look):
        yield
    for site in sites:
        check_calls(site, calls[site.name])


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


def check_calls(site: Site, count: int) -> None:
    """Raise `OffPath` for a layer that the model calls `count` times, and not as its site says."""
    name, call = site.name, site.call
    if count == 0:
        raise OffPath(
            name, "the model does not call it (compiled and exported models run without their modules)"
        )
    if call is None and count > 1:
        raise OffPath(
            name,
            f"the model calls it {count} times, so that its output is not one map; pass call=0 to {count - 1} for one of "
            'them, or call="all"',
        )
    if call is not None and call >= count:
        raise OffPath(name, f"`call` is {call}, but the model calls it {count} times; the first is call=0")
