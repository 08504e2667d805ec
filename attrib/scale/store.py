"""The store of a cohort: its record, its lock, its arrays."""

from __future__ import annotations

import os
import shutil
import time
import uuid
import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr

from attrib._claims import refuse_codecs
from attrib.io import write_json
from attrib.io.lock import SILENCE, in_use, read_json, write_lock
from attrib.scale.blocks import DONE, FAILED, PARTS, PRIVATE

RECORD = "run.json"
LOCK = "lock.json"
ZARR: Literal[2] = 2  # the format whose texts and consolidated metadata every reader knows


def is_begun(store: Path) -> bool:
    """Whether a cohort lies there already.

    Raises
    ------
    ValueError
        If something else does.
    """
    if (store / PRIVATE / RECORD).is_file():
        return True
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise ValueError(f"`output` is {store}, which holds something else; name a new folder")
    return False


def create(
    store: Path,
    labels: xr.Dataset,
    arrays: Mapping[str, xr.Variable],
    chunk: tuple[Hashable, int],
    record: Mapping[str, Any],
) -> None:
    """Create a store that this process has locked, whole or not at all.

    Parameters
    ----------
    store : path
    labels : Dataset
        Coords that are known, and attrs.
    arrays : mapping of str to Variable
        What blocks will write: dims, dtype and attrs of arrays; the values are not read.
    chunk : hashable, int
        The dim that blocks are cut along, and their size.
    record : mapping
        What the run is.

    Raises
    ------
    ValueError
        If another process was faster.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    _sweep_aside(store)
    temporary = store.with_name(f".{store.name}.{uuid.uuid4().hex}")
    try:
        _write(labels, temporary)
        group = zarr.open_group(str(temporary), mode="r+", zarr_format=ZARR)
        for name, v in arrays.items():
            group.create_array(
                name, shape=v.shape, dtype=v.dtype, fill_value=np.nan if v.dtype.kind == "f" else None,
                chunks=tuple(min(chunk[1], n) if d == chunk[0] else n for d, n in v.sizes.items()),
                attributes={"_ARRAY_DIMENSIONS": list(map(str, v.dims)), **v.attrs},
            )  # fmt: skip
        coords = [
            *str(group.attrs.get("coordinates", "")).split(),
            *(n for n in arrays if n in record["coords"]),
        ]
        group.attrs["coordinates"] = " ".join(coords)
        consolidate(temporary)
        for folder in (DONE, FAILED, PARTS):
            (temporary / PRIVATE / folder).mkdir(parents=True)
        write_lock(temporary / PRIVATE / LOCK)
        write_json(record, temporary / PRIVATE / RECORD)
        try:
            os.rename(temporary, store)
        except OSError:
            raise ValueError(
                f"`output` is {store}, which another process has just begun; try again"
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep_aside(store: Path) -> None:
    """Remove what killed runs left beside the store."""
    prefix = f".{store.name}."
    for left in [p for p in store.parent.iterdir() if p.name.startswith(prefix)]:
        lock = left / PRIVATE / LOCK
        holder = read_json(lock)
        begun = time.time() - left.stat().st_mtime < SILENCE
        if not (in_use(holder, lock) if holder else begun):
            shutil.rmtree(left, ignore_errors=True)


def _write(ds: xr.Dataset, store: Path, group: str | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", xr.SerializationWarning
        )  # names with spaces are put right where a store is opened
        plain = ds.drop_encoding()  # that of the data can be of another format
        plain.to_zarr(str(store), group=group, mode="w", zarr_format=ZARR, consolidated=False)


def consolidate(store: Path) -> None:
    """Write all metadata into one file, which readers open in place of listing the store."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", getattr(zarr.errors, "ZarrUserWarning", UserWarning)
        )  # our own folder in it is no array
        zarr.consolidate_metadata(str(store), zarr_format=ZARR)


def write_reductions(results: Mapping[str, xr.Dataset], store: Path) -> None:
    """Put reductions into the store: an array each, or a group each with an array for each input."""
    temporary = store / PRIVATE / f"reductions.{uuid.uuid4().hex}"
    group = zarr.open_group(str(temporary), mode="w", zarr_format=ZARR)
    if list(results) == [""]:
        _write(results[""], temporary, "reductions")
    else:
        group.create_group("reductions")
        for name in next(iter(results.values())).data_vars:
            of_inputs = xr.Dataset({str(k): ds[name] for k, ds in results.items()})
            _write(of_inputs, temporary, f"reductions/{name}")
    shutil.rmtree(store / "reductions", ignore_errors=True)
    os.rename(temporary / "reductions", store / "reductions")
    shutil.rmtree(temporary)


def opened_tree(store: Path) -> xr.DataTree:
    """The store as a tree of lazily opened arrays.

    Raises
    ------
    ValueError
        For codecs that run code: a store may be a stranger's.
    """
    refuse_codecs(store)
    record = read_json(store / PRIVATE / RECORD)
    tree = xr.open_datatree(str(store), engine="zarr", chunks=None)
    coords = [n for n in record.get("coords", ()) if n in tree.dataset.data_vars]
    if coords:
        tree.dataset = tree.to_dataset(inherit=False).set_coords(coords)
    return tree
