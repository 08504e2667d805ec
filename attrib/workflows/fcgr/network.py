"""A network of two chaos game images, which predicts whether one binds the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrib._arguments import real, whole
from attrib.domains.fcgr import CORNERS, complement_pixels

WIDTHS = (1, 3, 5)
MOST_CHANNELS, MOST_BLOCKS = 4096, 100


class Inception(nn.Module):
    """Convolutions of several widths side by side, and one of the image of one step earlier in the game.

    Parameters
    ----------
    inputs : int
        Channels in.
    each : int
        Channels out of each of the four paths.

    Notes
    -----
    The fourth path takes the place of Inception's pooling. In a chaos game image a 2 by 2 block holds the k-mers that
    differ in the first letter only, and the image of what may follow them is that block's sum, once in each quarter. So
    "sum the blocks, tile the result" is one step of the game: it says of each k-mer whether one that may precede it is
    there. Through it the order of the k-mers, which counting seems to lose, comes back: the first one has none before.

    No layer has a bias: k-mers that do not occur stay zero, and products of activations are zero where one factor is.
    """

    def __init__(self, inputs: int, each: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(nn.Conv2d(inputs, each, w, padding=w // 2, bias=False) for w in WIDTHS)
        self.step = nn.Conv2d(inputs, each, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, inputs, y, x) to maps (N, 4 each, y, x)."""
        before = self.step(4 * nn.functional.avg_pool2d(x, 2)).repeat(1, 1, 2, 2)
        return torch.cat([*(path(x) for path in self.paths), before], 1).relu()


class TwoBranch(nn.Module):
    """Two branches of Inception blocks, joined where the k-mers of one strand pair with those of the other.

    Parameters
    ----------
    k : int, default 6
        Letters per k-mer: images are 2^k by 2^k.
    dropout : float, default 0.1
        Share of the joint features dropped in training.
    channels : int, default 8
        Of each branch, a multiple of four.
    depth : int, default 2
        Inception blocks per branch.
    corners, leading : str
        The convention of the images, see `attrib.domains.fcgr.pixel_of`.

    Notes
    -----
    A site is the reverse complement of a part of the miRNA, wherever in the target it lies. Reverse complements of k-mers
    are a fixed permutation of the k-mers, so the target's activations are read in that order and multiplied with the
    miRNA's: each channel's sum over the k-mers is large if both sequences have k-mers that pair. A linear layer weighs these sums and each
    branch's own largest values.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        k: int = 6,
        dropout: float = 0.1,
        channels: int = 8,
        depth: int = 2,
        corners: str = CORNERS,
        leading: str = "last",
    ) -> None:
        super().__init__()
        refuse_form(channels, depth, dropout)
        rows, columns = complement_pixels(k, corners=corners, leading=leading)  # type: ignore[arg-type]
        self.register_buffer("rows", torch.from_numpy(rows).long())
        self.register_buffer("columns", torch.from_numpy(columns).long())
        self.mirna, self.mrna = (branch(channels, depth) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(3 * channels, 2)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, mirna: Tensor, mrna: Tensor) -> Tensor:
        """Images (N, 1, 2^k, 2^k) of both to logits (N, 2): not bound, bound."""
        for name, x in (("mirna", mirna), ("mrna", mrna)):
            if x.shape[1:] != (1, len(self.rows), len(self.columns)):
                raise ValueError(f"`{name}` has shape {tuple(x.shape)}, expected (N, 1, {len(self.rows)}, {len(self.columns)})")  # fmt: skip
        a, b = self.mirna(mirna), self.mrna(mrna)
        across = b.index_select(2, self.rows).index_select(3, self.columns)
        joint = (a * across).sum((2, 3))
        features = torch.cat([joint, a.amax((2, 3)), b.amax((2, 3))], 1)
        return self.head(self.dropout(features))


def refuse_form(channels: int, depth: int, dropout: float) -> None:
    """Refuse a network that cannot be built, or that nobody can train.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    if not 4 <= whole("channels", channels) <= MOST_CHANNELS or channels % 4:
        raise ValueError(f"`channels` is {channels}, expected a multiple of four from 4 to {MOST_CHANNELS}")
    if not 1 <= whole("depth", depth) <= MOST_BLOCKS:
        raise ValueError(f"`depth` is {depth}, expected a whole number from 1 to {MOST_BLOCKS}")
    if not 0 <= real("dropout", dropout) < 1:
        raise ValueError(f"`dropout` is {dropout}, expected at least 0 and less than 1")


def branch(channels: int, depth: int) -> nn.Sequential:
    """Inception blocks, then a convolution that mixes their paths."""
    blocks = [Inception(1 if n == 0 else channels, channels // 4) for n in range(depth)]
    return nn.Sequential(*blocks, nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU())
