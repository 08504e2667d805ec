"""Wrong arguments, inputs and models: the error says what to do, and nothing is changed."""

import inspect
import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib.testing import untouched
from tests.cases import CASES, Case, agree, drawn

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


class Breaks(nn.Module):
    """Raises in the call of the given number."""

    def __init__(self, body: nn.Module, at: int) -> None:
        super().__init__()
        self.body, self._left = body, [at]

    def forward(self, x: Tensor) -> Tensor:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise ArithmeticError("the model broke")
        return self.body(x)


@pytest.mark.parametrize("at", [0, 1, 2])
@cases
def test_nothing_is_changed_by_a_model_that_breaks(case: Case, at: int) -> None:
    s, options = drawn(case, "mlp")
    model = Breaks(s.f, at)
    with untouched(model, s.x), pytest.raises(ArithmeticError, match="the model broke"):
        case.bound()(model, s.x, batch_size=1, **options)


@pytest.mark.parametrize("target", [7, -99, "cat", True, 1.5, [0], (0, 0), None, lambda y: y])
@cases
def test_nothing_is_changed_by_a_wrong_target(case: Case, target: Any) -> None:
    s, options = drawn(case, "mlp")
    with untouched(s.f, s.x), pytest.raises((ValueError, TypeError), match="`target`"):
        case.bound()(s.f, s.x, **{**options, "target": target})


