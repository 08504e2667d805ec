"""One DataArray as a .npy of its numbers and a .json of its labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from attrib.io.attrs import decode, encode
from attrib.io.packing import pack, unpack
from attrib.io.place import replacing


def write(a: xr.DataArray, temporary: Path, final: Path) -> None:
    """Numbers to `temporary`; labels to the .json beside `final`."""
    if a.dtype.kind not in "biufcMm":
        raise TypeError(f"`a` holds {a.dtype}, but .npy holds numbers; save it as .nc")
    np.save(temporary, np.asarray(a.values), allow_pickle=False)
    labels = pack(a.coords.to_dataset().assign_attrs(a.attrs))
    text = json.dumps({
        "name": encode(a.name, "the name"),
        "dims": list(a.dims),
        "attrs": dict(_json(labels.attrs)),
        "coords": {k: {"dims": list(v.dims), "attrs": dict(_json(v.attrs)), "values": encode(v.values, str(k))}
                   for k, v in labels.variables.items()},
    }, indent=1)  # fmt: skip
    with replacing(final.with_suffix(".json")) as file:
        file.write_text(text, encoding="utf-8")


def _json(attrs: dict) -> list[tuple[str, object]]:
    return [(k, encode(v, k)) for k, v in attrs.items()]


def read(file: Path) -> xr.DataArray:
    """The array with its labels."""
    beside = file.with_suffix(".json")
    if not beside.is_file():
        raise FileNotFoundError(
            f"{file.name} has no labels: {beside.name} is missing; read the numbers with numpy.load"
        )
    found = json.loads(beside.read_text(encoding="utf-8"))
    variables = {
        k: xr.Variable(v["dims"], decode(v["values"]), {n: decode(x) for n, x in v["attrs"].items()})
        for k, v in found["coords"].items()
    }
    coords = xr.Coordinates(variables, indexes={})
    labels = unpack(xr.Dataset(coords=coords, attrs={k: decode(v) for k, v in found["attrs"].items()}))
    values = np.load(file, allow_pickle=False)
    return xr.DataArray(
        values, coords=labels.coords, dims=found["dims"], name=decode(found["name"]), attrs=labels.attrs
    )
