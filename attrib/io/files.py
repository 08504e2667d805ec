"""Results to files and back. The suffix says in which format."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from attrib._claims import numbers, refuse_codecs
from attrib._public import public
from attrib.io import netcdf
from attrib.io.netcdf import Labelled, decode, encode, pack, unpack
from attrib.io.place import replacing, replacing_folder

ENCODED = "attrib_attributes"

Savable: TypeAlias = xr.DataArray | xr.Dataset | Mapping[str, Labelled] | pd.DataFrame


@public
def save(a: Savable, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file, whole or not at all.

    Parameters
    ----------
    a : DataArray, Dataset, mapping of these, or DataFrame
        What to write. Lazy (Dask) arrays are computed. A mapping becomes one group per entry (`.nc`, `.zarr`; names may
        be paths such as `"all/saliency"`). A DataFrame goes to `.csv`.
    path : str or path
        `.nc` (or `.nc4`): everything, lossless, compressed. `.zarr`: the same, a folder. `.npy`: the numbers of one
        DataArray, and its dims, coords and attrs in a `.json` of the same name. `.csv`: the long form, a row per value with
        its labels (the table of sums is `attrib.stats.summary`).

    Returns
    -------
    Path
        The file, so that ``load(save(a, path))`` works.

    Raises
    ------
    ValueError
        For another suffix, or a dim or coord name that a file cannot keep.
    TypeError
        For values that a file cannot keep, naming the coord or attribute and the fix.

    Notes
    -----
    The file is written under a temporary name in the same folder and then renamed: an error or Ctrl-C leaves nothing
    half-written and keeps what was there. ``load(save(a, path)).identical(a)`` holds for `.nc`, `.zarr` and `.npy`: text,
    times, booleans, categories, MultiIndexes and attributes that netCDF lacks (None, booleans, dicts, nested lists)
    come back as they were.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import load, save
    >>> a = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"), coords={"gene": ["INS", "GCG"]}, name="attribution")
    >>> load(save(a, pathlib.Path(tempfile.mkdtemp()) / "a.nc")).identical(a)
    True
    """
    final = Path(path)
    writer = _chosen(final, WRITERS)
    computed = _computed(a)
    with (replacing_folder if writer is _save_zarr else replacing)(final) as temporary:
        writer(computed, temporary, final)
    return final


@public
def add_group(a: Labelled, path: str | os.PathLike[str], group: str) -> Path:
    """Add a result to a netCDF file that holds several, whole or not at all.

    Parameters
    ----------
    a : DataArray or Dataset
        The result; lazy ones are computed.
    path : str or path
        The file. It is created if there is none.
    group : str
        The entry's name, which the file must not have yet.

    Returns
    -------
    Path
        The file; ``load(path)`` gives a dict of all entries.

    Raises
    ------
    ValueError
        If the file has that entry.

    Notes
    -----
    A copy of the file is extended and then renamed. So the entries that were there stay valid whatever happens.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import add_group, load
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.nc"
    >>> for method in ("saliency", "deep_lift"):
    ...     _ = add_group(xr.DataArray([1.0], dims="gene"), path, method)
    >>> list(load(path))
    ['saliency', 'deep_lift']
    """
    final = Path(path)
    names = netcdf.group_names(final)
    if group in names:
        raise ValueError(f"{final.name} has a group {group!r} already; choose another name")
    computed = a.compute()
    with replacing(final) as temporary:
        if final.exists():
            shutil.copyfile(final, temporary)
        netcdf.name_groups(temporary, [*names, group])
        netcdf.write(computed, temporary, group=group, append=True)
    return final


