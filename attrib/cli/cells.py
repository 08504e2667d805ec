"""`attrib cells`: the study of cell images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show
from attrib.cli.options import (
    Cluster,
    Context,
    Continued,
    Device,
    Layer,
    Pictures,
    Seed,
    drawers,
    joined,
    listed,
    workers,
)

if TYPE_CHECKING:
    from attrib.workflows.checkpoint import Classifier
    from attrib.workflows.runner import Studied

Images = Annotated[
    list[Path],
    typer.Option(
        "--data",
        "--images",
        help="Images (bmp, png, jpg, tif) and folders; folders inside a folder are classes.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="Hugging Face folder: config.json, model.safetensors, preprocessor_config.json."),
]
Code = Annotated[
    str | None, typer.Option(help="Instead of --checkpoint: package.module:factory (with --classes).")
]
Weights = Annotated[Path | None, typer.Option(help="State dict for --model.")]
Names = Annotated[
    list[str] | None,
    typer.Option(help="Names of the outputs of --model: a,b,c, or a file with one per line."),
]
Processor = Annotated[
    Path | None, typer.Option(help="preprocessor_config.json for --model; models of timm bring their own.")
]
Maps = Annotated[
    list[str] | None,
    typer.Option("--methods", help="grad_cam, grad_cam_plus_plus, layer_cam, hires_cam."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", "--targets", help="predicted, all, or names of classes."),
]
Masks = Annotated[
    Path | None, typer.Option(help="Folder of masks named as the images, nonzero where the cell is.")
]
Compartments = Annotated[
    list[str] | None,
    typer.Option(help="Names of the masks' values 1, 2, ...: nucleus,cytoplasm; 0 is the background."),
]
Overlay = Annotated[
    str, typer.Option(help="Pictures: attributions on a grey image, on one in colour, or as contours.")
]
MaxSamples = Annotated[
    int | None,
    typer.Option(
        "--max-samples", "--max-images", help="At most so many images, drawn evenly over the classes."
    ),
]
ImagesPerCall = Annotated[int, typer.Option("--batch-size", help="Images per call of the model.")]


def cells(
    images: Images,
    output: Continued = Path("attrib-cells"),
    checkpoint: Checkpoint = None,
    model: Code = None,
    weights: Weights = None,
    classes: Names = None,
    processor: Processor = None,
    methods: Maps = None,
    layer: Layer = "auto",
    target: Targets = None,
    masks: Masks = None,
    compartments: Compartments = None,
    context: Context = None,
    overlay: Overlay = "grey",
    pictures: Pictures = "all",
    cluster: Cluster = None,
    max_samples: MaxSamples = None,
    batch_size: ImagesPerCall = 16,
    device: Device = None,
    seed: Seed = 0,
) -> None:
    """Explain a classifier of cell images: attributions on the images, quality figures, a summary page."""
    from attrib.workflows.cells import METHODS
    from attrib.workflows.cells import cells as work

    classifier = chosen(checkpoint, model, weights, classes, processor, device)
    wanted = listed(target) or ["predicted"]
    goal = wanted[0] if wanted in (["predicted"], ["all"]) else wanted
    with show.progress() as tell:
        done = work(
            classifier, images, output, methods=listed(methods) or METHODS, layer=layer, target=goal,
            masks=masks, compartments=listed(compartments), context=listed(context), overlay=overlay, max_samples=max_samples, batch_size=batch_size, pictures=pictures, workers=drawers(),
            cluster=workers(cluster), seed=seed, tell=tell,
        )  # fmt: skip
    _report(done, classifier.classes)


def chosen(
    checkpoint: Path | None,
    model: str | None,
    weights: Path | None,
    classes: list[str] | None,
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
    from attrib.workflows.data import class_names

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
    return load_classifier(
        model, weights, classes=class_names(joined(classes)) or [], processor=processor, device=device
    )


def _report(done: Studied, classes: Sequence[str]) -> None:
    from attrib.workflows.cells.cohort import on_the_border

    accuracy = done.summary["accuracy"]
    accuracy_text = "" if accuracy is None else f", accuracy {accuracy:.1%}"
    show.say(f"{done.summary['images']} images{accuracy_text}; attributions of layer {done.summary['layer']}")
    strange = done.summary["folders_that_are_no_class"]
    if strange:
        show.say(
            f"folders that are no class of the model, not counted in the accuracy: {', '.join(strange)}; its classes: {', '.join(map(str, classes))}"
        )
    if 0 < done.summary["masked"] < done.summary["images"]:
        show.say(f"masks: of {done.summary['masked']} of {done.summary['images']} images")
    if border := on_the_border(done.summary, list(done.summary["deletion_z_median"])):
        show.say(border)
    for bad in done.summary["unreadable"]:
        show.say(f"skipped {bad['path']}: {bad['reason']}")
    show.files(done.folder, done.files)
