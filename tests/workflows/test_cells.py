"""The study of cell images on a real checkpoint folder, as a user runs it."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

from attrib.cli.run import OK, REFUSED, repeated, run
from attrib.domains.cells import ImageFile
from attrib.domains.draws import drawn_evenly
from attrib.domains.processors import Preparation, timm_preparation
from attrib.functional import grad_cam
from attrib.io import load, save
from attrib.plots import panels
from attrib.testing import legible
from attrib.workflows.cells import METHODS, cells
from attrib.workflows.cells.cohort import CohortSums, coarse, on_the_border, write_cohort
from attrib.workflows.cells.explaining import deletion, plan_of
from attrib.workflows.checkpoint import Classifier, load_checkpoint
from attrib.workflows.folder import Folder
from tests.browser import held

transformers = pytest.importorskip("transformers")
pytest.importorskip("safetensors")
Image = pytest.importorskip("PIL.Image")

CLASSES = ["blast", "lymphocyte", "monocyte"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ConvNextV2 as transformers saves it, with files of a training beside it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = transformers.ConvNextV2Config(
        num_stages=3, hidden_sizes=[8, 12, 16], depths=[1, 1, 1], patch_size=2, image_size=32,
        id2label=dict(enumerate(CLASSES)), label2id={c: k for k, c in enumerate(CLASSES)},
    )  # fmt: skip
    network = transformers.ConvNextV2ForImageClassification(config).eval()
    nn.init.normal_(network.classifier.weight)
    network.save_pretrained(folder)
    processor = {
        "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": True, "do_rescale": True,
        "do_resize": True, "rescale_factor": 1 / 255,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "optimizer.pt").write_bytes(b"not to be read")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of three sizes in folders per class, and one file that is none."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for k, suffix in enumerate(["png", "bmp", "jpg", "tif", "png"]):
        size = [(40, 40), (36, 50), (64, 48)][k % 3]
        label = CLASSES[k % 2]
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            folder / label / f"cell{k}.{suffix}"
        )
    (folder / "blast" / "torn.png").write_bytes(b"\x89PNG and no more")
    return folder


@pytest.fixture(scope="module")
def study(checkpoint: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "out"
    masks = tmp_path_factory.mktemp("masks")
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(masks / "cell0.png")
    words = [
        "cells",
        "--checkpoint",
        checkpoint,
        "--images",
        images,
        "--methods",
        "grad_cam",
        "layer_cam",
        "--target",
        "all",
    ]
    assert run([*map(str, words), "--masks", str(masks), "--batch-size", "3", "--output", str(folder)]) == OK
    return folder


def strict(path: Path) -> dict:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_files_of_an_image(study: Path, images: Path) -> None:
    for k in range(5):
        for kind in ("original", "grad_cam", "layer_cam", "methods", "classes"):
            with Image.open(study / f"cell{k}_{kind}.png") as picture:
                assert kind in ("methods", "classes") or picture.size == [(40, 40), (50, 36), (48, 64)][k % 3]
    original = np.asarray(Image.open(study / "cell0_original.png"))
    assert np.array_equal(original, np.asarray(Image.open(images / "blast" / "cell0.png")))
    assert not np.array_equal(original, np.asarray(Image.open(study / "cell0_grad_cam.png")))


def test_the_prediction_as_json(study: Path, checkpoint: Path, images: Path) -> None:
    prediction = strict(study / "cell0_results.json")
    assert prediction["image_name"] == "cell0"
    assert prediction["true_class"] == "blast"
    assert list(prediction["all_probabilities"]) == CLASSES
    assert sum(prediction["all_probabilities"].values()) == pytest.approx(1)
    top = prediction["top_3_predictions"]
    assert [t["probability"] for t in top] == sorted((t["probability"] for t in top), reverse=True)
    assert (prediction["predicted_class"], prediction["confidence"]) == (
        top[0]["class"],
        top[0]["probability"],
    )
    name = "ConvNextImageProcessor" + "Pil" * hasattr(
        transformers, "ConvNextImageProcessorPil"
    )  # before 5 without
    processor = getattr(transformers, name).from_pretrained(checkpoint)
    network = transformers.ConvNextV2ForImageClassification.from_pretrained(checkpoint)
    pixels = processor(Image.open(images / "blast" / "cell0.png"), return_tensors="pt")["pixel_values"]
    expected = network.eval()(pixels).logits.softmax(1)[0].tolist()
    assert list(prediction["all_probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_quality_figures(study: Path) -> None:
    masked, plain = (strict(study / f"cell{k}_results.json")["quality"] for k in (0, 1))
    for method, other in (("grad_cam", "layer_cam"), ("layer_cam", "grad_cam")):
        q = masked[method]
        assert 0 <= q["mass_inside"] <= 1
        assert 0 < q["mass_inside_chance"] < 1
        assert plain[method]["mass_inside"] is None
        assert q["entropy"] is None or 0 < q["entropy"] <= 1
        assert len(q["deletion_curve"]) == 11
        assert q["deletion_area"] == pytest.approx(
            np.convolve(q["deletion_curve"], [0.05, 0.05], "valid").sum(), abs=1e-6
        )
        assert np.isfinite([q["deletion_random_area"], q["deletion_z"]]).all()
        r = q["rank_correlation"][other]
        assert r is None or -1 <= r <= 1
    confidence = strict(study / "cell0_results.json")["confidence"]
    assert masked["grad_cam"]["deletion_curve"][0] == pytest.approx(confidence, abs=1e-5)


def test_maps_of_the_cohort_lie_on_the_images_pixels(study: Path) -> None:
    a = load(study / "attributions.nc")
    assert a.dims == ("image", "target", "method", "y", "x")
    assert a.target.values.tolist() == CLASSES
    assert a.method.values.tolist() == ["grad_cam", "layer_cam"]
    assert a.sizes["image"] == 5
    assert (a.sizes["y"], a.sizes["x"]) == (64, 50)
    wide = a.sel(image="cell1")[0, 0]  # 36 x 50: 28 of 32 rows and 28 of 44 columns are seen
    seen = np.isfinite(wide.values)
    assert not seen[36:].any()
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1]) == (2, 33)
    assert (columns[0], columns[-1]) == (9, 40)
    part = load(study / "parts" / "cell1.nc")["attribution"]
    assert np.array_equal(part.values, a.sel(image="cell1", y=slice(0, 35)).values, equal_nan=True)


def test_tables_and_summary(study: Path) -> None:
    table = pd.read_csv(study / "results.csv")
    assert len(table) == 5
    assert {"image", "predicted", "confidence", "label", "correct", "grad_cam_entropy", "layer_cam_deletion_area", "layer_cam_deletion_z", "grad_cam_mass_inside", "grad_cam_mass_inside_chance", "grad_cam~layer_cam_rank_correlation"} <= set(table)  # fmt: skip
    counts = pd.read_csv(study / "confusion_matrix.csv", index_col="true")
    assert counts.to_numpy().sum() == 5
    assert counts.loc["blast"].sum() == 3
    summary = strict(study / "summary.json")
    assert summary["accuracy"] == pytest.approx(table.correct.mean())
    assert np.trace(counts.to_numpy()) == round(5 * summary["accuracy"])
    assert [Path(u["path"]).name for u in summary["unreadable"]] == ["torn.png"]
    page = (study / "index.html").read_text()
    assert "torn.png" in page
    assert all((study / name).is_file() for name in re.findall('src="(.*?)"', page))
    images = held(page)[0]["samples"]
    assert sorted(s["name"] for s in images) == sorted(table.image)
    assert [s["wrong"] for s in images] == [not c for c in table.correct]
    assert all((study / f"{s['name']}_methods.png").is_file() for s in images)
    assert set(load(study / "mean_maps.nc").predicted.values) == set(table.predicted)


def test_a_rerun_does_only_what_is_missing(
    study: Path, checkpoint: Path, images: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {p: p.stat().st_mtime_ns for p in (study / "parts").iterdir()}
    gone = study / "parts" / "cell3.nc"
    gone.unlink()
    words = [
        "cells",
        "--checkpoint",
        checkpoint,
        "--images",
        images,
        "--methods",
        "grad_cam,layer_cam",
        "--target",
        "all",
    ]
    masks = json.loads((study / "run.json").read_text())["settings"]["masks"]
    assert run([*map(str, words), "--output", str(study)]) != OK
    assert "other masks" in capsys.readouterr().err
    words += ["--masks", masks]
    assert run([*map(str, words), "--output", str(study)]) == OK
    after = {p: p.stat().st_mtime_ns for p in (study / "parts").iterdir()}
    assert {p for p in after if after[p] != before[p]} == {gone}
    assert [p.name for p in study.iterdir() if p.name.startswith(".")] == []


def test_an_image_that_was_changed_is_done_again(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "no class" / "one #5%.png"
    file.parent.mkdir()
    Image.open(images / "blast" / "cell0.png").save(file)
    words = [
        "cells",
        "--checkpoint",
        str(checkpoint),
        "--images",
        str(tmp_path),
        "--methods",
        "grad_cam",
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(words) == OK
    assert (
        "not counted in the accuracy: no class; its classes: blast, lymphocyte, monocyte"
        in capsys.readouterr().out
    )
    first = (tmp_path / "out/one #5%_results.json").read_text()
    page = (tmp_path / "out/index.html").read_text()
    assert [s["name"] for s in held(page)[0]["samples"]] == ["one #5%"]
    assert "no class of the model: no class" in page
    assert not (tmp_path / "out/confusion_matrix.csv").exists()
    Image.open(images / "blast" / "cell4.png").save(file)
    os.utime(file, ns=(1, 1))
    assert run(words) == OK
    assert (tmp_path / "out/one #5%_results.json").read_text() != first
    assert len(pd.read_csv(tmp_path / "out/results.csv")) == 1  # pictures of the first run are no samples
    assert "it holds the results of a run" in (tmp_path / "out/index.html").read_text()
    assert load(tmp_path / "out/attributions.nc").target.values.tolist() == ["predicted"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--checkpoint", "CHECKPOINT", "--methods", "saliency"],
            "--methods is saliency, expected some of grad_cam",
        ),
        (
            ["--checkpoint", "CHECKPOINT", "--target", "platelet"],
            "--target is platelet, expected some of predicted, all",
        ),
        (["--checkpoint", "CHECKPOINT", "--layer", "stage"], "--layer 'stage' is not in the model"),
        (
            ["--checkpoint", "nowhere"],
            "nowhere is not there, expected a folder with config.json, model.safetensors",
        ),
        (["--checkpoint", "CHECKPOINT", "--model", "a:b"], "either --checkpoint"),
        (["--model", "a:b"], "--classes is missing: the names of the outputs of --model"),
        (["--checkpoint", "CHECKPOINT", "--classes", "a,b"], "--classes: a checkpoint brings its own"),
        (
            ["--checkpoint", "CHECKPOINT", "--max-samples", "0"],
            "--max-samples is 0, expected a positive number",
        ),
        (["--checkpoint", "CHECKPOINT", "--masks", "nowhere"], "--masks: there is no folder nowhere"),
        (
            ["--checkpoint", "CHECKPOINT", "--masks", "CHECKPOINT"],
            "--masks: none of 6 images has one; that of",
        ),
    ],
)
def test_refusals_are_one_line(
    words: list[str], text: str, checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [str(checkpoint) if w == "CHECKPOINT" else w for w in words]
    assert run(["cells", *arguments, "--images", str(images), "--output", str(tmp_path / "out")]) == REFUSED
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_run_is_not_overwritten(
    study: Path, checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["cells", "--checkpoint", str(checkpoint), "--images", str(images), "--output"]
    assert run([*words, str(study)]) == REFUSED
    assert "a run with other methods, targets" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert run([*words, str(tmp_path)]) == REFUSED
    assert "files that are not attrib's" in capsys.readouterr().err


def test_without_the_extra(
    checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert run(["cells", "--checkpoint", str(checkpoint), "--images", str(images)]) == REFUSED
    assert "pip install -e '.[cells]'" in capsys.readouterr().err


class Brightness(nn.Module):
    """Bright upper left quarter: class 0; the map must lie there."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.AvgPool2d(4)
        self.weight = nn.Parameter(torch.zeros(4, 4))
        self.weight.data[:2, :2] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (self.body(x).mean(1) * self.weight).sum((1, 2))
        return torch.stack([score, torch.zeros_like(score)], 1)