@public
def save_rows(rows: Iterable[np.ndarray], labels: xr.DataArray, path: str | os.PathLike[str]) -> Path:
    """Write an array to a netCDF file row by row, with one row in memory at a time.

    Parameters
    ----------
    rows : iterable of array
        The entries along the first dim, in order, each of shape ``labels.shape[1:]``.
    labels : DataArray
        The result's dims, coords, name, attrs and dtype. Its values are not read, so they need no memory:
        ``np.broadcast_to(np.float32(0), shape)``.
    path : str or path
        Ends in `.nc` or `.nc4`.

    Returns
    -------
    Path
        The file; `attrib.io.load` reads it like one that `save` wrote.

    Raises
    ------
    ValueError
        For another suffix, and for rows of another shape or number.
    TypeError
        For text, booleans and float16; `save` takes them.

    Notes
    -----
    The file is whole or absent, as with `save`. Each row is compressed by itself, so one can be read without the others.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> from attrib.io import load, save_rows
    >>> labels = xr.DataArray(np.broadcast_to(0.0, (2, 3)), dims=("image", "x"), coords={"image": ["a", "b"]}, name="attribution")
    >>> path = save_rows((np.full(3, k) for k in range(2)), labels, pathlib.Path(tempfile.mkdtemp()) / "attributions.nc")
    >>> load(path).sel(image="b").values
    array([1., 1., 1.])
    """
    final = Path(path)
    if final.suffix.lower() not in (".nc", ".nc4"):
        raise ValueError(f"`path` is {path}, expected a name that ends in .nc or .nc4")
    if labels.dtype.kind not in "iuf" or labels.dtype == np.float16:
        raise TypeError(f"`labels` is of dtype {labels.dtype}, expected integers, float32 or float64")
    with replacing(final) as temporary:
        netcdf.write_rows(_checked_rows(rows, labels), labels, temporary)
    return final


