"""Run the methods of a plan on a model and its input, and write each result as soon as it is finished."""

from __future__ import annotations

import functools
import json
import shutil
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr

from attrib.engine.model.companions import Companions
from attrib.functional import prepare
from attrib.io import add_group, save
from attrib.labels import deletion, labelled, labelled_inputs
from attrib.labels.align import forward_args
from attrib.scale.cohort import cohort
from attrib.scale.loading import first_line
from attrib.stats import agreement, summary
from attrib.workflows.drawing import pictures
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.page import links, page, paragraphs, table
from attrib.workflows.page import pictures as shown
from attrib.workflows.plan import ALL_METHODS, Context, Plan, arguments

STEPS, CONTROLS = 10, 5  # of the deletion curves of studies: points, and random orders beside them
RESULTS, TABLE, AGREEMENT, PAGE = "attributions.nc", "summary.csv", "agreement.csv", "index.html"

Result = xr.DataArray | xr.Dataset
Tell = Callable[[str, int, int], None]
Places = slice | Sequence[int]
DYNAMIC = 'torch.export.export(..., dynamic_shapes=({0: torch.export.Dim("batch")},))'
SUPPLIED = ("f", "x", "method", "baselines")  # required arguments that this file supplies


def carry_out(
    model: Callable[..., Any],
    x: Result,
    plan: Plan,
    folder: Folder,
    tell: Tell | None = None,
    group: str = "",
) -> list[Done | Skipped]:
    """Run a plan; each result is in `attributions.nc` before the next method begins.

    Parameters
    ----------
    model, x, plan, tell
        As for `attribute`.
    folder : Folder
        Where to write.
    group : str
        Prefix of the methods' names in the file, such as ``"all/"``.

    Returns
    -------
    list of Done or Skipped
        One per method.
    """
    outcomes: list[Done | Skipped] = []
    for outcome in attribute(model, x, plan, tell):
        outcomes.append(outcome)
        if isinstance(outcome, Done):
            add_group(outcome.result, folder.file(RESULTS), f"{group}{outcome.method}")
        folder.record.setdefault("methods", []).append(_record_entry(outcome, group))
        folder.write()
    return outcomes


def _record_entry(outcome: Done | Skipped, group: str) -> dict[str, Any]:
    if isinstance(outcome, Skipped):
        return {"result": f"{group}{outcome.method}", "skipped": outcome.reason}
    median, largest = completeness(outcome.result)
    return {
        "result": f"{group}{outcome.method}",
        "params": outcome.result.attrs.get("params"),
        "engine": outcome.result.attrs.get("engine"),
        "seconds": round(outcome.seconds, 4),
        "evaluations": outcome.evaluations,
        "completeness_error_median": median,
        "completeness_error_max": largest,
    }


def completeness(result: Result) -> tuple[float | None, float | None]:
    """Median and maximum of the completeness error |delta| over samples and targets; None for methods without it."""
    if "delta" not in result.coords:
        return None, None
    error = np.abs(result["delta"].values)
    return float(np.median(error)), float(error.max())


def deletion_curve(
    model: Callable[..., Any], x: xr.DataArray, a: xr.DataArray, plan: Plan, baselines: Any = None
) -> xr.DataArray:
    """The deletion curve of an attribution beside random orders.

    By default features get what the plan's methods take for a baseline: the first single one, or where all take a distribution the mean of the
    first.
    """
    of_methods = [o["baselines"] for o in plan.by_method.values() if "baselines" in o]
    of_methods.sort(key=lambda b: isinstance(b, xr.DataArray) and "baseline" in b.dims)
    start = next(iter(of_methods), 0.0) if baselines is None else baselines
    if isinstance(start, xr.DataArray) and "baseline" in start.dims:
        start = start.mean("baseline")
    return deletion(model, x, a, baselines=start, steps=STEPS, n_random=CONTROLS, **plan.passing(x))


