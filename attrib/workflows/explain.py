"""The user's own model on the user's own data: load, explain, write."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.engine.model.companions import Beside
from attrib.io import opened, read, replacing, to_anndata
from attrib.io.annotated import annotated_object
from attrib.scale import cohort
from attrib.scale.loading import load_model
from attrib.workflows.data import baselines_of, class_names, floating, headed, targets, with_heads
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.plan import ALL_METHODS, Plan, plan, read_context, refuse_unused_baselines
from attrib.workflows.study import (
    TABLE,
    Done,
    Result,
    Tell,
    carry_out,
    draw,
    overview,
    rehearse,
    trial,
    write_agreement,
    write_page,
    write_table,
)


class Explained(NamedTuple):
    """Results of a run.

    Attributes
    ----------
    folder : Path
    files : list of str
    table : DataFrame
        A row per method: completeness error (median, max), model evaluations, seconds, or why it was skipped.
    """

    folder: Path
    files: list[str]
    table: pd.DataFrame


class OfCohort(NamedTuple):
    """What a cohort gave.

    Attributes
    ----------
    lines : list of str
        What is in the store.
    problems : list of str
        Blocks that failed, each with its reason.
    """

    lines: list[str]
    problems: list[str]


def explain_cohort(
    model: str,
    data: str | Path,
    output: str | Path,
    *,
    weights: str | Path | None = None,
    variables: Sequence[str] | None = None,
    classes: str | None = None,
    baselines: str | None = None,
    context: Sequence[str] = (),
    methods: Sequence[str] = ("integrated_gradients",),
    target: str | None = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    block: int | str = "auto",
    cluster: str | None = None,
    reductions: Sequence[str] = (),
    by: str | None = None,
    keep: bool = True,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> OfCohort:
    """Explain a file that may be larger than memory with one method, block by block, into a Zarr store.

    Parameters
    ----------
    model, weights
        As for `load_model`.
    data : str or path
        `.zarr` or netCDF.
    output : str or path
        The store; one that was begun is continued.
    variables, classes, baselines, context, target, batch_size, device, seed, options
        As for `explain`. A context that is a variable of the data is read block by block, too.
    methods : sequence of str
        The method.
    block, reductions, by, keep
        As for `attrib.cohort`.
    cluster : str, optional
        A number of processes, or the address of a Dask scheduler.
    tell, say
        As for `demo`.

    Raises
    ------
    ValueError
        For several methods, and as `attrib.cohort`.
    """
    if isinstance(methods, str) or len(methods) != 1:
        names_ = methods if isinstance(methods, str) else ", ".join(methods)
        raise ValueError(f"`methods` is {names_}, but a store such as {output} holds one method; name one")
    ds = opened(data)
    missing = [v for v in variables or () if v not in ds.data_vars]
    if missing:
        raise ValueError(
            f"{data} has no variable {missing[0]!r}, it has: {', '.join(map(str, ds.data_vars))}"
        )
    beside = [w.partition("=")[2] or w for w in context]
    several = list(variables or (str(v) for v in ds.data_vars if v not in beside))
    names = class_names(classes)
    x = ds[several[0]] if len(several) == 1 else ds[several]
    settings = plan(
        methods, **targets(target, names), classes=names, baselines=baselines_of(baselines, x, say),
        batch_size=batch_size, device=device, seed=seed, options=options,
    )  # fmt: skip
    refuse_unused_baselines(methods, baselines)
    how = {**settings.shared, **settings.by_method[methods[0]]}
    method: Any = ALL_METHODS[methods[0]]
    if "method" in how:
        method = functools.partial(method, how.pop("method"))
    with warnings.catch_warnings(record=True) as reports:
        warnings.simplefilter("always", RuntimeWarning)
        tree = cohort(
            method, model, data, output, weights=weights, inputs=several, block=block,
            cluster=int(cluster) if cluster is not None and cluster.isdecimal() else cluster,
            reductions=reductions, by=by, keep=keep, additional_forward_args=_of_cohort(context, ds, x, model, weights),
            progress=False if tell is None else lambda done, total: tell(methods[0], done, total), **how,
        )  # fmt: skip
    for report in reports:
        if report.category is not RuntimeWarning:
            warnings.warn_explicit(report.message, report.category, report.filename, report.lineno)
    lines = [
        f"{f'{node.path}/{name}'.lstrip('/')} ({', '.join(f'{d} {n}' for d, n in a.sizes.items()) or 'a number'})"
        for node in tree.subtree for name, a in node.dataset.data_vars.items()
    ]  # fmt: skip
    return OfCohort(lines, str(tree.attrs.get("failed", "")).splitlines())


def _of_cohort(
    context: Sequence[str], ds: xr.Dataset, x: Result, model: str, weights: str | Path | None
) -> Any:
    """`additional_forward_args` of a cohort: names of variables of its data, and values from other files."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    f = load_model(model, weights) if any(w not in ds.data_vars and "=" not in w for w in context) else None
    for word in context:
        name, _, variable = word.rpartition("=")
        if variable in ds.data_vars:
            value: Any = Beside((), {name: variable}) if name else Beside((variable,), {})
        else:
            value = read_context([word], f).of(x)
        positional += value.positional
        named |= value.named
    return Beside(tuple(positional), named)


