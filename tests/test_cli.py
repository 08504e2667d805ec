"""The command line as a user meets it: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
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
from safetensors.torch import save_file

import attrib
from attrib.cli.commands import app
from attrib.cli.options import assignments
from attrib.cli.run import _refusal, _with_its_flag, repeated, run, with_flags
from attrib.io import load
from attrib.workflows.explain import explain
from attrib.workflows.fcgr.study import checked_methods

CODE = """
import time
import torch

def images():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(18, 3))

def genes():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 1)
    def forward(self, rna, atac):
        return self.layer(rna)[:, 0] * torch.tanh(atac).sum(1)

class pair(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(1, 2, 3)
    def forward(self, a, b):
        return (self.a(a).tanh().mean((1, 2, 3)) * self.b(b).tanh().mean((1, 2, 3)))

class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.01)
        return x.sum(1)

def training():
    return torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Dropout()).train()

def broken():
    raise RuntimeError("no such luck\\nsecond line")

def needy(width, depth=2):
    return None

def nothing():
    return 3

number = 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's code, weights and data."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(CODE)
    (folder / "junk.pt").write_bytes(b"\x89PK\x03\x04\xff\xfe junk")
    (folder / "precious.csv").write_text("gene,count\nINS,3\n")
    (folder / "crash.py").write_text("1 / 0\n")
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.normal(size=(4, 1, 5, 5)).astype("float32"))
    np.save(folder / "whole.npy", rng.integers(0, 9, size=(4, 6)))
    np.save(folder / "number.npy", np.float32(3))
    np.save(folder / "text.npy", np.array([["a", "b"]]))
    np.savez(folder / "two.npz", atac=np.ones((4, 2), "f4"), rna=np.ones((4, 6), "f4"))
    genes = xr.DataArray(
        rng.normal(size=(4, 6)).astype("float32"),
        dims=("cell", "gene"),
        coords={"cell": list("abcd"), "gene": [f"GENE{i}" for i in range(6)]},
        name="expression",
        attrs={"units": "log1p(CPM)"},
    )
    genes.to_netcdf(folder / "genes.nc")
    genes.transpose("gene", "cell").to_netcdf(folder / "turned.nc")
    genes.to_dataset().to_zarr(folder / "genes.zarr", zarr_format=2)
    genes.where(genes.cell != "b").to_netcdf(folder / "nan.nc")
    genes.isel(cell=slice(0, 0)).to_netcdf(folder / "empty.nc")
    genes[:2].rename(cell="baseline").drop_vars("baseline").to_netcdf(folder / "baselines.nc")
    genes.mean("cell").to_netcdf(folder / "mean.nc")
    (folder / "broken.nc").write_bytes(b"no netCDF")
    (folder / "classes.txt").write_text("alpha\nbeta\ndelta\n")
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    torch.save(model.state_dict(), folder / "genes.pt")
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, folder / "checkpoint.pt")
    torch.save(model, folder / "pickled.pt")
    save_file(model.state_dict(), folder / "genes.safetensors")
    save_file({"0.weight": torch.zeros(1), "z": torch.zeros(1)}, folder / "other.safetensors")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return place


def call(text: str, *more: str) -> int:
    return run([*text.split(), *more])


GENES = "explain --model mine:genes --data genes.nc --methods saliency,integrated_gradients --target 1"
IMAGES = "explain --model mine:images --data images.npy --dims sample,channel,y,x --methods saliency"


