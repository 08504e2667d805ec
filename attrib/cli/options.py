"""Options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def method_names(incomplete: str) -> list[str]:
    """Names of methods for the shell's completion; after a comma those that go on the list."""
    from attrib.workflows.plan import ALL_METHODS

    done, _, last = incomplete.rpartition(",")
    return [f"{done}," * bool(done) + name for name in ALL_METHODS if name.startswith(last)]


Model = Annotated[
    str, typer.Option(help="package.module:factory (a function that returns the model), or FILE.pt2.")
]
Data = Annotated[
    Path,
    typer.Option(
        help="The input: .nc, .zarr, .npy, .npz, an expression matrix (.h5ad, .gct, .csv), or an image (.nii, .nii.gz)."
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="State dict: .safetensors, or .pt/.pth read as weights only.")
]
Classes = Annotated[
    list[str] | None, typer.Option(help="Names of the outputs: a,b,c, or a file with one per line.")
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        help="Which output: a number, a class name, several with commas, predicted, all; of several heads HEAD:OUTPUT or HEAD:profile."
    ),
]
OneTarget = Annotated[
    str | None, typer.Option("--target", help="One output: a number, a class name, or predicted.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(help="Names with commas; attrib methods lists them.", autocompletion=method_names),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="An argument of a method: n_steps=20, or integrated_gradients.n_steps=20."),
]
Dims = Annotated[
    list[str] | None,
    typer.Option(help="Names of the dims, such as sample,channel,y,x; of labelled files their order."),
]
Variables = Annotated[
    list[str] | None, typer.Option(help="Which variables, in the order of the model's arguments.")
]
Baselines = Annotated[
    str | None, typer.Option(help="What the input is compared with: a number, or a file like --data.")
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        help="What goes into the model beside the inputs and is not explained: FILE or NAME=FILE, with commas or repeated; tables "
        "have the samples' labels in their first column.",
        metavar="[NAME=]FILE",
    ),
]
Cluster = Annotated[
    str | None, typer.Option(help="Worker processes (4), or a Dask scheduler's address (tcp://...).")
]
Pictures = Annotated[str, typer.Option(help="How many samples get pictures: a number, all or none.")]
Layer = Annotated[str, typer.Option(help="A layer's dotted name, or auto: the last one with positions.")]
SomeSamples = Annotated[
    int,
    typer.Option(
        "--max-samples",
        "--samples",
        help="At most so many samples, drawn evenly over a coord label or class.",
    ),
]
BatchSize = Annotated[str, typer.Option(help="Rows per call of the model, or auto.")]
Device = Annotated[str | None, typer.Option(help="Where to run, such as cuda; default: the CPU.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that draws.")]
Output = Annotated[
    Path, typer.Option(help="Folder for the results: new, empty, or with --overwrite an earlier run's.")
]
Continued = Annotated[
    Path,
    typer.Option("--output", help="Folder for the results; a run with the same settings there is continued."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --output.")]
