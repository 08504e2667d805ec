"""The register says what the methods are; calls with wrong arguments end at once, and say what was probably meant."""

from __future__ import annotations

import inspect
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib.functional import METHODS
from attrib.functional.arguments import SYNONYMS
from attrib.testing import specimen
from tests.cases import CASES, drawn

PACKAGE = str(Path(attrib.__file__).parent)
each_method = pytest.mark.parametrize("name", METHODS)
LAYERS = {"functional": attrib.functional, "labelled": attrib}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


@each_method
def test_the_register_agrees_with_the_signature(name: str) -> None:
    about, parameters = METHODS[name].about, inspect.signature(METHODS[name]).parameters
    assert (about.name, about.arguments) == (name, tuple(parameters))
    assert ("layer" in parameters) == (about.layer or about.takes_layer or (about.noisy and not about.edits))
    assert about.draws == ("seed" in parameters)
    assert about.wraps == ("method" in parameters)
    assert about.edits == ("path" in parameters or name == "shapley_values")
    assert (about.baselines is not None) == ("baselines" in parameters)
    if about.baselines is not None:
        required = parameters["baselines"].default is inspect.Parameter.empty
        assert (about.baselines == "distribution") == required
    assert (about.edits or about.layer) == ("engine" not in parameters)
    assert about.result in ("input", "layer map", "pairs")
    assert about.inputs == {"interaction": "two", "guided_grad_cam": "one"}.get(name, "any")
    assert getattr(attrib.functional, name) is METHODS[name]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_complete_methods_say_what_they_miss(case: Any) -> None:
    s, options = drawn(case, "mlp")
    explanation = case.explain()(s.f, s.x, **options)
    assert (explanation.delta is not None) == case.method.about.complete


@each_method
def test_the_labelled_function_has_the_same_arguments(name: str) -> None:
    labelled = inspect.signature(getattr(attrib, name)).parameters
    arguments = [*METHODS[name].about.arguments, "sample_dims", "dims", "coords"]
    assert sorted(labelled) == sorted(arguments)
    if name != "interaction":
        assert list(labelled) == arguments
    defaults = {n: p.default for n, p in inspect.signature(METHODS[name]).parameters.items()}
    if name == "in_silico_mutagenesis":
        defaults |= {"axis": "nucleotide", "position": "position"}
    assert {n: labelled[n].default for n in defaults} == defaults


def raised(function: Any, *args: Any, **options: Any) -> tuple[Exception, list[str]]:
    """The error of a call, and the files of the package in its traceback."""
    with pytest.raises((TypeError, ValueError)) as caught:
        function(*args, **options)
    frames = traceback.extract_tb(caught.value.__traceback__)
    return caught.value, [f.filename for f in frames if f.filename.startswith(PACKAGE)]


def never(*rows: torch.Tensor) -> torch.Tensor:
    raise AssertionError("the model was called")


@each_layer
@each_method
def test_an_unknown_argument_ends_in_few_frames(layer: Any, name: str) -> None:
    function = getattr(layer, name)
    lead = (layer.saliency,) if METHODS[name].about.wraps else ()
    error, files = raised(function, *lead, never, object(), batchsize=3)
    assert str(error) == f"{name} has no argument 'batchsize'; did you mean 'batch_size'?"
    assert isinstance(error, TypeError)
    assert len(files) <= 3


@each_layer
@pytest.mark.parametrize(
    ("name", "argument", "advice"),
    [
        ("integrated_gradients", "steps", "did you mean 'n_steps'?"),
        ("integrated_gradients", "internal_batch_size", "did you mean 'batch_size'?"),
        ("integrated_gradients", "method", "did you mean 'quadrature'?"),
        ("integrated_gradients", "return_convergence_delta", "the completeness error is `delta`"),
        ("saliency", "abs", "did you mean 'absolute'?"),
        ("occlusion", "sliding_window_shapes", "did you mean 'window'?"),
        ("occlusion", "strides", "did you mean 'stride'?"),
        ("feature_ablation", "feature_mask", "did you mean 'groups'?"),
        ("smooth_grad", "nt_samples", "did you mean 'n_samples'?"),
        ("grad_cam", "relu_attributions", "did you mean 'relu'?"),
        ("saliency", "zzz", "it has f, x, absolute, layer"),
        ("predict", "batchsize", "did you mean 'batch_size'?"),
        ("layer_activation", "layers", "did you mean 'layer'?"),
    ],
)
def test_arguments_of_other_names(layer: Any, name: str, argument: str, advice: str) -> None:
    error, _ = raised(getattr(layer, name), never, torch.ones(1, 2), **{argument: 1})
    assert isinstance(error, TypeError)
    assert str(error).startswith(f"{name} has no argument {argument!r}; {advice}")


