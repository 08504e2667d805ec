"""How far each method's attributions can be trusted on the user's own model and data: a table, and the curves behind it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib import labels
from attrib.functional.arguments import at_least
from attrib.io import read, save
from attrib.labels import labelled_inputs
from attrib.plots import curves
from attrib.plots.scale import figure
from attrib.scale.loading import first_line, load_model
from attrib.scale.samples import block_size, source
from attrib.workflows.data import baselines_of, class_names, drawn, floating, headed, targets, with_heads
from attrib.workflows.drawing import method_name
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.plan import ALL_METHODS, Plan, plan, read_context
from attrib.workflows.study import (
    Done,
    Result,
    Skipped,
    Tell,
    attribute,
    carry_out,
    cut,
    part,
    trial,
    write_page,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TABLE, PICTURE = "judged.csv", "judged.png"
WHOLE_BYTES = 256 << 20  # of inputs that are read at once
METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad")

COLUMNS = (
    "method", "completeness_error", "deletion_area", "deletion_random_area", "deletion_z", "insertion_area",
    "insertion_random_area", "insertion_z", "infidelity", "sensitivity", "randomization", "seconds", "evaluations",
    "remarks",
)  # fmt: skip
NUDGE = 0.02  # of the data's range: perturbations of infidelity and sensitivity
CURVES = ("deletion", "insertion")
BARS = {
    "completeness_error": "completeness error: median, in output units",
    "deletion_z": "deletion: median z against chance",
    "insertion_z": "insertion: median z against chance",
    "infidelity": "infidelity: mean, scaled",
    "sensitivity": f"sensitivity to {NUDGE:.0%} of the range: mean",
    "seconds": "seconds",
}
SIGNED = ("deletion_z", "insertion_z")  # all others are on a scale of powers of ten
REFUSALS = (ValueError, TypeError, NotImplementedError)


class Judged(NamedTuple):
    """Results of a run.

    Attributes
    ----------
    folder : Path
    files : list of str
    table : DataFrame
        See `attrib.workflows.judge.judgement`.
    """

    folder: Path
    files: list[str]
    table: pd.DataFrame


def judge(
    model: str,
    data: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    dims: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    classes: str | None = None,
    baselines: str | None = None,
    context: Sequence[str] = (),
    methods: Sequence[str] | str = METHODS,
    target: str | None = None,
    max_samples: int = 32,
    steps: int = 20,
    n_random: int = 10,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Judged:
    """Explain some samples with several methods, measure how far each can be trusted, and write a table and a picture.

    Parameters
    ----------
    model, data, output, weights, dims, variables, classes, baselines, context, methods
        As for `explain`. The baselines are what deletion and insertion put in the place of features, too.
    target : str, optional
        One target: a number, a class name or `"predicted"`; None where the model has one output.
    max_samples : int, default 32
        At most so many, drawn evenly over a coord `label` or `class`, else over all.
    steps, n_random : int
        Points of the curves of deletion and insertion, and random orders as their control.
    batch_size, device, seed, options, overwrite, tell, say
        As for `explain`.

    Returns
    -------
    Judged

    Raises
    ------
    ValueError
        For several targets, and whatever `explain` refuses.

    Notes
    -----
    Writes `attributions.nc`, `judged.csv`, `judged.png`, `index.html` and `run.json`. Data of `.zarr`, netCDF and HDF5 are read in blocks where
    the samples are more than 256 MB; then there are no `attributions.nc`, which `attrib explain --output NAME.zarr` writes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> from attrib.io import save
    >>> from attrib.workflows.judge import judge
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> x = xr.DataArray(np.eye(4, dtype="float32"), dims=("sample", "gene"), coords={"gene": ["INS", "GCG", "SST", "PPY"]})
    >>> _ = save(x, folder / "x.nc")
    >>> methods = ["saliency", "integrated_gradients"]
    >>> judged = judge("torch.nn:Tanh", folder / "x.nc", folder / "judged", methods=methods, target="0", steps=4)
    >>> judged.table["method"].tolist()
    ['saliency', 'integrated_gradients']
    """
    with Folder(output, overwrite=overwrite) as folder:
        of_heads = class_names(classes)
        goal, names = headed(target, of_heads)
        goals = targets(goal, names)
        if "targets" in goals:
            raise ValueError(
                f"`target` is {target!r}, but methods are judged on one target; name one, or predicted"
            )
        at_least(steps, "steps", 1)
        at_least(n_random, "n_random", 0)
        x = read(data, dims=dims, variables=variables, lazy=True)
        places = drawn(x, max_samples, seed, say)
        start = baselines_of(baselines, x, say)
        settings = plan(methods, **goals, classes=names, baselines=start, batch_size=batch_size, device=device, seed=seed, options=options)  # fmt: skip
        f = with_heads(load_model(model, weights, device), target, of_heads)
        settings = replace(settings, context=read_context(context, f, data))
        settings.context.of(x)
        blocks = blocks_of(x, places)
        first, of_first, _ = _block(x, settings, start, blocks[0], say)
        trial(f, first, device, of_first.context)
        folder.record |= {
            "model": model, "weights": None if weights is None else str(weights), "data": str(data), "seed": seed,
            "target": target, "context": list(context), "samples": max_samples, "steps": steps, "n_random": n_random,
        }  # fmt: skip
        say(
            f"Explaining {samples_text(x, len(places))} with {', '.join(settings.methods)}, and measuring how far to trust them."
        )
        if len(blocks) > 1:
            say(f"{len(blocks)} blocks of samples; the attributions themselves are not written.")
        spread = ranges(_block(x, settings, start, block)[0] for block in blocks)
        parts = []
        for block in blocks:
            some, of_some, start_of_some = _block(x, settings, start, block)
            outcomes = (
                carry_out(f, some, of_some, folder, tell)
                if len(blocks) == 1
                else list(attribute(f, some, of_some, tell))
            )
            parts.append(measures_of(
                f, some, outcomes, of_some, spread, baselines=start_of_some, steps=steps, n_random=n_random, seed=seed, tell=tell
            ))  # fmt: skip
        judged = joined(parts, labelled_inputs(x).sample_dims[0])
        write(judged, folder)
        sizes = samples_text(x, len(places))
        write_page(
            folder, "How far to trust each method", f"{sizes[0].upper()}{sizes[1:]}, {target or 'the output'} of {model}.",
            {"Methods": (TABLE, judged.table)},
        )  # fmt: skip
    return Judged(folder.path, [*folder.files, RECORD], judged.table)


def blocks_of(x: Result, places: Sequence[int]) -> list[Sequence[int]]:
    """The samples in blocks: one if they fit, else so many at a time as a cohort has in a block."""
    ds = x if isinstance(x, xr.Dataset) else x.to_dataset(name="x", promote_attrs=False)
    if ds.nbytes * len(places) <= WHOLE_BYTES * ds.sizes[labelled_inputs(x).sample_dims[0]]:
        return [places]
    size = block_size(source(ds, None, (), None), "auto")
    return [places[i : i + size] for i in range(0, len(places), size)]


def _block(
    x: Result, plan: Plan, start: Any, block: Sequence[int], say: Callable[[str], None] = lambda line: None
) -> tuple[Result, Plan, Any]:
    """Some samples in memory, the plan for them, and their baselines."""
    dims = labelled_inputs(x).sample_dims[:1]
    some, of_some = cut(x, plan, dims, block)
    return floating(some.load(), say), of_some, part(start, dims, block)


def write(judged: Judgement, folder: Folder) -> None:
    """Write the table and the picture."""
    save(judged.table, folder.file(TABLE))
    folder.picture(PICTURE, picture(judged))


def samples_text(x: Result, count: int) -> str:
    """The sizes of so many of the data's samples, as text."""
    sizes = {**x.sizes, labelled_inputs(x).sample_dims[0]: count}
    return f"data ({', '.join(f'{d} {n}' for d, n in sizes.items())})"


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


