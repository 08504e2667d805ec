"""Cohorts: what is written, what is continued, what is refused."""

from __future__ import annotations

import functools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib
from attrib.io import save
from attrib.scale.blocks import DONE, LOCK, PARTS, PRIVATE
from attrib.scale.samples import block_size, digest_of, source
from tests.scale.models import Masked, Picky, expression, net, other

ALL = ("mean", "var", "abs_mean", "min", "max", "count", "quantiles", "top:2")
HOW: dict[str, Any] = {"target": 1, "n_steps": 5}
ROOT = Path(__file__).parents[2]


def explained(output: Path, data: Any = None, model: Any = None, **more: Any) -> xr.DataTree:
    """The cohort of most tests."""
    how = {"block": 8, "reductions": ALL, "by": "tissue", **HOW, **more}
    return attrib.cohort(
        attrib.integrated_gradients, model or net(), expression() if data is None else data, output, **how
    ).load()


def zarr_file(folder: Path, x: xr.DataArray | xr.Dataset | None = None, **chunks: int) -> Path:
    ds = expression() if x is None else x
    ds = ds.to_dataset() if isinstance(ds, xr.DataArray) else ds
    encoding = {
        k: {"chunks": tuple(chunks.get(str(d), n) for d, n in v.sizes.items())}
        for k, v in ds.data_vars.items()
    }
    ds.to_zarr(folder / "cohort.zarr", zarr_format=2, encoding=encoding)
    return folder / "cohort.zarr"


@pytest.mark.parametrize("block", [1, 7, 53, 1000])
def test_equals_the_eager_call(block: int, tmp_path: Path) -> None:
    tree = explained(tmp_path / "out.zarr", block=block)
    eager = attrib.integrated_gradients(net(), expression(), **HOW)
    xr.testing.assert_allclose(tree["attribution"], eager, rtol=1e-5, atol=1e-6)
    assert tree["attribution"].attrs == eager.attrs
    assert tree["attribution"].dims == eager.dims
    assert set(tree["attribution"].coords) == set(eager.coords)
    assert {k: v.dtype.kind for k, v in tree["attribution"].coords.items()} == {
        k: v.dtype.kind for k, v in eager.coords.items()
    }


def test_the_store_opens_lazily_without_a_warning(tmp_path: Path) -> None:
    explained(tmp_path / "out.zarr")
    tree = xr.open_datatree(tmp_path / "out.zarr", engine="zarr", chunks=None)
    assert not tree["attribution"].variable._in_memory
    assert tree["reductions/mean"].dims == ("tissue", "gene")
    assert tree["reductions/quantiles"].dims == ("tissue", "quantile", "gene")
    assert set(tree["reductions"].dataset.data_vars) == {*ALL, "quantiles_error"}
    assert {"prediction", "delta", "tissue"} <= set(tree["attribution"].coords)


def test_reductions_equal_numpy_on_the_whole(tmp_path: Path) -> None:
    tree = explained(tmp_path / "out.zarr", block=7)
    groups = tree["attribution"].astype("float64").groupby("tissue")
    results = tree["reductions"].to_dataset(inherit=False)
    np.testing.assert_allclose(results["mean"], groups.mean(), rtol=1e-6)
    np.testing.assert_allclose(results["var"], groups.var(), rtol=1e-6)
    np.testing.assert_array_equal(results["min"], groups.min())
    np.testing.assert_array_equal(results["max"], groups.max())
    np.testing.assert_allclose(
        results["abs_mean"], np.abs(tree["attribution"]).astype("float64").groupby("tissue").mean(), rtol=1e-6
    )
    np.testing.assert_array_equal(results["count"], expression().groupby("tissue").count()[:, 0])