def overview(outcomes: Sequence[Done | Skipped]) -> pd.DataFrame:
    """A row per method: completeness error, model evaluations, seconds, or why it was skipped."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, Skipped):
            rows.append({"method": outcome.method, "skipped": outcome.reason})
        else:
            median, largest = completeness(outcome.result)
            rows.append({"method": outcome.method, "error_median": median, "error_max": largest,
                         "evaluations": outcome.evaluations, "seconds": outcome.seconds})  # fmt: skip
    columns = ["method", "error_median", "error_max", "evaluations", "seconds", "skipped"]
    numbers = dict.fromkeys(columns[1:5], float)
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def write_table(results: Mapping[str, Result], folder: Folder) -> pd.DataFrame:
    """Write `summary.csv`."""
    rows = summary(results)
    save(rows, folder.file(TABLE))
    return rows


def confusion_matrix(table: pd.DataFrame, classes: Sequence[str]) -> xr.DataArray:
    """Counts (true, predicted) of a table with the columns `label` and `predicted`."""
    names = list(classes)
    counts = pd.crosstab(table["label"], table["predicted"]).reindex(index=names, columns=names, fill_value=0)
    coords = {"true": names, "predicted": names}
    return xr.DataArray(counts.to_numpy(), dims=("true", "predicted"), coords=coords)


def write_confusion(table: pd.DataFrame, classes: Sequence[str], folder: Folder) -> xr.DataArray:
    """Write `confusion_matrix.csv`; returns the counts."""
    counts = confusion_matrix(table, classes)
    save(counts.to_pandas().rename_axis("true").reset_index(), folder.file("confusion_matrix.csv"))
    return counts


def agreement_frame(table: xr.DataArray) -> pd.DataFrame:
    """A table of agreement with the methods in rows and columns."""
    names = table["method"].values
    return pd.DataFrame(table.values, columns=list(names)).assign(method=names)[["method", *names]]


def comparable_agreement(results: Mapping[str, xr.DataArray], dim: str) -> xr.DataArray:
    """`attrib.stats.agreement`; of a pair in which one method has signs and the other has none (saliency, maps), that of magnitudes."""
    signed = np.array([bool((a < 0).any()) for a in results.values()])
    table = agreement(results, dim=dim)
    if signed.all() or not signed.any():
        return table
    return table.where(signed[:, None] == signed, agreement({m: abs(a) for m, a in results.items()}, dim=dim))


def write_agreement(results: Mapping[str, Result], folder: Folder) -> None:
    """Write `agreement.csv`: the mean rank correlation of each pair of methods, of those whose attributions have the form that most have.

    Of a pair in which one method has signs and the other has none (saliency, maps of activations), magnitudes are compared.
    """
    forms: dict[Hashable, dict[str, xr.DataArray]] = {}
    for m, a in results.items():
        if isinstance(a, xr.DataArray):
            forms.setdefault(frozenset(a.sizes.items()), {})[m] = a
    alike = max(forms.values(), key=len, default={})
    if len(alike) > 1:
        first = next(iter(alike.values()))
        dims = [d for d in first.dims if d in first["prediction"].dims]
        samples = {
            m: a.drop_vars(list(a.coords)).stack(sample_=dims, create_index=False) for m, a in alike.items()
        }
        save(agreement_frame(comparable_agreement(samples, "sample_")), folder.file(AGREEMENT))


def draw(x: Result, results: Mapping[str, Result], folder: Folder, **options: Any) -> list[str]:
    """Write the pictures of each input.

    Returns
    -------
    list of str
        Names of the files; empty where the input has no picture.
    """
    written = []
    for prefix, part, parts in _inputs(x, results):
        for name, make in pictures(part, parts, **options) if parts else ():
            file = f"{prefix}{name}.png"
            folder.picture(file, make())
            written.append(file)
    return written


def _inputs(
    x: Result, results: Mapping[str, Result]
) -> list[tuple[str, xr.DataArray, dict[str, xr.DataArray]]]:
    """Each input with its attributions and the prefix of its files."""
    if isinstance(x, xr.DataArray):
        return [("", x, {m: a for m, a in results.items() if isinstance(a, xr.DataArray)})]
    return [
        (
            f"{v}_",
            x[v],
            {m: a[v] if isinstance(a, xr.Dataset) else a for m, a in results.items() if _is_of(a, v, x)},
        )
        for v in x.data_vars
    ]


def _is_of(a: Result, variable: Hashable, x: xr.Dataset) -> bool:
    """Whether a result belongs to an input: an attribution of a layer lies on one input only."""
    if isinstance(a, xr.Dataset):
        return True
    onto = json.loads(a.attrs["params"])["onto"]
    return bool(variable == (onto if isinstance(onto, str) else list(x.data_vars)[onto]))


def write_page(folder: Folder, title: str, line: str, tables: Mapping[str, tuple[str, pd.DataFrame]]) -> None:
    """Write `index.html`: tables (by title, the file that has all rows, and the rows), the pictures of the folder, and links to all files."""
    files = [f for f in folder.files if f != PAGE]
    text = page(
        title,
        [
            paragraphs(line),
            *(table(name, rows, file) for name, (file, rows) in tables.items()),
            shown("Pictures", [f for f in files if f.endswith(".png")]),
            links([*files, RECORD]),
        ],
    )
    folder.text(PAGE, text)


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

    def __call__(self, *rows: Any, **beside: Any) -> Any:
        """The model's output."""
        self.rows += len(rows[0])
        return self.model(*rows, **beside)