class AgedBrightness(Brightness):
    """The score goes with the age, and what speaks against it with the sex."""

    def forward(self, x: torch.Tensor, age: torch.Tensor, sex: torch.Tensor) -> torch.Tensor:
        score = (self.body(x) ** 2).mean(1).mul(self.weight).sum((1, 2))
        return torch.stack([score * age, (sex - 0.5) * score], 1)


def test_each_image_has_its_own_context(tmp_path: Path) -> None:
    rng, prepared = np.random.default_rng(0), Preparation(square=(16, 16))
    names = [f"cell{k}" for k in range(5)]
    pixels = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in names]
    (tmp_path / "images").mkdir()
    for name, p in zip(names, pixels, strict=True):
        Image.fromarray(p).save(tmp_path / "images" / f"{name}.png")
    table = pd.DataFrame({"image": names, "age": [0.5, 2.0, -0.7, 1.1, 0.1], "sex": [1, 0, 1, 1, 0]}).iloc[[3, 0, 4, 2, 1]]  # fmt: skip
    table.to_csv(tmp_path / "people.csv", index=False)
    table[:-1].to_csv(tmp_path / "fewer.csv", index=False)
    table.assign(age=table.age + 1).to_csv(tmp_path / "older.csv", index=False)
    model = AgedBrightness().eval()
    given = tmp_path / "images", Classifier(model, ("bright", "dark"), prepared, "test"), tmp_path / "out"
    options = {"methods": ["grad_cam"], "layer": "body", "target": "all", "batch_size": 2}
    with pytest.raises(ValueError, match=r"`context`: fewer\.csv lacks the samples 'cell1'"):
        cells(*given, context=[str(tmp_path / "fewer.csv")], **options)
    assert not (tmp_path / "out").exists()
    cells(*given, context=[str(tmp_path / "people.csv")], **options)
    a = load(tmp_path / "out" / "attributions.nc")
    assert (abs(a).max(("y", "x")) > 0).sum() >= 5
    people = table.set_index("image")
    for name, p in zip(names, pixels, strict=True):
        x = torch.from_numpy(prepared.apply(p))[None]
        values = torch.tensor([people.age[name]], dtype=x.dtype), torch.tensor([people.sex[name]])
        chances = strict(tmp_path / "out" / f"{name}_results.json")["all_probabilities"]
        wanted = model(x, *values).softmax(1)[0].tolist()
        np.testing.assert_allclose(list(chances.values()), wanted, rtol=1e-5)
        alone = grad_cam(model, x, layer="body", targets="all", additional_forward_args=values)
        np.testing.assert_allclose(a.sel(image=name)[:, 0].values, alone[:, 0].numpy(), rtol=1e-4, atol=1e-6)
        curve = strict(tmp_path / "out" / f"{name}_results.json")["quality"]["grad_cam"]["deletion_curve"]
        assert curve[0] == pytest.approx(max(wanted), rel=1e-5)
    cells(*given, context=[str(tmp_path / "people.csv")], **options)  # continued
    with pytest.raises(ValueError, match="holds a run with other context"):
        cells(*given, context=[str(tmp_path / "older.csv")], **options)


