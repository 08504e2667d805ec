"""What a method computes, and the register of methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, Protocol, cast

import torch
from torch import Tensor

from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, listed, non_finite_samples
from attrib.engine.target import Entry, labels
from attrib.functional.docstrings import fill

P = ParamSpec("P")


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
        What else is known of how it was computed, by name.
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


@dataclass(frozen=True)
class About:
    """What a method promises and costs, for tables, attrs and the contract suite.

    Attributes
    ----------
    name, long_name : str
        Identifier and the field's term.
    axioms : tuple of str
        Names of checks in `attrib.testing` that hold for it.
    cost : str
        Model evaluations per sample.
    units : {"gradient", "output"}
        Output units per input unit, or output units.
    reference : str
        DOI or arXiv identifier.
    distribution : bool
        Whether `baselines` is a distribution.
    """

    name: str
    long_name: str
    axioms: tuple[str, ...]
    cost: str
    units: str
    reference: str
    distribution: bool = False


class Method(Protocol[P]):
    """A public function of `attrib.functional`: called, it gives the attribution alone."""

    about: About
    explain: Callable[P, Explanation]
    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The attribution: a tensor for one input, a tuple for several."""
        ...


METHODS: dict[str, Method[...]] = {}


def method(
    long_name: str,
    *,
    axioms: tuple[str, ...],
    cost: str,
    units: str,
    reference: str,
    distribution: bool = False,
    into: dict[str, Method[...]] = METHODS,
) -> Callable[[Callable[P, Explanation]], Method[P]]:
    """Register a function that returns an `Explanation` as a method.

    The public function returns the attribution alone; its attribute `explain` is the function as written. Methods whose
    results are not shaped like the inputs have a register of their own (`into`).
    """

    def register(explain: Callable[P, Explanation]) -> Method[P]:
        explain.__doc__ = fill(explain.__doc__)

        @functools.wraps(explain)
        def attribute(*args: P.args, **kwargs: P.kwargs) -> Tensors:
            return explain(*args, **kwargs).attribution

        name = explain.__name__
        attribute.__annotations__ = {**explain.__annotations__, "return": "Tensors"}
        found = cast("Method[P]", attribute)
        found.about = About(name, long_name, axioms, cost, units, reference, distribution)
        found.explain = explain
        into[name] = found
        return found

    return register


def finish(
    passes: Passes, xs: tuple[Tensor, ...], attribution: tuple[Tensor, ...], prediction: Tensor, **found: Any
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
    **found
        `delta` (T, N), `standard_error` (tuple), `n_steps` (N,), `notes` (dict).

    Raises
    ------
    ValueError
        If the model gave NaN or infinite scores or gradients, naming the samples.
    """
    refuse_non_finite_results(prediction, attribution)
    many, at = passes.want.many, xs[0].device

    def shaped(t: Tensor) -> Tensor:
        return (t if many else t[0]).to(at)

    def each(ts: tuple[Tensor, ...]) -> Tensors:
        out = tuple(shaped(t).to(x.dtype) for t, x in zip(ts, xs, strict=True))
        return out if len(out) > 1 else out[0]

    targets = passes.targets
    delta, error, n_steps = (found.get(name) for name in ("delta", "standard_error", "n_steps"))
    return Explanation(
        each(attribution),
        shaped(prediction),
        _indices(targets, len(xs[0]), shaped),
        labels(targets),
        passes.engine,
        None if delta is None else shaped(delta).to(prediction.dtype),
        None if error is None else each(error),
        None if n_steps is None else n_steps.to(at),
        passes.function.rows,
        _notes(passes, found.get("notes")),
    )


def _notes(passes: Passes, notes: dict[str, str | int | float] | None) -> dict[str, str | int | float] | None:
    """Notes, with those of the model, and the programs that another library had to compile."""
    compilations = passes.function.compilations
    together = {**(notes or {}), **passes.function.notes}
    return together or None if compilations is None else {**together, "jax_compilations": compilations}


def refuse_non_finite_results(prediction: Tensor, attribution: tuple[Tensor, ...] = ()) -> None:
    """Raise a ValueError that names the samples with NaN or infinite scores (T, N) or attributions (T, N, ...)."""
    for what, t in (("outputs", prediction), *(("gradients", a) for a in attribution)):
        bad = non_finite_samples(t.transpose(0, 1))
        if bad:
            raise ValueError(
                f"`model` gives NaN or infinite {what} for {len(bad)} of {t.shape[1]} samples: {listed(bad)}; "
                "drop those samples or look at the model there"
            )


def _indices(targets: list, n: int, shaped: Callable[[Tensor], Tensor]) -> Tensor | None:
    if not targets or not all(isinstance(t, Entry) and t.index.shape[1] == 1 for t in targets):
        return None
    if all(len(t.index) == 1 for t in targets):
        return shaped(torch.cat([t.index for t in targets]).expand(-1, n).cpu())
    return shaped(torch.stack([t.index[:, 0].expand(n).cpu() for t in targets]))