def test_synonyms_are_arguments_of_some_method() -> None:
    assert set(SYNONYMS.values()) <= {a for m in METHODS.values() for a in m.about.arguments}


@each_layer
def test_unknown_arguments_of_the_inner_method(layer: Any) -> None:
    inner = partial(layer.integrated_gradients, steps=3)
    error, _ = raised(layer.noise_tunnel, inner, never, torch.ones(1, 2))
    assert str(error) == "integrated_gradients has no argument 'steps'; did you mean 'n_steps'?"
    error, _ = raised(layer.noise_tunnel, layer.saliency, never, torch.ones(1, 2), stdev=0.1)
    assert str(error) == "noise_tunnel has no argument 'stdev'; did you mean 'stdevs'?"


@each_layer
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 1.5}, TypeError, "`target` is 1.5, expected an int"),
        ({"target": True}, TypeError, "`target` is True, expected an int"),
        ({"target": np.array([0.5, 1.0])}, TypeError, "`target` is 0.5, expected an int"),
        (
            {"targets": [0, (1, "a", 2.0)]},
            ValueError,
            "`target` is the name 'a', but `classes` was not given",
        ),
        ({"targets": [0, None, (1, 2.0)]}, TypeError, r"`target` is \(1, 2.0\), expected an int"),
        (
            {"target": "cat", "classes": ["dog", "cow"]},
            ValueError,
            "'cat' is not one of the classes: dog, cow",
        ),
        ({"target": 0, "targets": [0]}, ValueError, "both given"),
    ],
)
def test_targets_that_fit_no_output(layer: Any, options: dict, error: type, message: str) -> None:
    x = torch.ones(2, 3)
    found, files = raised(layer.saliency, never, x, **options)
    assert isinstance(found, error)
    with pytest.raises(error, match=message):
        layer.saliency(never, x, **options)
    assert len([f for f in files if "engine" not in f]) <= 3
    assert not any("passes" in f or "model" in f for f in files)


def test_what_the_model_says_of_a_class_of_the_name_predicted() -> None:
    s = specimen("mlp", 2)
    a = attrib.functional.saliency(s.f, s.x, target="predicted", classes=["a", "predicted", "c"])
    assert torch.equal(a, attrib.functional.saliency(s.f, s.x, target=1))


NAMED = xr.DataArray(np.ones((2, 3), dtype="float32"), dims=("cell", "gene"))


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: attrib.saliency(never, NAMED, target="predict"), "predicted"),
        (lambda: attrib.saliency(never, NAMED, target="predicte", classes=["alpha", "beta"]), "predicted"),
        (lambda: attrib.saliency(never, NAMED, targets="al"), "all"),
        (lambda: attrib.saliency(never, NAMED, sample_dims="cel"), "cell"),
        (lambda: attrib.occlusion(never, NAMED, window={"gen": 1}), "gene"),
        (lambda: attrib.grad_cam(never, NAMED, normalize="min"), "minmax"),
        (
            lambda: attrib.in_silico_mutagenesis(
                never, NAMED.expand_dims(nucleotide=4, axis=1), axis="nucleotid"
            ),
            "nucleotide",
        ),
        (lambda: attrib.cohort("saliency", never, NAMED, "never.zarr", reductions="meen"), "mean"),
    ],
)
def test_the_nearest_value_is_named_before_the_model_is_called(call: Any, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"did you mean '{meant}'\?"):
        call()


@each_layer
@pytest.mark.parametrize("name", ["noise_tunnel", "guided_grad_cam"])
def test_a_method_by_its_name_inside_another(layer: Any, name: str) -> None:
    error, files = raised(getattr(layer, name), "saliency", never, torch.ones(1, 2))
    assert isinstance(error, TypeError)
    assert str(error).startswith("`method` is 'saliency', expected a method such as attrib.saliency")
    assert len(files) <= 5