class Measured(NamedTuple):
    """What some samples say of a method.

    Attributes
    ----------
    errors : array
        Completeness errors of complete methods, one for each sample; else empty.
    seconds : float
    evaluations : int
    values : dict of str to DataArray
        By measure; a value, or a curve, for each sample.
    remarks : dict of str to str
        By measure: why it has no value. `""` for the method itself.
    """

    errors: np.ndarray
    seconds: float
    evaluations: int
    values: dict[str, xr.DataArray]
    remarks: dict[str, str]


Measures = dict[str, Measured]  # by method; a control is a method called by the measure


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
    measures = measures_of(
        f, x, outcomes, plan, ranges([x]), baselines=baselines, steps=steps, n_random=n_random,
        n_perturb_samples=n_perturb_samples, seed=seed, tell=tell,
    )  # fmt: skip
    return joined([measures], labelled_inputs(x).sample_dims[0])


def measures_of(
    f: Callable[..., Any],
    x: Result,
    outcomes: Sequence[Done | Skipped],
    plan: Plan,
    spread: Sequence[float],
    *,
    baselines: Any,
    steps: int,
    n_random: int,
    n_perturb_samples: int = 5,
    seed: int,
    tell: Tell | None,
) -> Measures:
    """The measures of some samples, as for `judgement`; `spread` is the range of each input over all of them."""
    at = {"baselines": 0.0 if baselines is None else _one(baselines)}
    passing = {k: v for k, v in plan.passing(x).items() if k != "targets"}
    measures: list[tuple[str, Callable[[Done], Any]]] = [
        *((n, partial(_curve, n, f, x, {**at, **passing, "steps": steps, "n_random": n_random, "seed": seed})) for n in CURVES),
        ("infidelity", lambda done: labels.infidelity(
            f, x, done.result, stdevs=tuple(NUDGE * s for s in spread), n_perturb_samples=n_perturb_samples, normalize=True,
            seed=seed, **passing)),
        ("sensitivity", lambda done: labels.sensitivity_max(
            _method(done.method, plan), f, x, perturb_radius=NUDGE * min(spread), n_perturb_samples=n_perturb_samples,
            seed=seed, **passing)),
        ("randomization", lambda done: labels.randomization(_method(done.method, plan), f, x, seed=seed, **passing)),
    ]  # fmt: skip
    done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
    measured: Measures = {}
    for number, outcome in enumerate(done):
        values, remarks = {}, {}
        for k, (name, measure) in enumerate(measures):
            if tell is not None:
                tell("judge", number * len(measures) + k, len(done) * len(measures))
            try:
                values[name] = measure(outcome)
            except REFUSALS as error:
                remarks[name] = first_line(error).partition(": ")[2]
        delta = outcome.result.coords.get("delta")
        errors = np.empty(0) if delta is None else np.abs(delta.values).ravel()
        measured[outcome.method] = Measured(errors, outcome.seconds, outcome.evaluations, values, remarks)
    for skipped in outcomes:
        if isinstance(skipped, Skipped):
            measured[skipped.method] = Measured(np.empty(0), np.nan, 0, {}, {"": skipped.reason})
    for name in CURVES:
        some = next((o for o in done if name in measured[o.method].values), None)
        if some is not None:
            chance = {**at, **passing, "steps": steps, "seed": seed, "order": "random"}
            measured[name] = Measured(np.empty(0), 0.0, 0, {name: _curve(name, f, x, chance, some)}, {})
    return measured


