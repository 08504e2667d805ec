"""What a method computes, and the register of methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, Protocol, cast, overload

import torch
from torch import Tensor

from attrib._arguments import plain
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, listed, non_finite_samples
from attrib.engine.model.parameters import Model
from attrib.engine.target import Entry, labels
from attrib.functional.arguments import CHECKS, check, check_values
from attrib.functional.docstrings import fill

P = ParamSpec("P")
Attribute = Callable[..., Tensors]  # a method, as others take it


class Explanation(NamedTuple):
    """Attributions and what is known about them.

    Attributes
    ----------
    attribution : Tensor or tuple of Tensor
        Shaped like the input(s); with `targets` a leading dim of targets.
    prediction : Tensor (N,) or (T, N)
        The score explained, at the input.
    target : Tensor (N,) or (T, N), or None
        Index of the output explained, where targets are entries of outputs (N, C).
    target_labels : list of int or str
        Names of the targets.
    engine : str
        What computed the gradients: `"func"`, `"autograd"`, `"forward"`, or a method's own.
    delta : Tensor (N,) or (T, N), or None
        For complete methods: sum(attribution) - (f(x) - f(baseline)).
    standard_error : Tensor or tuple of Tensor, or None
        For sampling methods: standard error of the attribution, shaped like it.
    n_steps : Tensor (N,) or None
        Model evaluations per sample, where a method chooses them.
    evaluations : int
        Rows of forward passes in all.
    notes : dict or None
        More about how it was computed, by name.
    layers : tuple of str, or None
        For methods that need a layer: the names of the layers explained.
    dims : tuple of int, or None
        For maps of a layer: the dims of a sample (from 0) that the map lies on.
    per_sample : dict of str to Tensor (N,), or None
        More numbers of each sample, such as the linear segments of its path.
    """

    attribution: Tensors
    prediction: Tensor
    target: Tensor | None
    target_labels: list[int | str]
    engine: str
    delta: Tensor | None = None
    standard_error: Tensors | None = None
    n_steps: Tensor | None = None
    evaluations: int = 0
    notes: dict[str, str | int | float] | None = None
    layers: tuple[str, ...] | None = None
    dims: tuple[int, ...] | None = None
    per_sample: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class About:
    """What a method is, promises and costs, for tables, attrs, studies and the contract suite.

    Attributes
    ----------
    name, long_name : str
        Identifier and the field's term.
    axioms : tuple of str
        Names of checks in `attrib.testing` that hold for it.
    cost : str
        Model evaluations per sample.
    units : {"gradient", "output", "method"}
        Output units per input unit, output units, or those of the method that it takes.
    reference : str
        DOI or arXiv identifier.
    inputs : {"any", "one", "two"}
        How many inputs the model may have.
    result : {"input", "layer map", "pairs"}
        Shaped like the input(s); (N, *spatial) at a layer; an entry for each pair of values of two inputs.
    baselines : {"point", "distribution", "any"} or None
        What `baselines` is, where the method takes them. A distribution has no default; `"any"` is one or a distribution.
    complete : bool
        Whether attributions add up to a change of the score, in expectation for those that draw: `delta` is the error.
    draws : bool
        Whether it draws random numbers, from a `seed`.
    edits : bool
        Whether it compares scores of edited inputs; other methods differentiate.
    layer : bool
        Whether it explains at a `layer`.
    wraps : bool
        Whether its first argument is another method.
    arguments : tuple of str
        Names of all its arguments, in order.
    """

    name: str
    long_name: str
    axioms: tuple[str, ...]
    cost: str
    units: str
    reference: str
    inputs: str = "any"
    result: str = "input"
    baselines: str | None = None
    complete: bool = False
    draws: bool = False
    edits: bool = False
    layer: bool = False
    wraps: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def noisy(self) -> bool:
        """Whether it adds noise to the inputs, which then come before a layer."""
        return self.wraps or (self.draws and self.baselines is None)

    @property
    def takes_layer(self) -> bool:
        """Whether the output of a `layer` can stand in place of the input."""
        return "layer" in self.arguments and not self.layer and not self.noisy


class Registered(Protocol):
    """What every method has beside its call."""

    __name__: str
    about: About


class Method(Registered, Protocol[P]):
    """A public function of `attrib.functional`: called, it gives the attribution alone, in the form of the input(s)."""

    @overload
    def __call__(self, f: Model, x: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...

    @overload
    def __call__(
        self, f: Model, x: tuple[Tensor, ...], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Tensor, ...]: ...

    def explain(self, f: Model, x: Tensors, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """The attribution and what is known about it."""
        ...


class MethodAround(Registered, Protocol[P]):
    """A method whose first argument is another one."""

    @overload
    def __call__(
        self, method: Attribute, f: Model, x: Tensor, *args: P.args, **kwargs: P.kwargs
    ) -> Tensor: ...

    @overload
    def __call__(
        self, method: Attribute, f: Model, x: tuple[Tensor, ...], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[Tensor, ...]: ...

    def explain(
        self, method: Attribute, f: Model, x: Tensors, *args: P.args, **kwargs: P.kwargs
    ) -> Explanation:
        """The attribution and what is known about it."""
        ...


class TensorMethod(Registered, Protocol[P]):
    """A method that gives one tensor for any number of inputs: those of a layer, and of pairs of inputs."""

    explain: Callable[P, Explanation]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        """The attribution alone."""
        ...


class Register(Protocol):
    """A function that returns an `Explanation`, to the method that it is registered as."""

    @overload
    def __call__(self, explain: Callable[Concatenate[Model, Tensors, P], Explanation], /) -> Method[P]: ...

    @overload
    def __call__(
        self, explain: Callable[Concatenate[Attribute, Model, Tensors, P], Explanation], /
    ) -> MethodAround[P]: ...


ORDER = (  # of tables and pictures, whatever was imported first; that of the README
    "deep_lift", "deep_lift_shap", "saliency", "input_x_gradient", "in_silico_mutagenesis", "occlusion", "feature_ablation",
    "shapley_values", "integrated_gradients", "smooth_grad", "gradient_shap", "noise_tunnel", "grad_cam", "grad_cam_plus_plus", "layer_cam",
    "hires_cam", "guided_grad_cam", "interaction",
)  # fmt: skip
METHODS: dict[str, Method[...]] = {}
MISSED = 0.1  # share of the change of the score; a larger completeness error gets a note
ROUNDINGS = 64  # of the score, a completeness error below which is rounding


def _of_python(options: dict[str, Any]) -> dict[str, Any]:
    """Options with numbers of Python in place of NumPy's."""
    of_numpy = [name for name, value in options.items() if type(value).__module__ == "numpy"]
    return options | {name: plain(options[name]) for name in of_numpy} if of_numpy else options


