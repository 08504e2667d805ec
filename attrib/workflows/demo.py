"""The demonstration: train a small network on handwritten digits and explain it with every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from attrib._arguments import whole_seed
from attrib.io import replacing, save
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.judge import TABLE as JUDGEMENT
from attrib.workflows.judge import judgement, samples_of, write
from attrib.workflows.plan import ALL_METHODS, Plan, plan
from attrib.workflows.study import (
    TABLE,
    Done,
    Result,
    Tell,
    carry_out,
    draw,
    overview,
    write_page,
    write_table,
)

CLASSES = tuple(map(str, range(10)))
HELD_OUT = 360  # of 1,797 images
EXPLAINED = 200  # held-out images
BASELINES = 50  # training images that stand for "no digit in particular"
JUDGED = 20  # of them, by which the methods are judged
SHOWN = 6  # columns of the comparison, which has many rows
SETTINGS: dict[str, dict[str, Any]] = {  # of methods, for these images
    "occlusion": {"window": {"y": 2, "x": 2}},
    "shapley_values": {"n_permutations": 4},
}


class Digits(NamedTuple):
    """Images (sample, channel, y, x) with the coord `digit`.

    Attributes
    ----------
    train, test : DataArray
        Intensities from 0 (paper) to 1 (ink), float32.
    """

    train: xr.DataArray
    test: xr.DataArray


def cnn() -> nn.Module:
    """Two convolutions, two linear layers: 8x8 images to ten logits.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, with random weights: images (N, 1, 8, 8) to logits (N, 10).

    Examples
    --------
    >>> import torch
    >>> from attrib.workflows.demo import cnn
    >>> tuple(cnn()(torch.zeros(2, 1, 8, 8)).shape)
    (2, 10)
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    ).eval()


def digits(seed: int = 0) -> Digits:
    """The 1,797 images of scikit-learn's digits, shuffled and split.

    Parameters
    ----------
    seed : int, default 0
        Of the order.

    Returns
    -------
    Digits
        1,437 images to train on and 360 held out. Labels along `sample` are the images' numbers in scikit-learn.

    Examples
    --------
    >>> from attrib.workflows.demo import digits
    >>> data = digits()
    >>> dict(data.test.sizes)
    {'sample': 360, 'channel': 1, 'y': 8, 'x': 8}
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(whole_seed(seed)).permutation(len(bunch.target))
    images = xr.DataArray(
        (bunch.images[order, None] / 16).astype(np.float32),
        dims=("sample", "channel", "y", "x"),
        coords={
            "sample": ("sample", order, {"long_name": "number of the image in scikit-learn's digits"}),
            "channel": ["ink"],
            "y": ("y", np.arange(8), {"units": "pixel"}),
            "x": ("x", np.arange(8), {"units": "pixel"}),
            "digit": ("sample", bunch.target[order], {"long_name": "digit that was written"}),
        },
        name="image",
        attrs={"units": "ink", "long_name": "ink, from 0 (paper) to 1"},
    )
    return Digits(images[:-HELD_OUT], images[-HELD_OUT:])


def trained(data: Digits, *, seed: int = 0, epochs: int = 8) -> nn.Module:
    """A `cnn` trained on the images.

    Parameters
    ----------
    data : Digits
    seed : int, default 0
        Of the weights and the order of the batches; torch's own generator is left as it was.
    epochs : int, default 8
        Passes through the training images.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.

    Examples
    --------
    >>> from attrib.workflows.demo import accuracy, digits, trained
    >>> data = digits()
    >>> accuracy(trained(data, epochs=1), data.test) > 0.5
    True
    """
    x, y = torch.from_numpy(data.train.values), torch.from_numpy(data.train["digit"].values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(seed))
        model = cnn()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(64):
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return model.eval()


def accuracy(model: nn.Module, images: xr.DataArray) -> float:
    """Share of the images whose largest logit is their digit.

    Parameters
    ----------
    model : torch.nn.Module
        Images (N, 1, 8, 8) to logits (N, 10).
    images : DataArray
        With the coord `digit`, such as ``digits().test``.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> from attrib.workflows.demo import accuracy, cnn, digits
    >>> 0 <= accuracy(cnn(), digits().test) <= 1
    True
    """
    with torch.no_grad():
        logits: Tensor = model(torch.from_numpy(images.values))
    return float((logits.argmax(1).numpy() == images["digit"].values).mean())


class Demo(NamedTuple):
    """Results of the demonstration.

    Attributes
    ----------
    folder : Path
        Where the files are.
    files : list of str
    accuracy : float
        Share of the held-out images classified correctly.
    table : DataFrame
        A row per method: completeness error (median, max) for the predicted class, model evaluations and seconds for
        one class and for all ten.
    """

    folder: Path
    files: list[str]
    accuracy: float
    table: pd.DataFrame


def demo(
    output: str | Path = "attrib-demo",
    *,
    seed: int = 0,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Train, explain with every method, and write results, tables and pictures.

    Parameters
    ----------
    output : str or path
        The folder. An earlier demonstration there is replaced; other content is refused.
    seed : int, default 0
        Of the split, the weights, the batches and the methods' draws.
    tell : callable, optional
        Gets (method, rows done, rows in all).
    say : callable, optional
        Gets a line for each stage.

    Returns
    -------
    Demo

    Notes
    -----
    Writes `attributions.nc` (a group per result: `predicted/saliency`, `all/saliency`, ...), `summary.csv`,
    `comparison.png`, `mean_per_class.png`, how far each method can be trusted (`judged.csv`, `judged.png`), the images (`digits.nc`) and weights (`model.pt`) to try
    `attrib explain` on, and `run.json`.

    Examples
    --------
    >>> from attrib.workflows.demo import demo
    >>> done = demo("attrib-demo")  # doctest: +SKIP
    >>> done.table.sort_values("seconds")  # doctest: +SKIP
    """
    with Folder(output, overwrite=True) as folder:
        data, model, right = _trained(seed, folder, say)
        x = data.test[:EXPLAINED]
        _write_material(model, x, folder)
        say(
            f"Explaining {len(x)} held-out images with {len(ALL_METHODS)} methods, for the predicted class and all ten."
        )
        baselines = data.train[:BASELINES].drop_vars(["sample", "digit"]).rename(sample="baseline")
        settings = _plan(baselines, seed, target="predicted")
        predicted = carry_out(model, x, settings, folder, tell, "predicted/")
        every = carry_out(model, x, _plan(baselines, seed, targets="all"), folder, tell, "all/")
        results = {done.method: done.result for done in predicted if isinstance(done, Done)}
        rows = write_table({f"predicted/{m}": a for m, a in results.items()}
                    | {f"all/{d.method}": d.result for d in every if isinstance(d, Done)}, folder)  # fmt: skip
        draw(x, results, folder, **_comparison_samples(results))
        say(f"Judging the methods on {JUDGED} of the images.")
        some, of_these = samples_of(predicted, x, JUDGED)
        judged = judgement(model, some, of_these, settings, seed=seed, tell=tell)
        write(judged, folder)
        write_page(
            folder, "Handwritten digits", f"{len(x)} of {len(data.test)} held-out images; the network reads {right:.1%} of the {len(data.test)} correctly.",
            {"Methods": (RECORD, _table(overview(predicted), overview(every))), "How far to trust each": (JUDGEMENT, judged.table), "Samples": (TABLE, rows)},
        )  # fmt: skip
    return Demo(folder.path, folder.files, right, _table(overview(predicted), overview(every)))