def attribute(
    model: Callable[..., Any], x: Result, plan: Plan, tell: Tell | None = None
) -> Iterator[Done | Skipped]:
    """Run the methods of a plan in order.

    Parameters
    ----------
    model : callable
        As for every method.
    x : DataArray or Dataset
        The input(s).
    plan : Plan
    tell : callable, optional
        Gets (method, rows done, rows in all) as the work goes on.

    Yields
    ------
    Done or Skipped
        One per method, as soon as it is finished. Skipped only if the plan holds every method.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        An error of a method. If the plan holds every method and all fail, the first error.
    """
    counted = Counted(model)
    prepared = prepare(
        counted
    )  # the counter inside, so that what one method learns of the model the next ones know
    refused: list[Exception] = []
    for name in plan.methods:
        try:
            before = counted.rows
            result, seconds = _run_method(prepared, x, name, plan, tell)
            yield Done(name, result, seconds, counted.rows - before)
        except (ValueError, TypeError, NotImplementedError) as error:
            refused.append(error)
            if not plan.every or len(refused) == len(plan.methods):
                raise refused[0] from None
            yield Skipped(name, first_line(error).partition(": ")[2])


def attribute_in_blocks(
    model: Callable[..., Any],
    x: xr.DataArray,
    plan: Plan,
    folder: Path,
    cluster: Any = None,
    tell: Tell | None = None,
) -> Iterator[tuple[str, xr.DataArray, float]]:
    """The same by `attrib.cohort`: blocks of samples, on worker processes or a cluster, kept when a run is stopped.

    Parameters
    ----------
    model, x, plan, tell
        As for `attribute`; a plan of all methods is none.
    folder : Path
        Where a store for each method lies, until its result was taken.
    cluster : int, str or Client, optional
        As for `attrib.cohort`.

    Yields
    ------
    (str, DataArray, float)
        A method, its result, and seconds; its store is removed when the next one is asked for.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        An error of a method, also in a single block.
    """
    for name in plan.methods:
        options = {**plan.passing(x), **plan.by_method[name]}
        method: Any = ALL_METHODS[name]
        if "method" in options:
            method = functools.partial(method, options.pop("method"))
        store, start = folder / f"{name}.zarr", time.perf_counter()
        tree = finished(method, model, x, store, cluster=cluster, progress=told(tell, name), **options)
        result = tree["attribution"].load()
        result = result.assign_coords(
            {k: v for k, v in x.coords.items() if k in result.coords}
        )  # texts as they were
        yield name, result, time.perf_counter() - start
        shutil.rmtree(store)


