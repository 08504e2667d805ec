"""The fit of a classifier of expression, epoch by epoch."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from attrib._install import install_hint
from attrib._seed import whole_seed
from attrib.io import save
from attrib.plots.scale import figure
from attrib.workflows.expression.network import Dense
from attrib.workflows.folder import save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tell = Callable[[str, int, int], None]
COLUMNS = {
    "epoch": "epoch", "train_loss": "train_loss", "valid_loss": "validation_loss",
    "valid_acc": "validation_accuracy", "dur": "seconds",
}  # fmt: skip
BETWEEN_PICTURES = 2.0  # seconds


class Fit(NamedTuple):
    """How a network is fitted.

    Attributes
    ----------
    epochs, patience : int
        Largest number of passes; training stops after `patience` passes in which the validation loss did not fall by more than
        `delta`. The best is kept.
    delta : float
        Cross entropy (nat).
    batch_size : int
    lr, decay : float
        Learning rate and weight decay of AdamW.
    balanced : bool
        Whether labels count alike in the loss, whatever their number of samples.
    seed : int
        Of the weights and the batches.
    device : str or None
    """

    epochs: int
    patience: int
    delta: float
    batch_size: int
    lr: float
    decay: float
    balanced: bool
    seed: int
    device: str | None


class Rows(NamedTuple):
    """Prepared samples (N, genes), float32, and the numbers of their classes (N,)."""

    x: np.ndarray
    y: np.ndarray


def require(tensorboard: bool = False) -> None:
    """Refuse to begin without the packages that training needs.

    Raises
    ------
    ImportError
        With the command that installs them.
    """
    needed = {"skorch": "expression", "safetensors": "expression"} | (
        {"tensorboard": "tensorboard"} if tensorboard else {}
    )
    for package, extra in needed.items():
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"training needs {package} here: {install_hint(extra)}")


def fitted(
    training: Rows,
    validation: Rows,
    classes: int,
    hidden: Sequence[int],
    dropout: float,
    fit: Fit,
    folder: Path,
    *,
    tensorboard: bool = False,
    tell: Tell | None = None,
) -> tuple[Dense, pd.DataFrame]:
    """A network at its best epoch, and a row per epoch; `history.csv` and `training.png` follow the epochs."""
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback, EarlyStopping
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    class Monitor(Callback):
        """Writes the history after each epoch."""

        drawn = 0.0

        def on_epoch_end(self, net: Any, **_: Any) -> None:
            history = history_of(net)
            save(history, folder / "history.csv")
            if time.monotonic() - self.drawn > BETWEEN_PICTURES:
                write_training(history, folder)
                self.drawn = time.monotonic()
            if tell is not None:
                tell("epochs", len(history), fit.epochs)

    stop = EarlyStopping(
        patience=fit.patience, threshold=fit.delta, threshold_mode="abs", load_best=True, sink=lambda *_: None
    )
    callbacks: list[Any] = [Monitor(), stop]
    if tensorboard:
        callbacks.append(_tensorboard(folder / "tensorboard"))
    share = np.bincount(training.y, minlength=classes)
    weight = len(training.y) / (classes * np.maximum(share, 1)) if fit.balanced else np.ones(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(fit.seed))
        net = NeuralNetClassifier(
            Dense, module__genes=training.x.shape[1], module__classes=classes, module__hidden=tuple(hidden),
            module__dropout=dropout, criterion=torch.nn.CrossEntropyLoss,
            criterion__weight=torch.tensor(weight, dtype=torch.float32), optimizer=torch.optim.AdamW,
            optimizer__weight_decay=fit.decay, lr=fit.lr, batch_size=fit.batch_size, max_epochs=fit.epochs,
            iterator_train__shuffle=True, device=fit.device or "cpu", verbose=0, callbacks=callbacks,
            train_split=predefined_split(Dataset(validation.x, validation.y)),
        )  # fmt: skip
        net.fit(training.x, training.y)
    history = history_of(net)
    save(history, folder / "history.csv")
    write_training(history, folder)
    return net.module_.eval().cpu(), history


def history_of(net: Any) -> pd.DataFrame:
    """A row per epoch, with the best marked."""
    history = pd.DataFrame([{c: h[c] for c in COLUMNS} for h in net.history]).rename(columns=COLUMNS)
    best = int(history["validation_loss"].argmin())
    return history.assign(best=np.arange(len(history)) == best)


def _tensorboard(folder: Path) -> Any:
    from skorch.callbacks import TensorBoard
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoard(SummaryWriter(str(folder)))


def write_training(history: pd.DataFrame, folder: Path) -> None:
    """Write `training.png`."""
    save_picture(training_picture(history), folder / "training.png")


def training_picture(history: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch."""
    picture = figure((7.6, 3.2))
    left, right = picture.subplots(1, 2)
    best = history.loc[history["best"], "epoch"].iloc[0]
    left.plot(history["epoch"], history["train_loss"], label="train", color="#777777", marker=".")
    left.plot(history["epoch"], history["validation_loss"], label="validation", color="#b2182b", marker=".")
    left.set_ylabel("cross entropy (nat)")
    left.set_ylim(bottom=0)
    right.plot(
        history["epoch"], history["validation_accuracy"], color="#b2182b", label="validation", marker="."
    )
    right.set_ylabel("accuracy")
    right.set_ylim(0, 1.02)
    for ax in (left, right):
        ax.axvline(best, color="black", linewidth=0.7, linestyle=":", label=f"kept: epoch {best}")
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    return picture
