"""Two examples below the help of every command."""

from __future__ import annotations

from textwrap import indent
from typing import Any

from typer.core import TyperCommand, TyperGroup

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
