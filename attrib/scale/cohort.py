"""`attrib.cohort`: attributions of more samples than memory holds, written block by block, continued where they were left."""

from __future__ import annotations

import functools
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
import zarr

import attrib
from attrib import functional
from attrib._arguments import near, path_of
from attrib._version import __version__
from attrib.functional import METHODS
from attrib.io import replacing, write_json
from attrib.io.place import Lock, read_json
from attrib.labels.results import plain
from attrib.scale import blocks as stores
from attrib.scale.blocks import (
    DONE,
    FAILED,
    PARTS,
    PRIVATE,
    Block,
    Job,
    Plan,
    Survey,
    read_part,
    sweep,
)
from attrib.scale.reductions import Reduction, checked
from attrib.scale.runners import Progress, runner, shares
from attrib.scale.samples import (
    Source,
    aligned,
    aligned_beside,
    block_size,
    checksum,
    digest_of,
    labels_digest,
    loaded,
    source,
    stamp,
)

STATE = "state.npz"
REDUCED = "reduced.json"  # there if the reductions are of all blocks
STATE_BYTES = 256 << 20  # of parts that are merged between two copies of the state
MEASURES = ("deletion", "insertion", "infidelity", "sensitivity_max", "randomization")
OF_METHODS = ("noise_tunnel", "guided_grad_cam", "sensitivity_max", "randomization")
TRIALS = 4  # places in the cohort where the model is tried until samples are found that it takes


