"""The arguments of a call, checked by name and value before the model runs, and what measures of attributions share."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

from attrib._arguments import near, plain, shown
from attrib.engine.inputs import listed, non_finite_samples
from attrib.engine.sampling.perturbations import MOST
from attrib.engine.target import Custom, Entry, class_names, wanted
from attrib.functional.docstrings import fill

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
    "target": "it gives all outputs; take some of the result: .sel(target=...), or [:, 0] of a tensor",
}

Returned = TypeVar("Returned", covariant=True)

RAISES = """\
TypeError, ValueError
    For attributions and groups that do not fit the inputs, attributions that are NaN or infinite (the samples are named), and
    whatever the methods refuse of models, inputs and targets."""


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
    if about.wraps and not callable(inner):
        raise TypeError(
            f"`method` is {inner!r}, expected a method such as attrib.saliency, or functools.partial(attrib.integrated_gradients, n_steps=20)"
        )
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
        values: dict[str, Any] = {name: plain(value) for name, value in options.items()}
        check_values(values)
        return function(*args, **values)  # type: ignore[arg-type]

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
                        f"`target` is the name {index!r}, but `classes` was not given; pass classes=[...]{near(index, ['predicted'])}"
                    )
                names = class_names(classes) or ()
                if index not in names:
                    listed = f"{', '.join(names[:8])}{', ...' * (len(names) > 8)}"
                    return ValueError(
                        f"`target` {index!r} is not one of the classes: {listed}{near(index, [*names, 'predicted'])}"
                    )
            elif isinstance(index, bool) or not isinstance(index, int):
                return TypeError(
                    f"`target` is {value!r}, expected an int, a class name, a tuple of ints or a function"
                )
    return None


def check_values(options: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing for an argument of that name, whatever the method.

    Parameters
    ----------
    options : mapping
        Arguments by name. Names that are not known here are left to the method.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, its value and what is expected.
    """
    for name, value in options.items():
        if name in CHECKS:
            CHECKS[name](name, value)


def _flag(name: str, value: Any) -> None:
    """True or False; text and None would count as one of them, and few would guess which."""
    if type(value).__name__ not in ("bool", "bool_") and not (type(value) is int and value in (0, 1)):
        raise TypeError(f"`{name}` is {value!r}, expected True or False")


def _positive(name: str, value: Any) -> None:
    if value is not None and (not _is_number(value) or not 0 < value < math.inf):
        raise ValueError(f"`{name}` is {value!r}, expected a positive number")


def _not_negative(name: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"`{name}` is {value!r}, expected a number of at least 0")


def _function(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"`{name}` is {shown(value)}, expected a function")


def _progress(name: str, value: Any) -> None:
    if not callable(value):
        _flag(name, value)


def _device(name: str, value: Any) -> None:
    """A device that torch knows and this machine has."""
    if value is None:
        return
    try:
        torch.zeros(1, device=value).tolist()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(f"`{name}` is {value!r}, which cannot be used here ({reason})") from None


def _keywords(name: str, value: Any) -> None:
    wrong = [k for k in value if not isinstance(k, str)] if isinstance(value, Mapping) else []
    if wrong:
        raise TypeError(f"`{name}` has the key {wrong[0]!r}, expected names of the model's arguments")


def _axis(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"`{name}` is {value!r}, expected a dim's number or name")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(("absolute", "center", "check", "compile", "hypothetical", "multiply_by_inputs", "normalized", "upsample"), _flag),
    "relu": _flag, "rtol": _positive, "stdev_spread": _not_negative, "progress": _progress, "device": _device,
    **dict.fromkeys(("perturb_func", "reshape"), _function), "perturb_radius": _not_negative, "additional_forward_args": _keywords,
    "axis": _axis,
}  # fmt: skip


class Measure(Protocol[P, Returned]):
    """A function that returns one tensor, and whose `explain` returns a tuple of all that is known beside it."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The tensor alone."""
        ...

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Returned:
        """All of it."""
        ...


