"""Every method asked for, one after the other, on one model and one input."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import xarray as xr

from attrib.functional import METHODS
from attrib.labelled import labelled
from attrib.labels import labelled_inputs
from attrib.workflows.loading import first_line

Result = xr.DataArray | xr.Dataset
Options = Mapping[str, Any]
Tell = Callable[[str, int, int], None]
INNER = "input_x_gradient"  # what the noise tunnel averages unless told otherwise
DYNAMIC = 'torch.export.export(..., dynamic_shapes=({0: torch.export.Dim("batch")},))'
GIVEN = ("f", "x", "method", "baselines")  # required arguments that this file knows how to fill


class Done(NamedTuple):
    """A method's result and what it took.

    Attributes
    ----------
    method : str
    result : DataArray or Dataset
    seconds : float
        Wall time.
    evaluations : int
        Rows of the model's forward passes.
    """

    method: str
    result: Result
    seconds: float
    evaluations: int


class Skipped(NamedTuple):
    """A method that does not apply, and why."""

    method: str
    reason: str


class Counted:
    """A model that counts the rows it is called with."""

    def __init__(self, model: Callable[..., Any]) -> None:
        self.model = model
        self.rows = 0

    def __call__(self, *rows: Any) -> Any:
        """The model's output."""
        self.rows += len(rows[0])
        return self.model(*rows)


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    methods : tuple of str
        Names in `METHODS`.
    every : bool
        Whether they are all there are: then those that do not apply are skipped, not errors.
    shared : mapping
        Arguments of every method: target or targets, classes, batch_size, device.
    own : mapping of str to mapping
        Arguments by method.
    """

    methods: tuple[str, ...]
    every: bool
    shared: Options
    own: Mapping[str, dict[str, Any]]


def plan(
    methods: Sequence[str] | str,
    *,
    target: Any = None,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    baselines: Any = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Settle which method gets which arguments.

    Parameters
    ----------
    methods : sequence of str, or "all"
        Names in `attrib.functional.METHODS`.
    target, targets, classes, batch_size, device
        As for every method.
    baselines
        For the methods that take them; default: their own default, or 0. A distribution (dim `baseline`) goes to those
        that take one; the others get its mean.
    seed : int
        For the methods that draw.
    options : mapping, optional
        More arguments: by name for every method that takes them, or `"method.name"` for one.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For unknown methods and arguments, naming those that exist.
    """
    every = methods == "all"
    names = (
        tuple(METHODS) if every else tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    )
    unknown = [n for n in names if n not in METHODS]
    if unknown or not names:
        raise ValueError(
            f"there is no method {', '.join(map(repr, unknown)) or 'given'}; there are {', '.join(METHODS)}, all"
        )
    shared = {
        "target": target,
        "targets": targets,
        "classes": classes,
        "batch_size": batch_size,
        "device": device,
    }
    own = {n: _own(n, baselines, seed) for n in names}
    for key, value in (options or {}).items():
        _set(own, key, value)
    return Plan(names, every, shared, own)


def arguments(method: str) -> dict[str, inspect.Parameter]:
    """The arguments of a method by name."""
    return dict(inspect.signature(METHODS[method].explain).parameters)


def _own(method: str, baselines: Any, seed: int) -> dict[str, Any]:
    takes = arguments(method)
    found: dict[str, Any] = {}
    if "seed" in takes:
        found["seed"] = seed
    if "method" in takes:
        found["method"] = METHODS[INNER]
    if "baselines" in takes and baselines is not None:
        found["baselines"] = baselines if METHODS[method].about.distribution else _one_baseline(baselines)
    elif "baselines" in takes and takes["baselines"].default is inspect.Parameter.empty:
        found["baselines"] = 0.0
    return found


def _one_baseline(baselines: Any) -> Any:
    if isinstance(baselines, xr.DataArray | xr.Dataset) and "baseline" in baselines.dims:
        return baselines.mean("baseline", keep_attrs=True)
    return baselines