def explain(
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
    methods: Sequence[str] | str = ("saliency", "integrated_gradients"),
    target: str | None = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Explained:
    """Explain a model's scores on a file of data with several methods, and write results, a table and pictures.

    Parameters
    ----------
    model : str
        As for `attrib.scale.loading.load_model`.
    data : str or path
        A file, as for `attrib.io.read`.
    output : str or path
        The folder.
    weights : str or path, optional
        As for `attrib.scale.loading.load_model`.
    dims, variables : sequence of str, optional
        As for `attrib.io.read`.
    classes : str, optional
        Names with commas, or a file with one per line.
    baselines : str, optional
        A number, or a file like `data`.
    context : sequence of str
        What goes into the model beside the inputs: files, or ``NAME=FILE``, as for `attrib.workflows.plan.read_context`.
    methods : sequence of str, or "all"
        What to run.
    target : str, optional
        A number, a class name, several with commas, `"predicted"` or `"all"`; None where the model has one output. Of a model
        that returns several heads `"1:0"`, a head and its output, and `"0:profile"`, the score of a profile.
    batch_size, device, seed
        As for every method.
    options : mapping, optional
        More arguments, as for `plan`.
    overwrite : bool
        Whether to replace an earlier run in the folder.
    tell, say
        As for `demo`.

    Returns
    -------
    Explained

    Notes
    -----
    Everything is checked, and tried on the first sample, before the folder is created. Each method's result is written to
    `attributions.nc` before the next one begins. Ctrl-C keeps finished results, and `run.json` then says `"interrupted"`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import load, save
    >>> from attrib.workflows.explain import explain
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> x = xr.DataArray([[1.0, -1.0]], dims=("sample", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> _ = save(x.astype("float32"), folder / "x.nc")
    >>> done = explain("torch.nn:Tanh", folder / "x.nc", folder / "results", methods="saliency", target="0")
    >>> load(done.folder / "attributions.nc", group="saliency").sel(gene="GCG").values.tolist()
    [0.0]
    """
    with Folder(output, overwrite=overwrite) as folder:
        names = class_names(classes)
        x = floating(read(data, dims=dims, variables=variables), say)
        goal, outputs = headed(target, names)
        settings = plan(
            methods, **targets(goal, outputs), classes=outputs, baselines=baselines_of(baselines, x, say),
            batch_size=batch_size, device=device, seed=seed, options=options,
        )  # fmt: skip
        refuse_unused_baselines(settings.methods, baselines)
        f = with_heads(load_model(model, weights, device), target, names)
        settings = replace(settings, context=read_context(context, f, data))
        settings.context.of(x)
        _try(f, x, settings, device, tell)
        say(f"Explaining {_sizes(x)} with {', '.join(settings.methods)}.")
        folder.record |= {"model": model, "weights": _text(weights), "data": str(data), "seed": seed, "target": target, "context": list(context)}  # fmt: skip
        outcomes = carry_out(f, x, settings, folder, tell)
        results = {outcome.method: outcome.result for outcome in outcomes if isinstance(outcome, Done)}
        rows = write_table(results, folder)
        write_agreement(results, folder)
        if Path(data).suffix.lower() == ".h5ad" and isinstance(x, xr.DataArray):
            _write_annotated(x, results, folder)
        if not draw(x, results, folder):
            say("No pictures: they show samples of one or two dims beside a channel.")
        write_page(
            folder, "Attributions", f"{_sizes(x)[0].upper()}{_sizes(x)[1:]} explained for {target or 'the output'} of {model}.",
            {"Methods": (RECORD, overview(outcomes)), "Samples": (TABLE, rows)},
        )  # fmt: skip
    return Explained(folder.path, [*folder.files, RECORD], overview(outcomes))


def _try(f: Callable[..., Any], x: Result, settings: Plan, device: str | None, tell: Tell | None) -> None:
    """Try the model and its methods on the first sample; a single method fails before anything is written anyway."""
    trial(f, x, device, settings.context)
    if len(settings.methods) > 1:
        rehearse(f, x, settings, tell)


def _write_annotated(x: xr.DataArray, results: Mapping[str, Result], folder: Folder) -> None:
    """Write `attributions.h5ad`: the matrix, with the attributions of each method as a layer."""
    adata = annotated_object(x)
    for a in results.values():
        if isinstance(a, xr.DataArray) and set(x.dims) <= set(a.dims) <= {*x.dims, "target"}:
            to_anndata(a, adata)
    with replacing(folder.file("attributions.h5ad")) as temporary:
        adata.write_h5ad(temporary, compression="gzip")


def _sizes(x: Result) -> str:
    return f"data ({', '.join(f'{d} {n}' for d, n in x.sizes.items())})"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
