"""The check of a user's own model: each row of its output depends on that row of its input alone."""

from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from attrib.testing import AxiomError, independent_rows

X = torch.tensor([[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5]])
CALLS = count()
MIXED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "mean": (lambda x: x - x.mean(0), "beside other rows"),
    "running sum": (lambda x: x.cumsum(0), "output"),
    "closure": (lambda x: x * torch.arange(9.0)[: len(x), None], "output"),
    "size": (lambda x: x / len(x), "a row alone"),
    "counter": (lambda x: x + next(CALLS), "the same rows again|output"),
}


@pytest.mark.parametrize("f", [nn.Linear(2, 3), lambda x: x[:, 0], torch.tanh])
def test_sound_models(f: Callable[[Tensor], Tensor]) -> None:
    assert independent_rows(f, X, tolerance=1e-6).size <= 1e-6


@pytest.mark.parametrize("kind", MIXED)
def test_rows_that_mix(kind: str) -> None:
    f, text = MIXED[kind]
    with pytest.raises(AxiomError, match=rf"independence of rows is violated: .*({text})"):
        independent_rows(f, X, tolerance=1e-3)


def test_whole_numbers_and_several_inputs() -> None:
    table = nn.Embedding(5, 2)
    ids = torch.tensor([[0, 1], [4, 2], [3, 3]])
    assert independent_rows(lambda i, x: table(i).sum(1) * x, (ids, X)).size < 1e-6
    assert independent_rows(lambda i, x: table(i).sum(1) * x.sum(), (ids, X)).size > 0.1
