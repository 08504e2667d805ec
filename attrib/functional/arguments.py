"""The arguments of a call, checked as far as that goes before the model runs: their names, and the targets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from attrib._nearest import near
from attrib.engine.target import Custom, Entry, class_names, wanted
from attrib.functional.docstrings import fill
from attrib.functional.values import check_values

if TYPE_CHECKING:
    from attrib.functional.explanation import About

P = ParamSpec("P")
R = TypeVar("R")

# What captum and others call an argument, and what it is called here.
SYNONYMS = {
    "abs": "absolute",
    "feature_mask": "groups",
    "forward_func": "f",
    "inputs": "x",
    "internal_batch_size": "batch_size",
    "method": "quadrature",
    "model": "f",
    "multiply_by_input": "multiply_by_inputs",
    "nt_samples": "n_samples",
    "nt_samples_batch_size": "batch_size",
    "nt_type": "reduce",
    "num_steps": "n_steps",
    "perturbations_per_eval": "batch_size",
    "relu_attributions": "relu",
    "show_progress": "progress",
    "sliding_window_shapes": "window",
    "steps": "n_steps",
    "strides": "stride",
    "target_layer": "layer",
}
# What has no argument here, and what to do instead.
ADVICE = {
    "return_convergence_delta": "the completeness error is `delta` of `.explain(...)`, and a coord of labelled results",
    "draw_baseline_from_distrib": "gradient_shap and deep_lift_shap take a distribution of baselines",
    "attribute_to_layer_input": "pass the layer before as `layer`",
}


def check(about: About, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Refuse what is wrong with a call whatever the model gives.

    Parameters
    ----------
    about : About
        The method that is called.
    args, options
        The arguments of the call, by position and by name.

    Raises
    ------
    TypeError
        For names that are no arguments, and targets of a wrong type.
    ValueError
        For `target` and `targets` at once, an empty list of targets, and names that are no classes.
    """
    refuse_unknown(about.name, about.arguments, options)
    inner = (args[0] if args else options.get("method")) if about.wraps else None
    if isinstance(inner, functools.partial) and hasattr(inner.func, "about"):
        refuse_unknown(inner.func.about.name, inner.func.about.arguments, inner.keywords)
        check_values(inner.keywords)
    check_values(options)
    target, targets, classes = (options.get(name) for name in ("target", "targets", "classes"))
    for value in wanted(target, targets, classes, 0).items:
        error = _error_of_target(value, classes)
        if error is not None:
            raise error


def refuse_unknown(function: str, names: Sequence[str], options: Iterable[str]) -> None:
    """Raise a TypeError that names the function, the first unknown argument, and the one that was probably meant."""
    for option in options:
        if option not in names:
            raise TypeError(f"{function} has no argument {option!r}; {_advice(option, names)}")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A public function beside the methods: the passages of its docstring filled in, the names of its arguments checked."""
    names = tuple(inspect.signature(function).parameters)
    function.__doc__ = fill(function.__doc__)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        refuse_unknown(function.__name__, names, options)
        check_values(options)
        return function(*args, **options)

    return call


def _advice(option: str, names: Sequence[str]) -> str:
    synonym = SYNONYMS.get(option)
    if synonym in names:
        return f"did you mean {synonym!r}?"
    return near(option, names).removeprefix("; ") or ADVICE.get(option, f"it has {', '.join(names)}")


def _error_of_target(target: Any, classes: Sequence[str] | None) -> Exception | None:
    """What to raise for a target that fits no output at all; whether it fits this model's shows with the first output."""
    values = target.tolist() if hasattr(target, "tolist") else target
    if values is None or values == "predicted" or callable(values) or isinstance(values, Entry | Custom):
        return None
    for value in values if isinstance(values, list) else [values]:
        for index in value if isinstance(value, tuple | list) else [value]:
            if isinstance(index, str):
                if classes is None:
                    return ValueError(
                        f"`target` is the name {index!r}, but `classes` was not given; pass classes=[...]"
                    )
                names = class_names(classes) or ()
                if index not in names:
                    listed = f"{', '.join(names[:8])}{', ...' * (len(names) > 8)}"
                    return ValueError(
                        f"`target` {index!r} is not one of the classes: {listed}{near(index, names)}"
                    )
            elif isinstance(index, bool) or not isinstance(index, int):
                return TypeError(
                    f"`target` is {value!r}, expected an int, a class name, a tuple of ints or a function"
                )
    return None
