"""The public functions: the pure methods on anything array-like, with labels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import xarray as xr

from attrib import functional
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Layer
from attrib.engine.layers.map_layers import Reshape
from attrib.engine.model.parameters import Model, dtype_of
from attrib.functional.docstrings import RESULT_OF_MAPS, labelled_doc
from attrib.functional.explanation import About, Explanation, Method
from attrib.interop.arrays import as_numpy
from attrib.labels import (
    Facts,
    Inputs,
    at_samples,
    baseline_tensors,
    edit_options,
    labelled_inputs,
    lazily,
    lazy_maps,
    map_options,
    of_first,
    plain,
    sample_values,
    settled,
    wrap,
    wrap_activation,
    wrap_filters,
    wrap_map,
)

_OWN = {
    "sample_dims": Hashable | Sequence[Hashable] | None,
    "dims": Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None,
    "coords": Mapping[Hashable, Any] | None,
}


def labelled(method: Method[...], **defaults: Any) -> Callable[..., Any]:
    """The labelled form of a pure method: same arguments, and `sample_dims`, `dims`, `coords`.

    It adds no mathematics: inputs become tensors (N, ...), results get the inputs' labels back. `defaults` are those
    that differ: names of dims in place of numbers.
    """
    pure = inspect.signature(method.explain)
    signature = pure.replace(
        parameters=[p.replace(default=defaults.get(n, p.default)) for n, p in pure.parameters.items()]
    )

    dress = wrap_map if method.about.name in functional.MAPS else wrap

    @functools.wraps(method)
    def attribute(*args: Any, **options: Any) -> Any:
        own = {name: options.pop(name, None) for name in _OWN}
        call = signature.bind(*args, **options)
        call.apply_defaults()
        given = call.arguments
        inputs = labelled_inputs(given["x"], **own)
        facts = _facts(method.about, given)
        many = given["targets"] is not None
        if inputs.lazy:
            return _lazily(method, given, inputs, facts, many)
        dtype = dtype_of(given["f"])
        given.update(_options(given, inputs, dtype, method.about))
        given["x"] = inputs.tensors(dtype)[0] if inputs.single else inputs.tensors(dtype)
        explanation = method.explain(*call.args, **call.kwargs)
        return dress(
            explanation, inputs, replace(facts, engine=explanation.engine, notes=explanation.notes), many
        )

    attribute.__module__ = "attrib"
    attribute.__doc__ = (
        labelled_doc(method.__doc__) if dress is wrap else labelled_doc(method.__doc__, RESULT_OF_MAPS)
    )
    attribute.__signature__ = _signature(signature)  # type: ignore[attr-defined]
    attribute.functional = method  # type: ignore[attr-defined]
    attribute.about = method.about  # type: ignore[attr-defined]
    return attribute


def _signature(pure: inspect.Signature) -> inspect.Signature:
    own = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=t)
        for n, t in _OWN.items()
    ]
    return pure.replace(
        parameters=[*pure.parameters.values(), *own],
        return_annotation=xr.DataArray | xr.Dataset | tuple[xr.DataArray, ...],
    )


def _facts(about: About, given: Mapping[str, Any]) -> Facts:
    """What the attrs will tell: the options as the caller gave them."""
    if "method" in given:
        inner = getattr(getattr(given["method"], "func", given["method"]), "about", None)
        about = replace(about, units="gradient" if inner is None else inner.units)
    classes = given["classes"]
    params = {k: v for k, v in given.items() if k not in ("f", "x")}
    return Facts(about, params, None if classes is None else tuple(map(str, classes)), "")


def _options(
    given: Mapping[str, Any], inputs: Inputs, dtype: torch.dtype | None, about: About
) -> dict[str, Any]:
    """The options that hold arrays, in the form of the pure functions."""
    found: dict[str, Any] = {"target": sample_values(given["target"], inputs, "target")}
    if isinstance(given["targets"], list | tuple):
        found["targets"] = [sample_values(t, inputs, "targets") for t in given["targets"]]
    if "baselines" in given:
        found["baselines"] = baseline_tensors(given["baselines"], inputs, dtype, about.distribution)
    if "method" in given:
        found["method"] = _pure(given["method"], inputs, dtype)
    return found | edit_options(given, inputs) | map_options(given, inputs)


def _pure(method: Callable, inputs: Inputs, dtype: torch.dtype | None) -> Callable:
    """The pure form of a method that may be labelled, or of a partial of one, its options in the pure form too."""
    if not isinstance(method, functools.partial):
        return getattr(method, "functional", method)
    inner, options = _pure(method.func, inputs, dtype), dict(method.keywords)
    if "baselines" in options and hasattr(inner, "about"):
        many = inner.about.distribution
        options["baselines"] = baseline_tensors(options["baselines"], inputs, dtype, many)
    if hasattr(inner, "explain") and "only" in inspect.signature(inner.explain).parameters:
        options |= edit_options({"only": None, **options}, inputs)
    return functools.partial(inner, *method.args, **options)


def _lazily(method: Method[...], given: Mapping[str, Any], inputs: Inputs, facts: Facts, many: bool) -> Any:
    """The result of a Dask-backed call: options with sample dims follow the inputs' blocks by the samples' numbers."""
    dtype = dtype_of(given["f"])
    options = {**given, **_options(given, inputs, dtype, method.about), "progress": False}
    if not many:
        options |= {"target": None, "targets": [options["target"]]}

    def explain(xs: tuple[torch.Tensor, ...], numbers: list[int]) -> Explanation:
        xs = tuple(x.to(dtype) if dtype is not None and x.is_floating_point() else x for x in xs)
        own = {**options, "targets": at_samples(options["targets"], numbers, inputs)}
        if "baselines" in options:
            own["baselines"] = at_samples(options["baselines"], numbers, inputs, method.about.distribution)
        return method.explain(**{**own, "x": xs[0] if inputs.single else xs})

    if "layer" not in options:
        return lazily(explain, inputs, facts, many)
    first = of_first(explain, inputs)
    options["layer"] = settled(options["layer"], first)
    if method.about.name in functional.MAPS:
        return lazy_maps(explain, first, inputs, facts, many)
    return lazily(explain, inputs, facts, many)


def layer_activation(
    f: Model,
    x: Any,
    *,
    layer: Layer = "auto",
    reshape: Reshape | None = None,
    onto: int | str = 0,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> xr.DataArray:
    """Output of a layer, with labels.

    Parameters
    ----------
    f : callable
        The model, see `attrib.functional.layer_activation`.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    layer : str or torch.nn.Module, default "auto"
        A dotted name, the module itself, or `"auto"`: the last layer on whose positions the output depends.
    reshape : callable, optional
        Your own image form: a function of the layer's output that gives (N, C, *spatial).
    onto : int or str, default 0
        With several inputs: the one whose spatial coords the result gets.
    sample_dims, dims, coords
        As for every method.
    batch_size : int or "auto", default "auto"
        Rows per model call.
    device : torch.device or str, optional
        Where to run; default: where the model's parameters are.
    progress : bool or callable, default False
        True shows a bar.

    Returns
    -------
    DataArray
        Called `activation`: the sample dims, `filter`, and the input's spatial dims, whose coords are the centres of the
        layer's cells in the input's coords.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.layer_activation`.
    """
    inputs = labelled_inputs(x, sample_dims, dims, coords)
    at = map_options({"onto": onto}, inputs).get("onto", onto)
    tensors = inputs.tensors(dtype_of(f))
    a = functional.layer_activation(
        f, tensors[0] if inputs.single else tensors, layer=layer, reshape=reshape, onto=at,
        batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip
    return wrap_activation(as_numpy(a), inputs, at, {"layer": plain(layer)})


def filters(f: Model, layer: Layer = "first") -> xr.DataArray:
    """Weights of a convolution, with labels.

    Parameters
    ----------
    f : callable
        The model.
    layer : str or torch.nn.Module, default "first"
        A convolution by dotted name or as a module; `"first"` is the first one in the order of the modules.

    Returns
    -------
    DataArray
        Called `filters`: dims `filter`, `channel` and `position`, or `y, x`, or `z, y, x`, with offsets from the
        kernel's centre as coords.

    Raises
    ------
    ValueError
        If the model has no such layer, or it is no convolution; the message lists the convolutions.
    """
    return wrap_filters(as_numpy(functional.filters(f, layer)), {"layer": plain(layer)})


saliency = labelled(functional.saliency)
input_x_gradient = labelled(functional.input_x_gradient)
integrated_gradients = labelled(functional.integrated_gradients)
smooth_grad = labelled(functional.smooth_grad)
noise_tunnel = labelled(functional.noise_tunnel)
gradient_shap = labelled(functional.gradient_shap)
in_silico_mutagenesis = labelled(functional.in_silico_mutagenesis, axis="nucleotide", position="position")
occlusion = labelled(functional.occlusion)
feature_ablation = labelled(functional.feature_ablation)
deep_lift = labelled(functional.deep_lift)
deep_lift_shap = labelled(functional.deep_lift_shap)
grad_cam = labelled(functional.grad_cam)
grad_cam_plus_plus = labelled(functional.grad_cam_plus_plus)
layer_cam = labelled(functional.layer_cam)
hires_cam = labelled(functional.hires_cam)
guided_grad_cam = labelled(functional.guided_grad_cam)
