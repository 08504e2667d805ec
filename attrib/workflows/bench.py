"""How fast methods are on a model, over batch sizes, beside the model's own passes; and the memory they take."""

from __future__ import annotations

import copy
import ctypes
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attrib._arguments import refuse_what_cannot_fit
from attrib.engine.batching import BatchSize
from attrib.engine.gradient.passes import choose_device
from attrib.engine.inputs import as_tuple
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import Model, dtype_of
from attrib.functional import METHODS
from attrib.functional.explanation import Method

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident size back to the present one
BARE = "forward+backward"
DEFAULT_STEPS = 50  # of integrated gradients
TIMED: dict[str, Method[...]] = {
    name: m for name, m in METHODS.items() if m.about.result != "pairs" and not m.about.wraps
}
SIZES = (1, 4, 16, 64, 256, 1024)
COLUMNS = (
    "method", "batch_size", "samples", "passes", "seconds", "samples_per_second", "share", "peak_mib", "best",
)  # fmt: skip
Options = Mapping[str, Mapping[str, Any]]

MEASURED = ("saliency", "integrated_gradients", "smooth_grad")


def peak_memory(work: Callable[[], object], device: torch.device) -> float:
    """Bytes that `work()` took at its peak, beyond the memory in use before.

    Parameters
    ----------
    work : callable
        Called once.
    device : torch.device
        On CUDA the allocator counts. On a CPU it is the growth of the process's resident size, which Linux counts;
        other systems have no peak that can be set back, so the answer there is NaN.

    Returns
    -------
    float
        Bytes.

    Notes
    -----
    Memory that the process had freed but kept is reused without being counted, so the first call in a process may
    read higher than later ones, and a call that needs less than that reads low.
    """
    if device.type == "cuda":
        return _on_cuda(work, device)
    _give_back()
    try:
        _CLEAR.write_text(_RESET_PEAK)
        before = _resident("VmRSS")
        work()
        return max(0.0, _resident("VmHWM") - before)
    except OSError:
        return float("nan")


def _on_cuda(work: Callable[[], object], device: torch.device) -> float:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)