@overload
def method(
    long_name: str, *, result: Literal["layer map", "pairs"], **fields: Any
) -> Callable[[Callable[P, Explanation]], TensorMethod[P]]: ...


@overload
def method(long_name: str, **fields: Any) -> Register: ...


def method(long_name: str, **fields: Any) -> Callable[..., Any]:
    """Register a function that returns an `Explanation` as a method.

    The public function checks the names of its arguments and the targets, and returns the attribution alone. Its
    attribute `explain` checks the same and returns the `Explanation`.

    Parameters
    ----------
    long_name : str
        The field's term.
    **fields
        The fields of `About`, but for the names of the method and its arguments.
    """

    def register(explain: Callable[..., Explanation]) -> Any:
        explain.__doc__ = fill(explain.__doc__)
        arguments = tuple(inspect.signature(explain).parameters)
        about = About(explain.__name__, long_name, arguments=arguments, **fields)

        names = frozenset(arguments)

        @functools.wraps(explain)
        def attribute(*args: Any, **options: Any) -> Tensors:
            options = _of_python(options)
            simple = type(options.get("target")) is int and options.get("targets") is None
            if about.wraps or not simple or not options.keys() <= names:
                check(about, args, options)
            elif not CHECKS.keys().isdisjoint(options):
                check_values(options)
            if about.takes_layer and options.get("layer") is not None:
                return _at_layer(explain, about, *args, **options).attribution
            return explain(*args, **options).attribution

        @functools.wraps(explain)
        def explanation(*args: Any, **options: Any) -> Explanation:
            options = _of_python(options)
            check(about, args, options)
            if about.takes_layer and options.get("layer") is not None:
                return _at_layer(explain, about, *args, **options)
            return explain(*args, **options)

        attribute.__annotations__ = {**explain.__annotations__, "return": "Tensors"}
        registered = cast("Any", attribute)
        registered.about, registered.explain = about, explanation
        METHODS[about.name] = registered
        for name in sorted(METHODS, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
            METHODS[name] = METHODS.pop(name)
        return registered

    return register


def _at_layer(
    explain: Callable[..., Explanation],
    about: About,
    f: Model,
    x: Tensors,
    *,
    layer: Any,
    output: int | None = None,
    call: int | None = None,
    **options: Any,
) -> Explanation:
    """The same method with the output of a layer in place of the input."""
    from attrib.functional.layers import at_layer  # stands on this file

    return at_layer(explain, about, f, x, layer, output, call, options)


def finish(
    passes: Passes,
    xs: tuple[Tensor, ...],
    attribution: tuple[Tensor, ...],
    prediction: Tensor,
    *,
    delta: Tensor | None = None,
    standard_error: tuple[Tensor, ...] | None = None,
    n_steps: Tensor | None = None,
    notes: Mapping[str, str | int | float] | None = None,
    layers: tuple[str, ...] | None = None,
    per_sample: Mapping[str, Tensor] | None = None,
) -> Explanation:
    """Drop the target dim where one target was asked for, bring results to the inputs' device, refuse non-finite ones.

    Parameters
    ----------
    passes : Passes
        After its passes.
    xs : tuple of Tensor
        The inputs.
    attribution : tuple of Tensor (T, N, ...)
        One per input.
    prediction : Tensor (T, N)
        Scores.
    delta : Tensor (T, N), optional
    standard_error : tuple of Tensor (T, N, ...), optional
    n_steps : Tensor (N,), optional
    notes : dict, optional
    layers : tuple of str, optional
    per_sample : mapping of str to Tensor (N,), optional
        Fields of the `Explanation`.

    Raises
    ------
    ValueError
        If the model gave NaN or infinite scores or gradients, naming the samples.
    """
    refuse_non_finite_results(prediction, attribution)
    many, at = passes.want.many, xs[0].device

    def shaped(t: Tensor, kind: torch.dtype | None = None) -> Tensor:
        return (t if many else t[0]).to(at, kind or t.dtype)

    def each(tensors: tuple[Tensor, ...]) -> Tensors:
        kinds = (x.dtype if x.is_floating_point() else prediction.dtype for x in xs)
        parts = tuple(shaped(t, kind) for t, kind in zip(tensors, kinds, strict=True))
        return parts if len(parts) > 1 else parts[0]

    targets = passes.targets
    notes = {**(notes or {}), **passes.function.notes}
    if passes.function.compilations is not None:
        notes["jax_compilations"] = passes.function.compilations
    return Explanation(
        each(attribution),
        shaped(prediction),
        _indices(targets, len(xs[0]), shaped),
        labels(targets),
        passes.engine,
        None if delta is None else shaped(delta, prediction.dtype),
        None if standard_error is None else each(standard_error),
        None if n_steps is None else n_steps.to(at),
        passes.function.rows,
        notes or None,
        layers,
        per_sample=None if per_sample is None else {name: t.to(at) for name, t in per_sample.items()},
    )


def missed_completeness(
    delta: Tensor, change: Tensor, complete: tuple[Tensor, ...], score: Tensor, advice: str
) -> dict[str, str | int | float] | None:
    """The note on samples whose completeness error (T, N) is more than a tenth of the change and of the largest entry, and more than rounding of the score."""
    delta, largest = delta.detach(), change.detach().abs()
    rounding = ROUNDINGS * torch.finfo(score.dtype).eps * score.detach().abs().to(largest.device)
    for a in complete:
        largest = torch.maximum(
            largest, a.detach().abs().reshape(*a.shape[:2], -1).amax(2).to(largest.device)
        )
    missed = delta.abs() > MISSED * largest + rounding
    if not bool(missed.any()):
        return None
    return {
        "completeness": f"{int(missed.any(0).sum())} of {missed.shape[1]} samples: delta is more than a tenth of the change of the score and of the largest entry, up to "
        f"{float(delta[missed].abs().max()):.2g}; take more points: {advice}"
    }


def refuse_non_finite_results(prediction: Tensor, attribution: tuple[Tensor, ...] = ()) -> None:
    """Raise a ValueError that names the samples with NaN or infinite scores (T, N) or attributions (T, N, ...)."""
    for what, t in (("outputs", prediction), *(("gradients", a) for a in attribution)):
        bad = non_finite_samples(t, 1)
        if bad:
            raise ValueError(
                f"`model` gives NaN or infinite {what} for {len(bad)} of {t.shape[1]} samples: {listed(bad)}; "
                "drop those samples or look at the model there"
            )


def refuse_non_finite_baselines(at_baseline: Tensor, prediction: Tensor) -> None:
    """Raise a ValueError that names `baselines`, where scores (T, N) or (T, 1) there are NaN or infinite and those at x are not."""
    bad = non_finite_samples(at_baseline.expand_as(prediction), 1)
    if bad and not non_finite_samples(prediction, 1):
        raise ValueError(
            f"`model` gives NaN or infinite outputs at `baselines` for {len(bad)} of {prediction.shape[1]} samples: "
            f"{listed(bad)}; choose baselines at which the score is finite"
        )


def _indices(targets: list, n: int, shaped: Callable[[Tensor], Tensor]) -> Tensor | None:
    if not targets or not all(isinstance(t, Entry) and t.index.shape[1] == 1 for t in targets):
        return None
    return shaped(torch.stack([t.index[:, 0].expand(n) for t in targets]))