def test_without_by_and_without_the_attributions(tmp_path: Path) -> None:
    tree = explained(tmp_path / "out.zarr", by=None, keep=False, reductions="mean")
    assert "attribution" not in tree.dataset
    assert "prediction" in tree.dataset.coords
    eager = attrib.integrated_gradients(net(), expression(), **HOW)
    np.testing.assert_allclose(tree["reductions/mean"], eager.astype("float64").mean("sample"), rtol=1e-5)
    assert not list((tmp_path / "out.zarr" / PRIVATE / PARTS).iterdir())


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_data_from_a_file(suffix: str, tmp_path: Path) -> None:
    path = zarr_file(tmp_path) if suffix == ".zarr" else save(expression(), tmp_path / "cohort.nc")
    tree = explained(tmp_path / "out.zarr", path)
    xr.testing.assert_identical(tree, explained(tmp_path / "arrays.zarr"))


@pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:The data type")
@pytest.mark.parametrize(
    ("name", "encoding"),
    [("data.zarr", {}), ("data.nc", {"rna": {"zlib": True, "shuffle": True, "chunksizes": (5, 4)}})],
)
def test_what_other_formats_say_of_an_array_stays_with_them(
    name: str, encoding: dict[str, Any], tmp_path: Path
) -> None:
    """xarray writes Zarr of format 3 unless told otherwise."""
    data = expression().to_dataset(name="rna")
    file = tmp_path / name
    data.to_zarr(file) if name.endswith("zarr") else data.to_netcdf(file, encoding=encoding)
    expected = explained(tmp_path / "whole.zarr")
    for given in (file, xr.open_dataset(file, chunks={})["rna"]):
        tree = explained(tmp_path / f"{type(given).__name__}.zarr", given)
        xr.testing.assert_allclose(tree["attribution"], expected["attribution"])
        assert list(tree["reductions/mean"]["tissue"].values) == list(
            expected["reductions/mean"]["tissue"].values
        )