def test_factories_and_a_map_that_is_known(tmp_path: Path) -> None:
    prepared = Preparation(square=(16, 16))
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(tmp_path / "a.png")
    reports: list[tuple[str, int, int]] = []
    done = cells(
        tmp_path / "a.png", Classifier(Brightness().eval(), ("bright", "dark"), prepared, "test"), tmp_path / "out",
        methods=["hires_cam"], layer="body", tell=lambda *facts: reports.append(facts),
    )  # fmt: skip
    a = load(tmp_path / "out/attributions.nc")[0, 0, 0]
    assert float(a[:14, :14].min()) > 0  # the layer has cells of 8 pixels; linear between their centres
    assert float(abs(a[22:, :]).max()) == 0
    assert float(abs(a[:, 22:]).max()) == 0
    assert reports == [("images", 1, 1)]
    assert strict(done / "summary.json")["accuracy"] is None


class Redness(nn.Module):
    """The mean of what is red, on a grid of cells of 4 pixels: every map of `body` must lie on the red disc."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.tensor([1.0, -0.5, -0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4) / 16
        self.body = nn.Sequential(nn.Conv2d(3, 1, 4, stride=4, bias=False), nn.ReLU())
        self.body[0].weight = nn.Parameter(weight.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = self.body(x).mean((1, 2, 3))
        return torch.stack([red, -red], 1)


PREPARED = {
    "squeezed": Preparation(square=(64, 64)),
    "shorter side and middle": Preparation(shortest=73, crop=(64, 64)),
    "as it is": Preparation(),
    "padded": Preparation(crop=(200, 200)),
}


@pytest.mark.parametrize("kind", PREPARED)
def test_maps_lie_on_a_disc_whose_place_is_known(kind: str, tmp_path: Path) -> None:
    """A network that sees red alone: the map's centre of mass is the disc's, the mass is inside, whatever was cropped."""
    rows, columns = np.mgrid[:120, :160]
    places = [(44, 62), (80, 104)]
    for k, (y, x) in enumerate(places):
        inside = np.hypot(rows - y, columns - x) <= 17
        Image.fromarray(np.where(inside[..., None], (250, 0, 0), (90, 90, 90)).astype(np.uint8)).save(
            tmp_path / f"{k}.png"
        )
        (tmp_path / "masks").mkdir(exist_ok=True)
        near = (
            np.hypot(rows - y, columns - x) <= 17 + 8 * 160 / 64 / 2
        )  # half of two cells of the squeezed layer
        Image.fromarray((255 * near).astype(np.uint8)).save(tmp_path / "masks" / f"{k}.png")
    classifier = Classifier(Redness().eval(), ("red", "grey"), PREPARED[kind], "test")
    files = [tmp_path / f"{k}.png" for k in range(len(places))]
    done = cells(files, classifier, tmp_path / "out", layer="body", methods=METHODS, masks=tmp_path / "masks")
    assert (
        min(v for k, v in strict(done / "summary.json")["mean_quality"].items() if k.endswith("mass_inside"))
        > 0.97
    )
    maps = load(tmp_path / "out" / "attributions.nc").isel(target=0)
    for k, (y, x) in enumerate(places):
        for method in METHODS:
            heat = np.nan_to_num(maps.sel({"image": str(k), "method": method}).values[:120, :160])
            centre = (heat * rows).sum() / heat.sum(), (heat * columns).sum() / heat.sum()
            assert np.abs(np.subtract(centre, (y, x))).max() < 1.0, (method, centre, (y, x))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Stopped after the first of three images, and with a torn part: done again is what is missing, and nothing else."""
    rng = np.random.default_rng(0)
    for k in range(3):
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
    classifier = Classifier(Redness().eval(), ("red", "grey"), Preparation(square=(16, 16)), "test")
    files = [tmp_path / f"{k}.png" for k in range(3)]

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    options = {"methods": ["grad_cam", "layer_cam"], "layer": "body", "batch_size": 1}
    with pytest.raises(KeyboardInterrupt):
        cells(files, classifier, tmp_path / "halves", tell=stop, **options)
    parts = tmp_path / "halves" / "parts"
    assert [p.name for p in parts.iterdir()] == ["0.nc"]
    assert not (tmp_path / "halves" / "summary.json").exists()
    first = (parts / "0.nc").stat().st_mtime_ns
    (parts / "1.nc").write_bytes(b"torn")
    cells(files, classifier, tmp_path / "halves", **options)
    cells(files, classifier, tmp_path / "whole", **options)
    assert (parts / "0.nc").stat().st_mtime_ns == first
    halves, full = (load(tmp_path / name / "attributions.nc") for name in ("halves", "whole"))
    assert halves.identical(full)
    for name in ("results.csv", "summary.json"):
        assert (tmp_path / "halves" / name).read_text() == (tmp_path / "whole" / name).read_text()


