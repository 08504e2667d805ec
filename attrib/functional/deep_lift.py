"""DeepLIFT (rescale), DeepLIFT/SHAP, and what each op contributed: secants in place of slopes, op by op."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib._public import public
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.graph import transformed
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_distribution, as_tuple, of_samples
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.companions import Companions
from attrib.engine.model.function import Function
from attrib.engine.model.parameters import Model, unchanged
from attrib.engine.sampling.moments import Moments
from attrib.engine.secant import (
    VALUES_PER_ACTIVATION,
    Chunk,
    Multipliers,
    OpShare,
    Readout,
    expressed,
    secant,
    shares,
)
from attrib.engine.target import Predicted, Scores, TargetLike, labels, wanted
from attrib.functional.explanation import Explanation, finish, method, refuse_non_finite_baselines

Rows = tuple[Tensor, ...]


@method(
    "DeepLIFT",
    axioms=("completeness", "sensitivity", "dummy"),
    cost="2 forward + 1 backward, and 2 forward to record and check",
    units="output",
    reference="arXiv:1704.02685",
    baselines="point",
    complete=True,
)
def deep_lift(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines = 0.0,
    multiply_by_inputs: bool = True,
    check: bool = True,
    compile: bool = False,
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """The change from a baseline to the input, shared out by the slope of every op between its two values.

    ``a_i = m_i (x_i - x0_i)``, with ``m`` the product along the graph of secants ``(g(v1) - g(v0)) / (v1 - v0)``

    Parameters
    ----------
    {f}
    {x}
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What the input is compared with: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function
        of the inputs.
    multiply_by_inputs : bool, default True
        False leaves out the factor ``x - x0``: the multipliers, in output units per input unit.
    check : bool, default True
        Compare the replayed model with the model, at the inputs and at the baselines.
    compile : bool, default False
        Compile the replay with torch.compile, once for each size of chunk: a minute or so for a large network, whose
        replays then take about half the time. Pays with many chunks; needs a C++ compiler.
    {layer}
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    NotImplementedError
        For an op without a rule, a value read into Python, or an activation written into a tensor that the model closes
        over; the message names the op and the model's line.
    {raises}

    Notes
    -----
    Complete: ``sum(a) = f(x) - f(x0)`` up to rounding, whatever the architecture, because every op's rule is
    (see the page on DeepLIFT). Also sensitivity and dummy; not implementation invariance, as its secants are those of
    the ops the model is written in. Cost: recording the model is one forward pass for each size of chunk, the check
    another two, of which recording saves one and a baseline shared by all samples the other; the replay is two forward
    passes (one for a chunk that was just recorded, whose values at the inputs are used) and one backward pass to the
    inputs. Memory: `batch_size` pairs of activations. `engine` must be `"auto"`.
    Under `torch.func` transforms the inputs go through in one piece and unchecked, and the result can be
    differentiated: an attribution penalty is ``torch.func.grad`` over a function that closes over the parameters.

    References
    ----------
    Shrikumar, Greenside, Kundaje (2017), Learning important features through propagating activation differences.
    arXiv:1704.02685

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import deep_lift
    >>> deep_lift(lambda x: torch.relu(x[:, 0] - x[:, 1]), torch.tensor([[3.0, 1.0]]))
    tensor([[ 3., -1.]])
    """
    wish: dict[str, Any] = {"target": target, "targets": targets, "classes": classes}
    _only_auto(engine)
    if transformed():
        return _in_one_piece(f, x, baselines, multiply_by_inputs, additional_forward_args, wish)
    xs = as_tuple(x)
    pool = tuple(b[:, None] for b in as_baselines(baselines, xs))
    with Passes(
        f,
        xs,
        len(xs[0]),
        row_cost=VALUES_PER_ACTIVATION,
        batch_size=batch_size,
        device=device,
        progress=progress,
        additional_forward_args=additional_forward_args,
        **wish,
    ) as passes:
        attributions: list[Rows] = []
        sums: list[Rows] = []
        chunks = Multipliers(passes, xs, pool, check, compile)
        for chunk in chunks:
            attributions.append(chunk.products if multiply_by_inputs else chunk.multipliers)
            sums.append((chunk.total, chunk.at_input, chunk.at_baseline))
        total, score, start = _joined(sums)
        refuse_non_finite_baselines(start, score)
        passes.engine = "secant"
        delta = total - (score - start)
        return finish(passes, xs, _joined(attributions), score, delta=delta, notes=chunks.notes())


@method(
    "DeepLIFT/SHAP",
    axioms=("dummy",),
    cost="n_baselines x (2 forward + 1 backward)",
    units="output",
    reference="arXiv:1705.07874",
    baselines="distribution",
    complete=True,
)
def deep_lift_shap(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines,
    multiply_by_inputs: bool = True,
    hypothetical: bool = False,
    check: bool = True,
    compile: bool = False,
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """DeepLIFT averaged over a distribution of baselines.

    ``a = mean over b of deep_lift(f, x, baselines=b)``; with `hypothetical` and the multipliers m of a baseline b
    ``a[c, l] = mean over b of (m[c, l] - sum over letters k of m[k, l] b[k, l])``

    Parameters
    ----------
    {f}
    {x}
    baselines : Tensor, tuple of Tensor, float or callable
        The distribution: (B, ...) for all samples or (N, B, ...) for each; with several inputs, baselines of equal
        number belong together.
    multiply_by_inputs : bool, default True
        False leaves out the factor ``x - b``: the mean multipliers, in output units per input unit.
    hypothetical : bool, default False
        For one-hot sequences (N, 4, L) or (N, L, 4): the contribution that each letter would have at each position, projected for
        each baseline and then averaged, as TF-MoDISco takes it. ``(x * a).sum`` over the letters is the attribution summed over
        them.
    check : bool, default True
        Compare the replayed model with the model, at the inputs and at the baselines.
    compile : bool, default False
        Compile the replay with torch.compile, once for each size of chunk: a minute or so for a large network, whose
        replays then take about half the time. Pays with many chunks; needs a C++ compiler.
    {layer}
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    NotImplementedError
        As `deep_lift`.
    {raises}

    Notes
    -----
    Complete: ``sum(a) = f(x) - mean f(b)`` up to rounding. `standard_error` is that of the mean over the baselines:
    how much another draw of as many baselines would change the result. Cost: as `deep_lift` for each of N x B pairs.
    Memory: `batch_size` pairs of activations, however many baselines there are.

    References
    ----------
    Lundberg, Lee (2017), A unified approach to interpreting model predictions. arXiv:1705.07874

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import deep_lift_shap
    >>> baselines = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    >>> deep_lift_shap(lambda x: x[:, 0] * x[:, 1], torch.tensor([[1.0, 3.0]]), baselines=baselines)
    tensor([[-0.5000,  1.5000]])
    """
    _only_auto(engine)
    xs = as_tuple(x)
    pool = as_distribution(baselines, xs)
    letters = _letters(xs, multiply_by_inputs) if hypothetical else None
    with Passes(
        f, xs, len(xs[0]) * pool[0].shape[1], row_cost=VALUES_PER_ACTIVATION, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        return _average(passes, xs, pool, multiply_by_inputs, check, compile, letters)


def _average(
    passes: Passes,
    xs: Rows,
    pool: Rows,
    multiply_by_inputs: bool,
    check: bool,
    compile: bool,
    letters: int | None = None,
) -> Explanation:
    """Mean over the baselines, with the model's scores at both ends; of hypothetical contributions where there are `letters`."""
    n, count = len(xs[0]), pool[0].shape[1]
    spread = count > 1
    products, multipliers = (Moments(n, count, passes.device, second=spread) for _ in range(2))
    ends = Moments(n, count, passes.device)
    chunks = Multipliers(passes, xs, pool, check, compile)
    for chunk in chunks:
        products.add(chunk.products, chunk.start)
        ends.add((chunk.at_input, chunk.at_baseline), chunk.start)
        if letters is not None:
            multipliers.add(_projected(chunk, xs, count, letters), chunk.start)
        elif not multiply_by_inputs:
            multipliers.add(chunk.multipliers, chunk.start)
    plain = multiply_by_inputs and letters is None
    moments, (score, start) = products if plain else multipliers, ends.mean()
    delta = sum(a.reshape(*a.shape[:2], -1).sum(2) for a in products.mean()) - (score - start)
    error = moments.standard_error() if spread else None
    passes.engine = "secant"
    return finish(passes, xs, moments.mean(), score, delta=delta, standard_error=error, notes=chunks.notes())


