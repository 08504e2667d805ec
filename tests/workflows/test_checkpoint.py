"""Checkpoint folders that are not what they should be: one clear sentence each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

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
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 8, "width": 8}}))
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


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "lacks config.json$"),
    "a pickle": (pickled, r"lacks model.safetensors; pytorch_model.bin is a pickle, which can run code"),
    "torn weights": (torn, "cannot be loaded: Error while deserializing header"),
    "other shapes": (
        changed("config.json", hidden_sizes=[6]),
        r"model.safetensors does not fit config.json: classifier.weight is \(2, 4\), expected \(2, 6\); so are \d+ more",
    ),
    "a weight less": (partial, "model.safetensors lacks classifier.bias"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded: .*config.json"),
    "a model of text": (changed("config.json", model_type="bert"), "cannot be loaded: Unrecognized configuration"),
    "an unknown model": (changed("config.json", model_type="mine"), "cannot be loaded: .*`mine`"),
    "a strange size": (
        changed("preprocessor_config.json", size={"longest_edge": 3}),
        "preprocessor_config.json does not say how images are prepared: the preprocessor's size is",
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
