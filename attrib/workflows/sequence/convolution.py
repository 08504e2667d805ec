"""The motifs of a model's convolutions, the first or deeper ones, over sequences of any lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from torch import nn

from attrib._arguments import near
from attrib.domains.motifs import FilterMotifs, filter_counts, filter_peaks
from attrib.domains.motifs.filters import motifs_of_counts, thresholds
from attrib.engine.layers.at_layer import named_layers
from attrib.labels import layer_activation
from attrib.workflows.plan import Context

LETTERS = 4
ROWS = 256  # sequences whose activations are in memory
TRIED = 4  # sequences whose letters are changed one by one, to see which a deeper layer's position reads
WINDOW = 512  # letters on each side of a record's middle that are changed
CHANGED = 1e-6  # of the largest activation: less is rounding


class Kernel(NamedTuple):
    """A convolution along the sequence.

    Attributes
    ----------
    layer : str
        Dotted name.
    width, stride, dilation : int
        Of a deeper layer, the letters that one of its positions reads, and the letters between two positions.
    padding : int or None
        None if it follows from the lengths.
    deep : bool
        Whether there are layers between the letters and this one.
    named : bool
        Whether the caller named it.
    """

    layer: str
    width: int
    stride: int
    padding: int | None
    dilation: int
    deep: bool = False
    named: bool = True


def kernels(
    model: Callable[..., Any], layer: str, x: xr.DataArray, context: Context | None = None
) -> list[Kernel]:
    """The layers in a list with commas, each as a window of letters: from the weights of a first convolution, of others by trial.

    Raises
    ------
    ValueError
        For names of layers that are no convolutions, naming those there are, and deeper ones that read too much.
    """
    convolutions = _convolutions(model)
    names = list(dict.fromkeys(name.strip() for name in layer.split(",") if name.strip()))
    if not names:
        raise ValueError(
            f"`layer` is {layer!r}, expected first, or some of {', '.join(convolutions) or 'none'}"
        )
    unknown = [n for n in names if n not in (*convolutions, "first")]
    if unknown:
        raise ValueError(
            f"`layer` {unknown[0]} is no convolution; there are {', '.join(convolutions) or 'none'}{near(unknown[0], convolutions)}"
        )
    return [
        first_kernel(model, name) if _reads_letters(model, name) else deeper_kernel(model, name, x, context)
        for name in names
    ]


def _convolutions(model: Callable[..., Any]) -> dict[str, nn.Conv1d | nn.Conv2d]:
    return {n: m for n, m in named_layers(model).items() if isinstance(m, nn.Conv1d | nn.Conv2d)}


def _reads_letters(model: Callable[..., Any], layer: str) -> bool:
    """Whether it is the first convolution: one that reads four letters at each position."""
    try:
        return layer == "first" or bool(_kernel(layer, _convolutions(model)[layer]))
    except ValueError:
        return False


def deeper_kernel(
    model: Callable[..., Any], layer: str, x: xr.DataArray, context: Context | None = None
) -> Kernel:
    """Which letters a position of a layer reads: those whose change changes it, in the middle of some records.

    Parameters
    ----------
    model : callable
    layer : str
        Any layer with positions.
    x : DataArray
        One-hot, with the coord `length`; records of the most frequent length are tried.
    context : Context, optional
        What goes in beside the records.

    Raises
    ------
    ValueError
        If the layer has no positions, or one of them reads all letters.

    Notes
    -----
    4 x (1 + letters) evaluations of the model, of 1,024 letters in the middle at most. Pooling hides a letter in one record and shows it in another, so the letters of all tried
    records are taken together.
    """
    some = max(by_length(x), key=lambda part: part.sizes["sample"])
    size = some.sizes["position"]
    tried = np.arange(max(0, size // 2 - WINDOW), min(size, size // 2 + WINDOW))
    records = [some.isel(sample=[k]) for k in range(min(TRIED, some.sizes["sample"]))]
    changes = [_changes_by_letter(model, layer, record, tried, context) for record in records]
    moved = np.any([change > CHANGED * largest for change, largest in changes], axis=0)
    reads = moved.any(0)
    low, high = moved.argmax(0)[reads], len(tried) - 1 - moved[::-1].argmax(0)[reads]
    inner = (low > 0) & (high < len(tried) - 1)
    if inner.sum() < 2:
        letters = int((high - low).max(initial=0)) + 1
        raise ValueError(
            f"`layer` {layer}: a position of it reads {letters} of {size} letters or more, which is no motif"
        )
    at, low, high = np.flatnonzero(reads)[inner], tried[low[inner]], tried[high[inner]]
    stride = max(1, round(float(np.polyfit(at, (low + high) / 2, 1)[0])))
    first, last = (low - at * stride).min(), (high - at * stride).max()
    return Kernel(layer, int(last - first) + 1, stride, int(-first), 1, deep=True)


def _changes_by_letter(
    model: Callable[..., Any], layer: str, record: xr.DataArray, tried: np.ndarray, context: Context | None
) -> tuple[np.ndarray, float]:
    """The largest change (letter, position of the layer) of a layer's filters as each letter is changed, and its largest activation."""
    plain = record.transpose("sample", "nucleotide", "position").values[0]
    numbers = [np.array([-1]), *np.array_split(tried, -(-len(tried) // ROWS))]
    parts = []
    for some in numbers:
        values = np.repeat(plain[None], len(some), 0)
        if some[0] >= 0:
            values[np.arange(len(some)), :, some] = np.roll(plain, 1, 0).T[some]
        rows = xr.DataArray(
            values,
            dims=("sample", "nucleotide", "position"),
            coords={"nucleotide": record["nucleotide"].values},
        )
        beside = () if context is None else context.of_rows([record["sample"].values[0]] * len(some))
        a = layer_activation(model, rows.transpose(*record.dims), layer=layer, additional_forward_args=beside)
        places = [d for d, n in a.sizes.items() if d not in ("sample", "filter") and n > 1]
        if len(places) != 1:
            raise ValueError(f"`layer` {layer} has no positions: its output is {dict(a.sizes)}")
        ordered = a.transpose("sample", "filter", places[0], ...).values
        parts.append(ordered.reshape(len(some), a.sizes["filter"], -1))
    before, after = parts[0], np.concatenate(parts[1:])
    return np.abs(after - before).max(1), float(np.abs(before).max())


def first_kernel(model: Callable[..., Any], layer: str = "first") -> Kernel:
    """The convolution that reads the letters.

    Raises
    ------
    ValueError
        If the model has none, or it reads no letters.
    """
    convolutions = _convolutions(model)
    if not convolutions:
        raise ValueError("the model has no convolution by name (an exported program or a function has none)")
    name = next(iter(convolutions)) if layer == "first" else layer
    return _kernel(name, convolutions[name])._replace(named=layer != "first")


def _kernel(name: str, convolution: nn.Conv1d | nn.Conv2d) -> Kernel:
    """The geometry along the positions; in two dims these are the longer axis of the kernel."""
    along = 0 if isinstance(convolution, nn.Conv1d) else _along(convolution)
    read = convolution.in_channels * math.prod(convolution.kernel_size) // convolution.kernel_size[along]
    if read != LETTERS:
        raise ValueError(
            f"`layer` {name} reads {read} numbers at each position, no letters (4); name the convolution that does"
        )
    padding = None if isinstance(convolution.padding, str) else int(convolution.padding[along])
    return Kernel(
        name,
        int(convolution.kernel_size[along]),
        int(convolution.stride[along]),
        padding,
        int(convolution.dilation[along]),
    )


def _along(convolution: nn.Conv2d) -> int:
    rows, columns = convolution.kernel_size
    if convolution.in_channels == 1 and 4 in (rows, columns):
        return 0 if columns == 4 and rows != 4 else 1
    return 0 if rows > columns else 1


def filters_of(
    model: Callable[..., Any],
    x: xr.DataArray,
    kernel: Kernel,
    *,
    share: float = 0.5,
    top: int | None = None,
    pseudocount: float = 0.0,
    context: Context | None = None,
) -> FilterMotifs:
    """Motifs of the filters over sequences of any lengths, some at a time.

    Parameters
    ----------
    model : callable
    x : DataArray
        One-hot, padded on the right to the longest; the coord `length` holds the number of letters of each.
    kernel : Kernel
    share, top, pseudocount
        As for `attrib.domains.motifs.filter_motifs`.
    context : Context, optional
        What goes into the model beside the sequences.
    """
    geometry: dict[str, Any] = {k: getattr(kernel, k) for k in ("width", "stride", "padding", "dilation")}
    parts = [
        filter_peaks(a, some, top=top or 1, **geometry) for a, some in _activations(model, x, kernel, context)
    ]
    peaks = -np.sort(-np.concatenate(parts, 1), 1)[:, : top or 1]
    limits = thresholds(peaks, share=share, top=top)
    total: xr.Dataset | None = None
    for a, some in _activations(model, x, kernel, context):
        counts = filter_counts(a, some, limits, **geometry)
        total = counts if total is None else total + counts
    assert total is not None
    return motifs_of_counts(total, peaks, limits, pseudocount=pseudocount)


def _activations(
    model: Callable[..., Any], x: xr.DataArray, kernel: Kernel, context: Context | None
) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    for some in by_length(x):
        for start in range(0, some.sizes["sample"], ROWS):
            part = some.isel(sample=slice(start, start + ROWS))
            beside = () if context is None else context.of(part)
            a = layer_activation(model, part, layer=kernel.layer, additional_forward_args=beside)
            _check_places(a, part.sizes["position"], kernel)
            yield a, part


def _check_places(a: xr.DataArray, letters: int, kernel: Kernel) -> None:
    """Refuse activations whose positions are not windows of the letters, such as those behind pooling."""
    places = [n for d, n in a.sizes.items() if d not in ("sample", "filter") and n > 1]
    reach = (kernel.width - 1) * kernel.dilation
    fitting = (
        None
        if kernel.padding is None or kernel.deep
        else (letters + 2 * kernel.padding - reach - 1) // kernel.stride + 1
    )
    if len(places) > 1 or (places and fitting is not None and places[0] != fitting):
        raise ValueError(
            f"{kernel.layer} does not run along the {letters} letters: its output is {dict(a.sizes)}"
        )


def by_length(x: xr.DataArray) -> Iterator[xr.DataArray]:
    """Groups of sequences of one length, without padding."""
    for length in np.unique(x["length"].values):
        yield x.isel(sample=np.flatnonzero(x["length"].values == length), position=slice(0, int(length)))
