"""Run methods on a model and its input, and write each result as soon as it is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import add_group, save
from attrib.labels import deletion
from attrib.stats import agreement, summary
from attrib.workflows.attribute import Done, Result, Skipped, Tell, attribute
from attrib.workflows.drawing import pictures
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.page import links, page, paragraphs, table
from attrib.workflows.page import pictures as shown
from attrib.workflows.plan import Plan

STEPS, CONTROLS = 10, 5  # of the deletion curves of studies: points, and random orders beside them
RESULTS, TABLE, AGREEMENT, PAGE = "attributions.nc", "summary.csv", "agreement.csv", "index.html"


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
    """The deletion curve of an attribution beside random orders; by default features get what the plan's methods take for a baseline."""
    of_methods = (o["baselines"] for o in plan.by_method.values() if "baselines" in o)
    start = next(of_methods, 0.0) if baselines is None else baselines
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


def write_agreement(results: Mapping[str, Result], folder: Folder) -> None:
    """Write `agreement.csv`: the mean rank correlation of each pair of methods whose attributions have one form.

    Of a pair in which one method has signs and the other has none (saliency, maps of activations), magnitudes are compared.
    """
    arrays = {m: a for m, a in results.items() if isinstance(a, xr.DataArray)}
    first = next(iter(arrays.values()), None)
    alike = {m: a for m, a in arrays.items() if first is not None and a.sizes == first.sizes}
    if len(alike) > 1 and first is not None:
        dims = [d for d in first.dims if d in first["prediction"].dims]
        samples = {
            m: a.drop_vars(list(a.coords)).stack(sample_=dims, create_index=False) for m, a in alike.items()
        }
        signed = np.array([bool((a < 0).any()) for a in samples.values()])
        table = agreement(samples, dim="sample_")
        if signed.any() and not signed.all():
            sizes = agreement({m: abs(a) for m, a in samples.items()}, dim="sample_")
            table = table.where(signed[:, None] == signed, sizes)
        save(agreement_frame(table), folder.file(AGREEMENT))


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
