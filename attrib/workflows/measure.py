"""`bench` on files: the user's own model and data, and the table as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attrib.io import read, save
from attrib.labels import labelled_inputs
from attrib.scale.loading import load_model
from attrib.workflows.attribute import trial
from attrib.workflows.bench import bench
from attrib.workflows.data import drawn, floating
from attrib.workflows.targets import class_names, headed, targets, with_heads

METHODS = ("saliency", "integrated_gradients", "smooth_grad")


def measure(
    model: str,
    data: str | Path,
    *,
    weights: str | Path | None = None,
    dims: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    methods: Sequence[str] = METHODS,
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
    _check(output)
    names = class_names(classes)
    goal = _goal(*headed(target, names))
    x = floating(read(data, dims=dims, variables=variables))
    f = with_heads(load_model(model, weights, device), target, names)
    trial(f, x, device)
    some = x.isel({labelled_inputs(x).sample_dims[0]: drawn(x, max_samples, seed)})
    few = tuple(labelled_inputs(some).tensors(None))
    table = bench(f, few, methods=methods, batch_sizes=batch_sizes, device=device, target=goal,
                  repeats=repeats, progress=tell)  # fmt: skip
    if output is not None:
        save(table, output)
    return table


def _check(output: str | Path | None) -> None:
    if output is not None and Path(output).suffix != ".csv":
        raise ValueError(f"`output` is {output}, expected a name that ends in .csv")
    if output is not None and not Path(output).parent.is_dir():
        raise FileNotFoundError(
            f"`output` is {output}, but there is no folder {Path(output).parent}; create it first"
        )


def _goal(target: str | None, names: Sequence[str] | None) -> Any:
    """The one output that is explained: its number, or `"predicted"`."""
    wanted = targets(target, names)
    if "targets" in wanted:
        raise ValueError(f"`target` is {target!r}, but bench times one target: a number or predicted")
    goal = wanted["target"]
    return (names or []).index(goal) if isinstance(goal, str) and goal != "predicted" else goal