def _letters(xs: Rows, multiply_by_inputs: bool) -> int:
    """The dim of the letters of one-hot sequences.

    Raises
    ------
    ValueError
        If `x` is not one, or `multiply_by_inputs` is False: these are no multipliers.
    """
    if not multiply_by_inputs:
        raise ValueError("`hypothetical` is True and `multiply_by_inputs` False; pass one of them")
    x = xs[0]
    one_hot = len(xs) == 1 and x.ndim == 3 and bool(((x == 0) | (x == 1)).all())
    dims = [d for d in (1, 2) if one_hot and bool((x.sum(d) <= 1).all())]
    if not dims:
        raise ValueError(
            "`hypothetical` is True, but `x` is not one input of one-hot sequences (N, letters, positions): every position has at "
            "most one 1 among its letters"
        )
    return min(dims, key=lambda d: (x.shape[d] != 4, d))


def _projected(chunk: Chunk, xs: Rows, count: int, letters: int) -> Rows:
    """What each letter would contribute: the multiplier of the letter minus what the position's baseline contributes.

    The products are ``m (x - b)``, so ``sum m b = sum m x - sum of the products``, over the letters of a position.
    """
    (multipliers,), (products,) = chunk.multipliers, chunk.products
    i = torch.arange(chunk.start, chunk.start + multipliers.shape[1]).div(count, rounding_mode="floor")
    x = of_samples(xs[0], i, multipliers.device).to(multipliers.dtype)
    at_baseline = (multipliers * x - products).sum(letters + 1, keepdim=True)
    return (multipliers - at_baseline,)


