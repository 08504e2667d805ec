"""Classifiers of images with their class names and the preparation of their images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from attrib.domains.preparation import Preparation, preparation_of
from attrib.scale.loading import check_device, load_model
from attrib.workflows.identity import fingerprint

CONFIG, WEIGHTS, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"


class Classifier(NamedTuple):
    """A network that sorts images into classes.

    Attributes
    ----------
    model : callable
        Images (N, 3, y, x) to logits (N, C), in evaluation mode.
    classes : tuple of str
        Names of the outputs.
    preparation : Preparation
        From an image to the network's input.
    source : str
        Where it comes from, with a fingerprint of its weights where they are a file.
    """

    model: Callable[..., Any]
    classes: tuple[str, ...]
    preparation: Preparation
    source: str


def load_checkpoint(folder: str | Path, device: str | None = None) -> Classifier:
    """A classifier from a checkpoint folder of Hugging Face.

    Parameters
    ----------
    folder : path
        With `config.json`, `model.safetensors` and `preprocessor_config.json`; other files are ignored. Nothing is
        downloaded, and no code of the folder is run.
    device : str, optional
        Where to put it; default: the CPU.

    Returns
    -------
    Classifier

    Raises
    ------
    FileNotFoundError
        Naming the files that are missing.
    ImportError
        Without transformers and safetensors: ``pip install "attrib[cells]"``.
    ValueError
        If the weights do not fit the config.
    """
    path = Path(folder)
    missing = [n for n in (CONFIG, WEIGHTS, PROCESSOR) if not (path / n).is_file()]
    if missing:
        raise FileNotFoundError(f"`checkpoint`: {path} lacks {', '.join(missing)}{_pickled(path, missing)}")
    check_device(device)
    model = _from_transformers(path)
    names = {int(k): str(v) for k, v in model.config.id2label.items()}
    preparation = _preparation(path / PROCESSOR)
    placed = model.to(device) if device is not None else model
    return Classifier(placed, tuple(names[k] for k in sorted(names)), preparation, _source(path / WEIGHTS))


def _pickled(path: Path, missing: Sequence[str]) -> str:
    """What to do about weights in a format that can run code; empty if there are none."""
    pickles = [
        p.name for p in (path / "pytorch_model.bin", path / "model.bin", path / "model.pt") if p.is_file()
    ]
    if WEIGHTS not in missing or not pickles:
        return ""
    return (
        f"; {pickles[0]} is a pickle, which can run code and is not opened: if you trust it, load it with from_pretrained "
        "and save it again with save_pretrained"
    )


def _preparation(file: Path) -> Preparation:
    try:
        return preparation_of(json.loads(file.read_text()))
    except ValueError as error:
        raise ValueError(f"{file} does not say how images are prepared: {error}") from error


def _from_transformers(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from transformers import AutoModelForImageClassification
    except ImportError as error:
        raise ImportError(
            'checkpoints need transformers and safetensors: pip install "attrib[cells]"'
        ) from error
    try:
        with _quiet():
            model, info = AutoModelForImageClassification.from_pretrained(
                str(path), local_files_only=True, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
    except (OSError, RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise ValueError(f"`checkpoint`: {path} cannot be loaded: {_first(error)}") from error
    _check_weights(info)
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Switch off the progress bar and the log of transformers; problems become errors."""
    from transformers.utils import logging

    has_bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bar:
            logging.enable_progress_bar()


def _check_weights(info: Mapping[str, Any]) -> None:
    """Raise unless the weights are those of the network that the config describes."""
    if info["missing_keys"]:
        raise ValueError(f"`checkpoint`: {WEIGHTS} lacks {', '.join(sorted(info['missing_keys'])[:4])}")
    others = sorted(info.get("mismatched_keys") or ())
    if others:
        name, shape, expected = others[0]
        raise ValueError(
            f"`checkpoint`: {WEIGHTS} does not fit {CONFIG}: {name} is {tuple(shape)}, expected {tuple(expected)}"
            + (f"; so are {len(others) - 1} more" if len(others) > 1 else "")
        )


def _first(error: Exception) -> str:
    """The first sentence of an error; the rest of transformers' messages is for its developers."""
    return str(error).splitlines()[0].split(". ")[0][:200]


def _source(file: Path) -> str:
    return f"{file.parent.name} {fingerprint(file)}"


def load_classifier(
    model: str,
    weights: str | Path | None = None,
    *,
    classes: Sequence[str],
    processor: str | Path | None = None,
    device: str | None = None,
) -> Classifier:
    """A classifier from code and weights.

    Parameters
    ----------
    model : str
        `"package.module:factory"`, see `attrib.scale.loading.load_model`.
    weights : path, optional
        A state dict.
    classes : sequence of str
        Names of the outputs.
    processor : path, optional
        A `preprocessor_config.json`; default: the `pretrained_cfg` of a model of timm.
    device : str, optional
        Where to put it.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        If the preparation of images is unknown, and for errors of loading.
    """
    network = load_model(model, weights, device)
    source = model if weights is None else f"{model} {_source(Path(weights))}"
    if processor is not None:
        preparation = _preparation(Path(processor))
    else:
        described = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
        if not isinstance(network, nn.Module) or not described:
            raise ValueError(
                f"{model} does not say how images are prepared; pass the file preprocessor_config.json as `processor`"
            )
        preparation = timm_preparation(described)
    return Classifier(network, tuple(map(str, classes)), preparation, source)


def timm_preparation(described: Any) -> Preparation:
    """The preparation in a `pretrained_cfg` of timm: shorter side to size / crop_pct, the middle, mean and std."""
    size = tuple(described["input_size"])[1:]
    wide = int(size[0] / (described.get("crop_pct") or 0.875))
    squashed = described.get("crop_mode") == "squash"
    return Preparation(
        None if squashed else wide, (wide, int(size[1] / (described.get("crop_pct") or 0.875))) if squashed else None,
        (size[0], size[1]), {"bilinear": 2, "bicubic": 3, "lanczos": 1, "nearest": 0}.get(described.get("interpolation", "bicubic"), 3),
        mean=tuple(described["mean"]), std=tuple(described["std"]),
    )  # fmt: skip
