"""Which layers of a model have maps: those that the caller names, or the last one whose positions are the input's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrib.engine.gradient.passes import Passes
from attrib.engine.layers.at_layer import (
    Call,
    Layer,
    OffPath,
    Rows,
    Site,
    find_layer,
    named_layers,
    not_in_the_model,
    samples_first,
    tapped,
)
from attrib.engine.layers.image_form import Form, form_by_types
from attrib.engine.layers.positions import DIFFUSE, REFUSED, UNMOVED, Placement, Trial, moved, responses
from attrib.engine.model.function import refuse_checkpoint, refuse_without_derivative
from attrib.engine.model.parameters import External, modules

AUTO = "auto"
_LISTED = 10  # layers that a message names
_FEW = 8  # channels that may be scores of strands and tasks; more are features
_WEIGHED = {
    F.linear,
    F.multi_head_attention_forward,
    F.layer_norm,
    F.rms_norm,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
}
_SAME = 1e-5  # part of what single changes of the score add up to, below which the score is the same


class MapLayer(NamedTuple):
    """A call of a layer, and how its output becomes an image.

    Attributes
    ----------
    site : Site
    placement : Placement, optional
        None where the layer gave nothing that may have positions.
    choice : str
        Why `"auto"` took it.
    """

    site: Site
    placement: Placement | None
    choice: str = ""

    def form(self, shape: Sequence[int], inputs: Sequence[int]) -> Form:
        """The form of an output of `shape`.

        Raises
        ------
        OffPath
            If there is none.
        """
        if self.placement is None:
            likely = form_by_types(shape, self.site.module, inputs)
            reason = f"its output {tuple(shape)} has no image form for inputs {tuple(inputs)}"
        else:
            likely, reason = self.placement.form, self.placement.reason
        if likely is None:
            raise OffPath(self.site.name, f"{reason}; pass reshape=")
        return likely


class Candidate(NamedTuple):
    """A call of a layer whose output may be a map.

    Attributes
    ----------
    site : Site
    output : Tensor (1, ...)
        On the graph of the model's output.
    gradient : Tensor (1, ...), optional
        Of a combination of all the model's outputs; None where these do not depend on it.
    """

    site: Site
    output: Tensor
    gradient: Tensor | None

    @property
    def key(self) -> tuple[str, int]:
        """Name and number of the call."""
        return self.site.name, self.site.call or 0


def map_layers(
    passes: Passes,
    layers: Sequence[Layer],
    tried: Callable[[], Rows],
    onto: int = 0,
    *,
    call: Call = None,
    tested: bool = True,
) -> list[MapLayer]:
    """The layers that the caller means, one call of each, or all calls if `call` is "all".

    Parameters
    ----------
    passes : Passes
        Entered.
    layers : sequence of str or torch.nn.Module
    tried : callable
        Gives inputs (rows, ...), of which the first is tried; not called where the layers are known.
    onto : int
        The input that the map lies on.
    call : int or "all", optional
        Number of the call.
    tested : bool
        Whether the image form of named layers is asked for; of `"auto"` it always is.

    Raises
    ------
    ValueError
        If there is no such layer, or none that `"auto"` could choose; the message lists layers with maps.
    """
    remembered = passes.function.knowledge.map_layers
    key = tuple(n if isinstance(n, str) else id(n) for n in layers), onto, call, tested
    if key not in remembered:
        rows = tried()
        named = [n for n in layers if not _is_auto(n)]
        pairs = iter(_named(passes, named, rows, onto, call, tested) if named else ())
        remembered[key] = [
            m for n in layers for m in ([_last_map(passes, rows, onto, call)] if _is_auto(n) else next(pairs))
        ]
    return list(remembered[key])


def _is_auto(layer: Layer) -> bool:
    return isinstance(layer, str) and layer == AUTO


def _named(
    passes: Passes, layers: Sequence[Layer], rows: Rows, onto: int, call: Call, tested: bool
) -> list[list[MapLayer]]:
    """The calls of each of some layers, from one trial."""
    pairs = [_find(passes, layer, rows, onto) for layer in layers]
    if not tested and call != "all":
        return [[MapLayer(Site(name, module, call), None)] for name, module in pairs]  # type: ignore[arg-type]
    modules, inputs = dict(pairs), tuple(rows[onto].shape)
    trial = responses(passes, modules, rows, onto)

    def placed(name: str, call: int | None) -> Placement | None:
        key = name, call or 0
        placement = None if trial is None else trial.placement(key, modules[name], inputs)
        if placement is not None and placement.tested and placement.form is not None:
            site = Site(name, modules[name], call, trial is not None and name in trial.turned)
            stands_alone = _begins_as_its_own(site, placement.form, passes, rows, onto)
            return Placement(None, True, _OWN) if stands_alone else placement
        if placement != Placement(None, False, DIFFUSE):
            return placement
        everywhere = named_layers(passes.function.model)
        wide = responses(passes, everywhere, rows, onto)
        if wide is None or wide.like_others(key, everywhere, inputs) is None:
            return placement
        outputs, _ = candidates(passes, rows)
        return _like_others(wide, key, outputs, inputs) or placement

    each = []
    for name, module in pairs:
        numbers: Sequence[int | None] = [call]  # type: ignore[list-item]
        if call == "all":
            numbers = range(0 if trial is None else trial.calls[name])
        if not numbers:
            raise explained(OffPath(name, "the model does not call it"), passes, rows, onto)
        second = trial is not None and name in trial.turned
        each.append([MapLayer(Site(name, module, k, second), placed(name, k)) for k in numbers])
    return each


def _find(passes: Passes, layer: Layer, rows: Rows, onto: int) -> tuple[str, nn.Module]:
    pair = find_layer(passes.function.model, layer)
    if pair is None:
        raise ValueError(f"{not_in_the_model(passes.function.model, layer)}{listing(passes, rows, onto)}")
    return pair


# ------------------------------------------------------------------ the last map


def candidates(passes: Passes, rows: Rows) -> tuple[list[Candidate], Tensor]:
    """Outputs of layers in the order in which they finish, and the model's output, for the first of some rows."""
    parts = named_layers(passes.function.model)
    outputs: dict[tuple[str, int], Tensor] = {}
    counts = dict.fromkeys(parts, 0)

    def see(name: str, output: Any) -> Tensor | None:
        key = name, counts[name]
        counts[name] += 1
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 3:
            return None
        if len(output) != 1:
            return None
        outputs[key] = output if output.requires_grad else output.detach().requires_grad_()
        return outputs[key].clone()  # the next layer may write to it

    leaves = tuple(r[:1].detach().requires_grad_(r.is_floating_point()) for r in rows)
    turned: set[str] = set()
    with torch.enable_grad(), tapped(parts, samples_first(see, 1, turned=turned)):
        y = passes.function(*(leaf.clone() for leaf in leaves), samples=torch.zeros(1, dtype=torch.long))
    gradients: Sequence[Tensor | None] = [None] * len(outputs)
    if y.requires_grad and outputs:
        along = torch.cos(torch.arange(y.numel(), dtype=y.dtype, device=y.device)).view_as(y)
        try:
            gradients = torch.autograd.grad(
                y, list(outputs.values()), along, retain_graph=True, allow_unused=True
            )
        except RuntimeError as error:
            refuse_checkpoint(error)
            refuse_without_derivative(error)
            raise
    return [
        Candidate(
            Site(name, parts[name], call if counts[name] > 1 else None, name in turned), output, gradient
        )
        for ((name, call), output), gradient in zip(outputs.items(), gradients, strict=True)
    ], y