@cases
def test_inputs_of_inference_mode(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.inference_mode():
        inside = s._replace(x=s.x.clone())
        found = case.bound()(inside.f, inside.x, **options)
    agree(found, expected, 1e-12)
    agree(case.bound()(inside.f, inside.x, **options), expected, 1e-12)


@cases
def test_a_caller_that_tracks_gradients_or_does_not(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.no_grad():
        assert torch.equal(case.bound()(s.f, s.x, **options), expected)
    tracked = s.x.clone().requires_grad_()
    found = case.bound()(s.f, tracked, **options)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert tracked.grad is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
@cases
def test_inputs_that_are_not_finite_are_named(case: Case, value: float) -> None:
    s, options = drawn(case, "mlp", n=4)
    x = s.x.clone()
    x[2, 1] = value
    with pytest.raises(ValueError, match=r"`x` has NaN or infinite values in 1 of 4 samples: 2"):
        case.bound()(s.f, x, **options)


@cases
def test_outputs_that_are_not_finite_are_named(case: Case) -> None:
    if "mlp" not in case.kinds:
        pytest.skip("no vectors")
    _, options = drawn(case, "mlp", n=4)
    x = torch.tensor([[1.0], [2.0], [-3.0], [4.0]], dtype=torch.float64)
    options.pop("baselines", None)
    if case.takes:
        options["baselines"] = x.new_ones(1, 1)
    if case.name.startswith(("smooth_grad", "noise_tunnel")):
        options["stdevs"] = 0.01  # the range of a single number is no scale
    with pytest.raises(ValueError, match=r"1 of 4 samples: 2"):
        case.bound()(lambda x: x.log(), x, **{**options, "target": 0})


@pytest.mark.parametrize("x", [3, [1.0, 2.0], np.ones((2, 5)), torch.ones(2, 5, dtype=torch.int64)])
@cases
def test_inputs_that_are_no_float_tensors(case: Case, x: Any) -> None:
    s, options = drawn(case, "mlp")
    if isinstance(x, torch.Tensor) and case.method.about.edits:
        pytest.skip("whole numbers can be replaced")
    with pytest.raises(TypeError, match="`x"):
        case.bound()(s.f, x, **options)


@cases
def test_inputs_without_samples_or_with_unequal_numbers(case: Case) -> None:
    if "two_inputs" not in case.kinds:
        pytest.skip("one input")
    s, options = drawn(case, "two_inputs")
    with pytest.raises(ValueError, match="at least one sample"):
        case.bound()(s.f, torch.ones(0, 5), **options)
    with pytest.raises(ValueError, match="3 and 2 samples"):
        case.bound()(s.f, (s.x[0], s.x[1][:2]), **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"batch_size": -3}, ValueError, "`batch_size` is -3"),
        ({"batch_size": "big"}, TypeError, "`batch_size` is 'big'"),
        ({"batch_size": True}, TypeError, "`batch_size` is True"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` is 2.0"),
        ({"engine": "magic"}, ValueError, "`engine` is 'magic'"),
        ({"target": 0, "targets": [0]}, ValueError, "both given"),
        ({"targets": []}, ValueError, "`targets` is empty"),
        ({"targets": "every"}, ValueError, "`targets` is 'every'"),
        ({"target": 0, "classes": ["a", "b"]}, ValueError, "`classes` has 2 names, but the model has 3"),
        (
            {"target": "a", "classes": ["a", "a", "b"]},
            ValueError,
            "`classes` has 'a' more than once, expected one name for each output",
        ),
    ],
)
@cases
def test_wrong_arguments(case: Case, options: dict, error: type[Exception], text: str) -> None:
    s, _ = drawn(case, "mlp")
    if "engine" in options and "func" not in case.engines:
        pytest.skip("no engine to choose")
    with untouched(s.f, s.x), pytest.raises(error, match=text):
        case.bound()(s.f, s.x, **{"target": None, **case.baselines(s), **options})


def test_errors_of_the_model_say_what_it_was_called_with() -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)).eval()
    with pytest.raises(ValueError, match="got 1D input") as lone:
        attrib.saliency(net, np.ones(3, "float32"), target=0)
    assert "if `x` is one sample, pass x[None]" in lone.value.__notes__[0]
    with pytest.raises(RuntimeError) as turned:
        attrib.functional.saliency(torch.nn.Linear(3, 2), torch.ones(3, 5), target=0)
    assert "5), torch.float32: dim 0 of `x` is samples" in turned.value.__notes__[0]


def test_what_is_no_array_is_refused_with_what_to_pass() -> None:
    net = torch.nn.Linear(3, 2)
    for x, words in (
        ("cells.h5ad", "pass what is in the file"),
        (net, "the model comes first"),
        ("a good film", "is text"),
    ):
        with pytest.raises(TypeError, match=words):
            attrib.saliency(net, x, target=0)


def test_names_of_the_package_are_found_and_misspelt_ones_told() -> None:
    assert attrib.domains.sequences.one_hot("ACGT").shape == (1, 4, 4)
    assert {"mri", "sequences"} <= set(dir(attrib.domains))
    for place in (attrib, attrib.domains, attrib.workflows):
        with pytest.raises(AttributeError, match="has no attribute 'saliance'") as error:
            _ = place.saliance
        assert (error.value.name, error.value.obj) == (
            "saliance",
            place,
        )  # Python suggests the nearest by these


ROOMS = (
    "stats",
    "plots",
    "io",
    "domains.sequences",
    "domains.motifs",
    "domains.expression",
    "domains.fcgr",
    "testing",
)
PUBLIC = {
    f"{room}.{name}": getattr(import_module(f"attrib.{room}"), name)
    for room in ROOMS
    for name in import_module(f"attrib.{room}").__all__
} | {
    f"functional.{name}": getattr(attrib.functional, name)
    for name in ("prepare", "shared", "up_to", "from_layer", "head", "op_shares")
}


def last(function: Any) -> inspect.Parameter:
    return list(inspect.signature(function).parameters.values())[-1]


FUNCTIONS = {  # those that hand options on leave unknown ones to the method
    name: f
    for name, f in PUBLIC.items()
    if inspect.isfunction(f)
    and inspect.signature(f).parameters
    and last(f).kind != inspect.Parameter.VAR_KEYWORD
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_keyword_of_a_public_function_gets_the_nearest_name(name: str) -> None:
    function = FUNCTIONS[name]
    argument = last(function).name
    with pytest.raises(TypeError) as caught:
        function(**{f"{argument}z": 1})
    assert (
        str(caught.value) == f"{function.__name__} has no argument '{argument}z'; did you mean {argument!r}?"
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_has_no_labels_is_named_where_a_dataarray_is_expected(name: str) -> None:
    function = FUNCTIONS[name]
    for argument, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation == "xr.DataArray":
            with pytest.raises(
                TypeError, match=f"`{argument}` is a ndarray, expected a DataArray; make one: xr.DataArray"
            ):
                function(**{argument: np.ones((2, 3))})


def test_other_kinds_that_are_expected() -> None:
    a = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"))
    with pytest.raises(
        TypeError, match=r"`a` is a Dataset, expected a DataArray; pick a variable: a\[\.\.\.\]"
    ):
        attrib.plots.bars(a.to_dataset(name="a"))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"`moments` is a DataArray, expected a Dataset, as attrib.stats.moments_by gives it"
    ):
        attrib.stats.top(a)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError,
        match=r"`results` is a DataArray, expected a mapping of names to results, such as \{'saliency': a\}",
    ):
        attrib.stats.agreement(a)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match="`a` is a ndarray, expected a result, or a mapping of names to results"
    ):
        attrib.stats.summary(np.ones(3))  # type: ignore[arg-type]