def _joined(chunks: list[Rows]) -> Rows:
    """Chunks (T, rows, ...) one behind the other, per input."""
    return tuple(torch.cat(parts, 1) if len(parts) > 1 else parts[0] for parts in zip(*chunks, strict=True))


def _in_one_piece(
    f: Model,
    x: Tensors,
    baselines: Baselines,
    multiply_by_inputs: bool,
    additional_forward_args: Any,
    wish: dict[str, Any],
) -> Explanation:
    """Under `torch.func` transforms: nothing that looks at values, and derivatives kept."""
    xs = x if isinstance(x, tuple) else (x,)
    per_input = baselines if isinstance(baselines, tuple) else (baselines,) * len(xs)
    x0s = tuple(torch.as_tensor(b).to(t).expand_as(t) for b, t in zip(per_input, xs, strict=True))  # type: ignore[arg-type]
    want = wanted(**wish, n=len(xs[0]))
    function = Function(f, xs, Companions(additional_forward_args, len(xs[0])))
    readout = Readout(function, Scores(want))
    samples = torch.arange(len(xs[0]), device=xs[0].device)
    with unchanged(function.parts):
        function.check(
            tuple(t[[0, -1]] for t in xs), len(xs[0]), alone=False, measure=False, padded=len(xs[0])
        )
        graph = expressed(partial(readout.outputs, samples=samples), xs)
    targets = readout.resolve(graph.value)
    if any(isinstance(t, Predicted) for t in targets):
        raise ValueError('`target` is "predicted", which a torch.func transform cannot settle; pass an index')
    replay = secant(graph, x0s, xs)
    multipliers = replay.pull(readout.cotangents(graph.value, samples))
    products = tuple(m * d for m, d in zip(multipliers, replay.changes, strict=True))
    score, start = readout.scores(replay.y1, samples), readout.scores(replay.y0, samples)
    delta = sum(p.reshape(*p.shape[:2], -1).sum(2) for p in products) - (score - start)
    parts = [m if want.many else m[0] for m in (products if multiply_by_inputs else multipliers)]
    score, delta = (score, delta) if want.many else (score[0], delta[0])
    attribution = tuple(parts) if len(parts) > 1 else parts[0]
    return Explanation(attribution, score, None, labels(targets), "secant", delta)


def _only_auto(engine: str) -> None:
    if engine not in ("auto", "secant"):
        raise ValueError(f'`engine` is {engine!r}, but DeepLIFT has only its own; leave it at "auto"')


# ------------------------------------------------------------------ what each op did


@public
def op_shares(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines = 0.0,
    target: TargetLike = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
) -> list[OpShare]:
    """What each op of a model contributed to a DeepLIFT attribution, in the order of the model.

    Parameters
    ----------
    f : callable
        The model.
    x : Tensor or tuple of Tensor
        Input(s), samples on dim 0.
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What the input is compared with.
    target : int, str, tuple, sequence, callable or None
        Which score is explained.
    classes : sequence of str, optional
        Names of the outputs.
    additional_forward_args : tuple or mapping, default ()
        What the model takes beside `x`, see `deep_lift`.

    Returns
    -------
    list of OpShare
        One per recorded op: name, source line, rule, shape, change, residual; sums over the samples.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import op_shares
    >>> ops = op_shares(lambda x: torch.relu(x).sum(1), torch.tensor([[2.0, -1.0]]))
    >>> [(op.op, op.change) for op in ops]
    [('aten.relu.default', 2.0), ('aten.sum.dim_IntList', 2.0)]
    """
    xs = as_tuple(x)
    x0s = tuple(b.expand_as(t) for b, t in zip(as_baselines(baselines, xs), xs, strict=True))
    with Passes(
        f, xs, len(xs[0]), target=target, classes=classes, additional_forward_args=additional_forward_args
    ) as passes:
        readout = Readout(passes.function, passes.score)
        samples = torch.arange(len(xs[0]), device=xs[0].device)
        graph = expressed(partial(readout.outputs, samples=samples), xs)
        readout.scores(graph.value, samples, at_inputs=True)
        return shares(graph, x0s, xs, readout.cotangents(graph.value, samples)[0])