def cohort(
    method: str | Callable[..., Any],
    model: str | Callable[..., Any],
    data: Any,
    output: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    additional_forward_args: Any = (),
    block: int | str = "auto",
    cluster: Any = None,
    reductions: str | Sequence[str] = (),
    by: str | None = None,
    keep: bool = True,
    **options: Any,
) -> xr.DataTree:
    """Explain a cohort that is larger than memory, block by block of samples, on one machine or many.

    Parameters
    ----------
    method : str or callable
        A method of attrib, by itself, as a `functools.partial`, or by its name. Or a measure: `"deletion"`, `"insertion"` and
        `"infidelity"` with the option `attribution`, a DataArray such as ``tree["attribution"]`` of an earlier cohort;
        ``functools.partial(attrib.sensitivity_max, attrib.saliency)`` and `attrib.randomization` likewise.
    model : str or callable
        ``"package.module:factory"``: a function or class without required arguments that makes the model, or a
        ``"FILE.pt2"``. Or a callable: the model, or a function that makes it. With a `cluster` it has to be picklable; each
        worker gets it once.
    data : path, DataArray or Dataset
        A `.zarr` or netCDF file, or arrays, which may be backed by Dask.
    output : path
        A Zarr store: new, or one that an earlier run with the same arguments has begun.
    weights : path, optional
        A state dict for the model: `.safetensors`, or a file that ``torch.load(weights_only=True)`` reads.
    inputs : str or sequence of str, optional
        Variables of `data` to explain, in the order of the model's arguments; default: all that `additional_forward_args`
        does not name.
    additional_forward_args : tuple or mapping, default ()
        What else the model takes: names of variables of `data`, and other values. Arrays with the sample dims, or with a
        row for each sample, are cut with the blocks.
    block : int or "auto", default "auto"
        Samples in a block, along the first sample dim. `"auto"` takes 16 MB of inputs, 256 samples at most, and whole
        chunks of the file.
    cluster : int, str or Client, optional
        A number of worker processes on this machine, the address of a Dask scheduler (``"tcp://..."``), or a
        `dask.distributed.Client`. By default this process does the work, and needs no Dask.
    reductions : str or sequence of str, default ()
        Statistics over the samples: `"mean"`, `"var"` (NumPy's, divided by n), `"abs_mean"`, `"min"`, `"max"`, `"count"`,
        `"quantiles"` (0.05, 0.25, 0.5, 0.75, 0.95), and `"top:K"`: the mean attributions of the K entries with the largest
        mean magnitude, with their labels as coords ``top_...``.
    by : str, optional
        A coord along the sample dims: one of each statistic per group. Samples without a label belong to none.
    keep : bool, default True
        Whether to write the attributions; else the reductions alone.
    **options
        Arguments of the method. Arrays with the sample dims, or with an entry for each sample, are cut with the blocks.

    Returns
    -------
    DataTree
        The store, opened lazily. At the root `attribution` (for several inputs a variable each) and its coords, as the
        method gives them; ``reductions/mean`` and so on, with the dim of `by` (for several inputs groups with a variable
        each). Where blocks failed, the attribute `failed` lists them, and their entries are missing.

    Raises
    ------
    ValueError
        If the store holds a run with another model, data, options or versions, naming which; if another process is writing
        it; if every block failed; and for arguments that do not fit.
    TypeError, NotImplementedError
        As the method, for its first samples.

    Warns
    -----
    RuntimeWarning
        If blocks failed. The others are finished; the next call tries those again.

    Notes
    -----
    A block is written as a region of the store, then its marker. A run that is killed at any moment is continued by the
    same call, and gives the same bits, in whatever order blocks are finished and on however many workers: batch size and
    threads of torch are stored at the first run, and parts of reductions are merged in the order of the blocks. The threads
    are those of this process, divided by the number of workers on this machine, and one on other machines; for equal bits
    of runs that begin on different clusters, call ``torch.set_num_threads(1)`` first.

    Memory: the model, a block with its attributions, and `batch_size` rows of the model's activations; of the reductions,
    40 bytes per entry and group, and 1 kB for quantiles. Quantiles come from histograms; ``reductions/quantiles_error`` holds
    the largest error that each can have, at most 1/127 of the range. Cost: the method's own passes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import attrib, torch, xarray as xr
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> x = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("sample", "gene"), coords={"tissue": ("sample", ["skin", "lung"])})
    >>> x.to_dataset(name="rna").to_zarr(folder / "cohort.zarr", zarr_format=2)  # doctest: +SKIP
    >>> tree = attrib.cohort("saliency", torch.nn.Linear(2, 1).double(), x, folder / "out.zarr", reductions="mean", by="tissue")
    >>> tree["attribution"].dims, tree["reductions/mean"].dims
    (('sample', 'gene'), ('tissue', 'gene'))
    """
    path = Path(path_of("output", output))
    reductions = checked(reductions)
    if not keep and not reductions:
        raise ValueError(
            "`keep` is False and there are no `reductions`, so nothing would be written; pass some"
        )
    if by is not None and not reductions:
        raise ValueError(f"`by` is {by!r}, but there are no `reductions`; pass some")
    progress: Progress = options.pop("progress", False)
    samples = source(data, inputs, additional_forward_args, options.get("sample_dims"))
    clashing = [d for d in samples.dataset.dims if d in reductions]
    if clashing:
        raise ValueError(
            f"`reductions` has {clashing[0]!r}, and a dim of `data` is called so, too; rename the dim: data.rename({clashing[0]}='feature'), "
            "attrib.io.from_anndata(data, dims=('cell', 'gene'))"
        )
    groups = _groups(samples, by)
    run = _Run(
        path, _callable(method), model, None if weights is None else str(Path(path_of("weights", weights)).resolve()), samples, options,
        block, cluster, reductions, groups, by, keep, progress,
    )  # fmt: skip
    try:
        if stores.is_begun(path):
            run.lock.take()
        worker = runner(cluster)
        try:
            run.prepare(worker)
            run.carry_out(worker)
        finally:
            worker.close()
        failed = run.finish()
    finally:
        run.lock.release()
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(run.blocks)} blocks failed: {'; '.join(failed[:3])}",
            RuntimeWarning,
            stacklevel=2,
        )
    return stores.opened_tree(path)


def _callable(method: Any) -> Callable[..., Any]:
    """The labelled form of a method."""
    if isinstance(method, functools.partial):
        return functools.partial(_callable(method.func), *method.args, **method.keywords)
    available = (*METHODS, *MEASURES)
    if isinstance(method, str) and method not in available:
        raise ValueError(
            f"`method` is {method!r}, expected one of {', '.join(available)}{near(method, available)}"
        )
    name = method if isinstance(method, str) else getattr(method, "__name__", None)
    if isinstance(method, str) and method in OF_METHODS:
        raise ValueError(
            f"`method` is {method!r}, which takes a method first; pass functools.partial(attrib.{method}, attrib.saliency)"
        )
    if isinstance(method, str) or getattr(functional, name or "", None) is method:
        return getattr(attrib, str(name))
    if not callable(method):
        raise TypeError(f"`method` is a {type(method).__name__}, expected a method of attrib or its name")
    return method


