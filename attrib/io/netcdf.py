"""Labelled arrays as netCDF files and groups, attributes of any Python kind included, and what netCDF would change."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

Labelled: TypeAlias = xr.DataArray | xr.Dataset

COMPRESSED: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True}
GROUPS = "attrib_groups"  # an attribute of a file's root: the names of its groups, a line each
RECORD = "attrib_record"  # an attribute of a file or group: JSON that says what its arrays were
VALUES = "values_"  # the variable's name where a DataArray has none that a file can keep
EPOCH = "microseconds since 1970-01-01"
TIME_ATTRS = ("units", "calendar", "_FillValue")

Attrs = dict[Any, Any]
NATIVE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = {  # names that netCDF, xarray or the CF conventions read as instructions
    "add_offset", "calendar", "coordinates", "dtype", "grid_mapping", "missing_value", "scale_factor",
    "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST",
}  # fmt: skip
TIME_UNITS = re.compile(r"\bsince\b|^(days|hours|minutes|(milli|micro|nano)?seconds)$")


def write(a: Labelled, path: Path, *, group: str | None = None, append: bool = False) -> None:
    """Write one result, compressed without loss, as a file or as a group of one."""
    ds = pack(a)
    ds.to_netcdf(path, mode="a" if append else "w", group=group, engine="netcdf4", encoding=_encoding(ds))


def _encoding(ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    return {
        str(k): {"_FillValue": None} | (COMPRESSED if v.ndim and v.dtype.kind in "iufb" else {})
        for k, v in ds.variables.items()
        if "_FillValue" not in v.attrs
    }


def write_rows(rows: Iterable[np.ndarray], labels: xr.DataArray, path: Path) -> None:
    """Write a result's labels, then its values along the first dim as they come."""
    import netCDF4

    ds = pack(labels)
    name = json.loads(ds.attrs[RECORD])["variable"]
    values, labels_alone = ds[name], ds.drop_vars(name)
    labels_alone.to_netcdf(path, engine="netcdf4", encoding=_encoding(labels_alone))
    with netCDF4.Dataset(path, "a") as file:
        for dim in values.dims:
            if dim not in file.dimensions:
                file.createDimension(dim, values.sizes[dim])
        chunk = (1, *values.shape[1:])
        variable = file.createVariable(name, values.dtype, values.dims, chunksizes=chunk, **COMPRESSED)
        variable.setncatts(values.attrs)
        variable.set_auto_maskandscale(False)
        for k, row in enumerate(rows):
            variable[k] = row


def name_groups(path: Path, names: list[str]) -> None:
    """Write the names of the groups to the file's root. The file is created if there is none."""
    import netCDF4

    with netCDF4.Dataset(path, "a" if path.exists() else "w") as file:
        file.setncattr(GROUPS, "\n".join(names))


def group_names(path: Path) -> list[str]:
    """Groups that `write` put into the file, in order; none for a file that holds one result, or is not there."""
    import netCDF4

    if not path.exists():
        return []
    with netCDF4.Dataset(path) as file:
        text = getattr(file, GROUPS, "")
    return text.split("\n") if text else []


def read(path: Path, group: str | None = None) -> Labelled:
    """One result, in memory; a file that `write` did not make comes as xarray reads it."""
    with xr.open_dataset(path, group=group, engine="netcdf4", mask_and_scale=False, decode_times=False) as ds:
        if RECORD in ds.attrs:
            return unpack(ds.load())
    return with_text(xr.load_dataset(path, group=group, engine="netcdf4"))


def with_text(ds: xr.Dataset) -> xr.Dataset:
    """The Dataset with names as text that R, MATLAB and IDL write as arrays of characters."""
    texts = {k: v for k, v in ds.variables.items() if isinstance(v.dtype, np.dtype) and v.dtype.kind == "S"}
    for name, v in texts.items():
        plain = np.char.strip(np.char.decode(v.values, "utf-8", "replace"), " \0")
        ds = (
            ds.assign({name: (v.dims, plain, v.attrs)})
            if name in ds.data_vars
            else ds.assign_coords({name: (v.dims, plain, v.attrs)})
        )
    return ds


def opened(path: Path) -> Labelled:
    """One result whose numbers are read when they are needed."""
    ds = xr.open_dataset(path, engine="netcdf4", mask_and_scale=False, decode_times=False)
    if RECORD in ds.attrs:
        return unpack(ds)
    ds.close()
    return xr.open_dataset(path, engine="netcdf4")


