"""`attrib expression`: the study of expression, and the training of its classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib._install import install_hint
from attrib.cli import show
from attrib.cli.options import (
    BatchSize,
    Classes,
    Cluster,
    Command,
    Context,
    Continued,
    Device,
    Group,
    MaxSamples,
    Methods,
    Overwrite,
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

if TYPE_CHECKING:
    from attrib.workflows.expression import Trained

EXPLAINED = {
    "transform": (str, None), "top": (int, 20), "split": (str, "auto"), "every": (bool, False), "normalize": (bool, False),
}  # fmt: skip
TRAINED = {
    "hidden": (str, "512,256,128"), "dropout": (float, 0.2), "class_weights": (bool, False), "tensorboard": (bool, False),
}  # fmt: skip

commands = typer.Typer(
    cls=Group, no_args_is_help=False, invoke_without_command=True,
    help="Explain a classifier of expression: genes, label by label; or train one (attrib expression train).",
)  # fmt: skip

Matrix = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Matrix: .gct, .csv, .tsv, .txt (also .gz), .parquet or .h5ad; or a folder with it and a sample table.",
    ),
]
SampleTable = Annotated[
    Path | None,
    typer.Option("--sample-table", help="Sample table (CSV, or tabs); its ids are matched to the matrix."),
]
Label = Annotated[
    str | None,
    typer.Option(help="Column with what is predicted, such as the tissue; a checkpoint remembers it."),
]
Donor = Annotated[
    str | None,
    typer.Option(
        help="Column with the donor, or a regular expression with one (group) that finds it in the sample's id."
    ),
]
Genes = Annotated[
    Path | None, typer.Option(help="Genes to use: a file with an ENSEMBL id (or another id) a line.")
]
Table = Annotated[str | None, typer.Option("--layer", help="Layer of an .h5ad; default: X.")]
Download = Annotated[
    Path | None,
    typer.Option(
        help="Fetch the public matrix of GTEx (1.6 GB) into this folder, once, and use it; --data is then the address of a mirror."
    ),
]


@commands.callback()
def explain(
    called: typer.Context,
    data: Matrix = None,
    sample_table: SampleTable = None,
    label: Label = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder of attrib expression train.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Instead of --checkpoint: package.module:factory (with --classes).")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="State dict for --model: .safetensors, .pt, or a Lightning .ckpt; settings in a .json beside it."
        ),
    ] = None,
    classes: Classes = None,
    input_filter: Annotated[
        Path | None,
        typer.Option(help="Genes of --model, in the order of its input: a file with an id a line."),
    ] = None,
    layer: Table = None,
    context: Context = None,
    output: Continued = Path("attrib-expression"),
    methods: Methods = None,
    target: Annotated[
        list[str] | None, typer.Option(help="predicted; all, or labels: then also mean_by_target.nc.")
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="mean or median of the training samples, label:NAME, or a number.")
    ] = "mean",
    samples: Samples = None,
    max_samples: MaxSamples = None,
    gene_sets: Annotated[
        Path | None, typer.Option(help="A .gmt file to test the leading genes against.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An argument of a method, n_steps=20; or of the study: split=all (of the training's samples; default: its test), "
            "every=true (wrongly predicted samples too), top=20 (leading genes of a label), normalize=true (saliency from 0 to 1), transform=log1p "
            "(before --model).",
        ),
    ] = None,
    batch_size: BatchSize = "auto",
    cluster: Cluster = None,
    pictures: Annotated[str, typer.Option(help="Heat maps of so many labels, all, or none.")] = "all",
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Explain a classifier of expression, or train one (attrib expression train)."""
    if called.invoked_subcommand is not None:
        return
    from attrib.workflows.expression import METHODS, Report, load_checkpoint
    from attrib.workflows.expression import expression as work

    settings, arguments = divided(assignments(options), EXPLAINED)
    classifier = load_checkpoint(
        checkpoint, model=model, weights=weights, classes=joined(classes), input_filter=input_filter,
        transform=settings["transform"], device=device,
    )  # fmt: skip
    report = Report(settings["split"], settings["every"], settings["top"], gene_sets, settings["normalize"])
    with show.progress() as tell:
        folder = work(
            _data(data), classifier, output, sample_table=sample_table, label=label, layer=layer, context=listed(context),
            samples=names(samples), max_samples=max_samples, target=listed(target) or ["predicted"], methods=listed(methods) or METHODS,
            options=arguments, baselines=baselines, report=report, pictures=pictures, batch_size=rows(batch_size),
            cluster=workers(cluster), seed=seed, overwrite=overwrite, tell=tell,
        )  # fmt: skip
    _report(folder)


def _data(data: str | None, download: Path | None = None) -> str:
    """The matrix that the options name; fetched, if they say so."""
    if download is not None:
        from attrib.workflows.expression import download as fetch

        fetch(download, data, progress=True)
        return str(download)
    if data is None:
        raise ValueError("--data is missing: a matrix of expression; see attrib expression --help")
    return data


