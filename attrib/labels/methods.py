"""A method on tensors as a function of labelled arrays: the same arguments, and labels in and out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from attrib._arguments import plain
from attrib.engine.model.parameters import dtype_of
from attrib.engine.model.prepared import BlockModel, FirstLook, PreparedModel
from attrib.engine.target import class_names
from attrib.functional.arguments import refuse_unknown
from attrib.functional.docstrings import labelled_doc
from attrib.functional.explanation import About, Explanation
from attrib.functional.layers import dims_at_layer
from attrib.interop.arrays import as_tensor
from attrib.labels.align import (
    args_at,
    at_samples,
    baseline_tensors,
    forward_args,
    numbers_in_order,
    refuse_coord_as_target,
    sample_values,
)
from attrib.labels.at_layer import groups_at, lazily_at_layer, wrap_at_layer
from attrib.labels.editing import edit_options
from attrib.labels.inputs import Inputs, errors_with_names, for_model, labelled_inputs, refuse_target_coord
from attrib.labels.lazy import computed, lazily, lazy_maps, of_first, of_zeros, resolved
from attrib.labels.results import Facts, wrap
from attrib.labels.spatial import input_number, wrap_map

# What labelled functions take beside the arguments of the method, and the arguments of which they take more.
LABELS = {
    "sample_dims": "Hashable | Sequence[Hashable] | None",
    "dims": "Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None",
    "coords": "Mapping[Hashable, Any] | None",
}
WIDER = {
    "x": "Any",
    "method": "Callable[..., Any]",
    "baselines": "Any",
    "target": "TargetLike | xr.DataArray | np.ndarray",
    "axis": "Hashable",
    "position": "Hashable",
    "positions": "Sequence[Any] | Tensor | np.ndarray | xr.DataArray | slice | None",
    "window": "int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...]",
    "stride": "int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...]",
    "only": "int | str | None",
    "onto": "int | str",
}
FEW = 64  # rows in a call of the first look at a model


def labelled(method: Any, examples: str = "", **defaults: Any) -> Callable[..., Any]:
    """The labelled form of a pure method: same arguments, and `sample_dims`, `dims`, `coords`.

    It adds no mathematics: inputs become tensors (N, ...), results get the inputs' labels back.

    Parameters
    ----------
    method : callable
        One of `attrib.functional.METHODS`.
    examples : str
        The Examples of its docstring.
    **defaults
        Defaults that differ: names of dims in place of numbers.
    """
    about: About = method.about
    pure = inspect.signature(method)
    pure = pure.replace(
        parameters=[p.replace(default=defaults.get(n, p.default)) for n, p in pure.parameters.items()]
    )
    signature = _labelled_signature(pure, about)
    names = tuple(signature.parameters)

    @functools.wraps(method)
    def attribute(*args: Any, **options: Any) -> Any:
        refuse_unknown(about.name, names, options)
        labels = {name: options.pop(name, None) for name in LABELS}
        options = {name: plain(value) for name, value in options.items()}
        try:
            call = pure.bind(*args, **options)
        except TypeError as error:
            raise TypeError(f"{about.name}: {error}") from None
        call.apply_defaults()
        settings = call.arguments
        many = settings["targets"] is not None
        facts = _facts(about, settings)
        settings["f"], inputs = for_model(settings["f"], labelled_inputs(settings["x"], **labels))
        if many:
            refuse_target_coord(inputs)
        dtype = dtype_of(settings["f"])
        at_layer = not about.layer and _site(settings)["layer"] is not None
        with errors_with_names(inputs):
            settings |= _tensor_options(settings, inputs, dtype, about, at_layer)
        if inputs.lazy:
            lazy = _lazily(method, settings, inputs, facts, many, at_layer)
            return computed(lazy) if inputs.eager else lazy
        tensors = inputs.tensors(dtype)
        settings["x"] = tensors[0] if inputs.single else tensors
        with errors_with_names(inputs):
            explanation = method.explain(*call.args, **call.kwargs)
        if at_layer:
            shape = explanation.attribution.shape[2 if many else 1 :]
            matches = dims_at_layer(settings["f"], tensors, tuple(shape), **_site(settings))
            return wrap_at_layer(explanation, inputs, facts, many, matches)
        return (wrap_map if about.result == "layer map" else wrap)(explanation, inputs, facts, many)

    attribute.__module__ = "attrib"
    attribute.__doc__ = labelled_doc(method.__doc__, about, examples)
    attribute.__signature__ = signature  # type: ignore[attr-defined]
    attribute.functional = method  # type: ignore[attr-defined]
    attribute.about = about  # type: ignore[attr-defined]
    return attribute


def _labelled_signature(pure: inspect.Signature, about: About) -> inspect.Signature:
    parameters = [p.replace(annotation=WIDER.get(n, p.annotation)) for n, p in pure.parameters.items()]
    for name, annotation in LABELS.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    form = (
        "xr.DataArray"
        if about.result == "layer map"
        else "xr.DataArray | xr.Dataset | tuple[xr.DataArray, ...]"
    )
    return pure.replace(parameters=parameters, return_annotation=form)


def _facts(about: About, settings: dict[str, Any]) -> Facts:
    """What the attrs will tell: the options as the caller passed them."""
    units = about.units
    if about.wraps:
        inner = getattr(getattr(settings["method"], "func", settings["method"]), "about", None)
        units = "gradient" if inner is None else inner.units
    classes = settings["classes"]
    params = {k: v for k, v in settings.items() if k not in ("f", "x")}
    return Facts(about, units, params, class_names(classes))


def _tensor_options(
    settings: dict[str, Any], inputs: Inputs, dtype: torch.dtype | None, about: About, at_layer: bool
) -> dict[str, Any]:
    """The options that hold arrays and names, in the form of the pure functions."""
    refuse_coord_as_target(settings["target"], settings["classes"], inputs)
    options: dict[str, Any] = {"target": sample_values(settings["target"], inputs, "target")}
    if isinstance(settings["targets"], list | tuple):
        options["targets"] = [sample_values(t, inputs, "targets") for t in settings["targets"]]
    if about.baselines is not None:
        options["baselines"] = baseline_tensors(settings["baselines"], inputs, dtype, about.baselines)
    options["additional_forward_args"] = forward_args(settings["additional_forward_args"], inputs, dtype)
    if "stdevs" in settings:
        options["stdevs"] = numbers_in_order(settings["stdevs"], inputs, "stdevs")
    if about.wraps:
        options["method"] = pure_form(settings["method"], inputs, dtype)
    if about.edits and not at_layer:
        options |= edit_options(settings, inputs)
    elif isinstance(settings.get("groups"), np.ndarray):  # in the layer's own shape
        options["groups"] = as_tensor(settings["groups"], "groups")
    if about.result == "layer map":
        options["onto"] = input_number(settings["onto"], inputs)
    return options


def pure_form(method: Callable[..., Any], inputs: Inputs, dtype: torch.dtype | None) -> Callable[..., Any]:
    """The pure form of a method that may be labelled, or of a partial of one, its options in the pure form too."""
    if not isinstance(method, functools.partial):
        return getattr(method, "functional", method)
    inner, options = pure_form(method.func, inputs, dtype), dict(method.keywords)
    about: About | None = getattr(inner, "about", None)
    if about is not None and about.baselines is not None and "baselines" in options:
        options["baselines"] = baseline_tensors(options["baselines"], inputs, dtype, about.baselines)
    if "additional_forward_args" in options:
        options["additional_forward_args"] = forward_args(options["additional_forward_args"], inputs, dtype)
    if "stdevs" in options:
        options["stdevs"] = numbers_in_order(options["stdevs"], inputs, "stdevs")
    if about is not None and about.edits:
        options |= edit_options(options, inputs)
    return functools.partial(inner, *method.args, **options)


def _site(settings: dict[str, Any]) -> dict[str, Any]:
    """Where a layer is, of the method or of the one inside it, and how the model is called."""
    inside = getattr(settings.get("method"), "keywords", {})
    where = inside if settings.get("layer") is None and inside.get("layer") is not None else settings
    site = {k: where.get(k) for k in ("layer", "output", "call")}
    return site | {k: settings.get(k) for k in ("additional_forward_args", "device")}


def _lazily(
    method: Any, settings: dict[str, Any], inputs: Inputs, facts: Facts, many: bool, at_layer: bool
) -> Any:
    """The result of a Dask-backed call: options with sample dims follow the inputs' blocks by the samples' numbers."""
    about: About = method.about
    model, dtype = settings["f"], dtype_of(settings["f"])
    options = {**settings, "progress": False}
    if not many:
        options |= {"target": None, "targets": [options["target"]]}

    def explain(xs: tuple[torch.Tensor, ...], numbers: list[int]) -> Explanation:
        xs = tuple(x.to(dtype) if dtype is not None and x.is_floating_point() else x for x in xs)
        of_block = {
            **options,
            "targets": at_samples(options["targets"], numbers, inputs),
            "additional_forward_args": args_at(options["additional_forward_args"], numbers, inputs),
        }
        if about.baselines is not None:
            of_block["baselines"] = at_samples(options["baselines"], numbers, inputs, about.baselines)
        if "groups" in options and not at_layer:
            of_block["groups"] = at_samples(options["groups"], numbers, inputs)
        elif "groups" in options:
            of_block["groups"] = groups_at(options["groups"], numbers, inputs)
        return method.explain(**{**of_block, "x": xs[0] if inputs.single else xs})

    if about.layer or at_layer:
        probe = of_first(explain, inputs)
        options |= resolved(options, probe) if about.layer else {}
    else:
        before = dict(options)
        options |= _at_first(options, about)
        probe = _form_of_result(about, before, inputs, lambda: of_zeros(explain, inputs))
        options |= before
    options["f"] = BlockModel(model)
    if at_layer:
        beside = args_at(options["additional_forward_args"], [0], inputs)
        site = _site({**settings, "additional_forward_args": beside})
        return lazily_at_layer(
            explain, probe, inputs, facts, many, functools.partial(dims_at_layer, model, **site), dtype
        )
    lay_out = lazy_maps if about.result == "layer map" else lazily
    return lay_out(explain, probe, inputs, facts, many)


def _form_of_result(
    about: About, options: dict[str, Any], inputs: Inputs, tried: Callable[[], Explanation]
) -> Explanation:
    """What a sample of zeros gives; a prepared model remembers it for options that are numbers and names."""
    model = options["f"]
    plain = {k: v for k, v in options.items() if k not in ("f", "x")}
    if not (isinstance(model, PreparedModel) and all(map(_is_plain, plain.values()))):
        return tried()
    forms = [([a.sizes[d] for d in inputs.core(j)], a.dtype) for j, a in enumerate(inputs.arrays)]
    return model.shown(f"{about.name} {plain} {forms}", tried)  # type: ignore[no-any-return]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _at_first(options: dict[str, Any], about: About) -> dict[str, Any]:
    """Options that show the form of a result at little cost: few steps and draws, whose memory need not be measured."""
    few = {name: min(options[name], 2) for name in ("n_steps", "n_samples") if type(options.get(name)) is int}
    if (
        options.get("n_steps", 0) is None
        and options.get("rtol") is None
        and options.get("quadrature") != "exact"
    ):
        few["n_steps"] = 2
    unmeasured = options.get("batch_size") == "auto" and len(options["targets"]) == 1 and not about.edits
    batches = {"batch_size": FEW} if unmeasured and not about.wraps else {}
    look = FirstLook(options["f"], measured=not batches)
    return {"f": look} | {name: n for name, n in few.items() if n == 2} | batches
