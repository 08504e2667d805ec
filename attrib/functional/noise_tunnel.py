"""Averages over random draws: the noise tunnel around any method, SmoothGrad and GradientSHAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.affine_first_layer import affine_first_layer
from attrib.engine.gradient.differentiate import Rows
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Baselines, Tensors, as_distribution, as_tuple
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.model.prepared import prepare
from attrib.engine.sampling.moments import Moments, Successive
from attrib.engine.sampling.perturbations import Noise, Stdevs, draw_count, draws_between, spread, stdevs_of
from attrib.engine.target import TargetLike, repeated
from attrib.functional.explanation import Explanation, finish, method, refuse_non_finite_results
from attrib.functional.saliency import saliency


@method(
    "Noise tunnel",
    axioms=("implementation_invariance",),
    cost="n_samples x the method",
    units="method",
    reference="arXiv:1706.03825",
    draws=True,
    wraps=True,
)
def noise_tunnel(
    method: Callable[..., Tensors],
    f: Model,
    x: Tensors,
    *,
    n_samples: int = 25,
    stdevs: Stdevs | None = None,
    stdev_spread: float = 0.15,
    reduce: str = "mean",
    seed: int = 0,
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
    """Any method averaged over noisy copies of the input.

    ``a = mean over k of method(f, x + s e_k)``, ``e_k`` standard normal in antithetic pairs, ``e_2j+1 = -e_2j``

    Parameters
    ----------
    method : callable
        A function of `attrib.functional` whose attributions are shaped like the input (not the maps of a layer), or one
        of your own that takes ``(f, x, *, targets, batch_size, device,
        engine)`` and returns attributions (T, N, ...). Give its own options with `functools.partial`:
        ``noise_tunnel(partial(integrated_gradients, n_steps=20), f, x)``.
    {f}
    {x}
    {noise}
    {seed}
    {layer}
    {shared}

    Returns
    -------
    Tensor or tuple of Tensor
        Shaped like the input(s), with a leading dim for `targets`, in the method's unit (its square for
        ``reduce="square"`` and ``"variance"``).

    Raises
    ------
    {raises}
    ValueError
        For the maps of a layer.

    Notes
    -----
    Cost: `n_samples` times the method's. `"predicted"` is settled at the clean input, once.

    References
    ----------
    Smilkov, Thorat, Kim, Viégas, Wattenberg (2017), SmoothGrad. arXiv:1706.03825

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import noise_tunnel, saliency
    >>> noise_tunnel(saliency, lambda x: (x**2).sum(1), torch.tensor([[1.0, -1.0]]), stdevs=0.0)
    tensor([[2., 2.]])
    """
    _refuse_maps(method)
    if layer is not None:
        method = partial(method, layer=layer, output=output, call=call)
    xs = as_tuple(x, noise=True)
    count, scales = draw_count(n_samples), spread(xs, stdevs, stdev_spread)
    moments = Moments.of(reduce, len(xs[0]), count, xs[0].device)
    model = prepare(f)  # the method is called many times, and need not learn everything anew
    with Passes(
        model, xs, len(xs[0]) * (count + 1), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        refuse_non_finite_results(score)
        noisy = Noise(xs, scales, seed, passes.device, antithetic=True)
        moments.device = passes.sums_at(3)

        def through(start: int, stop: int) -> None:
            r = torch.arange(start, stop)
            i = r.div(count, rounding_mode="floor")
            rows = noisy.points(i, r % count)
            goals = [repeated(t, i) for t in passes.targets]
            beside = passes.companions.of_samples(i)
            attributions = called_with(
                of_rows(method, i, xs), passes, model, rows if len(rows) > 1 else rows[0],
                targets=goals, batch_size=batch_size, device=device, engine=engine,
                **({"additional_forward_args": beside} if beside else {}),
            )  # fmt: skip
            moments.add(attributions if isinstance(attributions, tuple) else (attributions,), start)

        for _ in passes.batches.run(len(xs[0]) * count, through):
            pass
    attributions = moments.reduced()
    return finish(passes, xs[: len(attributions)], attributions, score)


def _refuse_maps(method: Callable[..., Tensors]) -> None:
    about = getattr(getattr(method, "func", method), "about", None)
    if about is not None and about.result != "input":
        form = "the grid of a layer and no channels" if about.layer else "an entry for each pair of values"
        raise ValueError(
            f"`method` is {about.name}, whose maps have {form}; noise_tunnel takes methods shaped like `x`, such as "
            "guided_grad_cam; or average the maps of noisy copies yourself"
        )


def called_with(method: Callable[..., Tensors], passes: Passes, *args: Any, **options: Any) -> Tensors:
    """A method's attributions; where it gives an `Explanation`, `passes` takes over its engine and evaluations."""
    inner: Any = method.func if isinstance(method, partial) else method
    if not hasattr(inner, "explain"):
        return method(*args, **options)
    first, settings = (method.args, method.keywords) if isinstance(method, partial) else ((), {})
    if inner.about.edits or inner.about.layer:  # these have no engine to choose
        del options["engine"]
    explanation = inner.explain(*first, *args, **settings, **options)
    passes.engine = explanation.engine
    passes.function.rows += explanation.evaluations
    return explanation.attribution


