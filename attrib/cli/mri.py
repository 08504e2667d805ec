"""`attrib mri`: the study of magnetic resonance images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from attrib.cli import show
from attrib.cli.options import (
    BatchSize,
    Classes,
    Cluster,
    Context,
    Continued,
    Device,
    Layer,
    MaxSamples,
    Model,
    Overwrite,
    Pictures,
    Samples,
    Seed,
    assignments,
    divided,
    joined,
    listed,
    names,
    rows,
    workers,
)

SETTINGS: dict[str, Any] = {
    "axis": (str, "axial"), "orientation": (str, None), "brain_mask": (str, None), "npy": (bool, False), "key_slices": (list, []),
    "smooth": (float, None), "threshold": (float, None), "connectivity": (int, None), "tfce": (bool, None), "permutations": (int, None),
}  # fmt: skip

Subjects = Annotated[
    Path,
    typer.Option(
        "--data",
        "--subjects",
        help="CSV or TSV: subject, path; label, mask, atlas if there are any. Paths are relative to it.",
    ),
]
TrainedWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="State dict: .pth, .pt or .safetensors; prefixes of training are taken off."
    ),
]
Parameters = Annotated[
    Path | None, typer.Option(help="JSON with arguments of the factory; those it does not take are left out.")
]
ScoredClass = Annotated[
    str | None,
    typer.Option(
        "--target", help="The class whose score is explained, or predicted; default: the last class."
    ),
]
Maps = Annotated[list[str] | None, typer.Option("--methods", help="integrated_gradients, saliency, gradient_shap (these by default), input_x_gradient, deep_lift, noise_tunnel_ig, grad_cam, feature_ablation (regions), ...")]  # fmt: skip
Input = Annotated[
    str,
    typer.Option(
        help="volume, or slices: a 2-D model whose score is the mean over slices; slices:30-90 for those alone."
    ),
]
Intensity = Annotated[str, typer.Option(help="none, zscore, zscore-brain or minmax.")]
Reference = Annotated[
    str,
    typer.Option("--baselines", help="zeros, a number, mean:HC, samples:HC (several), blurred, or an image."),
]
Atlas = Annotated[
    list[str] | None,
    typer.Option(
        help="Image of whole numbers on the subjects' grid, and a table of their names: atlas.nii.gz,names.csv. A table that is called as the image is found."
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An argument of a method, n_steps=20; or of the study: axis=coronal, orientation=RAS, brain_mask=FILE, npy=true, key_slices=40,50,60 or "
        "key_slices=-12mm,4mm (that are drawn; default: seven in the middle half); of "
        "statistics of voxels: smooth=6 (mm), threshold=0.001, connectivity=26, permutations=999, tfce=true.",
    ),
]


def mri(
    data: Subjects,
    model: Model,
    output: Continued = Path("attrib-mri"),
    weights: TrainedWeights = None,
    parameters: Parameters = None,
    classes: Classes = None,
    target: ScoredClass = None,
    methods: Maps = None,
    input: Input = "volume",
    intensity: Intensity = "none",
    baselines: Reference = "zeros",
    context: Context = None,
    layer: Layer = "auto",
    atlas: Atlas = None,
    options: Arguments = None,
    samples: Samples = None,
    max_samples: MaxSamples = None,
    pictures: Pictures = "50",
    batch_size: BatchSize = "auto",
    device: Device = None,
    cluster: Cluster = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Explain a classifier of brain images: attributions in each subject's space, slices, regions, group statistics, a page."""
    from attrib.workflows.mri import METHODS, Factory, Images, Voxels
    from attrib.workflows.mri import mri as work

    kind, slice_range = _input(input)
    atlas_image, atlas_names = _atlas(listed(atlas))
    settings, arguments = divided(assignments(options), SETTINGS)
    slices = settings["key_slices"]
    in_mm = [v.removesuffix("mm") for v in slices if v.endswith("mm")]
    by_number = [v for v in slices if not v.endswith("mm")]
    if in_mm and by_number:
        raise ValueError(
            f"--set key_slices is {','.join(slices)}, expected slices alone, 40,50,60, or places alone, -12mm,4mm"
        )
    voxels = Voxels(**{n: settings[n] for n in Voxels._fields if settings[n] is not None})
    with show.progress() as tell:
        folder = work(
            data, model if parameters is None else Factory(model, parameters), output, weights=weights, classes=joined(classes), target=target,
            methods=listed(methods) or METHODS, options=arguments, baselines=baselines, layer=layer,
            context=listed(context), samples=names(samples), max_samples=max_samples, pictures=pictures, batch_size=rows(batch_size), device=device,
            cluster=workers(cluster), seed=seed, overwrite=overwrite, tell=tell, say=show.say,
            images=Images(
                kind, settings["axis"], slice_range, settings["orientation"], intensity, settings["brain_mask"], atlas_image, atlas_names,
                _numbers(by_number, int), _numbers(in_mm, float), settings["npy"],
            ),
            voxels=voxels,
        )  # fmt: skip
    _report(folder)


def _numbers(texts: Sequence[str], kind: Callable[[str], Any]) -> list[Any] | None:
    try:
        numbers = [kind(v) for v in texts]
        if not all(map(math.isfinite, numbers)):
            raise ValueError
        return numbers or None
    except ValueError:
        raise ValueError(
            f"--set key_slices is {','.join(texts)}, expected numbers, 40,50,60, or places, -12mm,4mm"
        ) from None


def _input(text: str) -> tuple[str, tuple[int, int] | None]:
    """What the model takes, and the first and the last slice that go in."""
    kind, colon, ends = text.partition(":")
    first, _, last = ends.partition("-")
    if not colon:
        return kind, None
    if not (first.isdecimal() and last.isdecimal()):
        raise ValueError(f"--input is {text!r}, expected the first and the last slice: slices:30-90")
    return kind, (int(first), int(last))


def _atlas(files: list[str]) -> tuple[str | None, str | None]:
    """The image and the table of names among the files of an atlas."""
    images = [f for f in files if f.endswith((".nii", ".nii.gz", ".mgh", ".mgz", ".img", ".hdr"))]
    tables = [f for f in files if f not in images]
    if len(images) > 1 or len(tables) > 1:
        raise ValueError(f"--atlas is {','.join(files)}, expected an image and a table of its names")
    return next(iter(images), None), next(iter(tables), None)


def _report(folder: Path) -> None:
    """What came out, and what was left out."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    accuracy = "" if summary["accuracy"] is None else f", accuracy {summary['accuracy']:.1%}"
    show.say(f"{summary['subjects']} subjects{accuracy}; attributions of the score of {summary['target']}")
    for method, error in summary["completeness_error"].items():
        show.say(f"completeness error of {method}: median {error['median']:.2g}, largest {error['max']:.2g}")
    if summary["significant_clusters"] is not None:
        show.say(
            f"{summary['significant_clusters']} clusters of voxels differ between groups (p < 0.05, corrected)"
        )
    for note in summary["notes"]:
        show.say(note)
    problems = folder / "problems.csv"
    if problems.is_file():
        import pandas as pd

        for row in pd.read_csv(problems).itertuples():
            show.say(f"{'note' if row.kept else 'left out'} {row.subject}: {row.problem}")
    show.say("seconds: " + ", ".join(f"{k} {v:.0f}" for k, v in summary["seconds"].items()))
    written = sorted(f.name for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    show.files(
        folder,
        [*written, *(f"{d.name}/" for d in sorted(folder.iterdir()) if d.is_dir() and d.name != "parts")],
    )