def _last_map(passes: Passes, rows: Rows, onto: int, call: Call) -> MapLayer:
    """The last layer on the main path whose positions are the input's, and count for the output.

    Of layers in parallel branches that of the main one is taken, see `_main`.
    """
    outputs, y = candidates(passes, rows)
    outputs = [c for c in outputs if c.gradient is not None and bool(c.gradient.any())]
    if isinstance(call, int):
        outputs = [c for c in outputs if (c.site.call or 0) == call]
    parts = {c.site.name: c.site.module for c in outputs}
    trial, inputs = responses(passes, parts, rows, onto), tuple(rows[onto].shape)
    tips: list[MapLayer] = []
    second_choice: list[MapLayer] = []
    passed_over: dict[str, str] = {}
    behind: set[Any] = set()
    for c in reversed(outputs):
        if tips and _node(c.output) in behind:
            continue
        likely = form_by_types(c.output.shape, c.site.module, inputs)
        placement = (
            Placement(likely, False, REFUSED)
            if trial is None
            else trial.placement(c.key, c.site.module, inputs)
        )
        if trial is not None and placement == Placement(None, False, DIFFUSE):
            placement = _like_others(trial, c.key, outputs, inputs) or placement
        reason = _objection(c, placement, likely, y)
        if reason is None and placement is not None and placement.form is not None:
            if trial is not None and _begins_as_its_own(c.site, placement.form, passes, rows, onto):
                reason = _OWN
            elif _interchangeable(c, placement.form, y, passes, rows):
                reason = _HEAD
        if reason is None:
            tips.append(MapLayer(c.site, placement))
            behind |= set(_nodes(c.output))
            continue
        if tips or reason == _PART:
            continue
        passed_over.setdefault(reason, c.site.name)
        may_do = (_HEAD, REFUSED, UNMOVED) if trial is not None and trial.still else (_HEAD, REFUSED)
        if placement is not None and placement.form is not None and reason in may_do:
            second_choice.append(MapLayer(c.site, placement))
    tips = tips or second_choice[:1]
    if not tips:
        raise ValueError(
            '`layer` is "auto", but no layer has positions that follow the input\'s and count for the output; '
            f"pass a layer by name, with reshape= to put it in image form{listing(passes, rows, onto)}"
        )
    best, words = tips[0], "the last layer whose positions are the input's and count for the output"
    if len(tips) > 1 and trial is not None:
        best, why = _main(tips, trial, outputs)
        others = ", ".join(m.site.name for m in tips if m is not best)
        words += f", on the branch {why} (others: {others})"
    if best.placement is not None and best.placement.reason:
        words += f"; not tested by moving the input: {best.placement.reason}"
    if passed_over:
        words += f"; passed over: {', '.join(f'{name} ({reason})' for reason, name in passed_over.items())}"
    return best._replace(choice=words)


