"""Options that mean the same in every command, their values as Python values, and the examples below the help."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from attrib._arguments import near

EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}
PYTHON = {"True": True, "False": False, "None": None}  # which JSON spells in another way

EXAMPLES = {
    "attrib": ("attrib demo", "attrib methods"),
    "attrib demo": ("attrib demo", "attrib demo --output my-demo --seed 1"),
    "attrib explain": (
        "attrib explain --model net:build --weights model.safetensors --data genes.nc \\\n"
        "  --methods integrated_gradients,deep_lift --target predicted --output results",
        "attrib explain --model net:build --weights model.safetensors --data cohort.zarr \\\n"
        "  --target predicted --cluster 4 --reduce mean,var --by tissue --output out.zarr",
    ),
    "attrib judge": (
        "attrib judge --model net:build --data genes.nc --target predicted --output judged",
        "attrib judge --model net:build --data genes.nc --target 0 --methods saliency,deep_lift \\\n"
        "  --max-samples 64 --output judged --overwrite",
    ),
    "attrib bench": (
        "attrib bench --model net:build --data genes.nc --methods integrated_gradients",
        "attrib bench --model net:build --data genes.nc --batch-sizes 16,64,256 --device cuda --output speed.csv",
    ),
    "attrib methods": ("attrib methods", "attrib methods | grep complete"),
    "attrib cells": (
        "attrib cells --checkpoint my_checkpoint --data slides/ --output results",
        "attrib cells --model timm_net:build --weights net.pth --classes benign,malignant --data slides/ \\\n"
        "  --methods grad_cam,layer_cam --max-samples 100",
    ),
    "attrib mri": (
        "attrib mri --data subjects.csv --model net:build --weights best_model.pth \\\n"
        "  --parameters parameters.json --classes HC,TLE --atlas aal.nii.gz,aal.csv",
        "attrib mri --data val.csv --model net:build --weights best_model.pth --classes HC,TLE --input slices \\\n"
        "  --methods integrated_gradients,saliency,noise_tunnel_ig --set key_slices=40,50,60,70 --max-samples 50",
    ),
    "attrib sequence": (
        "attrib sequence --model net:build --weights model.pt --data peaks.fa --target 0 --motifs hocomoco.meme",
        "attrib sequence --model net:build --weights model.pt --data hg38.fa --bed peaks.narrowPeak \\\n"
        "  --set width=2114 --set summits=true --variants variants.vcf --target 0 --output results",
    ),
    "attrib fcgr": (
        "attrib fcgr --data model/test.csv --checkpoint model/model.safetensors --max-samples 20",
        'attrib fcgr --data pairs.csv --checkpoint model.safetensors --samples "pair 3,pair 8" \\\n'
        "  --methods integrated_gradients,deep_lift --output results",
    ),
    "attrib fcgr train": (
        "attrib fcgr train --data pairs.csv --output model",
        "attrib fcgr train --data pairs.csv --columns mirna=noncodingRNA,target=gene --k 5 --epochs 50",
    ),
    "attrib expression": (
        "attrib expression --checkpoint model --data tpm.gct.gz --sample-table samples.txt",
        "attrib expression --checkpoint model --data cells.h5ad --target all \\\n"
        "  --gene-sets hallmark.gmt --max-samples 500",
    ),
    "attrib expression train": (
        "attrib expression train --data tpm.gct.gz --sample-table samples.txt --label SMTSD \\\n"
        "  --group '^([^-]+-[^-]+)' --min-samples 100 --output model",
        "attrib expression train --data cells.h5ad --label cell_type --group donor --transform none",
    ),
}


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

Samples = Annotated[list[str] | None, typer.Option(help="These samples, by name, with commas or repeated.")]

MaxSamples = Annotated[
    int | None, typer.Option(help="At most so many, drawn evenly over the labels by --seed.")
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


def listed(values: Sequence[str] | None) -> list[str]:
    """Values that came one by one, with commas, or both."""
    return [v.strip() for text in values or () for v in text.split(",") if v.strip()]


def names(values: Sequence[str] | None) -> list[str] | None:
    """The same; None for an option that was not used."""
    return None if values is None else listed(values)


def joined(values: Sequence[str] | None) -> str | None:
    """The same as a text with commas, for those who take a text: a file's name, or names."""
    return None if values is None else ",".join(values)


def chosen(values: Sequence[str]) -> list[str] | str:
    """Methods, or `"all"`."""
    return "all" if listed(values) == ["all"] else listed(values)


