"""Maps from a layer: the passes, the image form and the way back to the input's grid that class activation maps share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec

import torch
from torch import Tensor

from attrib._arguments import near
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple, of_samples
from attrib.engine.layers.at_layer import (
    Call,
    Layer,
    LayerPass,
    OffPath,
    activations,
    pass_through,
    refuse_transforms,
)
from attrib.engine.layers.image_form import Form, Reshape, lead_merged, reshaped, scaled, upsampled
from attrib.engine.layers.map_layers import MapLayer, explained, map_layers
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, TensorMethod, finish, method

Combine = Callable[[Tensor, Tensor], Tensor]  # (n, C, *grid), (t, n, C, *grid) -> (t, n, *grid)
Layers = Layer | Sequence[Layer]
Rows = tuple[Tensor, ...]

P = ParamSpec("P")
NORMALIZE = (None, "minmax")


def layer_maps(
    combinations: Sequence[Combine],
    f: Model,
    x: Tensors,
    *,
    layer: Layers = "auto",
    call: Call = None,
    relu: bool = True,
    upsample: bool = True,
    normalize: str | None = None,
    reshape: Reshape | None = None,
    onto: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> list[Explanation]:
    """Activations and gradients at the layers, from one pass, combined to maps (T, L, N, *spatial) in each of several ways.

    Dims that were not asked for (targets, layers) are left out.
    """
    xs = as_tuple(x, integers=True)
    if normalize not in NORMALIZE:
        raise ValueError(
            f'`normalize` is {normalize!r}, expected None or "minmax"{near(normalize, ["minmax"])}'
        )
    _refuse_no_input(onto, len(xs))
    refuse_transforms()
    shape = tuple(xs[onto].shape)
    finish_maps = partial(_placed, relu=relu, normalize=normalize)
    with Passes(
        f, xs, len(xs[0]), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        passes.engine = "layer"
        layers = map_layers_of(passes, layer, xs, onto, call, reshape)
        sites = [m.site for m in layers]
        chunks: list[list[list[Tensor]]] = []  # per combination, per layer: maps (T, n, *spatial)
        scores = []
        for span in passes.batches.spans(len(xs[0])):
            with span:
                i = torch.arange(span.start, span.stop)
                rows = rows_at(passes, xs, i)
                try:
                    at_layers = pass_through(passes, sites, rows, i)
                    forms = [
                        reshape or m.form(a.shape, rows[onto].shape)
                        for m, a in zip(layers, at_layers.activations, strict=True)
                    ]
                    sizes = [_size(form, shape) if upsample else None for form in forms]
                    maps = _maps(
                        at_layers, forms, [m.site.name for m in layers], sizes, combinations, finish_maps
                    )
                except OffPath as error:
                    raise explained(error, passes, rows, onto) from None
            if span.done:
                chunks.append(maps)
                scores.append(at_layers.scores)
    each_dims = {form.dims(len(shape) - 1) if isinstance(form, Form) else None for form in forms}
    dims = each_dims.pop() if len(each_dims) == 1 else None
    return [
        _finished(
            passes, xs[onto], [torch.cat(m, 1) for m in zip(*each, strict=True)], torch.cat(scores, 1), layers,
            isinstance(layer, list | tuple) or call == "all", dims,
        )
        for each in zip(*chunks, strict=True)
    ]  # fmt: skip


def _refuse_no_input(onto: Any, count: int) -> None:
    if isinstance(onto, bool) or not isinstance(onto, int) or not 0 <= onto < count:
        raise ValueError(f"`onto` is {onto!r}, expected the number of one of the {count} inputs")


def _size(form: Form | Reshape, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The input's sizes along the dims that a map lies on; of the caller's own form these are its last ones."""
    return tuple(shape[1 + d] for d in form.dims(len(shape) - 1)) if isinstance(form, Form) else shape


def _maps(
    at_layers: LayerPass,
    forms: Sequence[Form | Reshape],
    names: Sequence[str],
    sizes: Sequence[tuple[int, ...] | None],
    combinations: Sequence[Combine],
    finish_maps: Callable[..., Tensor],
) -> list[list[Tensor]]:
    """One chunk's maps (T, n, *spatial) per combination and layer; gradients of some targets are there at a time."""
    images = [_image(form, a) for form, a in zip(forms, at_layers.activations, strict=True)]
    blocks: list[list[list[Tensor]]] = [[[] for _ in names] for _ in combinations]
    for gradients in at_layers.gradients():
        for j, (name, form, a, g) in enumerate(zip(names, forms, images, gradients, strict=True)):
            if isinstance(form, Form) and form.blank(g.flatten(0, 1)):
                raise OffPath(
                    name, "the output depends on its class token and on no position; take an earlier one"
                )
            gradient = lead_merged(form, g)
            for combine, of_layers in zip(combinations, blocks, strict=True):
                of_layers[j].append(finish_maps(combine(a, gradient), size=sizes[j]))
    return [[torch.cat(b) for b in of_layers] for of_layers in blocks]


