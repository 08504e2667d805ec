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
from attrib.engine.layers.at_layer import Layer, OffPath, activations, take
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

P = ParamSpec("P")
Combine = Callable[[Tensor, Tensor], Tensor]  # (n, C, *grid), (t, n, C, *grid) -> (t, n, *grid)
Layers = Layer | Sequence[Layer]
Rows = tuple[Tensor, ...]

NORMALIZE = (None, "minmax")


def mapped(
    combine: Combine,
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
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """Activations and gradients at the layers, combined to maps (T, L, N, *spatial) without the dims not asked for."""
    xs = as_tuple(x)
    if normalize not in NORMALIZE:
        raise ValueError(f'`normalize` is {normalize!r}, expected None or "minmax"')
    if isinstance(onto, bool) or not isinstance(onto, int) or not 0 <= onto < len(xs):
        raise ValueError(f"`onto` is {onto!r}, expected the number of one of the {len(xs)} inputs")
    with Passes(
        f, xs, target=target, targets=targets, classes=classes, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        passes.engine = "layer"
        passes.batches.expect(len(xs[0]))
        parts = chosen(passes, layer, xs, onto)
        laid = partial(_laid, relu=relu, normalize=normalize, size=xs[onto].shape[1:] if upsample else None)
        maps, scores = _over_rows(passes, parts, xs, onto, partial(_maps, combine, laid, reshape))
    return _finished(passes, xs[onto], maps, scores, parts, several(layer))


def cam(
    explain: Callable[Concatenate[Combine, P], Explanation], long_name: str, *, reference: str
) -> Callable[[Combine], TensorMethod[P]]:
    """Make a method of a way to combine features and gradients: the arguments of `explain` after its first."""

    def register(combine: Combine) -> TensorMethod[P]:
        @functools.wraps(combine)
        def combined(*args: P.args, **kwargs: P.kwargs) -> Explanation:
            return explain(combine, *args, **kwargs)

        signature = inspect.signature(explain)
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        combined.__signature__ = signature  # type: ignore[attr-defined]
        combined.__annotations__ = {
            k: v for k, v in explain.__annotations__.items() if k in signature.parameters
        }
        combined.__wrapped__ = explain  # type: ignore  # whose file knows the names in the annotations
        cost = "1 forward to the layer, 1 forward + backward from there"
        return method(
            long_name,
            axioms=(),
            cost=cost,
            units="output",
            reference=reference,
            result="layer map",
            layer=True,
        )(combined)

    return register


def several(layer: Layers) -> bool:
    """Whether the caller listed layers."""
    return isinstance(layer, list | tuple)


def chosen(passes: Passes, layer: Layers, xs: Rows, onto: int) -> dict[str, nn.Module]:
    """The layers by name.

    Raises
    ------
    ValueError
        For an empty list, the same layer twice, and layers that do not exist.
    """
    wanted: list[Any] = list(layer) if isinstance(layer, list | tuple) else [layer]
    if not wanted:
        raise ValueError('`layer` is empty; pass at least one, or "auto"')
    rows = rows_at(passes, xs, torch.arange(1))
    found = [layers_of(passes, one, rows, onto) for one in wanted]
    parts = dict(found)
    if len(parts) < len(found) or len({id(p) for p in parts.values()}) < len(found):
        raise ValueError(f"`layer` names the same layer twice: {', '.join(n for n, _ in found)}")
    return parts


def rows_at(passes: Passes, xs: Rows, i: Tensor) -> Rows:
    """Rows of the inputs where the model is; what inference mode made is copied, as no graph takes it."""
    rows = tuple(of_samples(t, i, passes.device) for t in xs)
    return tuple(t.clone() if t.is_inference() else t for t in rows)


def _over_rows(
    passes: Passes, parts: dict[str, nn.Module], xs: Rows, onto: int, one_chunk: Callable[..., list[Tensor]]
) -> tuple[list[Tensor], Tensor]:
    """Maps (T, N, *spatial) per layer and scores (T, N), chunk by chunk."""

    def work(start: int, stop: int) -> tuple[list[Tensor], Tensor]:
        i = torch.arange(start, stop)
        rows = rows_at(passes, xs, i)
        try:
            taken = take(passes, parts, rows, i)
            passes.batches.measured(passes.function.row_bytes, passes.function.largest)
            return one_chunk(parts, taken, rows[onto].shape), taken.scores
        except OffPath as error:
            raise explained(error, passes, rows, onto) from None

    maps, scores = zip(*passes.batches.run(len(xs[0]), work), strict=True)
    return [torch.cat(m, 1) for m in zip(*maps, strict=True)], torch.cat(scores, 1)


def _maps(
    combine: Combine,
    laid: Callable[[Tensor], Tensor],
    reshape: Reshape | None,
    parts: dict[str, nn.Module],
    taken: Any,
    shape: torch.Size,
) -> list[Tensor]:
    """One chunk's maps (T, n, *spatial) per layer."""
    forms = [
        image_form(n, p, a, shape, reshape)
        for (n, p), a in zip(parts.items(), taken.activations, strict=True)
    ]
    images = [form(a) for form, a in zip(forms, taken.activations, strict=True)]
    found: list[list[Tensor]] = [[] for _ in images]
    for _, gradients in taken.gradients():
        for name, form, a, g, out in zip(parts, forms, images, gradients, found, strict=True):
            if isinstance(form, Form) and form.blank(g.flatten(0, 1)):
                raise OffPath(
                    name, "the output depends on its class token and on no position; take an earlier one"
                )
            out.append(laid(combine(a, lead_merged(form, g))))
    return [torch.cat(f) for f in found]


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


def _laid(maps: Tensor, *, relu: bool, normalize: str | None, size: Sequence[int] | None) -> Tensor:
    """Maps (t, n, *grid): negative values dropped, on the input's grid, scaled, as asked."""
    dims = maps.ndim - 2
    maps = maps.clamp(min=0) if relu else maps
    maps = scaled(maps, dims) if normalize else maps
    if size is None:
        return maps
    maps = upsampled(maps, tuple(size[-dims:]))
    return scaled(maps, dims) if normalize else maps


def _finished(
    passes: Passes, x: Tensor, maps: list[Tensor], scores: Tensor, parts: dict[str, nn.Module], many: bool
) -> Explanation:
    sizes = {m.shape[2:] for m in maps}
    if len(sizes) > 1:
        shown = ", ".join(f"{n} {tuple(m.shape[2:])}" for n, m in zip(parts, maps, strict=True))
        raise ValueError(
            f"`layer` lists layers of different sizes: {shown}; pass upsample=True, or one at a time"
        )
    together = torch.stack(maps, 2) if many else maps[0]  # (T, N, L, ...): finish looks for samples on dim 1
    found = finish(passes, (x,), (together,), scores, layers=tuple(parts))
    if not many:
        return found
    lead = int(passes.want.many)
    assert isinstance(found.attribution, Tensor)
    return found._replace(attribution=found.attribution.movedim(lead + 1, lead).contiguous())


def outputs(f: Model, x: Tensors, layer: Layer, reshape: Reshape | None, onto: int, **how: Any) -> Tensor:
    """Activations of a layer in image form where it has one: (N, C, *grid), else as they are."""
    xs = as_tuple(x)
    with Passes(f, xs, **how) as passes:
        passes.batches.expect(len(xs[0]))
        parts = chosen(passes, layer, xs, onto)
        name, part = next(iter(parts.items()))

        def work(start: int, stop: int) -> Tensor:
            rows = rows_at(passes, xs, torch.arange(start, stop))
            try:
                a = activations(passes, parts, rows)[name]
            except OffPath as error:
                raise explained(error, passes, rows, onto) from None
            passes.batches.measured(passes.function.row_bytes, passes.function.largest)
            form = form_of(a.shape, part, rows[onto].shape)
            return reshaped(a, reshape, len(a)) if reshape else a if form is None else form(a)

        return torch.cat(list(passes.batches.run(len(xs[0]), work))).to(xs[0].device)