def _trained(seed: int, folder: Folder, say: Callable[[str], None]) -> tuple[Digits, torch.nn.Module, float]:
    """The digits, a network trained on them, and its accuracy."""
    start = time.perf_counter()
    data = digits(seed)
    model = trained(data, seed=seed)
    right = accuracy(model, data.test)
    took = time.perf_counter() - start
    say(f"Trained on {data.train.sizes['sample']} images in {took:.1f} s; test accuracy "
        f"{right:.1%} of {data.test.sizes['sample']} held-out images.")  # fmt: skip
    folder.record |= {"seed": seed, "test_accuracy": right, "training_seconds": round(took, 3)}
    return data, model, right


def _plan(baselines: xr.DataArray, seed: int, **target: Any) -> Plan:
    """A plan of every method; distributions of baselines are training images, single baselines are zero."""
    methods = plan("all", classes=CLASSES, seed=seed, **target)
    for name, arguments in methods.by_method.items():
        if ALL_METHODS[name].about.baselines == "distribution":
            arguments["baselines"] = baselines
        arguments.update(SETTINGS.get(name, {}))
    return methods


def _write_material(model: torch.nn.Module, x: xr.DataArray, folder: Folder) -> None:
    """Write the images and the weights as files that `attrib explain` takes."""
    save(x, folder.file("digits.nc"))
    with replacing(folder.file("model.pt")) as temporary:
        torch.save(model.state_dict(), temporary)


def _comparison_samples(results: Mapping[str, Result]) -> dict[str, Any]:
    """Images for the comparison: those misread, then one of each digit, in the order of the digits."""
    first = next(iter(results.values()))
    written, read = first["digit"].values, first["target"].values.astype(int)
    wrong = np.flatnonzero(written != read)[:2].tolist()
    one_each = [int(np.flatnonzero(written == d)[0]) for d in np.unique(written)]
    chosen = sorted((wrong + [i for i in one_each if i not in wrong])[:SHOWN], key=lambda i: (written[i], i))
    return {"chosen": chosen, "titles": [f"written {written[i]}\nread as {read[i]}" for i in chosen]}


def _table(predicted: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    both = predicted.assign(all_evaluations=every["evaluations"], all_seconds=every["seconds"])
    return both[[*(c for c in both.columns if c != "skipped"), "skipped"]]
