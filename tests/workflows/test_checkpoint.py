"""Checkpoint folders that are not what they should be: one clear sentence each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from attrib.workflows.checkpoint import load_checkpoint

transformers = pytest.importorskip("transformers")
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    config = transformers.ConvNextV2Config(
        num_stages=1, hidden_sizes=[4], depths=[1], patch_size=4, num_labels=2
    )
    transformers.ConvNextV2ForImageClassification(config).save_pretrained(folder)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def changed(name: str, **to: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | to))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def torn(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])


def partial(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path, number: int) -> Path:
    """The weights in two files, as save_pretrained(max_shard_size=...) writes them; returns one of them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    table = {}
    for k, some in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{k}-of-00002.safetensors"
        save_file({n: weights[n] for n in some}, folder / file, metadata={"format": "pt"})
        table |= dict.fromkeys(some, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": table})
    )
    return folder / f"model-0000{number}-of-00002.safetensors"


def led_away(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    table = {"weight_map": {"a": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "lacks config.json$"),
    "a pickle": (pickled, r"lacks model.safetensors; pytorch_model.bin is a pickle, which can run code"),
    "torn weights": (torn, "cannot be loaded: Error while deserializing header"),
    "other shapes": (
        changed("config.json", hidden_sizes=[6]),
        r"model.safetensors does not fit config.json: [\w.]+ (is \([\d, ]+\), expected \([\d, ]+\)|has another shape); so are \d+ more",
    ),
    "a weight less": (partial, "model.safetensors lacks classifier.bias"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded: .*config.json"),
    "a model of text": (changed("config.json", model_type="bert"), "cannot be loaded: Unrecognized configuration"),
    "an unknown model": (changed("config.json", model_type="mine"), "cannot be loaded: .*`mine`"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "is an adapter"),
    "a regression": (changed("config.json", problem_type="regression"), "is a regression"),
    "one output": (changed("config.json", id2label={"0": "size"}, label2id={"size": 0}), "has one output"),
    "equal names": (changed("config.json", id2label={"0": "cell", "1": "cell"}), "has the class 'cell' twice in id2label"),
    "one channel": (changed("config.json", num_channels=1), "takes images of 1 channels"),
    "code of its own": (
        changed("config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModelForImageClassification": "mine.Net"}),
        "asks for code of its own .`auto_map`., which is never run",
    ),
    "code of its own under a known name": (
        lambda folder: (partial(folder), changed("config.json", auto_map={"AutoModelForImageClassification": "mine.Net"})(folder)),
        "asks for code of its own .`auto_map`., which is never run",
    ),
    "a kernel elsewhere": (changed("config.json", attn_implementation="someone/kernel"), "`attn_implementation` 'someone/kernel'"),
    "a model elsewhere": (changed("config.json", architecture="hf-hub:someone/net"), "`architecture` 'hf-hub:someone/net'"),
    "a shard less": (lambda folder: shard(folder, 2).unlink(), "lacks model-00002-of-00002.safetensors, which model.safetensors.index.json"),
    "an index that leads away": (led_away, "names '../secret.safetensors', expected safetensors files beside it"),
    "a list for a config": (lambda folder: (folder / "config.json").write_text("[]"), "is a list, expected a mapping"),
    "a strange size": (
        changed("preprocessor_config.json", size={"longest_edge": 3}),
        "preprocessor_config.json does not say how images are prepared: the preprocessor's `size` is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_checkpoint_says_what_is_wrong(
    kind: str, complete: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    change, text = BROKEN[kind]
    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=text) as raised:
        load_checkpoint(folder)
    assert len(str(raised.value)) < 400
    assert capfd.readouterr().err == ""


def test_transformers_is_as_loud_afterwards_as_before(complete: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    assert load_checkpoint(complete).classes == ("LABEL_0", "LABEL_1")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_weights_in_several_files(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    shard(folder, 1)
    whole, sharded = load_checkpoint(complete), load_checkpoint(folder)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(whole.model(x).logits, sharded.model(x).logits)
    assert whole.source != sharded.source


def test_preparation_beside_other_processors(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": content, "processor_class": "X"})
    )
    assert load_checkpoint(folder).preparation == load_checkpoint(complete).preparation


def test_preparation_of_a_model_of_timm(complete: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").unlink()
    described = {"input_size": [3, 8, 8], "crop_pct": 1.0, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    changed("config.json", pretrained_cfg=described)(folder)
    assert load_checkpoint(folder).preparation.crop == (8, 8)


def test_several_labels_are_sigmoids(complete: Path, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    from attrib.workflows.cells import cells

    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    changed("config.json", problem_type="multi_label_classification")(folder)
    classifier = load_checkpoint(folder)
    assert classifier.several
    assert not load_checkpoint(complete).several
    pillow.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    cells(tmp_path / "a.png", classifier, tmp_path / "out", methods=["grad_cam"])
    written = json.loads((tmp_path / "out" / "a_results.json").read_text())
    x = torch.from_numpy(classifier.preparation.apply(np.full((8, 8, 3), (255, 0, 0), np.uint8)))[None]
    expected = classifier.model(x).logits.sigmoid()[0].tolist()
    assert list(written["all_probabilities"].values()) == pytest.approx(expected, abs=1e-6)
    assert written["quality"]["grad_cam"]["deletion_curve"][0] == pytest.approx(max(expected), abs=1e-6)


def test_fast_processors_resize_as_torch_does(complete: Path, tmp_path: Path) -> None:
    """A tensor of unsigned 8 bit, which torch rounds in its own way: up to one of 255 beside Pillow's."""
    folder = shutil.copytree(complete, tmp_path / "checkpoint")
    changed("preprocessor_config.json", image_processor_type="ViTImageProcessorFast", resample=3)(folder)
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    rows = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(rows, (8, 8), mode="bicubic", antialias=True)[0]
    ours = load_checkpoint(folder).preparation.apply(image)
    assert np.allclose(ours, (resized.numpy() / 255 - 0.5) / 0.5, atol=1e-6)


def test_what_transformers_cannot_import_is_named(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own message names the class that was wanted; a torchvision of another torch is the cause."""

    def fails(*args: object, **options: object) -> None:
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as cause:
            raise ModuleNotFoundError(
                "Could not import module 'ConvNextV2'. Are its requirements there?"
            ) from cause

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", fails)
    with pytest.raises(
        ValueError, match=r"cannot import what it needs: operator torchvision::nms .* does not fit torch"
    ):
        load_checkpoint(complete)
