"""Maps from a layer: the passes, the image form and the way back to the input's grid that class activation maps share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor, nn

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple, of_samples
from attrib.engine.layers.at_layer import Layer, LayerPass, OffPath, activations, pass_through
from attrib.engine.layers.map_layers import (
    Form,
    Reshape,
    explained,
    form_of,
    layers_of,
    lead_merged,
    reshaped,
    scaled,
    upsampled,
)
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
        raise ValueError(f'`normalize` is {normalize!r}, expected None or "minmax"')
    if isinstance(onto, bool) or not isinstance(onto, int) or not 0 <= onto < len(xs):
        raise ValueError(f"`onto` is {onto!r}, expected the number of one of the {len(xs)} inputs")
    size = xs[onto].shape[1:] if upsample else None
    place = partial(_placed, relu=relu, normalize=normalize, size=size)
    with Passes(
        f, xs, len(xs[0]), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        passes.engine = "layer"
        layers = layers_by_name(passes, layer, xs, onto)
        chunks: list[list[list[Tensor]]] = []  # per combination, per layer: maps (T, n, *spatial)
        scores = []
        for span in passes.batches.spans(len(xs[0])):
            with span:
                i = torch.arange(span.start, span.stop)
                rows = rows_at(passes, xs, i)
                try:
                    at_layers = pass_through(passes, layers, rows, i)
                    maps = _maps(at_layers, layers, reshape, rows[onto].shape, combinations, place)
                except OffPath as error:
                    raise explained(error, passes, rows, onto) from None
            if span.done:
                chunks.append(maps)
                scores.append(at_layers.scores)
    listed = isinstance(layer, list | tuple)
    return [
        _finished(
            passes, xs[onto], [torch.cat(m, 1) for m in zip(*each, strict=True)], torch.cat(scores, 1),
            list(layers), listed,
        )
        for each in zip(*chunks, strict=True)
    ]  # fmt: skip


def _maps(
    at_layers: LayerPass,
    layers: dict[str, nn.Module],
    reshape: Reshape | None,
    shape: torch.Size,
    combinations: Sequence[Combine],
    place: Callable[[Tensor], Tensor],
) -> list[list[Tensor]]:
    """One chunk's maps (T, n, *spatial) per combination and layer; gradients of some targets are there at a time."""
    forms = [
        image_form(name, part, a, shape, reshape)
        for (name, part), a in zip(layers.items(), at_layers.activations, strict=True)
    ]
    images = [form(a) for form, a in zip(forms, at_layers.activations, strict=True)]
    blocks: list[list[list[Tensor]]] = [[[] for _ in layers] for _ in combinations]
    for gradients in at_layers.gradients():
        for j, (name, form, a, g) in enumerate(zip(layers, forms, images, gradients, strict=True)):
            if isinstance(form, Form) and form.blank(g.flatten(0, 1)):
                raise OffPath(
                    name, "the output depends on its class token and on no position; take an earlier one"
                )
            gradient = lead_merged(form, g)
            for combine, of_layers in zip(combinations, blocks, strict=True):
                of_layers[j].append(place(combine(a, gradient)))
    return [[torch.cat(b) for b in of_layers] for of_layers in blocks]


def _placed(maps: Tensor, *, relu: bool, normalize: str | None, size: Sequence[int] | None) -> Tensor:
    """Maps (t, n, *grid): negative values dropped, on the input's grid, scaled, as asked."""
    dims = maps.ndim - 2
    maps = maps.clamp(min=0) if relu else maps
    maps = scaled(maps, dims) if normalize else maps
    if size is None:
        return maps
    maps = upsampled(maps, tuple(size[-dims:]))
    return scaled(maps, dims) if normalize else maps


def _finished(
    passes: Passes, x: Tensor, maps: list[Tensor], scores: Tensor, names: list[str], listed: bool
) -> Explanation:
    """Maps (T, N, *spatial) per layer as one explanation."""
    if len({m.shape[2:] for m in maps}) > 1:
        sizes = ", ".join(f"{n} {tuple(m.shape[2:])}" for n, m in zip(names, maps, strict=True))
        raise ValueError(
            f"`layer` lists layers of different sizes: {sizes}; pass upsample=True, or one at a time"
        )
    together = (
        torch.stack(maps, 2) if listed else maps[0]
    )  # (T, N, L, ...): finish looks for samples on dim 1
    explanation = finish(passes, (x,), (together,), scores, layers=tuple(names))
    if not listed:
        return explanation
    lead = int(passes.want.many)
    assert isinstance(explanation.attribution, Tensor)
    return explanation._replace(attribution=explanation.attribution.movedim(lead + 1, lead).contiguous())


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


def layers_by_name(passes: Passes, layer: Layers, xs: Rows, onto: int) -> dict[str, nn.Module]:
    """The layers by name.

    Raises
    ------
    ValueError
        For an empty list, the same layer twice, and layers that do not exist.
    """
    requested: list[Any] = list(layer) if isinstance(layer, list | tuple) else [layer]
    if not requested:
        raise ValueError('`layer` is empty; pass at least one, or "auto"')
    rows = rows_at(passes, xs, torch.arange(1))
    pairs = [layers_of(passes, name, rows, onto) for name in requested]
    layers = dict(pairs)
    if len(layers) < len(pairs) or len({id(p) for p in layers.values()}) < len(pairs):
        raise ValueError(f"`layer` names the same layer twice: {', '.join(n for n, _ in pairs)}")
    return layers


def rows_at(passes: Passes, xs: Rows, i: Tensor) -> Rows:
    """Rows of the inputs where the model is; what inference mode made is copied, as no graph takes it."""
    rows = tuple(of_samples(t, i, passes.device) for t in xs)
    return tuple(t.clone() if t.is_inference() else t for t in rows)


def image_form(
    name: str, part: nn.Module, a: Tensor, shape: Sequence[int], reshape: Reshape | None
) -> Form | Reshape:
    """How a layer's output becomes (N, C, *grid): by the caller's function, else by its shape."""
    if reshape is not None:
        return lambda t: reshaped(t, reshape, len(t))
    form = form_of(a.shape, part, shape)
    if form is None:
        raise OffPath(
            name, f"its output {tuple(a.shape)} has no image form for inputs {tuple(shape)}; pass reshape="
        )
    return form


def outputs(f: Model, x: Tensors, layer: Layer, reshape: Reshape | None, onto: int, **options: Any) -> Tensor:
    """Activations of a layer in image form where it has one: (N, C, *grid), else as they are."""
    xs = as_tuple(x, integers=True)
    with Passes(f, xs, len(xs[0]), **options) as passes:
        layers = layers_by_name(passes, layer, xs, onto)
        name, part = next(iter(layers.items()))
        images = []
        for span in passes.batches.spans(len(xs[0])):
            with span:
                i = torch.arange(span.start, span.stop)
                rows = rows_at(passes, xs, i)
                try:
                    a = activations(passes, layers, rows, i)[name]
                except OffPath as error:
                    raise explained(error, passes, rows, onto) from None
            if span.done:
                form = form_of(a.shape, part, rows[onto].shape)
                images.append(reshaped(a, reshape, len(a)) if reshape else a if form is None else form(a))
        return torch.cat(images).to(xs[0].device)