def of_rows(method: Callable[..., Tensors], i: Tensor, xs: Rows) -> Callable[..., Tensors]:
    """The method, its own baselines repeated for rows of samples `i` where there is one (or a distribution) for each."""
    if not isinstance(method, partial) or "baselines" not in method.keywords:
        return method
    about, baselines = getattr(method.func, "about", None), method.keywords["baselines"]
    ranks = {"distribution": (1,), "any": (0, 1)}.get(str(getattr(about, "baselines", None)), (0,))

    def picked(b: Any, x: Tensor) -> Any:
        per_sample = isinstance(b, Tensor) and b.ndim - x.ndim in ranks and len(b) == len(x) > 1
        return b[i.to(b.device)] if per_sample else b

    if isinstance(baselines, tuple | list):
        return partial(method, baselines=tuple(picked(b, x) for b, x in zip(baselines, xs, strict=False)))
    return partial(method, baselines=picked(baselines, xs[0]))


@method(
    "SmoothGrad",
    axioms=("dummy", "implementation_invariance", "linearity"),
    cost="n_samples x (forward + backward)",
    units="gradient",
    reference="arXiv:1706.03825",
    draws=True,
)
def smooth_grad(
    f: Model,
    x: Tensors,
    *,
    n_samples: int = 25,
    stdevs: Stdevs | None = None,
    stdev_spread: float = 0.15,
    reduce: str = "mean",
    seed: int = 0,
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
    """Gradient averaged over noisy copies of the input.

    ``a = mean over k of d f(x + s e_k) / d x``, ``e_k`` standard normal in antithetic pairs, ``e_2j+1 = -e_2j``

    Parameters
    ----------
    {f}
    {x}
    {noise}
    {seed}
    {layer}
    {shared}

    Returns
    -------
    {returns_gradient}

    Raises
    ------
    {raises}

    Notes
    -----
    Cost: `n_samples` forward and backward passes per sample, and one forward; where the model's input goes into one
    linear layer and nowhere else, the mean goes back through that layer once per sample. Memory: `batch_size` rows.
    Satisfies dummy and implementation invariance.

    References
    ----------
    Smilkov, Thorat, Kim, Viégas, Wattenberg (2017), SmoothGrad. arXiv:1706.03825
    Adebayo et al. (2018), Local explanation methods for deep neural networks lack sensitivity to parameter values
    (the variance). arXiv:1810.03307
    Hooker, Erhan, Kindermans, Kim (2019), A benchmark for interpretability methods (the square). arXiv:1806.10758

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import smooth_grad
    >>> smooth_grad(lambda x: (x**2).sum(1), torch.tensor([[1.0, -1.0]]), stdevs=0.0)
    tensor([[ 2., -2.]])
    """
    if layer is not None:  # noise is added at x, gradients are taken at the layer
        gradient = partial(saliency, absolute=False, layer=layer, output=output, call=call)
        return noise_tunnel.explain(
            gradient, f, x, n_samples=n_samples, stdevs=stdevs, stdev_spread=stdev_spread, reduce=reduce, seed=seed,
            target=target, targets=targets, classes=classes, additional_forward_args=additional_forward_args,
            batch_size=batch_size, device=device, progress=progress, engine=engine,
        )  # fmt: skip
    xs = as_tuple(x, noise=True)
    count, scales = draw_count(n_samples), spread(xs, stdevs, stdev_spread)
    moments = Moments.of(reduce, len(xs[0]), count, xs[0].device)
    with Passes(
        f, xs, len(xs[0]) * (count + 1), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        noisy = Noise(xs, scales, seed, passes.device, antithetic=True)
        moments.device = passes.sums_at(3)
        linear = reduce == "mean"  # only a mean may be taken behind the first layer
        first_layer = affine_first_layer(passes, xs, -xs[0][:2], count, wide_rows=True) if linear else None
        points = noisy.points if first_layer is None else lambda i, k: (first_layer(noisy.points(i, k)[0]),)
        for chunk in passes.gradients(points, torch.arange(len(xs[0])), count):
            moments.add(chunk.gradients, chunk.start)
            del chunk  # not kept while the next one is made
        average = moments.reduced()
        if first_layer is not None:
            size = max(1, passes.batches.chunk() // len(average[0]))
            average = (torch.cat([first_layer.back(part) for part in average[0].split(size, 1)], 1),)
    return finish(passes, xs, average, score)


@method(
    "GradientSHAP",
    axioms=("dummy", "implementation_invariance", "linearity", "symmetry"),
    cost="n_samples x (forward + backward)",
    units="output",
    reference="arXiv:1705.07874",
    baselines="distribution",
    complete=True,
    draws=True,
)
def gradient_shap(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines,
    n_samples: int = 50,
    stdevs: Stdevs = 0.0,
    multiply_by_inputs: bool = True,
    seed: int = 0,
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
    """Expected gradient between the input and a distribution of baselines.

    ``a = mean over k of (x + s e_k - b_k) * d f(b_k + u_k (x + s e_k - b_k)) / d x``, ``b_k`` drawn from the
    baselines in balance, ``u_k`` uniform in a stratum of (0, 1) of its own, ``e_k`` standard normal

    Parameters
    ----------
    {f}
    {x}
    baselines : Tensor, tuple of Tensor, float or callable
        The distribution: (B, ...) for all samples or (N, B, ...) for each; with several inputs, rows of equal number
        belong together.
    n_samples : int, default 50
        Draws per sample.
    stdevs : float or tuple of float, default 0.0
        Standard deviation of noise added to the input, in its units; per input if a tuple.
    multiply_by_inputs : bool, default True
        False leaves out the factor ``x - b``: the expected gradient, in output units per input unit.
    {seed}
    {layer}
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    {raises}

    Notes
    -----
    Complete in expectation: the sum tends to ``f(x) - mean f(b)``; `delta` holds the difference from that, and
    `standard_error` the standard error of each attribution, from the differences of draws next to each other on the way from one
    baseline (see the page on noise); with fewer draws than twice the baselines it is that of independent draws. Cost: `n_samples` forward and backward
    passes per sample, one forward for it and one for each baseline; where the model's input goes into one linear layer
    and nowhere else, and there is no noise, that layer runs once for each sample and baseline instead of once per
    draw. Memory: `batch_size` rows.

    References
    ----------
    Lundberg, Lee (2017), A unified approach to interpreting model predictions. arXiv:1705.07874
    Erion, Janizek, Sturmfels, Lundberg, Lee (2021), Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients. doi:10.1038/s42256-021-00343-w

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import gradient_shap
    >>> gradient_shap(lambda x: x @ torch.tensor([1.0, -2.0]), torch.ones(1, 2), baselines=torch.zeros(3, 2))
    tensor([[ 1., -2.]])
    """
    xs = as_tuple(x)
    pool = as_distribution(baselines, xs)
    count, scales = draw_count(n_samples), stdevs_of(xs, stdevs)
    rows = len(xs[0]) * (count + 1) + pool[0].shape[:2].numel()
    with Passes(
        f, xs, rows, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        change = score - _mean_score(passes, pool, xs)
        draws = draws_between(passes, Noise(xs, scales, seed, passes.device), pool, count)
        products, multipliers = (
            Successive(len(xs[0]), count, passes.sums_at(4), *draws.differences()) for _ in range(2)
        )
        for chunk in passes.gradients(draws.points, torch.arange(len(xs[0])), count):
            gradients = draws.at_input(chunk.gradients)
            if not multiply_by_inputs:
                multipliers.add(gradients, chunk.start)
            products.add(draws.products(gradients), chunk.start)
            del chunk, gradients  # not kept while the next ones are made
    moments = products if multiply_by_inputs else multipliers
    delta = sum(a.reshape(*a.shape[:2], -1).sum(2).to(change.device) for a in products.mean()) - change
    return finish(passes, xs, moments.mean(), score, delta=delta, standard_error=moments.standard_error())


def _mean_score(passes: Passes, pool: Rows, xs: Rows) -> Tensor:
    """Score (T, N) averaged over the baselines of each sample."""
    n, b = len(xs[0]), pool[0].shape[1]
    flat = tuple(p.expand(-1, -1, *t.shape[1:]).flatten(0, 1) for p, t in zip(pool, xs, strict=True))
    if len(pool[0]) > 1 or passes.companions.per_sample:
        flat = tuple(p.expand(n, -1, *t.shape[1:]).flatten(0, 1) for p, t in zip(pool, xs, strict=True))
        samples = torch.arange(n).repeat_interleave(b)
        return passes.scores_at(flat, samples).unflatten(1, (n, b)).mean(2)
    samples = torch.arange(n)
    scores = [passes.score(y.expand(n, *y.shape), samples) for y in passes.outputs_at(flat)]
    return torch.stack(scores).mean(0)
