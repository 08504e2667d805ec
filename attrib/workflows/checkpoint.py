"""Classifiers of images with their class names and the preparation of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import interpolate

from attrib._install import install_hint
from attrib.domains.processors import Preparation, is_fast, preparation_of, timm_preparation
from attrib.scale.loading import check_device, model_of
from attrib.workflows.data import checkpoint_in, class_names, refuse_beside
from attrib.workflows.folder import fingerprint, read_mapping

CONFIG, WEIGHTS, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
SHARDS, PROCESSORS, ADAPTER = WEIGHTS + ".index.json", "processor_config.json", "adapter_config.json"
ATTENTIONS = (None, "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")


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
    several : bool
        Whether an image may have several labels: probabilities are sigmoids then, each by itself, and not a softmax.
    """

    model: Callable[..., Any]
    classes: tuple[str, ...]
    preparation: Preparation
    source: str
    several: bool = False


def load_checkpoint(folder: str | Path, device: str | None = None) -> Classifier:
    """A classifier from a checkpoint folder of Hugging Face.

    Parameters
    ----------
    folder : path
        With `config.json`; `model.safetensors`, or `model.safetensors.index.json` and its shards; and
        `preprocessor_config.json` (models of timm: the `pretrained_cfg` in `config.json`; else `processor_config.json`). Other
        files are ignored. Nothing is downloaded, and no code of the folder is run.
    device : str, optional
        Where to put it; default: the CPU.

    Returns
    -------
    Classifier

    Raises
    ------
    FileNotFoundError
        If there is no such folder, and naming the files that are missing.
    ImportError
        Without transformers and safetensors: ``pip install -e '.[cells]'``.
    ValueError
        If the weights do not fit the config, for models that are no classifiers of RGB images, class names that are equal,
        adapters (LoRA), and folders that ask for code of their own.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from transformers import ConvNextConfig, ConvNextForImageClassification
    >>> from attrib.workflows.checkpoint import load_checkpoint
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> config = ConvNextConfig(hidden_sizes=[8, 8], depths=[1, 1], num_stages=2, id2label={0: "blast", 1: "monocyte"})
    >>> ConvNextForImageClassification(config).save_pretrained(folder)
    >>> means = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    >>> processor = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875} | means
    >>> _ = (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    >>> load_checkpoint(folder).classes
    ('blast', 'monocyte')
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"`checkpoint`: {path} is {'a file' if path.exists() else 'not there'}, expected a folder with {CONFIG}, {WEIGHTS} and {PROCESSOR}")  # fmt: skip
    if (path / ADAPTER).is_file():
        raise ValueError(
            f"`checkpoint`: {path} is an adapter (LoRA and the like), which changes another model; load both with peft, "
            "merge_and_unload(), and save the result with save_pretrained"
        )
    weights = _weights(path)
    config = read_mapping(path / CONFIG, "checkpoint") if (path / CONFIG).is_file() else {}
    described = _described(path, config)
    missing = [CONFIG] * (not (path / CONFIG).is_file()) + [WEIGHTS] * (not weights) + [PROCESSOR] * (described is None)  # fmt: skip
    if missing or described is None:
        raise FileNotFoundError(f"`checkpoint`: {path} lacks {', '.join(missing)}{_pickled(path, missing)}")
    check_device(device)
    _refuse_code(path, config)
    _refuse_regression(path, config)
    preparation = _preparation(*described)
    model = _from_transformers(path, config)
    names = {int(k): str(v) for k, v in model.config.id2label.items()}
    classes = tuple(names[k] for k in sorted(names))
    _refuse_classes(path, classes, model.config)
    placed = model.to(device) if device is not None else model
    several = model.config.problem_type == "multi_label_classification"
    return Classifier(placed, classes, preparation, _source(path, weights), several)


def _weights(path: Path) -> list[Path]:
    """The files of weights; none if they are missing.

    Raises
    ------
    FileNotFoundError
        For shards that the index names and the folder lacks.
    ValueError
        For an index that leads out of the folder.
    """
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if not (path / SHARDS).is_file():
        return []
    names = sorted(
        {str(n) for n in dict(read_mapping(path / SHARDS, "checkpoint").get("weight_map") or {}).values()}
    )
    strange = [n for n in names if Path(n).name != n or not n.endswith(".safetensors")]
    if strange or not names:
        raise ValueError(
            f"`checkpoint`: {path / SHARDS} names {strange[0] if strange else 'no files'!r}, expected safetensors files beside it"
        )
    missing = [n for n in names if not (path / n).is_file()]
    if missing:
        raise FileNotFoundError(f"`checkpoint`: {path} lacks {', '.join(missing[:3])}, which {SHARDS} names")
    return [path / n for n in names]


def _described(path: Path, config: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any], bool] | None:
    """Where the preparation of images is described, the description, and whether it is timm's."""
    if (path / PROCESSOR).is_file():
        return path / PROCESSOR, read_mapping(path / PROCESSOR, "checkpoint"), False
    if isinstance(config.get("pretrained_cfg"), dict):
        return path / CONFIG, config["pretrained_cfg"], True
    if (path / PROCESSORS).is_file():
        content = read_mapping(path / PROCESSORS, "checkpoint")
        inner = content.get("image_processor", content)
        return (path / PROCESSORS, inner, False) if isinstance(inner, dict) else None
    return None


