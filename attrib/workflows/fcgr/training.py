"""Training of the two-branch network, on miRNAs that the test has never seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from attrib.io import save, write_json
from attrib.stats import performance
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import BRANCHES, Images, Pairs, read_pairs
from attrib.workflows.fcgr.predictor import save_predictor
from attrib.workflows.folder import Folder

SPLITS = ("train", "validation", "test")
LEAST = 3  # miRNAs, one per split


class Trained(NamedTuple):
    """What a training has made.

    Attributes
    ----------
    network : TwoBranch
        In evaluation mode, at its best epoch.
    folder : Path
    metrics : DataFrame
        Of the test pairs: see `attrib.stats.performance`.
    history : DataFrame
        A row per epoch.
    bad : dict of str to str
        Pairs left out, and why.
    """

    network: TwoBranch
    folder: Path
    metrics: pd.DataFrame
    history: pd.DataFrame
    bad: dict[str, str]


def train(
    data: str | Path,
    output: str | Path,
    *,
    k: int = 6,
    scale: str = "count",
    dropout: float = 0.1,
    channels: int = 8,
    depth: int = 2,
    epochs: int = 30,
    patience: int = 5,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
    device: str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
    tell: Callable[[str, int, int], None] | None = None,
) -> Trained:
    """Train a two-branch network on pairs of miRNA and target.

    Parameters
    ----------
    data : path
        See `attrib.workflows.fcgr.pairs.read_pairs`.
    output : path
        Folder for `model.safetensors`, its settings `model.json`, `metrics.json`, `history.csv`, `split.csv`, `test.csv`,
        `training.png` and `run.json`.
    k, scale
        Form of the images, see `attrib.domains.fcgr.fcgr`.
    dropout, channels, depth
        See `TwoBranch`.
    epochs, patience : int, default 30, 5
        At most so many passes; the end after so many without a better validation loss. The best is kept.
    batch_size, learning_rate
        Of Adam.
    test, validation : float, default 0.2, 0.1
        Shares of the miRNAs. All pairs of a miRNA are in one split.
    seed : int, default 0
        Of the split, the weights and the batches.
    device : str, optional
        Where to train.
    overwrite : bool, default False
        Whether an earlier training in `output` may be replaced.
    command : sequence of str
        As typed, for `run.json`.
    tell : callable, optional
        Gets ("epochs", done, at most).

    Returns
    -------
    Trained

    Raises
    ------
    ImportError
        Without skorch: ``pip install "attrib[train]"``.
    ValueError
        For data with fewer than three miRNAs, or a split with labels of one kind only.

    Notes
    -----
    Memory: two images of 4^k numbers of four bytes per pair, 32 KB at k = 6.
    """
    pairs = read_pairs(data, k)
    place = split(pairs.table["mirna"], test, validation, seed)
    _check_labels(pairs.table["label"], place)
    images = Images(k, scale)
    with Folder(output, command, overwrite=overwrite) as folder:
        network, history = _fitted(
            images, pairs, place, {"k": k, "dropout": dropout, "channels": channels, "depth": depth}, epochs, patience,
            batch_size, learning_rate, seed, device, tell,
        )  # fmt: skip
        table = pairs.table[place == "test"]
        chance = probabilities(network, images, table)
        metrics = performance(table["label"], chance, groups=table["mirna"], seed=seed)
        settings = {"k": k, "scale": scale, "dropout": dropout, "channels": channels, "depth": depth,
                    "corners": images.corners, "leading": images.leading, "seed": seed, "epochs": len(history)}  # fmt: skip
        _write(folder, network, settings, pairs, place, metrics, history, chance)
    return Trained(network, folder.path, metrics, history, pairs.bad)


def split(mirna: pd.Series, test: float, validation: float, seed: int) -> np.ndarray:
    """The split of each pair, by its miRNA.

    Raises
    ------
    ValueError
        If there are too few miRNAs, or shares leave nothing for one of the splits.
    """
    names = np.unique(mirna.to_numpy(dtype=str))
    if not (test > 0 and validation > 0 and test + validation < 1):
        raise ValueError(
            f"--test is {test}, --validation {validation}; expected shares above 0 whose sum is below 1"
        )
    if len(names) < LEAST:
        raise ValueError(
            f"--data has {len(names)} different miRNAs, expected at least {LEAST}: one for each split"
        )
    order = np.random.default_rng([seed, 7]).permutation(names)
    tested = min(max(1, round(test * len(names))), len(names) - 2)
    checked = min(max(1, round(validation * len(names))), len(names) - tested - 1)
    place = dict.fromkeys(order, "train") | dict.fromkeys(order[:tested], "test")
    place |= dict.fromkeys(order[tested : tested + checked], "validation")
    return np.array([place[m] for m in mirna])


def _check_labels(label: pd.Series, place: np.ndarray) -> None:
    for name in SPLITS:
        found = sorted(set(label[place == name].tolist()))
        if found != [0, 1]:
            raise ValueError(
                f"--data: the {name} split has only the labels {found}; it needs more miRNAs, or another --seed"
            )


def _fitted(
    images: Images, pairs: Pairs, place: np.ndarray, shape: dict[str, Any], epochs: int, patience: int,
    batch_size: int, rate: float, seed: int, device: str | None, tell: Callable[[str, int, int], None] | None,
) -> tuple[TwoBranch, pd.DataFrame]:  # fmt: skip
    try:
        from skorch import NeuralNetClassifier
        from skorch.callbacks import Callback, EarlyStopping
        from skorch.dataset import Dataset
        from skorch.helper import predefined_split
    except ImportError as error:
        raise ImportError('training needs skorch: pip install "attrib[train]"') from error

    class Told(Callback):
        def on_epoch_end(self, net: Any, **_: Any) -> None:
            if tell is not None:
                tell("epochs", len(net.history), epochs)

    checked = pairs.table[place == "validation"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = NeuralNetClassifier(
            TwoBranch, **{f"module__{n}": v for n, v in shape.items()}, module__corners=images.corners,
            criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam, optimizer__weight_decay=1e-4, lr=rate,
            batch_size=batch_size, max_epochs=epochs, iterator_train__shuffle=True, device=device or "cpu", verbose=0,
            train_split=predefined_split(Dataset(tensors(images, checked), checked["label"].to_numpy())),
            callbacks=[EarlyStopping(patience=patience, load_best=True, sink=lambda *_: None), Told()],
        )  # fmt: skip
        own = pairs.table[place == "train"]
        net.initialize()
        net.module_.to(memory_format=torch.channels_last)  # half of the time on a CPU
        net.partial_fit(tensors(images, own), own["label"].to_numpy())
    columns = ("epoch", "train_loss", "valid_loss", "valid_acc", "dur")
    history = pd.DataFrame([{c: h[c] for c in columns} for h in net.history])
    history["best"] = np.arange(len(history)) == int(history["valid_loss"].argmin())
    return net.module_.eval(), history.rename(columns={"valid_loss": "validation_loss", "valid_acc": "validation_accuracy", "dur": "seconds"})  # fmt: skip


def tensors(images: Images, table: pd.DataFrame) -> dict[str, torch.Tensor]:
    """Both images of the pairs, by the names of the network's arguments."""
    found = images.of(table)
    return {
        name: torch.from_numpy(found[name].values).contiguous(memory_format=torch.channels_last)
        for name in BRANCHES
    }


