"""The user's own model on the user's own data: load, explain, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import read
from attrib.labels import labelled_inputs
from attrib.workflows.attribute import Done, Result, Tell, rehearse, trial
from attrib.workflows.folder import Folder
from attrib.workflows.loading import class_names, load_model
from attrib.workflows.plan import plan
from attrib.workflows.study import carry_out, draw, overview, write_table


class Explained(NamedTuple):
    """What a run wrote.

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
    methods: Sequence[str] | str = ("saliency", "integrated_gradients"),
    target: str | None = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Explained:
    """Explain a model's scores on a file of data with several methods, and write results, a table and pictures.

    Parameters
    ----------
    model, weights
        As for `load_model`.
    data, dims, variables
        As for `attrib.io.read`.
    output : str or path
        The folder.
    classes : str, optional
        Names with commas, or a file with one per line.
    baselines : str, optional
        A number, or a file like `data`.
    methods : sequence of str, or "all"
        What to run.
    target : str, optional
        A number, a class name, several with commas, `"predicted"` or `"all"`; None where the model has one output.
    batch_size, device, seed
        As for every method.
    options : mapping, optional
        More arguments, as for `plan`.
    overwrite : bool
        Whether to replace an earlier run in the folder.
    command, tell, say
        As for `demo`.

    Returns
    -------
    Explained

    Notes
    -----
    Everything is checked, and tried on the first sample, before the folder is made. Each method's result is in `attributions.nc` when the next one
    begins; Ctrl-C keeps what is there, and `run.json` then says `"interrupted"`.
    """
    with Folder(output, command, overwrite=overwrite) as folder:
        names = class_names(classes)
        x = floating(read(data, dims=dims, variables=variables), say)
        wanted = targets(target, names)
        todo = plan(
            methods, **wanted, classes=names, baselines=_baselines(baselines, x, say),
            batch_size=batch_size, device=device, seed=seed, options=options,
        )  # fmt: skip
        f = load_model(model, weights, device)
        trial(f, x, device)
        if len(todo.methods) > 1:  # one method refuses before anything is written
            rehearse(f, x, todo, tell)
        say(f"Explaining {_sizes(x)} with {', '.join(todo.methods)}.")
        folder.record |= {
            "model": model,
            "weights": _text(weights),
            "data": str(data),
            "seed": seed,
            "target": target,
        }
        found = carry_out(f, x, todo, folder, tell)
        results = {one.method: one.result for one in found if isinstance(one, Done)}
        write_table(results, folder)
        if not draw(x, results, folder):
            say("No pictures: they show samples of one or two dims beside a channel.")
    return Explained(folder.path, [*folder.record["files"], "run.json"], overview(found))


def targets(text: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """`target` or `targets` for what was typed.

    Raises
    ------
    ValueError
        For a name without `classes` or not among them.
    """
    if text is None or text == "predicted":
        return {"target": text}
    if text == "all":
        return {"targets": "all"}
    if classes is not None and text in classes:
        return {"target": text}
    found = [_target(part.strip(), classes) for part in text.split(",")]
    return {"target": found[0]} if len(found) == 1 else {"targets": found}


def _target(text: str, classes: Sequence[str] | None) -> int | str:
    if classes is not None and text in classes:
        return text
    if text.isdecimal():
        return int(text)
    if classes is None:
        raise ValueError(
            f"--target is {text!r}: to name a class, give --classes; else a number, predicted or all"
        )
    raise ValueError(f"--target is {text!r}, which is not among the classes {', '.join(classes[:12])}")


def floating(x: Result, say: Callable[[str], None] = lambda line: None) -> Result:
    """Whole numbers and flags as float32, which is said; text is refused.

    Raises
    ------
    ValueError
        For data that are no numbers, naming the variable.
    """
    arrays = {x.name: x} if isinstance(x, xr.DataArray) else dict(x.data_vars)
    for name, a in arrays.items():
        if a.dtype.kind not in "fiub":
            raise ValueError(f"--data: {name} holds {a.dtype}, expected numbers")
        if not a.size:
            raise ValueError(f"--data: {name} has shape {a.shape}, expected at least one sample")
    if any(a.dtype.kind != "f" for a in arrays.values()):
        say("The data are whole numbers; they are explained as float32.")
    return x.map(_float) if isinstance(x, xr.Dataset) else _float(x)


def _float(a: xr.DataArray) -> xr.DataArray:
    return a if a.dtype.kind == "f" else a.astype(np.float32)


def _baselines(text: str | None, x: Result, say: Callable[[str], None]) -> float | Result | None:
    """A number, or an array; what lies along the samples' dim in another number is a distribution."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        if "." not in text and not Path(text).exists():
            raise ValueError(f"--baselines is {text!r}, expected a number or a file") from None
    found = floating(_read_like(text, x))
    sample = labelled_inputs(x).sample_dims[0]
    first = x if isinstance(x, xr.DataArray) else next(iter(x.data_vars.values()))
    if sample in found.dims and found.sizes[sample] != first.sizes[sample]:
        say(f"{found.sizes[sample]} baselines: methods that take one get their mean.")
        found = found.drop_vars([c for c in found.coords if sample in found[c].dims]).rename(
            {sample: "baseline"}
        )
    return found


def _read_like(text: str, x: Result) -> Result:
    """Baselines from a file, their dims named as the input's: all of them, or those of one sample."""
    if Path(text).suffix not in (".npy", ".npz") or isinstance(x, xr.Dataset):
        return read(text, variables=list(map(str, x.data_vars)) if isinstance(x, xr.Dataset) else None)
    names = list(map(str, x.dims))
    return read(text, dims=names[1:] if len(read(text).dims) == x.ndim - 1 else names)


def _sizes(x: Result) -> str:
    return f"data ({', '.join(f'{d} {n}' for d, n in x.sizes.items())})"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