def finished(
    method: Any, model: Callable[..., Any], x: xr.DataArray, store: Path, **options: Any
) -> xr.DataTree:
    """A cohort without a block that failed.

    Raises
    ------
    ValueError
        With what the first of them raised.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*blocks failed", RuntimeWarning)
        tree = cohort(method, model, x, store, **options)
    if tree.attrs.get("failed"):
        raise ValueError(f"{store.stem}: {str(tree.attrs['failed']).splitlines()[0]}")
    return tree


def told(tell: Tell | None, name: str) -> bool | Callable[[int, int], None]:
    """The progress of a method, as methods take it."""
    return False if tell is None else lambda done, total: tell(name, done, total)


def rehearse(model: Callable[..., Any], x: Result, plan: Plan, tell: Tell | None = None) -> None:
    """Run a plan on the first sample, so that a method's errors come before the work begins.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `attribute`.
    """
    dims = labelled_inputs(x).sample_dims
    first, of_first = cut(x, plan, dims, slice(1))
    tell_first = (
        None if tell is None else lambda name, done, total: tell(f"{name}, first sample", done, total)
    )
    for _ in attribute(model, first, of_first, tell_first):
        pass


def cut(x: Result, plan: Plan, dims: Sequence[Hashable], samples: Places) -> tuple[Result, Plan]:
    """Some samples along each of these dims, and the plan with its arguments and context for them."""
    by_method = {
        m: {k: part(v, dims, samples) for k, v in options.items()} for m, options in plan.by_method.items()
    }
    return part(x, dims, samples), replace(plan, by_method=by_method, context=plan.context.part(samples))


def part(value: Any, dims: Sequence[Hashable], samples: Places) -> Any:
    """Some samples of an array along each of these dims that it has; one entry stands for all."""
    if not isinstance(value, xr.DataArray | xr.Dataset):
        return value
    return value.isel({d: samples for d in dims if d in value.dims and value.sizes[d] > 1})


def _run_method(
    model: Callable[..., Any], x: Result, name: str, plan: Plan, tell: Tell | None
) -> tuple[Result, float]:
    """A method's result, and seconds."""
    lacking = [
        p.name
        for p in arguments(name).values()
        if p.default is p.empty and p.name not in (*SUPPLIED, *plan.by_method[name])
    ]
    if lacking:
        raise ValueError(
            f"{name} needs {', '.join(lacking)}; name it in `options`, such as {name}.{lacking[0]}=..."
        )
    options = {**plan.passing(x), **plan.by_method[name]}
    lead = (options.pop("method"),) if "method" in options else ()
    start = time.perf_counter()
    result = labelled(ALL_METHODS[name])(*lead, model, x, **options, progress=told(tell, name))
    return result, time.perf_counter() - start


def trial(
    model: Callable[..., Any], x: Result, device: str | None = None, context: Context | None = None
) -> None:
    """Call the model with the first sample, so that an input that does not fit is reported before any work.

    Raises
    ------
    ValueError
        With the shape that the model got, in one line.
    """
    inputs = labelled_inputs(x)
    parameters = list(model.parameters()) if isinstance(model, torch.nn.Module) else []
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), None)
    rows = [
        t[:1].to(device or (parameters[0].device if parameters else "cpu")) for t in inputs.tensors(dtype)
    ]
    first = part(x, inputs.sample_dims, slice(1))
    beside = forward_args(
        () if context is None else context.part(slice(1)).of(first), labelled_inputs(first), dtype
    )
    values, named = Companions(beside, 1).at(torch.zeros(1, dtype=torch.long), rows[0])
    shapes = ", ".join(str(tuple(r.shape)) for r in (*rows, *values))
    shapes += "".join(f", {n} {tuple(v.shape)}" for n, v in named.items())
    try:
        with torch.no_grad():
            model(*rows, *values, **named)
    except Exception as error:  # the user's code
        fixed = "size()[0]" in str(error)  # a guard of torch.export on the batch
        fix = (
            "export it with a batch of any size: " + DYNAMIC
            if fixed
            else f"check `data`, `dims`{', `context`' * bool(values or named)} and `variables`"
        )
        raise ValueError(
            f"the model fails on one sample of shape {shapes} ({first_line(error)}); {fix}"
        ) from error