@public
def load(path: str | os.PathLike[str], group: str | None = None) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or path
        `.nc`, `.nc4`, `.zarr`, `.npy` (with its `.json`) or `.csv`.
    group : str, optional
        One entry of a file with several, such as a method of `attributions.nc`.

    Returns
    -------
    DataArray, Dataset, dict of these, or DataFrame
        What was saved, in memory: a dict for a file with several results, a DataFrame for `.csv`. A netCDF file of
        other origin comes as xarray reads it, as a Dataset.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    KeyError
        If the file has no such group, naming those it has.
    ValueError
        For another suffix, and for a `group` of a file that holds one table or array.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import xarray as xr
    >>> from attrib.io import load, save
    >>> results = {"saliency": xr.DataArray([1.0]), "deep_lift": xr.DataArray([2.0])}
    >>> load(save(results, pathlib.Path(tempfile.mkdtemp()) / "a.nc"), "deep_lift").item()
    2.0
    """
    file = Path(path)
    reader = _chosen(file, READERS)
    if not (file.is_dir() if reader is _load_zarr else file.is_file()):
        raise FileNotFoundError(f"there is no file {file}")
    if group is not None and reader not in (_load_netcdf, _load_zarr):
        raise ValueError(f"`group` is {group!r}, but {file.name} holds one table or array; leave it out")
    return reader(file, group)


def _computed(a: Savable) -> Savable:
    if isinstance(a, xr.DataArray | xr.Dataset):
        return a.compute()
    if isinstance(a, pd.DataFrame):
        return a
    if isinstance(a, Mapping) and all(isinstance(v, xr.DataArray | xr.Dataset) for v in a.values()):
        return {str(k): v.compute() for k, v in a.items()}
    raise TypeError(
        f"`a` is a {type(a).__name__}, expected a DataArray, a Dataset, a mapping of these, or a DataFrame; "
        "results of several inputs without names go in as a mapping: {'u': a[0], 'v': a[1]}"
    )


def _checked_rows(rows: Iterable[np.ndarray], labels: xr.DataArray) -> Iterable[np.ndarray]:
    count = 0
    for count, row in enumerate(rows, 1):
        if row.shape != labels.shape[1:] or count > len(labels):
            raise ValueError(
                f"`rows` gives {row.shape} as number {count}, expected {len(labels)} of {labels.shape[1:]} to match `labels`"
            )
        yield row
    if count != len(labels):
        raise ValueError(f"`rows` ends after {count}, expected {len(labels)} to match `labels`")


def _save_netcdf(a: Savable, temporary: Path, final: Path) -> None:
    if isinstance(a, xr.DataArray | xr.Dataset):
        netcdf.write(a, temporary)
    elif isinstance(a, pd.DataFrame):
        raise TypeError(
            f"a DataFrame cannot go to {final.name}; save it as .csv, or as .nc with a.to_xarray()"
        )
    else:
        netcdf.write_all(a, temporary)


def _load_netcdf(file: Path, group: str | None) -> Any:
    names = netcdf.group_names(file)
    if group is None:
        return netcdf.read_all(file) if names else netcdf.read(file)
    if group not in names:
        raise KeyError(f"{file.name} has no group {group!r}, it has: {', '.join(names) or 'none'}")
    return netcdf.read(file, group)


def _save_npy(a: Savable, temporary: Path, final: Path) -> None:
    """Numbers to `temporary`, labels to the .json beside `final`."""
    if not isinstance(a, xr.DataArray):
        raise TypeError(f"`a` is a {type(a).__name__}, but .npy holds one DataArray; save it as .nc")
    if a.dtype.kind not in "biufcMm":
        raise TypeError(f"`a` holds {a.dtype}, but .npy holds numbers; save it as .nc")
    np.save(temporary, np.asarray(a.values), allow_pickle=False)
    packed = pack(a.coords.to_dataset().assign_attrs(a.attrs))
    text = json.dumps({
        "name": encode(a.name, "the name"),
        "dims": list(a.dims),
        "attrs": _encoded(packed.attrs),
        "coords": {k: {"dims": list(v.dims), "attrs": _encoded(v.attrs), "values": encode(v.values, str(k))}
                   for k, v in packed.variables.items()},
    }, indent=1)  # fmt: skip
    with replacing(final.with_suffix(".json")) as beside:
        beside.write_text(text, encoding="utf-8")


def _encoded(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {k: encode(v, k) for k, v in attrs.items()}


def _load_npy(file: Path, group: str | None) -> xr.DataArray:
    beside = file.with_suffix(".json")
    if not beside.is_file():
        raise FileNotFoundError(
            f"{file.name} has no labels: {beside.name} is missing; read the numbers with numpy.load"
        )
    content = json.loads(beside.read_text(encoding="utf-8"))
    variables = {
        k: xr.Variable(v["dims"], decode(v["values"]), {n: decode(x) for n, x in v["attrs"].items()})
        for k, v in content["coords"].items()
    }
    coords = xr.Coordinates(variables, indexes={})
    labels = unpack(xr.Dataset(coords=coords, attrs={k: decode(v) for k, v in content["attrs"].items()}))
    return xr.DataArray(
        numbers(file), coords=labels.coords, dims=content["dims"],
        name=decode(content["name"]), attrs=labels.attrs,
    )  # fmt: skip


def _save_zarr(a: Savable, temporary: Path, final: Path) -> None:
    """The variables as netCDF would hold them; all attributes go through the record, as Zarr's are JSON."""
    if isinstance(a, pd.DataFrame):
        raise TypeError(
            f"a DataFrame cannot go to {final.name}; save it as .csv, or as .nc with a.to_xarray()"
        )
    results = {"": a} if isinstance(a, xr.DataArray | xr.Dataset) else dict(a)
    for name, result in results.items():
        packed = pack(result)
        plain = packed.copy()
        plain.attrs = {ENCODED: json.dumps(_encoded(packed.attrs))}
        for v in plain.variables.values():
            v.attrs = {ENCODED: json.dumps(_encoded(v.attrs))}
            v.encoding = {}
        plain.to_zarr(temporary, group=name or None, mode="a", zarr_format=2, consolidated=False)
    if "" not in results:
        xr.Dataset(attrs={netcdf.GROUPS: "\n".join(map(str, results))}).to_zarr(
            temporary, mode="a", zarr_format=2, consolidated=False
        )


