"""Explanations as DataArrays and Datasets."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib.functional.explanation import About, Explanation
from attrib.interop.arrays import as_numpy
from attrib.labels.inputs import Inputs

INDIFFERENT = (
    "batch_size",
    "device",
    "progress",
    "engine",
    "path",
    "compile",
)  # options that do not change the result


@dataclass(frozen=True)
class Facts:
    """What a result's attrs tell.

    Attributes
    ----------
    about : About
        The method.
    params : mapping
        Options of the call.
    classes : tuple of str, or None
        Names of the outputs.
    engine : str
        What computed the gradients.
    notes : mapping or None
        More about how it was computed.
    """

    about: About
    params: Mapping[str, Any]
    classes: tuple[str, ...] | None
    engine: str
    notes: Mapping[str, str | int | float] | None = None

    def attrs(self, x: xr.DataArray) -> dict[str, str | int | float]:
        """Attrs of the attribution of `x`: strings and numbers, so that they survive netCDF."""
        from attrib import __version__

        params = json.dumps(
            {k: plain(v) for k, v in self.params.items() if k not in INDIFFERENT}, sort_keys=True
        )
        line = f"attrib {__version__} {self.about.name}"
        before = str(x.attrs.get("history", "")).rstrip()
        return {
            "method": self.about.name,
            "params": params,
            "units": self._units(x),
            "long_name": f"{self.about.long_name} attribution",
            "references": self.about.reference,
            "engine": self.engine,
            "attrib_version": __version__,
            "torch_version": torch.__version__,
            "history": f"{before}\n{line}" if before else line,
            **(self.notes or {}),
        }

    def _units(self, x: xr.DataArray) -> str:
        if self.about.units == "output":
            units = "output" if self.params.get("multiply_by_inputs", True) else f"output / {_input_units(x)}"
        else:
            units = f"output / {_input_units(x)}"
        return f"({units})^2" if self.params.get("reduce", "mean") != "mean" else units


def _input_units(x: xr.DataArray) -> str:
    return str(x.attrs.get("units", "input unit"))


def plain(value: Any) -> Any:
    """An option as JSON can hold it: arrays by their shape, functions by their name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value] if len(value) <= 100 else f"{type(value).__name__} of {len(value)}"
    shape = getattr(value, "sizes", None) or getattr(value, "shape", None)
    if shape is not None:
        return f"array {dict(shape) if isinstance(shape, Mapping) else tuple(shape)}"
    function = getattr(value, "func", value)
    return str(getattr(function, "__name__", type(value).__name__))


def wrap(explanation: Explanation, inputs: Inputs, facts: Facts, many: bool) -> Any:
    """The explanation with the inputs' dims and coords.

    Parameters
    ----------
    explanation : Explanation
        Of tensors (N, ...), with a leading target dim if `many`.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether several targets were asked for.

    Returns
    -------
    DataArray, tuple of DataArray, or Dataset
        In the form of the inputs.
    """
    lead: tuple[Hashable, ...] = ("target",) if many else ()
    parts = (
        explanation.attribution if isinstance(explanation.attribution, tuple) else (explanation.attribution,)
    )
    errors = explanation.standard_error
    each = errors if isinstance(errors, tuple) else (errors,) * len(parts)

    def laid_out(t: torch.Tensor | None, j: int) -> np.ndarray | None:
        return (
            None
            if t is None
            else unstacked(
                t, inputs, (*lead, *inputs.sample_dims, *inputs.core(j)), (*lead, *inputs.arrays[j].dims)
            )
        )

    coords = sample_coords(explanation, inputs, lead, facts.classes)
    data = [laid_out(a, j) for j, a in enumerate(parts)]
    return dressed(data, [laid_out(e, j) for j, e in enumerate(each)], coords, inputs, facts, lead)


def dressed(
    data: Sequence[Any],
    errors: Sequence[Any],
    coords: Mapping[Hashable, Any],
    inputs: Inputs,
    facts: Facts,
    lead: tuple,
) -> Any:
    """Arrays in the inputs' layout, with all their labels, in the inputs' form.

    Parameters
    ----------
    data, errors : sequence of arrays
        Attributions and standard errors (or None), one per input, dims `lead` and then the input's.
    coords : mapping
        Coords along the target and sample dims.
    inputs, facts, lead
        As in `wrap`; `lead` is ("target",) or ().
    """
    found = []
    for x, values, error in zip(inputs.arrays, data, errors, strict=True):
        order = (*lead, *x.dims)
        more = {**x.coords, **coords} | ({} if error is None else {"standard_error": (order, error)})
        found.append(xr.DataArray(values, dims=order, coords=more, name="attribution", attrs=facts.attrs(x)))
    return _in_form(found, inputs)


def _in_form(found: list[xr.DataArray], inputs: Inputs) -> Any:
    """One DataArray, a tuple, or a Dataset, as the inputs were given."""
    if inputs.single:
        return found[0]
    if inputs.names is None:
        return tuple(found)
    own = {
        n: a.rename(standard_error=f"{n}_standard_error") if "standard_error" in a.coords else a
        for n, a in zip(inputs.names, found, strict=True)
    }
    shared = {k: v for k, v in found[0].attrs.items() if k not in ("units", "history")}
    return xr.Dataset(own, attrs=shared)


def unstacked(t: torch.Tensor, inputs: Inputs, dims: tuple, order: tuple) -> np.ndarray:
    """(T, N, ...) with the batch unfolded into its dims, dims in the caller's order."""
    lead = int(dims[0] == "target")
    values = as_numpy(t)
    values = values.reshape(*values.shape[:lead], *inputs.sample_shape, *values.shape[lead + 1 :])
    return np.ascontiguousarray(values.transpose([dims.index(d) for d in order]))


def sample_coords(
    e: Explanation, inputs: Inputs, lead: tuple, classes: tuple[str, ...] | None
) -> dict[Hashable, Any]:
    """Coords along the target and sample dims: `prediction`, `target`, and those that the method has."""
    along = (*lead, *inputs.sample_dims)

    def values(t: torch.Tensor, dims: tuple = along) -> tuple[tuple, np.ndarray]:
        shape = (*t.shape[: len(dims) - len(inputs.sample_dims)], *inputs.sample_shape)
        return dims, as_numpy(t).reshape(shape)

    coords: dict[Hashable, Any] = {"prediction": values(e.prediction)}
    if lead:
        coords["target"] = np.asarray(e.target_labels)
    elif e.target is not None and e.target_labels[0] in ("predicted", "per sample"):
        coords["target"] = (inputs.sample_dims, named(values(e.target)[1], classes))
    if e.delta is not None:
        coords["delta"] = values(e.delta)
    if e.n_steps is not None:
        coords["n_steps"] = values(e.n_steps, inputs.sample_dims)
    return coords


def named(index: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    """Class names of output indices, if there are names."""
    return index if classes is None else np.asarray(classes)[index]
