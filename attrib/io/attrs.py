"""Attributes of any Python kind as JSON, and back to what they were."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

Attrs = dict[Any, Any]
NATIVE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED = {  # names that netCDF, xarray or the CF conventions read as instructions
    "add_offset", "calendar", "coordinates", "dtype", "grid_mapping", "missing_value", "scale_factor",
    "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST",
}  # fmt: skip
TIME_UNITS = re.compile(r"\bsince\b|^(days|hours|minutes|(milli|micro|nano)?seconds)$")


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


def decode(value: Any) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(v) for v in value]
    if isinstance(value, dict):
        ((kind, parts),) = value.items()
        return DECODERS[kind](parts)
    return value
