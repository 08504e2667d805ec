"""The classifier that `attrib expression train` fits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class Dense(nn.Module):
    """Dense layers with ReLU and dropout between them.

    Parameters
    ----------
    genes, classes : int
        Sizes of the input and the output.
    hidden : sequence of int, default (512, 256, 128)
        Sizes between them: with three of these there are four dense layers.
    dropout : float, default 0.2
        Share of the features dropped in training.
    """

    def __init__(
        self, genes: int, classes: int, hidden: Sequence[int] = (512, 256, 128), dropout: float = 0.2
    ) -> None:
        super().__init__()
        sizes = [genes, *hidden]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of standardised expression (N, genes)."""
        return self.layers(x)
