"""Averages over random draws: SmoothGrad, a noise tunnel around any method, and GradientSHAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradients import Chunk, Kernel
from attrib.engine.inputs import Baselines, Tensors, as_distribution, as_tuple, of_samples
from attrib.engine.model import Model
from attrib.engine.moments import Moments
from attrib.engine.noise import choice, normal, sample_keys, uniform
from attrib.engine.target import TargetLike, repeated
from attrib.functional.explanation import Explanation, finish, method

Rows = tuple[Tensor, ...]
Stdevs = float | tuple[float, ...]
REDUCTIONS = ("mean", "square", "variance")
NOISE, BASELINE, MIX = 0, 64, 65  # streams of draws; noise takes one per input


@method(
    "SmoothGrad",
    axioms=("dummy", "implementation_invariance"),
    cost="n_samples x (forward + backward)",
    units="gradient",
    reference="arXiv:1706.03825",
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
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Gradient averaged over noisy copies of the input.

    ``a = mean over k of d f(x + s e_k) / d x``, ``e_k`` standard normal

    Parameters
    ----------
    {f}
    {x}
    {noise}
    {seed}
    {shared}

    Returns
    -------
    {returns_gradient}

    Raises
    ------
    {raises}

    Notes
    -----
    Cost: `n_samples` forward and backward passes per sample, and one forward. Memory: `batch_size` rows. Satisfies
    dummy and implementation invariance.

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
    xs = as_tuple(x)
    count = _count(n_samples, reduce)
    noisy = _Noise(xs, _spread(xs, stdevs, stdev_spread), sample_keys(xs, seed))
    with Kernel(
        f, xs, target=target, targets=targets, classes=classes,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as kernel:  # fmt: skip
        kernel.batches.expect(len(xs[0]) * (count + 1))
        score = kernel.scores(xs)
        moments = Moments(count, second=reduce != "mean", first=reduce != "square")
        for chunk in kernel.gradients(noisy.points, torch.arange(len(xs[0])), count):
            moments.add(chunk.grads, chunk.start, len(xs[0]))
    return finish(kernel, xs, _reduced(moments, reduce), score)


@method(
    "Noise tunnel",
    axioms=("implementation_invariance",),
    cost="n_samples x the method",
    units="method",
    reference="arXiv:1706.03825",
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
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Any method averaged over noisy copies of the input.

    ``a = mean over k of method(f, x + s e_k)``, ``e_k`` standard normal

    Parameters
    ----------
    method : callable
        A function of `attrib.functional`, or one of your own that takes ``(f, x, *, targets, batch_size, device,
        engine)`` and returns attributions (T, N, ...). Give its own options with `functools.partial`:
        ``noise_tunnel(partial(integrated_gradients, n_steps=20), f, x)``.
    {f}
    {x}
    {noise}
    {seed}
    {shared}

    Returns
    -------
    Tensor or tuple of Tensor
        Shaped like the input(s), with a leading dim for `targets`, in the method's unit (its square for
        ``reduce="square"`` and ``"variance"``).

    Raises
    ------
    {raises}

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
    xs = as_tuple(x)
    count = _count(n_samples, reduce)
    noisy = _Noise(xs, _spread(xs, stdevs, stdev_spread), sample_keys(xs, seed))
    with Kernel(
        f, xs, target=target, targets=targets, classes=classes,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as kernel:  # fmt: skip
        kernel.batches.expect(len(xs[0]) * (count + 1))
        score = kernel.scores(xs)
        moments = Moments(count, second=reduce != "mean", first=reduce != "square")

        def through(start: int, stop: int) -> None:
            r = torch.arange(start, stop, device=kernel.device)
            i = r.div(count, rounding_mode="floor")
            rows = noisy.points(i, r % count)
            goals = [repeated(t, i) for t in kernel.targets]
            found = method(
                f, rows if len(rows) > 1 else rows[0],
                targets=goals, batch_size=batch_size, device=device, engine=engine,
            )  # fmt: skip
            moments.add(found if isinstance(found, tuple) else (found,), start, len(xs[0]))

        for _ in kernel.batches.run(len(xs[0]) * count, through):
            pass
    return finish(kernel, xs, _reduced(moments, reduce), score)


@method(
    "GradientSHAP",
    axioms=("dummy", "implementation_invariance"),
    cost="n_samples x (forward + backward)",
    units="output",
    reference="arXiv:1705.07874",
    distribution=True,
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
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Expected gradient between the input and a distribution of baselines.

    ``a = mean over k of (x + s e_k - b_k) * d f(b_k + u_k (x + s e_k - b_k)) / d x``, ``b_k`` drawn from the
    baselines, ``u_k`` uniform on (0, 1), ``e_k`` standard normal

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
    `standard_error` the standard error of each attribution over the draws. Cost: `n_samples` forward and backward
    passes per sample, one forward for it and one for each baseline. Memory: `batch_size` rows.

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
    count = _count(n_samples)
    draws = _Draws(xs, pool, _given(xs, stdevs), sample_keys(xs, seed))
    with Kernel(
        f, xs, target=target, targets=targets, classes=classes,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as kernel:  # fmt: skip
        kernel.batches.expect(len(xs[0]) * (count + 1))
        score = kernel.scores(xs)
        change = score - _mean_score(kernel, pool, xs)
        total, alone = Moments(count, second=True), Moments(count, second=True)
        for chunk in kernel.gradients(draws.points, torch.arange(len(xs[0])), count):
            total.add(draws.products(chunk), chunk.start, len(xs[0]))
            if not multiply_by_inputs:
                alone.add(chunk.grads, chunk.start, len(xs[0]))
    shown = total if multiply_by_inputs else alone
    delta = sum(a.flatten(2).sum(2) for a in total.mean()) - change
    return finish(kernel, xs, shown.mean(), score, delta=delta, standard_error=shown.standard_error())


def _count(n_samples: int, reduce: str = "mean") -> int:
    if isinstance(n_samples, bool) or not isinstance(n_samples, int):
        raise TypeError(f"`n_samples` is {n_samples!r}, expected an int")
    if n_samples < 1:
        raise ValueError(f"`n_samples` is {n_samples}, expected at least 1")
    if reduce not in REDUCTIONS:
        raise ValueError(f"`reduce` is {reduce!r}, expected one of {', '.join(REDUCTIONS)}")
    return n_samples


def _given(xs: Rows, stdevs: Stdevs) -> list[Tensor]:
    """Standard deviations (1,) per input."""
    each = tuple(stdevs) if isinstance(stdevs, tuple | list) else (stdevs,) * len(xs)
    if len(each) != len(xs):
        raise ValueError(f"`stdevs` has {len(each)} entries for {len(xs)} inputs")
    if any(isinstance(s, bool) or not isinstance(s, int | float) or not 0 <= s < float("inf") for s in each):
        raise ValueError(f"`stdevs` is {stdevs!r}, expected a number of at least 0, or one per input")
    return [torch.tensor([float(s)]) for s in each]


def _spread(xs: Rows, stdevs: Stdevs | None, stdev_spread: float) -> list[Tensor]:
    """Standard deviations (1,) or (N,) per input: as given, or a share of each sample's range."""
    if stdevs is not None:
        return _given(xs, stdevs)
    if not 0 <= stdev_spread < float("inf"):
        raise ValueError(f"`stdev_spread` is {stdev_spread}, expected a number of at least 0")
    flat = [t.reshape(len(t), -1) for t in xs]
    return [stdev_spread * (t.amax(1) - t.amin(1)) for t in flat]


