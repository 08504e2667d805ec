"""What a study of sequences is about: methods, outputs and their scores, baselines, and the records that can be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib._arguments import near, refuse_unnamed
from attrib.domains.draws import drawn_evenly, label_among
from attrib.domains.sequences import (
    Reading,
    dinucleotide_shuffle,
    one_hot,
    read_bed,
    read_fasta,
    read_seqdata,
    read_table,
    shuffle,
    uniform,
)
from attrib.domains.sequences.tables import text_of
from attrib.functional import METHODS as METHODS_HERE
from attrib.io.tracks import MUTATIONS
from attrib.labels import predict
from attrib.workflows.data import places_of, targets
from attrib.workflows.drawing import name as long_name
from attrib.workflows.folder import digest
from attrib.workflows.plan import Context, Plan, plan

METHODS = ("deep_lift", "integrated_gradients", "saliency", MUTATIONS)
BASELINES = ("uniform", "zeros", "shuffle", "dinucleotide")
DRAWS = 10  # shuffles of a record, for methods that take several baselines
NOT_HERE = ("occlusion", "feature_ablation")  # these need more arguments: windows, groups
MANY = 20  # largest number of predicted outputs in the experiments
FIRST = ("deep_lift", "deep_lift_shap", "integrated_gradients", "gradient_shap", "input_x_gradient")

Problem = dict[str, Any]
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".zarr")
TAKEN = ("sample", "nucleotide", "position", "length", "mask", "locus", "target", "baseline", "prediction", "delta", "standard_error", "n_steps", "record", "score", "seqlets", "deletion_z")  # fmt: skip


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
            "model": model if isinstance(model, str) else type(model).__name__, "weights": digest(f),
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


class Source(NamedTuple):
    """The files of the sequences.

    Attributes
    ----------
    data : path
        FASTA, a table, or SeqData (.zarr).
    bed : path, optional
        Intervals in `data`, which is then a genome.
    columns : mapping, optional
        A table's columns of the `sequence` and the `name`; default: `sequence`, of SeqData what it has, and the rows' numbers.
    width : int, optional
        Bases around the middle of a BED interval; default: the interval as it is.
    summits : bool
        Whether `width` goes around the summit of a narrowPeak file.
    """

    data: str | Path
    bed: str | Path | None = None
    columns: Mapping[str, str] = {}
    width: int | None = None
    summits: bool = False


def read_records(
    source: Source, samples: Sequence[str] | None = None, max_samples: int | None = None, seed: int = 0
) -> Reading:
    """Read the sequences: all, or those that are named, and of them at most so many, drawn evenly over the labels if there is a column `label` or `class`.

    Raises
    ------
    ValueError
        For arguments that do not fit the file, names that there are not, and if no record can be used.
    FileNotFoundError
        If there is no such file.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` is {max_samples}, expected a positive number")
    reading = _read(source)
    if not len(reading.sequences):
        first = reading.problems.problem.iloc[0] if len(reading.problems) else "it is empty"
        named = "data" if source.bed is None else "bed"
        raise ValueError(f"`{named}`: none of {len(reading.problems)} records can be used: {first}")
    records = reading.sequences
    records = records.iloc[places_of([str(n) for n in records.index], samples)]
    by = label_among(records.columns)
    labels = [""] * len(records) if by is None else records[by].astype(str).tolist()
    return reading._replace(sequences=_named(records.iloc[drawn_evenly(labels, max_samples, seed)]))


def _named(records: pd.DataFrame) -> pd.DataFrame:
    """Rename other columns so that a file can hold them and they do not collide with results."""
    names: dict[str, str] = {}
    for column in map(str, records.columns):
        plain = re.sub(r"\W+", "_", column).strip("_") or "column"
        plain = f"{plain}_given" if plain in TAKEN else plain
        names[column] = f"{plain}_{len(names)}" if plain in names.values() else plain
    return records.rename(columns=names)


def _read(source: Source) -> Reading:
    path, column, name = Path(source.data), *map(source.columns.get, ("sequence", "name"))
    unknown = [c for c in source.columns if c not in ("sequence", "name")]
    if unknown:
        raise ValueError(f"`columns` names {unknown[0]!r}, expected sequence or name")
    if source.bed is None and (source.width is not None or source.summits):
        raise ValueError("`width` and `summits` are of intervals; pass `bed` too, or leave them out")
    if _is_table(path):
        if source.bed is not None:
            raise ValueError(f"`bed` holds intervals of a genome, but `data` is {path}, a table by its name")
        if path.suffix == ".zarr":
            return read_seqdata(path, column=column, name=name)
        return read_table(path, column=column or "sequence", name=name)
    if source.columns:
        raise ValueError(f"`columns` are of a table, and {path} is none by its name; leave them out")
    if source.bed is not None:
        return read_bed(source.bed, path, width=source.width, summits=source.summits)
    return read_fasta(path)


def _is_table(path: Path) -> bool:
    """Whether it is a table or SeqData by its name, and does not begin as FASTA does."""
    if Path(path.name.removesuffix(".gz")).suffix.lower() not in TABLES:
        return False
    if not path.is_file() or path.suffix == ".parquet":
        return True
    with text_of(path) as text:
        return not text.read(1).startswith(">")


class Chunk(NamedTuple):
    """Some records of one length.

    Attributes
    ----------
    records : DataFrame
        Rows of `Reading.sequences`.
    key : str
        Digest of the records' names, letters and settings.
    """

    records: pd.DataFrame
    key: str

    @property
    def length(self) -> int:
        """Letters of each record."""
        return len(self.records["sequence"].iloc[0])

    def one_hot(self, dims: Sequence[str]) -> xr.DataArray:
        """The letters as the network's input."""
        return one_hot(self.records).transpose(*dims)


def chunks(records: pd.DataFrame, size: int, settings: str) -> Iterator[Chunk]:
    """Chunks of at most `size` records of one length, in the order of the lengths' first records."""
    lengths = records["sequence"].str.len()
    for length in lengths.unique():
        some = records[lengths == length]
        for start in range(0, len(some), size):
            part = some.iloc[start : start + size]
            yield Chunk(part, key_of(part, settings))


def key_of(records: pd.DataFrame, settings: str) -> str:
    """A digest of the records and the settings, which identifies their results."""
    text = settings + "\n" + records.to_csv()
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def problem_entries(problems: pd.DataFrame) -> list[Problem]:
    """Records with a problem, as `run.json` lists them."""
    return [
        {"record": str(p.record), "line": int(p.line), "problem": str(p.problem), "kept": bool(p.kept)}
        for p in problems.itertuples()
    ]


def refusal_entries(names: Mapping[str, str]) -> list[Problem]:
    """Records that the model or a method refused, by name."""
    return [{"record": n, "line": 0, "problem": why, "kept": False} for n, why in names.items()]
