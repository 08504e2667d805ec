"""Which methods run, with which arguments, and what goes into the model beside the inputs."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near
from attrib.domains.expression.annotation import read_samples
from attrib.engine.model.companions import Beside
from attrib.functional import METHODS
from attrib.functional.explanation import Method
from attrib.io import read
from attrib.labels.inputs import parameters
from attrib.scale.samples import digest_of

# Attributions of a layer come last: where no method applies, the reason of the first is reported.
ALL_METHODS: dict[str, Method[...]] = {
    name: m
    for name, m in sorted(METHODS.items(), key=lambda entry: entry[1].about.layer)
    if m.about.result != "pairs"
}
Options = Mapping[str, Any]
SET_ELSEWHERE = {"f", "x", "method", "progress", "target", "targets", "classes"}
WRAPPED = {
    n: m for n, m in ALL_METHODS.items() if m.about.result == "input" and not m.about.wraps
}  # what goes inside
PRECISION = {"rtol": 1e-3, "max_steps": 65}  # 5 to 17 points on smooth networks, 65 on those with kinks
FIXED_POINTS = ("n_steps", "quadrature")  # whoever sets one of these wants no others
INNER = "input_x_gradient"  # what noise_tunnel averages and guided_grad_cam multiplies, by default

TABLES = (".csv", ".tsv", ".txt")
NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)")
Labelled = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Value:
    """A value beside the inputs, for samples of which there may be more than are explained.

    Attributes
    ----------
    name : str, optional
        Of the model's parameter; None for a value by position.
    source : str
        What messages call it.
    values : DataArray
        Samples on the first dim.
    """

    name: str | None
    source: str
    values: xr.DataArray


@dataclass(frozen=True)
class Context:
    """What goes into the model beside the inputs.

    Attributes
    ----------
    values : tuple of Value
    """

    values: tuple[Value, ...] = ()

    def of(self, x: Labelled, dim: Hashable | None = None) -> Any:
        """`additional_forward_args` for the samples of `x`.

        Parameters
        ----------
        x : DataArray or Dataset
            Inputs.
        dim : hashable, optional
            The dim of the samples; default: `"sample"` if there, else the first dim.

        Raises
        ------
        ValueError
            For samples without a value, and where one has labels and the other has none.
        """
        if not self.values:
            return ()
        first = x if isinstance(x, xr.DataArray) else next(iter(x.data_vars.values()))
        dim = dim if dim is not None else "sample" if "sample" in first.dims else first.dims[0]
        labels = x.indexes.get(dim)
        chosen = [(v.name, _of_samples(v, labels, first.sizes[dim], dim)) for v in self.values]
        named = {name: a for name, a in chosen if name is not None}
        return Beside(tuple(a for name, a in chosen if name is None), named)

    def of_rows(self, names: Sequence[Any]) -> Any:
        """`additional_forward_args` for rows that belong to these samples, of which one may come several times."""
        if not self.values:
            return ()
        beside = self.of(xr.DataArray(np.zeros(len(names)), coords={"sample": list(names)}))
        bare = [a.drop_vars(list(a.coords)) for a in (*beside.positional, *beside.named.values())]
        count = len(beside.positional)
        return Beside(tuple(bare[:count]), dict(zip(beside.named, bare[count:], strict=True)))

    def of_one(self, label: str, count: int) -> Context:
        """The values of one sample, for each of so many rows that it is cut into."""
        sample = xr.DataArray([0.0], dims="sample", coords={"sample": [label]})
        return Context(
            tuple(
                replace(v, values=xr.concat([a.drop_vars(list(a.coords))] * count, a.dims[0]))
                for v in self.values
                for a in [_of_samples(v, sample.indexes["sample"], 1, "sample")]
            )
        )

    def labelled(self, x: xr.DataArray) -> Context:
        """The values where those without labels have the samples of `x`: by these they are found when only some are explained.

        Raises
        ------
        ValueError
            For values without labels of another number of samples.
        """
        labels = x.indexes["sample"]
        values = []
        for v in self.values:
            own = "sample" if "sample" in v.values.dims else v.values.dims[0]
            if own not in v.values.indexes:
                a = _of_samples(v, labels, len(labels), "sample")
                v = replace(v, values=a.assign_coords(sample=labels))
            values.append(v)
        return Context(tuple(values))

    def identity(self) -> dict[str, str]:
        """What identifies the values in the settings of a run; nothing without values."""
        return {"context": digest_of([[v.name, v.values] for v in self.values])} if self.values else {}

    def part(self, samples: slice | Sequence[int]) -> Context:
        """The values of some samples; those with labels are found by them anyway."""
        return Context(
            tuple(
                v if v.values.dims[0] in v.values.indexes else replace(v, values=v.values[samples])
                for v in self.values
            )
        )


def _of_samples(value: Value, labels: pd.Index | None, count: int, dim: Hashable) -> xr.DataArray:
    """A value for the samples with these labels, along `dim`."""
    a = value.values if dim not in value.values.dims else value.values.transpose(dim, ...)
    index = a.indexes.get(a.dims[0])
    if index is None or (labels is None and index.equals(pd.RangeIndex(count))):
        if len(a) != count:
            raise ValueError(
                f"`context`: {value.source} has {len(a)} rows without labels, the data have {count} samples"
            )
        a = a.drop_vars(list(a.coords))
    elif labels is None:
        raise ValueError(
            f"`context`: {value.source} names its samples, but the data have no labels; pass rows in their order as .npy"
        )
    else:
        if not index.is_unique:
            raise ValueError(f"`context`: {value.source} has {index[index.duplicated()][0]!r} more than once")
        places = pd.Index(index.astype(str)).get_indexer(labels.astype(str))
        lacking = labels[places < 0]
        if len(lacking):
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise ValueError(
                f"`context`: {value.source} lacks the samples {', '.join(map(repr, lacking[:3].tolist()))}{more}; it has "
                f"{', '.join(map(repr, index[:3].tolist()))}, ..."
            )
        a = a[places].drop_vars(list(a.coords)).assign_coords({a.dims[0]: labels})
    others = {d: f"context_{d}" for d in a.dims[1:] if d == dim}
    return a.rename(others | ({} if a.dims[0] == dim else {a.dims[0]: dim}))


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    methods : tuple of str
        Names in `ALL_METHODS`.
    every : bool
        Whether they are all methods; then methods that do not apply are skipped instead of raising an error.
    shared : mapping
        Arguments of every method: target or targets, classes, batch_size, device.
    by_method : mapping of str to mapping
        Arguments by method.
    context : Context
        What goes into the model beside the inputs.
    """

    methods: tuple[str, ...]
    every: bool
    shared: Options
    by_method: Mapping[str, dict[str, Any]]
    context: Context = field(default_factory=Context)

    def passing(self, x: xr.DataArray | xr.Dataset) -> dict[str, Any]:
        """Arguments of every method for these inputs, with what goes into the model beside them."""
        return {**self.shared, "additional_forward_args": self.context.of(x)}


