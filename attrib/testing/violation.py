"""What all checks share: how methods and models are called, and how far results depart from an axiom, and where."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from attrib._arguments import real, shown
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_baselines
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import Model, refuse_uncallable
from attrib.functional.docstrings import fill

Rows = tuple[Tensor, ...]
Attribute = Callable[..., Any]  # (f, x, **options) -> attributions shaped like x
Check = TypeVar("Check", bound=Callable[..., Any])

PASSAGES = {
    "method": """
        method : callable
            Takes ``(f, x, **options)`` and returns attributions: a tensor shaped like the input, or a tuple for several
            inputs. A function of `attrib.functional`, one of another library in a lambda, or your own.""",
    "f": """
        f : callable
            The model: takes input(s) batched on dim 0, returns (N,), (N, C), (N, C, ...) or an object with
            `.logits`.""",
    "x": """
        x : Tensor or tuple of Tensor
            Input(s), samples on dim 0.""",
    "baselines": """
        baselines : float, Tensor, tuple of these, or callable, optional
            Passed to the method, and used where the axiom names a baseline. With None the method gets no baseline, and
            the axiom's baseline is zero.""",
    "shared": """
        shared : sequence of str, default ()
            Targets and baselines with one entry per sample are selected together with their samples.
            ``("baselines",)`` keeps all baselines for every sample: for a distribution that has as many members as
            there are samples.""",
    "tolerance": """
        tolerance : float, optional
            Largest `size` to accept; None accepts any.""",
    "options": """
        **options
            Passed to the method: `target`, `n_steps`, and so on.""",
    "raises": """
        AxiomError
            If the violation is larger than `tolerance`.
        TypeError, ValueError
            If the method returns something that is not shaped like the input.""",
}


class Violation(NamedTuple):
    """The largest departure from what was expected.

    Attributes
    ----------
    size : float
        Relative to the largest value compared; 0 without a departure, infinite where numbers cannot be compared (NaN,
        different shapes, or a change of state).
    where : tuple of int
        Index of the number: the sample, then the feature.
    input : int
        The number of the input.
    got, expected : float
        The two numbers that differ.
    what : str
        What was compared.

    Examples
    --------
    >>> from attrib.testing import Violation
    >>> print(Violation(0.5, (1, 0), 0, 1.0, 2.0, "attribution"))
    attribution is 1 at (1, 0), expected 2: off by 0.5 of the largest value
    """

    size: float
    where: tuple[int, ...] = ()
    input: int = 0
    got: float = math.nan
    expected: float = math.nan
    what: str = ""

    def __str__(self) -> str:
        """One line for the reader."""
        if not self.where:
            return self.what
        of = f" of input {self.input}" if self.input else ""
        return (
            f"{self.what} is {self.got:.7g} at {self.where}{of}, expected {self.expected:.7g}: "
            f"off by {self.size:.3g} of the largest value"
        )


class AxiomError(AssertionError):
    """A method violates an axiom.

    Parameters
    ----------
    axiom : str
        The axiom's name.
    violation : Violation
        Where and by how much.
    tolerance : float
        The largest `size` that was accepted.

    Attributes
    ----------
    violation : Violation
        Where and by how much.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import AxiomError, completeness
    >>> try:
    ...     completeness(saliency, lambda x: x.prod(1), torch.tensor([[2.0, 3.0]]), tolerance=1e-3)
    ... except AxiomError as error:
    ...     print(error.violation.got, error.violation.expected)
    5.0 6.0
    """

    def __init__(self, axiom: str, violation: Violation, tolerance: float) -> None:
        super().__init__(f"{axiom} is violated: {violation} (tolerance {tolerance:g})")
        self.violation = violation


def judged(axiom: str, violation: Violation, tolerance: float | None) -> Violation:
    """The violation; raises AxiomError if it is larger than `tolerance`."""
    if tolerance is not None and not violation.size <= tolerance:
        raise AxiomError(axiom, violation, tolerance)
    return violation


def largest(*violations: Violation) -> Violation:
    """The largest of several violations."""
    return max(violations, key=lambda v: v.size)


def difference(got: Rows, expected: Rows, what: str, scale: Rows | None = None) -> Violation:
    """Largest difference between tensors of equal shapes, relative to the largest of `scale` (or of the two)."""
    worst = Violation(0.0, what=what)
    for j, (g, e) in enumerate(zip(got, expected, strict=True)):
        g, e = g.detach().double().cpu(), e.detach().double().cpu()
        if g.shape != e.shape:
            text = f"{what} has shape {tuple(g.shape)}, expected {tuple(e.shape)}"
            return Violation(math.inf, input=j, what=text)
        if g.numel():
            worst = largest(
                worst, _largest(g, e, _scale(g, e) if scale is None else _scale(scale[j]), j, what)
            )
    return worst


def _scale(*tensors: Tensor) -> float:
    return max(float(t.detach().abs().max()) for t in tensors)