def _report(folder: Path) -> None:
    """Print what was explained, what was left out, and the files."""
    summary, files = show.run_of(folder)
    for note in summary["notes"]:
        show.say(note)
    show.say(f"{summary['explained']} samples of {len(summary['labels'])} labels explained")
    for name, reason in summary["problems"].items():
        show.say(f"{name}: {reason}")
    if summary["missing_genes"]:
        show.say(
            f"{len(summary['missing_genes'])} genes of the model are not in the data and hold their mean: {', '.join(summary['missing_genes'][:5])}"
        )
    if summary["labels_with_few_samples"]:
        show.say(
            f"labels with fewer than three samples, whose figures say little: {', '.join(summary['labels_with_few_samples'])}"
        )
    for entry in summary["methods"]:
        if entry["completeness_error_median"] is not None:
            show.say(
                f"completeness error of {entry['method']}: median {entry['completeness_error_median']:.2g}, largest {entry['completeness_error_max']:.2g}"
            )
    heatmaps = [f for f in files if f.startswith("heatmap_")]
    show.files(
        folder,
        [f for f in files if f not in heatmaps] + [f"{len(heatmaps)} heat maps"] * bool(heatmaps),
    )
    if "attributions.h5ad" not in files:
        show.say(
            f"No attributions.h5ad: it needs anndata ({install_hint('anndata')}) and attributions that fit into memory."
        )
    show.say(f"Browse the labels and search for genes: {folder / 'index.html'}")


@commands.command("train", cls=Command)
def train(
    data: Matrix = None,
    sample_table: SampleTable = None,
    label: Label = None,
    group: Donor = None,
    split: Annotated[
        str | None, typer.Option(help="Column with a split of your own: train, validation, test.")
    ] = None,
    input_filter: Genes = None,
    layer: Table = None,
    transform: Annotated[str, typer.Option(help="Before standardisation: log1p or none.")] = "log1p",
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for the checkpoint: new, empty, or with --overwrite an earlier training's."
        ),
    ] = Path("attrib-expression-model"),
    min_samples: Annotated[
        int, typer.Option(help="Training samples that each label gets at least, by augmentation.")
    ] = 0,
    augment: Annotated[
        str, typer.Option(help="How: mix, gaussian or smote; never in validation or test.")
    ] = "mix",
    epochs: Annotated[int, typer.Option(help="Passes through the training samples, at most.")] = 50,
    batch_size: Annotated[int, typer.Option(help="Samples per step.")] = 32,
    lr: Annotated[float, typer.Option("--lr", "--learning-rate", help="Learning rate of AdamW.")] = 1e-3,
    delta: Annotated[
        float, typer.Option(help="By how much the validation loss has to fall to count as better.")
    ] = 0.0,
    patience: Annotated[int, typer.Option(help="Stop after so many epochs that were not better.")] = 5,
    decay: Annotated[float, typer.Option(help="Weight decay.")] = 1e-4,
    test: Annotated[
        float, typer.Option(help="Share of the samples to test on; half as many decide when to stop.")
    ] = 0.2,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="hidden=512,256,128 (layers between input and output), dropout=0.2, class_weights=true (labels count alike in the "
            "loss), tensorboard=true (a log for it).",
        ),
    ] = None,
    download: Download = None,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Train dense layers that tell the label of a sample; no donor of the test is seen in training."""
    from attrib.workflows.expression import Balance, Layers
    from attrib.workflows.expression import train as work

    settings, _ = divided(assignments(options), TRAINED, methods=False)
    hidden = [int(v) if v.strip().isdecimal() else 0 for v in settings["hidden"].split(",")]
    with show.progress() as tell:
        done = work(
            _data(data, download), output, sample_table=sample_table, label=label, group=group, split=split, input_filter=input_filter,
            layer=layer, transform=transform, balance=Balance(min_samples, augment, settings["class_weights"]),
            layers=Layers(hidden, settings["dropout"]), epochs=epochs, patience=patience, delta=delta, batch_size=batch_size, lr=lr, decay=decay, test=test,
            seed=seed, device=device, tensorboard=settings["tensorboard"], overwrite=overwrite, tell=tell,
        )  # fmt: skip
    _report_training(done, sample_table, download or data)


def _report_training(done: Trained, sample_table: Path | None, data: str | Path | None) -> None:
    """Print the figures of the test, what was left out, and the next command."""
    for name, reason in done.problems.items():
        show.say(f"{name}: {reason}")
    unseen = "of donors that were never seen" if done.grouped else "which were never seen"
    show.say(f"{len(done.history)} epochs; on the test samples, {unseen} (95% intervals):")
    for name, column in (("accuracy", "recall"), ("macro avg", "f1"), ("weighted avg", "f1")):
        row = done.metrics.loc[name]
        words = name if name == "accuracy" else f"{name} of f1"
        show.say(
            f"  {words:20} {row[column]:.3f}  ({row[f'{column}_lower']:.3f} to {row[f'{column}_upper']:.3f})"
        )
    show.files(done.folder, done.files)
    table = "" if sample_table is None else f" --sample-table {sample_table}"
    show.say(f"Next: attrib expression --checkpoint {done.folder} --data {data}{table}")
