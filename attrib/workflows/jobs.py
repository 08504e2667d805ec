"""What `bench` measures: a method, or the model alone, at one batch size."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.engine.batching import BatchSize
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import Model
from attrib.functional import METHODS
from attrib.functional.explanation import Method

BARE = "forward+backward"
DEFAULT_STEPS = 50  # of integrated gradients
TIMED: dict[str, Method[...]] = {
    name: m for name, m in METHODS.items() if m.about.result != "pairs" and not m.about.wraps
}


class Job(NamedTuple):
    """One row of the table: what to run, and how much work it is."""

    method: str
    batch_size: BatchSize
    samples: int
    passes: float
    work: Callable[[], object]


def bare(model: Model, xs: tuple[Tensor, ...], size: int, device: torch.device) -> Job:
    """The model's own forward and input-gradient passes at one batch size, its parameters frozen in a copy."""
    frozen = copy.deepcopy(model).requires_grad_(False) if isinstance(model, nn.Module) else model
    calls = max(1, len(xs[0]) // size)
    order = torch.arange(size, device=device) % len(xs[0])
    rows = tuple(t[order] for t in xs)

    def work() -> None:
        for _ in range(calls):
            leaves = tuple(r.clone().requires_grad_() for r in rows)
            y = one_tensor(frozen(*leaves), size)
            torch.autograd.grad(y.flatten(1).amax(1).sum() if y.ndim > 1 else y.sum(), leaves)

    return Job(BARE, size, calls * size, 1, work)


def method_jobs(
    name: str,
    model: Model,
    xs: tuple[Tensor, ...],
    sizes: list[BatchSize],
    options: dict[str, Any],
    target: Any,
    device: torch.device,
) -> list[Job]:
    """One job per batch size that makes a difference; a first call checks the arguments."""
    explain = TIMED[name].explain
    parameters = inspect.signature(explain).parameters
    if TIMED[name].about.baselines == "distribution":
        options.setdefault("baselines", xs if len(xs) > 1 else xs[0])
    unknown = [o for o in options if o not in parameters]
    if unknown:
        raise ValueError(
            f"`options` gives {name} an argument {unknown[0]!r}, expected one of {', '.join(parameters)}"
        )
    n = len(xs[0])

    def work(size: BatchSize) -> Any:
        x = xs if len(xs) > 1 else xs[0]
        return explain(model, x, target=target, batch_size=size, device=device, **options)

    passes = _passes(options, parameters, work(sizes[0]).evaluations / n)
    useful = [s for s, last in zip(sizes, _lasts(sizes), strict=True) if s == "auto" or last < n * passes]
    return [Job(name, s, n, passes, lambda s=s: work(s)) for s in useful]  # type: ignore[misc]


def _lasts(sizes: list[BatchSize]) -> list[int]:
    """For each size the next smaller one, 0 for the smallest."""
    numbers = [s for s in sizes if isinstance(s, int)]
    return [max((n for n in numbers if isinstance(s, int) and n < s), default=0) for s in sizes]


def _passes(
    options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter], evaluations: float
) -> float:
    """Passes per sample: `n_steps` or `n_samples`, else the counted number."""
    if options.get("rtol") is None and options.get("quadrature") != "exact":
        for name in ("n_steps", "n_samples"):
            if name in parameters:
                steps = options.get(name, parameters[name].default)
                return float(DEFAULT_STEPS if steps is None else steps)
    return max(1.0, evaluations)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work()`, including work that is still running on a GPU."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begin
