"""Pictures of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attrib.plots.scale import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def training_picture(
    history: pd.DataFrame, label: np.ndarray, chance: np.ndarray, metrics: pd.DataFrame
) -> Figure:
    """Loss by epoch, and the ROC curve of the test pairs."""
    picture = figure((8.4, 3.7))
    axes: Any = picture.subplots(1, 2)
    _losses(axes[0], history)
    _roc(axes[1], label, chance)
    lines = [
        f"{n} {r['value']:.3f} ({r['lower']:.3f} to {r['upper']:.3f})"
        for n, r in metrics.loc[["accuracy", "auroc"]].iterrows()
    ]
    axes[1].set_title("miRNAs never seen\n" + "\n".join(lines), fontsize=9)
    return picture


def _losses(ax: Axes, history: pd.DataFrame) -> None:
    ax.plot(history["epoch"], history["train_loss"], label="train", color="#777777")
    ax.plot(history["epoch"], history["validation_loss"], label="validation", color="#b2182b")
    best = history.loc[history["best"], "epoch"].iloc[0]
    ax.axvline(best, color="black", linewidth=0.7, linestyle=":", label=f"kept: epoch {best}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("cross entropy (nat)")
    ax.set_ylim(bottom=0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=8)


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