def probabilities(
    network: TwoBranch, images: Images, table: pd.DataFrame, batch_size: int = 256
) -> np.ndarray:
    """The probability of binding of each pair."""
    device = next(network.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(table), batch_size):
            x = tensors(images, table.iloc[start : start + batch_size])
            parts.append(
                network(**{n: t.to(device) for n, t in x.items()}).double().softmax(1)[:, 1].cpu().numpy()
            )
    return np.concatenate(parts)


def _write(
    folder: Folder, network: TwoBranch, settings: dict[str, Any], pairs: Pairs, place: np.ndarray,
    metrics: pd.DataFrame, history: pd.DataFrame, chance: np.ndarray,
) -> None:  # fmt: skip
    from attrib.io import replacing
    from attrib.workflows.fcgr.overviews import training_picture

    save_predictor(network.cpu(), settings, folder.file("model.safetensors"))
    folder.file("model.json")
    held = pairs.table[place == "test"]
    rows = pairs.table.assign(split=place).reset_index()
    save(rows[["sample", "mirna", "split"]], folder.file("split.csv"))
    save(held.assign(probability=chance).reset_index(), folder.file("test.csv"))
    save(history, folder.file("history.csv"))
    counts = {
        n: {"pairs": int((place == n).sum()), "mirnas": int(pairs.table["mirna"][place == n].nunique())}
        for n in SPLITS
    }
    figures = {
        n: {c: None if math.isnan(v) else float(v) for c, v in row.items()}
        for n, row in metrics.to_dict("index").items()
    }  # type: ignore[arg-type]
    write_json({"test": figures, "splits": counts, "bad_pairs": pairs.bad}, folder.file("metrics.json"))
    with replacing(folder.file("training.png")) as temporary:
        training_picture(history, held["label"].to_numpy(), chance, metrics).savefig(temporary)