def write_all(results: Mapping[str, Labelled], path: Path) -> None:
    """Write each result as a group of its own."""
    name_groups(path, list(results))
    for name, a in results.items():
        write(a, path, group=name, append=True)


def read_all(path: Path) -> dict[str, Labelled]:
    """Every group, by name."""
    return {name: read(path, name) for name in group_names(path)}


def pack(a: Labelled) -> xr.Dataset:
    """The result as a Dataset that netCDF writes, with the record as an attribute.

    Raises
    ------
    TypeError, ValueError
        For coords and attrs that a file cannot keep, naming them and the fix.
    """
    _refuse_names(a)
    record: dict[str, Any] = {"kind": type(a).__name__}
    if isinstance(a, xr.DataArray):
        record["name"] = a.name
        name = a.name if isinstance(a.name, str) and a.name and a.name not in a.coords else VALUES
        record["variable"] = name
        ds = a.to_dataset(name=name, promote_attrs=False)
    else:
        ds = a.copy()
    ds, record["levels"] = _without_multi_indexes(ds)
    record["plain"] = [d for d in ds.dims if d in ds.coords and d not in ds.xindexes]
    record["variables"] = {}
    variables = {str(k): _packed(str(k), v, record["variables"]) for k, v in ds.variables.items()}
    native, record["attrs"] = split(ds.attrs, "the Dataset")
    native[RECORD] = json.dumps(record)
    coords = {k: variables[str(k)] for k in ds.coords}
    data = {k: variables[str(k)] for k in ds.data_vars}
    return xr.Dataset(data, coords=xr.Coordinates(coords, indexes={}), attrs=native)


def unpack(ds: xr.Dataset) -> Labelled:
    """The result that `pack` took."""
    attrs = dict(ds.attrs)
    record = json.loads(attrs.pop(RECORD))
    variables = {k: _unpacked(v, record["variables"].get(k, {})) for k, v in ds.variables.items()}
    plain = {k: variables[k] for k in ds.coords}
    data = {k: variables[k] for k in ds.data_vars}
    out = xr.Dataset(data, coords=xr.Coordinates(plain, indexes={}), attrs=join(attrs, record["attrs"]))
    for dim in out.dims:
        if dim in out.coords and dim not in record["plain"]:
            out = out.set_xindex([dim])
    for dim, levels in record["levels"].items():
        out = out.set_index({dim: levels})
    if record["kind"] == "Dataset":
        return out
    return out[record["variable"]].rename(record["name"])


def _refuse_names(a: Labelled) -> None:
    for name in (*a.dims, *a.coords, *(a.data_vars if isinstance(a, xr.Dataset) else ())):
        if not isinstance(name, str) or not name or "/" in name or name.strip() != name:
            raise ValueError(
                f"a dim or coord is named {name!r}, which netCDF cannot keep; rename it: a.rename({{{name!r}: 'name'}})"
            )


def _without_multi_indexes(ds: xr.Dataset) -> tuple[xr.Dataset, dict[str, list[str]]]:
    """The Dataset with levels of MultiIndexes as plain coords, and the levels of each index."""
    levels = {
        str(d): [str(n) for n in ds.indexes[d].names]
        for d in ds.dims
        if d in ds.indexes and isinstance(ds.indexes[d], pd.MultiIndex)
    }
    return ds.reset_index(list(levels)) if levels else ds, levels


def _packed(name: str, v: xr.Variable, records: dict[str, Any]) -> xr.Variable:
    """The variable in a dtype that netCDF holds."""
    record: dict[str, Any] = {"dtype": str(v.dtype)}
    is_time = isinstance(v.dtype, np.dtype) and v.dtype.kind in "Mm"
    calendar = _calendar(v)
    native, attrs = split(v.attrs, f"`{name}`", TIME_ATTRS if is_time or calendar else ())
    if attrs:
        record["attrs"] = attrs
    records[name] = record
    if isinstance(v.dtype, pd.CategoricalDtype):
        return xr.Variable(v.dims, _codes(name, v, record), native)
    if calendar is not None:
        return xr.Variable(v.dims, *_dated(v, calendar, native, record))
    is_text = not isinstance(v.dtype, np.dtype) or v.dtype.kind == "O"
    values = _texts(name, v) if is_text else np.asarray(v.values)
    if is_time:
        values, native = _counted(values, native, record)
    elif values.dtype == np.float16:
        values = values.astype(np.float32)
    elif values.dtype.kind not in "biufUOT":
        fix = (
            "save its real and imaginary parts"
            if values.dtype.kind == "c"
            else "convert it to numbers or text"
        )
        raise TypeError(f"`{name}` is {v.dtype}, which netCDF cannot keep; {fix}")
    return xr.Variable(v.dims, values, native)


