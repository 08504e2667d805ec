"""Measures with labels: the pure numbers, matched by names, in blocks, for several inputs and targets."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib import functional
from attrib.testing import specimen

MODEL = specimen("mlp", 1, dtype=torch.float64).f
RNG = np.random.default_rng(0)
X = xr.DataArray(
    RNG.normal(size=(2, 3, 5)),
    dims=("donor", "cell", "gene"),
    coords={"donor": ["a", "b"], "gene": list("vwxyz"), "age": ("donor", [3, 4])},
)
DIMS = {"sample_dims": ("donor", "cell")}
GOAL = xr.DataArray(RNG.integers(0, 3, (3, 2)), dims=("cell", "donor"))
ROWS = torch.from_numpy(X.values.reshape(6, 5))


def measured(x: Any, a: xr.DataArray, **options: Any) -> dict[str, xr.DataArray]:
    inner = partial(attrib.integrated_gradients, baselines=X.mean(("donor", "cell")), n_steps=4)
    options |= DIMS
    return {
        "deletion": attrib.deletion(MODEL, x, a, n_random=3, baselines=X.mean("cell"), **options),
        "insertion": attrib.insertion(
            MODEL, x, a, groups=xr.DataArray([0, 1, 1, -1, 0], dims="gene"), **options
        ),
        "infidelity": attrib.infidelity(MODEL, x, a, **options),
        "sensitivity_max": attrib.sensitivity_max(inner, MODEL, x, **options),
        "randomization": attrib.randomization(attrib.saliency, MODEL, x, **options),
    }


@pytest.mark.parametrize(
    "options", [{"target": GOAL}, {"targets": [2, GOAL]}, {"targets": "all", "classes": "abc"}]
)
def test_the_pure_numbers_in_any_order_and_in_blocks(options: dict[str, Any]) -> None:
    a = attrib.saliency(MODEL, X, absolute=False, **DIMS, **options)
    eager = measured(X, a, **options)
    shuffled = a.transpose("gene", ...).isel(gene=[3, 1, 4, 0, 2])
    lazy = measured(X.chunk(cell=2), shuffled, **options)
    rows = GOAL.transpose("donor", "cell").values.ravel().tolist()
    pure = {k: v for k, v in options.items() if k != "classes"}
    pure = {k: rows if v is GOAL else [2, rows] if isinstance(v, list) else v for k, v in pure.items()}
    lead = (3,) if options.get("targets") == "all" else (2,) if "targets" in options else ()
    values = torch.from_numpy(a.values.reshape(*lead, 6, 5))
    means = torch.from_numpy(np.repeat(X.mean("cell").values, 3, 0))
    curve = functional.deletion.explain(MODEL, ROWS, values, n_random=3, baselines=means, **pure)
    assert np.allclose(eager["deletion"].values.ravel(), curve.score.ravel())
    assert np.allclose(eager["deletion"].z.values.ravel(), curve.z.ravel())
    assert np.allclose(
        eager["infidelity"].values.ravel(), functional.infidelity(MODEL, ROWS, values, **pure).ravel()
    )
    for name, result in eager.items():
        assert result.name == name
        head = (("target",) if lead else ()) + (("layer",) if name == "randomization" else ())
        tail = ("fraction",) if name in ("deletion", "insertion") else ()
        assert result.dims == (*head, "donor", "cell", *tail)
        assert set(result.coords) >= {"donor", "age"}
        assert lazy[name].chunks is not None
        xr.testing.assert_allclose(lazy[name].compute(), result)
        if "classes" in options:
            assert result.target.values.tolist() == ["a", "b", "c"]
    assert eager["deletion"].attrs["units"] == "output"
    assert eager["infidelity"].attrs["units"] == "output^2"
    for name, result in {**eager, **lazy}.items():
        about = a.attrs.keys() - {"engine", "compile", "path", "path_reason"}
        assert result.attrs.keys() >= about, about - result.attrs.keys()
        assert result.attrs["references"].startswith("arXiv:")
        assert result.attrs["history"].endswith(f" {name}")
    assert {c: eager["deletion"][c].attrs["units"] for c in ("area", "random_area", "z", "prediction")} == {
        "area": "output", "random_area": "output", "z": "1", "prediction": "output"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["area", "z"])
def test_coords_of_samples_that_are_called_like_the_results(name: str) -> None:
    x = X.isel(donor=0, drop=True)
    a = attrib.saliency(MODEL, x, target=0)
    free = attrib.deletion(MODEL, x, a, n_random=2, target=0)
    beside = attrib.deletion(
        MODEL, x.assign_coords({name: ("cell", [1.0, 2.0, 3.0])}), a, n_random=2, target=0
    )
    np.testing.assert_array_equal(beside[name], free[name])
    assert beside[f"x_{name}"].values.tolist() == [1, 2, 3]
    with pytest.raises(
        ValueError, match=rf"samples along '{name}', a name the result needs; .*x.rename\({name}="
    ):
        attrib.deletion(MODEL, x.rename(cell=name), a.values, n_random=2, target=0)


def test_several_inputs_by_name() -> None:
    s = specimen("two_inputs", dtype=torch.float64)
    x = xr.Dataset(
        {
            "left": (("sample", "gene"), s.x[0].numpy()),
            "right": (("sample", "y", "x"), s.x[1].numpy()),
        }
    )
    a = attrib.input_x_gradient(s.f, x, target=1)
    curve = attrib.deletion(s.f, x, a, target=1)
    pure = functional.input_x_gradient(s.f, s.x, target=1)
    assert np.allclose(curve, functional.deletion(s.f, s.x, pure, target=1))
    assert np.allclose(
        attrib.infidelity(s.f, x, a, target=1), functional.infidelity(s.f, s.x, pure, target=1)
    )
    with pytest.raises(ValueError, match=r"lacks the inputs \['right'\]"):
        attrib.deletion(s.f, x, a[["left"]], target=1)


def test_maps_of_a_layer_lack_the_channel() -> None:
    s = specimen("cnn", dtype=torch.float64)
    x = xr.DataArray(s.x.numpy(), dims=("sample", "channel", "y", "x"))
    maps = attrib.grad_cam(s.f, x, layer="0", target=1)
    assert "channel" not in maps.dims
    curve = attrib.deletion(s.f, x, maps, target=1)
    assert np.allclose(curve, functional.deletion(s.f, s.x, torch.from_numpy(maps.values)[:, None], target=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.isel(gene=[0, 1]), "`attribution` lacks 'x', 'y', 'z'"),
        (lambda a: a.rename(gene="region"), "select or rename"),
        (lambda a: a.assign_coords(gene=list("abcde")), "different labels along 'gene'"),
        (lambda a: a.isel(donor=0), "select or rename"),
        (lambda a: a.expand_dims(target=2), "dims of targets need `targets`"),
        (lambda a: a.values[0], r"has shape \(3, 5\)"),
        (lambda a: (a, a), "has 2 entries for 1 inputs"),
    ],
)
def test_attributions_that_do_not_fit(change: Any, message: str) -> None:
    a = attrib.saliency(MODEL, X, target=0, **DIMS)
    with pytest.raises(ValueError, match=message):
        attrib.deletion(MODEL, X, change(a), target=0, **DIMS)
