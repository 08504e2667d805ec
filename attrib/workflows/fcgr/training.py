"""Training of the two-branch network; no miRNA of the test is seen in training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from attrib._arguments import whole_seed
from attrib.io import save, write_json
from attrib.plots.scale import figure
from attrib.stats import performance
from attrib.workflows.fcgr.network import TwoBranch, refuse_form
from attrib.workflows.fcgr.pairs import BRANCHES, Images, Pairs, read_pairs
from attrib.workflows.fcgr.predictor import save_predictor
from attrib.workflows.fitting import Fit, Rows, Tell, draw_epochs, fitted, refuse_unusable
from attrib.workflows.folder import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "test")
LEAST = 3  # miRNAs, one per split
DECAY = 1e-4  # of weights


def training_picture(
    history: pd.DataFrame, label: np.ndarray, chance: np.ndarray, metrics: pd.DataFrame
) -> Figure:
    """Loss by epoch, and the ROC curve of the test pairs."""
    picture = figure((8.4, 3.7))
    axes: Any = picture.subplots(1, 2)
    losses = {"validation": "validation_loss", "train": "train_loss"}
    draw_epochs(axes[0], history, losses, "cross entropy (nat)")
    _roc(axes[1], label, chance)
    lines = [
        f"{n} {r['value']:.3f} ({r['lower']:.3f} to {r['upper']:.3f})"
        for n, r in metrics.loc[["accuracy", "auroc"]].iterrows()
    ]
    axes[1].set_title("miRNAs never seen\n" + "\n".join(lines), fontsize=9)
    return picture


def _roc(ax: Axes, label: np.ndarray, chance: np.ndarray) -> None:
    thresholds = np.unique(chance)[::-1]
    hits, misses = (
        np.array([0.0, *((chance[label == c][None] >= thresholds[:, None]).mean(1))]) for c in (1, 0)
    )
    ax.plot(misses, hits, color="#b2182b")
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.7, linestyle=":")
    ax.set_aspect("equal")
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")


class Trained(NamedTuple):
    """Results of a training.

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
    columns: Mapping[str, str] | None = None,
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
    tell: Tell | None = None,
) -> Trained:
    """Train a two-branch network on pairs of miRNA and target.

    Parameters
    ----------
    data : path
        See `attrib.workflows.fcgr.pairs.read_pairs`.
    output : path
        Folder for `model.safetensors`, its settings `model.json`, `metrics.json`, `history.csv`, `split.csv`, `test.csv`,
        `training.png` and `run.json`.
    columns : mapping, optional
        Columns of `data` with `mirna`, `target`, `label` and `id`, where they have other names.
    k, scale
        Form of the images, see `attrib.domains.fcgr.fcgr`.
    dropout, channels, depth
        See `TwoBranch`.
    epochs, patience : int, default 30, 5
        Largest number of passes; training stops after `patience` passes without a better validation loss. The best is kept.
    batch_size, learning_rate
        Of Adam.
    test, validation : float, default 0.2, 0.1
        Shares of the miRNAs. All pairs of a miRNA are in one split.
    seed : int, default 0
        Of the split, the weights and the batches.
    device : str, optional
        Where to train.
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
        Without skorch: ``pip install -e '.[train]'``.
    ValueError
        For data with fewer than three miRNAs, or a split with labels of one kind only.

    Notes
    -----
    Memory: two images of 4^k numbers of four bytes per pair, 32 KB at k = 6.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> from attrib.workflows.fcgr import load_predictor, train
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> text = lambda n: "".join(rng.choice(list("ACGU"), n))
    >>> mirnas = [text(22) for _ in range(12)]
    >>> rows = [{"mirna": mirnas[k % 12], "target": text(50), "label": k // 12 % 2} for k in range(48)]
    >>> pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    >>> trained = train(folder / "pairs.csv", folder / "model", k=3, depth=1, channels=4, epochs=1)
    >>> sorted(p.name for p in trained.folder.glob("model.*"))
    ['model.json', 'model.safetensors']
    >>> predictor = load_predictor(folder / "model" / "model.safetensors")
    >>> predictor.images.k
    3
    """
    fit = Fit(epochs, patience, batch_size, learning_rate, DECAY, seed, device, torch.optim.Adam)
    refuse_unusable(fit, "learning_rate")
    refuse_form(channels, depth, dropout)
    _check_shares(test, validation)
    pairs = read_pairs(data, k, columns)
    place = split(pairs.table["mirna"], test, validation, seed)
    _check_labels(pairs.table["label"], place)
    images = Images(k, scale)
    shape = {"k": k, "dropout": dropout, "channels": channels, "depth": depth}
    with Folder(output, overwrite=overwrite) as folder:
        training, validating, tested = (pairs.table[place == name] for name in SPLITS)
        fitting, stopping = (
            Rows(tensors(images, some), some["label"].to_numpy()) for some in (training, validating)
        )
        network, history = fitted(
            TwoBranch, shape | {"corners": images.corners}, fitting, stopping, fit, extra="train", layout=torch.channels_last, tell=tell
        )  # fmt: skip
        chance = probabilities(network, images, tested)
        metrics = performance(tested["label"], chance, groups=tested["mirna"], seed=seed)
        settings = shape | {"scale": scale, "corners": images.corners, "leading": images.leading}
        save_predictor(
            network.cpu(), settings | {"seed": seed, "epochs": len(history)}, folder.file("model.safetensors")
        )
        folder.file("model.json")
        _write_tables(folder, pairs, place, history, chance)
        _write_figures(folder, pairs, place, metrics)
        folder.picture("training.png", training_picture(history, tested["label"].to_numpy(), chance, metrics))
    return Trained(network, folder.path, metrics, history, pairs.bad)


