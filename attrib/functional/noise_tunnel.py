"""A noise tunnel: any method averaged over noisy copies of the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.gradient.pullback import Rows
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.model.prepared import prepare
from attrib.engine.sampling.moments import Moments
from attrib.engine.sampling.perturbations import Noise, Stdevs, draw_count, spread
from attrib.engine.target import TargetLike, repeated
from attrib.functional.explanation import Explanation, finish, method, refuse_non_finite_results


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