def rows(text: str, flag: str = "--batch-size") -> int | str:
    """A number of rows."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise ValueError(f"{flag} is {text!r}, expected a positive whole number or auto")


def assignments(settings: Sequence[str] | None, flag: str = "--set") -> dict[str, Any]:
    """``name=value`` as a mapping; values are read as JSON where they are JSON, as lists of it where they have commas, and as Python's ``True``, ``False``, ``None``."""
    values: dict[str, Any] = {}
    for text in settings or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{flag} is {text!r}, expected name=value, such as n_steps=20")
        if not value.strip():
            raise ValueError(f"{flag} {name.strip()} is empty, expected a value")
        try:
            values[name.strip()] = json.loads(
                f"[{value}]" if re.fullmatch(r"[-\d.]+(,[-\d.]+)+", value) else value
            )
        except ValueError:
            values[name.strip()] = PYTHON.get(value.strip(), value)
    return values


def divided(
    values: Mapping[str, Any],
    study: Mapping[str, tuple[type, Any]],
    flag: str = "--set",
    methods: bool = True,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a study, whose kinds and defaults are `study`, and what is left: arguments of methods, if it takes some.

    Raises
    ------
    ValueError
        For a name that is neither, with the nearest one; and for values of another kind.
    """
    from attrib.functional import METHODS  # torch: not for a list of options

    arguments = {a for m in METHODS.values() for a in m.about.arguments} if methods else set()
    for name in values:
        if not (name in study or name in arguments or (methods and "." in name)):
            also = "; or an argument of a method, such as n_steps" if methods else ""
            raise ValueError(
                f"{flag} has {name}, expected some of {', '.join(study)}{also}{near(name, [*study, *arguments])}"
            )
    settings = {
        name: default if values.get(name) is None else _of_kind(values[name], kind, f"{flag} {name}")
        for name, (kind, default) in study.items()
    }
    return settings, {k: v for k, v in values.items() if k not in study}


def _of_kind(value: Any, kind: type, name: str) -> Any:
    """A value of a setting: a text, a list of texts, or a number or flag that is one."""
    if kind in (str, list):
        texts = [str(v) for v in value] if isinstance(value, list) else [str(value)]
        return listed(texts) if kind is list else ",".join(texts)
    is_flag = isinstance(value, bool)
    if is_flag != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{name} is {value!r}, expected {EXPECTED[kind]}")
    return value


def renamed(values: Sequence[str] | None, flag: str = "--columns") -> dict[str, str]:
    """``name=other`` as a mapping of texts."""
    pairs = {}
    for text in listed(values):
        name, equals, other = text.partition("=")
        if not (name.strip() and equals and other.strip()):
            raise ValueError(f"{flag} is {text!r}, expected NAME=OTHER")
        if name.strip() in pairs:
            raise ValueError(f"{flag} names {name.strip()!r} twice")
        pairs[name.strip()] = other.strip()
    return pairs


def either(checkpoint: Path | None, model: str | None) -> Path | str:
    """The checkpoint or the code that the options name.

    Raises
    ------
    ValueError
        For both, and for none.
    """
    if checkpoint is not None and model is None:
        return checkpoint
    if model is not None and checkpoint is None:
        if ":" not in model and not model.endswith(".pt2"):
            hint = (
                "; a checkpoint is passed by --checkpoint"
                if Path(model).is_dir()
                else "; weights are passed by --weights" * Path(model).is_file()
            )
            raise ValueError(f"--model is {model!r}, expected package.module:factory or FILE.pt2{hint}")
        return model
    raise ValueError(
        "pass either --checkpoint, a folder or file with both, or --model package.module:factory"
    )


def workers(text: str | None) -> int | str | None:
    """A number of worker processes, or the address of a Dask scheduler."""
    if text is None or "://" in text:
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(
        f"--cluster is {text!r}, expected a number of processes, or a scheduler's address: tcp://HOST:8786"
    )


def _written(context: Any, formatter: Any) -> None:
    """Write the examples of the running command."""
    written = "\n".join(indent(example, "  ") for example in EXAMPLES[context.command_path])
    formatter.write(f"Examples:\n{written}\n")


class Command(TyperCommand):
    """A command whose help ends with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _written(ctx, formatter)


class Group(TyperGroup):
    """The same for a command that has others below it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples."""
        super().format_help(ctx, formatter)
        _written(ctx, formatter)