def _refuse_code(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse configs that name attention kernels or a model of timm elsewhere: transformers would fetch and run them."""
    for key, value in _everything(config):
        if "attn_implementation" in key or "experts_implementation" in key:
            parts = list(value.values()) if isinstance(value, dict) else [value]
            if any(v not in ATTENTIONS for v in parts):
                raise ValueError(
                    f"`checkpoint`: {path / CONFIG} asks for `{key}` {value!r}, which is not fetched; take it out"
                )
    architecture = str(config.get("architecture", ""))
    if ":" in architecture or "/" in architecture:
        raise ValueError(
            f"`checkpoint`: {path / CONFIG} asks for the `architecture` {architecture!r}, which is not fetched"
        )


def _everything(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield str(key), value
        if isinstance(value, Mapping):
            yield from _everything(value)


def _refuse_regression(path: Path, config: Mapping[str, Any]) -> None:
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", config.get("num_classes"))
    if config.get("problem_type") == "regression" or count == 1:
        raise ValueError(
            f"`checkpoint`: {path} has one output or is a regression; expected a classifier with at least 2 classes"
        )
    channels = config.get("num_channels")
    if isinstance(channels, int) and channels != 3:
        raise ValueError(
            f"`checkpoint`: {path} takes images of {channels} channels (`num_channels`), expected 3: RGB"
        )


def _refuse_classes(path: Path, classes: Sequence[str], config: Any) -> None:
    twice = next((c for c in classes if classes.count(c) > 1), None)
    if twice is not None:
        raise ValueError(
            f"`checkpoint`: {path / CONFIG} has the class {twice!r} twice in id2label; results could not be told apart"
        )
    channels = getattr(config, "num_channels", 3)
    if len(classes) < 2 or channels != 3:
        raise ValueError(
            f"`checkpoint`: {path} has {len(classes)} classes and takes {channels} channels, expected at least 2 and 3"
        )


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


def _preparation(file: Path, described: Mapping[str, Any], timm: bool = False) -> Preparation:
    try:
        if timm:
            return timm_preparation(described)
        preparation = preparation_of(described)
    except ValueError as error:
        raise ValueError(f"{file} does not say how images are prepared: {error}") from error
    return replace(preparation, resize=_by_torch) if is_fast(described) else preparation


def _by_torch(image: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    """An image resized as processors on torchvision do: as a tensor of unsigned 8 bit.

    Raises
    ------
    ValueError
        For filters that torch lacks.
    """
    modes = {2: "bilinear", 3: "bicubic"}
    if resample not in modes:
        raise ValueError(f"`resample` is {resample}, expected 2 or 3 for a processor whose name ends in Fast")
    rows = torch.from_numpy(image).permute(2, 0, 1)[None]
    return interpolate(rows, size, mode=modes[resample], antialias=True)[0].permute(1, 2, 0).numpy()


def _from_transformers(path: Path, config: Mapping[str, Any]) -> Any:
    try:
        from safetensors import SafetensorError
        from transformers import AutoModelForImageClassification
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch is the latter
        there = find_spec("transformers") and find_spec("safetensors")
        raise ImportError(
            _first(error)
            if there
            else f"checkpoints need transformers and safetensors: {install_hint('cells')}"
        ) from error
    try:
        with _quiet():
            model, info = AutoModelForImageClassification.from_pretrained(
                str(path), local_files_only=True, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
                trust_remote_code=False,
            )  # fmt: skip
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ImportError,
        SafetensorError,
    ) as error:
        _refuse_own_code(path, config, error)
        raise ValueError(f"`checkpoint`: {path} cannot be loaded: {_first(error)}") from error
    try:
        _check_weights(info)
    except (
        ValueError
    ) as error:  # transformers has a network of this name, but the weights are of the folder's own
        _refuse_own_code(path, config, error)
        raise
    return model.eval()


def _refuse_own_code(path: Path, config: Mapping[str, Any], error: Exception) -> None:
    if config.get("auto_map"):
        raise ValueError(
            f"`checkpoint`: {path / CONFIG} asks for code of its own (`auto_map`), which is never run; if you trust it, load "
            "the model in a function of your own and pass package.module:factory as `model`"
        ) from error


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
        if isinstance(others[0], str):  # transformers 4 says no shapes
            first = f"{others[0]} has another shape"
        else:
            name, shape, expected = others[0]
            first = f"{name} is {tuple(shape)}, expected {tuple(expected)}"
        raise ValueError(
            f"`checkpoint`: {WEIGHTS} does not fit {CONFIG}: {first}"
            + (f"; so are {len(others) - 1} more" if len(others) > 1 else "")
        )


def _first(error: Exception) -> str:
    """The first sentence of an error, of the one behind it if that is a failed import; the rest is for the developers of transformers."""
    root: BaseException = error
    while isinstance(error, ImportError) and (cause := root.__cause__ or root.__context__):
        root = cause
    text = (str(root).splitlines() or [type(root).__name__])[0].split(". ")[0][:200]
    if root is error:
        return text
    return f"transformers cannot import what it needs: {text}; often a package that does not fit torch {torch.__version__}, such as torchvision"


def _source(folder: Path, files: Sequence[Path]) -> str:
    return " ".join([folder.name, *map(fingerprint, files)])


def classifier_of(
    model: str | Path | Classifier | Callable[..., Any],
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    processor: str | Path | None = None,
    device: str | None = None,
) -> Classifier:
    """The classifier that `attrib.workflows.cells` takes: one that is there, a checkpoint's, or one of code and weights.

    Raises
    ------
    ValueError
        For arguments that belong to another form of `model`, and as the functions that load them.
    """
    if isinstance(model, Classifier):
        refuse_beside("`model` is a classifier that is loaded", weights=weights, classes=classes, processor=processor, device=device)  # fmt: skip
        return model
    folder = checkpoint_in(model)
    if folder is None:
        names = class_names(classes) or []
        if not isinstance(model, str):
            refuse_beside("`model` stays where it is", device=device)
        return load_classifier(model, weights, classes=names, processor=processor, device=device)  # type: ignore[arg-type]
    refuse_beside("a checkpoint brings its own", weights=weights, classes=classes, processor=processor)
    return load_checkpoint(folder, device)


def load_classifier(
    model: str | Callable[..., Any],
    weights: str | Path | None = None,
    *,
    classes: Sequence[str],
    processor: str | Path | None = None,
    device: str | None = None,
) -> Classifier:
    """A classifier from code and weights.

    Parameters
    ----------
    model : str or callable
        `"package.module:factory"`, see `attrib.scale.loading.load_model`; or the network itself.
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

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from attrib.workflows.checkpoint import load_classifier
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "preprocessor_config.json"
    >>> means = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    >>> processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}} | means
    >>> _ = file.write_text(json.dumps(processor))
    >>> classifier = load_classifier("torch.nn:Flatten", classes=["blast", "monocyte"], processor=file)
    >>> classifier.source, classifier.classes
    ('torch.nn:Flatten', ('blast', 'monocyte'))
    """
    if not classes:
        raise ValueError("`classes` is missing: the names of the outputs of `model`, a,b,c")
    twice = next((c for c in classes if list(classes).count(c) > 1), None)
    if twice is not None or len(classes) < 2:
        raise ValueError(
            f"`classes` has {f'{twice!r} twice' if twice is not None else f'{len(classes)} names'}, expected at least 2 different ones"
        )
    code = model if isinstance(model, str) else type(model).__name__
    network = model_of(model, weights, device)
    source = code if weights is None else f"{code} {_source(Path(weights).parent, [Path(weights)])}"
    if processor is not None:
        preparation = _preparation(Path(processor), read_mapping(Path(processor), "processor"))
    else:
        described = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
        if not isinstance(network, nn.Module) or not described:
            raise ValueError(
                f"{code} does not say how images are prepared; pass the file preprocessor_config.json as `processor`"
            )
        preparation = timm_preparation(described)
    return Classifier(network, tuple(map(str, classes)), preparation, source)
