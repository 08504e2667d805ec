"""How far each method's attributions can be trusted on one model and its data: a table, and the curves behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib import labels
from attrib.labels import labelled_inputs
from attrib.plots import curves
from attrib.plots.scale import figure
from attrib.scale.loading import first_line
from attrib.workflows.attribute import Done, Result, Skipped, Tell
from attrib.workflows.plan import ALL_METHODS, Plan
from attrib.workflows.study import completeness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "method", "completeness_error", "deletion_area", "deletion_random_area", "deletion_z", "insertion_area",
    "insertion_random_area", "insertion_z", "infidelity", "sensitivity", "randomization", "seconds", "evaluations",
    "remarks",
)  # fmt: skip
NUDGE = 0.02  # of the data's range: perturbations of infidelity and sensitivity
REFUSALS = (ValueError, TypeError, NotImplementedError)


class Judgement(NamedTuple):
    """What the measures say.

    Attributes
    ----------
    table : DataFrame
        A row per method; see `judgement`.
    curves : dict of str to dict of str to DataArray
        By measure (`deletion`, `insertion`, `randomization`) and method.
    controls : dict of str to DataArray
        Curves of deletion and insertion in random orders.
    """

    table: pd.DataFrame
    curves: dict[str, dict[str, xr.DataArray]]
    controls: dict[str, xr.DataArray]


def judgement(
    f: Callable[..., Any],
    x: Result,
    outcomes: Sequence[Done | Skipped],
    plan: Plan,
    *,
    baselines: Any = None,
    steps: int = 20,
    n_random: int = 10,
    n_perturb_samples: int = 5,
    seed: int = 0,
    tell: Tell | None = None,
) -> Judgement:
    """Measure attributions of one target.

    Parameters
    ----------
    f : callable
        The model.
    x : DataArray or Dataset
        The inputs.
    outcomes : sequence of Done or Skipped
        Results of a plan.
    plan : Plan
        What made them.
    baselines : optional
        What stands for an absent feature in deletion and insertion; default 0. Of a distribution the mean.
    steps, n_random
        As for `attrib.deletion`.
    n_perturb_samples : int, default 5
        As for `attrib.infidelity` and `attrib.sensitivity_max`.
    seed : int, default 0
        Of all draws.
    tell : callable, optional
        Gets (what, done, in all).

    Returns
    -------
    Judgement
        Columns of the table: `completeness_error` (median over samples, of complete methods), the mean areas of deletion and insertion
        and of random orders, `deletion_z` and `insertion_z` (median over samples; above 0 is better than chance),
        `infidelity` (mean; normalized, so that methods of other units compare), `sensitivity` (mean of the largest relative
        change), `randomization` (mean rank correlation once all modules are drawn anew), `seconds` and `evaluations` of the
        attribution itself, and `remarks`: why a measure has no value.
    """
    rows: list[dict[str, Any]] = []
    lines: dict[str, dict[str, xr.DataArray]] = {"deletion": {}, "insertion": {}, "randomization": {}}
    at = {"baselines": 0.0 if baselines is None else _one(baselines)}
    passing = {k: v for k, v in plan.shared.items() if k in ("target", "classes", "batch_size", "device")}
    spread = _ranges(x)
    measures: list[tuple[str, Callable[[Done], Any]]] = [
        *((n, partial(_curve, n, f, x, {**at, **passing, "steps": steps, "n_random": n_random, "seed": seed})) for n in ("deletion", "insertion")),
        ("infidelity", lambda done: labels.infidelity(
            f, x, done.result, stdevs=tuple(NUDGE * s for s in spread), n_perturb_samples=n_perturb_samples, normalize=True,
            seed=seed, **passing)),
        ("sensitivity", lambda done: labels.sensitivity_max(
            _method(done.method, plan), f, x, perturb_radius=NUDGE * min(spread), n_perturb_samples=n_perturb_samples,
            seed=seed, **passing)),
        ("randomization", lambda done: labels.randomization(_method(done.method, plan), f, x, seed=seed, **passing)),
    ]  # fmt: skip
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    for number, outcome in enumerate(done):
        row: dict[str, Any] = {
            "method": outcome.method, "completeness_error": completeness(outcome.result)[0],
            "seconds": outcome.seconds, "evaluations": outcome.evaluations,
        }  # fmt: skip
        remarks = []
        for k, (name, measure) in enumerate(measures):
            if tell is not None:
                tell("judge", number * len(measures) + k, len(done) * len(measures))
            try:
                value = measure(outcome)
            except REFUSALS as error:
                remarks.append(f"{name}: {first_line(error).partition(': ')[2]}")
                continue
            row |= _figures(name, value)
            if name in lines:
                lines[name][outcome.method] = value
        rows.append(row | {"remarks": "; ".join(remarks)})
    rows += [{"method": o.method, "remarks": o.reason} for o in outcomes if isinstance(o, Skipped)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    controls = {}
    for name in ("deletion", "insertion"):
        if lines[name]:
            some = next(o for o in done if o.method in lines[name])
            chance = {**at, **passing, "steps": steps, "seed": seed, "order": "random"}
            controls[name] = _curve(name, f, x, chance, some)
    return Judgement(table.astype(dict.fromkeys(COLUMNS[1:-1], float)), lines, controls)


def _curve(
    name: str, f: Callable[..., Any], x: Result, options: Mapping[str, Any], done: Done
) -> xr.DataArray:
    return getattr(labels, name)(f, x, done.result, **options)


def _figures(name: str, value: xr.DataArray) -> dict[str, float]:
    """The figures of a measure, over the samples."""
    if name in ("deletion", "insertion"):
        return {
            f"{name}_area": float(value["area"].mean()),
            f"{name}_random_area": float(value["random_area"].mean()),
            f"{name}_z": float(np.nanmedian(value["z"])),
        }
    if name == "randomization":
        return {name: float(value.isel(layer=-1).mean())}
    return {name: float(value.mean())}


def _method(name: str, plan: Plan) -> Callable[..., Any]:
    """A method with the options of a plan."""
    options = dict(plan.by_method[name])
    lead = (options.pop("method"),) if "method" in options else ()
    return partial(ALL_METHODS[name], *lead, **options)


def _one(baselines: Any) -> Any:
    if isinstance(baselines, xr.DataArray | xr.Dataset) and "baseline" in baselines.dims:
        return baselines.mean("baseline")
    return baselines


def _ranges(x: Result) -> list[float]:
    """The range of each input's values, 1 where they are all equal."""
    arrays = labelled_inputs(x).arrays
    return [float(a.max() - a.min()) or 1.0 for a in arrays]