def plan(
    methods: Sequence[str] | str,
    *,
    target: Any = None,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    baselines: Any = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> Plan:
    """Decide which method gets which arguments.

    Parameters
    ----------
    methods : sequence of str, or "all"
        Names in `ALL_METHODS`.
    target, targets, classes, batch_size, device
        As for every method.
    baselines
        For the methods that take them; default: their own default, or 0. A distribution (dim `baseline`) goes to those
        that take one; the others get its mean.
    seed : int
        For the methods that draw.
    options : mapping, optional
        More arguments: by name for every method that takes them, or `"method.name"` for one. Of a method around another one,
        `"noise_tunnel.method"` names the other one, and its arguments go on to it: `"noise_tunnel.n_steps"`.
    context : Context, optional
        What goes into the model beside the inputs.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For unknown methods and arguments, with the names of those that exist.
    """
    every = methods == "all"
    names = (
        tuple(ALL_METHODS)
        if every
        else tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    )
    unknown = [n for n in names if n not in ALL_METHODS]
    if unknown or not names:
        raise ValueError(
            f"`methods`: there is no method {', '.join(map(repr, unknown)) or 'given'}; there are {', '.join(ALL_METHODS)}, all{near(unknown[0] if unknown else '', ALL_METHODS)}"
        )
    shared = {
        "target": target,
        "targets": targets,
        "classes": classes,
        "batch_size": batch_size,
        "device": device,
    }
    by_method = {n: _default_arguments(n, baselines, seed) for n in names}
    inside: dict[str, dict[str, Any]] = {n: {} for n in names if "method" in by_method[n]}
    for key, value in sorted(
        (options or {}).items(), key=lambda item: item[0].rpartition(".")[2] != "method"
    ):
        _set(by_method, inside, key, value)
    for outer, settings in inside.items():
        by_method[outer]["method"] = _inner(by_method[outer]["method"], settings, baselines)
    return Plan(names, every, shared, by_method, context or Context())


def refuse_unused_baselines(methods: Sequence[str], baselines: Any) -> None:
    """Refuse baselines beside methods that take none."""
    if baselines is not None and not any(
        ALL_METHODS[n].about.baselines or ALL_METHODS[n].about.wraps for n in methods
    ):
        raise ValueError(f"`baselines`: {', '.join(methods)} compare with none; leave it out")


def arguments(method: str) -> dict[str, inspect.Parameter]:
    """The arguments of a method by name."""
    return dict(inspect.signature(ALL_METHODS[method].explain).parameters)


def _default_arguments(method: str, baselines: Any, seed: int) -> dict[str, Any]:
    about = ALL_METHODS[method].about
    chosen: dict[str, Any] = {}
    if about.draws:
        chosen["seed"] = seed
    if set(about.arguments) >= PRECISION.keys():
        chosen |= PRECISION
    if about.wraps:
        chosen["method"] = ALL_METHODS[INNER]
    if about.baselines == "distribution":
        chosen["baselines"] = 0.0 if baselines is None else baselines
    elif about.baselines is not None and baselines is not None:
        chosen["baselines"] = _one_baseline(baselines)
    return chosen


def _one_baseline(baselines: Any) -> Any:
    if isinstance(baselines, xr.DataArray | xr.Dataset) and "baseline" in baselines.dims:
        return baselines.mean("baseline", keep_attrs=True)
    return baselines


def _set(
    by_method: dict[str, dict[str, Any]], inside: dict[str, dict[str, Any]], key: str, value: Any
) -> None:
    """Give an option to the method named before the dot, or to all that take it; or to the method inside one."""
    method, dot, name = key.rpartition(".")
    if dot and method not in by_method:
        raise ValueError(
            f"`options` {key}: {method!r} is not among the methods {', '.join(by_method)}{near(method, by_method)}"
        )
    chosen = [method] if dot else list(by_method)
    if name == "method" and any(m in inside for m in chosen):
        if value not in WRAPPED:
            raise ValueError(
                f"`options` {key}: there is no method {value!r} to go inside; there are {', '.join(WRAPPED)}{near(value, WRAPPED)}"
            )
        for m in (m for m in chosen if m in inside):
            by_method[m]["method"] = WRAPPED[value]
        return
    takers = [m for m in chosen if name in arguments(m) and name not in SET_ELSEWHERE]
    inner = [m for m in chosen if m in inside and m not in takers and name in _arguments_inside(by_method[m])]
    if not takers and not inner:
        names = {a for m in chosen for a in arguments(m)} | {
            a for m in chosen if m in inside for a in _arguments_inside(by_method[m])
        }
        raise ValueError(
            f"`options` {key}: no such argument; there are {', '.join(sorted(names - SET_ELSEWHERE))}{near(name, names - SET_ELSEWHERE)}"
        )
    for m in takers:
        by_method[m][name] = value
        if name in FIXED_POINTS:
            by_method[m].pop("rtol", None)
            by_method[m].pop("max_steps", None)
    for m in inner:
        inside[m][name] = value


def _arguments_inside(options: Options) -> set[str]:
    """What the method inside another one takes."""
    return set(inspect.signature(options["method"].explain).parameters) - SET_ELSEWHERE


def _inner(method: Method[...], settings: dict[str, Any], baselines: Any) -> Any:
    """The method inside another one, with its own arguments."""
    about = method.about
    if about.baselines is not None and baselines is not None and "baselines" not in settings:
        settings["baselines"] = baselines if about.baselines == "distribution" else _one_baseline(baselines)
    return functools.partial(method, **settings) if settings else method


def context_of(
    words: Sequence[str], model: Callable[..., Any], names: Iterable[str], used: Iterable[str] | None = None
) -> Context:
    """What goes into a model beside samples of these names, as `read_context`; refused where one of them, or of those used, lacks a value."""
    every, some = (
        xr.DataArray(np.zeros(len(labels)), coords={"sample": labels})
        for n in (names, names if used is None else used)
        for labels in [[str(v) for v in n]]
    )
    context = read_context(words, model).labelled(every)
    context.of(some)
    return context


def read_context(
    words: Sequence[str], model: Callable[..., Any] | None = None, data: str | Path | None = None
) -> Context:
    """Read what goes into a model beside the inputs.

    Parameters
    ----------
    words : sequence of str
        Each a ``FILE``, which goes in by position, or ``NAME=FILE``, by the name of the model's parameter. Tables (CSV, TSV) have
        the samples' labels in a column; the others are one array (samples, columns), or (samples,) of one column; columns that are
        all called like parameters of the model go in by their names. Arrays (`.npy`, `.npz`, `.nc`, `.zarr`, `.h5`) have samples on
        their first dim. In place of a file the name of a variable of `data`.
    model : callable, optional
        Whose parameters columns may name.
    data : str or path, optional
        The file of the inputs.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that are not there or cannot be read, and names that come twice.
    """
    values: list[Value] = []
    for word in words:
        match = NAMED.fullmatch(word)
        name, file = (match[1], match[2]) if match and not Path(word).exists() else (None, word)
        values += _values(name, file, model, data)
    names = [v.name for v in values if v.name is not None]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"`context` has {twice[0]} twice; each name goes in once")
    return Context(tuple(values))


