"""The axioms of attribution as checks: each returns the largest violation and its place.

Every check takes any method ``(f, x, **options) -> attributions shaped like x`` and any model. With `tolerance` it
raises `AxiomError` if the violation is larger.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.engine.inputs import Baselines, Tensors
from attrib.engine.model.parameters import Model
from attrib.testing.violation import (
    Attribute,
    Rows,
    Violation,
    as_argument,
    attributions,
    change,
    difference,
    documented,
    judged,
    output,
    rows_of,
    starts,
    with_baselines,
)


@documented
def completeness(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """The attributions of a sample sum to the change of its score from the baseline.

    ``sum over i of a_i = f(x) - f(x0)``

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the larger of ``|f(x)|`` and ``|f(x0)|`` in the batch; `where` is the sample.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import integrated_gradients, saliency
    >>> from attrib.testing import completeness
    >>> f, x = lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]])
    >>> completeness(integrated_gradients, f, x).size
    0.0
    >>> print(completeness(saliency, f, x))
    sum of attributions is 5 at (0,), expected 6: off by 0.167 of the largest value
    """
    xs = rows_of(x)
    attributed = attributions(method, f, xs, with_baselines(options, baselines))
    gained, scale = change(f, xs, starts(xs, 0.0 if baselines is None else baselines), options)
    total = torch.stack([a.flatten(1).double().sum(1) if a.ndim > 1 else a.double() for a in attributed]).sum(
        0
    )
    return judged("completeness", difference((total,), (gained,), "sum of attributions", (scale,)), tolerance)


@documented
def sensitivity(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    features: int = 64,
    **options: Any,
) -> Violation:
    """A feature that alone differs from the baseline and changes the score has a nonzero attribution.

    For each feature j and ``x' = x0`` but for ``x'_j = x_j``: if ``f(x') != f(x0)`` then ``a_j(x') != 0``

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    features : int, default 64
        Features tried per input, spread evenly.
    {options}

    Returns
    -------
    Violation
        The largest change of the score whose feature has an attribution of zero, relative to the score; `where` is the
        sample and the feature's position in the flattened input.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import input_x_gradient, integrated_gradients
    >>> from attrib.testing import sensitivity
    >>> f, x = lambda x: 1 - torch.relu(1 - x[:, 0]), torch.tensor([[2.0]])
    >>> sensitivity(integrated_gradients, f, x).size
    0.0
    >>> print(sensitivity(input_x_gradient, f, x))
    attribution of the one feature that changed the score is 0 at (0, 0), expected 1: off by 1 of the largest value
    """
    xs = rows_of(x)
    x0s = starts(xs, 0.0 if baselines is None else baselines)
    worst = Violation(0.0, what="attribution of the one feature that changed the score")
    for j, t in enumerate(xs):
        size = t[0].numel()
        for place in range(0, size, max(1, -(-size // features))):
            at = tuple(_moved(b, t, place) if i == j else b for i, b in enumerate(x0s))
            baseline_options = with_baselines(options, None if baselines is None else as_argument(x0s))
            a = attributions(method, f, at, baseline_options)[j].reshape(len(t), -1)[:, place]
            gained, scale = change(f, at, x0s, options)
            missed = torch.where(a == 0, gained, 0.0)
            violation = difference((torch.zeros_like(missed),), (missed,), worst.what, (scale,))
            if violation.size > worst.size:
                worst = violation._replace(where=(*violation.where, place), input=j)
    return judged("sensitivity", worst, tolerance)


def _moved(x0: Tensor, x: Tensor, place: int) -> Tensor:
    """Baselines with one feature taken from the inputs."""
    row = x0.reshape(len(x0), -1).clone()
    row[:, place] = x.reshape(len(x), -1)[:, place]
    return row.reshape(x.shape)


@documented
def dummy(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """The attribution of a feature that the model does not use is zero.

    The check overwrites every other feature with zero before `f` sees it; ``a_j = 0`` for these.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import dummy
    >>> dummy(saliency, lambda x: x.prod(1, keepdim=True).exp(), torch.ones(2, 4)).size
    0.0
    """
    xs = rows_of(x)
    used = tuple((torch.arange(t[0].numel(), device=t.device) % 2 == 0).view(t.shape[1:]) for t in xs)

    def blind(*rows: Tensor) -> Tensor:
        zero = [r.new_zeros(()) for r in rows]
        return output(f, tuple(torch.where(u, r, z) for u, r, z in zip(used, rows, zero, strict=True)))

    attributed = attributions(method, blind, xs, with_baselines(options, baselines))
    expected = tuple(torch.where(u, a, torch.zeros_like(a)) for u, a in zip(used, attributed, strict=True))
    return judged("dummy", difference(attributed, expected, "attribution of an unused feature"), tolerance)


@documented
def implementation_invariance(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    other: Model | None = None,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """Two models that compute the same function have the same attributions.

    ``f(x) = g(x) for all x`` implies ``a(f, x) = a(g, x)``

    Parameters
    ----------
    {method}
    {f}
    {x}
    other : callable, optional
        The other implementation g. Default: ``y s(y) + y s(-y)`` with ``y = f(2 (x / 2))`` and s the logistic
        function, for s(y) + s(-y) = 1.
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import implementation_invariance
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> implementation_invariance(saliency, lambda x: (x + x).sum(1), x, other=lambda x: (2 * x).sum(1)).size
    0.0
    """
    xs = rows_of(x)

    def again(*rows: Tensor) -> Tensor:
        y = output(f, tuple(2 * (r / 2) for r in rows))
        return y * torch.sigmoid(y) + y * torch.sigmoid(-y)

    method_options = with_baselines(options, baselines)
    of_f, of_g = (attributions(method, g, xs, method_options) for g in (f, again if other is None else other))
    return judged("implementation invariance", difference(of_g, of_f, "attribution"), tolerance)


@documented
def linearity(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    other: Model | None = None,
    weights: tuple[float, float] = (0.5, -2.0),
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """The attributions of a weighted sum of two models are the weighted sum of their attributions.

    ``a(u f + v g, x) = u a(f, x) + v a(g, x)``

    Parameters
    ----------
    {method}
    {f}
    {x}
    other : callable, optional
        The other model g, with outputs like those of f. Default: ``g(x) = f(-x)``.
    weights : tuple of float, default (0.5, -2.0)
        u and v.
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest of the three attributions, weighted.

    Raises
    ------
    ValueError
        For ``target="predicted"``: the sum of two models may predict what neither does.
    {raises}

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from attrib.functional import saliency
    >>> from attrib.testing import linearity
    >>> f, x = lambda x: (x**2).sum(1), torch.tensor([[1.0, 2.0]])
    >>> linearity(partial(saliency, absolute=False), f, x).size
    0.0
    >>> linearity(saliency, f, x).size > 0
    True
    """
    if options.get("target") == "predicted":
        raise ValueError('`target` is "predicted", which is no linear function of the model; pass an index')
    xs, (u, v) = rows_of(x), weights
    g = other if other is not None else lambda *rows: output(f, tuple(-r for r in rows))

    def both(*rows: Tensor) -> Tensor:
        return u * output(f, rows) + v * output(g, rows)

    method_options = with_baselines(options, baselines)
    of_sum, of_f, of_g = (attributions(method, h, xs, method_options) for h in (both, f, g))
    parts = [(u * a, v * b) for a, b in zip(of_f, of_g, strict=True)]
    scale = tuple(torch.stack([c, a, b]) for c, (a, b) in zip(of_sum, parts, strict=True))
    expected = tuple(a + b for a, b in parts)
    return judged("linearity", difference(of_sum, expected, "attribution", scale), tolerance)


@documented
def symmetry(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """Features that the model treats alike and that have equal values have equal attributions.

    The check makes the model symmetric, ``g(x) = f(x) + f(s(x))`` with s the reversal of a sample's features, and the
    inputs too, ``x' = (x + s(x)) / 2``; then ``a(g, x') = s(a(g, x'))``.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import integrated_gradients
    >>> from attrib.testing import symmetry
    >>> symmetry(integrated_gradients, lambda x: x[:, 0] ** 2, torch.tensor([[1.0, 3.0]])).size
    0.0
    """
    xs = rows_of(x)

    def alike(*rows: Tensor) -> Tensor:
        return output(f, rows) + output(f, tuple(_reversed(r) for r in rows))

    evened = tuple((t + _reversed(t)) / 2 for t in xs)
    even: Any = None
    if baselines is not None:
        even = as_argument(tuple((b + _reversed(b)) / 2 for b in starts(xs, baselines)))
    attributed = attributions(method, alike, evened, with_baselines(options, even))
    expected = tuple(_reversed(a) for a in attributed)
    return judged("symmetry", difference(attributed, expected, "attribution"), tolerance)


def _reversed(t: Tensor) -> Tensor:
    """Each sample's features in reverse."""
    return t.reshape(len(t), -1).flip(1).reshape(t.shape)


@documented
def translation(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = 0.0,
    shift: float = 0.5,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """A shift of the input, the baseline and the model together changes no attribution.

    ``a(f(. - c), x + c, x0 + c) = a(f, x, x0)``

    Parameters
    ----------
    {method}
    {f}
    {x}
    baselines : float, Tensor, tuple of these, or None, default 0.0
        Passed to the method, shifted; None for a method that takes none.
    shift : float, default 0.5
        The constant c.
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import input_x_gradient, integrated_gradients
    >>> from attrib.testing import translation
    >>> f, x = lambda x: (x**2).sum(1), torch.tensor([[1.0, 2.0]])
    >>> translation(integrated_gradients, f, x, tolerance=1e-6).size < 1e-6
    True
    >>> translation(input_x_gradient, f, x, baselines=None).size > 0.1
    True
    """
    xs = rows_of(x)

    def moved(*rows: Tensor) -> Tensor:
        return output(f, tuple(r - shift for r in rows))

    shifted = tuple(t + shift for t in xs)
    x0s: Rows | None = None if baselines is None else starts(xs, baselines)
    options_at_x = with_baselines(options, None if x0s is None else as_argument(x0s))
    options_shifted = with_baselines(
        options, None if x0s is None else as_argument(tuple(b + shift for b in x0s))
    )
    of_x = attributions(method, f, xs, options_at_x)
    of_shifted = attributions(method, moved, shifted, options_shifted)
    return judged("translation", difference(of_shifted, of_x, "attribution"), tolerance)