def _image(form: Form | Reshape, a: Tensor) -> Tensor:
    return form(a) if isinstance(form, Form) else reshaped(a, form, len(a))


def _placed(maps: Tensor, *, relu: bool, normalize: str | None, size: tuple[int, ...] | None) -> Tensor:
    """Maps (t, n, *grid): negative values dropped, on the input's grid, scaled, as asked."""
    dims = maps.ndim - 2
    maps = maps.clamp(min=0) if relu else maps
    maps = scaled(maps, dims) if normalize else maps
    if size is None:
        return maps
    maps = upsampled(maps, size[-dims:])
    return scaled(maps, dims) if normalize else maps


def _finished(
    passes: Passes,
    x: Tensor,
    maps: list[Tensor],
    scores: Tensor,
    layers: Sequence[MapLayer],
    listed: bool,
    dims: tuple[int, ...] | None,
) -> Explanation:
    """Maps (T, N, *spatial) per layer or call as one explanation."""
    names = [m.site.name for m in layers]
    if len({m.shape[2:] for m in maps}) > 1:
        sizes = ", ".join(f"{n} {tuple(m.shape[2:])}" for n, m in zip(names, maps, strict=True))
        raise ValueError(
            f"`layer` lists layers of different sizes: {sizes}; pass upsample=True, or one at a time"
        )
    together = (
        torch.stack(maps, 2) if listed else maps[0]
    )  # (T, N, L, ...): finish looks for samples on dim 1
    explanation = finish(
        passes,
        (x,),
        (together,),
        scores,
        layers=tuple(dict.fromkeys(names)),
        notes=_notes(layers, maps) or None,
    )._replace(dims=dims)
    if not listed:
        return explanation
    lead = int(passes.want.many)
    assert isinstance(explanation.attribution, Tensor)
    return explanation._replace(attribution=explanation.attribution.movedim(lead + 1, lead).contiguous())


def _notes(layers: Sequence[MapLayer], maps: Sequence[Tensor]) -> dict[str, str | int | float]:
    """What was chosen and why, what was not tested, and how many maps are zero everywhere."""
    notes: dict[str, str | int | float] = {}
    for layer in layers:
        if layer.choice:
            notes |= {"layer": layer.site.name, "layer_choice": layer.choice}
            if layer.site.call is not None:
                notes["call"] = layer.site.call
        elif layer.placement is not None and layer.placement.reason:
            notes["layer_positions"] = f"not tested by moving the input: {layer.placement.reason}"
    zero = sum(int((~m.flatten(2).any(2)).sum()) for m in maps)
    if zero:
        count = sum(m.shape[0] * m.shape[1] for m in maps)
        notes["zero_maps"] = (
            f"{zero} of {count} maps are zero everywhere: nothing at the layer speaks for the score (relu=False shows what "
            "speaks against it)"
        )
    return notes


def cam(
    maps: Callable[Concatenate[Sequence[Combine], P], list[Explanation]], long_name: str, *, reference: str
) -> Callable[[Combine], TensorMethod[P]]:
    """Make a method of a way to combine features and gradients: the arguments of `maps` after its first."""

    def register(combine: Combine) -> TensorMethod[P]:
        @functools.wraps(combine)
        def explain(*args: P.args, **kwargs: P.kwargs) -> Explanation:
            return maps([combine], *args, **kwargs)[0]

        signature = inspect.signature(maps)
        signature = signature.replace(
            parameters=list(signature.parameters.values())[1:], return_annotation="Explanation"
        )
        explain.__signature__ = signature  # type: ignore[attr-defined]
        explain.__annotations__ = {k: v for k, v in maps.__annotations__.items() if k in signature.parameters}
        explain.__wrapped__ = maps  # type: ignore  # whose file knows the names in the annotations
        cam_method = method(
            long_name,
            axioms=(),
            cost="1 forward to the layer, 1 forward + backward from there",
            units="output",
            reference=reference,
            result="layer map",
            layer=True,
        )(explain)
        cam_method.combine = combine  # type: ignore[attr-defined]
        return cam_method

    return register


