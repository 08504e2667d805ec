"""Cohorts of Shapley values and of measures: what the eager call gives, block by block."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import attrib
from attrib.testing import specimen

RNG = np.random.default_rng(0)
MODEL = specimen("mlp", 1).f.double()
PATHWAYS = ("gene", ["p", "p", "q", "r", ""])
X = xr.DataArray(
    RNG.normal(size=(7, 5)), dims=("sample", "gene"), coords={"sample": list("abcdefg"), "pathway": PATHWAYS}
)
POOL = xr.DataArray(RNG.normal(size=(3, 5)), dims=("baseline", "gene"))
EACH = xr.DataArray(RNG.integers(0, 3, (7, 5)), dims=("sample", "gene"))
SIGNED = attrib.saliency(MODEL, X, target=1, absolute=False)
RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pathways": (attrib.shapley_values, {"groups": "pathway", "baselines": POOL, "target": "predicted"}),
    "groups of samples": (attrib.shapley_values, {"groups": EACH, "target": 0}),
    "orders": (attrib.shapley_values, {"exact": False, "rtol": 0.1, "targets": "all"}),
    "deletion": (attrib.deletion, {"attribution": SIGNED, "target": 1, "n_random": 3, "steps": 4}),
    "insertion": (attrib.insertion, {"attribution": SIGNED, "target": 1, "n_random": 3, "steps": 4}),
    "infidelity": (attrib.infidelity, {"attribution": SIGNED, "target": 1}),
    "sensitivity": (partial(attrib.sensitivity_max, attrib.saliency), {"target": 1}),
    "randomization": (partial(attrib.randomization, attrib.saliency), {"targets": [0, 1]}),
}


@pytest.mark.parametrize(("method", "options"), RUNS.values(), ids=RUNS.keys())
def test_blocks_give_the_eager_result(method: Any, options: dict[str, Any], tmp_path: Path) -> None:
    tree = attrib.cohort(method, MODEL, X, tmp_path / "out.zarr", block=3, **options)
    eager = method(MODEL, X, **options)
    assert tree["attribution"].dims == eager.dims
    assert set(tree["attribution"].coords) == set(eager.coords)
    xr.testing.assert_allclose(tree["attribution"].load(), eager.rename("attribution"), rtol=1e-9)