def _largest(got: Tensor, expected: Tensor, scale: float, j: int, what: str) -> Violation:
    off = (got - expected).abs()
    off[torch.isnan(off) & ~(torch.isnan(got) & torch.isnan(expected))] = math.inf
    off.nan_to_num_(nan=0.0, posinf=math.inf)  # NaN in both is agreement
    place = int(off.argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), off.shape))
    size = float(off.flatten()[place])
    relative = size / scale if size and scale else (math.inf if size else 0.0)
    return Violation(relative, where, j, float(got[where]), float(expected[where]), what)


def documented(check: Check) -> Check:
    """A check with the shared passages in its docstring, which refuses arguments of another kind by their names."""
    check.__doc__ = fill(check.__doc__, PASSAGES)
    names = tuple(inspect.signature(check).parameters)

    @functools.wraps(check)
    def checked(*args: Any, **options: Any) -> Any:
        named = dict(zip(names, args, strict=False)) | options
        for name in {"method", "f"} & named.keys():
            refuse_uncallable(named[name], name)
        for t in rows_of(named.get("x", ())):
            if not isinstance(t, Tensor) or not t.ndim:
                raise TypeError(
                    f"`x` is {shown(t)}, expected a tensor, or a tuple of tensors, samples on dim 0"
                )
        if named.get("tolerance") is not None and real("tolerance", named["tolerance"]) < 0:
            raise ValueError(f"`tolerance` is {named['tolerance']}, expected a number of at least 0")
        return check(*args, **options)

    return checked  # type: ignore[return-value]


def rows_of(x: Tensors) -> Rows:
    """One or several inputs as a tuple."""
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def as_argument(xs: Rows) -> Tensors:
    """A tuple of inputs as a caller passes it: one tensor, or a tuple of several."""
    return xs if len(xs) > 1 else xs[0]


def attributions(method: Attribute, f: Model, xs: Rows, options: dict[str, Any]) -> Rows:
    """What the method returns, one tensor per input.

    Raises
    ------
    TypeError, ValueError
        If the method returns something else than tensors shaped like the inputs (with `targets`, a leading dim).
    """
    attributed = rows_of(method(f, as_argument(xs), **options))
    lead = 1 if options.get("targets") is not None else 0
    if len(attributed) != len(xs) or not all(isinstance(a, Tensor) for a in attributed):
        kinds = [type(a).__name__ for a in attributed]
        raise TypeError(f"`method` returned {kinds}, expected a tensor for each of {len(xs)} inputs")
    for a, x in zip(attributed, xs, strict=True):
        if a.shape[lead:] != x.shape:
            raise ValueError(
                f"`method` returned shape {tuple(a.shape)}, expected that of the input, {tuple(x.shape)}"
            )
    return attributed


def output(f: Model, xs: Rows) -> Tensor:
    """The model's output as one tensor."""
    return one_tensor(f(*xs), len(xs[0]))


def change(f: Model, xs: Rows, x0s: Rows, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """``f(x) - f(x0)`` of the explained score (N,), and the larger of the two in magnitude (N,)."""
    chosen = {k: v for k, v in options.items() if k in ("target", "classes", "device")}
    samples = torch.arange(len(xs[0]))
    with Passes(f, xs, 2 * len(xs[0]), **chosen) as passes:
        at_x = passes.scores(xs)[0]
        at_x0 = passes.scores_at(starts(xs, x0s), samples.to(passes.device))[0]
    return at_x - at_x0, torch.maximum(at_x.abs(), at_x0.abs())


def starts(xs: Rows, baselines: Any) -> Rows:
    """Baselines expanded to one per sample, shaped like the inputs."""
    aligned = as_baselines(as_argument(baselines) if isinstance(baselines, tuple) else baselines, xs)
    return tuple(b.expand_as(x) for b, x in zip(aligned, xs, strict=True))


def with_baselines(options: dict[str, Any], baselines: Any) -> dict[str, Any]:
    """Options for the method, with the baselines unless they are None."""
    return options if baselines is None else {**options, "baselines": baselines}


def of_samples(
    options: dict[str, Any], index: Tensor, xs: Rows, shared: Sequence[str] = ()
) -> dict[str, Any]:
    """Options for some of the samples: targets and baselines with one entry per sample are selected."""
    picked = dict(options)
    target = options.get("target")
    if isinstance(target, list) or (isinstance(target, Tensor) and target.ndim > 0):
        picked["target"] = [target[int(i)] for i in index]
    if options.get("targets") is not None and not isinstance(options["targets"], str):
        picked["targets"] = [
            [t[int(i)] for i in index] if isinstance(t, list) else t for t in options["targets"]
        ]
    if "baselines" not in shared and isinstance(options.get("baselines"), Tensor | tuple | list):
        baselines = rows_of(options["baselines"])
        picked["baselines"] = as_argument(
            tuple(_picked(b, x, index) for b, x in zip(baselines, xs, strict=True))
        )
    return picked


def _picked(b: Any, x: Tensor, index: Tensor) -> Any:
    """Baselines of some samples; a distribution for each sample has one dim more than the input."""
    per_sample = isinstance(b, Tensor) and b.ndim >= x.ndim and len(b) == len(x) > 1
    return b[index] if per_sample else b
