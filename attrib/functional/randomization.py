"""Randomization: whether an attribution depends on what the model has learned."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib._arguments import whole_seed
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.model.checks import GENERATORS
from attrib.engine.model.companions import Companions
from attrib.engine.model.parameters import Model, modules
from attrib.engine.model.prepared import PreparedModel
from attrib.engine.target import TargetLike, repeated
from attrib.functional.arguments import measured, samples_first
from attrib.functional.explanation import refuse_non_finite_results
from attrib.functional.noise_tunnel import called_with


class Randomized(NamedTuple):
    """How attributions change as a model loses what it has learned.

    Attributes
    ----------
    correlation : Tensor (L, N) or (T, L, N)
        Rank correlation with the attribution of the model itself.
    layers : tuple of str
        The module that was drawn anew last, from the output down.
    """

    correlation: Tensor
    layers: tuple[str, ...]


@measured({})
def randomization(
    method: Callable[..., Tensors],
    f: Model,
    x: Tensors,
    *,
    seed: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Randomized:
    """How alike an attribution stays as the model's parameters are drawn anew, module by module from the output down.

    ``r_l = rank correlation of a(f, x) and a(f with the last l modules drawn anew, x)``

    Parameters
    ----------
    method : callable
        As for `noise_tunnel`; its own options in a `functools.partial`. Maps of a layer may be given too, but not at a
        `torch.nn.Module`: name it.
    f : torch.nn.Module
        The model, or an object or `functools.partial` around it; a copy of it is changed.
    {x}
    seed : int, default 0
        Of the parameters that are drawn.
    {passes}

    Returns
    -------
    Tensor
        (L, N), with `targets` (T, L, N): Spearman's correlation over all features of a sample, where `L` modules have
        parameters. Near 0 from some layer on: the attribution depends on what the model has learned. Near 1 to the end: it
        shows the input, whatever the model. NaN where an attribution is constant. ``.explain(...)`` with the same arguments returns
        a `Randomized`: the names of the modules too.

    Raises
    ------
    {raises_measure}
        Also for a function around modules, and a model without parameters.

    Notes
    -----
    Each step keeps what earlier steps drew ("cascading"). A module with a method `reset_parameters` is drawn by that, from
    a generator of its own; parameters of other modules are drawn from a normal distribution with their mean and standard
    deviation. Modules are ordered as they are first called; if some are never called as modules, as they are defined. The targets
    are settled by the model itself. Cost: the method's, L + 1 times; a copy of the model.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps. arXiv:1810.03292

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import randomization, saliency
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> r = randomization.explain(saliency, model, torch.ones(2, 4), target=0)
    >>> r.layers, r.correlation.shape
    (('2', '0'), torch.Size([2, 2]))
    """
    xs = as_tuple(x, integers=True)
    model = f.model if isinstance(f, PreparedModel) else f
    changed = copy.deepcopy(model)
    layers = _with_parameters(changed, model)
    everything = torch.arange(len(xs[0]))
    with Passes(
        model, xs, len(xs[0]), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        refuse_non_finite_results(passes.scores(xs))
        goals = [repeated(t, everything) for t in passes.targets]
        beside = passes.companions.of_samples(everything)
        names = _from_the_output(changed, layers, passes.rows_of(xs, everything[:1]), passes.companions)

        def ranks(g: Model) -> Tensor:
            values = called_with(
                method, passes, g, xs if len(xs) > 1 else xs[0], targets=goals, batch_size=batch_size, device=device,
                engine="auto", **({"additional_forward_args": beside} if beside else {}),
            )  # fmt: skip
            parts = values if isinstance(values, tuple) else (values,)
            flat = [p.detach().reshape(len(p), len(xs[0]), -1) for p in map(samples_first(len(xs[0])), parts)]
            return average_ranks(torch.cat(flat, 2).double())

        origin = ranks(model)
        correlations = []
        for number, name in enumerate(names):
            redraw(layers[name], seed + number)
            correlations.append(_correlation(origin, ranks(changed)))
    correlation = torch.stack(correlations, 1)
    return Randomized((correlation if passes.want.many else correlation[0]).to(xs[0].device), tuple(names))


def _with_parameters(changed: Model, model: Model) -> dict[str, nn.Module]:
    """The modules, by name, of a copy of the model that have parameters of their own.

    Raises
    ------
    ValueError
        If there are none, or if they are those of the model itself: a function shares what it names with its copy.
    """
    roots = modules(changed)
    if any(a is b for a in roots for b in modules(model)):
        raise ValueError(
            f"`f` is a {type(model).__name__} around modules, whose weights cannot be drawn anew; pass the torch.nn.Module itself"
        )
    layers = {
        name if len(roots) == 1 else ".".join([str(k), *([name] if name else [])]): m
        for k, root in enumerate(roots)
        for name, m in root.named_modules()
        if any(True for _ in m.parameters(recurse=False))
    }
    if not layers:
        raise ValueError(
            f"`f` is a {type(model).__name__} without parameters of torch, so that nothing can be drawn anew; pass a "
            "torch.nn.Module with weights"
        )
    return layers


def _from_the_output(
    model: Model, layers: dict[str, nn.Module], rows: tuple[Tensor, ...], companions: Companions
) -> list[str]:
    """Names of the layers, from the output down."""
    names = {m: n for n, m in layers.items()}
    calls: dict[nn.Module, None] = {}
    hooks = [m.register_forward_pre_hook(lambda m, _: calls.setdefault(m)) for m in names]
    try:
        with torch.no_grad():
            extra, named = companions.at(torch.zeros(1, dtype=torch.long), rows[0])
            model(*rows, *extra, **named)
    finally:
        for hook in hooks:
            hook.remove()
    order = list(calls) if len(calls) == len(names) else list(names)
    return [names[m] for m in reversed(order)]


def redraw(module: nn.Module, seed: int) -> None:
    """Draw the parameters of a module itself, not of those below it, anew. Torch's own generators are left as they were."""
    fresh = copy.deepcopy(module).cpu()
    reset = getattr(fresh, "reset_parameters", None) or getattr(fresh, "_reset_parameters", None)
    with GENERATORS, torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(whole_seed(seed))  # not those of GPUs
        if callable(reset):
            reset()
        else:
            for parameter in fresh.parameters(recurse=False):
                if parameter.is_floating_point():
                    values = parameter.double()
                    spread = values.std() if values.numel() > 1 and values.std() > 0 else values.abs().mean()
                    parameter.copy_(
                        values.mean() + (spread if spread > 0 else 1.0) * torch.randn_like(values)
                    )
        tensors = dict(fresh.named_parameters(recurse=False)) | dict(fresh.named_buffers(recurse=False))
        for name, tensor in {
            **dict(module.named_parameters(recurse=False)),
            **dict(module.named_buffers(recurse=False)),
        }.items():
            tensor.copy_(tensors[name])


def average_ranks(values: Tensor) -> Tensor:
    """Ranks along the last dim; equal values have their mean rank."""
    ordered = values.sort(dim=-1).values
    first, last = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (first + last - 1).double() / 2


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation along the last dim, NaN where one is constant."""
    a, b = (t - t.mean(-1, keepdim=True) for t in (a, b))
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(-1) / torch.where(scale > 0, scale, 1.0), torch.nan)
