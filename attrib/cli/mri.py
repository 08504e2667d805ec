"""`attrib mri`: the study of magnetic resonance images."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from attrib.cli import show, values
from attrib.cli.options import (
    BatchSize,
    Classes,
    Cluster,
    Context,
    Continued,
    Device,
    Layer,
    Model,
    Overwrite,
    Seed,
    Settings,
)
from attrib.cli.values import assignments, joined, listed, rows

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
    str, typer.Option(help="volume, or slices: a 2-D model whose score is the mean over slices.")
]
Axis = Annotated[str, typer.Option(help="Of slices and pictures: axial, coronal, sagittal, i, j or k.")]
SliceRange = Annotated[
    str | None, typer.Option(help="First and last slice that go into a model of slices: 30,90.")
]
KeySlices = Annotated[
    list[str] | None, typer.Option(help="Slices to draw: 40,50,60; default: seven in the middle half.")
]
KeyMm = Annotated[list[str] | None, typer.Option(help="The same in mm.")]
Orientation = Annotated[
    str | None, typer.Option(help="Turn volumes before they go in, such as RAS; maps come back as stored.")
]
Intensity = Annotated[str, typer.Option(help="none, zscore, zscore-brain or minmax.")]
BrainMask = Annotated[Path | None, typer.Option(help="For subjects without a mask in the table.")]
Channels = Annotated[int, typer.Option(help="Channels of the model's input; each gets the volume.")]
Reference = Annotated[
    str,
    typer.Option("--baselines", help="zeros, a number, mean:HC, samples:HC (several), blurred, or an image."),
]
Atlas = Annotated[Path | None, typer.Option(help="Image of whole numbers on the subjects' grid.")]
AtlasNames = Annotated[Path | None, typer.Option(help="Table of its numbers and their names.")]
Samples = Annotated[list[str] | None, typer.Option(help="Subjects by name; default: all.")]
MaxSamples = Annotated[int, typer.Option(help="At most so many, drawn evenly over labels; 0: all.")]
Pictures = Annotated[str, typer.Option(help="Subjects to draw: a number, all or none.")]
Viewers = Annotated[bool, typer.Option(help="Whether drawn subjects get nilearn's interactive viewer.")]
Npy = Annotated[bool, typer.Option("--npy", help="Write maps as .npy too.")]
Store = Annotated[bool, typer.Option(help="Whether to write all maps into attributions.nc too.")]
Smooth = Annotated[float, typer.Option(help="Gaussian in mm (FWHM) before peaks and statistics of voxels.")]
Percentile = Annotated[float, typer.Option(help="Magnitudes below it are not laid over the anatomy.")]
Threshold = Annotated[float, typer.Option(help="p of one voxel at which clusters are formed.")]
Connectivity = Annotated[int | None, typer.Option(help="Neighbours of a voxel in a cluster: 6, 18 or 26.")]
Tfce = Annotated[bool, typer.Option("--tfce", help="Threshold-free cluster enhancement too; takes minutes.")]
Permutations = Annotated[int, typer.Option(help="Relabellings of subjects.")]
Workers = Annotated[
    int | None, typer.Option(help="Processes that draw pictures; default: one per core, at most 4; 0: none.")
]


def mri(
    subjects: Subjects,
    model: Model,
    output: Continued = Path("attrib-mri"),
    weights: TrainedWeights = None,
    parameters: Parameters = None,
    classes: Classes = None,
    target: ScoredClass = None,
    methods: Maps = None,
    input: Input = "volume",
    axis: Axis = "axial",
    slice_range: SliceRange = None,
    key_slices: KeySlices = None,
    key_mm: KeyMm = None,
    orientation: Orientation = None,
    intensity: Intensity = "none",
    brain_mask: BrainMask = None,
    channels: Channels = 1,
    baselines: Reference = "zeros",
    context: Context = None,
    layer: Layer = "auto",
    atlas: Atlas = None,
    atlas_names: AtlasNames = None,
    options: Settings = None,
    samples: Samples = None,
    max_samples: MaxSamples = 0,
    pictures: Pictures = "50",
    viewers: Viewers = True,
    npy: Npy = False,
    store: Store = True,
    smooth: Smooth = 6.0,
    percentile: Percentile = 95.0,
    threshold: Threshold = 0.001,
    connectivity: Connectivity = None,
    tfce: Tfce = False,
    permutations: Permutations = 999,
    batch_size: BatchSize = "auto",
    device: Device = None,
    cluster: Cluster = None,
    seed: Seed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Explain a classifier of brain images: maps in each subject's space, slices, regions, group statistics, a page."""
    from attrib.workflows.mri import METHODS, Factory, Figures, Images, Voxels
    from attrib.workflows.mri import mri as work

    drawers = min(4, os.cpu_count() or 1) if workers is None else workers
    with show.progress() as tell:
        folder = work(
            subjects, model if parameters is None else Factory(model, parameters), output, weights=weights, classes=joined(classes), target=target,
            methods=listed(methods) or METHODS, options=assignments(options), baselines=baselines, layer=layer,
            context=listed(context), samples=listed(samples) or None, max_samples=max_samples, batch_size=rows(batch_size), device=device,
            cluster=values.workers(cluster), seed=seed, overwrite=overwrite, tell=tell, say=show.say,
            images=Images(input, axis, _range(slice_range), orientation, intensity, brain_mask, channels, atlas, atlas_names),
            figures=Figures(
                pictures, _numbers(key_slices, int, "--key-slices"), _numbers(key_mm, float, "--key-mm"), percentile, viewers, npy, store,
                drawers,
            ),
            voxels=Voxels(smooth, threshold, connectivity, tfce, permutations),
        )  # fmt: skip
    _report(folder)


def _numbers(values: list[str] | None, kind: Any, flag: str) -> list[Any] | None:
    try:
        return [kind(v) for v in listed(values)] or None
    except ValueError:
        raise ValueError(f"{flag} is {' '.join(values or ())!r}, expected numbers: 40,50,60") from None


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    ends = re.fullmatch(r"(\d+)[,:-](\d+)", text.replace(" ", ""))
    if ends is None:
        raise ValueError(f"--slice-range is {text!r}, expected the first and the last slice: 30,90")
    return int(ends[1]), int(ends[2])


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