def _calendar(v: xr.Variable) -> str | None:
    """The calendar of dates that NumPy has no type for, such as one of 360 days; None for other values."""
    if not (isinstance(v.dtype, np.dtype) and v.dtype.kind == "O" and v.size):
        return None
    return getattr(np.asarray(v.values).ravel()[0], "calendar", None)


def _dated(v: xr.Variable, calendar: str, native: dict, record: dict[str, Any]) -> tuple[np.ndarray, dict]:
    """Dates as microseconds in CF form, so that other programs read them as dates."""
    import cftime

    record["calendar"] = calendar
    days = np.asarray(
        cftime.date2num(v.values, EPOCH, calendar=calendar, has_year_zero=v.values.ravel()[0].has_year_zero)
    )
    return days.astype(np.int64), {**native, "units": EPOCH, "calendar": calendar}


def _texts(name: str, v: xr.Variable) -> np.ndarray:
    """Text of an object or pandas text dtype as an object array, which netCDF keeps as text."""
    values = np.asarray(v.values, dtype=object)
    odd = [x for x in values.ravel().tolist() if not isinstance(x, str)]
    if odd:
        raise TypeError(
            f"`{name}` holds {type(odd[0]).__name__} objects ({odd[0]!r}), which netCDF cannot keep; make it text: "
            f"a.assign_coords({name}=a.{name}.astype(str))"
        )
    return values


def _codes(name: str, v: xr.Variable, record: dict[str, Any]) -> np.ndarray:
    """The codes of a Categorical. Its categories go to the record."""
    index = pd.Categorical(v.values if isinstance(v.values, pd.Categorical) else pd.Series(v.to_index()))
    categories = index.categories.tolist()
    if any(type(c) not in (str, int, float, bool) for c in categories):
        raise TypeError(
            f"`{name}` has categories that are neither text nor numbers; make it text with .astype(str)"
        )
    record["dtype"] = "category"
    record["categories"], record["ordered"] = categories, bool(index.ordered)
    return index.codes.astype(np.int32)


def _counted(values: np.ndarray, native: dict, record: dict) -> tuple[np.ndarray, dict]:
    """Times and durations as integers in CF form, so that other programs read them as times."""
    unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[
        np.datetime_data(values.dtype)[0]
    ]
    record["time"] = True
    cf: dict[str, Any] = (
        {"units": unit}
        if values.dtype.kind == "m"
        else {"units": f"{unit} since 1970-01-01", "calendar": "proleptic_gregorian"}
    )
    if np.isnat(values).any():
        cf["_FillValue"] = np.iinfo(np.int64).min
    return values.view(np.int64), {**native, **cf}


def _unpacked(v: xr.Variable, record: dict[str, Any]) -> xr.Variable:
    """The variable as it was before `_packed`."""
    dtype = record.get("dtype", str(v.dtype))
    is_time = record.get("time", False)
    attrs = join(
        {k: x for k, x in v.attrs.items() if not (is_time and k in TIME_ATTRS)}, record.get("attrs", {})
    )
    if "calendar" in record:
        import cftime

        dates = cftime.num2date(v.values, EPOCH, calendar=record["calendar"], only_use_cftime_datetimes=True)
        return xr.Variable(v.dims, dates, {k: x for k, x in attrs.items() if k not in TIME_ATTRS})
    if "categories" in record:
        values: Any = pd.Categorical.from_codes(v.values, record["categories"], record["ordered"])
    elif is_time:
        values = np.asarray(v.values, dtype=np.int64).view(dtype)
    elif dtype == "object" or dtype.startswith(("str", "string", "StringDType")):
        values = v.values.astype(object)
    elif dtype == str(v.dtype):  # as it is, and unread where the file was opened lazily
        return v.copy(deep=False)._replace(attrs=attrs)
    else:
        values = np.asarray(v.values).astype(dtype, copy=False)
    return xr.Variable(v.dims, values, attrs)


