"""Measures of how far an attribution can be trusted, with labels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec

import numpy as np
import torch
import xarray as xr

from attrib import functional
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.model.parameters import Model, dtype_of
from attrib.engine.target import TargetLike
from attrib.functional.arguments import checked
from attrib.labels.align import at_samples, baseline_tensors, numbers_in_order
from attrib.labels.editing import edit_options
from attrib.labels.inputs import Inputs, for_model, labelled_inputs
from attrib.labels.measures import TARGET, Fields, measured
from attrib.labels.methods import pure_form

P = ParamSpec("P")
PETSIUK, YEH, ADEBAYO = "arXiv:1806.07421", "arXiv:1901.09392", "arXiv:1810.03292"


def _curve(
    name: str,
    f: Model,
    x: Any,
    attribution: Any,
    *,
    baselines: Any = 0.0,
    steps: int = 20,
    groups: Any = None,
    order: str = "largest",
    n_random: int = 0,
    seed: int = 0,
    target: TargetLike | xr.DataArray = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """The curve `name`, "deletion" or "insertion", of labelled or plain arrays."""
    settings: dict[str, Any] = {
        "baselines": baselines, "steps": steps, "groups": groups,
        "order": order, "n_random": n_random, "seed": seed,
    }  # fmt: skip
    passing: dict[str, Any] = {
        "target": target, "targets": targets, "classes": classes,
        "additional_forward_args": additional_forward_args,
        "batch_size": batch_size, "device": device, "progress": progress,
    }  # fmt: skip
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    return _measured_curve(name, f, inputs, attribution, settings, passing)


def _curve_of(
    curve: Callable[Concatenate[str, P], xr.DataArray],
) -> Callable[[Callable[[], None]], Callable[P, xr.DataArray]]:
    """Make a function of its name and its docstring: the arguments of `curve` after its first."""

    def register(described: Callable[[], None]) -> Callable[P, xr.DataArray]:
        @functools.wraps(described)
        def labelled(*args: P.args, **kwargs: P.kwargs) -> xr.DataArray:
            return curve(described.__name__, *args, **kwargs)

        signature = inspect.signature(curve)
        labelled.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        labelled.__annotations__ = {k: v for k, v in curve.__annotations__.items() if k != "name"}
        labelled.__wrapped__ = curve  # type: ignore  # whose file knows the names in the annotations
        return checked(labelled)

    return register


@_curve_of(_curve)
def deletion() -> None:
    """The score as the most important features are replaced by their baselines, with labels.

    See `attrib.functional.deletion` for the formula and the cost.

    Parameters
    ----------
    f : callable
        The model.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    attribution : DataArray, Dataset, mapping, tuple or array-like
        Of these inputs, matched by the names of dims and the labels of coords. Along dims that it lacks, such as
        `channel` of the maps of a layer, features go together.
    baselines : float, DataArray, Dataset, mapping, array-like, tuple or callable, default 0.0
        What replaces features, as for `occlusion`.
    steps : int, default 20
        Points of the curve after the first.
    groups : str, DataArray, array-like, mapping or tuple of these, optional
        Features that go together, as for `feature_ablation`.
    order : {"largest", "magnitude", "random"}, default "largest"
        The largest attributions first, the largest absolute ones, or the order of chance.
    n_random : int, default 0
        Random orders as a control: coords `random_area` and `z`.
    seed : int, default 0
        Of the random orders.
    target, targets, classes, additional_forward_args, batch_size, device, progress
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `deletion`, in output units: the sample dims and `fraction`, with a leading `target` dim for `targets`. Coords along
        the samples: `prediction`, `area` (mean of the curve), and with a control `random_area` and `z`, how many standard
        deviations the area is smaller than those of random orders. Lazy for inputs backed by Dask.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.deletion`; also for attributions whose dims or labels are not those of the inputs.

    Examples
    --------
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 3.0, 2.0]], dims=("cell", "gene"), coords={"gene": ["INS", "GCG", "SST"]})
    >>> f = lambda x: x.sum(1)
    >>> curve = attrib.deletion(f, x, attrib.input_x_gradient(f, x), steps=3)
    >>> curve.dims, curve.values, curve.area.item()
    (('cell', 'fraction'), array([[6., 3., 1., 0.]]), 2.3333333333333335)
    """


@_curve_of(_curve)
def insertion() -> None:
    """The score of the baseline as the most important features are put in, with labels.

    See `attrib.functional.insertion` for the formula and the cost.

    Parameters
    ----------
    f, x, attribution
        As for `deletion`.
    baselines : float, DataArray, Dataset, mapping, array-like, tuple or callable, default 0.0
        Where the curve begins.
    steps, groups, order, n_random, seed
        As for `deletion`.
    target, targets, classes, additional_forward_args, batch_size, device, progress
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `insertion`, as the result of `deletion`; `z` is how many standard deviations the area is larger than those of
        random orders.

    Raises
    ------
    TypeError, ValueError
        As `deletion`.

    Examples
    --------
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 3.0, 2.0]], dims=("cell", "gene"))
    >>> f = lambda x: x.sum(1)
    >>> attrib.insertion(f, x, attrib.input_x_gradient(f, x), steps=3).values
    array([[0., 3., 5., 6.]])
    """


@checked
def infidelity(
    f: Model,
    x: Any,
    attribution: Any,
    *,
    perturb_func: Callable[..., Any] | None = None,
    n_perturb_samples: int = 10,
    stdevs: float | tuple[float, ...] = 0.01,
    normalize: bool = False,
    seed: int = 0,
    target: TargetLike | xr.DataArray = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """How badly an attribution predicts the change of the score under small perturbations, with labels.

    See `attrib.functional.infidelity` for the formula and the cost.

    Parameters
    ----------
    f, x, attribution
        As for `deletion`; the attribution has all dims of the input.
    perturb_func, n_perturb_samples, stdevs, normalize, seed
        As for `attrib.functional.infidelity`; `perturb_func` gets tensors.
    target, targets, classes, additional_forward_args, batch_size, device, progress
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `infidelity`, in output units squared: the sample dims, with a leading `target` dim for `targets`.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.infidelity`, and `deletion`.

    Examples
    --------
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("cell", "gene"))
    >>> f = lambda x: x[:, 0] - 2 * x[:, 1]
    >>> bool(attrib.infidelity(f, x, attrib.saliency(f, x, absolute=False)) < 1e-20)
    True
    """
    settings: dict[str, Any] = {
        "perturb_func": perturb_func, "n_perturb_samples": n_perturb_samples,
        "stdevs": stdevs, "normalize": normalize, "seed": seed,
    }  # fmt: skip
    passing: dict[str, Any] = {
        "target": target, "targets": targets, "classes": classes,
        "additional_forward_args": additional_forward_args,
        "batch_size": batch_size, "device": device, "progress": progress,
    }  # fmt: skip
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))

    pure = {**settings, "stdevs": numbers_in_order(stdevs, inputs, "stdevs")}

    def measure(xs: Any, attributions: Any, options: Any) -> Fields:
        return {"infidelity": functional.infidelity(f, xs, attributions, **pure, **options)}

    return measured("infidelity", measure, f, inputs, attribution, settings, passing, "output^2", YEH)


@checked
def sensitivity_max(
    method: Callable[..., Any],
    f: Model,
    x: Any,
    *,
    perturb_func: Callable[..., Any] | None = None,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    seed: int = 0,
    target: TargetLike | xr.DataArray = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """How much an attribution changes, at most, when the input moves a little, with labels.

    See `attrib.functional.sensitivity_max` for the formula and the cost.

    Parameters
    ----------
    method : callable
        A method of `attrib` or of `attrib.functional`; its own options in a `functools.partial`, and may be labelled.
    f : callable
        The model.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    perturb_func, perturb_radius, n_perturb_samples, seed
        As for `attrib.functional.sensitivity_max`; `perturb_func` gets tensors.
    target, targets, classes, additional_forward_args, batch_size, device, progress
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `sensitivity_max`, without a unit: the sample dims, with a leading `target` dim for `targets`.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.sensitivity_max`.

    Examples
    --------
    >>> import attrib, xarray as xr
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("cell", "gene"))
    >>> attrib.sensitivity_max(attrib.saliency, lambda x: x.sum(1), x).values
    array([0.])
    """
    settings: dict[str, Any] = {
        "perturb_func": perturb_func, "perturb_radius": perturb_radius,
        "n_perturb_samples": n_perturb_samples, "seed": seed,
    }  # fmt: skip
    passing: dict[str, Any] = {
        "target": target, "targets": targets, "classes": classes,
        "additional_forward_args": additional_forward_args,
        "batch_size": batch_size, "device": device, "progress": progress,
    }  # fmt: skip
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    inner = pure_form(method, inputs, dtype_of(f))

    def measure(xs: Any, _: Any, options: Any) -> Fields:
        return {"sensitivity_max": functional.sensitivity_max(inner, f, xs, **settings, **options)}

    return measured(
        "sensitivity_max", measure, f, inputs, None, {"method": method, **settings}, passing, "1", YEH
    )


@checked
def randomization(
    method: Callable[..., Any],
    f: Model,
    x: Any,
    *,
    seed: int = 0,
    target: TargetLike | xr.DataArray = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """How alike an attribution stays as the model's parameters are drawn anew from the output down, with labels.

    See `attrib.functional.randomization` for the formula and the cost.

    Parameters
    ----------
    method : callable
        As for `sensitivity_max`.
    f : torch.nn.Module
        The model; a copy of it is changed.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s).
    seed : int, default 0
        Of the parameters that are drawn.
    target, targets, classes, additional_forward_args, batch_size, device, progress
        As for every method.
    sample_dims, dims, coords
        As for every method.

    Returns
    -------
    DataArray
        Called `randomization`: rank correlation with the attribution of the model itself. Dims: `layer`, the module drawn
        last, from the output down, and the sample dims, with a leading `target` dim for `targets`.

    Raises
    ------
    TypeError, ValueError
        As `attrib.functional.randomization`.

    Examples
    --------
    >>> import attrib, torch, xarray as xr
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> x = xr.DataArray([[1.0, 2.0, 3.0, 4.0]], dims=("cell", "gene"))
    >>> r = attrib.randomization(attrib.saliency, model, x, target=0)
    >>> r.dims, r.layer.values.tolist()
    (('layer', 'cell'), ['2', '0'])
    """
    passing: dict[str, Any] = {
        "target": target, "targets": targets, "classes": classes,
        "additional_forward_args": additional_forward_args,
        "batch_size": batch_size, "device": device, "progress": progress,
    }  # fmt: skip
    f, inputs = for_model(f, labelled_inputs(x, sample_dims, dims, coords))
    inner = pure_form(method, inputs, dtype_of(f))
    layers: list[str] = []

    def measure(xs: Any, _: Any, options: Any) -> Fields:
        r = functional.randomization.explain(inner, f, xs, seed=seed, **options)
        layers[:] = r.layers
        return {"randomization": r.correlation.movedim(-2, -1)}

    r = measured(
        "randomization",
        measure,
        f,
        inputs,
        None,
        {"method": method, "seed": seed},
        passing,
        "1",
        ADEBAYO,
        ("layer",),
    )
    lead = [d for d in r.dims if d == TARGET]
    return r.assign_coords(layer=layers).transpose(*lead, "layer", ...)


def _measured_curve(
    name: str, f: Model, inputs: Inputs, attribution: Any, settings: dict[str, Any], passing: dict[str, Any]
) -> xr.DataArray:
    """A curve of deletion or insertion."""
    explain = getattr(functional, name).explain
    tensors = {
        **settings,
        "baselines": baseline_tensors(settings["baselines"], inputs, dtype_of(f), "point"),
        "groups": edit_options({"groups": settings["groups"]}, inputs).get("groups"),
    }

    def measure(xs: Any, attributions: Any, options: Any, numbers: Sequence[int]) -> Fields:
        baselines = at_samples(tensors["baselines"], numbers, inputs)
        groups = at_samples(tensors["groups"], numbers, inputs)
        of_some = {**tensors, "baselines": baselines, "groups": groups}
        curve = explain(f, xs, attributions, **of_some, **options)
        fields = {name: curve.score, "area": curve.area, "random_area": curve.random_area, "z": curve.z}
        fields["prediction"] = curve.prediction
        return {n: t for n, t in fields.items() if t is not None}

    fraction = (
        np.arange(settings["steps"] + 1) / settings["steps"] if isinstance(settings["steps"], int) else None
    )
    result = measured(
        name,
        measure,
        f,
        inputs,
        attribution,
        settings,
        passing,
        "output",
        PETSIUK,
        ("fraction",),
        with_numbers=True,
    )
    result = result.assign_coords(
        fraction=(
            "fraction",
            fraction,
            {"long_name": f"share of the features that are {'gone' if name == 'deletion' else 'there'}"},
        )
    )
    return result
