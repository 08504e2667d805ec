"""Infidelity and sensitivity: what small perturbations of the input say of an attribution."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes, by_sample
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.model.parameters import Model
from attrib.engine.model.prepared import prepare
from attrib.engine.sampling.perturbations import Noise, Stdevs, sample_keys, signed_uniform, stdevs_of
from attrib.engine.target import TargetLike, repeated
from attrib.functional.arguments import at_least, fitting, measuring, samples_first
from attrib.functional.explanation import refuse_non_finite_results
from attrib.functional.noise_tunnel import called_with, of_rows

RADIUS = 70  # stream of draws of the first input; each input has one
PerturbFunc = Callable[..., Any]


@measuring
def infidelity(
    f: Model,
    x: Tensors,
    attribution: Tensors,
    *,
    perturb_func: PerturbFunc | None = None,
    n_perturb_samples: int = 10,
    stdevs: Stdevs = 0.01,
    normalize: bool = False,
    seed: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Tensor:
    """How badly an attribution predicts the change of the score under small perturbations.

    ``mean over k of (sum_i I_k,i a_i - (f(x) - f(x - I_k)))^2``

    Parameters
    ----------
    {f}
    {x}
    attribution : Tensor or tuple of Tensor
        Shaped like the input(s); with `targets` also with a leading dim of targets. In output units per input unit
        (gradients), unless `perturb_func` returns perturbations that fit others.
    perturb_func : callable, optional
        Takes rows of the input(s), a tensor or a tuple, each sample repeated; returns ``(I, x - I)``, in the same form.
        Default: normal noise.
    n_perturb_samples : int, default 10
        Perturbations per sample.
    stdevs : float or tuple of float, default 0.01
        Standard deviation of the noise, in input units; per input if a tuple.
    normalize : bool, default False
        Whether to scale each sample's attribution by the number that makes its infidelity smallest, so that
        attributions in other units compare.
    {seed}
    {passes}

    Returns
    -------
    Tensor
        (N,), with `targets` (T, N). Unit: output units squared. 0 for the gradient of a linear model.

    Raises
    ------
    {raises_measure}

    Notes
    -----
    captum's definition, and its numbers for the same perturbations. Cost: ``n_perturb_samples + 1`` forward passes.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye, Ravikumar (2019), On the (in)fidelity and sensitivity of explanations. arXiv:1901.09392

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import infidelity, saliency
    >>> f, x = lambda x: x[:, 0] - 2 * x[:, 1], torch.tensor([[1.0, 2.0]])
    >>> bool(infidelity(f, x, saliency(f, x, absolute=False)) < 1e-10)
    True
    """
    xs = as_tuple(x, integers=perturb_func is not None, noise=True)
    at_least(n_perturb_samples, "n_perturb_samples", 1)
    attributions = fitting(attribution, xs, targets is not None)
    n, steps = len(xs[0]), n_perturb_samples
    per_target = attributions[0].ndim > xs[0].ndim
    with Passes(
        f, xs, n * (1 + steps), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        score = passes.scores(xs)
        refuse_non_finite_results(score)
        draw = _Perturbed(
            passes, xs, perturb_func, Noise(xs, stdevs_of(xs, stdevs), seed, passes.device).points
        )
        products = score.new_zeros(
            3, len(score), n, dtype=torch.float64
        )  # of estimate and change: aa, ab, bb
        for start, part in passes.scores_along(draw.points, torch.arange(n), steps):
            i = torch.arange(start, start + part.shape[1]).div(steps, rounding_mode="floor")
            at = i.to(part.device)
            change = score[:, at] - part
            estimate = torch.zeros_like(change)
            for a, moved in zip(attributions, draw.perturbations, strict=True):
                a = (a if per_target else a[None])[:, i.to(a.device)].to(moved)
                estimate = estimate + (a * moved).flatten(2).sum(2) if a.ndim > 2 else estimate + a * moved
            a, b = estimate.double(), change.double()
            for samples, _, terms in by_sample(
                torch.cat([a * a, a * b, b * b]) if normalize else (a - b) ** 2, start, steps
            ):
                sums = terms.sum(2).view(-1, len(score), terms.shape[1])
                products[: len(sums), :, samples] += sums
    aa, ab, bb = products / steps
    if normalize:
        beta = torch.where(aa == 0, 0.0, ab / torch.where(aa == 0, 1.0, aa))
        aa = (bb - beta * ab).clamp(min=0)
    infidelity = aa if passes.want.many else aa[0]
    return infidelity.to(xs[0]) if xs[0].is_floating_point() else infidelity.to(score)


class _Perturbed:
    """Rows with perturbations, and the perturbations of the rows made last.

    Parameters
    ----------
    passes : Passes
    xs : tuple of Tensor (N, ...)
    function : callable, optional
        The caller's.
    drawn : callable
        Samples and numbers of the draws to perturbed rows, where there is no function.
    """

    def __init__(
        self, passes: Passes, xs: tuple[Tensor, ...], function: PerturbFunc | None, drawn: Callable[..., Any]
    ) -> None:
        self.passes, self.xs, self.function, self.drawn = passes, xs, function, drawn
        self.perturbations: tuple[Tensor, ...] = ()

    def points(self, i: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        """Rows x - I of samples `i`."""
        rows = tuple(
            t.expand(len(i), *x.shape[1:])
            for t, x in zip(self.passes.rows_of(self.xs, i), self.xs, strict=True)
        )
        if self.function is None:
            moved = self.drawn(i, k)
            self.perturbations = tuple(r - m for r, m in zip(rows, moved, strict=True))
            return moved
        pair = self.function(rows if len(rows) > 1 else rows[0])
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(
                "`perturb_func` has to return a pair: the perturbations, and the inputs less these"
            )
        self.perturbations = _rows_like(
            pair[0], tuple(r if r.is_floating_point() else r.float() for r in rows)
        )
        return _rows_like(pair[1], rows)


def _rows_like(values: Any, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What `perturb_func` returned, as rows that fit the model."""
    parts = tuple(values) if isinstance(values, tuple | list) else (values,)
    shapes = [tuple(p.shape) if isinstance(p, Tensor) else type(p).__name__ for p in parts]
    expected = [tuple(r.shape) for r in rows]
    if shapes != expected:
        raise ValueError(f"`perturb_func` returned {shapes}, expected {expected}")
    return tuple(p.detach().to(r) for p, r in zip(parts, rows, strict=True))