def _check_shares(test: float, validation: float) -> None:
    """Refuse shares that mean nothing.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    for name, share in {"test": test, "validation": validation}.items():
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise ValueError(f"`{name}` is {share!r}, expected a share between 0 and 1")


def split(mirna: pd.Series, test: float, validation: float, seed: int) -> np.ndarray:
    """The split of each pair, by its miRNA.

    Raises
    ------
    ValueError
        If there are too few miRNAs, or the shares leave a split empty.
    """
    names = np.unique(mirna.to_numpy(dtype=str))
    if not (test > 0 and validation > 0 and test + validation < 1):
        raise ValueError(
            f"`test` is {test}, `validation` {validation}; expected shares above 0 whose sum is below 1"
        )
    if len(names) < LEAST:
        raise ValueError(
            f"`data` has {len(names)} different miRNAs, expected at least {LEAST}: one for each split"
        )
    order = np.random.default_rng([whole_seed(seed), 7]).permutation(names)
    tested = min(max(1, round(test * len(names))), len(names) - 2)
    checked = min(max(1, round(validation * len(names))), len(names) - tested - 1)
    place = dict.fromkeys(order, "train") | dict.fromkeys(order[:tested], "test")
    place |= dict.fromkeys(order[tested : tested + checked], "validation")
    return np.array([place[m] for m in mirna])


def _check_labels(label: pd.Series, place: np.ndarray) -> None:
    for name in SPLITS:
        labels = sorted(set(label[place == name].tolist()))
        if labels != [0, 1]:
            raise ValueError(
                f"`data`: the {name} split has only the labels {labels}; it needs more miRNAs, or another `seed`"
            )


def tensors(images: Images, table: pd.DataFrame) -> dict[str, torch.Tensor]:
    """Both images of the pairs, by the names of the network's arguments; channels last take half of the time on a CPU."""
    pairs = images.of(table)
    return {
        name: torch.from_numpy(pairs[name].values).contiguous(memory_format=torch.channels_last)
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
            parts.append(network(**{n: t.to(device) for n, t in x.items()}).double().softmax(1)[:, 1])
    return torch.cat(parts).cpu().numpy()


def _write_tables(
    folder: Folder, pairs: Pairs, place: np.ndarray, history: pd.DataFrame, chance: np.ndarray
) -> None:
    """Write the split of each pair, the probabilities of the test pairs, and the epochs."""
    rows = pairs.table.assign(split=place).reset_index()
    save(rows[["sample", "mirna", "split"]], folder.file("split.csv"))
    held = pairs.table[place == "test"]
    save(held.assign(probability=chance).reset_index(), folder.file("test.csv"))
    save(history, folder.file("history.csv"))


def _write_figures(folder: Folder, pairs: Pairs, place: np.ndarray, metrics: pd.DataFrame) -> None:
    """Write the metrics on the test, and the numbers of pairs and miRNAs of each split."""
    counts = {
        n: {"pairs": int((place == n).sum()), "mirnas": int(pairs.table["mirna"][place == n].nunique())}
        for n in SPLITS
    }
    figures = {
        str(n): {str(c): None if math.isnan(v) else float(v) for c, v in row.items()}
        for n, row in metrics.iterrows()
    }
    write_json({"test": figures, "splits": counts, "bad_pairs": pairs.bad}, folder.file("metrics.json"))
