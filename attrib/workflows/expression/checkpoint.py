"""A classifier of expression with its genes, its classes and the preparation of its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from attrib.domains.expression import aligned, gene_list, scaled, transformed
from attrib.domains.expression.preparation import TRANSFORMS
from attrib.engine.model.companions import Companions
from attrib.io import load, replacing, save, write_json
from attrib.labels.align import forward_args
from attrib.labels.inputs import labelled_inputs
from attrib.scale.loading import check_device, fill, model_of, read_weights
from attrib.workflows.data import class_names, refuse_beside
from attrib.workflows.expression.network import Dense
from attrib.workflows.folder import fingerprint, read_mapping
from attrib.workflows.plan import Context

WEIGHTS, SETTINGS, MEANS, SPLIT = "model.safetensors", "model.json", "label_means.nc", "split.csv"
ROWS = 256


class Classifier(NamedTuple):
    """A network that sorts samples into labels.

    Attributes
    ----------
    model : callable
        Prepared expression (N, genes) to logits (N, classes), in evaluation mode.
    classes : tuple of str
        Names of the outputs.
    genes : tuple of str or None
        In the order of the input; None: those of the data, in their order.
    mean, sd, median : array (genes,) or None
        Of the training samples after the transform; None: the input is not standardised.
    transform : str
        See `attrib.domains.expression.transformed`.
    label_means : DataArray (label, gene) or None
        Mean expression of the training samples of each label, after the transform.
    source : str
        Where it comes from, with a fingerprint of its weights.
    folder : Path or None
        The folder of `attrib expression train`.
    label : str or None
        The column of labels that it was trained with.
    """

    model: Any
    classes: tuple[str, ...]
    genes: tuple[str, ...] | None = None
    mean: np.ndarray | None = None
    sd: np.ndarray | None = None
    median: np.ndarray | None = None
    transform: str = "log1p"
    label_means: xr.DataArray | None = None
    source: str = ""
    folder: Path | None = None
    label: str | None = None

    def prepared(self, x: xr.DataArray) -> tuple[xr.DataArray, list[str]]:
        """Expression (sample, gene) as the network takes it, and the genes that were missing."""
        logs = transformed(x, self.transform)
        missing: list[str] = []
        if self.genes is not None:
            fallback = np.zeros(len(self.genes)) if self.mean is None else self.mean
            logs, missing = aligned(logs, self.genes, fallback)
        return self.standardised(logs), missing

    def standardised(self, logs: xr.DataArray) -> xr.DataArray:
        """Transformed expression in standard deviations of the training samples."""
        if self.mean is None or self.sd is None:
            return logs
        return scaled(logs, self.mean, self.sd)

    def logits(self, x: xr.DataArray, context: Context | None = None) -> np.ndarray:
        """Outputs (N, classes) for prepared samples, with what goes into the network beside them.

        Raises
        ------
        ValueError
            If the network does not take these genes, or has another number of outputs.
        """
        first = next(getattr(self.model, "parameters", lambda: iter(()))(), torch.zeros(0))
        additional = () if context is None else context.of(x)
        beside = Companions(forward_args(additional, labelled_inputs(x), first.dtype), len(x))
        parts = []
        for start in range(0, len(x), ROWS):
            rows = torch.from_numpy(np.ascontiguousarray(x.values[start : start + ROWS])).to(first.device)
            values, named = beside.at(torch.arange(start, start + len(rows)), rows)
            try:
                with torch.no_grad():
                    parts.append(self.model(rows, *values, **named).float().cpu().numpy())
            except (RuntimeError, ValueError, TypeError) as error:
                raise ValueError(
                    f"the model fails on samples of {rows.shape[1]} genes: {str(error).splitlines()[0]}{'; check `context`' * bool(beside)}"
                ) from error
        y = np.concatenate(parts)
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise ValueError(
                f"the model gives {y.shape[1:]} numbers for a sample, but `classes` has {len(self.classes)} names"
            )
        return y


def save_classifier(classifier: Classifier, settings: Mapping[str, Any], folder: Path) -> None:
    """Write `model.safetensors`, `model.json` and `label_means.nc`."""
    from safetensors.torch import save as packed

    assert classifier.label_means is not None
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(packed({k: v.contiguous() for k, v in classifier.model.state_dict().items()}))
    arrays = {n: [float(f"{v:.8g}") for v in getattr(classifier, n)] for n in ("mean", "sd", "median")}
    write_json(
        {
            **settings,
            "transform": classifier.transform,
            "classes": classifier.classes,
            "genes": classifier.genes,
            **arrays,
        },
        folder / SETTINGS,
    )
    save(classifier.label_means, folder / MEANS)


def load_checkpoint(
    checkpoint: str | Path | None = None,
    *,
    model: str | Callable[..., Any] | None = None,
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    input_filter: str | Path | Sequence[str] | None = None,
    transform: str | None = None,
    device: str | None = None,
) -> Classifier:
    """A classifier of `attrib expression train`, or of your own.

    Parameters
    ----------
    checkpoint : path, optional
        The folder of a training, or its `model.safetensors`.
    model : str or callable, optional
        ``"package.module:factory"`` instead, see `attrib.scale.loading.load_model`; or the network itself.
    weights : path, optional
        Its state dict: `.safetensors`, `.pt`, or a Lightning `.ckpt`, whose prefix (`model.`, `module.`, ...) is cut where the
        names then fit. Settings in a `.json` of the same name are used: `genes`, `mean`, `sd`, `classes`, `transform`.
    classes : str or sequence of str, optional
        Names of the outputs of a model of your own: a sequence, a text with commas, or a file with one per line.
    input_filter : path or sequence of str, optional
        Its genes, in the order of its input: a file with an id a line, or the ids; default: those of the data.
    transform : str, optional
        What its input is of: ``"log1p"`` or ``"none"``; default: what the settings say, else ``"none"``.
    device : str, optional

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError, FileNotFoundError
        Naming what is missing or does not fit.

    Examples
    --------
    >>> from attrib.workflows.expression import load_checkpoint
    >>> classifier = load_checkpoint(model="torch.nn:Identity", classes="islet,liver", input_filter=["INS", "ALB"], transform="log1p")
    >>> classifier.genes
    ('INS', 'ALB')
    """
    check_device(device)
    if (checkpoint is None) == (model is None):
        raise ValueError(
            "pass either `checkpoint`, a folder of attrib expression train, or `model`, package.module:factory"
        )
    if checkpoint is not None:
        refuse_beside("a checkpoint brings its own", weights=weights, classes=classes, input_filter=input_filter, transform=transform)  # fmt: skip
        return _trained(Path(checkpoint), device)
    assert model is not None
    if not isinstance(model, str):
        refuse_beside("`model` stays where it is", device=device)
    if weights is not None and not Path(weights).name:
        raise ValueError(f"`weights` is {str(weights)!r}, expected a file")
    beside = None if weights is None else Path(weights).with_suffix(".json")
    settings = read_mapping(beside, "weights") if beside is not None and beside.is_file() else {}
    names = tuple(class_names(classes) or map(str, settings.get("classes", ())))
    if not names:
        raise ValueError("`classes` is missing: the names of the outputs of `model`")
    genes = gene_list(input_filter) if isinstance(input_filter, str | Path) else input_filter
    gene_order = genes or settings.get("genes")
    way = transform or settings.get("transform", "none")
    if way not in TRANSFORMS:
        raise ValueError(f"`transform` is {way!r}, expected {' or '.join(TRANSFORMS)}")
    network = model_of(model, weights, device)
    code = model if isinstance(model, str) else type(model).__name__
    source = code if weights is None else f"{code} {fingerprint(Path(weights))}"
    arrays: dict[str, Any] = {
        n: np.asarray(settings[n], dtype=np.float64) for n in ("mean", "sd", "median") if n in settings
    }
    return Classifier(
        network, names, tuple(gene_order) if gene_order else None, transform=way, source=source, **arrays
    )


def _trained(path: Path, device: str | None) -> Classifier:
    folder = path if path.is_dir() else path.parent
    missing = [n for n in (WEIGHTS, SETTINGS) if not (folder / n).is_file()]
    if missing:
        raise FileNotFoundError(
            f"`checkpoint`: {folder} lacks {', '.join(missing)}; attrib expression train makes them"
        )
    settings = read_mapping(folder / SETTINGS, "checkpoint")
    lacking = [n for n in ("genes", "classes", "mean", "sd", "hidden", "transform") if n not in settings]
    if lacking:
        raise ValueError(
            f"`checkpoint`: {folder / SETTINGS} lacks {', '.join(lacking)}; is it of attrib expression train?"
        )
    network = Dense(
        len(settings["genes"]), len(settings["classes"]), settings["hidden"], settings.get("dropout", 0.0)
    )
    fill(network, read_weights(folder / WEIGHTS), f"`checkpoint` {folder / WEIGHTS}")
    placed = network.eval() if device is None else network.eval().to(device)
    arrays = {n: np.asarray(settings[n], dtype=np.float64) for n in ("mean", "sd", "median") if n in settings}
    means = load(folder / MEANS) if (folder / MEANS).is_file() else None
    source = f"{folder.name} {fingerprint(folder / WEIGHTS)}"
    return Classifier(
        placed, tuple(settings["classes"]), tuple(settings["genes"]), transform=settings["transform"], label_means=means,
        source=source, folder=folder, label=settings.get("label"), **arrays,
    )  # fmt: skip