def joined(parts: Sequence[Measures], dim: Hashable) -> Judgement:
    """The judgement that the measures of blocks of samples along `dim` make."""
    rows: list[dict[str, Any]] = []
    lines: dict[str, dict[str, xr.DataArray]] = {name: {} for name in (*CURVES, "randomization")}
    controls: dict[str, xr.DataArray] = {}
    for method in dict.fromkeys(name for measures in parts for name in measures):
        blocks = [measures[method] for measures in parts if method in measures]
        remarks = {k: v for block in reversed(blocks) for k, v in block.remarks.items()}
        complete = (
            [n for n in blocks[0].values if all(n in b.values for b in blocks)]
            if len(blocks) == len(parts)
            else []
        )
        values = {n: _concatenated([b.values[n] for b in blocks], dim) for n in complete}
        if method in CURVES:
            controls |= values
            continue
        if "" in remarks:
            rows.append({"method": method, "remarks": remarks[""]})
            continue
        errors = np.concatenate([b.errors for b in blocks])
        row: dict[str, Any] = {
            "method": method, "completeness_error": float(np.median(errors)) if len(errors) else None,
            "seconds": sum(b.seconds for b in blocks), "evaluations": sum(b.evaluations for b in blocks),
            "remarks": "; ".join(f"{name}: {why}" for name, why in remarks.items()),
        }  # fmt: skip
        for name, value in values.items():
            row |= _figures(name, value)
            if name in lines:
                lines[name][method] = value
        rows.append(row)
    skipped = [r for r in rows if "seconds" not in r]
    table = pd.DataFrame([r for r in rows if "seconds" in r] + skipped, columns=list(COLUMNS))
    return Judgement(table.astype(dict.fromkeys(COLUMNS[1:-1], float)), lines, controls)


