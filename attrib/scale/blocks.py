"""Blocks of a cohort, read, explained and written with a marker, and the store that they are in.

Every process that works on a cohort has a `Session`.
"""

from __future__ import annotations

import copy
import inspect
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
import zarr
from torch import nn

from attrib._claims import refuse_codecs
from attrib.engine.batching import Batches
from attrib.engine.gradient.passes import choose_device
from attrib.engine.model.companions import Companions, values_of
from attrib.engine.model.function import Function
from attrib.engine.model.parameters import Model, dtype_of, parts, weights
from attrib.engine.model.prepared import BlockModel, digest
from attrib.engine.secant import VALUES_PER_ACTIVATION
from attrib.io import replacing, write_json
from attrib.io.place import SILENCE, in_use, read_json, write_lock
from attrib.labels import labelled_inputs
from attrib.labels.align import forward_args
from attrib.labels.inputs import for_model
from attrib.scale.loading import fill, first_line, load_model, read_weights
from attrib.scale.reductions import Reduction
from attrib.scale.samples import Labelled, Source, checksum, cut, cut_beside, digest_of, loaded

PRIVATE = ".attrib"  # the folder in the store with the record of the run, markers and parts
DONE, FAILED, PARTS = "done", "failed", "parts"
RESULT = "attribution"

RECORD = "run.json"
LOCK = "lock.json"
ZARR: Literal[2] = 2  # the format whose texts and consolidated metadata every reader knows


@dataclass(frozen=True)
class Job:
    """What every process needs once.

    Attributes
    ----------
    method : callable
        (model, x, **options) to a labelled result.
    model : str or callable
        As in `cohort`.
    weights : str or None
        A file.
    options : mapping
        Of the method, for all samples.
    source : Source
        The samples; those that come from no file are sent with each block.
    labels : DataArray or Dataset
        Stands for all inputs where options are cut: their dims, sizes and sample labels.
    first : Dataset
        The samples with which the model is tried.
    start : int
        Number of the first of them.
    device : str or None
    """

    method: Callable[..., Any]
    model: Any
    weights: str | None
    options: Mapping[str, Any]
    source: Source
    labels: Labelled
    first: xr.Dataset
    start: int
    device: str | None

    def opened(self, device: str | None = None) -> Session:
        """The job in this process."""
        return Session(self, device)


@dataclass(frozen=True)
class Plan:
    """How blocks are computed and what is written: small, as it goes with every block.

    Attributes
    ----------
    output : str
        The store.
    threads : int
        Threads of torch for each block.
    batch_size : int or None
        Rows per call of the model; None for methods that take no batch size.
    variables : mapping of str to tuple of str
        Dims of the arrays that are written.
    reductions : tuple of str
    groups : int
        Number of groups of the reductions.
    """

    output: str
    threads: int
    batch_size: int | None
    variables: Mapping[str, tuple[str, ...]]
    reductions: tuple[str, ...]
    groups: int


class Block(NamedTuple):
    """Samples `start` to `stop` along the first sample dim, and the group of each."""

    number: int
    start: int
    stop: int
    codes: np.ndarray


Outcome = tuple[Block, str | None]  # a block, and the error that it raised


class Survey(NamedTuple):
    """What the first samples tell.

    Attributes
    ----------
    result : Dataset
        Their attributions.
    single : bool
        Whether the method gives one array.
    model : str
        Digest of the modules and weights.
    batch_size : int or None
        Rows per call of the model.
    """

    result: xr.Dataset
    single: bool
    model: str
    batch_size: int | None


