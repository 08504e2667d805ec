"""The caller's inputs as DataArrays with sample dims, and as tensors (N, ...) in the order of the model's parameters."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from attrib._arguments import list_of, mapping_of, near
from attrib.engine.inputs import non_finite_samples
from attrib.engine.model.parameters import External, Model
from attrib.engine.model.prepared import PreparedModel
from attrib.interop.arrays import as_numpy, as_tensor, refuse_other_kinds
from attrib.interop.jax.recognised import is_jax_array, recognised, with_mapping
from attrib.labels.frames import (
    COORDS_OF_RESULTS,
    RESERVED,
    annotated_array,
    is_anndata,
    is_table,
    table_array,
)
from attrib.labels.grids import is_metatensor, of_metatensor

Dims = Sequence[Hashable]

WRAPPED = (
    "_orig_mod",
    "module",
)  # where torch.compile, DataParallel and others keep the module that they wrap


@dataclass(frozen=True)
class Inputs:
    """The inputs of a model, labelled.

    Attributes
    ----------
    arrays : tuple of DataArray
        One per input, dims in the caller's order.
    names : tuple of str, or None
        Variable names, where the caller passed a Dataset or mapping.
    single : bool
        Whether the caller passed one input by itself.
    sample_dims : tuple
        The dims of the batch; may be empty for one sample without a batch dim.
    original : object
        What the caller passed, for `baselines` that are functions.
    order : tuple of int
        The place of each input among those that the caller passed.
    eager : bool
        Whether results of lazy inputs are computed at once: the caller did not pass Dask arrays.
    of_jax : bool
        Whether the caller passed a JAX array.
    paths : tuple of tuple, or None
        Where each input stands in a mapping that holds mappings or lists.
    """

    arrays: tuple[xr.DataArray, ...]
    names: tuple[str, ...] | None
    single: bool
    sample_dims: tuple[Hashable, ...]
    original: Any
    order: tuple[int, ...]
    eager: bool = False
    of_jax: bool = False
    paths: tuple[tuple[str | int, ...], ...] | None = None

    @property
    def lazy(self) -> bool:
        """Whether any input is backed by Dask."""
        return any(a.chunks is not None for a in self.arrays)

    def in_memory(self) -> Inputs:
        """The same inputs computed, if the caller did not pass Dask arrays."""
        return replace(self, arrays=tuple(a.compute() for a in self.arrays)) if self.eager else self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Sizes of the sample dims."""
        return tuple(self.arrays[0].sizes[d] for d in self.sample_dims)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return math.prod(self.sample_shape)

    @property
    def labels_of_samples(self) -> xr.DataArray:
        """An array with the sample dims and their labels, of those inputs that have some."""
        labels = {
            d: index for a in reversed(self.arrays) for d, index in a.indexes.items() if d in self.sample_dims
        }
        return xr.DataArray(
            np.broadcast_to(np.uint8(0), self.sample_shape), dims=self.sample_dims, coords=labels
        )

    def ordered(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Values for each input, from the caller's order in that of the model's parameters."""
        return tuple(values[j] for j in self.order) if len(values) == len(self.order) else tuple(values)

    def number(self, place: int) -> int:
        """The number of the input that stands at a place among those that the caller passed."""
        return self.order.index(place) if place in self.order else place

    def core(self, j: int) -> tuple[Hashable, ...]:
        """The dims of input `j` that go to the model, in their order."""
        return tuple(d for d in self.arrays[j].dims if d not in self.sample_dims)

    def tensors(self, dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        """The inputs as (N, ...); floating ones in the model's `dtype` if it is given."""
        return tuple(self._tensor(j, dtype) for j in range(len(self.arrays)))

    def _tensor(self, j: int, dtype: torch.dtype | None) -> Tensor:
        a = self.arrays[j].transpose(*self.sample_dims, *self.core(j))
        t = as_tensor(a.data, self.called(j))
        t = t.reshape(-1, *t.shape[len(self.sample_dims) :]) if len(self.sample_dims) != 1 else t
        self._refuse_non_finite(t, j)
        return t.to(dtype) if dtype is not None and t.is_floating_point() else t

    def _refuse_non_finite(self, t: Tensor, j: int) -> None:
        bad = non_finite_samples(t)
        if bad:
            raise ValueError(
                f"`{self.called(j)}` has NaN or infinite values in {len(bad)} of {len(t)} samples: "
                f"{', '.join(self.sample_name(i) for i in bad[:10])}{', ...' * (len(bad) > 10)}; drop them or fill the values"
            )

    def sample_name(self, i: int) -> str:
        """The labels of sample number `i`, as text."""
        where = np.unravel_index(i, self.sample_shape) if self.sample_shape else ()
        first = self.arrays[0]
        labels = [
            f"{d} {first.indexes[d][k] if d in first.indexes else int(k)}"
            for d, k in zip(self.sample_dims, where, strict=True)
        ]
        return " ".join(labels) or "the only one"

    def called(self, j: int) -> str:
        """Input `j` as error messages call it."""
        return "x" if self.single else f"x[{self.title(j)!r}]"

    def title(self, j: int) -> str | int:
        """The name or number of input `j`."""
        return j if self.names is None else self.names[j]


def labelled_inputs(
    x: Any,
    sample_dims: Hashable | Dims | None = None,
    dims: Any = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> Inputs:
    """Label the caller's inputs.

    Parameters
    ----------
    x : DataArray, Dataset, mapping, tuple, or array-like
        One input, or several: a Dataset or mapping by name, in the model's argument order, or a tuple.
    sample_dims : hashable or sequence of hashable, optional
        The batch dims; default `"sample"` if there, else the first dim.
    dims : sequence of hashable, or one per input (sequence or mapping), optional
        Names of the dims of arrays without labels; default `"sample"`, `"dim_1"`, ...
    coords : mapping, optional
        Coords of arrays without labels; each is given to the inputs that have its dims.

    Raises
    ------
    ValueError
        For dims that do not fit, sizes that contradict, sample labels that differ between inputs, and coords whose
        names the result needs.
    """
    paths = None
    if isinstance(x, xr.Dataset | Mapping):
        flat = flattened(x)
        names, values = tuple(flat), [v for _, v in flat.values()]
        paths = tuple(path for path, _ in flat.values())
        if not values:
            raise ValueError("`x` has no variables; pass at least one input")
    else:
        names, values = None, list(x) if isinstance(x, tuple) else [x]
    single = names is None and not isinstance(x, tuple)
    each = [_dims_of(dims, j, names, len(values)) for j in range(len(values))]
    arrays = tuple(
        _label(v, d, coords, _which(j, names, single))
        for j, (v, d) in enumerate(zip(values, each, strict=True))
    )
    if names is not None and dims is None:
        arrays = _nameless_apart(arrays, names)
    batch = _sample_dims(arrays, sample_dims)
    inputs = Inputs(
        arrays,
        names,
        single,
        batch,
        x,
        tuple(range(len(arrays))),
        any(map(is_anndata, values)),
        any(is_jax_array(_held(v)) for v in values),
        paths if paths is not None and any(len(path) > 1 for path in paths) else None,
    )
    _check_sizes(inputs)
    _check_names(inputs, dims)
    return inputs


def flattened(x: Any, path: tuple[str | int, ...] = ()) -> dict[str, tuple[tuple[str | int, ...], Any]]:
    """The arrays of a mapping, which may hold mappings and lists of arrays, by their joined names: each with its place."""
    flat: dict[str, tuple[tuple[str | int, ...], Any]] = {}
    for name, value in x.items() if hasattr(x, "items") else enumerate(x):
        place = (*path, name if isinstance(name, int) and path else str(name))
        several = isinstance(value, tuple | list) and any(
            is_jax_array(v) or isinstance(v, Mapping) for v in value
        )
        if (isinstance(value, Mapping) and not isinstance(value, xr.Dataset)) or several:
            flat |= flattened(value, place)
        else:
            flat[".".join(map(str, place))] = (place, value)
    return flat


def _held(value: Any) -> Any:
    """What an array holds; one that is still on disk is not read for it."""
    if isinstance(value, xr.DataArray):
        return value.data if value.variable._in_memory else None
    return value


def for_model(f: Model, inputs: Inputs) -> tuple[Model, Inputs]:
    """The model, and its inputs in the order of its parameters if their names are names of parameters.

    Raises
    ------
    ValueError
        If only some names are.
    """
    refuse_pipeline(f)
    shapes = [((2, *(a.sizes[d] for d in inputs.core(j))), str(a.dtype)) for j, a in enumerate(inputs.arrays)]
    paths = inputs.paths or [(n,) for n in inputs.names or ()]
    f = recognised(f, shapes, inputs.of_jax, paths)
    if inputs.names is None:
        return f, inputs
    known = parameters(f)
    if inputs.paths is not None:
        if not isinstance(f, External) or known is None:
            raise TypeError(
                f"`x` has arrays inside of others, {', '.join(inputs.names)}, which a model of torch does not take one by one; pass them "
                "in one flat mapping, and a function of theirs that nests them: lambda a, b: model({'a': {'b': a}, ...})"
            )
        return with_mapping(f, inputs.paths, known.positional), inputs
    names = order_of(inputs.names, known)
    if known is None or names is None:
        one_mapping = isinstance(f, External) and known is not None and len(known.positional) == 1
        return with_mapping(f, [(n,) for n in inputs.names]) if one_mapping and len(
            inputs.names
        ) > 1 else f, inputs
    order = tuple(inputs.names.index(n) for n in names)
    arrays = tuple(inputs.arrays[j] for j in order)
    inputs = replace(inputs, arrays=arrays, names=tuple(names), order=order)
    if tuple(names) == known.positional[: len(names)]:
        return f, inputs
    by_name = functools.partial(ByName, names=tuple(names))
    return (f.form(("by name", *names), by_name) if isinstance(f, PreparedModel) else by_name(f)), inputs


@contextmanager
def errors_with_names(inputs: Inputs) -> Iterator[None]:
    """Errors of the pure functions, which number the inputs, with the names that the caller gave them."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if inputs.names is not None and error.args and isinstance(error.args[0], str):
            names = dict(enumerate(map(repr, inputs.names)))
            text = re.sub(
                r"\b(x|baselines|groups|stdevs)\[(\d+)\]",
                lambda m: f"{m[1]}[{names.get(int(m[2]), m[2])}]",
                error.args[0],
            )
            text = re.sub(
                r"(cuts the gradient of input )([\d, ]+)",
                lambda m: m[1] + ", ".join(names[int(j)] for j in m[2].split(", ")),
                text,
            )
            error.args = (text, *error.args[1:])
        raise


def _which(j: int, names: tuple[str, ...] | None, single: bool) -> str:
    return "x" if single else f"x[{j if names is None else names[j]!r}]"


def _dims_of(dims: Any, j: int, names: tuple[str, ...] | None, count: int) -> Dims | None:
    if isinstance(dims, Mapping):
        return dims.get(names[j] if names else j)
    if isinstance(dims, str):
        return (dims,)
    dims = None if dims is None else list_of("dims", dims)
    if dims is not None and count > 1 and len(dims) == count and not isinstance(dims[0], str):
        return dims[j]
    return dims


def _label(value: Any, dims: Dims | None, coords: Mapping[Hashable, Any] | None, which: str) -> xr.DataArray:
    if isinstance(value, xr.DataArray):
        if dims is not None and tuple(dims) != value.dims:
            raise ValueError(
                f"`dims` is {tuple(dims)}, but `{which}` already has dims {value.dims}; use {which}.rename"
            )
        return value if coords is None else value.assign_coords(_coords_for(coords, value.dims))
    if not is_anndata(value):
        refuse_other_kinds(value, which)
    if is_table(value) or is_anndata(value):
        table = (
            annotated_array(value, dims, name=which) if is_anndata(value) else table_array(value, dims, which)
        )
        return table if coords is None else table.assign_coords(_coords_for(coords, table.dims))
    if is_metatensor(value):
        dims, grid = of_metatensor(value, dims)
        coords = {**grid, **(coords or {})}
    data = value if _is_dask(value) else as_numpy(value, which)
    if data.ndim == 0:
        raise ValueError(f"`{which}` is a single number, expected an array with samples on its first dim")
    names = tuple(dims) if dims is not None else ("sample", *(f"dim_{k}" for k in range(1, data.ndim)))
    if len(names) != data.ndim:
        raise ValueError(f"`dims` names {len(names)} dims {names}, but `{which}` has shape {data.shape}")
    return xr.DataArray(data, dims=names, coords=_coords_for(coords or {}, names))


def _nameless_apart(arrays: tuple[xr.DataArray, ...], names: tuple[str, ...]) -> tuple[xr.DataArray, ...]:
    """Nameless dims of one size keep the name made up for them in a Dataset; those of another get the input's name behind it."""
    sizes: dict[Hashable, int] = {}
    apart = []
    for a, name in zip(arrays, names, strict=True):
        nameless = {d: n for d, n in a.sizes.items() if str(d).startswith("dim_") and d not in a.coords}
        apart.append(a.rename({d: f"{d}_{name}" for d, n in nameless.items() if sizes.setdefault(d, n) != n}))
    return tuple(apart)


def refuse_pipeline(f: Any) -> None:
    """Refuse a pipeline of transformers, which takes texts and gives labels."""
    if type(f).__module__.startswith("transformers.pipelines"):
        raise TypeError(
            f"`f` is a {type(f).__name__}, which takes texts or images and gives labels; pass its model, f.model.eval(), "
            "and as `x` what f.tokenizer or f.image_processor gives"
        )


def _coords_for(coords: Mapping[Hashable, Any], dims: Dims) -> dict[Hashable, Any]:
    """The coords that belong to an array of these dims: plain ones by their name, (dims, values) ones by their dims."""

    mapping_of("coords", coords)

    def dims_of(name: Hashable, value: Any) -> tuple[Hashable, ...]:
        if not isinstance(value, tuple):
            return getattr(value, "dims", (name,))
        return (value[0],) if isinstance(value[0], str) else tuple(value[0])

    return {name: value for name, value in coords.items() if set(dims_of(name, value)) <= set(dims)}


def _is_dask(value: Any) -> bool:
    return type(value).__module__.startswith("dask.")


def _sample_dims(
    arrays: tuple[xr.DataArray, ...], sample_dims: Hashable | Dims | None
) -> tuple[Hashable, ...]:
    if sample_dims is None:
        sample_dims = "sample" if "sample" in arrays[0].dims else arrays[0].dims[0]
    sample_dims = sample_dims.tolist() if hasattr(sample_dims, "tolist") else sample_dims
    single = isinstance(sample_dims, str) or not isinstance(sample_dims, Sequence)
    batch: tuple[Hashable, ...] = (sample_dims,) if single else tuple(sample_dims)  # type: ignore[arg-type]
    for a in arrays:
        missing = [d for d in batch if d not in a.dims]
        if missing:
            raise ValueError(
                f"`sample_dims` {missing} are not among the dims {a.dims} of every input{near(missing[0], a.dims)}"
            )
    return batch


def _check_sizes(inputs: Inputs) -> None:
    sizes: dict[Hashable, int] = {}
    for j, a in enumerate(inputs.arrays):
        for d, n in a.sizes.items():
            if inputs.names is None and str(d).startswith("dim_"):
                continue  # a name made up for a nameless dim; a tuple's results stay apart
            if sizes.setdefault(d, n) != n:
                other = f'{{"{inputs.title(j)}": ...}}' if inputs.names else "one per input"
                raise ValueError(
                    f"dim {d!r} has size {sizes[d]} in one input and {n} in `x[{inputs.title(j)!r}]`; give it another "
                    f"name there: .rename({d}='{d}_{inputs.title(j)}'), or dims={other}"
                )
    for d in inputs.sample_dims:
        indexes = [a.indexes[d] for a in inputs.arrays if d in a.indexes]
        if any(not i.equals(indexes[0]) for i in indexes[1:]):
            raise ValueError(
                f"the inputs have different labels along {d!r}; align them first: xr.align(..., join='inner')"
            )


def refuse_target_coord(inputs: Inputs) -> None:
    """Refuse a coord that the dim of `targets` would take the place of."""
    if any("target" in a.coords for a in inputs.arrays):
        raise ValueError(
            "`x` has a coord called 'target', which is the dim of `targets`; rename or drop it: x.drop_vars('target')"
        )


def _check_names(inputs: Inputs, dims: Any) -> None:
    """Refuse dims that are there twice, and dims and coords that are called like those of results."""
    for a in inputs.arrays:
        if len(set(a.dims)) < a.ndim:
            raise ValueError(f"`x` has the dims {a.dims}, expected different names; rename one of them")
        reserved = [d for d in a.dims if d in RESERVED]
        if reserved:
            raise ValueError(
                f"`{'x' if dims is None else 'dims'}` has a dim called {reserved[0]!r}, a name that results need; "
                + ("give it another name" if dims is not None else f"rename it: x.rename({reserved[0]}=...)")
            )
        taken = [str(c) for c in a.coords if c in COORDS_OF_RESULTS]
        if taken:
            raise ValueError(
                f"`x` has coords {taken}, names the result needs; rename or drop them: x.drop_vars({taken})"
            )


class Parameters(NamedTuple):
    """The names that arguments of a model can have.

    Attributes
    ----------
    positional : tuple of str
        Of arguments by position, in their order.
    keyword : tuple of str
        Of arguments by name.
    """

    positional: tuple[str, ...]
    keyword: tuple[str, ...]


class ByName:
    """A model whose inputs go in by name, for inputs that are not its first parameters.

    Parameters
    ----------
    model : callable
    names : sequence of str
        Names of the inputs, in the order in which they come.
    """

    def __init__(self, model: Callable[..., Any], names: Sequence[str]) -> None:
        self.model, self.names = model, tuple(names)

    def __call__(self, *xs: Any, **beside: Any) -> Any:
        """What the model returns."""
        if len(xs) > len(self.names):
            raise TypeError(
                f"`additional_forward_args` has values without names, but the inputs {', '.join(self.names)} go by name; "
                "pass a mapping of the values by their names"
            )
        return self.model(**dict(zip(self.names, xs, strict=True)), **beside)


def parameters(model: Any) -> Parameters | None:
    """The parameters of a model; None where it takes any, or does not tell.

    Examples
    --------
    >>> from functools import partial
    >>> parameters(partial(lambda rna, atac, scale: rna, scale=2))
    Parameters(positional=('rna', 'atac'), keyword=('rna', 'atac', 'scale'))
    """
    if isinstance(model, PreparedModel):
        return parameters(model.model)
    if isinstance(model, torch.jit.ScriptModule):
        names = tuple(a.name for a in model.forward.schema.arguments[1:])  # type: ignore[attr-defined]
        return Parameters(names, names)
    if isinstance(model, functools.partial) and isinstance(model.func, nn.Module):
        model = functools.partial(_forward(model.func), *model.args, **model.keywords)
    try:
        signature = inspect.signature(_forward(model) if isinstance(model, nn.Module) else model)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    kinds = [(p.name, p.kind) for p in signature.parameters.values()]
    first = [n for n, kind in kinds if kind is inspect.Parameter.POSITIONAL_ONLY]
    either = [n for n, kind in kinds if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    named = [n for n, kind in kinds if kind is inspect.Parameter.KEYWORD_ONLY]
    if not (first or either or named):
        return None
    return Parameters((*first, *either), (*either, *named))


def _forward(module: nn.Module) -> Callable[..., Any]:
    """What runs when a module is called: of a wrapper, the forward of what it wraps."""
    if takes_any(module.forward):
        function = getattr(module, "function", None)  # of a model of another library
        if callable(function):
            return function
        for name in WRAPPED:
            inner = getattr(module, name, None)
            if isinstance(inner, nn.Module):
                return _forward(inner)
    return module.forward


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether all parameters of a function are `*args` and `**kwargs`."""
    kinds = {p.kind for p in inspect.signature(function).parameters.values()}
    return bool(kinds) and kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def order_of(names: Sequence[str], known: Parameters | None) -> list[str] | None:
    """The names in the order of the model's parameters; None where no name is a parameter's: then they go by position.

    Raises
    ------
    ValueError
        If some names are parameters and others are not.
    """
    every = list(dict.fromkeys((*known.positional, *known.keyword))) if known is not None else []
    matching = [n for n in names if n in every]
    if not matching:
        return None
    others = [n for n in names if n not in every]
    if others:
        raise ValueError(
            f"`x` has the names {others}, which are no parameters of the model's forward ({', '.join(every)}), beside "
            f"{matching}, which are; name all inputs like parameters, or none to pass them by position"
        )
    return sorted(names, key=every.index)
