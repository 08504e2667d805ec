"""Train a classifier of expression, and test it on donors that it has not seen."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import real, whole_seed
from attrib._install import install_hint
from attrib._version import __version__
from attrib.domains.expression import augmented, check_split, split_by_group, transformed
from attrib.domains.expression.preparation import WAYS
from attrib.io import save, write_json
from attrib.plots import confusion, points
from attrib.plots.scale import figure
from attrib.stats import report
from attrib.stats.one_against_rest import moments_by
from attrib.workflows.expression.checkpoint import (
    MEANS,
    SETTINGS,
    SPLIT,
    WEIGHTS,
    Classifier,
    save_classifier,
)
from attrib.workflows.expression.download import read_expression
from attrib.workflows.expression.network import Dense
from attrib.workflows.fitting import Fit, Rows, Tell, draw_epochs, fitted, refuse_unusable
from attrib.workflows.folder import Folder, save_picture
from attrib.workflows.study import write_confusion

LEAST = 3  # samples of a label: one per split
MOST_UNITS = 100_000  # of a layer
BETWEEN_PICTURES = 2.0  # seconds

COLOURED = 10  # labels: those that augmentation added most to, then those with the most samples


class Trained(NamedTuple):
    """Results of a training.

    Attributes
    ----------
    folder : Path
    classifier : Classifier
    metrics : DataFrame
        Of the test samples, see `attrib.stats.report`.
    history : DataFrame
        A row per epoch.
    problems : dict of str to str
        What was left out, and why.
    files : list of str
    grouped : bool
        Whether samples were split by donor.
    """

    folder: Path
    classifier: Classifier
    metrics: pd.DataFrame
    history: pd.DataFrame
    problems: dict[str, str]
    files: list[str]
    grouped: bool


class Balance(NamedTuple):
    """What is done for labels with few samples.

    Attributes
    ----------
    min_samples : int
        Training samples that each label gets at least, by augmentation.
    augment : {"mix", "gaussian", "smote"}
        See `attrib.domains.expression.augmented`. What it makes is used for training alone.
    class_weights : bool
        Whether labels count alike in the loss.
    """

    min_samples: int = 0
    augment: str = "mix"
    class_weights: bool = False


class Layers(NamedTuple):
    """The dense layers of a network.

    Attributes
    ----------
    hidden : sequence of int
        Sizes of the layers between input and output.
    dropout : float
        Share dropped in training.
    """

    hidden: Sequence[int] = (512, 256, 128)
    dropout: float = 0.2


def train(
    data: Any,
    output: str | Path,
    *,
    sample_table: Any = None,
    label: str | None = None,
    group: str | None = None,
    split: str | None = None,
    input_filter: str | Path | Sequence[str] | None = None,
    layer: str | None = None,
    transform: str = "log1p",
    balance: Balance | None = None,
    layers: Layers | None = None,
    epochs: int = 50,
    patience: int = 5,
    delta: float = 0.0,
    batch_size: int = 32,
    lr: float = 1e-3,
    decay: float = 1e-4,
    test: float = 0.2,
    seed: int = 0,
    device: str | None = None,
    tensorboard: bool = False,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Trained:
    """Train dense layers that tell the label of a sample, such as its tissue, from its expression.

    Parameters
    ----------
    data : path, AnnData, DataFrame or DataArray
        See `attrib.domains.expression.read_matrix`; or a folder with one matrix and one sample table.
    output : path
        Folder for the checkpoint (`model.safetensors`, `model.json`, `label_means.nc`), `metrics.csv`, `confusion_matrix.csv` and
        `.png`, `history.csv` and `training.png` (written each epoch), `split.csv`, `predictions.csv`, `pca_original.png`,
        `pca_augmented.png` and `run.json`.
    sample_table : path or DataFrame, optional
        Sample table; default: the columns that come with `data`.
    label, group, split : str
        Columns of the samples: what is predicted; whom samples are of (or a regular expression on the sample's id), so that
        no donor is in two splits; and a split of your own (train, validation, test), which is refused if it divides a donor.
    input_filter : path or sequence of str, optional
        Genes to use: a file with an id a line, or the ids.
    layer : str, optional
        Of AnnData.
    transform : {"log1p", "none"}
        Before genes are standardised by the training samples.
    balance : Balance, optional
        What is done for labels with few samples; default: nothing.
    layers : Layers, optional
        Of the network.
    epochs, patience, delta, batch_size, lr, decay
        Passes at most; training stops after `patience` passes in which the validation loss did not fall by more
        than `delta`, and keeps the best; samples per step; learning rate and weight decay of AdamW.
    test : float, default 0.2
        Share of the samples, about; half as many decide when to stop.
    seed : int, default 0
        Of split, augmentation, weights and batches.
    device : str, optional
        Where to train.
    tensorboard : bool, default False
        Whether to write the folder `tensorboard` too.
    overwrite : bool, default False
        Whether to replace an earlier training in `output`.
    tell : callable, optional
        Gets ("epochs", done, at most).

    Returns
    -------
    Trained

    Raises
    ------
    ImportError
        Without skorch or safetensors: ``pip install -e '.[expression]'``.
    ValueError
        For columns, files and settings that do not fit, before anything is written.

    Notes
    -----
    Memory: four bytes per gene of each sample, twice; and of each sample made.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> from attrib.workflows.expression import Layers, train
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> names = [f"s{k}" for k in range(40)]
    >>> tissue = np.array(["islet", "liver"] * 20)
    >>> tpm = pd.DataFrame(np.random.default_rng(0).gamma(2, 2, (40, 4)), index=names, columns=["INS", "ALB", "ACTB", "GAPDH"])
    >>> tpm.loc[tissue == "islet", "INS"] += 50
    >>> table = pd.DataFrame({"id": names, "tissue": tissue})
    >>> trained = train(tpm, folder / "model", sample_table=table, label="tissue", layers=Layers((16,)), epochs=40, lr=0.01)
    >>> trained.classifier.classes, bool(trained.metrics.loc["accuracy", "f1"] > 0.8)
    (('islet', 'liver'), True)
    """
    min_samples, augment, class_weights = balance or Balance()
    hidden, dropout = layers or Layers()
    fit = Fit(epochs, patience, batch_size, lr, decay, seed, device, delta=delta)
    _check(fit, hidden, dropout, min_samples, augment, test)
    require(tensorboard)
    x, problems = read_expression(
        data,
        sample_table=sample_table,
        label=label,
        group=group,
        input_filter=input_filter,
        layer=layer,
        columns=[c for c in (split,) if c],
    )
    if "label" not in x.coords:
        raise ValueError(
            "`label` is missing: the column of the samples with what is predicted, such as the tissue"
        )
    x = _enough(x, problems)
    logs = transformed(x, transform)
    place = _splits(x, split, test, seed)
    with Folder(output, overwrite=overwrite) as folder:
        untrained, z = _reference(logs, place, transform)
        codes = pd.Index(untrained.classes).get_indexer(pd.Index(x["label"].values))
        rows = {s: Rows(z[place == s], codes[place == s]) for s in np.unique(place)}
        more = augmented(*rows["train"], min_samples, augment, seed)
        _refuse_made_ones(more.new, place)
        plane = principal_components(
            more.x, np.array(untrained.classes, dtype=object)[more.label], more.new, seed
        )
        for name, picture in component_pictures(plane).items():
            folder.picture(f"{name}.png", picture)
        for name in ("history.csv", "training.png"):
            folder.file(name)
        count = len(untrained.classes)
        shape = {"genes": x.sizes["gene"], "classes": count, "hidden": tuple(hidden), "dropout": dropout}
        share = np.bincount(more.label, minlength=count)
        weight = len(more.label) / (count * np.maximum(share, 1)) if class_weights else np.ones(count)
        network, history = fitted(
            Dense, shape, Rows(more.x, more.label), rows["validation"], fit, extra="expression", weight=weight,
            watch=_writing(folder.path), callbacks=[_tensorboard(folder.path / "tensorboard")] if tensorboard else [], tell=tell,
        )  # fmt: skip
        network = network.cpu()
        write_training(history, folder.path)
        settings = {
            "hidden": list(hidden), "dropout": dropout, "label": label, "group": group, "seed": seed, "epochs": len(history),
            "min_samples": min_samples, "augment": augment, "made": int(more.new.sum()), "lr": lr, "decay": decay, "delta": delta,
            "patience": patience, "batch_size": batch_size, "class_weights": class_weights, "attrib_version": __version__,
        }  # fmt: skip
        classifier = untrained._replace(model=network, folder=folder.path, label=label)
        for name in (WEIGHTS, SETTINGS, MEANS):
            folder.file(name)
        save_classifier(classifier, settings, folder.path)
        metrics = _tested(classifier, x, z, place, folder, seed)
        folder.record |= {
            "problems": problems,
            "samples": {s: int((place == s).sum()) for s in rows},
            "made": int(more.new.sum()),
        }
    return Trained(folder.path, classifier, metrics, history, problems, folder.files, "group" in x.coords)


def _writing(folder: Path) -> Callable[[pd.DataFrame], None]:
    """Writes the history of a training after each epoch, and its picture every few seconds."""
    drawn = 0.0

    def write(history: pd.DataFrame) -> None:
        nonlocal drawn
        due = time.monotonic() - drawn > BETWEEN_PICTURES
        write_training(history, folder, picture=due)
        if due:
            drawn = time.monotonic()

    return write


def write_training(history: pd.DataFrame, folder: Path, *, picture: bool = True) -> None:
    """Write `history.csv`, and `training.png`: loss and accuracy by epoch."""
    save(history, folder / "history.csv")
    if not picture:
        return
    drawing = figure((7.6, 3.2))
    left, right = drawing.subplots(1, 2)
    losses = {"validation": "validation_loss", "train": "train_loss"}
    draw_epochs(left, history, losses, "cross entropy (nat)")
    draw_epochs(right, history, {"validation": "validation_accuracy"}, "accuracy")
    right.set_ylim(0, 1.02)
    save_picture(drawing, folder / "training.png")


def require(tensorboard: bool = False) -> None:
    """Refuse to begin without the packages that training needs.

    Raises
    ------
    ImportError
        With the command that installs them.
    """
    needed = {"skorch": "expression", "safetensors": "expression"}
    for package, extra in (needed | ({"tensorboard": "tensorboard"} if tensorboard else {})).items():
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"training needs {package} here: {install_hint(extra)}")


def _tensorboard(folder: Path) -> Any:
    from skorch.callbacks import TensorBoard
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoard(SummaryWriter(str(folder)))


def _check(
    fit: Fit, hidden: Sequence[int], dropout: float, min_samples: int, augment: str, test: float
) -> None:
    refuse_unusable(fit)
    if not 0 < real("test", test) < 2 / 3:
        raise ValueError(f"`test` is {test}, expected a share above 0 and below two thirds, as half as many samples are for validation")  # fmt: skip
    if min_samples < 0:
        raise ValueError(f"`min_samples` is {min_samples}, expected 0 or more")
    if not hidden or min(hidden) < 1:
        raise ValueError(f"`hidden` is {list(hidden)}, expected sizes of layers, such as 512,256,128")
    if max(hidden) > MOST_UNITS:
        raise ValueError(f"`hidden` is {list(hidden)}, expected sizes of at most {MOST_UNITS:,}")
    if not isinstance(dropout, Real) or not 0 <= dropout < 1:
        raise ValueError(f"`dropout` is {dropout!r}, expected a share below 1")
    if augment not in WAYS:
        raise ValueError(f"`augment` is {augment!r}, expected {', '.join(WAYS)}")
    if augment != WAYS[0] and min_samples == 0:
        raise ValueError(f"`augment` is {augment!r}, but `min_samples` is 0, so that no sample is made; set both")  # fmt: skip


def _enough(x: xr.DataArray, problems: dict[str, str]) -> xr.DataArray:
    """The samples of labels with enough of them.

    Raises
    ------
    ValueError
        For fewer than two such labels.
    """
    counts = pd.Series(x["label"].values).value_counts()
    few = counts[counts < LEAST]
    if len(few):
        problems["labels with few samples"] = (
            f"{len(few)} labels have fewer than {LEAST} samples and are left out: {', '.join(few.index[:5])}"
        )
        x = x.isel(sample=~np.isin(x["label"].values, few.index))
    if len(counts) - len(few) < 2:
        raise ValueError(
            f"`label`: {len(counts) - len(few)} label has {LEAST} samples or more, expected at least two"
        )
    return x


def _splits(x: xr.DataArray, split: str | None, test: float, seed: int) -> np.ndarray:
    group = x["group"].values if "group" in x.coords else x["sample"].values
    if split is not None:
        if split not in x.coords:
            raise ValueError(f"`split` is {split!r}, which is no column of the samples")
        check_split(x[split].values, group)
        place = x[split].values.astype(str)
    else:
        place = split_by_group(x["label"].values, group, test=test, validation=test / 2, seed=seed)
    unseen = sorted(set(x["label"].values) - set(x["label"].values[place == "train"]))
    if unseen:
        raise ValueError(
            f"`label`: {unseen[0]} has no training sample; its donors are all in the test; take another `seed` or `split`"
        )
    return place


def _reference(logs: xr.DataArray, place: np.ndarray, transform: str) -> tuple[Classifier, np.ndarray]:
    """What is known of the training samples, as a classifier without a network; and all samples standardised by it."""
    training = logs.isel(sample=place == "train")
    values = training.values
    classes = tuple(np.unique(training["label"].values.astype(str)).tolist())
    means = moments_by(training, "label")["mean"].astype(np.float32)
    means = (
        means.drop_vars([c for c in means.coords if c not in ("label", "gene")])
        .rename("expression")
        .assign_attrs(units=logs.attrs.get("units", "expression"))
    )
    reference = Classifier(
        None, classes, tuple(logs["gene"].values.tolist()), values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64),
        np.median(values, 0), transform, means,
    )  # type: ignore[arg-type]  # fmt: skip
    return reference, reference.standardised(logs).values


def _refuse_made_ones(new: np.ndarray, place: np.ndarray) -> None:
    """What is made must come after the training samples, and never be evaluated."""
    if new[: int((place == "train").sum())].any():
        raise AssertionError("samples that augmentation made are among those that were measured")


def _tested(
    classifier: Classifier, x: xr.DataArray, z: np.ndarray, place: np.ndarray, folder: Folder, seed: int
) -> pd.DataFrame:
    """Write the predictions of all samples, the split, and the figures of the test samples."""
    logits = classifier.logits(x.copy(data=z))
    chance = np.exp(logits - logits.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    names = np.array(classifier.classes, dtype=object)
    table = pd.DataFrame({
        "sample": x["sample"].values, "label": x["label"].values, "predicted": names[logits.argmax(1)],
        "probability": chance.max(1), "split": place,
    })  # fmt: skip
    if "group" in x.coords:
        table.insert(2, "group", x["group"].values)
    save(table, folder.file("predictions.csv"))
    save(table[[c for c in ("sample", "label", "group", "split") if c in table]], folder.file(SPLIT))
    held = table[table["split"] == "test"]
    groups = held["group"].to_numpy() if "group" in held else None
    metrics = report(
        held["label"].to_numpy(),
        held["predicted"].to_numpy(),
        classes=classifier.classes,
        groups=groups,
        seed=seed,
    )
    save(metrics.reset_index(), folder.file("metrics.csv"))
    counts = write_confusion(held, classifier.classes, folder)
    folder.picture("confusion_matrix.png", confusion(ordered(counts), normalize=True))
    overall = {
        n: {c: float(v) for c, v in metrics.loc[n].items()} for n in ("accuracy", "macro avg", "weighted avg")
    }
    write_json({"test": overall}, folder.file("metrics.json"))
    return metrics


def ordered(counts: xr.DataArray) -> xr.DataArray:
    """A confusion matrix in which classes that are taken for each other lie side by side: leaves of average linkage."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if counts.sizes["true"] < 3:
        return counts
    share = counts.values / np.maximum(counts.values.sum(1, keepdims=True), 1)
    distance = 1 - np.clip((share + share.T) / 2, 0, 1)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance, checks=False), "average"))
    return counts.isel(true=order, predicted=order)


