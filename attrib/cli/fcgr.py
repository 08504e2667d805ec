"""`attrib fcgr`: the study of two-branch networks on chaos game images, and their training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show
from attrib.cli.options import (
    BatchSize,
    Cluster,
    Command,
    Context,
    Continued,
    Device,
    Group,
    Methods,
    Overwrite,
    Pictures,
    Samples,
    Seed,
    Weights,
    assignments,
    divided,
    listed,
    names,
    renamed,
    rows,
    workers,
)

if TYPE_CHECKING:
    from attrib.workflows.fcgr import Trained

group = typer.Typer(
    cls=Group, no_args_is_help=False, invoke_without_command=True,
    help="Explain a network of miRNA and target images: attributions, letters, interaction; or train one (attrib fcgr train).",
)  # fmt: skip

SETTINGS = {"dropout": (float, None), "n_background": (int, 20), "n_regions": (int, None)}

Columns = Annotated[
    list[str] | None,
    typer.Option(help="Columns that have other names: mirna=noncodingRNA,target=gene,label=bound."),
]


@group.callback()
def explain(
    typed: typer.Context,
    data: Annotated[
        Path | None, typer.Option(help="Table with mirna, target (or mrna), label: .csv, .tsv.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File of attrib fcgr train: .safetensors, or .pt/.pth read as weights only."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="package.module:factory of a network of your own; --checkpoint or --weights fills it."
        ),
    ] = None,
    weights: Weights = None,
    output: Continued = Path("attrib-fcgr"),
    columns: Columns = None,
    k: Annotated[
        int | None, typer.Option(help="Letters per k-mer; default: the checkpoint's, else 6.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of the images: count, frequency or log; default: the checkpoint's.")
    ] = None,
    output_kind: Annotated[
        str, typer.Option(help="The output of a network of your own: logit or probability.")
    ] = "logit",
    max_samples: Annotated[
        int,
        typer.Option(
            "--max-samples", "--n-samples", help="How many pairs, drawn evenly from both labels by --seed."
        ),
    ] = 6,
    samples: Samples = None,
    context: Context = None,
    methods: Methods = None,
    corrections: Annotated[
        list[str] | None,
        typer.Option(help="normalize, filter, tangent (of saliency), METHOD:filter, all:filter; or none."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "--layers",
            help="For Grad-CAM: mirna=LAYER,mrna=LAYER; default: each branch's last convolution.",
        ),
    ] = None,
    interaction: Annotated[
        bool, typer.Option(help="Whether both sequences' interaction is computed.")
    ] = True,
    pictures: Pictures = "all",
    cluster: Cluster = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An argument of a method, n_steps=20; or of the study: n_background=20 (pairs that the SHAP methods compare with), n_regions=5 "
            "(of each attribution; default: by silhouette), dropout=0.1 (of the training; must agree with the checkpoint's).",
        ),
    ] = None,
    batch_size: BatchSize = "auto",
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Explain a network of miRNA and target images, or train one (attrib fcgr train)."""
    if typed.invoked_subcommand is not None:
        return
    if data is None:
        raise ValueError("--data PAIRS.csv is needed; see attrib fcgr --help")
    from attrib.workflows.fcgr import fcgr as work
    from attrib.workflows.fcgr import load_predictor
    from attrib.workflows.fcgr.study import CORRECTIONS, METHODS

    settings, arguments = divided(assignments(options), SETTINGS)
    if model is not None and weights is None:
        checkpoint, weights = None, checkpoint
    predictor = load_predictor(
        checkpoint, model=model, weights=weights, k=k, dropout=settings.pop("dropout"), scale=scale, output_kind=output_kind,
        device=device,
    )  # fmt: skip
    wanted = listed(corrections)
    with show.progress() as tell:
        folder = work(
            data, predictor, output, methods=listed(methods) or METHODS, options=arguments,
            corrections=[] if wanted == ["none"] else wanted or CORRECTIONS, interaction=interaction, layer=renamed(layer, "--layer"),
            context=listed(context), columns=renamed(columns), samples=names(samples), max_samples=max_samples, **settings,
            pictures=pictures, batch_size=rows(batch_size), cluster=workers(cluster), seed=seed, overwrite=overwrite, tell=tell,
        )  # fmt: skip
    _report(folder)


def _report(folder: Path) -> None:
    """Print accuracy, pairs left out, methods that do not apply, and files."""
    summary, files = show.run_of(folder, "analysis_summary.json")
    show.say(f"{len(summary['samples'])} pairs, accuracy {summary['accuracy']:.1%}")
    for name, reason in summary["bad_pairs"].items():
        show.say(f"left out {name}: {reason}")
    if summary["scores_look_like_probabilities"]:
        show.say("All scores lie from 0 to 1: if they are probabilities, pass --output-kind probability.")
    for name, reason in summary["skipped_methods"].items():
        show.say(f"{name} does not apply: {reason}")
    if "left_out" in (summary["positives_against_negatives"] or {}):
        show.say(
            f"Positives against negatives: left out, {summary['positives_against_negatives']['left_out']}."
        )
    show.files(folder, files)
    show.say(f"Browse the pairs: {folder / 'index.html'}")


@group.command("train", cls=Command)
def train(
    data: Annotated[Path, typer.Option(help="Table with mirna, target (or mrna), label: .csv, .tsv.")],
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for the checkpoint: new, empty, or with --overwrite an earlier training's."
        ),
    ] = Path("attrib-fcgr-model"),
    columns: Columns = None,
    k: Annotated[int, typer.Option(help="Letters per k-mer, 1 to 8: images are 2^k by 2^k.")] = 6,
    scale: Annotated[str, typer.Option(help="count, frequency or log.")] = "count",
    dropout: Annotated[float, typer.Option(help="Share of features dropped in training.")] = 0.1,
    channels: Annotated[int, typer.Option(help="Per branch, a multiple of four.")] = 8,
    depth: Annotated[int, typer.Option(help="Inception blocks per branch.")] = 2,
    epochs: Annotated[int, typer.Option(help="Passes through the training pairs, at most.")] = 30,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better validation loss.")
    ] = 5,
    batch_size: Annotated[int, typer.Option(help="Pairs per step.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="Of Adam.")] = 3e-3,
    test: Annotated[float, typer.Option(help="Share of the miRNAs to test on.")] = 0.2,
    validation: Annotated[float, typer.Option(help="Share of the miRNAs that decide when to stop.")] = 0.1,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a two-branch network; no miRNA of the test is seen in training."""
    from attrib.workflows.fcgr import train as work

    with show.progress() as tell:
        done = work(
            data, output, columns=renamed(columns), k=k, scale=scale, dropout=dropout, channels=channels, depth=depth, epochs=epochs,
            patience=patience, batch_size=batch_size, learning_rate=learning_rate, test=test, validation=validation,
            seed=seed, device=device, overwrite=overwrite, tell=tell,
        )  # fmt: skip
    _report_training(done)


def _report_training(done: Trained) -> None:
    """Print the figures of the test, pairs left out, and the next command."""
    show.say(f"{len(done.history)} epochs; on miRNAs that were never seen (95% intervals, miRNAs resampled):")
    for name, row in done.metrics.iterrows():
        show.say(
            f"  {str(name).replace('_', ' '):18} {row['value']:.3f}  ({row['lower']:.3f} to {row['upper']:.3f})"
        )
    for name, reason in done.bad.items():
        show.say(f"left out {name}: {reason}")
    file = done.folder / "model.safetensors"
    show.say(f"Next: attrib fcgr --data {done.folder / 'test.csv'} --checkpoint {file}")