def split(
    attrs: Mapping[Any, Any], where: str, taken: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes as netCDF holds them, and a JSON record of those that netCDF would change.

    Parameters
    ----------
    attrs : mapping
        Any keys and values.
    where : str
        Whose attributes they are, for errors.
    taken : collection of str
        Names that the file uses for something else.

    Raises
    ------
    TypeError
        For a value that is neither plain data nor an array, naming the attribute.
    """
    native = {k: v for k, v in attrs.items() if k not in taken and _is_native(k, v)}
    values = [
        [encode(k, where), encode(v, f"{where}.attrs[{k!r}]")] for k, v in attrs.items() if k not in native
    ]
    numbers = [k for k, v in native.items() if type(v) in (int, float)]
    return native, {**({"values": values} if values else {}), **({"numbers": numbers} if numbers else {})}


def join(native: Mapping[Any, Any], record: Mapping[str, Any]) -> Attrs:
    """The attributes that `split` took apart."""
    attrs: Attrs = dict(native)
    attrs.update({k: np.asarray(attrs[k]).item() for k in record.get("numbers", [])})
    attrs.update({decode(k): decode(v) for k, v in record.get("values", [])})
    return attrs


def _is_native(key: Any, value: Any) -> bool:
    """Whether netCDF gives the attribute back as it was (plain int and float up to their type)."""
    if not isinstance(key, str) or not NATIVE_NAME.fullmatch(key) or key in RESERVED:
        return False
    if isinstance(value, str):
        return type(value) is str and "\0" not in value and not (key == "units" and TIME_UNITS.search(value))
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.size > 1 and value.dtype.str[1:] in ("i4", "i8", "f4", "f8")
    return type(value) in (float, np.int32, np.int64, np.float32, np.float64)


def encode(value: Any, where: str) -> Any:
    """A value as JSON; what JSON lacks becomes ``{kind: parts}``."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [encode(v, where) for v in value]
    if type(value) is tuple:
        return {"tuple": [encode(v, where) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(k, where), encode(v, where)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": [value.dtype.str, list(value.shape), _flat(value, where)]}
    return _encode_scalar(value, where)


def _encode_scalar(value: Any, where: str) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in "biufcMmSU":
        return {"numpy": [value.dtype.str, _flat(np.array(value), where)[0]]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, pd.Timestamp):
        return {"timestamp": value.isoformat()}
    if isinstance(value, datetime.datetime):
        return {"datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, str):  # a subclass, such as numpy.str_ or an enum: its text is what a file can keep
        return str(value)
    raise TypeError(
        f"`{where}` holds a {type(value).__name__}, which a file cannot keep; "
        "replace it by text or numbers, or delete it"
    )


def _flat(value: np.ndarray, where: str) -> list[Any]:
    kind = value.dtype.kind
    if kind == "O":
        return [encode(v, where) for v in value.ravel().tolist()]
    if kind in "Mm":
        return value.ravel().view("i8").tolist()
    if kind == "c":
        return [[v.real, v.imag] for v in value.ravel().tolist()]
    if kind == "S":
        return [v.hex() for v in value.ravel().tolist()]
    if kind in "biufU":
        return value.ravel().tolist()
    raise TypeError(f"`{where}` holds an array of {value.dtype}, which a file cannot keep; convert it first")


def _array(dtype: str, shape: list[int], flat: list[Any]) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "O":
        out = np.empty(len(flat), dtype=object)
        out[:] = [decode(v) for v in flat]
        return out.reshape(shape)
    if kind in "Mm":
        return np.array(flat, dtype="i8").view(dtype).reshape(shape)
    if kind == "c":
        flat = [complex(*v) for v in flat]
    if kind == "S":
        flat = [bytes.fromhex(v) for v in flat]
    return np.array(flat, dtype=dtype).reshape(shape)


def decode(value: Any) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if isinstance(value, dict):
        ((kind, parts),) = value.items()
        return DECODERS[kind](parts)
    return value


DECODERS: dict[str, Any] = {
    "tuple": lambda v: tuple(decode(x) for x in v),
    "dict": lambda v: {decode(k): decode(x) for k, x in v},
    "array": lambda v: _array(*v),
    "numpy": lambda v: _array(v[0], [1], [v[1]])[0],
    "complex": lambda v: complex(*v),
    "bytes": bytes.fromhex,
    "timestamp": pd.Timestamp,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
}
