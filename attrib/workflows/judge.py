"""Judge methods on the user's own model and data: load, explain, measure, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from attrib.io import read, replacing, save
from attrib.scale.loading import load_model
from attrib.workflows.attribute import Tell, trial
from attrib.workflows.data import baselines_of, floating
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.judgement import Judgement, judgement, picture, samples_of
from attrib.workflows.plan import plan
from attrib.workflows.study import carry_out
from attrib.workflows.targets import class_names, headed, targets, with_heads

TABLE, PICTURE = "judged.csv", "judged.png"
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
    methods: Sequence[str] | str = METHODS,
    target: str | None = None,
    samples: int = 32,
    steps: int = 20,
    n_random: int = 10,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Judged:
    """Explain some samples with several methods, measure how far each can be trusted, and write a table and a picture.

    Parameters
    ----------
    model, weights, data, dims, variables, output, classes, baselines, methods
        As for `explain`. The baselines are what deletion and insertion put in the place of features, too.
    target : str, optional
        One target: a number, a class name or `"predicted"`; None where the model has one output.
    samples : int, default 32
        How many of the first samples to use.
    steps, n_random : int
        Points of the curves of deletion and insertion, and random orders as their control.
    batch_size, device, seed, options, overwrite, command, tell, say
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
    Writes `attributions.nc`, `judged.csv`, `judged.png` and `run.json`.
    """
    with Folder(output, command, overwrite=overwrite) as folder:
        of_heads = class_names(classes)
        goal, names = headed(target, of_heads)
        goals = targets(goal, names)
        if "targets" in goals:
            raise ValueError(
                f"`target` is {target!r}, but methods are judged on one target; name one, or predicted"
            )
        if samples < 1:
            raise ValueError(f"`samples` is {samples}, expected at least 1")
        x = floating(read(data, dims=dims, variables=variables), say)
        start = baselines_of(baselines, x, say)
        x, _ = samples_of([], x, samples)
        settings = plan(methods, **goals, classes=names, baselines=start, batch_size=batch_size, device=device, seed=seed, options=options)  # fmt: skip
        f = with_heads(load_model(model, weights, device), target, of_heads)
        trial(f, x, device)
        folder.record |= {
            "model": model, "weights": None if weights is None else str(weights), "data": str(data), "seed": seed,
            "target": target, "samples": samples, "steps": steps, "n_random": n_random,
        }  # fmt: skip
        say(
            f"Explaining {samples_text(x)} with {', '.join(settings.methods)}, and measuring how far to trust them."
        )
        outcomes = carry_out(f, x, settings, folder, tell)
        judged = judgement(
            f, x, outcomes, settings, baselines=start, steps=steps, n_random=n_random, seed=seed, tell=tell
        )
        write(judged, folder)
    return Judged(folder.path, [*folder.record["files"], RECORD], judged.table)


def write(judged: Judgement, folder: Folder) -> None:
    """Write the table and the picture."""
    save(judged.table, folder.file(TABLE))
    with replacing(folder.file(PICTURE)) as temporary:
        picture(judged).savefig(temporary)


def samples_text(x: Any) -> str:
    """The sizes of the data, as text."""
    return f"data ({', '.join(f'{d} {n}' for d, n in x.sizes.items())})"
