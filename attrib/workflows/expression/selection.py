"""Which samples are explained, and against which baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near, whole_seed
from attrib.domains.draws import drawn_evenly
from attrib.domains.expression import transformed
from attrib.workflows.expression.checkpoint import SPLIT, Classifier
from attrib.workflows.plan import Context

SPLITS = ("auto", "train", "validation", "test", "all")
BACKGROUND = 50  # samples that methods with a distribution of baselines get, where label means are not known


class Samples(NamedTuple):
    """Samples as the network takes them, with what it says of them.

    Attributes
    ----------
    z : DataArray (sample, gene)
        Prepared expression, with the coords `predicted`, `probability`, and `label`, `correct` and `group` where they are known.
    x : DataArray (sample, gene)
        The same samples and genes before transform and standardisation; NaN for genes that the data lack.
    missing : list of str
        Genes of the network that the data lack.
    """

    z: xr.DataArray
    x: xr.DataArray
    missing: list[str]


def classified(classifier: Classifier, x: xr.DataArray, context: Context | None = None) -> Samples:
    """Prepare the samples and classify them.

    Raises
    ------
    ValueError
        For data that the network does not take, and labels none of which is a class.
    """
    z, missing = classifier.prepared(x)
    logits = classifier.logits(z, context)
    chance = np.exp(logits - logits.max(1, keepdims=True))
    names = np.array(classifier.classes)
    keep = [c for c in ("label", "group", "symbol") if c in x.coords]
    raw = x.drop_vars([c for c in x.coords if c not in (*keep, "sample", "gene")]).reindex(
        gene=z["gene"].values
    )
    coords = {c: z[c] for c in (*keep, "sample", "gene") if c in z.coords}
    z = xr.DataArray(z.values, dims=("sample", "gene"), coords=coords, name="expression", attrs=z.attrs)
    z = z.assign_coords(
        predicted=("sample", names[logits.argmax(1)]),
        probability=("sample", (chance.max(1) / chance.sum(1)).astype(np.float32)),
    )
    if "symbol" in z.coords:
        z = z.assign_coords(symbol=("gene", z["symbol"].values.astype(str)))
    for name in ("label", "group"):
        if name in z.coords:
            z = z.assign_coords({name: ("sample", z[name].values.astype(str))})
    if "label" in z.coords:
        if not np.isin(z["label"].values, names).any():
            raise ValueError(
                f"`label`: none of the samples' labels, such as {z['label'].values[0]}, is a class of the model: {', '.join(names[:6])}"
            )
        z = z.assign_coords(correct=("sample", z["label"].values == z["predicted"].values))
    return Samples(z, raw, missing)


def chosen(
    samples: Samples,
    within: np.ndarray,
    *,
    every: bool = False,
    max_samples: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Samples:
    """The samples that are explained.

    Parameters
    ----------
    samples : Samples
    within : array (sample,) of bool
        Those of the split.
    every : bool
        Whether wrongly predicted samples are explained too.
    max_samples : int, optional
        At most so many, drawn evenly over the predicted labels.
    seed : int
        Of the draw.
    say : callable
        Gets lines about what was left out.

    Raises
    ------
    ValueError
        If none is left.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` is {max_samples}, expected at least 1")
    keep = within.copy()
    if "correct" in samples.z.coords and not every:
        right = samples.z["correct"].values
        say(
            f"{int((keep & right).sum())} of {int(keep.sum())} samples are predicted correctly; these are explained."
        )
        keep &= right
    places = np.flatnonzero(keep)
    if not len(places):
        raise ValueError(
            "no sample is left to explain: none is predicted correctly, or none is in the split; see `every`, `split`"
        )
    if max_samples is not None and len(places) > max_samples:
        places = places[drawn_evenly(samples.z["predicted"].values[places].tolist(), max_samples, seed)]
        say(
            f"{max_samples} of {int(keep.sum())} samples are explained, drawn evenly over the labels (seed {seed})."
        )
    return Samples(samples.z.isel(sample=places), samples.x.isel(sample=places), samples.missing)


def of_split(
    names: np.ndarray,
    classifier: Classifier,
    split: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> tuple[str, np.ndarray]:
    """Which samples are of a split of the training.

    Parameters
    ----------
    names : array of str
        The samples.
    classifier : Classifier
    split : {"auto", "test", "validation", "train", "all"}
        `"auto"`: the test, if the data hold samples of the training; else all.
    say : callable

    Returns
    -------
    (str, array of bool)
        The split, and its samples.

    Raises
    ------
    ValueError
        For other splits, and for one of a model whose training is not known.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` is {split!r}, expected {', '.join(SPLITS)}")
    file = None if classifier.folder is None else classifier.folder / SPLIT
    everything = np.ones(len(names), dtype=bool)
    if split == "all" or file is None or not file.is_file():
        if split not in ("auto", "all"):
            raise ValueError(
                f"`split` is {split!r}, but there is no split.csv of a training beside the model"
            )
        return "all", everything
    table = pd.read_csv(file, dtype=str)
    of = dict(zip(table["sample"], table["split"], strict=True))
    places = np.array([of.get(str(n), "") for n in names])
    if split == "auto":
        if not (places != "").any():
            return "all", everything
        say(
            "The data hold samples of the training; those of its test are explained; of all samples with split=all."
        )
        split = "test"
    return split, places == split