def map_layers_of(
    passes: Passes, layer: Layers, xs: Rows, onto: int, call: Call = None, reshape: Reshape | None = None
) -> list[MapLayer]:
    """The layers and their calls.

    Raises
    ------
    ValueError
        For an empty list, the same layer twice, layers that do not exist, and calls that are none.
    """
    requested: list[Any] = list(layer) if isinstance(layer, list | tuple) else [layer]
    if not requested:
        raise ValueError('`layer` is empty; pass at least one, or "auto"')
    if (
        call is not None
        and call != "all"
        and (isinstance(call, bool) or not isinstance(call, int) or call < 0)
    ):
        raise ValueError(f'`call` is {call!r}, expected None, the number of a call from 0, or "all"')
    if call == "all" and (requested != [layer] or layer == "auto"):
        raise ValueError('`call` is "all", which takes one layer by name: layer="encoder"')
    tried = lambda: rows_at(passes, xs, torch.tensor([_tried(passes, xs[onto])]))
    try:
        layers = map_layers(passes, requested, tried, onto, call=call, tested=reshape is None)
    except ValueError:
        i = torch.arange(min(len(xs[0]), passes.batches.chunk()))
        # rows that depend on each other are refused first
        passes.function(*rows_at(passes, xs, i), samples=i)
        raise
    if call != "all" and (
        len({id(m.site.module) for m in layers}) < len(layers)
        or len({m.site.name for m in layers}) < len(layers)
    ):
        raise ValueError(f"`layer` names the same layer twice: {', '.join(m.site.name for m in layers)}")
    return layers


_EMPTY = 1e-3  # of the largest variance of a sample


def _tried(passes: Passes, x: Tensor) -> int:
    """The number of the sample that layers are found with: the first, or where that is empty the one that varies most.

    Always the first, if samples have values of their own beside them, which are those of the first in a trial.
    """
    if len(x) < 2 or passes.function.companions.per_sample:
        return 0
    values = x.detach().flatten(1)
    values = (values.abs() if values.is_complex() else values).to(torch.float32)
    # in these steps the variance takes a ninth of the time of Tensor.var
    spread = (values - values.mean(1, keepdim=True)).square_().mean(1).nan_to_num(-1.0)
    return 0 if float(spread[0]) > _EMPTY * float(spread.max()) else int(spread.argmax())


def rows_at(passes: Passes, xs: Rows, i: Tensor) -> Rows:
    """Rows of the inputs where the model is; what inference mode made is copied, as no graph takes it."""
    rows = tuple(of_samples(t, i, passes.device) for t in xs)
    return tuple(t.clone() if t.is_inference() else t for t in rows)


class Outputs(NamedTuple):
    """Outputs of a layer.

    Attributes
    ----------
    values : Tensor
        (N, C, *grid) where the layer has an image form, else as they are.
    dims : tuple of int, optional
        The dims of a sample that the grid lies on.
    layer : MapLayer
    """

    values: Tensor
    dims: tuple[int, ...] | None
    layer: MapLayer


def outputs(
    f: Model, x: Tensors, layer: Layer, reshape: Reshape | None, onto: int, call: Call = None, **options: Any
) -> Outputs:
    """Activations of a layer in image form where it has one."""
    xs = as_tuple(x, integers=True)
    if call == "all":
        raise ValueError('`call` is "all"; layer_activation takes one call: call=0')
    _refuse_no_input(onto, len(xs))
    refuse_transforms()
    with Passes(f, xs, len(xs[0]), **options) as passes:
        (chosen,) = map_layers_of(passes, layer, xs, onto, call, reshape)
        images = []
        for span in passes.batches.spans(len(xs[0])):
            with span:
                i = torch.arange(span.start, span.stop)
                rows = rows_at(passes, xs, i)
                try:
                    (a,) = activations(passes, [chosen.site], rows, i)
                except OffPath as error:
                    raise explained(error, passes, rows, onto) from None
            if span.done:
                form: Form | Reshape | None = reshape
                if reshape is None:
                    try:
                        form = chosen.form(a.shape, rows[onto].shape)
                    except OffPath:
                        form = None
                images.append(a if form is None else _image(form, a))
        dims = form.dims(xs[onto].ndim - 1) if isinstance(form, Form) else None
        return Outputs(torch.cat(images).to(xs[0].device), dims, chosen)
