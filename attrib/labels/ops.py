"""DeepLIFT's account of a model, op by op, as a table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from attrib.engine.contents import Model, dtype_of
from attrib.engine.secant import OpShare
from attrib.engine.target import TargetLike
from attrib.functional import op_shares
from attrib.labels.align import baseline_tensors, sample_values
from attrib.labels.inputs import labelled_inputs


def deep_lift_report(
    f: Model,
    x: Any,
    baselines: Any = 0.0,
    *,
    target: TargetLike = None,
    classes: Sequence[str] | None = None,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What each op of a model did to a DeepLIFT attribution: where a surprising map comes from.

    Parameters
    ----------
    f : callable
        The model, as for `deep_lift`.
    x : DataArray, Dataset, mapping, tuple or array-like
        Input(s); the table sums over its samples, so one sample says most.
    baselines : float, array-like, DataArray or callable, default 0.0
        What the input is compared with.
    target : int, str, tuple, sequence, callable or None
        Which score is explained.
    classes : sequence of str, optional
        Names of the outputs.
    sample_dims : hashable or sequence of hashable, optional
        The batch dims of `x`.
    dims : sequence of hashable, or one per input, optional
        Names of the dims of arrays without labels.
    coords : mapping, optional
        Coords of arrays without labels.

    Returns
    -------
    Dataset
        One entry per recorded op along ``op``, in the model's order. Coords: ``name``, ``source`` (the model's line),
        ``rule``, ``shape`` (of its result). Variables, in output units: ``change``, the part of
        ``f(x) - f(baseline)`` that passes through the op; ``share``, the same as a fraction of the whole (parts in
        parallel add up to 1); ``residual``, what the op's rule loses. ``.to_dataframe()`` makes it a table.

    Raises
    ------
    NotImplementedError
        As `deep_lift`, for an op without a rule.

    Examples
    --------
    >>> import torch
    >>> from attrib import deep_lift_report
    >>> report = deep_lift_report(lambda x: torch.relu(x).sum(1) + x[:, 0], torch.tensor([[2.0, -1.0]]))
    >>> report.name.values.tolist()
    ['aten.relu.default', 'aten.sum.dim_IntList', 'aten.select.int', 'aten.add.Tensor']
    >>> report.share.values.tolist()
    [0.5, 0.5, 0.5, 1.0]
    """
    inputs = labelled_inputs(x, sample_dims, dims, coords)
    dtype = dtype_of(f)
    tensors = inputs.tensors(dtype)
    rows = op_shares(
        f,
        tensors[0] if inputs.single else tensors,
        baselines=baseline_tensors(baselines, inputs, dtype, False),
        target=sample_values(target, inputs, "target"),
        classes=classes,
    )
    return _table(rows)


def _table(rows: list[OpShare]) -> xr.Dataset:
    change = np.array([r.change for r in rows])
    whole = change[-1] if len(rows) and change[-1] else np.nan
    numbers = {"change": change, "share": change / whole, "residual": np.array([r.residual for r in rows])}
    units = {"change": "output", "share": "1", "residual": "output"}
    words = {
        "name": [r.op for r in rows],
        "source": [r.source for r in rows],
        "rule": [r.rule for r in rows],
        "shape": ["x".join(map(str, r.shape)) for r in rows],
    }
    return xr.Dataset(
        {k: ("op", v, {"units": units[k]}) for k, v in numbers.items()},
        {"op": np.arange(len(rows)), **{k: ("op", v) for k, v in words.items()}},
        {"method": "deep_lift", "long_name": "DeepLIFT, op by op"},
    )