def _set(own: dict[str, dict[str, Any]], key: str, value: Any) -> None:
    """Give an option to the method named before the dot, or to all that take it."""
    method, dot, name = key.rpartition(".")
    if dot and method not in own:
        raise ValueError(f"--set {key}: {method!r} is not among the methods {', '.join(own)}")
    takers = [
        m for m in ([method] if dot else own) if name in arguments(m) and name not in ("f", "x", "method")
    ]
    if not takers:
        there = sorted({a for m in ([method] if dot else own) for a in arguments(m)} - {"f", "x", "method"})
        raise ValueError(f"--set {key}: no such argument; there are {', '.join(there)}")
    for m in takers:
        own[m][name] = value


def attribute(
    model: Callable[..., Any], x: Result, todo: Plan, tell: Tell | None = None
) -> Iterator[Done | Skipped]:
    """Run the methods of a plan in order.

    Parameters
    ----------
    model : callable
        As for every method.
    x : DataArray or Dataset
        The input(s).
    todo : Plan
    tell : callable, optional
        Gets (method, rows done, rows in all) as the work goes on.

    Yields
    ------
    Done or Skipped
        One per method, as soon as it is there. Skipped only where the plan holds every method.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        What a method refuses; if all are asked for and all refuse, the first refusal.
    """
    refused: list[Exception] = []
    for name in todo.methods:
        try:
            yield _one(model, x, name, todo, tell)
        except (ValueError, TypeError, NotImplementedError) as error:
            refused.append(error)
            if not todo.every or len(refused) == len(todo.methods):
                raise refused[0] from None
            yield Skipped(name, first_line(error).partition(": ")[2])


def rehearse(model: Callable[..., Any], x: Result, todo: Plan, tell: Tell | None = None) -> None:
    """Run a plan on the first sample, so that what a method refuses is known before the work begins.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `attribute`.
    """
    dims = labelled_inputs(x).sample_dims
    own = {m: {k: _first(v, dims) for k, v in options.items()} for m, options in todo.own.items()}
    told = None if tell is None else lambda name, done, total: tell(f"{name}, first sample", done, total)
    for _ in attribute(model, _first(x, dims), replace(todo, own=own), told):
        pass


def _first(value: Any, dims: Sequence[Hashable]) -> Any:
    """An array's first sample."""
    if not isinstance(value, xr.DataArray | xr.Dataset):
        return value
    return value.isel({d: slice(0, 1) for d in dims if d in value.dims})


def _one(model: Callable[..., Any], x: Result, name: str, todo: Plan, tell: Tell | None) -> Done:
    lacking = [
        p.name
        for p in arguments(name).values()
        if p.default is p.empty and p.name not in (*GIVEN, *todo.own[name])
    ]
    if lacking:
        raise ValueError(f"{name} needs {', '.join(lacking)}; give it with --set {name}.{lacking[0]}=...")
    counted = Counted(model)
    progress = False if tell is None else lambda done, total: tell(name, done, total)
    options = {**todo.shared, **todo.own[name]}
    lead = (options.pop("method"),) if "method" in options else ()
    start = time.perf_counter()
    result = labelled(METHODS[name])(*lead, counted, x, **options, progress=progress)
    return Done(name, result, time.perf_counter() - start, counted.rows)


def trial(model: Callable[..., Any], x: Result, device: str | None = None) -> None:
    """Call the model with the first sample, so that what does not fit is told before any work.

    Raises
    ------
    ValueError
        In one line, with the shape that the model got.
    """
    inputs = labelled_inputs(x)
    parameters = list(model.parameters()) if isinstance(model, torch.nn.Module) else []
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), None)
    rows = [
        t[:1].to(device or (parameters[0].device if parameters else "cpu")) for t in inputs.tensors(dtype)
    ]
    shapes = ", ".join(str(tuple(r.shape)) for r in rows)
    try:
        with torch.no_grad():
            model(*rows)
    except Exception as error:  # the user's code
        fixed = "size()[0]" in str(error)  # a guard of torch.export on the batch
        fix = (
            "export it with a batch of any size: " + DYNAMIC
            if fixed
            else "check --data, --dims and --variables"
        )
        raise ValueError(
            f"the model fails on one sample of shape {shapes} ({first_line(error)}); {fix}"
        ) from error