OWN = """
import torch

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 4, 4)
        self.head = torch.nn.Linear(4, 3)
    def forward(self, x):
        return self.head(self.stem(x).relu().mean((2, 3)))

class Timm(Small):
    # says what models of timm say
    pretrained_cfg = {
        "input_size": (3, 24, 24), "crop_pct": 0.75, "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
    }
"""


@pytest.fixture(scope="module")
def own_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: code, weights, a processor."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_cells.py").write_text(OWN)
    torch.manual_seed(0)
    weights = {"stem.weight": torch.randn(4, 3, 4, 4), "stem.bias": torch.zeros(4), "head.weight": torch.randn(3, 4), "head.bias": torch.zeros(3)}  # fmt: skip
    torch.save(weights, folder / "weights.pt")
    processor = {"size": {"height": 24, "width": 24}, "resample": 2, "do_center_crop": False}
    (folder / "processor.json").write_text(
        json.dumps(processor | {"image_processor_type": "ViTImageProcessor"})
    )
    return folder


@pytest.mark.parametrize("route", ["factory", "timm"])
def test_a_factory_and_a_model_of_timm(
    route: str, own_code: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command with the user's own code: probabilities are those of the model on what Pillow makes of the image."""
    monkeypatch.chdir(own_code)
    monkeypatch.syspath_prepend(str(own_code))
    how = {
        "factory": ["--model", "own_cells:Small", "--processor", "processor.json"],
        "timm": ["--model", "own_cells:Timm"],
    }
    words = [
        "cells",
        *how[route],
        "--weights",
        "weights.pt",
        "--classes",
        ",".join(CLASSES),
        "--images",
        str(images / "blast" / "cell0.png"),
    ]
    assert run([*words, "--output", str(tmp_path / "out"), "--device", "cpu"]) == OK
    prediction = strict(tmp_path / "out" / "cell0_results.json")
    assert prediction["layer"] == "stem"
    picture = Image.open(images / "blast" / "cell0.png")  # 40 x 40
    if route == "factory":
        x = np.asarray(picture.resize((24, 24), 2)) / 255 * 2 - 1
    else:
        x = (np.asarray(picture.resize((32, 32), 3))[4:28, 4:28] / 255 - 0.5) / 0.25
    weights = {k: v.double() for k, v in torch.load(own_code / "weights.pt").items()}
    h = nn.functional.conv2d(torch.tensor(x).permute(2, 0, 1)[None], weights["stem.weight"], stride=4).relu()
    expected = (h.mean((2, 3)) @ weights["head.weight"].T).softmax(1)[0].tolist()
    assert list(prediction["all_probabilities"].values()) == pytest.approx(expected, abs=1e-5)
    a = load(tmp_path / "out" / "attributions.nc").sel(image="cell0")
    assert bool(np.isfinite(a[0, 0, :40, :40].values).all()) == (
        route == "factory"
    )  # timm's crop hides the edge


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--model", "own_cells:Small"],
            "does not say how images are prepared; pass the file preprocessor_config.json as --processor",
        ),
        (["--model", "own_cells:Timm", "--weights", "none.pt"], "there is no weights file none.pt"),
        (["--model", "own_cells:Gone"], "own_cells has no 'Gone'"),
        (
            ["--model", "own_cells:Timm", "--classes", "a,b"],
            "--classes has 2 names, but --model gives (1, 3)",
        ),
        (
            ["--model", "weights.pt"],
            "--model is 'weights.pt', expected package.module:factory or FILE.pt2; weights are passed by",
        ),
        (
            ["--model", "torch.nn:PairwiseDistance", "--processor", "processor.json"],
            "--model fails on images of shape (1, 3, ",
        ),
    ],
)
def test_refusals_of_the_users_own_code(
    words: list[str], text: str, own_code: Path, images: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(own_code)
    monkeypatch.syspath_prepend(str(own_code))
    names = [] if "--classes" in words else ["--classes", ",".join(CLASSES)]
    assert (
        run(["cells", *words, *names, "--images", str(images), "--output", str(tmp_path / "out")]) == REFUSED
    )
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1


def test_memory_does_not_grow_with_the_cohort(study: Path, tmp_path: Path) -> None:
    """Three images more take less than the maps of one of them."""
    import gc
    import tracemalloc

    part = load(study / "parts" / "cell0.nc")
    big = part.drop_dims(["y", "x"])
    big["attribution"] = (
        ("target", "method", "y", "x"),
        np.ones((3, 2, 200, 200), np.float32),
    )
    big = big.assign_coords(target=part.target, method=part.method)
    found = []

    def peak(run: Folder, some: list[ImageFile]) -> int:
        gc.collect()  # figures hold themselves in circles
        tracemalloc.start()
        write_cohort(run, some, CLASSES, ["grad_cam", "layer_cam"], {}, [])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    with Folder(tmp_path, program="attrib cells", settings={}) as run:
        for k in range(5):
            name = f"cell{k:03d}"
            save(big.assign_attrs(image=name), tmp_path / "parts" / f"{name}.nc")
            found.append(ImageFile(Path(f"{name}.png"), name, None))
        peak(run, found[:2])  # imports, and what libraries keep
        small, large = peak(run, found[:2]), peak(run, found)
    assert large - small < big["attribution"].nbytes
    assert load(tmp_path / "attributions.nc").sizes["image"] == 5


def test_a_norm_behind_the_mean_makes_the_last_map_a_contrast(checkpoint: Path) -> None:
    """ConvNeXt norms the mean over positions, so its scale changes nothing, and what the map gives here it takes there."""
    model = load_checkpoint(checkpoint).model
    x = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    signed = grad_cam(model, x, target="predicted", relu=False, upsample=False)
    assert float(signed.abs().max()) > 0
    assert bool((signed.sum((1, 2)).abs() < 1e-4 * signed.abs().sum((1, 2))).all())


def test_deletion_of_what_counts_is_fast() -> None:
    model, x = Brightness().eval(), torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x[:, :, :8, :8] += 2
    right = torch.zeros(3, 16, 16)
    right[:, :8, :8] = 1
    target = torch.zeros(3, dtype=torch.long)
    curves = deletion(model, x, torch.stack([right, 1 - right]), target)
    one_by_one = deletion(model, x, torch.stack([right, 1 - right]), target, batch_size=1)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(curves[:4], one_by_one[:4], strict=True))
    good, bad = curves.score
    assert good.shape == (3, 11)
    assert torch.allclose(good[:, 0], model(x).softmax(1)[:, 0])
    assert torch.allclose(good[:, -1], bad[:, -1])
    assert bool((curves.area[0] < curves.random_area[0]).all())
    assert bool((curves.area[1] > curves.random_area[1]).all())
    assert torch.equal(curves.random_area[0], curves.random_area[1])
    assert bool((curves.z[0] > 2).all() and (curves.z[1] < -2).all())


