"""Maps of Dask-backed inputs: of one layer for all blocks of samples, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
import xarray as xr

from attrib.functional.explanation import Explanation
from attrib.labels.inputs import Inputs
from attrib.labels.lazy import Explain, asked, in_parts, lazy_coords
from attrib.labels.results import Facts
from attrib.labels.spatial import LAYER, leading, placed

CELL = "attrib_cell"  # a map's own spatial dims are called so until it has the input's


def settled(layer: Any, found: Explanation) -> Any:
    """The layer of an explanation by name, in place of "auto": what the first sample chose holds for all."""
    names = str((found.notes or {})["layer"]).split(", ")
    if isinstance(layer, list | tuple):
        return [n if isinstance(one, str) else one for n, one in zip(names, layer, strict=True)]
    return names[0] if isinstance(layer, str) else layer


def lazy_maps(explain: Explain, first: Explanation, inputs: Inputs, facts: Facts, many: bool) -> xr.DataArray:
    """The labelled map, to be computed later.

    Parameters
    ----------
    explain : callable
        The method on tensors of some samples, always with a leading target dim.
    first : Explanation
        What it gives for the first sample.
    inputs : Inputs
    facts : Facts
    many : bool
        Whether the result keeps its target dim.
    """
    lead = leading(facts, many)
    listed = LAYER in lead

    def behind(e: Explanation) -> Explanation:
        """The dim of layers after that of the samples."""
        assert isinstance(e.attribution, torch.Tensor)
        return e._replace(attribution=e.attribution.movedim(1, 2)) if listed else e

    probe = behind(first)
    assert isinstance(probe.attribution, torch.Tensor)
    shape = probe.attribution.shape[2:]
    cells: list[Hashable] = [f"{CELL}_{k}" for k in range(len(shape) - listed)]
    own = [LAYER, *cells] if listed else cells
    parts = in_parts(lambda *a: behind(explain(*a)), inputs, probe, [own], dict(zip(own, shape, strict=True)))
    facts = replace(facts, engine=probe.engine, notes=probe.notes)
    maps = asked(parts["attribution:0"], many).transpose(*lead, *inputs.sample_dims, *cells)
    return placed(maps.data, lazy_coords(parts, inputs, probe, facts, many), inputs, facts, lead)