def measuring(function: Callable[P, R]) -> Callable[P, R]:
    """A public measure: the passages of its docstring filled in, the names of its arguments checked."""
    function.__doc__ = fill(function.__doc__, {"raises_measure": RAISES})
    return checked(function)


def measured(passages: Mapping[str, str]) -> Callable[[Callable[P, Returned]], Measure[P, Returned]]:
    """Make a measure of a function that returns a tuple: called, it gives the first field; `explain` gives them all.

    Parameters
    ----------
    passages : mapping
        Passages of its docstring beside those of all methods.
    """

    def measure(function: Callable[P, Returned]) -> Measure[P, Returned]:
        function.__doc__ = fill(function.__doc__, passages)
        explain = cast("Any", measuring(function))

        @functools.wraps(explain)
        def first(*args: Any, **options: Any) -> Tensor:
            return explain(*args, **options)[0]

        first.__annotations__ = {**function.__annotations__, "return": "Tensor"}
        first.explain = explain  # type: ignore[attr-defined]
        return cast("Measure[P, Returned]", first)

    return measure


def fitting(attribution: Any, xs: tuple[Tensor, ...], many: bool, dense: bool = True) -> tuple[Tensor, ...]:
    """Attributions as tensors with as many dims as the inputs, or one more for the targets.

    Parameters
    ----------
    attribution : Tensor or tuple of Tensor
        As the caller passed it.
    xs : tuple of Tensor
        The inputs.
    many : bool
        Whether a dim of targets is allowed.
    dense : bool
        Whether NaN is refused: features of no group have it.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the inputs, or have values that are not finite (the samples are named).
    """
    parts = tuple(attribution) if isinstance(attribution, tuple | list) else (attribution,)
    if len(parts) != len(xs):
        raise ValueError(f"`attribution` has {len(parts)} entries for {len(xs)} inputs; pass one per input")
    for j, (a, x) in enumerate(zip(parts, xs, strict=True)):
        name = "attribution" if len(xs) == 1 else f"attribution[{j}]"
        if not isinstance(a, Tensor):
            raise TypeError(f"`{name}` is a {type(a).__name__}, expected a torch.Tensor")
        shape = a.shape[1:] if many and a.ndim == x.ndim + 1 else a.shape
        if (
            len(shape) != x.ndim
            or shape[0] != len(x)
            or any(s not in (1, n) for s, n in zip(shape[1:], x.shape[1:], strict=True))
        ):
            raise ValueError(
                f"`{name}` has shape {tuple(a.shape)}, expected {tuple(x.shape)} as `x`, or 1 along dims whose features go together"
            )
        values = a.detach().movedim(a.ndim - x.ndim, 0)
        bad = non_finite_samples(values if dense else values.nan_to_num(nan=0.0))
        if bad:
            raise ValueError(
                f"`{name}` has NaN or infinite values in {len(bad)} of {len(x)} samples: {listed(bad)}; pass the `groups` it "
                "was computed with, or fill the values"
            )
    if len({a.ndim - x.ndim for a, x in zip(parts, xs, strict=True)}) > 1:
        raise ValueError("`attribution` has a dim of targets for some inputs only; pass it for all")
    return tuple(a.detach() for a in parts)


def samples_first(n: int) -> Callable[[Tensor], Tensor]:
    """Attributions (T, N, ...) as they are, maps of several layers (T, L, N, ...) with the layers behind the samples."""
    return lambda a: a if a.shape[1] == n else a.movedim(1, 2)


def at_least(value: Any, name: str, least: int) -> None:
    """Refuse what is no int, too small, or more than could ever end."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` is {value!r}, expected an int")
    if value < least:
        raise ValueError(f"`{name}` is {value}, expected at least {least}")
    if value > MOST:
        raise ValueError(
            f"`{name}` is {value:,}, expected at most {MOST:,}: each takes passes of the model, of every sample"
        )