def _like_others(
    trial: Trial, key: tuple[str, int], outputs: Sequence[Candidate], inputs: tuple[int, ...]
) -> Placement | None:
    """The placement of another layer of the same shape, for one whose positions all see the whole input.

    None for a decoder: its positions begin as tokens that no input moves, and are its own, though their number may be the input's.
    """
    fixed = {_node(c.output) for c in outputs if not trial.moved(c.key)}
    mine = next((c.output for c in outputs if c.key == key), None)
    if mine is None or not fixed.isdisjoint(_nodes(mine)):
        return None
    return trial.like_others(key, {c.site.name: c.site.module for c in outputs}, inputs)


def _main(tips: Sequence[MapLayer], trial: Trial, outputs: Sequence[Candidate]) -> tuple[MapLayer, str]:
    """The last layer of the main branch, and why it is that.

    Branches through which less than a tenth of the output's change goes are side branches. Of the others the main one has at
    least twice the parameters of any; else the largest part of the change goes through it.
    """
    of = {c.key: c for c in outputs}
    changes = [trial.part(m.site, of[m.site.name, m.site.call or 0].output.detach()) for m in tips]
    above = [set(_nodes(of[m.site.name, m.site.call or 0].output)) for m in tips]
    shared = set.intersection(*above)
    sizes = []
    for nodes in above:
        modules = {c.site.name: c.site.module for c in outputs if _node(c.output) in nodes - shared}
        sizes.append(sum(p.numel() for m in modules.values() for p in m.parameters(recurse=False)))
    strong = [k for k, change in enumerate(changes) if change >= 0.1 * max(changes)]
    by_size = sorted(strong, key=lambda k: sizes[k], reverse=True)
    if len(by_size) > 1 and sizes[by_size[0]] >= 2 * sizes[by_size[1]]:
        return tips[by_size[0]], f"of most parameters ({sizes[by_size[0]]:,})"
    largest = max(range(len(tips)), key=changes.__getitem__)
    return tips[largest], f"with the larger part of the output's change ({changes[largest]:.0%})"