def _load_zarr(file: Path, group: str | None) -> Any:
    refuse_codecs(file)
    root = _zarr_group(file, None)
    names = str(root.attrs.get(netcdf.GROUPS, "")).split("\n") if netcdf.GROUPS in root.attrs else []
    if group is not None and group not in names:
        raise KeyError(f"{file.name} has no group {group!r}, it has: {', '.join(names) or 'none'}")
    if names and group is None:
        return {n: _unzipped(_zarr_group(file, n)) for n in names}
    return _unzipped(root if group is None else _zarr_group(file, group))


def _zarr_group(file: Path, group: str | None) -> xr.Dataset:
    options: dict[str, Any] = {
        "chunks": None,
        "consolidated": False,
        "mask_and_scale": False,
        "decode_times": False,
    }
    return xr.open_zarr(file, group=group, **options).load()


def _unzipped(ds: xr.Dataset) -> Labelled:
    """The result that `_save_zarr` took; a store of another program as it is."""
    if ENCODED not in ds.attrs:
        return ds
    plain = ds.copy()
    holders: list[Any] = [plain, *plain.variables.values()]
    for v in holders:
        v.attrs = {k: decode(x) for k, x in json.loads(v.attrs.pop(ENCODED)).items()}
    return unpack(plain)


def _save_csv(a: Savable, temporary: Path, final: Path) -> None:
    """The table, or a result in long form: a row per value, with the labels of its dims and its coords.

    Whole numbers stay whole in columns with gaps, which NumPy holds as floats.
    """
    table = a if isinstance(a, pd.DataFrame) else _long(a)
    gaps = [c.dtype.kind == "f" and bool(c.isna().any() and c.notna().any()) for _, c in table.items()]
    whole = [
        k
        for k, gap in enumerate(gaps)
        if gap and (table.iloc[:, k].dropna() % 1 == 0).all() and table.iloc[:, k].abs().max() < 2**53
    ]
    if whole:
        columns = [c.astype("Int64") if k in whole else c for k, (_, c) in enumerate(table.items())]
        table = pd.concat(columns, axis=1)
    table.to_csv(temporary, index=False, lineterminator="\n")


def _long(a: Any) -> pd.DataFrame:
    """A row per value."""
    if isinstance(a, Mapping) and not isinstance(a, xr.Dataset):
        return pd.concat([_long(v).assign(result=k) for k, v in a.items()], ignore_index=True)
    if isinstance(a, xr.Dataset):
        return pd.concat([_long(v).rename(columns={n: "value"}).assign(variable=n) for n, v in a.data_vars.items()], ignore_index=True)  # fmt: skip
    named = a.rename(a.name if a.name is not None else "value")
    if not named.ndim:
        return pd.DataFrame(
            {**{str(k): [c.item()] for k, c in named.coords.items()}, named.name: [named.item()]}
        )
    indexed = named.assign_coords({d: np.arange(n) for d, n in named.sizes.items() if d not in named.coords})
    table = indexed.to_dataframe().reset_index()
    return table[[c for c in table.columns if c != named.name] + [named.name]]


def _load_csv(file: Path, group: str | None) -> pd.DataFrame:
    exact: dict[str, Any] = (
        {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
    )
    return pd.read_csv(file, **exact)


WRITERS: dict[str, Callable[[Any, Path, Path], None]] = {
    ".nc": _save_netcdf, ".nc4": _save_netcdf, ".zarr": _save_zarr, ".npy": _save_npy, ".csv": _save_csv,
}  # fmt: skip
READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".nc": _load_netcdf, ".nc4": _load_netcdf, ".zarr": _load_zarr, ".npy": _load_npy, ".csv": _load_csv,
}  # fmt: skip


def _chosen(path: Path, choices: Mapping[str, Any]) -> Any:
    if path.suffix.lower() not in choices:
        raise ValueError(f"`path` is {path}, expected a name that ends in one of {', '.join(choices)}")
    return choices[path.suffix.lower()]
