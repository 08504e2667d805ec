"""Judge methods on the user's own model and data: load, explain, measure, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.io import read, save
from attrib.labels import labelled_inputs
from attrib.scale.loading import load_model
from attrib.scale.samples import block_size, source
from attrib.workflows.attribute import Result, Tell, attribute, cut, part, trial
from attrib.workflows.context import read_context
from attrib.workflows.data import baselines_of, drawn, floating
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.judgement import Judgement, joined, measures_of, picture, ranges
from attrib.workflows.plan import Plan, plan
from attrib.workflows.study import carry_out, write_page
from attrib.workflows.targets import class_names, headed, targets, with_heads

TABLE, PICTURE = "judged.csv", "judged.png"
WHOLE_BYTES = 256 << 20  # of inputs that are read at once
METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "smooth_grad")


class Judged(NamedTuple):
    """Results of a run.

    Attributes
    ----------
    folder : Path
    files : list of str
    table : DataFrame
        See `attrib.workflows.judgement.judgement`.
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