_PART = "a part of a block"
_OWN = "its positions begin as values of its own"
_HEAD = "scores of the outputs, position by position"


def _objection(c: Candidate, placement: Placement | None, likely: Form | None, y: Tensor) -> str | None:
    """Why a layer is not the one whose map is wanted; None if it is."""
    if likely is not None and math.prod(likely.grid) < 2:
        return "one position"
    if placement is None or placement.form is None:
        return placement.reason if placement is not None and likely is not None else _PART
    form = placement.form
    if form.order == "tokens" and not _is_stage(c.site.module):
        return _PART
    if form.order == "first" and _is_attention(c.output):
        return "attention weights"
    assert c.gradient is not None
    if not bool(form(c.gradient).any()):
        return "its positions do not count for the output"
    if not placement.tested and not placement.reason.startswith(DIFFUSE):
        return placement.reason
    if form.reversed:
        return "it runs from the input's end to its beginning"
    return _HEAD if _is_head(c, form, y) else None


def _is_attention(output: Tensor) -> bool:
    """Whether each channel is a share of attention for each position: none is negative, and they add up to one."""
    totals = output.sum(-1)
    return output.shape[-1] > 1 and bool((output >= 0).all() and ((totals - 1).abs() < 1e-2).all())


def _is_stage(part: nn.Module) -> bool:
    """Whether a module of a transformer is a block or a norm: others see tokens of which the last do not count alike."""
    return any(True for _ in part.children()) or "norm" in type(part).__name__.lower()


def _is_head(c: Candidate, form: Form, y: Tensor) -> bool:
    """Whether each output depends on one channel of its own: scores of single positions, summed or taken as they are."""
    channels = form(c.output).shape[1]
    if channels not in y.shape[1:] and not (channels == 1 and y.numel() == 1):
        return False
    first = torch.zeros(y.numel(), dtype=y.dtype, device=y.device).index_fill(
        0, torch.tensor(0, device=y.device), 1
    )
    gradient = torch.autograd.grad(y, c.output, first.view_as(y), retain_graph=True, allow_unused=True)[0]
    return gradient is not None and int(form(gradient).flatten(2).any(2).sum()) == 1