class Session:
    """The model of a job, loaded once in a process, and what it does with blocks.

    Parameters
    ----------
    job : Job
    device : str, optional
        Where this process computes; default: as the job says.
    """

    def __init__(self, job: Job, device: str | None = None) -> None:
        self.job = job
        self.source = job.source.opened()
        self.model = BlockModel(_loaded_model(job.model, job.weights, device or job.device))
        self._tried = False

    def survey(self, threads: int) -> Survey:
        """Explain the first samples, and settle the batch size."""
        takes_batch_size = "batch_size" in getattr(getattr(self.job.method, "about", None), "arguments", ())
        batch_size: Any = self.job.options.get("batch_size", "auto") if takes_batch_size else None
        with Threads(threads):
            if batch_size == "auto":
                batch_size = self._batch_size()
            result = self._explained(self.job.first, self.job.start, batch_size)
        self._tried = True
        single = isinstance(result, xr.DataArray)
        ds = result.to_dataset(name=RESULT, promote_attrs=False) if single else result
        return Survey(ds, single, model_digest(self.model.model), batch_size)

    def _batch_size(self) -> int:
        """Rows that fit into memory, as `"auto"` finds them."""
        inputs = labelled_inputs(self.source.explained(self.job.first), self.source.dims)
        f, inputs = for_model(BlockModel(self.model.model), inputs)
        dtype = dtype_of(self.model.model)
        xs = inputs.tensors(dtype)
        device = choose_device(self.model.model, xs[0], self.job.options.get("device"))
        beside = forward_args(self._beside(self.job.first, self.job.start), inputs, dtype)
        function = Function(f, xs, Companions(beside, inputs.samples))
        ends = tuple(x[[0, -1]].to(device) for x in xs)
        with torch.no_grad():
            function.check(ends, 2, alone=False, measure=True, padded=2)
        cost = VALUES_PER_ACTIVATION if self.job.method.about.name.startswith("deep_lift") else 1  # type: ignore[attr-defined]
        batches = Batches("auto", device)
        batches.measured(cost * (function.knowledge.row_bytes or 1), function.knowledge.largest)
        return batches.rows or 1

    def _explained(self, ds: xr.Dataset, start: int, batch_size: int | None) -> Any:
        x = self.source.explained(ds)
        stop = start + ds.sizes[self.source.dims[0]]
        first = x if isinstance(x, xr.DataArray) else x[self.source.inputs[0]]
        options = cut(
            self.job.options,
            slice(start, stop),
            self.job.labels,
            self.source.dims,
            (first.ndim, first.ndim + 1),
        )
        if batch_size is not None:
            options["batch_size"] = batch_size
        if values_of(self.job.source.arguments):
            options["additional_forward_args"] = self._beside(ds, start)
        return self.job.method(self.model, x, **options)

    def _beside(self, ds: xr.Dataset, start: int) -> Any:
        """`additional_forward_args` of some samples."""
        samples = slice(start, start + ds.sizes[self.source.dims[0]])
        return cut_beside(self.source.additional(ds), samples, self.job.labels, self.source.dims)

    def run(self, block: Block, plan: Plan, ds: xr.Dataset | None = None) -> str | None:
        """Explain a block, and write it, its part of the reductions, and then its marker.

        Parameters
        ----------
        block : Block
        plan : Plan
        ds : Dataset, optional
            Its samples, where they come from no file.

        Returns
        -------
        str or None
            What the model, the method or the data raised.
        """
        private = Path(plan.output) / PRIVATE
        try:
            with Threads(plan.threads):
                if not self._tried:  # every process knows the same of the model then
                    self._explained(self.job.first, self.job.start, plan.batch_size)
                    self._tried = True
                ds = loaded(self.source.block(block.start, block.stop) if ds is None else ds)
                result = self._explained(ds, block.start, plan.batch_size)
        except Exception as error:  # the user's model and data
            report = first_line(error)
            write_json(
                {"start": block.start, "stop": block.stop, "error": report},
                private / FAILED / f"{block.number:08d}.json",
            )
            return report
        arrays = (
            result.to_dataset(name=RESULT, promote_attrs=False)
            if isinstance(result, xr.DataArray)
            else result
        )
        store: Any = zarr.open_group(plan.output, mode="r+") if plan.variables else {}
        for name, dims in plan.variables.items():
            here = slice(block.start, block.stop)
            region = tuple(here if d == self.source.dims[0] else slice(None) for d in dims)
            store[name][region] = np.asarray(arrays[name].values)
        if plan.reductions:
            self._write_part(arrays, block, plan, private / PARTS / f"{block.number:08d}.npz")
        write_json({"crc": checksum(ds)}, private / DONE / f"{block.number:08d}.json")
        return None

    def _write_part(self, arrays: xr.Dataset, block: Block, plan: Plan, file: Path) -> None:
        reduction = Reduction(plan.reductions, plan.groups)
        fields: dict[str, np.ndarray] = {}
        for name in arrays.data_vars:
            a = arrays[name].transpose(*self.source.dims, ...)
            values = a.values.reshape(-1, *a.shape[len(self.source.dims) :])
            for field, part in reduction.part(values, block.codes.ravel()).items():
                fields[f"{name}|{field}"] = part
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **fields)  # type: ignore[arg-type]


class Threads:
    """A number of threads of torch, in this thread of Python and for as long as the context lasts."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._count)

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._before)


def read_part(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """The parts of a block, by variable."""
    variables: dict[str, dict[str, np.ndarray]] = {}
    with np.load(file, allow_pickle=False) as fields:
        for key in fields.files:
            name, _, field = key.rpartition("|")
            variables.setdefault(name, {})[field] = fields[key]
    return variables


def _loaded_model(model: Any, weights_: str | None, device: str | None) -> Model:
    """The model that a name, a function that makes it, or a callable stands for."""
    if isinstance(model, str):
        return load_model(model, weights_, device)
    if is_factory(model):
        model = model()
        model = model.eval() if isinstance(model, nn.Module) else model
    elif weights_ is not None or (device is not None and isinstance(model, nn.Module)):
        model = copy.deepcopy(model)  # the caller's stays as it is
    if weights_ is not None:
        fill(model, read_weights(Path(weights_)), weights_)
    return model.to(device) if isinstance(model, nn.Module) and device is not None else model


def is_factory(model: Any) -> bool:
    """Whether a callable makes the model: a class, or a function that can be called with nothing."""
    if isinstance(model, nn.Module) or not (inspect.isclass(model) or inspect.isfunction(model)):
        return False
    parameters = inspect.signature(model).parameters.values()
    return not any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters)


def model_digest(model: Model) -> str:
    """A digest of the modules of a model, the numbers that they hold, and their weights."""
    modules = [
        [
            type(part).__qualname__,
            [(k, v) for k, v in sorted(vars(part).items()) if isinstance(v, bool | int | float | str)],
        ]
        for part in parts(model)
    ]
    tensors = [(tuple(t.shape), str(t.dtype), digest(t.detach().cpu())) for t in weights(model)]
    return digest_of([modules, tensors, None if isinstance(model, nn.Module) else model])


def sweep(store: Path) -> None:
    """Remove temporary files that a killed run left in a store."""
    for place, _, files in os.walk(store):
        for name in files:
            if name.endswith(".partial") or (name.startswith(".") and name.endswith((".json", ".npz"))):
                (Path(place) / name).unlink(missing_ok=True)
    for folder in (store / PRIVATE).glob("reductions.*"):
        shutil.rmtree(folder)


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