def principal_components(x: np.ndarray, label: np.ndarray, new: np.ndarray, seed: int) -> xr.DataArray:
    """Samples (sample, component 2) in the plane of the two first components of those that were not made.

    Parameters
    ----------
    x : array (N, genes)
    label : array (N,)
    new : array of bool (N,)
        Which samples augmentation made.
    seed : int
        Of the randomised decomposition.
    """
    from sklearn.decomposition import PCA

    count = min(2, x.shape[1], int((~new).sum()))
    pca = PCA(count, svd_solver="randomized", random_state=whole_seed(seed) % 2**32).fit(x[~new])
    plane = np.zeros((len(x), 2))
    plane[:, :count] = pca.transform(x)
    share = [*pca.explained_variance_ratio_, 0.0][:2]
    names = [f"component {k + 1} ({s:.1%} of the variance)" for k, s in enumerate(share)]
    return xr.DataArray(
        plane,
        dims=("sample", "component"),
        coords={"component": names, "label": ("sample", label), "new": ("sample", new)},
    )


def component_pictures(plane: xr.DataArray) -> dict[str, Any]:
    """Figures of the samples without and with those that were made, on the same axes, in the same colours."""
    ends = [
        (v.min() - 0.05 * np.ptp(v), v.max() + 0.05 * np.ptp(v)) if np.ptp(v) else None
        for v in plane.values.T
    ]
    limits = None if any(e is None for e in ends) else [e for e in ends if e is not None]
    new = plane["new"].values
    order = plane.isel(sample=np.argsort(plane["label"].values.astype(str), kind="stable"))
    labels = pd.Series(plane["label"].values.astype(str))
    coloured = labels[new].value_counts().index.union(labels.value_counts().index, sort=False)[:COLOURED]
    pictures: dict[str, Any] = {}
    for name, part in (("original", order.isel(sample=~order["new"].values)), ("augmented", order)):
        title = f"{part.sizes['sample']} training samples" + (
            f", {int(new.sum())} of them made" if name == "augmented" else ""
        )
        pictures[f"pca_{name}"] = points(part, "label", labels=coloured, limits=limits, title=title).figure
    return pictures
