"""The fit of a two-branch network, and its probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from attrib._install import install_hint
from attrib._seed import whole_seed
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import BRANCHES, Images

COLUMNS = {
    "epoch": "epoch", "train_loss": "train_loss", "valid_loss": "validation_loss",
    "valid_acc": "validation_accuracy", "dur": "seconds",
}  # fmt: skip

Tell = Callable[[str, int, int], None]


class Fit(NamedTuple):
    """How a network is fitted.

    Attributes
    ----------
    epochs, patience : int
        Largest number of passes; training stops after `patience` passes without a better validation loss.
    batch_size : int
        Pairs per step.
    rate : float
        Of Adam.
    seed : int
        Of the weights and the batches.
    device : str or None
    """

    epochs: int
    patience: int
    batch_size: int
    rate: float
    seed: int
    device: str | None


def fitted(
    images: Images,
    training: pd.DataFrame,
    validation: pd.DataFrame,
    shape: dict[str, Any],
    fit: Fit,
    tell: Tell | None = None,
) -> tuple[TwoBranch, pd.DataFrame]:
    """A network at its best epoch, and a row per epoch.

    Parameters
    ----------
    images : Images
    own, checked : DataFrame
        Pairs to train on, and pairs that decide when to stop.
    shape : dict
        Arguments of `TwoBranch`.
    fit : Fit
    tell : callable, optional
        Gets ("epochs", done, at most).

    Raises
    ------
    ImportError
        Without skorch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_seed(fit.seed))
        module = {f"module__{n}": v for n, v in (shape | {"corners": images.corners}).items()}
        net = _classifier(module, fit, (tensors(images, validation), validation["label"].to_numpy()), tell)
        net.initialize()
        net.module_.to(memory_format=torch.channels_last)  # half of the time on a CPU
        net.partial_fit(tensors(images, training), training["label"].to_numpy())
    history = pd.DataFrame([{c: h[c] for c in COLUMNS} for h in net.history]).rename(columns=COLUMNS)
    best = int(history["validation_loss"].argmin())
    return net.module_.eval(), history.assign(best=np.arange(len(history)) == best)


def _classifier(
    module: dict[str, Any], fit: Fit, held: tuple[dict[str, torch.Tensor], np.ndarray], tell: Tell | None
) -> Any:
    """A classifier of skorch, which stops when the loss on `held` no longer falls."""
    try:
        from skorch import NeuralNetClassifier
        from skorch.callbacks import EarlyStopping
        from skorch.dataset import Dataset
        from skorch.helper import predefined_split
    except ImportError as error:
        raise ImportError(f"training needs skorch: {install_hint('train')}") from error
    return NeuralNetClassifier(
        TwoBranch, **module, criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
        optimizer__weight_decay=1e-4, lr=fit.rate, batch_size=fit.batch_size, max_epochs=fit.epochs,
        iterator_train__shuffle=True, device=fit.device or "cpu", verbose=0,
        train_split=predefined_split(Dataset(*held)),
        callbacks=[EarlyStopping(patience=fit.patience, load_best=True, sink=lambda *_: None), _progress(fit.epochs, tell)],
    )  # fmt: skip


def _progress(epochs: int, tell: Tell | None) -> Any:
    """A callback that reports the progress."""
    from skorch.callbacks import Callback

    class Progress(Callback):
        def on_epoch_end(self, net: Any, **_: Any) -> None:
            if tell is not None:
                tell("epochs", len(net.history), epochs)

    return Progress()


def tensors(images: Images, table: pd.DataFrame) -> dict[str, torch.Tensor]:
    """Both images of the pairs, by the names of the network's arguments."""
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
            parts.append(
                network(**{n: t.to(device) for n, t in x.items()}).double().softmax(1)[:, 1].cpu().numpy()
            )
    return np.concatenate(parts)
