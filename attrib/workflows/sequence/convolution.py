"""The motifs of a model's first convolution, over sequences of any lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from torch import nn

from attrib._nearest import near
from attrib.domains.motifs import FilterMotifs, filter_counts, filter_peaks
from attrib.domains.motifs.filters import motifs_of_counts, thresholds
from attrib.engine.layers.at_layer import find_layer, named_layers
from attrib.labels import layer_activation
from attrib.workflows.context import Context

LETTERS = 4
ROWS = 256  # sequences whose activations are in memory


class Kernel(NamedTuple):
    """A convolution along the sequence.

    Attributes
    ----------
    layer : str
        Dotted name.
    width, stride, dilation : int
    padding : int or None
        None if it follows from the lengths.
    """

    layer: str
    width: int
    stride: int
    padding: int | None
    dilation: int


def first_kernel(model: Callable[..., Any], layer: str = "first") -> Kernel:
    """The convolution that reads the letters.

    Raises
    ------
    ValueError
        If the model has none, or `layer` is no convolution of letters.
    """
    convolutions = {n: m for n, m in named_layers(model).items() if isinstance(m, nn.Conv1d | nn.Conv2d)}
    if layer == "first":
        if not convolutions:
            raise ValueError(
                "the model has no convolution by name (an exported program or a function has none)"
            )
        return _kernel(*next(iter(convolutions.items())))
    module = find_layer(model, layer)
    if module is None or not isinstance(module[1], nn.Conv1d | nn.Conv2d):
        raise ValueError(
            f"`layer` {layer} is no convolution; there are {', '.join(convolutions) or 'none'}{near(layer, convolutions)}"
        )
    return _kernel(layer, module[1])


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
        None if kernel.padding is None else (letters + 2 * kernel.padding - reach - 1) // kernel.stride + 1
    )
    if len(places) > 1 or (places and fitting is not None and places[0] != fitting):
        raise ValueError(
            f"{kernel.layer} does not run along the {letters} letters: its output is {dict(a.sizes)}"
        )


def by_length(x: xr.DataArray) -> Iterator[xr.DataArray]:
    """Groups of sequences of one length, without padding."""
    for length in np.unique(x["length"].values):
        yield x.isel(sample=np.flatnonzero(x["length"].values == length), position=slice(0, int(length)))
