"""Explanations as DataArrays and Datasets."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib._version import __version__
from attrib.engine.model.companions import Shared
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
    units : str
        As in `about`; of a method around another one, that one's.
    params : mapping
        Options of the call.
    classes : tuple of str, or None
        Names of the outputs.
    explanation : Explanation, optional
        Whose engine, notes and layers the attrs have.
    """

    about: About
    units: str
    params: Mapping[str, Any]
    classes: tuple[str, ...] | None
    explanation: Explanation | None = None

    def of(self, explanation: Explanation) -> Facts:
        """The facts of a call, once there is an explanation."""
        return replace(self, explanation=explanation)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers explained."""
        return () if self.explanation is None else self.explanation.layers or ()

    @property
    def several_layers(self) -> bool:
        """Whether the caller listed layers, so that the result has a dim of them."""
        return isinstance(self.params.get("layer"), list | tuple)

    @property
    def several_calls(self) -> bool:
        """Whether the caller wanted all calls of a layer, so that the result has a dim of them."""
        return self.params.get("call") == "all"

    def attrs(self, x: xr.DataArray) -> dict[str, str | int | float]:
        """Attrs of the attribution of `x`: strings and numbers, so that they survive netCDF."""
        line = f"attrib {__version__} {self.about.name}"
        history = str(x.attrs.get("history", "")).rstrip()
        attrs: dict[str, str | int | float] = {
            "method": self.about.name,
            "params": json.dumps(
                {k: plain(v) for k, v in self.params.items() if k not in INDIFFERENT}, sort_keys=True
            ),
            "units": self._units(x),
            "long_name": f"{self.about.long_name} attribution",
            "references": self.about.reference,
            "engine": "" if self.explanation is None else self.explanation.engine,
            "attrib_version": __version__,
            "torch_version": torch.__version__,
            "history": f"{history}\n{line}" if history else line,
        }
        if self.explanation is not None and self.explanation.notes:
            attrs |= self.explanation.notes
        if self.layers:
            attrs["layer"] = json.dumps(self.layers) if self.several_layers else self.layers[0]
        return attrs

    def _units(self, x: xr.DataArray) -> str:
        if self.units == "output" and self.params.get("multiply_by_inputs", True):
            units = "output"
        else:
            units = f"output / {x.attrs.get('units', 'input unit')}"
        return f"({units})^2" if self.params.get("reduce", "mean") != "mean" else units


def plain(value: Any) -> Any:
    """An option as JSON can hold it: arrays by their shape, functions by their name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Shared):
        return plain(value.value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value] if len(value) <= 100 else f"{type(value).__name__} of {len(value)}"
    shape = getattr(value, "sizes", None) or getattr(value, "shape", None)
    if shape is not None:
        return f"array {dict(shape) if isinstance(shape, Mapping) else tuple(shape)}"
    function = getattr(value, "func", value)
    name = str(getattr(function, "__name__", type(value).__name__))
    settings = getattr(value, "keywords", None)
    return f"{name}({', '.join(f'{k}={plain(v)}' for k, v in settings.items())})" if settings else name


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

    def laid_out(tensors: Any) -> list[np.ndarray | None]:
        each = tensors if isinstance(tensors, tuple) else (tensors,) * len(inputs.arrays)
        return [
            None if t is None else unstacked(t, inputs, (*lead, *inputs.sample_dims, *inputs.core(j)), (*lead, *x.dims))
            for j, (t, x) in enumerate(zip(each, inputs.arrays, strict=True))
        ]  # fmt: skip

    coords = sample_coords(explanation, inputs, lead, facts.classes)
    attributions, errors = laid_out(explanation.attribution), laid_out(explanation.standard_error)
    return with_coords(attributions, errors, coords, inputs, facts.of(explanation), lead)