def _concatenated(values: list[xr.DataArray], dim: Hashable) -> xr.DataArray:
    return (
        values[0] if len(values) == 1 else xr.concat(values, dim, combine_attrs="override", join="override")
    )


def _curve(
    name: str, f: Callable[..., Any], x: Result, options: Mapping[str, Any], done: Done
) -> xr.DataArray:
    return getattr(labels, name)(f, x, done.result, **options)


def _figures(name: str, value: xr.DataArray) -> dict[str, float]:
    """The figures of a measure, over the samples."""
    if name in CURVES:
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


def ranges(parts: Iterable[Result]) -> list[float]:
    """The range of each input's values over blocks of samples, 1 where they are all equal."""
    ends = [[(float(a.min()), float(a.max())) for a in labelled_inputs(x).arrays] for x in parts]
    return [
        max(high for _, high in of_input) - min(low for low, _ in of_input) or 1.0
        for of_input in zip(*ends, strict=True)
    ]


def picture(judged: Judgement) -> Figure:
    """Curves of deletion, insertion and randomization, and bars of all that the table says of each method.

    Parameters
    ----------
    judged : Judgement

    Returns
    -------
    Figure
    """
    table = judged.table[judged.table["seconds"].notna()]
    names = [method_name(str(m)) for m in table["method"]]
    drawing = figure((12.5, 4.2 + 2 * max(1.5, 0.6 + 0.15 * len(table))))
    heights = [3.5, *[max(1.5, 0.6 + 0.15 * len(table))] * 2]
    grid = drawing.add_gridspec(3, 3, height_ratios=heights)
    titles = {
        "deletion": "deletion: most important go first\n(low is good)",
        "insertion": "insertion: most important come first\n(high is good)",
        "randomization": "randomization from the output\n(0 is good)",
    }
    for place, (name, title) in zip((grid[0, 0], grid[0, 1], grid[0, 2]), titles.items(), strict=True):
        lines = {method_name(m): a for m, a in judged.curves[name].items()}
        ax = drawing.add_subplot(place)
        ax.set_title(title, fontsize=9)
        if not lines:
            ax.text(0.5, 0.5, "no method allows it here", ha="center", va="center", transform=ax.transAxes)
            ax.set_axis_off()
            continue
        dim = "layer" if name == "randomization" else "fraction"
        curves(
            lines, dim, control=judged.controls.get(name), ax=ax, legend=False, order=names,
            label="rank correlation" if dim == "layer" else "score",
        )  # fmt: skip
    for k, (name, title) in enumerate(BARS.items()):
        ax = drawing.add_subplot(grid[1 + k // 3, k % 3])
        _bars(ax, names, table[name].clip(-1e3, 1e3), log=name not in SIGNED)
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


def _bars(ax: Axes, names: list[str], values: pd.Series, log: bool) -> None:
    """A bar for each method; a word where it has no value."""
    ax.barh(range(len(names)), values, color=[f"C{j % 10}" for j in range(len(names))], height=0.75)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_ylim(len(names) - 0.4, -0.6)
    if log and bool((values > 0).any()):
        ax.set_xscale("log")
        ends = np.log10([values[values > 0].min(), values.max()])
        ax.set_xlim(*10 ** np.array([np.floor(ends[0] - 0.1), np.ceil(ends[1] + 0.1)]))
        ax.xaxis.set_minor_formatter("")
    else:
        ax.axvline(0, color="black", linewidth=0.8)
        ax.locator_params(axis="x", nbins=5)  # small numbers are long
    for k, value in enumerate(values):
        if not np.isfinite(value) or (log and value == 0):
            word = "0" if value == 0 else "none"
            ax.text(0.01, k, word, transform=ax.get_yaxis_transform(), va="center", fontsize=7, color="0.4")
    ax.spines[["top", "right"]].set_visible(False)


def samples_of(
    outcomes: Sequence[Done | Skipped], x: Result, count: int
) -> tuple[Result, list[Done | Skipped]]:
    """The first samples, and their results."""
    dims = labelled_inputs(x).sample_dims
    first = partial(part, dims=dims, samples=slice(count))
    some = [o._replace(result=first(o.result)) if isinstance(o, Done) else o for o in outcomes]
    return first(x), some