def _reduced(moments: Moments, reduce: str) -> Rows:
    return {"mean": moments.mean, "square": moments.square, "variance": moments.variance}[reduce]()


class _Noise:
    """Noisy copies of the inputs."""

    def __init__(self, xs: Rows, stdevs: list[Tensor], keys: Tensor) -> None:
        self.xs, self.stdevs, self.keys = xs, stdevs, keys

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Copy `k` of samples `i`."""
        keys = self.keys[i.to(self.keys.device)]
        rows = []
        for j, (t, s) in enumerate(zip(self.xs, self.stdevs, strict=True)):
            row = of_samples(t, i).expand(len(i), *t.shape[1:])  # of one sample there is one row for all
            if bool(s.any()):
                scale = of_samples(s, i).to(row.dtype).view(-1, *[1] * (row.ndim - 1))
                row = row + scale * normal(keys, k, NOISE + j, row.shape[1:], row.dtype)
            rows.append(row)
        return tuple(rows)


class _Draws:
    """Points between noisy inputs and drawn baselines."""

    def __init__(self, xs: Rows, pool: Rows, stdevs: list[Tensor], keys: Tensor) -> None:
        self.noisy, self.pool, self.keys = _Noise(xs, stdevs, keys), pool, keys
        self._difference: Rows = ()  # of the chunk drawn last, which is the one `products` is asked for

    def points(self, i: Tensor, k: Tensor) -> Rows:
        """Draw `k` of samples `i`."""
        keys = self.keys[i.to(self.keys.device)]
        which = choice(keys, k, BASELINE, self.pool[0].shape[1])
        mix = uniform(keys, k, MIX)
        ends = self.noisy.points(i, k)
        starts = [_drawn(b, i, which) for b in self.pool]
        self._difference = tuple(e - s for e, s in zip(ends, starts, strict=True))
        return tuple(
            s + mix.to(d.dtype).view(-1, *[1] * (d.ndim - 1)) * d
            for s, d in zip(starts, self._difference, strict=True)
        )

    def products(self, chunk: Chunk) -> Rows:
        """Gradients times differences of the chunk drawn last."""
        return tuple(g * d for g, d in zip(chunk.grads, self._difference, strict=True))


def _drawn(pool: Tensor, i: Tensor, which: Tensor) -> Tensor:
    """Baseline `which` of each sample `i` from (1, B, ...) or (N, B, ...)."""
    if len(pool) == 1:
        return pool[0].to(i.device)[which]
    part = of_samples(pool, i)
    return part[torch.arange(len(i), device=i.device), which]


def _mean_score(kernel: Kernel, pool: Rows, xs: Rows) -> Tensor:
    """Score (T, N) averaged over the baselines of each sample."""
    n, b = len(xs[0]), pool[0].shape[1]
    flat = tuple(p.expand(-1, -1, *t.shape[1:]).flatten(0, 1) for p, t in zip(pool, xs, strict=True))
    if len(pool[0]) > 1:
        samples = torch.arange(n, device=kernel.device).repeat_interleave(b)
        return kernel.scores_at(flat, samples).unflatten(1, (n, b)).mean(2)
    samples = torch.arange(n, device=kernel.device)
    scores = [kernel.score(y.expand(n, *y.shape), samples) for y in kernel.outputs_at(flat)]
    return torch.stack(scores).mean(0)
