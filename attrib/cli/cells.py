"""`attrib cells`: the study of cell images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attrib.cli import show
from attrib.cli.options import (
    Cluster,
    Context,
    Continued,
    Device,
    Layer,
    Overwrite,
    Pictures,
    Samples,
    Seed,
    assignments,
    either,
    joined,
    listed,
    names,
    workers,
)

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
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An argument of a method: relu=false (keep what speaks against the class), normalize=minmax, call=1 (of a layer that is called "
        "several times), or grad_cam.relu=false.",
    ),
]
ImagesPerCall = Annotated[int, typer.Option("--batch-size", help="Images per call of the model.")]


def cells(
    data: Images,
    output: Continued = Path("attrib-cells"),
    checkpoint: Checkpoint = None,
    model: Code = None,
    weights: Weights = None,
    classes: Names = None,
    processor: Processor = None,
    methods: Maps = None,
    options: Arguments = None,
    layer: Layer = "auto",
    target: Targets = None,
    masks: Masks = None,
    compartments: Compartments = None,
    context: Context = None,
    overlay: Overlay = "grey",
    pictures: Pictures = "all",
    cluster: Cluster = None,
    samples: Samples = None,
    max_samples: Annotated[
        int | None,
        typer.Option(
            "--max-samples",
            "--max-images",
            help="At most so many images, drawn evenly over the classes by --seed.",
        ),
    ] = None,
    batch_size: ImagesPerCall = 16,
    device: Device = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Explain a classifier of cell images: attributions on the images, quality figures, a summary page."""
    from attrib.workflows.cells import METHODS
    from attrib.workflows.cells import cells as work

    wanted = listed(target) or ["predicted"]
    with show.progress() as tell:
        folder = work(
            data, either(checkpoint, model), output, weights=weights, classes=joined(classes), processor=processor, target=wanted[0] if wanted in (["predicted"], ["all"]) else wanted,
            methods=listed(methods) or METHODS, options=assignments(options), layer=layer, context=listed(context), masks=masks, compartments=listed(compartments),
            samples=names(samples), max_samples=max_samples, overlay=overlay, pictures=pictures, batch_size=batch_size, device=device,
            cluster=workers(cluster), seed=seed, overwrite=overwrite, tell=tell,
        )  # fmt: skip
    _report(folder)


def _report(folder: Path) -> None:
    """Print what came out, what was left out, and the files."""
    from attrib.workflows.cells.cohort import on_the_border

    summary, files = show.run_of(folder)
    accuracy = "" if summary["accuracy"] is None else f", accuracy {summary['accuracy']:.1%}"
    show.say(f"{summary['images']} images{accuracy}; attributions of layer {summary['layer']}")
    strange = summary["folders_that_are_no_class"]
    if strange:
        show.say(
            f"folders that are no class of the model, not counted in the accuracy: {', '.join(strange)}; its classes: {', '.join(summary['classes'])}"
        )
    if 0 < summary["masked"] < summary["images"]:
        show.say(f"masks: of {summary['masked']} of {summary['images']} images")
    if border := on_the_border(summary, list(summary["deletion_z_median"])):
        show.say(border)
    for bad in summary["unreadable"]:
        show.say(f"skipped {bad['path']}: {bad['reason']}")
    show.files(folder, files)