def test_data_backed_by_dask(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    tree = explained(tmp_path / "out.zarr", expression().chunk(sample=5, gene=4))
    xr.testing.assert_identical(tree, explained(tmp_path / "arrays.zarr"))


def test_a_method_by_name_and_as_a_partial(tmp_path: Path) -> None:
    x = expression()
    by_name = attrib.cohort("saliency", net(), x, tmp_path / "a.zarr", target=0)
    xr.testing.assert_allclose(by_name["attribution"].load(), attrib.saliency(net(), x, target=0))
    tunnel = functools.partial(attrib.noise_tunnel, attrib.saliency, n_samples=3)
    noisy = attrib.cohort(tunnel, net(), x, tmp_path / "b.zarr", target=0, block=10)
    eager = attrib.noise_tunnel(attrib.saliency, net(), x, n_samples=3, target=0)
    xr.testing.assert_allclose(noisy["attribution"].load(), eager, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["deletion", "insertion", "infidelity"])
def test_measures_of_attributions_that_are_a_cohort_themselves(name: str, tmp_path: Path) -> None:
    x, f = expression(20), net()
    settings: dict[str, Any] = (
        {"target": 1} if name == "infidelity" else {"target": 1, "steps": 3, "n_random": 2}
    )
    a = attrib.cohort("input_x_gradient", f, x, tmp_path / "a.zarr", block=6, target=1)["attribution"]
    tree = attrib.cohort(
        name, f, x, tmp_path / "out.zarr", block=7, reductions="mean", by="tissue", attribution=a, **settings
    )
    eager = getattr(attrib, name)(f, x, a.load(), **settings)
    rounding = {"rtol": 1e-5, "atol": 1e-5 * float(abs(eager).max())}
    np.testing.assert_allclose(tree["attribution"].values, eager.values, **rounding)
    for coord in ("area", "random_area", "z") if name != "infidelity" else ():
        np.testing.assert_allclose(tree["attribution"][coord], eager[coord], rtol=1e-5, err_msg=coord)
    mean = eager.astype("float64").groupby("tissue").mean()
    np.testing.assert_allclose(tree["reductions/mean"].transpose(*mean.dims), mean, **rounding)
    with pytest.raises(ValueError, match="`attribution` has size 5 along 'sample', `data` has 20"):
        attrib.cohort(name, f, x, tmp_path / "no.zarr", attribution=a[:5], target=1)


def test_measures_of_methods(tmp_path: Path) -> None:
    x, f, method = expression(20), net(), attrib.functional.saliency
    for name in ("sensitivity_max", "randomization"):
        measure = functools.partial(getattr(attrib.functional, name), method)
        tree = attrib.cohort(measure, f, x, tmp_path / f"{name}.zarr", block=7, target=1)
        eager = getattr(attrib, name)(method, f, x, target=1)
        np.testing.assert_allclose(tree["attribution"].values, eager.values, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match=rf"takes a method first; pass functools.partial\(attrib.{name}"):
            attrib.cohort(name, f, x, tmp_path / "no.zarr")


def test_options_with_an_entry_for_each_sample(tmp_path: Path) -> None:
    x = expression()
    targets = np.arange(53) % 3
    baselines = xr.DataArray(
        np.float32(0.1) * np.arange(53, dtype="f4"), dims="sample", coords={"sample": x.sample.values}
    ) + xr.zeros_like(x[0])
    eager = attrib.integrated_gradients(
        net(), x, target=targets.tolist(), baselines=baselines.drop_vars("tissue"), n_steps=5
    )
    shuffled = baselines.drop_vars("tissue").isel(sample=np.random.default_rng(0).permutation(53))
    for k, target in enumerate((targets, targets.tolist(), xr.DataArray(targets, dims="sample"))):
        tree = attrib.cohort(
            "integrated_gradients",
            net(),
            x,
            tmp_path / f"{k}.zarr",
            block=7,
            target=target,
            baselines=shuffled,
            n_steps=5,
        )
        np.testing.assert_allclose(tree["attribution"].values, eager.values, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(tree["target"].values, targets)


def test_labels_of_options_must_be_those_of_the_data(tmp_path: Path) -> None:
    target = xr.DataArray(np.zeros(53, int), dims="sample", coords={"sample": [f"t{i}" for i in range(53)]})
    with pytest.raises(ValueError, match="labels"):
        explained(tmp_path / "out.zarr", target=target)
    assert not (tmp_path / "out.zarr").exists()


def test_several_targets_and_sample_dims(tmp_path: Path) -> None:
    x = expression(54).drop_vars(["sample", "tissue"])
    x = xr.DataArray(
        x.values.reshape(9, 6, 6),
        dims=("subject", "slice", "gene"),
        coords={"site": ("subject", list("aabbccabc"))},
    )
    how: dict[str, Any] = {"targets": "all", "sample_dims": ("subject", "slice")}
    tree = attrib.cohort(
        attrib.saliency,
        net(),
        x,
        tmp_path / "out.zarr",
        block=2,
        reductions=("mean", "top:2"),
        by="site",
        **how,
    )
    eager = attrib.saliency(net(), x, **how)
    np.testing.assert_allclose(tree["attribution"].values, eager.values, rtol=1e-5)
    assert tree["attribution"].dims == ("target", "subject", "slice", "gene")
    mean = eager.astype("float64").mean("slice").groupby("site").mean()
    np.testing.assert_allclose(tree["reductions/mean"].transpose(*mean.dims), mean, rtol=1e-5)
    assert tree["reductions/top:2"].dims == ("site", "target", "rank")


def two() -> xr.Dataset:
    rng = np.random.default_rng(0)
    arrays = {
        "a": (("sample", "gene"), rng.normal(size=(20, 3)).astype("f4")),
        "b": (("sample", "peak"), rng.normal(size=(20, 2)).astype("f4")),
        "mask": (("sample", "gene"), (rng.random((20, 3)) > 0.5).astype("f4")),
    }
    return xr.Dataset(arrays, {"sample": np.arange(20), "site": ("sample", list("ab") * 10)})


def test_several_inputs(tmp_path: Path) -> None:
    f = lambda a, b: a.pow(2).sum(1) + b.pow(3).sum(1)
    x = two()[["a", "b"]]
    tree = attrib.cohort(
        "input_x_gradient",
        f,
        two(),
        tmp_path / "out.zarr",
        inputs=["a", "b"],
        block=6,
        reductions=("mean", "count"),
        by="site",
    )
    eager = attrib.input_x_gradient(f, x)
    np.testing.assert_allclose(tree["a"].values, eager.a.values, rtol=1e-6)
    np.testing.assert_allclose(tree["b"].values, eager.b.values, rtol=1e-6)
    np.testing.assert_allclose(
        tree["reductions/mean/b"], eager.b.astype("f8").groupby("site").mean(), rtol=1e-6
    )


def test_inputs_in_another_order_go_in_by_their_names(tmp_path: Path) -> None:
    """Also where the automatic batch size calls the model."""
    ds = two().rename(a="other", b="a").rename(other="b")[["a", "b", "mask"]]

    def f(b: torch.Tensor, a: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return ((b * scale) ** 2).sum(1) + (a**2).flatten(1).sum(1)

    beside = {"scale": "mask"}
    tree = attrib.cohort("saliency", f, ds, tmp_path / "out.zarr", block=6, additional_forward_args=beside)
    np.testing.assert_allclose(tree["b"].values, abs(2 * ds.b * ds["mask"] ** 2), rtol=1e-5)
    assert json.loads(tree["b"].attrs["params"])["additional_forward_args"] == beside


def test_additional_arguments_are_cut_with_the_blocks(tmp_path: Path) -> None:
    """A function of one's own gets them in the form in which they were given."""

    def method(f: Any, x: xr.Dataset, *, additional_forward_args: tuple = ()) -> xr.Dataset:
        mask, scale = additional_forward_args
        assert mask.sizes["sample"] == x.sizes["sample"]
        a, b, m = (torch.tensor(v.values, requires_grad=True) for v in (x.a, x.b, mask))
        f(a, b, m, scale).sum().backward()
        return x.copy(data={"a": a.grad.numpy(), "b": b.grad.numpy()})

    ds = two()
    tree = attrib.cohort(
        method, Masked(), ds, tmp_path / "out.zarr", block=6, additional_forward_args=("mask", 2.0)
    )
    np.testing.assert_allclose(tree["a"].values, 4 * ds.a * ds["mask"] ** 2, rtol=1e-5)


@pytest.mark.parametrize(
    "kind", ["array", "tensor", "DataArray", "DataFrame", "AnnData", "by name", "shared", "of a block's size"]
)
def test_values_beside_x_reach_the_samples_that_they_belong_to(kind: str, tmp_path: Path) -> None:
    x = expression(20)
    order = np.random.default_rng(1).permutation(20)
    weights = np.linspace(1, 2, 20, dtype="float32")[:, None] * np.ones(6, "float32")
    values = {
        "array": weights,
        "tensor": torch.tensor(weights),
        "DataArray": xr.DataArray(weights, dims=("sample", "k"), coords={"sample": x.sample.values})[order],
        "DataFrame": pd.DataFrame(weights, index=x.sample.values).iloc[order],
        "by name": weights,
        "shared": attrib.shared(torch.tensor(weights)),
        "of a block's size": weights[:4],
    }

    if kind == "AnnData":
        values[kind] = pytest.importorskip("anndata").AnnData(values["DataFrame"].rename(columns=str))

    def f(a: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (a * (w.sum(0) if kind in ("shared", "of a block's size") else w)).sum(1)

    given: Any = {"w": values[kind]} if kind == "by name" else [values[kind]]
    tree = attrib.cohort(attrib.saliency, f, x, tmp_path / "out.zarr", block=4, additional_forward_args=given)
    with pytest.raises(TypeError, match=r"for one value pass \(value,\)"):
        attrib.cohort("saliency", f, x, tmp_path / "no.zarr", additional_forward_args=weights)
    totals = {"shared": weights.sum(0), "of a block's size": weights[:4].sum(0)}
    wanted = np.broadcast_to(totals.get(kind, weights), (20, 6))
    np.testing.assert_allclose(tree["attribution"].values, wanted, rtol=1e-5)


def test_blocks_follow_the_bytes_and_the_chunks_of_the_file(tmp_path: Path) -> None:
    x = expression(600).drop_vars("tissue")
    assert block_size(source(x, None, (), None), "auto") == 256
    assert block_size(source(zarr_file(tmp_path, x, sample=100), None, (), None), "auto") == 200
    wide = xr.DataArray(np.broadcast_to(np.float32(0), (600, 1 << 20)), dims=("sample", "gene"))
    assert block_size(source(wide, None, (), None), "auto") == 4
    with pytest.raises(ValueError, match="block"):
        block_size(source(x, None, (), None), 0)


def test_progress_tells_samples(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    explained(tmp_path / "out.zarr", progress=lambda done, total: reports.append((done, total)))
    assert reports == [(n, 53) for n in (8, 16, 24, 32, 40, 48, 53)]


def test_a_finished_cohort_is_not_computed_again(tmp_path: Path) -> None:
    first = explained(tmp_path / "out.zarr")
    markers = {f: f.stat().st_mtime_ns for f in (tmp_path / "out.zarr" / PRIVATE / DONE).iterdir()}
    xr.testing.assert_identical(first, explained(tmp_path / "out.zarr"))
    assert markers == {f: f.stat().st_mtime_ns for f in (tmp_path / "out.zarr" / PRIVATE / DONE).iterdir()}


def test_a_missing_block_is_computed_again(tmp_path: Path) -> None:
    first = explained(tmp_path / "out.zarr", reductions=(), by=None)
    (tmp_path / "out.zarr" / PRIVATE / DONE / "00000002.json").unlink()
    (tmp_path / "out.zarr" / "attribution" / "2.0").unlink()
    xr.testing.assert_identical(first, explained(tmp_path / "out.zarr", reductions=(), by=None))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": other()}, "differs in model;"),
    "option": ({"n_steps": 6}, "option `n_steps`"),
    "new option": ({"baselines": 1.0}, "option `baselines`"),
    "labels": ({"data": expression().assign_coords(gene=list("ABCDEF"))}, "differs in labels of the data;"),
    "size": ({"data": expression(52)}, "labels of the data"),
    "values": ({"data": expression() * 2}, "other data"),
    "reductions": ({"reductions": ("mean",)}, "`reductions`"),
    "by": ({"by": None}, "`by`"),
    "block": ({"block": 9}, "`block` \\(8, now 9\\)"),
    "keep": ({"keep": False}, "`keep`"),
    "batch size": ({"batch_size": 3}, "`batch_size`"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "out.zarr"
    explained(output)
    return output


@pytest.mark.parametrize(("change", "named"), REFUSED.values(), ids=REFUSED)
def test_another_run_is_refused_by_name(change: dict[str, Any], named: str, finished: Path) -> None:
    how = dict(change)
    if how.pop("by", "tissue") is None:
        how["by"] = None
    with pytest.raises(ValueError, match=named):
        explained(finished, **how)
    assert not (finished / PRIVATE / LOCK).exists()


def test_labels_are_the_same_in_each_dtype_of_texts(finished: Path) -> None:
    x = expression()  # as other formats hold them, and in another order
    explained(finished, x.assign_coords({k: x[k].astype(object) for k in ("sample", "tissue")}))


def test_another_method_is_refused(finished: Path) -> None:
    with pytest.raises(ValueError, match="differs in method, option `n_steps`;"):
        attrib.cohort(
            "saliency", net(), expression(), finished, block=8, reductions=ALL, by="tissue", target=1
        )


def test_another_version_is_refused(tmp_path: Path) -> None:
    explained(tmp_path / "out.zarr")
    record = tmp_path / "out.zarr" / PRIVATE / "run.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"versions": {**content["versions"], "torch": "1.0"}}))
    with pytest.raises(ValueError, match=r"version of torch \(1\.0, now"):
        explained(tmp_path / "out.zarr")


def test_a_file_that_was_touched_is_the_same_data_and_one_that_changed_is_not(tmp_path: Path) -> None:
    path = save(expression(), tmp_path / "cohort.nc")
    first = explained(tmp_path / "out.zarr", path)
    os.utime(path, (1, 1))
    xr.testing.assert_identical(first, explained(tmp_path / "out.zarr", path))
    changed = expression()
    changed[30, 2] += 1
    save(changed, path)
    with pytest.raises(ValueError, match="samples 24 to 31 differ"):
        explained(tmp_path / "out.zarr", path)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "target": ({"target": 7}, ValueError, "target"),
    "option": ({"stepz": 7}, TypeError, "stepz"),
    "reduction": ({"reductions": "median"}, ValueError, "median"),
    "by": ({"by": "gene"}, ValueError, "tissue"),
    "by alone": ({"reductions": ()}, ValueError, "reductions"),
    "nothing": ({"reductions": (), "by": None, "keep": False}, ValueError, "nothing"),
    "cluster": ({"cluster": 0}, ValueError, "cluster"),
    "block": ({"block": 2.5}, ValueError, "block"),
    "data": ({"data": np.zeros((3, 6))}, TypeError, "data"),
    "file": ({"data": "nowhere.zarr"}, FileNotFoundError, "nowhere"),
    "inputs": ({"inputs": ["rna"], "data": expression().rename("x").to_dataset()}, ValueError, "rna"),
}


@pytest.mark.parametrize(("change", "error", "named"), BAD.values(), ids=BAD)
def test_a_refused_argument_leaves_no_folder(
    change: dict[str, Any], error: type[Exception], named: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=named):
        explained(tmp_path / "new" / "out.zarr", **change)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        explained(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_in_use_is_refused_with_the_process_and_the_host(tmp_path: Path) -> None:
    import socket

    inner: list[str] = []

    def again(done: int, total: int) -> None:
        if not inner:
            with pytest.raises(
                ValueError, match=f"process {os.getpid()} on {socket.gethostname()}"
            ) as refusal:
                explained(tmp_path / "out.zarr")
            inner.append(str(refusal.value))

    explained(tmp_path / "out.zarr", progress=again)
    assert inner


def test_a_lock_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    first = explained(tmp_path / "out.zarr")
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    lock = tmp_path / "out.zarr" / PRIVATE / LOCK
    import socket

    lock.write_text(
        json.dumps({"process": int(dead.stdout), "host": socket.gethostname(), "started": "1", "since": ""})
    )
    xr.testing.assert_identical(first, explained(tmp_path / "out.zarr"))
    lock.write_text(json.dumps({"process": 1, "host": "elsewhere", "started": "1", "since": "noon"}))
    with pytest.raises(ValueError, match="process 1 on elsewhere"):
        explained(tmp_path / "out.zarr")
    os.utime(lock, (1, 1))  # no sign of life for long
    xr.testing.assert_identical(first, explained(tmp_path / "out.zarr"))


def poisoned(*samples: int) -> xr.DataArray:
    x = expression()
    x[list(samples), 0] = 1000
    return x


@pytest.mark.parametrize("sample", [0, 30])
def test_a_block_whose_model_raises_is_listed_and_the_others_are_finished(
    sample: int, tmp_path: Path
) -> None:
    start = sample // 8 * 8
    with pytest.warns(
        RuntimeWarning,
        match=f"1 of 7 blocks failed: {sample // 8} .samples {start} to {start + 7}.: .*too much",
    ):
        tree = explained(tmp_path / "out.zarr", poisoned(sample), Picky().eval())
    values = tree["attribution"].values
    assert np.isnan(values[start : start + 8]).all()
    assert np.isfinite(np.delete(values, np.s_[start : start + 8], 0)).all()
    assert "too much" in tree.attrs["failed"]
    assert tree["reductions/count"].sum() == 45
    with pytest.warns(RuntimeWarning, match="1 of 7"):
        xr.testing.assert_identical(tree, explained(tmp_path / "out.zarr", poisoned(sample), Picky().eval()))


def test_blocks_that_failed_are_tried_again_and_merged_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attrib.scale import blocks

    whole = explained(tmp_path / "whole.zarr")
    plain = blocks.Session._explained

    def failing(self: Any, ds: xr.Dataset, start: int, batch_size: int | None) -> Any:
        if start == 16:
            raise RuntimeError("the disk was away")
        return plain(self, ds, start, batch_size)

    monkeypatch.setattr(blocks.Session, "_explained", failing)
    with pytest.warns(RuntimeWarning, match="the disk was away"):
        explained(tmp_path / "out.zarr")
    monkeypatch.undo()
    tree = explained(tmp_path / "out.zarr")
    assert "failed" not in tree.attrs
    xr.testing.assert_identical(tree, whole)


def test_if_every_block_fails_so_does_the_call(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="too much"):
        explained(tmp_path / "out.zarr", expression() + 1000, Picky().eval())


def test_a_factory_with_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(other().state_dict(), weights)
    expected = explained(tmp_path / "a.zarr", model=other())
    for k, model in enumerate(("tests.scale.models:net", net, net())):
        tree = explained(tmp_path / f"{k}.zarr", model=model, weights=weights)
        np.testing.assert_array_equal(tree["attribution"], expected["attribution"])


def test_threads_of_torch_are_those_of_the_first_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    explained(tmp_path / "out.zarr")
    record = json.loads((tmp_path / "out.zarr" / PRIVATE / "run.json").read_text())
    assert record["threads"] == before == torch.get_num_threads()
    assert isinstance(record["batch_size"], int)


def killed_at(seconds: float, data: Path, output: Path, *workers: str) -> bool:
    """Start a cohort in a process and kill it after some time; whether it was still at work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ATTRIB_TEST_SLEEP": "0.03", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scale.killed", str(data), str(output), *workers], cwd=ROOT, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    begun = time.monotonic()
    while not (output / PRIVATE / DONE).is_dir() and process.poll() is None:
        assert time.monotonic() - begun < 300
        time.sleep(0.01)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()[-2000:]
    return process.returncode != 0


def test_killed_at_random_moments_and_continued_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTRIB_TEST_SLEEP", "0")
    data = zarr_file(tmp_path)
    how: dict[str, Any] = {
        "model": "tests.scale.models:Slow",
        "block": 4,
        "reductions": ("mean", "var", "count", "quantiles", "top:2"),
    }
    whole = explained(tmp_path / "whole.zarr", data, **how)
    draw = random.Random(0)
    kills = sum(killed_at(draw.uniform(0, 1.0), data, tmp_path / "out.zarr") for _ in range(3))
    assert kills >= 2
    (tmp_path / "out.zarr" / "attribution" / "0.0.0123456789.partial").touch()
    left = tmp_path / "out.zarr" / PRIVATE / DONE / ".00000001-abcdef01.json"
    left.touch()
    xr.testing.assert_identical(explained(tmp_path / "out.zarr", data, **how), whole)
    assert not left.exists()
    assert not list((tmp_path / "out.zarr").rglob("*.partial"))


def test_a_job_is_pickled_without_its_arrays() -> None:
    x = expression(5000)
    shipped = source(x, None, (), None).shipped()
    assert len(pickle.dumps(shipped)) < 2000


def chosen(y: torch.Tensor) -> torch.Tensor:
    return y[:, 0] if y.ndim in {1, 2, 3} else y


def test_digests_tell_options_apart_and_are_the_same_in_every_process() -> None:
    def entry(k: int) -> Any:
        return lambda y: y[:, k]

    layers = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    values = [None, 0, 0.0, "0", [0], entry(0), entry(1), chosen, np.zeros(2), np.zeros(2, int), *layers]
    assert len({digest_of(v) for v in values}) == len(values)
    code = "from tests.scale.test_cohort import *; print(digest_of(chosen), digest_of({'b': {1, 2}, 'a': object()}))"
    reports = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1",)
    }  # fmt: skip
    reports.add(f"{digest_of(chosen)} {digest_of({'b': {1, 2}, 'a': object()})}\n")
    assert len(reports) == 1