def _values(
    name: str | None, file: str, model: Callable[..., Any] | None, data: str | Path | None
) -> list[Value]:
    path = Path(file)
    if path.suffixes and any(s in TABLES for s in path.suffixes[-2:]):
        return _of_table(name, path, model)
    if path.suffix:
        try:
            several = read(path, variables="all")
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"`context`: {error}") from error
        arrays = several if isinstance(several, xr.Dataset) else {name: several}
        if name is not None and len(arrays) > 1:
            raise ValueError(
                f"`context` {name}: {path.name} has {len(arrays)} variables ({', '.join(map(str, arrays))}), which go in "
                f"by their own names; leave {name}= out"
            )
        return [Value(None if n is None else str(n), path.name, a) for n, a in arrays.items()]
    if data is None:
        raise ValueError(f"`context` is {file!r}, expected a file")
    try:
        return [Value(name, file, read(data, variables=[file]))]  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"`context` is {file!r}, expected a file, or a variable: {error}") from error


def _of_table(name: str | None, path: Path, model: Callable[..., Any] | None) -> list[Value]:
    """The columns of a table, with the labels of its first column."""
    try:
        rows = read_samples(path).rows
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(str(error).replace("`sample_table`", "`context`")) from error
    if rows.shape[1] < 2:
        raise ValueError(f"`context`: {path.name} has one column, expected labels of samples and values")
    index = rows.iloc[:, 0].to_numpy(dtype=str)
    columns = {str(c): _numbers(rows[c], path) for c in rows.columns[1:]}
    takes = None if model is None else parameters(model)
    if name is None and takes is not None and set(columns) <= set(takes.keyword):
        return [
            Value(c, path.name, xr.DataArray(v, dims="sample", coords={"sample": index}))
            for c, v in columns.items()
        ]
    values = np.stack(list(columns.values()), 1)
    a = xr.DataArray(values, dims=("sample", "column"), coords={"sample": index})
    return [Value(name, path.name, a[:, 0] if len(columns) == 1 else a)]


def _numbers(column: pd.Series, path: Path) -> np.ndarray:
    try:
        values = pd.to_numeric(column)
    except (ValueError, TypeError):
        raise ValueError(
            f"`context`: column {column.name!r} of {path.name} is no number in every row; leave it out or encode it"
        ) from None
    if values.isna().any():
        raise ValueError(f"`context`: column {column.name!r} of {path.name} has empty cells; fill them")
    return values.to_numpy()
