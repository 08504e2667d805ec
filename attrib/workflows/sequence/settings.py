"""The settings of a study of sequences: methods, outputs and their scores, baselines, the form of the model's input, and one number per position of a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib._nearest import near, refuse_unnamed
from attrib.domains.sequences import dinucleotide_shuffle, shuffle, uniform
from attrib.functional import METHODS as METHODS_HERE
from attrib.io.tracks import MUTATIONS
from attrib.labels import predict
from attrib.workflows.context import Context
from attrib.workflows.drawing import name as long_name
from attrib.workflows.folder import digest
from attrib.workflows.plan import Plan, plan
from attrib.workflows.targets import targets

METHODS = ("deep_lift", "integrated_gradients", "saliency", MUTATIONS)
BASELINES = ("uniform", "zeros", "shuffle", "dinucleotide")
DRAWS = 10  # shuffles of a record, for methods that take several baselines
NOT_HERE = ("occlusion", "feature_ablation")  # these need more arguments: windows, groups
MANY = 20  # largest number of predicted outputs in the experiments
FIRST = ("deep_lift", "deep_lift_shap", "integrated_gradients", "gradient_shap", "input_x_gradient")


class Settings(NamedTuple):
    """The settings of the attributions, the same for every record.

    Attributes
    ----------
    methods : tuple of str
    target : str or None
        As typed.
    classes : tuple of str or None
        Names of the outputs.
    baselines : str
    dims : tuple of str
        Order of the dims as the model takes them.
    batch_size : int or str
    device : str or None
    seed : int
    options : mapping
        More arguments of methods.
    context : Context
        What goes into the model beside a record, by its name.
    """

    methods: tuple[str, ...]
    target: str | None
    classes: Sequence[str] | None
    baselines: str
    dims: tuple[str, ...]
    batch_size: int | str
    device: str | None
    seed: int
    options: Mapping[str, Any]
    context: Context = Context()

    @property
    def goal(self) -> dict[str, Any]:
        """`target` or `targets`, as methods take them."""
        return targets(self.target, self.classes)

    def plan(self, x: xr.DataArray) -> Plan:
        """Methods and their arguments for an input, on which the baselines depend."""
        return plan(
            self.methods, **self.goal, classes=self.classes, baselines=self._baseline(x), seed=self.seed,
            batch_size=self.batch_size, device=self.device, options=self.options, context=self.context,
        )  # fmt: skip

    def _baseline(self, x: xr.DataArray) -> Any:
        if self.baselines in ("shuffle", "dinucleotide"):
            return (shuffle if self.baselines == "shuffle" else dinucleotide_shuffle)(
                x, n=DRAWS, seed=self.seed
            )
        return uniform(x) if self.baselines == "uniform" else 0.0

    def as_record(self, model: str | Callable[..., Any], f: Callable[..., Any]) -> dict[str, Any]:
        """Everything that the results depend on, beside the records."""
        return self.context.identity() | {
            "model": model if isinstance(model, str) else type(model).__name__, "parameters": digest(f),
            "dims": list(self.dims), "methods": list(self.methods), "target": self.target, "classes": self.classes,
            "baselines": self.baselines, "seed": self.seed, "options": dict(self.options),
        }  # fmt: skip


def check(settings: Settings) -> None:
    """Check the settings before anything is read.

    Raises
    ------
    ValueError
        For unknown methods, outputs, baselines and dims.
    """
    usable = [
        name
        for name, m in METHODS_HERE.items()
        if m.about.result == "input" and not m.about.wraps and name not in NOT_HERE
    ]
    refuse_unnamed("methods", settings.methods, usable)
    if settings.baselines not in BASELINES:
        raise ValueError(
            f"`baselines` is {settings.baselines!r}, expected one of {', '.join(BASELINES)}{near(settings.baselines, BASELINES)}"
        )
    if sorted(settings.dims) != ["nucleotide", "position", "sample"] or settings.dims[0] != "sample":
        raise ValueError(
            f"`dims` is {','.join(settings.dims)}, expected sample, and then nucleotide and position"
        )
    targets(settings.target, settings.classes)


def explained_outputs(settings: Settings, result: xr.DataArray) -> list[Any] | None:
    """Labels of the outputs of the experiments: the explained ones, or the first predicted ones; None if the model has one output."""
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


def importance(method: str, a: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """Attribution of each position.

    Parameters
    ----------
    method : str
    a : DataArray
        Its attributions: dims `nucleotide`, `position` and the samples'.
    x : DataArray
        The sequences.

    Returns
    -------
    DataArray
        Without `nucleotide`. For mutagenesis the mean loss of the score over the absent letters; for gradients the entry
        of the letter in the sequence; for other methods the sum.
    """
    if method == MUTATIONS:
        by_position = -(a * (1 - x)).sum("nucleotide", skipna=False) / (4 - x.sum("nucleotide"))
    elif " / " in str(a.attrs.get("units", "")):
        # gradients: those of absent letters do not describe the sequence
        by_position = (a * x).sum("nucleotide", skipna=False)
    else:
        by_position = a.sum("nucleotide", skipna=False)
    title = f"{long_name(a, method)}" + (", mean loss" if method == MUTATIONS else "")
    return by_position.assign_attrs(long_name=title, units=a.attrs.get("units", ""))


def leading(methods: tuple[str, ...]) -> str:
    """The method that seqlets are taken from: the first complete one, else mutagenesis, else the first."""
    usable = [m for m in FIRST if m in methods] or [m for m in methods if m == MUTATIONS]
    return usable[0] if usable else methods[0]
