"""The contract of every method, whatever it computes: samples are independent, and a call changes nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib.engine.inputs import Tensors
from attrib.engine.model.parameters import Model
from attrib.functional import METHODS
from attrib.labels import labelled
from attrib.testing.state import changed, state
from attrib.testing.violation import (
    Attribute,
    Rows,
    Violation,
    as_argument,
    attributions,
    difference,
    documented,
    judged,
    largest,
    of_samples,
    output,
    rows_of,
)


@documented
def row_independence(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    shared: Sequence[str] = (),
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """A sample's attributions do not depend on the other samples of the batch.

    ``a(f, x)[i] = a(f, x[i:i+1])[0]``, and ``a(f, x')[i] = a(f, x)[i]`` where x' has all samples but i replaced.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {shared}
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
    >>> from attrib.testing import row_independence
    >>> f, x = lambda x: (x**2).sum(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> row_independence(saliency, f, x).size
    0.0
    >>> print(row_independence(lambda f, x: saliency(f, x) / saliency(f, x).max(), f, x))
    attribution of a sample among others is 0.4444444 at (1, 1), expected 1: off by 0.556 of the largest value
    """
    xs, lead = rows_of(x), _lead(options)
    together = attributions(method, f, xs, options)
    worst = Violation(0.0)
    for i in range(len(xs[0])):
        index = torch.tensor([i])
        expected = _rows(together, index, lead)
        alone = attributions(method, f, _rows(xs, index), of_samples(options, index, xs, shared))
        worst = largest(
            worst, _at(difference(alone, expected, "attribution of a sample alone", together), i, lead)
        )
        others = tuple(2 * t.flip(0) + 1 for t in xs)
        for t, other in zip(xs, others, strict=True):
            other[i] = t[i]
        among = _rows(attributions(method, f, others, options), index, lead)
        text = "attribution of a sample among others"
        worst = largest(worst, _at(difference(among, expected, text, together), i, lead))
    return judged("row independence", worst, tolerance)


@documented
def context_independence(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    shared: Sequence[str] = (),
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """A sample that comes with values of its own has the attributions that it has alone with them.

    The model under test is ``g(x, scale) = f(x) * scale`` with a scale for each sample, handed along as
    ``additional_forward_args``: ``a(g, x, scale)[i] = a(g, x[i:i+1], scale[i:i+1])[0]``.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {shared}
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
    >>> from attrib.testing import context_independence
    >>> context_independence(saliency, lambda x: (x**2).sum(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).size
    0.0
    """
    xs, lead = rows_of(x), _lead(options)
    g, scale = _scaled(f, xs)
    together = attributions(method, g, xs, {**options, "additional_forward_args": {"scale": scale}})
    worst = Violation(0.0)
    for i in range(len(xs[0])):
        index = torch.tensor([i])
        of_sample = {
            **of_samples(options, index, xs, shared),
            "additional_forward_args": {"scale": scale[i : i + 1]},
        }
        alone = attributions(method, g, _rows(xs, index), of_sample)
        expected = _rows(together, index, lead)
        worst = largest(
            worst, _at(difference(alone, expected, "attribution of a sample alone", together), i, lead)
        )
    return judged("context independence", worst, tolerance)


def _lead(options: dict[str, Any]) -> int:
    """The sample dim of the attributions."""
    return 0 if options.get("targets") is None else 1


def _rows(ts: Rows, index: Tensor, dim: int = 0) -> Rows:
    return tuple(t.index_select(dim, index.to(t.device)) for t in ts)


def _at(v: Violation, i: int, lead: int) -> Violation:
    """The violation with the sample's index in the batch."""
    return v._replace(where=(*v.where[:lead], i, *v.where[lead + 1 :])) if v.where else v


@documented
def order_independence(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    shared: Sequence[str] = (),
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """Samples in reverse order have the same attributions in reverse order.

    ``a(f, reversed(x)) = reversed(a(f, x))``

    Parameters
    ----------
    {method}
    {f}
    {x}
    {shared}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution; `where` is an index into the reversed batch.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import order_independence
    >>> order_independence(saliency, lambda x: (x**2).sum(1), torch.tensor([[1.0], [2.0]])).size
    0.0
    """
    xs = rows_of(x)
    back = torch.arange(len(xs[0]) - 1, -1, -1)
    expected = _rows(attributions(method, f, xs, options), back, _lead(options))
    reversed_attributions = attributions(method, f, _rows(xs, back), of_samples(options, back, xs, shared))
    return judged(
        "order independence", difference(reversed_attributions, expected, "attribution in reverse"), tolerance
    )


@documented
def chunk_independence(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    batch_sizes: Sequence[int] = (1, 2, 3, 1000),
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """Results do not depend on how many rows go through the model at a time.

    ``a(f, x, batch_size=b)`` is the same for all b.

    Parameters
    ----------
    {method}
        It must take `batch_size`.
    {f}
    {x}
    batch_sizes : sequence of int, default (1, 2, 3, 1000)
        Rows per call of the model; each result is compared with that of the method's default.
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
    >>> from attrib.functional import smooth_grad
    >>> from attrib.testing import chunk_independence
    >>> chunk_independence(smooth_grad, lambda x: (x**2).sum(1), torch.ones(3, 2), tolerance=1e-6).size < 1e-6
    True
    """
    xs = rows_of(x)
    expected = attributions(method, f, xs, options)
    worst = Violation(0.0)
    for b in batch_sizes:
        attributed = attributions(method, f, xs, {**options, "batch_size": b})
        worst = largest(worst, difference(attributed, expected, f"attribution with batch_size={b}"))
    return judged("chunk independence", worst, tolerance)


@documented
def by_label(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    shared: Sequence[str] = (),
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """What has labels goes to the samples and features of these labels, in whatever order it comes.

    ``a(g, x, scale) = a(g, X, SCALE)``, where X has labels, and SCALE, the baselines and the targets of each sample have those of X in
    reverse; g is the model of `context_independence`.

    Parameters
    ----------
    method : callable
        A method of `attrib` or of `attrib.functional`, its own options in a `functools.partial`.
    {f}
    {x}
    {shared}
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
    >>> from attrib.testing import by_label
    >>> f, x = lambda x: (x**2).sum(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> by_label(integrated_gradients, f, x, baselines=x.flip(0), tolerance=1e-6).size < 1e-6
    True
    """
    xs = rows_of(x)
    scaled, scale = _scaled(f, xs)
    expected = attributions(method, scaled, xs, {**options, "additional_forward_args": {"scale": scale}})
    labels = [
        {d: [f"{d} {k}" for k in range(n)] for d, n in zip(_dims(j, t), t.shape, strict=True)}
        for j, t in enumerate(xs)
    ]
    arrays = [_array(t, list(c), c) for t, c in zip(xs, labels, strict=True)]
    with_labels = _labelled_options(options, xs, labels, shared)
    with_labels["additional_forward_args"] = {
        "scale": _array(scale, ["sample"], labels[0]).isel(sample=slice(None, None, -1))
    }
    result = labelled_form(method)(scaled, tuple(arrays) if len(xs) > 1 else arrays[0], **with_labels)
    return judged(
        "labels", difference(_tensors(result, expected), expected, "attribution by labels"), tolerance
    )


@documented
def by_name(
    method: Attribute, f: Model, x: Tensors, *, tolerance: float | None = None, **options: Any
) -> Violation:
    """Inputs go to the parameters of their names, in whatever order they come.

    ``a(g, (x, y)) = a(g, {{"second": y, "first": x}})`` for a model ``g(first, second, scale)``, baselines by the same names.

    Parameters
    ----------
    method : callable
        A method of `attrib` or of `attrib.functional`, its own options in a `functools.partial`.
    {f}
    {x}
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
    >>> from attrib.functional import input_x_gradient
    >>> from attrib.testing import by_name
    >>> by_name(input_x_gradient, lambda a, b: (a * b**2).sum(1), (torch.ones(2, 3), torch.full((2, 3), 2.0))).size
    0.0
    """
    xs = rows_of(x)
    names = [f"input_{j}" for j in range(len(xs))]
    scaled, scale = _scaled(f, xs)

    def g(*rows: Tensor, **named: Any) -> Tensor:
        beside = {"scale": named.pop("scale", rows[len(xs)] if len(rows) > len(xs) else None)}
        return scaled(*rows[: len(xs)], *(named[n] for n in names[len(rows) :]), **beside)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    g.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in (*names, "scale")])  # type: ignore[attr-defined]
    beside = {"additional_forward_args": {"scale": scale}}
    expected = attributions(method, g, xs, {**options, **beside})
    named_options = {**options, **beside}
    baselines = options.get("baselines")
    if isinstance(baselines, tuple | list):
        named_options["baselines"] = dict(zip(names, baselines, strict=True))
    elif len(xs) == 1 and isinstance(baselines, Tensor):
        named_options["baselines"] = {names[0]: baselines}
    dims = {n: _dims(j, t) for j, (n, t) in enumerate(zip(names, xs, strict=True))}
    worst = Violation(0.0)
    for order in (names, names[::-1])[: len(xs)]:
        arrays = {n: _array(xs[names.index(n)], dims[n], {}) for n in order}
        result = labelled_form(method)(g, arrays, **named_options)
        ordered = _tensors(tuple(result[n] for n in names), expected)
        worst = largest(worst, difference(ordered, expected, "attribution by name"))
    return judged("names", worst, tolerance)


def _scaled(f: Model, xs: Rows) -> tuple[Callable[..., Tensor], Tensor]:
    """The model times a number of each sample, and these numbers."""
    scale = torch.linspace(0.5, 2.0, len(xs[0]), dtype=xs[0].dtype, device=xs[0].device)

    def g(*rows: Tensor, scale: Tensor) -> Tensor:
        y = output(f, rows)
        return y * scale.reshape(-1, *[1] * (y.ndim - 1))

    return g, scale


def labelled_form(method: Attribute) -> Callable[..., Any]:
    """The form of a method that takes arrays with labels; `method` may be a partial of one of either form.

    Raises
    ------
    TypeError
        For functions that are no methods of this package.
    """
    if isinstance(method, functools.partial):
        inner = [labelled_form(a) if callable(a) else a for a in method.args]
        return functools.partial(labelled_form(method.func), *inner, **method.keywords)
    pure = getattr(method, "functional", method)
    if METHODS.get(getattr(pure, "__name__", "")) is not pure:
        raise TypeError(
            f"`method` is {method!r}, which has no form for labels; pass a method of attrib.functional"
        )
    return labelled(pure)


def _dims(j: int, t: Tensor) -> list[str]:
    return ["sample", *(f"dim {j} {k}" for k in range(1, t.ndim))]


def _array(t: Tensor, dims: Sequence[str], labels: Mapping[str, list[str]]) -> xr.DataArray:
    return xr.DataArray(
        t.detach().cpu().numpy(), dims=dims, coords={d: labels[d] for d in dims if d in labels}
    )


def _labelled_options(
    options: dict[str, Any], xs: Rows, labels: Sequence[Mapping[str, list[str]]], shared: Sequence[str]
) -> dict[str, Any]:
    """Options with the labels of the inputs, in reverse."""
    with_labels = dict(options)
    back = lambda a: a.isel({d: slice(None, None, -1) for d in a.indexes})
    of_samples = lambda t: back(
        xr.DataArray(np.asarray(t, dtype=object), dims="sample", coords={"sample": labels[0]["sample"]})
    )

    def target(t: Any) -> Any:
        return of_samples(t) if isinstance(t, list) and not any(isinstance(v, tuple) for v in t) else t

    with_labels["target"] = target(options.get("target"))
    if isinstance(options.get("targets"), list):
        with_labels["targets"] = [target(t) for t in options["targets"]]

    def baseline(b: Any, j: int) -> Any:
        if not isinstance(b, Tensor):
            return b
        core = _dims(j, xs[j])[1:]
        many = b.ndim > xs[j].ndim or "baselines" in shared
        each = len(b) == len(xs[j]) > 1 and "baselines" not in shared
        if not each and b.ndim == xs[j].ndim:
            lead = ["baseline"] if len(b) > 1 else ["sample"]
        else:
            lead = (
                ["sample", "baseline"]
                if many and b.ndim > xs[j].ndim
                else ["baseline"]
                if many
                else ["sample"]
            )
        coords = {d: names for d, names in labels[j].items() if d != "sample" or each}
        a = _array(b, [*lead, *core], coords)
        return back(a.isel(sample=0) if "sample" in a.dims and not each else a)

    baselines = options.get("baselines")
    if isinstance(baselines, Tensor):
        with_labels["baselines"] = baseline(baselines, 0)
    elif isinstance(baselines, tuple | list):
        with_labels["baselines"] = tuple(baseline(b, j) for j, b in enumerate(baselines))
    return {k: v for k, v in with_labels.items() if k in options}


def _tensors(found: Any, expected: Rows) -> Rows:
    """Labelled attributions as tensors like those that are expected."""
    return tuple(torch.as_tensor(a.values).to(e) for a, e in zip(rows_of(found), expected, strict=True))


@documented
def purity(
    method: Attribute, f: Model, x: Tensors, *, tolerance: float | None = None, **options: Any
) -> Violation:
    """A repeated call returns the same bits, and a call changes nothing outside.

    ``a(f, x) == a(f, x)``; the model's parameters, buffers, gradients, modes and hooks, the inputs, the states of random
    generators and torch's global switches are unchanged.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Infinite where something was changed.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import purity
    >>> model, x = torch.nn.Linear(2, 1), torch.ones(1, 2)
    >>> purity(saliency, model, x).size
    0.0
    >>> def by_backward(f, x):
    ...     x = x.clone().requires_grad_()
    ...     f(x).sum().backward()
    ...     return x.grad
    >>> print(purity(by_backward, model, x))
    the call changed model.weight: grad; model.bias: grad
    """
    xs = rows_of(x)
    before = state(f, as_argument(xs))
    first = tuple(a.clone() for a in attributions(method, f, xs, options))
    worst = changed(before, state(f, as_argument(xs)))
    with torch.random.fork_rng():  # a method that draws from torch's generator draws other numbers now
        torch.rand(1)
        second = attributions(method, f, xs, options)
    worst = largest(worst, difference(second, first, "attribution of the second call"))
    return judged("purity", worst, tolerance)
