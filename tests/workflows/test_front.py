"""The front of the five studies: `workflows.<study>(data, model, output, ...)`, with the names that the command has."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from typer.main import get_command

import attrib
from attrib.cli.commands import app
from attrib.cli.run import OK, REFUSED, run
from tests.expression import made
from tests.workflows import phantom, sites

STUDIES = ("cells", "expression", "fcgr", "mri", "sequence")
MOST = 23  # arguments of a function
COMMON = {
    "weights", "methods", "options", "context", "samples", "max_samples", "pictures", "batch_size", "device", "cluster", "seed", "overwrite",
}  # fmt: skip
OTHER_WORDS = {  # flags by which the command line says something in another form
    "help", "checkpoint",  # a path as `model`
    "parameters",  # a field of mri.Factory
    "set",  # options
    "one_strand",  # Search(both_strands=False)
    "k", "dropout", "scale", "output_kind",  # of load_predictor
    "transform", "input_filter",  # of load_checkpoint
}  # fmt: skip


def linear() -> nn.Module:
    """Three classes of an image."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def genes() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


class Branches(nn.Module):
    """A convolution for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.mirna, self.mrna = (nn.Conv2d(1, 2, 3, stride=3) for _ in range(2))
        self.head = nn.Linear(4, 1)

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.mirna(mirna)), torch.relu(self.mrna(mrna))
        return self.head(torch.cat([m.mean((2, 3)) for m in maps], 1))


def branches() -> nn.Module:
    torch.manual_seed(0)
    return Branches().eval()


def letters() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(4, 3, 6), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(3, 1)
    ).eval()


class Small(NamedTuple):
    """A study on small data: what goes in, and its samples."""

    data: Path
    model: str
    options: dict[str, Any]
    flags: list[str]
    samples: list[str]


def small(study: str, folder: Path) -> Small:
    """The inputs of a study."""
    if study == "cells":
        image = pytest.importorskip("PIL.Image")
        processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        rng = np.random.default_rng(0)
        for k, label in enumerate(("a", "b", "a")):
            (folder / "slides" / label).mkdir(parents=True, exist_ok=True)
            image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(
                folder / "slides" / label / f"cell{k}.png"
            )
        options = {
            "classes": "a,b,c",
            "processor": folder / "preprocessor_config.json",
            "methods": ["grad_cam", "layer_cam"],
        }
        return Small(folder / "slides", f"{__name__}:linear", options, [], ["cell0", "cell1", "cell2"])
    if study == "expression":
        data = made(2, 20, 4)
        data.tpm.rename_axis("sample").to_csv(folder / "tpm.csv")
        return Small(
            folder / "tpm.csv",
            f"{__name__}:genes",
            {"classes": "a,b", "methods": ["saliency"]},
            [],
            list(data.tpm.index),
        )
    if study == "fcgr":
        sites.planted()[:6].assign(id=[f"pair{k}" for k in range(6)]).to_csv(
            folder / "pairs.csv", index=False
        )
        options = {"methods": ["saliency"], "interaction": False, "corrections": ["filter"]}
        return Small(
            folder / "pairs.csv",
            f"{__name__}:branches",
            options,
            ["--no-interaction"],
            [f"pair{k}" for k in range(6)],
        )
    if study == "mri":
        pytest.importorskip("nibabel")
        phantom.write(folder, 4)
        options = {"classes": "HC,TLE", "methods": ["saliency"]}
        return Small(
            folder / "subjects.csv",
            "tests.workflows.phantom:volumes",
            options,
            [],
            [f"sub-{k:02}" for k in range(4)],
        )
    rng = np.random.default_rng(0)
    (folder / "peaks.fa").write_text(
        "".join(f">peak{k}\n{''.join(rng.choice(list('ACGT'), 30))}\n" for k in range(4))
    )
    options = {"methods": ["saliency"], "classes": None}
    return Small(folder / "peaks.fa", f"{__name__}:letters", options, [], [f"peak{k}" for k in range(4)])


def function_of(study: str) -> Callable[..., Any]:
    return vars(importlib.import_module(f"attrib.workflows.{study}"))[study]


def names_of(function: Callable[..., Any]) -> set[str]:
    """Names of the arguments, and of the fields of those that are groups."""
    names: set[str] = set()
    for name, kind in typing.get_type_hints(function).items():
        names.add(name)
        for part in (
            kind,
            *(typing.get_args(kind) if isinstance(kind, UnionType) or typing.get_args(kind) else ()),
        ):
            names |= set(getattr(part, "_fields", ()))
    return names


@pytest.mark.parametrize("study", STUDIES)
def test_arguments_are_called_as_the_flags_are(study: str) -> None:
    function = function_of(study)
    arguments = inspect.signature(function).parameters
    assert list(arguments)[:3] == ["data", "model", "output"]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(arguments.values())[3:])
    assert len(arguments) <= MOST
    assert set(arguments) >= COMMON
    command: Any = get_command(app).commands[study]  # type: ignore[attr-defined]
    flags = [p for p in command.params if any(o.startswith("--") for o in p.opts)]
    words = {o.removeprefix("--").replace("-", "_") for p in flags for o in p.opts[:1] if o.startswith("--")}
    by_set = next(p.help for p in flags if "--set" in p.opts)
    assert words - {w for w in OTHER_WORDS if w in words} <= names_of(function)
    assert words >= (COMMON - {"options"}) | {"set", "data", "model", "output"}
    of_study = importlib.import_module(f"attrib.cli.{study}")
    settings = set(getattr(of_study, "SETTINGS", None) or getattr(of_study, "EXPLAINED", {}))
    assert settings - OTHER_WORDS <= names_of(function)
    assert {n for n in settings if not re.search(rf"\b{n}=", by_set)} == set()


@pytest.mark.parametrize("study", ["expression", "fcgr"])
def test_trainings_have_no_more_arguments(study: str) -> None:
    train = importlib.import_module(f"attrib.workflows.{study}").train
    assert list(inspect.signature(train).parameters)[:2] == ["data", "output"]
    assert len(inspect.signature(train).parameters) <= MOST


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_is_called_by_its_name(study: str) -> None:
    """The package and the function in it are one to the caller."""
    package: Any = getattr(attrib.workflows, study)
    assert inspect.signature(package) == inspect.signature(function_of(study))
    assert importlib.import_module(f"attrib.workflows.{study}") is package
    assert inspect.ismodule(package)
    with pytest.raises(TypeError, match="missing 3 required positional arguments"):
        package()


@pytest.mark.parametrize("study", STUDIES)
def test_one_call_gives_a_folder_and_the_command_goes_on_with_it(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    given = small(study, tmp_path)
    call: Any = getattr(attrib.workflows, study)
    some = given.samples[1:]
    folder = call(given.data, given.model, tmp_path / "out", samples=some, pictures="none", **given.options)
    assert folder == tmp_path / "out"
    assert isinstance(folder, Path)
    assert {"index.html", "run.json", "attributions.nc"} <= {p.name for p in folder.iterdir()}
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "finished"
    parts = {p: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()}
    words = [
        study,
        "--data",
        str(given.data),
        "--model",
        given.model,
        "--output",
        str(folder),
        "--pictures",
        "none",
        *given.flags,
    ]
    for name, value in given.options.items():
        if value and name != "interaction":
            words += [
                f"--{name}",
                value
                if isinstance(value, str)
                else ",".join(value)
                if isinstance(value, list)
                else str(value),
            ]
    wrong = f"{some[0][:-1]}x"
    assert run([*words, "--samples", wrong]) == REFUSED
    message = capsys.readouterr().err
    assert f"--samples is {wrong}, expected some of" in message
    assert "did you mean" in message
    assert run([*words, "--samples", ",".join(some)]) == OK  # the same run: nothing is done again
    assert {p: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()} == parts
    assert "index.html" in capsys.readouterr().out
    assert run([*words, "--samples", *some, "--seed", "3"]) == REFUSED
    assert "add --overwrite to begin anew" in capsys.readouterr().err
    assert run([*words, "--samples", *some, "--seed", "3", "--overwrite"]) == OK
    assert json.loads((folder / "run.json").read_text())["settings"]["seed"] == 3


@pytest.mark.parametrize("study", ["cells", "expression", "fcgr"])
def test_arguments_of_another_form_of_the_model_are_refused(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = small(study, tmp_path)
    call: Any = getattr(attrib.workflows, study)
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(ValueError, match="`weights`: a checkpoint brings its own; leave it out"):
        call(given.data, tmp_path / "checkpoint", tmp_path / "out", weights="w.pt")
    with pytest.raises(
        ValueError,
        match=r"`model` is 'chekpoint', expected package\.module:factory, or a checkpoint; there is no such",
    ):
        call(given.data, "chekpoint", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="`checkpoint`"):
        call(given.data, Path("chekpoint.pt"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("study", ["cells", "fcgr"])
def test_beginning_anew_leaves_no_file_of_the_earlier_samples(study: str, tmp_path: Path) -> None:
    given = small(study, tmp_path)
    call: Any = getattr(attrib.workflows, study)
    first, other = given.samples[:2]
    folder = call(given.data, given.model, tmp_path / "out", samples=[first, other], **given.options)
    mine = folder / f"{other}_thoughts.txt"
    mine.write_text("mine")
    before = {p.name for p in folder.rglob("*") if other in p.name}
    assert len(before) > 3
    call(given.data, given.model, folder, samples=[first], overwrite=True, **given.options)
    assert [p.name for p in folder.rglob("*") if other in p.name] == [mine.name]
    assert any(first in p.name for p in folder.rglob("*.png"))


def test_options_of_the_maps_of_cells(tmp_path: Path) -> None:
    """For all methods or for one, as each method has it alone."""
    given = small("cells", tmp_path)
    common = given.options | {"pictures": "none", "samples": ["cell0"], "target": "all"}
    maps = {}
    for name, options in {
        "plain": {},
        "signed": {"relu": False},
        "one": {"grad_cam.relu": False, "layer_cam.normalize": "minmax"},
    }.items():
        folder = attrib.workflows.cells(given.data, given.model, tmp_path / name, options=options, **common)  # type: ignore[operator]
        maps[name] = attrib.load(folder / "attributions.nc").squeeze("image")
    assert float(maps["plain"].min()) == 0
    assert float(maps["signed"].sel({"method": "grad_cam"}).min()) < 0
    np.testing.assert_array_equal(
        maps["one"].sel({"method": "grad_cam"}), maps["signed"].sel({"method": "grad_cam"})
    )
    scaled = maps["one"].sel({"method": "layer_cam"})
    assert 0 < float(scaled.max()) <= 1 + 1e-6
    assert not np.allclose(scaled, maps["plain"].sel({"method": "layer_cam"}))
    with pytest.raises(
        ValueError, match=r"`options` is rellu, expected some of relu, normalize, call; did you mean 'relu'\?"
    ):
        attrib.workflows.cells(given.data, given.model, tmp_path / "no", options={"rellu": 1}, **common)  # type: ignore[operator]
    assert not (tmp_path / "no").exists()
