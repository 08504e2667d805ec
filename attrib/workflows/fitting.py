"""The fit of a classifier, epoch by epoch, by skorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from attrib._arguments import MOST, real, whole, whole_seed
from attrib._install import install_hint
from attrib.scale.loading import check_device

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tell = Callable[[str, int, int], None]
COLUMNS = {
    "epoch": "epoch", "train_loss": "train_loss", "valid_loss": "validation_loss",
    "valid_acc": "validation_accuracy", "dur": "seconds",
}  # fmt: skip


class Fit(NamedTuple):
    """How a network is fitted.

    Attributes
    ----------
    epochs, patience : int
        Largest number of passes; training stops after `patience` passes without a better validation loss. The best is kept.
    batch_size : int
    lr, decay : float
        Learning rate and weight decay.
    seed : int
        Of the weights and the batches.
    device : str or None
    optimizer : type
        Of torch.
    delta : float or None
        By how much the validation loss (nat) has to fall to be better; None: by a ten-thousandth of it.
    """

    epochs: int
    patience: int
    batch_size: int
    lr: float
    decay: float
    seed: int
    device: str | None
    optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW
    delta: float | None = None


def refuse_unusable(fit: Fit, lr: str = "lr") -> None:
    """Refuse numbers of a fit that mean nothing, and a device that this machine lacks; `lr` is what the caller names the learning rate.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    for name in ("epochs", "patience", "batch_size"):
        if not 1 <= whole(name, getattr(fit, name)) <= MOST:
            raise ValueError(f"`{name}` is {getattr(fit, name)}, expected a whole number from 1 to {MOST:,}")
    if not real(lr, fit.lr) > 0:
        raise ValueError(f"`{lr}` is {fit.lr}, expected a number above 0")
    for name, value in (("delta", fit.delta or 0.0), ("decay", fit.decay)):
        if not real(name, value) >= 0:
            raise ValueError(f"`{name}` is {value}, expected 0 or more")
    whole_seed(fit.seed)
    check_device(fit.device)


class Rows(NamedTuple):
    """Inputs (N, ...) as skorch takes them, and the numbers of their classes (N,)."""

    x: Any
    y: np.ndarray


def fitted(
    network: type[nn.Module],
    shape: Mapping[str, Any],
    training: Rows,
    validation: Rows,
    fit: Fit,
    *,
    extra: str,
    weight: np.ndarray | None = None,
    layout: torch.memory_format = torch.preserve_format,
    watch: Callable[[pd.DataFrame], None] | None = None,
    callbacks: Sequence[Any] = (),
    tell: Tell | None = None,
) -> tuple[Any, pd.DataFrame]:
    """A network at its best epoch, in evaluation mode, and a row per epoch.

    Parameters
    ----------
    network : type
    shape : mapping
        Its arguments.
    training, validation : Rows
        Validation decides when to stop.
    fit : Fit
    extra : str
        Of attrib, that has skorch.
    weight : array (classes,), optional
        Of the classes in the loss.
    layout : torch.memory_format
        Of the weights.
    watch : callable, optional
        Gets the history after each epoch.
    callbacks : sequence
        More callbacks of skorch.
    tell : callable, optional
        Gets ("epochs", done, at most).

    Raises
    ------
    ImportError
        Without skorch.
    ValueError
        If no validation loss is a number.
    """
    try:
        from skorch import NeuralNetClassifier
        from skorch.callbacks import Callback, EarlyStopping
        from skorch.dataset import Dataset
        from skorch.helper import predefined_split
    except ImportError as error:
        raise ImportError(f"training needs skorch: {install_hint(extra)}") from error

    class Monitor(Callback):
        least, weights = float("inf"), None

        def on_epoch_end(self, net: Any, **_: Any) -> None:
            loss = net.history[-1, "valid_loss"]
            if loss < self.least:  # by however little: `delta` says when to stop, not what to keep
                self.least, self.weights = loss, deepcopy(net.module_.state_dict())
            if watch is not None:
                watch(history_of(net))
            if tell is not None:
                tell("epochs", len(net.history), fit.epochs)

        def on_train_end(self, net: Any, **_: Any) -> None:
            if self.weights is not None:
                net.module_.load_state_dict(self.weights)

    threshold = {} if fit.delta is None else {"threshold": fit.delta, "threshold_mode": "abs"}
    stop = EarlyStopping(patience=fit.patience, sink=lambda *_: None, **threshold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(fit.seed))
        net = NeuralNetClassifier(
            network, **{f"module__{n}": v for n, v in shape.items()}, criterion=nn.CrossEntropyLoss,
            criterion__weight=None if weight is None else torch.tensor(weight, dtype=torch.float32),
            optimizer=fit.optimizer, optimizer__weight_decay=fit.decay, lr=fit.lr, batch_size=fit.batch_size,
            max_epochs=fit.epochs, iterator_train__shuffle=True, device=fit.device or "cpu", verbose=0,
            train_split=predefined_split(Dataset(*validation)), callbacks=[Monitor(), stop, *callbacks],
        )  # fmt: skip
        net.initialize()
        net.module_.to(memory_format=layout)
        net.partial_fit(*training)
    return net.module_.eval(), history_of(net)


def history_of(net: Any) -> pd.DataFrame:
    """A row per epoch, with the best marked.

    Raises
    ------
    ValueError
        If no validation loss is a number.
    """
    history = pd.DataFrame([{c: h[c] for c in COLUMNS} for h in net.history]).rename(columns=COLUMNS)
    if history["validation_loss"].isna().all():
        raise ValueError(
            "the validation loss is no number, from the first epoch on; take a smaller learning rate"
        )
    best = int(history["validation_loss"].argmin())
    return history.assign(best=np.arange(len(history)) == best)


def draw_epochs(ax: Axes, history: pd.DataFrame, lines: Mapping[str, str], label: str) -> None:
    """Columns of the history by epoch, by the names of their lines, and the epoch that was kept."""
    for (name, column), colour in zip(lines.items(), ("#b2182b", "#777777"), strict=False):
        ax.plot(history["epoch"], history[column], label=name, color=colour, marker=".")
    best = history.loc[history["best"], "epoch"].iloc[0]
    ax.axvline(best, color="black", linewidth=0.7, linestyle=":", label=f"kept: epoch {best}")
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