class _Turned(TorchFunctionMode):
    """Some weights have another order, wherever they are not the weights of a linear layer, a norm, or attention."""

    def __init__(self, turned: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.turned = turned

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func not in _WEIGHED:
            args = tuple(self.turned.get(id(a), a) for a in args)
        return func(*args, **(kwargs or {}))


def _begins_as_its_own(site: Site, form: Form, passes: Passes, rows: Rows, onto: int) -> bool:
    """Whether tokens change places with the rows of weights, as latents and queries do that a model holds.

    They follow the input by chance, if they do. The input's own tokens stay, whatever is added to tell their positions.
    """
    count = form.prefix + math.prod(form.grid)
    held = {
        id(w): w.detach().roll(1, -2)
        for root in modules(passes.function.model)
        for w in (*root.parameters(), *root.buffers())
        if w.is_floating_point()
        and w.ndim in (2, 3)
        and w.shape[-2] == count
        and w.numel() == count * w.shape[-1]
    }
    if form.order != "tokens" or not held:
        return False
    beside = [r[:1] for r in rows]
    beside[onto] = moved(beside[onto]).rows[1:2]  # no two places of it are alike
    calls, outputs = itertools.count(), []

    def see(name: str, output: Tensor) -> None:
        if next(calls) == (site.call or 0):
            outputs.append(output.detach().clone())

    for mode in (nullcontext(), _Turned(held)):
        calls = itertools.count()
        with (
            torch.no_grad(),
            mode,
            tapped({site.name: site.module}, samples_first(see, 1, second=site.second)),
        ):
            passes.function.output(*(r.clone() for r in beside), samples=torch.zeros(1, dtype=torch.long))
    plain, turned = outputs
    differ, off = (float((t - plain.roll(1, 1)).abs().max()) for t in (plain, turned))
    return differ > 0 and off <= torch.finfo(plain.dtype).eps ** 0.5 * differ


def _interchangeable(c: Candidate, form: Form, y: Tensor, passes: Passes, rows: Rows) -> bool:
    """Whether a few channels may change places: scores of both strands that the model adds up, and no features."""
    if c.gradient is None or not 1 < form(c.output).shape[1] <= _FEW:
        return False
    calls = itertools.count()

    def turn(name: str, output: Tensor) -> Tensor | None:
        return output.roll(1, channels) if next(calls) == (c.site.call or 0) else None

    channels = 1 if form.order == "first" else -1
    leaves = (r[:1].clone() for r in rows)
    with torch.no_grad(), tapped({c.site.name: c.site.module}, samples_first(turn, 1, second=c.site.second)):
        turned = passes.function.output(*leaves, samples=torch.zeros(1, dtype=torch.long))
    single = (c.gradient * (c.output.roll(1, channels) - c.output)).abs().sum()
    return bool((turned - y).abs().max() <= _SAME * single)


def _node(output: Tensor) -> Any:
    return torch.autograd.graph.get_gradient_edge(output).node


def _nodes(output: Tensor) -> Iterator[Any]:
    """Everything in the graph that an output was computed from."""
    seen: set[Any] = set()
    stack = [_node(output)]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(fn for fn, _ in node.next_functions)
            yield node


# ------------------------------------------------------------------ messages


def explained(error: OffPath, passes: Passes, rows: Rows, onto: int = 0) -> ValueError:
    """The error with the layers that could be chosen instead."""
    return ValueError(f"{error}{listing(passes, rows, onto, error.layer)}")


def listing(passes: Passes, rows: Rows, onto: int, refused: str | None = None) -> str:
    """The last few layers with maps beside one that was refused, as the end of a message."""
    outputs, y = candidates(passes, rows)
    outputs = [c for c in outputs if c.output is not y and c.site.name != refused]
    trial = responses(passes, {c.site.name: c.site.module for c in outputs}, rows, onto)
    grids: dict[str, str] = {}
    for c in outputs:
        placement = None if trial is None else trial.placement(c.key, c.site.module, tuple(rows[onto].shape))
        if placement is not None and placement.form is not None and math.prod(placement.form.grid) > 1:
            grids[c.site.name] = " x ".join(map(str, placement.form.grid))
    split = "split it at the activation that the map is of, and join both parts with torch.nn.Sequential"
    if not grids and any(isinstance(part, External) for part in passes.function.parts):
        return f"; torch sees no layers in a function of JAX: {split}"
    if not grids and not all(type(p).__call__.__module__.startswith("torch") for p in passes.function.parts):
        return f"; its layers are called past torch's hooks, as Keras calls them: {split}"
    if not grids:
        return f"; no {'layer' if refused is None else 'other layer'} of the model has a map"
    last = [f"{name} ({grid})" for name, grid in list(grids.items())[-_LISTED:]]
    return f"; layers with maps: {'..., ' * (len(grids) > _LISTED)}{', '.join(last)}"
