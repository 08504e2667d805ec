"""What windows hold: it follows `batch_size`, and nothing waits for the garbage collector."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attrib.functional import in_silico_mutagenesis, occlusion


class Held(TorchDispatchMode):
    """Counts the numbers in memory that ops have made and that is still in use.

    Attributes
    ----------
    peak : int
        The most at one time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = op(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor) and t.untyped_storage()._cdata not in given | self.sizes.keys():
                self._take(t)
        return out

    def _take(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        self.sizes[storage._cdata] = storage.nbytes() // t.element_size()
        self.now += self.sizes[storage._cdata]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self.sizes.pop(key)


def held(work: Callable[[], object]) -> int:
    with Held() as count:
        work()
    return count.peak


def network(end: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(4, 8, 9, padding=4), nn.ReLU(), nn.Conv1d(8, 8, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), end
        ).requires_grad_(False)  # fmt: skip


class Mean(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return y.mean(2)


LENGTH = 200
VALUES = (
    LENGTH * (4 * 8 + 2) + 2
)  # of one row of the model: two convolutions, two ReLUs, the pool's values, the output
ENDS: dict[str, Callable[[], nn.Module]] = {
    "mean": Mean,
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(2 * LENGTH, 16), nn.ReLU(), nn.Linear(16, 2)),
    "profile": lambda: nn.Conv1d(8, 2, 5),
}


def letters() -> Tensor:
    at = torch.randint(4, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(at, 4).float().transpose(1, 2).contiguous()


@pytest.mark.parametrize("end", ENDS)
def test_values_held_follow_batch_size(end: str) -> None:
    """Recording takes the values of a few rows; each row of a batch adds two rows at most."""
    f, x = network(ENDS[end]()), letters()

    def work(rows: int | str) -> int:
        return held(
            lambda: in_silico_mutagenesis(
                f, x, target=lambda y: y.flatten(1).sum(1), path="window", batch_size=rows
            )
        )

    one, four, sixteen, most = map(work, (1, 4, 16, 256))
    assert one <= 8 * VALUES
    assert four <= (8 + 2 * 4) * VALUES
    assert sixteen <= (8 + 2 * 16) * VALUES
    assert most > 1.5 * one  # what is bounded grows if it is let


def test_values_held_for_images_follow_batch_size() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 5)
    )
    net, x = net.requires_grad_(False), torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    values = 24 * 24 * 8 * 4 + 20 * 20 * 2

    def work(rows: int) -> int:
        return held(
            lambda: occlusion(
                net, x, window=(1, 6, 6), target=lambda y: y.sum((1, 2, 3)), path="window", batch_size=rows
            )
        )

    one, eight, most = map(work, (1, 8, 256))
    assert one <= 12 * values
    assert eight <= (12 + 3 * 8) * values
    assert most > 2 * one


@pytest.mark.parametrize("end", ENDS)
def test_no_value_waits_for_the_garbage_collector(end: str) -> None:
    """Cycles of references would hold the values of all passes until it runs."""
    f, x = network(ENDS[end]()), letters()
    gc.collect()
    gc.disable()
    try:
        with Held() as count:
            found = in_silico_mutagenesis(f, x, target=lambda y: y.flatten(1).sum(1), path="window")
        assert count.now <= found.numel() + 100
    finally:
        gc.enable()
