"""The explained outputs of the model, and their scores for sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import xarray as xr

from attrib.labels import predict
from attrib.workflows.sequence.asked import Settings

MANY = 20  # largest number of predicted outputs in the experiments


def explained_outputs(settings: Settings, result: xr.DataArray) -> list[Any] | None:
    """Outputs of the experiments: the explained ones, or the first predicted ones; None if the model has one output.

    Parameters
    ----------
    settings : Settings
    result : DataArray
        Of any method.
    """
    if "target" in result.coords:
        return list(pd.unique(result["target"].values.ravel()))[
            : MANY if settings.target == "predicted" else None
        ]
    goal = settings.goal.get("target")
    if isinstance(goal, int) and settings.classes is not None:
        return [settings.classes[goal]]
    return None if goal is None else [goal]


def scores(
    model: Callable[..., Any], x: xr.DataArray, settings: Settings, wanted: list[Any] | None
) -> xr.DataArray:
    """Scores (sample, target) of sequences.

    Parameters
    ----------
    model : callable
    x : DataArray
        Records by the labels of `sample`, or copies of records, whose names are the coord `record`.
    settings : Settings
    wanted : list or None
        Labels of outputs; None if the model has one.

    Raises
    ------
    ValueError
        For a model that gives more than one number per output.
    """
    batch: Any = settings.batch_size
    names = x[
        "record" if "record" in x.coords else "sample"
    ].values.tolist()  # of edited copies, and of the records themselves
    beside = settings.context.of_rows(names)
    y = predict(
        model,
        x,
        classes=settings.classes,
        batch_size=batch,
        device=settings.device,
        additional_forward_args=beside,
    )
    if "target" not in y.dims:
        return y.expand_dims(target=["score"], axis=1)
    if y.ndim > 2:
        raise ValueError(
            f"the model gives an array {tuple(y.shape[1:])} for each sequence, expected a score or several; name "
            "a factory whose model reduces it, such as a module with the forward pass self.model(x).mean(-1)"
        )
    return y if wanted is None else y.sel(target=wanted)


def check_outputs(model: Callable[..., Any], x: xr.DataArray, settings: Settings) -> None:
    """Check that the model's outputs are scores, and that the target is clear.

    Raises
    ------
    ValueError
        As `scores`; if there are several outputs and no `target`.
    """
    count = scores(model, x.isel(sample=slice(1)), settings, None).sizes["target"]
    if count > 1 and settings.target is None:
        raise ValueError(
            f"the model has {count} outputs: give `target` a number from 0 to {count - 1}, several with commas, names "
            "among `classes`, predicted or all"
        )