def with_coords(
    attributions: Sequence[Any],
    errors: Sequence[Any],
    coords: Mapping[Hashable, Any],
    inputs: Inputs,
    facts: Facts,
    lead: tuple[Hashable, ...],
) -> Any:
    """Arrays in the inputs' layout, with all their labels, in the inputs' form.

    Parameters
    ----------
    attributions, errors : sequence of arrays
        Attributions and standard errors (or None), one per input, dims `lead` and then the input's.
    coords : mapping
        Coords along the target and sample dims.
    inputs, facts, lead
        As in `wrap`; `lead` is ("target",) or ().
    """
    arrays = []
    for x, values, error in zip(inputs.arrays, attributions, errors, strict=True):
        dims = (*lead, *x.dims)
        with_error = {**x.coords, **coords} | ({} if error is None else {"standard_error": (dims, error)})
        arrays.append(
            xr.DataArray(values, dims=dims, coords=with_error, name="attribution", attrs=facts.attrs(x))
        )
    if inputs.single:
        return arrays[0]
    if inputs.names is None:
        return tuple(arrays)
    several = _coords_of_several(arrays)
    variables = {
        name: a.rename({c: f"{name}_{c}" for c in several if c in a.coords})
        for _, name, a in sorted(zip(inputs.order, inputs.names, arrays, strict=True), key=lambda v: v[0])
    }
    shared = {k: v for k, v in arrays[0].attrs.items() if k not in ("units", "history")}
    return xr.Dataset(variables, attrs=shared)


def _coords_of_several(arrays: Sequence[xr.DataArray]) -> set[Hashable]:
    """Coords that are others in several inputs, and standard errors: in a Dataset they are called by their inputs."""
    names: set[Hashable] = {"standard_error"}
    first: dict[Hashable, xr.DataArray] = {}
    for a in arrays:
        for name, coord in a.coords.items():
            other = first.setdefault(name, coord)
            if name not in a.dims and not coord.variable.equals(other.variable):
                names.add(name)
    return names


def unstacked(t: torch.Tensor, inputs: Inputs, dims: tuple, order: tuple) -> np.ndarray:
    """(T, N, ...) with the batch unfolded into its dims, dims in the caller's order."""
    lead = int(dims[0] == "target")
    values = as_numpy(t)
    values = values.reshape(*values.shape[:lead], *inputs.sample_shape, *values.shape[lead + 1 :])
    return np.ascontiguousarray(values.transpose([dims.index(d) for d in order]))


def sample_coords(
    explanation: Explanation,
    inputs: Inputs,
    lead: tuple[Hashable, ...],
    classes: tuple[str, ...] | None,
) -> dict[Hashable, Any]:
    """Coords along the target and sample dims: `prediction`, `target`, and those that the method has."""

    def along(t: torch.Tensor, dims: tuple[Hashable, ...]) -> tuple[tuple, np.ndarray]:
        shape = (*t.shape[: len(dims) - len(inputs.sample_dims)], *inputs.sample_shape)
        return dims, as_numpy(t).reshape(shape)

    dims = (*lead, *inputs.sample_dims)
    coords: dict[Hashable, Any] = {"prediction": along(explanation.prediction, dims)}
    if lead:
        coords["target"] = np.asarray(explanation.target_labels)
    elif explanation.target is not None and varies(explanation):
        _, index = along(explanation.target, dims)
        coords["target"] = (inputs.sample_dims, with_names(index, classes))
    if explanation.delta is not None:
        coords["delta"] = along(explanation.delta, dims)
    if explanation.n_steps is not None:
        coords["n_steps"] = along(explanation.n_steps, inputs.sample_dims)
    for name, numbers in (explanation.per_sample or {}).items():
        coords[name] = along(numbers, inputs.sample_dims)
    return coords


def varies(explanation: Explanation) -> bool:
    """Whether the one target is another output for each sample."""
    return explanation.target_labels[0] in ("predicted", "per sample")


def with_names(index: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    """Class names of output indices, if there are names."""
    return index if classes is None else np.asarray(classes)[index]