def _groups(samples: Source, by: str | None) -> tuple[np.ndarray, xr.DataArray | None]:
    """The group of each sample (sample dims), -1 for none, and the names of the groups."""
    shape = tuple(samples.dataset.sizes[d] for d in samples.dims)
    if by is None:
        return np.zeros(shape, np.int64), None
    ds = samples.dataset
    fitting = [str(k) for k, v in ds.coords.items() if v.dims and set(v.dims) <= set(samples.dims)]
    if by not in fitting:
        raise ValueError(
            f"`by` is {by!r}, expected a coord along the samples: {', '.join(fitting) or 'there is none'}"
        )
    labels = ds[by].drop_vars([c for c in ds[by].coords if c != by]).broadcast_like(
        xr.DataArray(np.zeros(shape), dims=samples.dims)
    ).transpose(*samples.dims)  # fmt: skip
    values = labels.values.ravel()
    if values.dtype.kind in "OUS":
        values = np.asarray([None if v is None or v != v or v == "" else str(v) for v in values], object)
    codes, names = pd.factorize(values, sort=True)
    names = np.asarray(names)
    return codes.reshape(shape), xr.DataArray(
        names.astype(str) if names.dtype == object else names, dims=(by,), name=by
    )


class _Run:
    """One call of `cohort`: its record, its blocks, the state of its reductions."""

    def __init__(
        self, path: Path, method: Callable[..., Any], model: Any, weights: str | None, samples: Source, options: dict[str, Any],
        block: int | str, cluster: Any, reductions: tuple[str, ...], groups: tuple[np.ndarray, xr.DataArray | None],
        by: str | None, keep: bool, progress: Progress,
    ) -> None:  # fmt: skip
        self.path, self.private, self.samples = path, path / PRIVATE, samples
        self.lock = Lock(self.private / stores.LOCK, path)
        self.codes, self.groups = groups
        self.reductions, self.by, self.keep = reductions, by, keep
        self._earlier = read_json(self.private / stores.RECORD)
        self._size = block_size(samples, block)
        if block == "auto":
            self._size = self._earlier.get("block", self._size)
        self._threads = self._earlier.get("threads", shares(torch.get_num_threads(), cluster))
        ds = samples.dataset
        x = samples.explained(ds)
        self._options = aligned(options, x, samples.dims)
        samples = self.samples = replace(
            samples, arguments=aligned_beside(samples.arguments, x, samples.dims)
        )
        self._bar = _Bar(progress, samples.size)
        labels = xr.Dataset(coords={d: ds.coords[d] for d in samples.dims if d in ds.coords})
        template = xr.DataArray(
            np.broadcast_to(np.int8(0), [ds.sizes[d] for d in samples.dims]),
            dims=samples.dims,
            coords=labels.coords,
        )
        called = (
            {"batch_size": self._earlier["batch_size"]}
            if self._earlier.get("batch_size") and options.get("batch_size", "auto") == "auto"
            else {}
        )
        device = options.get("device")
        self._job = Job(
            method, model, weights, {**self._options, **called}, samples, template, xr.Dataset(), 0,
            None if device is None else str(device),
        )  # fmt: skip

    def prepare(self, worker: Any) -> None:
        """Try the model on some samples; then compare with the run that is there, or begin one."""
        self._survey = self._surveyed(worker)
        record = self._record()
        if self.lock.held:
            _refuse_another(self.path, self._earlier, record)
            sweep(self.path)
            self._record_of_store = self._earlier
        else:
            self._begin(record)
        self._plan = Plan(
            str(self.path), self._threads, self._survey.batch_size,
            {k: tuple(v) for k, v in self._record_of_store["arrays"].items()}, self.reductions,
            1 if self.groups is None else len(self.groups),
        )  # fmt: skip
        size = self._size
        self.blocks = [
            Block(k, start, min(start + size, self.samples.size), self.codes[start : start + size])
            for k, start in enumerate(range(0, self.samples.size, size))
        ]
        self._refuse_other_values()

    def _surveyed(self, worker: Any) -> Survey:
        """The survey of the first samples that the model takes."""
        starts = (
            [self._earlier["start"]]
            if "start" in self._earlier
            else sorted({self.samples.size * k // TRIALS for k in range(TRIALS)})
        )
        errors: list[Exception] = []
        for start in starts:
            try:
                self._job = replace(
                    self._job, start=start, first=loaded(self.samples.block(start, start + 2))
                )
                return worker.survey(self._job, self._threads)
            except Exception as error:  # the user's model and data
                errors.append(error)
        raise errors[0]

    def _record(self) -> dict[str, Any]:
        method = self._job.method
        return {
            "method": digest_of(method) + " " + str(getattr(getattr(method, "func", method), "__name__", "")),
            "model": self._survey.model,
            "data": labels_digest(self.samples),
            "inputs": list(self.samples.inputs),
            "additional_forward_args": digest_of(self.samples.arguments),
            "options": {k: digest_of(v) for k, v in self._options.items() if k != "batch_size"},
            "batch_size": self._survey.batch_size,
            "block": self._size,
            "threads": self._threads,
            "reductions": list(self.reductions),
            "by": [self.by, digest_of(self.codes)],
            "keep": self.keep,
            "versions": {"attrib": __version__, "torch": torch.__version__},
            "start": self._job.start,
        }

    def _begin(self, record: dict[str, Any]) -> None:
        """Create the store for the results that the survey shows."""
        ds, surveyed = self.samples.dataset, self._survey.result
        dim, dims = self.samples.dims[0], self.samples.dims
        coords = {k: v.variable for k, v in ds.coords.items() if k in surveyed.coords}
        coords |= {k: v.variable for k, v in surveyed.coords.items() if k not in coords and dim not in v.dims}
        arrays: dict[str, xr.Variable] = {}
        for name, v in surveyed.variables.items():
            small = set(v.dims) <= {*dims, "target"} and name not in surveyed.data_vars
            if name in coords or dim not in v.dims or not (self.keep or small):
                continue
            shape = tuple(self.samples.size if d == dim else n for d, n in v.sizes.items())
            arrays[str(name)] = xr.Variable(
                v.dims, np.broadcast_to(np.zeros((), v.dtype), shape), self._attrs(v.attrs)
            )
        labels = xr.Dataset(coords=xr.Coordinates(coords, indexes={}), attrs=surveyed.attrs)
        record |= {
            "coords": [str(k) for k in surveyed.coords],
            "arrays": {k: list(map(str, v.dims)) for k, v in arrays.items()},
            "attrs": {str(k): self._attrs(v.attrs) for k, v in surveyed.data_vars.items()},
            "stamp": stamp(self.samples.path),
        }
        self._record_of_store = record
        stores.create(self.path, labels, arrays, (dim, self._size), record)
        self.lock.keep()

    def _attrs(self, attrs: Mapping[Any, Any]) -> dict[str, Any]:
        """Attrs of a result, whose options are those of all samples."""
        if "params" not in attrs:
            return dict(attrs)
        params = json.loads(attrs["params"])
        whole = {**self._options, "additional_forward_args": self.samples.arguments}
        params |= {k: plain(v) for k, v in whole.items() if k in params}
        return {**attrs, "params": json.dumps(params, sort_keys=True)}

    def _refuse_other_values(self) -> None:
        """Refuse data whose values differ from those that finished blocks had; read them only if files have changed."""
        current = stamp(self.samples.path)
        if current is not None and current == self._record_of_store["stamp"]:
            return
        for block in self.blocks:
            marker = read_json(self._marker(DONE, block))
            if marker and marker["crc"] != checksum(loaded(self.samples.block(block.start, block.stop))):
                raise ValueError(
                    f"`output` is {self.path}, which was begun with other data: samples {block.start} to {block.stop - 1} "
                    "differ; name another folder"
                )
        self._record_of_store = {**self._record_of_store, "stamp": current}
        write_json(self._record_of_store, self.private / stores.RECORD)

    def _marker(self, kind: str, block: Block) -> Path:
        return self.private / kind / f"{block.number:08d}.json"

    def carry_out(self, worker: Any) -> None:
        """Explain the blocks that are missing."""
        self._state, self._merged = _read_state(self.private / STATE)
        self._unsaved = 0
        self._errors: dict[int, str] = {}
        pending = []
        for block in self.blocks:
            self._marker(FAILED, block).unlink(missing_ok=True)
            if self._marker(DONE, block).is_file():
                self._bar.advance(block.stop - block.start)
            else:
                pending.append(block)
        try:
            for block, error in worker.run(self._job, pending, self._plan):
                self._errors[block.number] = error or ""
                self._merge_what_is_next()
                self._bar.advance(block.stop - block.start)
        finally:
            self._bar.close()

    def _merge_what_is_next(self) -> None:
        """Add the parts of finished blocks to the state, in the order of the blocks."""
        while self.reductions and self._merged < len(self.blocks):
            file = self._part(self.blocks[self._merged])
            if not self._marker(DONE, self.blocks[self._merged]).is_file():
                break
            self._unsaved += file.stat().st_size
            self._add(file, self._state)
            self._merged += 1
        if self._unsaved > STATE_BYTES:
            self._save_state()

    def _part(self, block: Block) -> Path:
        return self.private / PARTS / f"{block.number:08d}.npz"

    def _add(self, file: Path, state: dict[str, dict[str, np.ndarray]]) -> None:
        reduction = Reduction(self.reductions, self._plan.groups)
        for name, part in read_part(file).items():
            reduction.merge(state.setdefault(name, {}), part)

    def _save_state(self) -> None:
        """Write the state, and remove the parts that are in it."""
        fields = {f"{name}|{field}": v for name, fields in self._state.items() for field, v in fields.items()}
        with replacing(self.private / STATE) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **fields, **{"|merged": np.asarray(self._merged)})  # type: ignore[arg-type]
        for block in self.blocks[: self._merged]:
            self._part(block).unlink(missing_ok=True)
        self._unsaved = 0

    def finish(self) -> list[str]:
        """Write the reductions; the blocks that failed, each with its reason."""
        failed = [b for b in self.blocks if not self._marker(DONE, b).is_file()]
        reports = []
        for block in failed:
            error = self._errors.get(block.number) or "the worker died"
            reports.append(f"{block.number} (samples {block.start} to {block.stop - 1}): {error}")
        if failed and len(failed) == len(self.blocks):
            raise ValueError(f"all {len(failed)} blocks failed; block {reports[0]}")
        reduced = self.private / REDUCED
        if self.reductions and not reduced.is_file():
            self._write_reductions(failed)
        group = zarr.open_group(str(self.path), mode="r+")
        if reports:
            group.attrs["failed"] = "\n".join(reports)
        elif "failed" in group.attrs:
            del group.attrs["failed"]
        stores.consolidate(self.path)
        if not failed:
            write_json({}, reduced)
        return reports

    def _write_reductions(self, failed: list[Block]) -> None:
        self._merge_what_is_next()
        self._save_state()
        state = (
            {name: {k: v.copy() for k, v in fields.items()} for name, fields in self._state.items()}
            if failed
            else self._state
        )
        for block in self.blocks[self._merged :]:
            if block not in failed:
                self._add(self._part(block), state)
        reduction = Reduction(self.reductions, self._plan.groups)
        results = {}
        for name, fields in state.items():
            template = self._survey.result[name].isel(dict.fromkeys(self.samples.dims, 0), drop=True)
            template = template.drop_vars([c for c in template.coords if not template[c].dims]).assign_attrs(
                self._record_of_store["attrs"][name]
            )
            results["" if self._survey.single else name] = reduction.results(fields, template, self.groups)
        stores.write_reductions(results, self.path)


def _read_state(file: Path) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """The state of the reductions, and how many blocks are in it."""
    if not file.is_file():
        return {}, 0
    state = read_part(file)
    return {k: v for k, v in state.items() if k}, int(state[""]["merged"])


def _refuse_another(path: Path, earlier: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that was begun with other arguments, naming which."""
    names = {"data": "labels of the data", "method": "method", "model": "model"}
    other: list[str] = []
    for key, value in record.items():
        before = earlier.get(key)
        if before == value:
            continue
        if isinstance(value, dict):
            keys = sorted(k for k in {*value, *(before or {})} if (before or {}).get(k) != value.get(k))
            if key == "versions":
                other += [f"version of {k} ({(before or {}).get(k)}, now {value.get(k)})" for k in keys]
            else:
                other += [f"option `{k}`" for k in keys]
        elif key in ("block", "threads", "batch_size"):
            other.append(f"`{key}` ({before}, now {value})")
        else:
            other.append(names.get(key, f"`{key}`"))
    if other:
        raise ValueError(
            f"`output` is {path}, which holds a run that differs in {', '.join(other)}; name another folder"
        )


class _Bar:
    """Reports how many samples are done: to a bar, or to a function (samples done, samples in all)."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._done, self._total, self._report, self._tqdm = (
            0,
            total,
            progress if callable(progress) else None,
            None,
        )
        if progress is True:
            from tqdm.auto import tqdm

            self._tqdm = tqdm(total=total, unit="sample", desc="cohort")

    def advance(self, samples: int) -> None:
        self._done += samples
        if self._tqdm is not None:
            self._tqdm.update(samples)
        elif self._report is not None:
            self._report(self._done, self._total)

    def close(self) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