@measuring
def sensitivity_max(
    method: Callable[..., Tensors],
    f: Model,
    x: Tensors,
    *,
    perturb_func: PerturbFunc | None = None,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    seed: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Tensor:
    """How much an attribution changes, at most, when the input moves a little.

    ``max over k of ||a(x + e_k) - a(x)|| / ||a(x)||``, ``e_k`` uniform in ``[-r, r]``

    Parameters
    ----------
    method : callable
        As for `noise_tunnel`; its own options in a `functools.partial`. Maps of a layer may be given too.
    {f}
    {x}
    perturb_func : callable, optional
        Takes rows of the input(s), a tensor or a tuple, each sample repeated, and `perturb_radius` if it has a second
        argument; returns the perturbed rows. Default: uniform noise.
    perturb_radius : float, default 0.02
        The largest change of an entry, in input units.
    n_perturb_samples : int, default 10
        Perturbed copies per sample.
    {seed}
    {passes}

    Returns
    -------
    Tensor
        (N,), with `targets` (T, N): no unit. Where the attribution is zero, the largest norm itself.

    Raises
    ------
    {raises_measure}

    Notes
    -----
    captum's definition, and its numbers for the same perturbations. `"predicted"` is settled at the input itself. Cost:
    ``n_perturb_samples + 1`` times the method's.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye, Ravikumar (2019), On the (in)fidelity and sensitivity of explanations. arXiv:1901.09392

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency, sensitivity_max
    >>> sensitivity_max(saliency, lambda x: x.sum(1), torch.ones(2, 3))
    tensor([0., 0.])
    """
    xs = as_tuple(x, integers=perturb_func is not None, noise=True)
    at_least(n_perturb_samples, "n_perturb_samples", 1)
    n, steps, keys = len(xs[0]), n_perturb_samples, sample_keys(xs, seed)
    model = prepare(f)  # the method is called many times, and need not learn everything anew
    with Passes(
        model, xs, n * (1 + steps), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        refuse_non_finite_results(passes.scores(xs))

        def attributed(rows: tuple[Tensor, ...], i: Tensor) -> Tensor:
            goals = [repeated(t, i) for t in passes.targets]
            beside = passes.companions.of_samples(i)
            values = called_with(
                of_rows(method, i, xs), passes, model, rows if len(rows) > 1 else rows[0], targets=goals,
                batch_size=batch_size, device=device, engine="auto",
                **({"additional_forward_args": beside} if beside else {}),
            )  # fmt: skip
            parts = values if isinstance(values, tuple) else (values,)
            return torch.cat(
                [p.detach().reshape(*p.shape[:1], len(i), -1) for p in map(samples_first(len(i)), parts)], 2
            )

        origin = attributed(xs, torch.arange(n))
        norms = origin.norm(dim=2)
        norms = torch.where(norms == 0, torch.ones_like(norms), norms)
        largest = torch.zeros_like(norms)
        for span in passes.batches.spans(n * steps):
            with span:
                r = torch.arange(span.start, span.stop)
                i = r.div(steps, rounding_mode="floor")
                rows = _moved(passes, xs, perturb_func, perturb_radius, keys, i, r % steps)
                at = i.to(origin.device)
                change = (attributed(rows, i).to(origin) - origin[:, at]).norm(dim=2) / norms[:, at]
            if span.done:
                for samples, _, part in by_sample(change, span.start, steps):
                    largest[:, samples] = torch.maximum(largest[:, samples], part.amax(2))
    return (largest if passes.want.many else largest[0]).to(xs[0].device)


def _moved(
    passes: Passes,
    xs: tuple[Tensor, ...],
    function: PerturbFunc | None,
    radius: float,
    keys: Tensor,
    i: Tensor,
    k: Tensor,
) -> tuple[Tensor, ...]:
    """Perturbed rows of samples `i`."""
    rows = tuple(t.expand(len(i), *x.shape[1:]) for t, x in zip(passes.rows_of(xs, i), xs, strict=True))
    if function is None:
        at, draws = keys[i].to(passes.device), k.to(passes.device)
        noise = (signed_uniform(at, draws, RADIUS + j, r.shape[1:], r.dtype) for j, r in enumerate(rows))
        return tuple(r + radius * e for r, e in zip(rows, noise, strict=True))
    argument = rows if len(rows) > 1 else rows[0]
    takes_radius = len(inspect.signature(function).parameters) > 1
    return _rows_like(function(argument, radius) if takes_radius else function(argument), rows)