def picture(judged: Judgement) -> Figure:
    """Curves of deletion, insertion and randomization, and bars of what the table says.

    Parameters
    ----------
    judged : Judgement

    Returns
    -------
    Figure
    """
    table = judged.table[judged.table["seconds"].notna()]
    drawing = figure((12.5, 8.2))
    grid = drawing.add_gridspec(2, 3, width_ratios=[1, 1, 0.9])
    titles = {
        "deletion": "deletion: the most important go first (low is good)",
        "insertion": "insertion: the most important come first (high is good)",
        "randomization": "randomization: modules drawn anew from the output down (0 is good)",
    }
    for place, (name, title) in zip((grid[0, 0], grid[0, 1], grid[1, :2]), titles.items(), strict=True):
        lines = judged.curves[name]
        ax = drawing.add_subplot(place)
        ax.set_title(title, fontsize=9)
        if not lines:
            ax.text(0.5, 0.5, "no method allows it here", ha="center", va="center", transform=ax.transAxes)
            ax.set_axis_off()
            continue
        dim = "layer" if name == "randomization" else "fraction"
        curves(
            lines, dim, control=judged.controls.get(name), ax=ax, legend=False,
            label="rank correlation" if dim == "layer" else "score",
        )  # fmt: skip
    bars = {
        "deletion_z": "deletion: z against chance",
        "insertion_z": "insertion: z against chance",
        "sensitivity": f"sensitivity to {NUDGE:.0%} of the range",
    }
    column = grid[:, 2].subgridspec(3, 1)
    for k, (name, title) in enumerate(bars.items()):
        ax = drawing.add_subplot(column[k])
        values = table[name].clip(-1e3, 1e3)
        ax.barh(range(len(table)), values, color=[f"C{j % 10}" for j in range(len(table))], height=0.75)
        ax.set_yticks(range(len(table)), table["method"], fontsize=7)
        ax.invert_yaxis()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(title, fontsize=9)
    handles = {
        str(line.get_label()): line
        for ax in drawing.axes
        for line in ax.get_lines()
        if str(line.get_label())[0] != "_"
    }
    if handles:
        drawing.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=6,
            fontsize=8,
            frameon=False,
        )
    return drawing


def samples_of(
    outcomes: Sequence[Done | Skipped], x: Result, count: int
) -> tuple[Result, list[Done | Skipped]]:
    """The first samples, and their results."""
    dims = labelled_inputs(x).sample_dims
    first = dict.fromkeys(dims, slice(count))
    some = [
        o._replace(result=o.result.isel({d: s for d, s in first.items() if d in o.result.dims}))
        if isinstance(o, Done)
        else o
        for o in outcomes
    ]
    return x.isel(first), some
