"""`attrib cells`: the study of cell images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show

if TYPE_CHECKING:
    from attrib.workflows.cells import Study
    from attrib.workflows.checkpoint import Classifier

SEVERAL = {
    "cells": ("--images", "--methods", "--targets"),
    "fcgr": ("--samples", "--methods", "--corrections"),
    "mri": ("--methods", "--context", "--key-slices", "--key-mm", "--samples"),
    "expression": ("--methods", "--target", "--classes"),
}


def repeated(arguments: Sequence[str]) -> list[str]:
    """``--methods a b`` as ``--methods a --methods b`` for the options of studies that take several values."""
    study = next((w for w in arguments[:2] if w in SEVERAL), None)
    if study is None:
        return list(arguments)
    words: list[str] = []
    option = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in SEVERAL[study] else ""
        elif option and words[-1] != option:
            words.append(option)
        words.append(word)
    return words


Images = Annotated[
    list[Path],
    typer.Option(help="Images (bmp, png, jpg, tif) and folders; folders inside a folder are classes."),
]
Output = Annotated[
    Path, typer.Option(help="Folder for the results; a run with the same settings there is continued.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="Hugging Face folder: config.json, model.safetensors, preprocessor_config.json."),
]
Code = Annotated[
    str | None, typer.Option(help="Instead of --checkpoint: package.module:factory (with --classes).")
]
Weights = Annotated[Path | None, typer.Option(help="State dict for --model.")]
Names = Annotated[str | None, typer.Option(help="Names of the outputs of --model: a,b,c.")]
Processor = Annotated[
    Path | None, typer.Option(help="preprocessor_config.json for --model; models of timm bring their own.")
]
Methods = Annotated[
    list[str] | None, typer.Option(help="grad_cam, grad_cam_plus_plus, layer_cam, hires_cam.")
]
LayerName = Annotated[str, typer.Option(help="A layer's dotted name, or auto: the last one with positions.")]
Targets = Annotated[list[str] | None, typer.Option(help="predicted, all, or names of classes.")]
Masks = Annotated[
    Path | None, typer.Option(help="Folder of masks named as the images, nonzero where the cell is.")
]
MaxImages = Annotated[int | None, typer.Option(help="Use the first so many images.")]
BatchSize = Annotated[int, typer.Option(help="Images per call of the model.")]
Device = Annotated[str | None, typer.Option(help="Where to run, such as cuda; default: the CPU.")]


def cells(
    images: Images,
    output: Output = Path("attrib-cells"),
    checkpoint: Checkpoint = None,
    model: Code = None,
    weights: Weights = None,
    classes: Names = None,
    processor: Processor = None,
    methods: Methods = None,
    layer: LayerName = "auto",
    targets: Targets = None,
    masks: Masks = None,
    max_images: MaxImages = None,
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Explain a classifier of cell images: attributions on the images, quality figures, a summary page."""
    from attrib.workflows.cells import METHODS
    from attrib.workflows.cells import cells as work
    from attrib.workflows.folder import command_line

    classifier = chosen(checkpoint, model, weights, classes, processor, device)
    wanted = listed(targets) or ["predicted"]
    goal = wanted[0] if wanted in (["predicted"], ["all"]) else wanted
    with show.progress() as tell:
        done = work(
            classifier, images, output, methods=listed(methods) or METHODS, layer=layer, targets=goal,
            masks=masks, max_images=max_images, batch_size=batch_size, command=command_line(), tell=tell,
        )  # fmt: skip
    _report(done)


def chosen(
    checkpoint: Path | None,
    model: str | None,
    weights: Path | None,
    classes: str | None,
    processor: Path | None,
    device: str | None,
) -> Classifier:
    """The classifier that the options name.

    Raises
    ------
    ValueError
        For options that contradict each other, and for missing ones.
    """
    from attrib.workflows.checkpoint import load_checkpoint, load_classifier

    if (checkpoint is None) == (model is None):
        raise ValueError("pass either --checkpoint FOLDER or --model package.module:factory")
    if checkpoint is not None:
        files = {"--weights": weights, "--classes": classes, "--processor": processor}
        extra = [name for name, value in files.items() if value is not None]
        if extra:
            raise ValueError(f"{', '.join(extra)}: a checkpoint brings its own; leave out, or use --model")
        return load_checkpoint(checkpoint, device)
    if model is None or classes is None:
        raise ValueError("--model needs --classes: the names of its outputs, a,b,c")
    return load_classifier(model, weights, classes=listed([classes]), processor=processor, device=device)


def _report(done: Study) -> None:
    accuracy = done.summary["accuracy"]
    accuracy_text = "" if accuracy is None else f", accuracy {accuracy:.1%}"
    show.say(f"{done.summary['images']} images{accuracy_text}; attributions of layer {done.summary['layer']}")
    strange = done.summary["folders_that_are_no_class"]
    if strange:
        show.say(f"folders that are no class of the model, not counted in the accuracy: {', '.join(strange)}")
    for bad in done.summary["unreadable"]:
        show.say(f"skipped {bad['path']}: {bad['reason']}")
    show.files(done.folder, done.files)


def listed(values: Sequence[str] | None) -> list[str]:
    """Values given one by one, or with commas."""
    return [v.strip() for text in values or () for v in text.split(",") if v.strip()]