def baseline_of(
    text: str, classifier: Classifier, x: xr.DataArray, say: Callable[[str], None] = lambda line: None
) -> xr.DataArray:
    """The baseline that an option names, as the network takes it.

    Parameters
    ----------
    text : str
        ``"mean"`` or ``"median"`` of the training samples, ``"label:Liver"``: their mean in a label, or a number: the expression of
        every gene before the transform.
    classifier : Classifier
    x : DataArray (sample, gene)
        The data, which stand in for the training samples of a model of your own.
    say : callable

    Returns
    -------
    DataArray (gene)

    Raises
    ------
    ValueError
        For other texts and unknown labels.
    """
    genes = list(classifier.genes or x["gene"].values)
    logs = _baseline_logs(text, classifier, x, len(genes), say)
    row = xr.DataArray(
        np.asarray(logs, dtype=np.float32)[None], dims=("sample", "gene"), coords={"gene": genes}
    )
    return classifier.standardised(row)[0].assign_coords(gene=np.array(genes, dtype=object))


def _baseline_logs(
    text: str, classifier: Classifier, x: xr.DataArray, count: int, say: Callable[[str], None]
) -> np.ndarray:
    """The baseline after the transform."""
    name, colon, label = text.partition(":")
    if colon and name == "label":
        if label not in classifier.classes:
            raise ValueError(
                f"`baselines` names the label {label!r}, expected one of {', '.join(classifier.classes[:20])}{near(label, classifier.classes)}"
            )
        if classifier.label_means is not None:
            return classifier.label_means.sel(label=label).values
        if "label" not in x.coords or not (x["label"].values == label).any():
            raise ValueError(f"`baselines` is {text!r}, but the data have no sample of {label}")
        return _of_data(classifier, x.isel(sample=x["label"].values == label), say).mean(0)
    if text == "mean":
        return classifier.mean if classifier.mean is not None else _of_data(classifier, x, say).mean(0)
    if text == "median":
        return (
            classifier.median if classifier.median is not None else np.median(_of_data(classifier, x, say), 0)
        )
    try:
        value = xr.DataArray(np.full(count, float(text), dtype=np.float32), dims="gene")
    except ValueError:
        raise ValueError(f"`baselines` is {text!r}, expected mean, median, label:NAME or a number") from None
    return transformed(value, classifier.transform).values


def _of_data(classifier: Classifier, x: xr.DataArray, say: Callable[[str], None]) -> np.ndarray:
    from attrib.domains.expression import aligned

    say("The training samples of this model are not known; its baseline is taken of the data.")
    logs = transformed(x, classifier.transform)
    return (logs if classifier.genes is None else aligned(logs, classifier.genes, 0.0).x).values


def background(classifier: Classifier, z: xr.DataArray, seed: int) -> xr.DataArray:
    """Baselines (baseline, gene) for methods that take a distribution: the means of all labels, or samples of the data."""
    if classifier.label_means is not None:
        rows = classifier.standardised(classifier.label_means.rename(label="sample")).values
    else:
        rows = z.values[np.random.default_rng(whole_seed(seed)).permutation(len(z))[:BACKGROUND]]
    return xr.DataArray(rows.astype(np.float32), dims=("baseline", "gene"), coords={"gene": z["gene"].values})