def test_genes(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call(f"{GENES} --classes alpha,beta,delta --output {out}") == 0
    message = capsys.readouterr()
    assert message.err == ""
    assert "integrated_gradients" in message.out
    assert {p.name for p in out.iterdir()} == {
        "attributions.nc", "summary.csv", "agreement.csv", "run.json", "comparison.png", "mean_per_class.png", "index.html",
    }  # fmt: skip
    results = load(out / "attributions.nc")
    assert list(results) == ["saliency", "integrated_gradients"]
    a = results["integrated_gradients"]
    assert a.dims == ("cell", "gene")
    assert list(a["cell"].values) == list("abcd")
    assert abs(a["delta"]).max() < 1e-4
    table = pd.read_csv(out / "summary.csv")
    assert len(table) == 8
    assert set(table["at_gene"]) <= {f"GENE{i}" for i in range(6)}
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "finished"
    assert [m["result"] for m in record["methods"]] == ["saliency", "integrated_gradients"]
    assert record["methods"][1]["evaluations"] <= 5 + 4 * 33  # rtol=1e-3 on a smooth network
    assert json.loads(a.attrs["params"])["rtol"] == 1e-3
    assert record["command"].startswith("attrib explain --model mine:genes")


@pytest.mark.parametrize(
    ("options", "dims", "target"),
    [
        ("--target predicted", ("sample", "channel", "y", "x"), None),
        ("--target all --classes a,b,c", ("target", "sample", "channel", "y", "x"), ["a", "b", "c"]),
        ("--target c,a --classes a,b,c", ("target", "sample", "channel", "y", "x"), ["c", "a"]),
        ("--target 0,2", ("target", "sample", "channel", "y", "x"), [0, 2]),
        ("--target beta --classes classes.txt", ("sample", "channel", "y", "x"), None),
    ],
)
def test_targets(here: Path, tmp_path: Path, options: str, dims: tuple, target: list | None) -> None:
    assert call(f"{IMAGES} {options} --output {tmp_path / 'out'}") == 0
    a = load(tmp_path / "out" / "attributions.nc", "saliency")
    assert a.dims == dims
    if target:
        assert a["target"].values.tolist() == target
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 5_000


def test_every_method_skips_what_does_not_apply(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(
            f"explain --model mine:genes --data genes.nc --target 0 --methods all --set n_samples=2 --output {tmp_path / 'o'}"
        )
        == 0
    )
    message = capsys.readouterr()
    results = load(tmp_path / "o" / "attributions.nc")
    assert {"saliency", "input_x_gradient", "integrated_gradients", "gradient_shap", "noise_tunnel"} <= set(
        results
    )
    assert all(name in message.out for name in results)
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    for method in record["methods"]:
        if "skipped" in method:
            assert f"{method['result']} does not apply" in message.out
    assert 'grad_cam does not apply: `layer` is "auto", but no layer has positions' in message.out


def test_maps_of_layers(here: Path, tmp_path: Path) -> None:
    """They fit the file, the table and the pictures beside maps of the input."""
    out = tmp_path / "o"
    words = "--methods saliency,grad_cam,layer_cam,guided_grad_cam --target all"
    assert call(f"{IMAGES} {words} --output {out}".replace("--methods saliency --", "--"), "--set", 'layer_cam.layer=["0","1"]') == 0  # fmt: skip
    results = load(out / "attributions.nc")
    assert list(results) == ["saliency", "grad_cam", "layer_cam", "guided_grad_cam"]
    assert results["grad_cam"].dims == ("target", "sample", "y", "x")
    assert results["grad_cam"].attrs["layer"] == "1"
    assert results["layer_cam"].dims == ("target", "layer", "sample", "y", "x")
    assert results["guided_grad_cam"].dims == results["saliency"].dims
    table = pd.read_csv(out / "summary.csv")
    assert (table[table.method == "grad_cam"]["sum"] > 0).any()
    assert {"comparison.png", "mean_per_class.png"} <= {p.name for p in out.iterdir()}


def test_a_map_is_drawn_with_the_input_it_lies_on(here: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "pair.npz", b=rng.normal(size=(3, 1, 5, 5)).astype("f4"), a=rng.normal(size=(3, 1, 6, 6)).astype("f4"))  # fmt: skip
    for onto, drawn in (("a", "a_comparison.png"), ("b", "b_comparison.png")):
        out = tmp_path / onto
        words = ["explain", "--model", "mine:pair", "--data", str(tmp_path / "pair.npz"), "--variables", "a,b",
                 "--methods", "grad_cam", "--set", f"onto={onto}", "--set", f"layer={onto}", "--output", str(out)]  # fmt: skip
        assert run(words) == 0
        assert [p.name for p in out.iterdir() if "comparison" in p.name] == [drawn]
        assert load(out / "attributions.nc", "grad_cam").dims == ("sample", f"{onto}_2", f"{onto}_3")


@pytest.mark.parametrize("weights", ["genes.pt", "checkpoint.pt", "genes.safetensors"])
def test_weights_are_used(here: Path, tmp_path: Path, weights: str) -> None:
    results = []
    for k, more in enumerate(["", f"--weights {weights}"]):
        assert call(f"{GENES} {more} --output {tmp_path / str(k)}") == 0
        results.append(load(tmp_path / str(k) / "attributions.nc", "saliency"))
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    model.load_state_dict(torch.load("genes.pt"))
    x = torch.from_numpy(xr.load_dataarray("genes.nc").values)
    np.testing.assert_allclose(results[1]["prediction"], model(x)[:, 1].detach(), rtol=1e-6)
    assert not np.allclose(results[0], results[1])


def test_exported_model(here: Path, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (torch.ones(3, 6),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "m.pt2")
    command = (
        f"explain --model {tmp_path / 'm.pt2'} --data genes.nc --target 1 --methods integrated_gradients"
    )
    assert call(f"{command} --output {tmp_path / 'o'}") == 0
    a = load(tmp_path / "o" / "attributions.nc", "integrated_gradients")
    assert abs(a["delta"]).max() < 1e-4


def test_model_exported_for_one_batch_size(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = torch.export.export(torch.nn.Linear(6, 2), (torch.ones(4, 6),))
    torch.export.save(exported, tmp_path / "m.pt2")
    assert (
        call(f"explain --model {tmp_path / 'm.pt2'} --data genes.nc --target 1 --output {tmp_path / 'o'}")
        == 2
    )
    assert "export it with a batch of any size" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["genes.zarr", "turned.nc --dims cell,gene", "whole.npy"])
def test_other_data(here: Path, tmp_path: Path, data: str) -> None:
    assert (
        call(
            f"explain --model mine:genes --data {data} --target 1 --methods saliency --output {tmp_path / 'o'}"
        )
        == 0
    )
    torch.manual_seed(0)  # as in CODE
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    values = np.load("whole.npy") if data == "whole.npy" else xr.load_dataarray("genes.nc").values
    expected = attrib.functional.saliency(model, torch.from_numpy(values).float(), target=1)
    a = load(tmp_path / "o" / "attributions.nc", "saliency")
    np.testing.assert_allclose(a.transpose(..., a.dims[-1]), expected, rtol=1e-5)


def test_two_inputs(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert (
        call(
            f"explain --model mine:Two --data two.npz --variables rna,atac --methods saliency --output {out}"
        )
        == 0
    )
    results = load(out / "attributions.nc", "saliency")
    rna, atac = results["rna"], results["atac"]  # of w(rna) sum(tanh(atac)) at ones
    assert (rna.shape, atac.shape) == ((4, 6), (4, 2))
    np.testing.assert_allclose(rna, np.broadcast_to(rna[:1], (4, 6)), rtol=1e-5)
    score = np.abs(rna["prediction"].values)[:, None]
    expected = score / (2 * np.tanh(1)) * (1 - np.tanh(1) ** 2)
    np.testing.assert_allclose(atac, np.broadcast_to(expected, (4, 2)), rtol=1e-4)
    assert (out / "rna_comparison.png").exists()
    assert set(pd.read_csv(out / "summary.csv")["input"]) == {"rna", "atac"}


@pytest.mark.parametrize("baselines", ["0.5", "mean.nc", "baselines.nc"])
def test_baselines(here: Path, tmp_path: Path, baselines: str) -> None:
    methods = "integrated_gradients,gradient_shap"
    command = (
        f"explain --model mine:genes --data genes.nc --target 1 --methods {methods} --baselines {baselines}"
    )
    assert call(f"{command} --output {tmp_path / 'o'}") == 0
    a = load(tmp_path / "o" / "attributions.nc", "integrated_gradients")
    x = xr.load_dataarray("genes.nc")
    zero = {"0.5": 0.5, "mean.nc": x.mean("cell").values, "baselines.nc": x[:2].mean("cell").values}[
        baselines
    ]
    sys.path.insert(0, str(here))
    import mine

    model = mine.genes()
    start = model(torch.as_tensor(np.broadcast_to(zero, (1, 6)).astype("f4")))[:, 1].detach()
    np.testing.assert_allclose(a.sum("gene"), a["prediction"] - start.numpy(), atol=1e-4)
    sys.path.remove(str(here))


def test_values_are_spelled_as_in_json_or_in_python() -> None:
    texts = ["a=False", "b=false", "c=None", "d=3", "e=zeros"]
    assert assignments(texts) == {"a": False, "b": False, "c": None, "d": 3, "e": "zeros"}
    assert assignments(["w=1,8", "s=-1.5,2", "n=a,b", "d=2026-11"]) == {
        "w": [1, 8],
        "s": [-1.5, 2],
        "n": "a,b",
        "d": "2026-11",
    }


def test_set(here: Path, tmp_path: Path) -> None:
    assert call(f"{GENES} --set n_steps=7 --set saliency.absolute=false --output {tmp_path / 'o'}") == 0
    results = load(tmp_path / "o" / "attributions.nc")
    params = json.loads(results["integrated_gradients"].attrs["params"])
    assert params["n_steps"] == 7  # instead of `rtol`
    assert params.get("rtol") is None
    assert (results["saliency"] < 0).any()


WRONG = {
    "no such command": ("explode", "No such command 'explode'"),
    "no such option": (f"{GENES} --outptu x --output OUT", "No such option"),
    "no output": (GENES, "Missing option '--output'"),
    "not a number": (f"{GENES} --seed x --output OUT", "Invalid value for '--seed'"),
    "no data": ("explain --model mine:genes --data no.nc --output OUT", "attrib: --data: there is no data file no.nc"),
    "data of no format": ("explain --model mine:genes --data genes.doc --output OUT", "expected one of .nc"),
    "broken data": ("explain --model mine:genes --data broken.nc --output OUT", "broken.nc cannot be read as .nc"),
    "text data": ("explain --model mine:genes --data text.npy --output OUT", "expected numbers"),
    "empty data": ("explain --model mine:genes --data empty.nc --output OUT", "expected at least one sample"),
    "nan": ("explain --model mine:genes --data nan.nc --target 0 --output OUT", "--data has NaN or infinite values in 1 of 4"),
    "a target by --set": (f"{GENES} --set target=1 --output OUT", "--set target: no such argument"),
    "baselines for nobody": ("explain --model mine:genes --data genes.nc --methods saliency --target 1 --baselines 0 --output OUT", "--baselines: saliency compare with none"),
    "baselines of no form": (f"{GENES} --baselines classes.txt --output OUT", "attrib: --baselines: "),
    "a layer by --set": ("explain --model mine:genes --data genes.nc --methods grad_cam --target 1 --output OUT", "--set layer is"),
    "two variables": ("explain --model mine:genes --data two.npz --output OUT", "pass --variables"),
    "a variable twice": ("explain --model mine:genes --data two.npz --variables rna,rna --output OUT", "--variables is rna, rna, expected different"),
    "a single number": ("explain --model mine:genes --data number.npy --output OUT", "--data: x in number.npy is a single number"),
    "only the file's name": ("explain --model mine:genes --data ./text.npy --output OUT", "attrib: --data: "),
    "no variable": ("explain --model mine:genes --data two.npz --variables x --output OUT", "no variable 'x'"),
    "too few dims": ("explain --model mine:images --data images.npy --dims sample,y,x --target 0 --output OUT", "names 3 dims"),
    "dims twice": ("explain --model mine:images --data images.npy --dims a,a,b,c --target 0 --output OUT", "same name twice"),
    "other dims": (f"{GENES} --dims cell,peak --output OUT", "has the dims cell, gene"),
    "wrong shape": ("explain --model mine:images --data genes.nc --target 0 --output OUT", "fails on one sample of shape"),
    "no model": ("explain --model mine --data genes.nc --output OUT", "expected package.module:factory"),
    "a file of code": ("explain --model ./mine.py:genes --data genes.nc --output OUT", "; pass mine:genes"),
    "no module": ("explain --model yours:genes --data genes.nc --output OUT", "cannot import yours"),
    "crashing module": ("explain --model crash:f --data genes.nc --output OUT", "importing crash raised ZeroDivision"),
    "no factory": ("explain --model mine:gene --data genes.nc --output OUT", "it has images, genes"),
    "needy factory": ("explain --model mine:needy --data genes.nc --output OUT", "needs the arguments width"),
    "broken factory": ("explain --model mine:broken --data genes.nc --output OUT", "raised RuntimeError: no such luck"),
    "no callable": ("explain --model mine:nothing --data genes.nc --output OUT", "returned a int"),
    "a number": ("explain --model mine:number --data genes.nc --output OUT", "mine:number is a int"),
    "weights as model": ("explain --model genes.pt --data genes.nc --output OUT", "pass it as --weights"),
    "no pt2": ("explain --model no.pt2 --data genes.nc --output OUT", "attrib: --model: there is no model file no.pt2"),
    "no weights": (f"{GENES} --weights no.pt --output OUT", "attrib: --weights: there is no weights file"),
    "weights by a longer way": (f"{GENES} --weights ./other.safetensors --output OUT", "attrib: --weights: "),
    "an empty value": (f"{GENES} --weights= --output OUT", "--weights is empty, expected a value"),
    "pickled weights": (f"{GENES} --weights pickled.pt --output OUT", "cannot be read as weights only"),
    "weights of no form": (f"{GENES} --weights junk.pt --output OUT", "junk.pt cannot be read as weights only (UnpicklingError: Weights only load failed.); write"),
    "other weights": (f"{GENES} --weights other.safetensors --output OUT", "3 missing: 0.bias, 2.weight, 2.bias; 1 not"),
    "no weights inside": (f"{GENES} --weights genes.nc --output OUT", "cannot be read as weights only"),
    "no method": ("explain --model mine:genes --data genes.nc --methods saliance --output OUT", "there is no method 'saliance'"),
    "no methods": ("explain --model mine:genes --data genes.nc --methods , --output OUT", "--methods is empty, expected a value"),
    "target too large": (f"{GENES} --target 3 --output OUT", "3"),
    "no target": ("explain --model mine:genes --data genes.nc --output OUT", '"predicted"'),
    "name without classes": (f"{GENES} --target beta --output OUT", "give --classes"),
    "no such class": (f"{GENES} --target eta --classes a,b,c --output OUT", "not among the classes a, b, c"),
    "too few classes": (f"{GENES} --classes a,b --output OUT", "2 names, but the model has 3"),
    "classes twice": (f"{GENES} --classes a,b,a --output OUT", "'a' twice"),
    "no classes file": (f"{GENES} --classes no.txt --output OUT", "no file no.txt"),
    "no baselines": (f"{GENES} --baselines zero --output OUT", "expected a number or a file"),
    "other baselines": (f"{GENES} --baselines images.npy --output OUT", "images.npy"),
    "no batch size": (f"{GENES} --batch-size 0 --output OUT", "--batch-size is '0'"),
    "no device": (f"{GENES} --device tpu9 --output OUT", "--device is 'tpu9'"),
    "no setting": (f"{GENES} --set steps=3 --output OUT", "--set steps: no such argument; there are"),
    "a setting that is the library's": (f"{GENES} --set progress=true --output OUT", "--set progress: no such argument"),
    "no text": (f"{GENES} --classes genes.nc --output OUT", "--classes: genes.nc is no text"),
    "no value": (f"{GENES} --set n_steps= --output OUT", "--set n_steps is empty, expected a value"),
    "no assignment": (f"{GENES} --set n_steps --output OUT", "expected name=value"),
    "bad setting": (f"{GENES} --set n_steps=-1 --output OUT", "n_steps"),
    "output is a file": (f"{GENES} --output genes.nc", "which is a file"),
    "output is foreign": (f"{GENES} --output .", "not attrib's"),
    "demo on foreign": ("demo --output .", "not attrib's"),
    "bench all": ("bench --model mine:genes --data genes.nc --target all", "bench times one target"),
    "bench over data": ("bench --model mine:genes --data genes.nc --output precious.csv", "--output is precious.csv, which holds something else"),
    "bench classes": ("bench --model mine:genes --data genes.nc --classes a,b", "--classes has 2 names, but a sample's output has shape (3,)"),
    "bench method": ("bench --model mine:genes --data genes.nc --methods x", "'x'"),
    "bench output": ("bench --model mine:genes --data genes.nc --output x.txt", "ends in .csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    text, words = WRONG[case]
    before = sorted(here.iterdir())
    out = tmp_path / "out"
    assert call(text.replace("OUT", str(out))) == 2
    message = capsys.readouterr().err
    assert message.startswith("attrib: ")
    assert message.count("\n") == 1
    assert words in message
    assert not out.exists()
    assert [p for p in sorted(here.iterdir()) if p.name != "__pycache__"] == [
        p for p in before if p.name != "__pycache__"
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("explain --data x.nc", "--batch-size is 0; --set is a; add --overwrite; --set n_steps and `learning_rate` stay"),
        ("--traceback explain", "--batch-size is 0; --set is a; add --overwrite; --set n_steps and `learning_rate` stay"),
        ("fcgr --data x.csv", "--batch-size is 0; --set is a; add --overwrite; --set n_steps and `learning_rate` stay"),
        ("fcgr train", "--batch-size is 0; `options` is a; add --overwrite; `n_steps` and --learning-rate stay"),
        ("explode", "`batch_size` is 0; `options` is a; add `overwrite=True`; `n_steps` and `learning_rate` stay"),
    ],
)  # fmt: skip
def test_names_of_arguments_become_flags_of_the_command(arguments: str, text: str) -> None:
    message = "`batch_size` is 0; `options` is a; add `overwrite=True`; `n_steps` and `learning_rate` stay"
    assert with_flags(message, arguments.split()) == text


def test_a_word_of_a_message_is_no_value_of_a_flag() -> None:
    words = ["sequence", "--data", "my/a.fa", "--pictures", "none", "--bed", "b.bed"]
    assert _with_its_flag("none of 2 records can be used", words) == "none of 2 records can be used"
    assert _with_its_flag("b.bed is empty; none is left", words) == "--bed: b.bed is empty; none is left"
    assert _with_its_flag("--data: b.bed has no tab", words) == "--bed: b.bed has no tab"
    assert (
        _with_its_flag("--samples: a.fa has no x", [*words, "--samples", "x"]) == "--samples: a.fa has no x"
    )
    assert _with_its_flag("a.fa lacks it; pass --columns", words) == "a.fa lacks it; pass --columns"


def test_a_setting_is_called_so_where_a_flag_has_its_name() -> None:
    assert with_flags("`n_samples` is 0", ["fcgr", "--set", "n_samples=0"]) == "--set n_samples is 0"
    assert with_flags("`n_samples` is 0", ["fcgr", "--n-samples", "0"]) == "--n-samples is 0"
    assert (
        with_flags("`slice_range`, `atlas_names`, `key_mm`, `f`", ["mri"])
        == "--input, --atlas, --set key_slices, --model"
    )


def test_a_name_is_renamed_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("fcgr train --data x.csv --columns label=a,label=b") == 2
    assert capsys.readouterr().err == "attrib: --columns names 'label' twice\n"


def test_python_names_the_argument_and_the_command_line_its_flag(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"^`target` is 'beta': to name a class, give `classes`"):
        explain("mine:genes", "genes.nc", tmp_path / "out", target="beta")
    assert call(f"{GENES} --target beta --output {tmp_path / 'out'}") == 2
    assert "--target is 'beta': to name a class, give --classes" in capsys.readouterr().err


def test_errors_outside_the_command_line_name_no_flag() -> None:
    package = Path(attrib.__file__).parent
    files = [f for f in package.rglob("*.py") if "cli" not in f.relative_to(package).parts]
    raised = [n for f in files for n in ast.walk(ast.parse(f.read_text())) if isinstance(n, ast.Raise)]
    texts = [c.value for n in raised for c in ast.walk(n) if isinstance(c, ast.Constant)]
    assert not [t for t in texts if isinstance(t, str) and re.search(r"(^|[ (`])--[a-z]", t)]


def test_training_mode_is_put_right(here: Path, tmp_path: Path) -> None:
    assert (
        call(
            f"explain --model mine:training --data genes.nc --target 0 --methods saliency --output {tmp_path}"
        )
        == 0
    )


def test_a_second_run(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o"
    assert call(f"{GENES} --output {out}") == 0
    before = (out / "attributions.nc").read_bytes()
    assert call(f"{GENES} --output {out}") == 2
    assert "add --overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert call(f"{GENES} --target 99 --output {out} --overwrite") == 2
    assert (out / "attributions.nc").read_bytes() == before
    assert call(f"{GENES.replace(',integrated_gradients', '')} --output {out} --overwrite") == 0
    assert list(load(out / "attributions.nc")) == ["saliency"]
    assert (out / "notes.txt").read_text() == "mine"


# a shell that starts a job in the background has it ignore interrupts, and its children too; a terminal does not
HEEDING_INTERRUPTS = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("attrib", run_name="__main__")
"""


def test_interrupted(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    command = (f"explain --model mine:Slow --data genes.nc --methods saliency,integrated_gradients --batch-size 1 "
               f"--set n_steps=400 --output {out}")  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", HEEDING_INTERRUPTS, *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(2400):  # two minutes: a busy machine takes long to import torch
            if (out / "attributions.nc").exists() and "saliency" in (out / "run.json").read_text():
                break
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.endswith("attrib: interrupted; the files that are there are whole\n")
    assert "Traceback" not in err
    assert {p.name for p in out.iterdir()} == {"attributions.nc", "run.json"}
    assert list(load(out / "attributions.nc")) == ["saliency"]
    assert json.loads((out / "run.json").read_text())["state"] == "interrupted"


def test_bench(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.csv"
    command = "bench --model mine:genes --data genes.nc --methods saliency --batch-sizes 2 --repeats 1 --max-samples 2"
    assert call(f"{command} --target b --classes a,b,c --output {file}") == 0
    assert "saliency" in capsys.readouterr().out
    assert list(pd.read_csv(file)["method"]) == ["forward+backward", "saliency"]


def test_version_help_and_methods(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    from attrib.workflows.plan import ALL_METHODS

    assert call("--version") == 0
    assert capsys.readouterr().out == f"attrib {version('attrib')}\n"
    assert run([]) == 0
    assert "explain" in capsys.readouterr().out
    assert call("methods") == 0
    message = capsys.readouterr().out
    assert all(name in message for name in ALL_METHODS)


def test_what_is_no_fault_of_the_user(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that fails by surprise, of the kinds of errors that refusals have too; never a `raise` of attrib's own."""
    monkeypatch.setattr("attrib.workflows.explain.carry_out", None)
    assert call(f"{GENES} --output {tmp_path / 'o'}") == 1
    message = capsys.readouterr().err
    assert message.startswith(
        "attrib: TypeError: 'NoneType' object is not callable; this is a fault of attrib"
    )
    assert message.endswith(", not of the command: add --traceback to see where\n")
    assert message.count("\n") == 1
    assert call(f"{GENES} --output {tmp_path / 'o'} --traceback") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_users_model_raises(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its errors are the user's to mend, wherever they come: the message says where."""
    (here / "late.py").write_text(
        "import torch\nseen = []\n\n\nclass Late(torch.nn.Module):\n    def forward(self, x):\n        seen.append(1)\n"
        "        if len(seen) > 4:\n            raise RuntimeError('too late')\n        return x.sum(1)\n"
    )
    command = "explain --model late:Late --data genes.nc --methods integrated_gradients --batch-size 1"
    assert call(f"{command} --output {tmp_path / 'o'}") == 2
    assert re.search(r"late\.py, line 9, raised RuntimeError: too late", capsys.readouterr().err)


def test_a_traceback_of_a_refusal_comes_on_request(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (f"--traceback {GENES} --target 9", f"{GENES} --target 9 --traceback"):
        assert call(f"{words} --output {tmp_path / 'o'}") == 2
        message = capsys.readouterr().err
        assert "Traceback (most recent call last)" in message
        assert message.splitlines()[-1].startswith("attrib: ")


def commands() -> dict[str, Any]:
    """Every command by its words."""
    from typer.main import get_command

    def below(command: Any, path: str) -> dict[str, Any]:
        inner = getattr(command, "commands", {})
        return {path: command} | {
            k: v for name, c in inner.items() for k, v in below(c, f"{path} {name}").items()
        }

    return below(get_command(app), "attrib")


@pytest.mark.parametrize("path", commands())
def test_every_help_has_two_examples_that_parse(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split()[1:], "-h"]) == 0
    short = capsys.readouterr().out
    assert run([*path.split()[1:], "--help"]) == 0
    assert capsys.readouterr().out == short
    examples = short.partition("Examples:\n")[2].replace("\\\n", " ").strip().splitlines()
    assert len(examples) == 2
    for example in examples:
        words = shlex.split(example.partition("|")[0])
        assert " ".join(words).startswith("attrib" if path == "attrib" else path)
        name = " ".join(words[: 2 + (" ".join(words[:3]) in commands())])
        context = commands()[name].make_context(name, repeated(words[len(name.split()) :]))
        assert not context.args
        if name == "attrib fcgr" and context.params["methods"]:
            checked_methods(",".join(context.params["methods"]).split(","), ())


def test_a_full_disk_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert _refusal(OSError(28, "No space left on device"), ["cells", "--output", "a"]) == 2
    assert capsys.readouterr().err.startswith("attrib: no space is left where --output is; the files")


ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "notebooks").glob("*.md")),
]


def written_commands(page: Path) -> list[str]:
    """The commands of a page's blocks that begin with `attrib`."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for b in blocks for line in b.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"attrib [a-z]+( |$)", line)]


@pytest.mark.parametrize("page", [p for p in PAGES if written_commands(p)], ids=lambda p: p.stem)
def test_commands_of_pages_and_notebooks_parse(page: Path) -> None:
    """An option that went, or was never there, is found here and not by a reader."""
    for line in written_commands(page):
        words = shlex.split(line.partition("|")[0], comments=True)
        name = " ".join(words[: 2 + (" ".join(words[:3]) in commands())])
        given = [w for w in words[len(name.split()) :] if w not in ("...", "…")]
        known = {o for q in commands()[name].params for o in (*q.opts, *q.secondary_opts)} | {"-h", "--help"}
        unknown = {w.partition("=")[0] for w in given if w.startswith("--")} - known
        assert not unknown, line


SECOND_NAMES = {  # the words of the field
    "attrib cells": {"images", "targets", "max-images"}, "attrib mri": {"subjects"}, "attrib judge": {"samples"},
    "attrib bench": {"samples"}, "attrib sequence": {"max-records"}, "attrib fcgr": {"n-samples", "layers"},
}  # fmt: skip


@pytest.mark.parametrize(
    "path", [p for p in commands() if p.count(" ") == 1 and p not in ("attrib methods", "attrib demo")]
)
def test_commands_share_a_vocabulary(path: str) -> None:
    """What every study takes is called the same, and that name comes first where there is a second."""
    options = [p.opts for p in commands()[path].params]
    words = {o[0].removeprefix("--") for o in options}
    lacking = {
        "attrib fcgr": {"weights", "classes", "target"},
        "attrib bench": {"batch-size"},
    }  # one output; several sizes
    shared = {"data", "model", "weights", "classes", "target", "methods", "batch-size", "device", "output"}
    assert shared - lacking.get(path, set()) <= words
    assert {w.removeprefix("--") for o in options for w in o[1:]} <= SECOND_NAMES.get(path, set())
    kinds = {p.opts[0]: p.multiple for p in commands()[path].params}
    assert kinds["--methods"]


def test_lists_are_repeated_or_have_commas(here: Path, tmp_path: Path) -> None:
    methods = ["saliency", "input_x_gradient"]
    forms = (
        ["--methods", ",".join(methods)],
        ["--methods", *methods],
        [w for m in methods for w in ("--methods", m)],
    )
    for k, form in enumerate(forms):
        words = f"explain --model mine:genes --data genes.nc --target 0 --output {tmp_path / str(k)}".split()
        assert run([*words, *form]) == 0
        assert list(load(tmp_path / str(k) / "attributions.nc")) == methods


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("explian", "'explain'"), ("fcgr trian", "'train'"), (f"{GENES} --outptu x", "--output"),
        (f"{GENES} --methods saliance --output OUT", "'saliency'"), (f"{GENES} --target bet --classes alpha,beta,gamma --output OUT", "'beta'"),
        (f"{GENES} --set n_step=3 --output OUT", "'n_steps'"), (f"{GENES} --set saliency.absolut=3 --output OUT", "'absolute'"),
        (f"{GENES} --set integrated_gradients.quadrature=gauslegendre --output OUT", "'gausslegendre'"),
    ],
)  # fmt: skip
def test_the_nearest_name_is_told(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, meant: str
) -> None:
    assert call(words.replace("OUT", str(tmp_path / "out"))) == 2
    message = capsys.readouterr().err
    assert re.search(rf"([Dd]id you mean|Possible options:) '?{meant}", message)
    assert not (tmp_path / "out").exists()


def test_the_shell_completes_commands_options_and_methods() -> None:
    def completed(line: str) -> str:
        environment = os.environ | {
            "_ATTRIB_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1 + line.endswith(" ")),
        }
        done = subprocess.run([sys.executable, "-m", "attrib"], env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
        assert not done.returncode, done.stderr
        return done.stdout

    assert "explain" in completed("attrib expl").split()
    assert "--weights" in completed("attrib explain --wei").split()
    assert "saliency,deep_lift" in completed("attrib explain --methods saliency,deep_").split()


COHORT = "explain --model mine:genes --data genes.zarr --target 1 --block 3"


def test_a_store_in_blocks_with_statistics(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zarr"
    words = f"{COHORT} --output {out} --methods saliency --reduce mean,var --weights genes.pt"
    assert call(words) == 0
    message = capsys.readouterr()
    assert "attribution (cell 4, gene 6)" in message.out
    assert "reductions/mean (gene 6)" in message.out
    tree = xr.open_datatree(out, engine="zarr", chunks=None)
    genes = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    genes.load_state_dict(torch.load("genes.pt"))
    eager = attrib.saliency(genes, xr.open_zarr("genes.zarr", chunks=None).expression.load(), target=1)
    np.testing.assert_allclose(tree["attribution"], eager, rtol=1e-5)
    np.testing.assert_allclose(tree["reductions/mean"], eager.mean("cell"), rtol=1e-5)
    assert call(words) == 0
    assert call(words.replace("genes.pt", "checkpoint.pt")) == 0
    assert call(words.replace("--weights genes.pt", "")) == 2
    assert "differs in model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{COHORT} --output NEW.zarr --methods all", "one method"),
        (f"{COHORT} --output NEW.zarr --dims gene,cell", "--dims"),
        (f"{COHORT} --output NEW.zarr --by cell", "--by"),
        (f"{COHORT} --output NEW.zarr --variables nothing", "it has: expression"),
        (f"{COHORT} --output NEW.zarr --reduce median", "median"),
        (f"{COHORT} --output NEW.zarr --block none".replace("--block 3", ""), "--block is 'none'"),
        (f"{COHORT} --output NEW", "--block and --no-keep are for stores"),
    ],
)
def test_refusals_of_stores(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert call(words.replace("NEW", str(tmp_path / "new"))) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not any(tmp_path.iterdir())