def test_what_a_model_of_timm_says_of_itself() -> None:
    described = {
        "input_size": (3, 224, 224),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }
    assert timm_preparation(described) == Preparation(
        shortest=256, crop=(224, 224), resample=3, mean=(0.5,) * 3, std=(0.2,) * 3, middle="round"
    )
    squashed = timm_preparation(
        described | {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"}
    )
    assert (squashed.shortest, squashed.square, squashed.resample) == (None, (224, 224), 2)


def test_options_with_several_values() -> None:
    words = ["cells", "--images", "a", "b", "--layer", "x", "--methods", "m", "n"]
    assert repeated(words) == [
        "cells", "--images", "a", "--images", "b", "--layer", "x", "--methods", "m", "--methods", "n",
    ]  # fmt: skip
    assert repeated(["explain", "--methods", "m", "n"]) == ["explain", "--methods", "m", "--methods", "n"]
    assert repeated(["explain", "--seed", "1", "2"]) == ["explain", "--seed", "1", "2"]


def test_fewer_images_are_drawn_evenly_from_the_classes_by_the_seed() -> None:
    labels = ["a"] * 9 + ["b"] * 2 + ["c"] * 5
    six, again, other = (drawn_evenly(labels, 6, seed) for seed in (0, 0, 1))
    assert [labels[k] for k in six] == ["a", "a", "b", "b", "c", "c"]
    assert six == again != other
    assert [labels[k] for k in drawn_evenly(labels, 8, 0)] == ["a"] * 3 + ["b"] * 2 + ["c"] * 3
    assert drawn_evenly(labels, None) == drawn_evenly(labels, 99) == list(range(16))


def test_the_predicted_class_beside_others_of_many() -> None:
    classes = tuple(f"c{k}" for k in range(25))
    described = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    classifier = Classifier(nn.Identity(), classes, timm_preparation(described), "")
    goals = {
        name: plan_of(classifier, ["grad_cam"], "auto", target).goals
        for name, target in (
            ("both", ["c3", "predicted", "c3"]),
            ("one", ["predicted"]),
            ("all", ["all", "c3"]),
            ("text", "c3"),
        )
    }
    assert goals == {"both": [3, "predicted"], "one": ["predicted"], "all": "all", "text": [3, "predicted"]}


def test_weight_on_the_border_is_told() -> None:
    quality = {"grad_cam_border_mass": 0.5, "grad_cam_border_mass_chance": 0.3, "layer_cam_border_mass": 0.3}
    summary = {"mean_quality": quality | {"layer_cam_border_mass_chance": 0.3}}
    assert "by chance: Grad-CAM (50%, by chance 30%)." in on_the_border(summary, ["grad_cam", "layer_cam"])
    assert on_the_border(summary, ["layer_cam", "hires_cam"]) == ""


def test_border_mass_classes_alike_and_a_gallery(study: Path) -> None:
    table = pd.read_csv(study / "results.csv")
    a = load(study / "attributions.nc").sel({"method": "grad_cam"})
    name = str(table.image[0])
    values = np.abs(a.sel({"image": name}).isel(target=list(CLASSES).index(table.predicted[0])).values)
    seen = np.isfinite(values)
    rows, columns = (np.flatnonzero(seen.any(k)) for k in (1, 0))
    inner = np.zeros(seen.shape, bool)
    high, wide = max(1, len(rows) // 10), max(1, len(columns) // 10)
    inner[rows[0] + high : rows[-1] + 1 - high, columns[0] + wide : columns[-1] + 1 - wide] = True
    values = np.nan_to_num(values)
    assert table.grad_cam_border_mass[0] == pytest.approx(values[~inner].sum() / values.sum(), rel=1e-4)
    assert table.grad_cam_border_mass_chance[0] == pytest.approx((seen & ~inner).sum() / seen.sum(), rel=1e-6)
    alike = pd.read_csv(study / "class_consistency.csv")
    assert set(alike.method) == {"grad_cam", "layer_cam"}
    assert "within - between" in set(alike.samples)
    sd, mean = load(study / "variation_maps.nc"), load(study / "mean_maps.nc")
    assert sd.sizes == mean.sizes
    assert {"gallery.png", f"{name}_probabilities.png"} <= {p.name for p in study.iterdir()}
    assert any(p.name == "variation_grad_cam.png" for p in study.iterdir())


def test_long_names_of_classes_stay_above_their_panels() -> None:
    names = ["segmented neutrophil granulocyte of the blood", "PLASMACYTOID_DENDRITIC_CELL_PRECURSOR"]
    coords = {"predicted": names, "count": ("predicted", [3, 12345])}
    a = xr.DataArray(np.ones((2, 4, 4)), dims=("predicted", "y", "x"), coords=coords)
    legible(panels(a, "predicted", shared=False, label="mean Grad-CAM (output)"))


def test_means_and_spreads_of_a_cohort(study: Path) -> None:
    part = load(study / "parts" / "cell0.nc")
    sums = CohortSums(("grad_cam", "layer_cam"))
    for change in (changes := (0.0, 1e-3, 3e-3)):  # a spread that is small beside the mean
        sums.add(part.assign(seen=part.seen * 0 + np.float32(100 + change)))
    assert sums.sd().values == pytest.approx(np.std(changes, ddof=1), rel=0.02)
    sums.add(part.assign(border_mass=part.border_mass * np.nan))  # a map of zeros
    table = sums.table()
    assert table.grad_cam_border_mass_chance.notna().tolist() == [True, True, True, False]
    assert table.grad_cam_mass_inside_chance.notna().all()


def test_a_folder_too_high_is_told(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pictures").symlink_to(images)
    words = [
        "cells",
        "--checkpoint",
        str(checkpoint),
        "--images",
        str(tmp_path / "project"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(words) == REFUSED
    assert f"pass {tmp_path / 'project' / 'pictures'}" in capsys.readouterr().err


def test_figures_that_no_image_has(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    """A class that everything has, and a map that is zero: z is finite, entropy NaN, and the page is written."""
    classifier = load_checkpoint(checkpoint)
    with torch.no_grad():
        classifier.model.classifier.weight.zero_()
        classifier.model.classifier.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    done = cells(
        images,
        classifier,
        tmp_path / "out",
        methods=["grad_cam", "hires_cam"],
        layer="convnextv2.encoder.stages.2",
    )
    summary = strict(tmp_path / "out/summary.json")
    assert summary["mean_quality"]["grad_cam_entropy"] is None
    assert summary["mean_quality"]["grad_cam~hires_cam_rank_correlation"] is None
    assert summary["deletion_z_median"] == {"grad_cam": 0, "hires_cam": 0}
    assert summary["masked"] == 0
    assert "index.html" in strict(done / "run.json")["files"]


def test_compartments_of_a_mask(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:35, 5:35] = 2
    labels[15:25, 15:25] = 1
    (tmp_path / "masks").mkdir()
    Image.fromarray(labels).save(tmp_path / "masks" / "cell0.png")
    words = ["cells", "--checkpoint", str(checkpoint), "--images", str(images / "blast" / "cell0.png"), "--methods", "grad_cam"]  # fmt: skip
    words += ["--masks", str(tmp_path / "masks"), "--output", str(tmp_path / "out"), "--compartments"]
    assert run([*words, "nucleus"]) == REFUSED
    assert "has the value 2, but --compartments has names for 1 to 1: nucleus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run([*words, "nucleus,cytoplasm"]) == OK
    row = pd.read_csv(tmp_path / "out/results.csv").iloc[0]
    a = load(tmp_path / "out/attributions.nc").sel({"method": "grad_cam"}).values.squeeze()
    mass = np.nan_to_num(np.maximum(a, 0))
    for name, inside in {"background": labels == 0, "nucleus": labels == 1, "cytoplasm": labels == 2}.items():
        assert row[f"grad_cam_mass_in_{name}"] == pytest.approx(mass[inside].sum() / mass.sum(), rel=1e-4)
        seen = np.isfinite(a)
        assert row[f"grad_cam_mass_in_{name}_chance"] == pytest.approx((inside & seen).sum() / seen.sum())
    assert strict(tmp_path / "out/summary.json")["masked"] == 1
    assert "share of the attribution in nucleus" in (tmp_path / "out/index.html").read_text()


def test_maps_are_compared_on_a_coarse_grid() -> None:
    maps = np.random.default_rng(0).random((2, 32, 20))
    small = coarse(maps)
    assert small.shape == (2, 16, 16)
    assert small[0, 0, 0] == pytest.approx(maps[0, :2, :1].mean(), rel=1e-5)
    assert np.array_equal(coarse(maps[:, :8, :8]), maps[:, :8, :8].astype(np.float32))


def test_an_unknown_overlay_leaves_nothing(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [
        "cells",
        "--checkpoint",
        str(checkpoint),
        "--images",
        str(images),
        "--output",
        str(tmp_path / "o"),
    ]
    assert run([*words, "--overlay", "green"]) == REFUSED
    assert "--overlay is 'green', expected grey, colour or contours" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert run([*words, "--overlay", "contours", "--max-samples", "2", "--methods", "grad_cam"]) == OK
    assert json.loads((tmp_path / "o" / "run.json").read_text())["settings"]["overlay"] == "contours"


def test_some_images_get_pictures_and_the_others_later(
    checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    classifier = load_checkpoint(checkpoint)
    done = cells(images, classifier, tmp_path, methods=["grad_cam"], pictures=2)
    drawn = sorted(p.name.removesuffix("_methods.png") for p in tmp_path.glob("*_methods.png"))
    assert len(drawn) == 2
    page = (tmp_path / "index.html").read_text()
    assert [s["name"] for s in held(page)[0]["samples"]] == drawn
    assert "Pictures of 2 of 5 images" in page
    assert strict(done / "summary.json")["images"] == len(list((tmp_path / "parts").iterdir())) == 5
    table = pd.read_csv(tmp_path / "results.csv")
    cells(images, classifier, tmp_path, methods=["grad_cam"])
    assert len(list(tmp_path.glob("*_methods.png"))) == 5
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "results.csv"), table, rtol=1e-5)
    bare = cells(images, classifier, tmp_path / "bare", methods=["grad_cam"], pictures="none")
    assert not list((tmp_path / "bare").glob("cell*.png"))
    assert "gallery.png" not in strict(bare / "run.json")["files"]
    with pytest.raises(ValueError, match="`pictures` is 'some', expected a number, all or none"):
        cells(images, classifier, tmp_path / "new", pictures="some")


class Stopped(Exception):
    """Carries the job that a study would have begun."""


def stopped(job: Any, items: Any, *rest: Any, **more: Any) -> None:
    raise Stopped(job, items)


def test_images_travel_to_other_processes(
    checkpoint: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network and settings can be pickled, and give the same there; what is drawn can be pickled, too."""
    monkeypatch.setattr("attrib.workflows.runner.carried_out", stopped)
    with pytest.raises(Stopped) as raised:
        cells(images, load_checkpoint(checkpoint), tmp_path / "out", methods=["grad_cam"], pictures=1)
    job, items = raised.value.args
    here, there = job.do([*items.values()]), pickle.loads(pickle.dumps(job)).opened().do([*items.values()])
    assert [(o.name, o.refused) for o in here] == [(o.name, o.refused) for o in there]
    assert sum(o.refused is not None for o in here) == 1
    for a, b in zip(here, there, strict=True):
        if a.draw is not None:
            np.testing.assert_allclose(a.draw.args[0].maps, b.draw.args[0].maps, rtol=1e-4, atol=1e-6)
            pickle.loads(pickle.dumps(b.draw))()
            assert job.is_done(items[b.name])