def _give_back() -> None:
    """Return freed memory to the system, so that it does not hide the memory of the work."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident(field: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return 1024.0 * int(line.split()[1])


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


def bench(
    model: Model,
    x: Any,
    *,
    methods: Sequence[str] = ("saliency", "integrated_gradients", "smooth_grad"),
    batch_sizes: Iterable[BatchSize] | None = None,
    device: torch.device | str | None = None,
    target: Any = "predicted",
    options: Options | None = None,
    repeats: int = 3,
    progress: bool | Callable[[int, int], None] = False,
) -> pd.DataFrame:
    """Time methods on a model over batch sizes, beside the model's own forward and input-gradient passes.

    Parameters
    ----------
    model : callable
        As for every method. It stays where it is: move it to the GPU before.
    x : Tensor, array, or tuple of these
        Input(s), samples on dim 0. All samples are explained in every repeat: 8 to 64 are usually enough.
    methods : sequence of str
        Names in `attrib.functional.METHODS`, but for methods around others and interaction.
    batch_sizes : iterable of int or "auto", optional
        Rows per model call; default: `"auto"` and powers of four up to 1024.
    device : torch.device or str, optional
        Where to run; default: where the model's parameters are.
    target : default "predicted"
        As for every method.
    options : mapping, optional
        Arguments of a method by its name: ``{"integrated_gradients": {"n_steps": 20}, "grad_cam": {"layer": "body"}}``. `gradient_shap` takes the
        inputs themselves as baselines if none are given.
    repeats : int, default 3
        Rounds; each runs everything once, and `seconds` is the median.
    progress : bool or callable, default False
        True shows a bar; a callable gets (measurements done, in all).

    Returns
    -------
    pandas.DataFrame
        One row per method and batch size, the model's own passes first:

        ``method``
            Name, or `"forward+backward"` for the model's own passes with frozen parameters.
        ``batch_size``
            Rows per model call, or `"auto"`.
        ``samples``
            Samples explained (for the model's own passes: rows).
        ``passes``
            Forward and backward passes that the method makes per sample (its `n_steps` or `n_samples`; forward
            passes for methods without gradients).
        ``seconds``
            Median over the rounds.
        ``samples_per_second``
            samples / seconds.
        ``share``
            samples_per_second x passes, divided by the model's own best number of rows per second. 1 is the limit for
            a method that only calls the model; it can be above 1 if a layer is computed outside the passes, and for a
            late layer, where the backward pass ends.
        ``peak_mib``
            Peak memory in MiB beyond model and inputs; NaN where the system does not count it.
        ``best``
            Whether this is the method's fastest batch size.

    Raises
    ------
    ValueError, TypeError
        For unknown methods, wrong sizes or repeats, and whatever the methods refuse.

    Notes
    -----
    Times depend on the machine and its load; rounds alternate, so that a slow period affects all methods alike.

    Examples
    --------
    >>> import torch
    >>> from attrib.workflows.bench import bench
    >>> table = bench(torch.nn.Linear(5, 2), torch.ones(4, 5), methods=["saliency"], batch_sizes=[4], repeats=1)
    >>> list(table.method)
    ['forward+backward', 'saliency']
    """
    options = {} if options is None else options
    sizes = _sizes(batch_sizes)
    _refuse(methods, options, repeats)
    xs, at = _inputs(model, x, device)
    _refuse_too_many(sizes, xs)
    jobs = [bare(model, xs, size, at) for size in sizes if isinstance(size, int)]
    jobs += [
        job
        for name in methods
        for job in method_jobs(name, model, xs, sizes, dict(options.get(name, {})), target, at)
    ]
    return _table(jobs, *_measured(jobs, repeats, at, progress))


def best_batch_sizes(table: pd.DataFrame) -> dict[str, BatchSize]:
    """The fastest batch size of each method in a table of `bench`."""
    best = table[table.best]
    return dict(zip(best.method, best.batch_size, strict=True))


def _sizes(batch_sizes: Iterable[BatchSize] | None) -> list[BatchSize]:
    sizes: list[BatchSize] = ["auto", *SIZES] if batch_sizes is None else list(batch_sizes)
    for s in sizes:
        if isinstance(s, bool) or not (s == "auto" or isinstance(s, int)):
            raise TypeError(f'`batch_sizes` holds {s!r}, expected positive ints or "auto"')
        if isinstance(s, int) and s < 1:
            raise ValueError(f'`batch_sizes` holds {s}, expected positive ints or "auto"')
    if not any(isinstance(s, int) for s in sizes):
        raise ValueError(
            "`batch_sizes` holds no int; give at least one, at which the model's own passes are timed"
        )
    return list(dict.fromkeys(sizes))


def _refuse_too_many(sizes: Sequence[BatchSize], xs: Sequence[Tensor]) -> None:
    """Refuse batches whose inputs alone are more than all memory."""
    for size in (s for s in sizes if isinstance(s, int)):
        needed = float(size) * sum(t[:1].numel() * t.element_size() for t in xs)
        refuse_what_cannot_fit(needed, "batch_sizes", f"the inputs of {size} rows")


def _refuse(methods: Sequence[str], options: Options, repeats: int) -> None:
    if isinstance(methods, str):
        raise TypeError(f"`methods` is the string {methods!r}, expected a list of names: [{methods!r}]")
    if not methods:
        raise ValueError(f"`methods` is empty, expected some of {', '.join(TIMED)}")
    for where, names in (("methods", methods), ("options", options)):
        unknown = [n for n in names if n not in TIMED]
        if unknown:
            raise ValueError(f"`{where}` names {unknown[0]!r}, expected some of {', '.join(TIMED)}")
    if isinstance(repeats, bool) or not isinstance(repeats, int):
        raise TypeError(f"`repeats` is {repeats!r}, expected an int")
    if repeats < 1:
        raise ValueError(f"`repeats` is {repeats}, expected at least 1")


def _inputs(
    model: Model, x: Any, device: torch.device | str | None
) -> tuple[tuple[Tensor, ...], torch.device]:
    """The inputs in the model's dtype, on its device, so that moving them is not timed."""
    parts = tuple(
        t if isinstance(t, Tensor) else torch.from_numpy(np.array(t))
        for t in (x if isinstance(x, tuple) else (x,))
    )
    at = choose_device(model, parts[0], device)
    dtype = dtype_of(model)
    return as_tuple(tuple(t.to(at, dtype if t.is_floating_point() else None) for t in parts)), at


def _measured(
    jobs: list[Job], repeats: int, device: torch.device, progress: bool | Callable[[int, int], None]
) -> tuple[list[float], list[float]]:
    """Median seconds and peak bytes of each job; the memory run is the warm-up."""
    total = len(jobs) * (repeats + 1)
    tell = _teller(progress, total)
    peaks: list[float] = []
    times: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        peaks.append(peak_memory(job.work, device))
        tell(len(peaks), total)
    for turn in range(repeats):
        for j, job in enumerate(jobs):
            times[j].append(seconds(job.work, device))
            tell(len(jobs) * (turn + 1) + j + 1, total)
    return [statistics.median(t) for t in times], peaks


def _teller(progress: bool | Callable[[int, int], None], total: int) -> Callable[[int, int], None]:
    if callable(progress):
        return progress
    if not progress:
        return lambda done, total: None
    from tqdm.auto import tqdm

    bar = tqdm(total=total, desc="bench", unit="run", leave=False)

    def tell(done: int, total: int) -> None:
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return tell


def _table(jobs: list[Job], times: list[float], peaks: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame([job[:4] for job in jobs], columns=list(COLUMNS[:4]))
    frame["seconds"] = times
    frame["samples_per_second"] = frame.samples / frame.seconds
    speed = frame.samples_per_second * frame.passes
    frame["share"] = speed / speed[frame.method == BARE].max()
    frame["peak_mib"] = [p / 2**20 for p in peaks]
    frame["best"] = frame.samples_per_second == frame.groupby("method").samples_per_second.transform("max")
    return frame


def measure(
    model: str,
    data: str | Path,
    *,
    weights: str | Path | None = None,
    dims: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    methods: Sequence[str] = MEASURED,
    target: str = "predicted",
    classes: str | None = None,
    max_samples: int = 32,
    batch_sizes: Sequence[int | str] | None = None,
    repeats: int = 3,
    device: str | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    tell: Callable[[int, int], None] | bool = False,
) -> pd.DataFrame:
    """Time methods on a model from a file, over batch sizes, beside the model's own passes.

    Parameters
    ----------
    model, data, weights, dims, variables, classes, device
        As for `explain`.
    methods, batch_sizes, repeats
        As for `bench`.
    target : str, default "predicted"
        One target, as for `explain`.
    max_samples : int, default 32
        At most so many, drawn evenly over a coord `label` or `class`, else over all.
    seed : int, default 0
        Of the draw.
    output : str or path, optional
        A `.csv` for the table.
    tell : callable or bool
        Progress.

    Returns
    -------
    DataFrame
        As `bench` makes it.

    Raises
    ------
    ValueError, FileNotFoundError
        For arguments and files that do not fit, in one line, before anything is timed.
    """
    from attrib.io import read, save
    from attrib.labels import labelled_inputs, predict
    from attrib.scale.loading import load_model
    from attrib.workflows.data import class_names, drawn, floating, headed, heads_of, with_heads
    from attrib.workflows.study import trial

    _check(output)
    names = class_names(classes)
    goal = _goal(*headed(target, names))
    x = floating(read(data, dims=dims, variables=variables))
    f = with_heads(load_model(model, weights, device), target, names)
    trial(f, x, device)
    some = x.isel({labelled_inputs(x).sample_dims[0]: drawn(x, max_samples, seed)})
    if names is not None and not heads_of(target, names):
        predict(f, some.isel({labelled_inputs(some).sample_dims[0]: slice(1)}), classes=names, device=device)
    few = tuple(labelled_inputs(some).tensors(None))
    table = bench(f, few, methods=methods, batch_sizes=batch_sizes, device=device, target=goal,
                  repeats=repeats, progress=tell)  # fmt: skip
    if output is not None:
        save(table, output)
    return table


def _check(output: str | Path | None) -> None:
    if output is not None and Path(output).suffix != ".csv":
        raise ValueError(f"`output` is {output}, expected a name that ends in .csv")
    if output is not None and Path(output).is_file() and not _is_table(Path(output)):
        raise ValueError(f"`output` is {output}, which holds something else; name another file")
    if output is not None and not Path(output).parent.is_dir():
        raise FileNotFoundError(
            f"`output` is {output}, but there is no folder {Path(output).parent}; create it first"
        )


def _is_table(file: Path) -> bool:
    """Whether a file is empty or an earlier table, which a new one may replace."""
    with file.open("rb") as stream:
        return stream.readline().strip() in (b"", ",".join(COLUMNS).encode())


def _goal(target: str | None, names: Sequence[str] | None) -> Any:
    """The one output that is explained: its number, or `"predicted"`."""
    from attrib.workflows.data import targets

    wanted = targets(target, names)
    if "targets" in wanted:
        raise ValueError(f"`target` is {target!r}, but bench times one target: a number or predicted")
    goal = wanted["target"]
    return (names or []).index(goal) if isinstance(goal, str) and goal != "predicted" else goal
