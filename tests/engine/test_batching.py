"""Rows per model call: bounded, halved when memory runs out, counted."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.batching import Batches
from attrib.functional import (
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    noise_tunnel,
    saliency,
    smooth_grad,
)
from attrib.testing import specimen, untouched

CPU = torch.device("cpu")


class Small(nn.Module):
    """A model that runs out of memory above `most` rows and notes how many it got."""

    def __init__(self, most: int, body: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body or specimen("mlp", 3, dtype=torch.float64).f
        self.most = most
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.body(x)


X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
METHODS: dict[str, Any] = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": lambda f, x, **o: integrated_gradients(f, x, n_steps=7, **o),
    "by levels": lambda f, x, **o: integrated_gradients(f, x, rtol=1e-2, **o),
    "smooth_grad": lambda f, x, **o: smooth_grad(f, x, n_samples=5, **o),
    "gradient_shap": lambda f, x, **o: gradient_shap(
        f, x, baselines=torch.zeros(9, 5).double(), n_samples=5, **o
    ),
    "noise_tunnel": lambda f, x, **o: noise_tunnel(saliency, f, x, n_samples=5, **o),
}
methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
HOW = [{"target": 1}, {"targets": "all"}]


@pytest.mark.parametrize("how", HOW, ids=["one", "all"])
@pytest.mark.parametrize("most", [1, 2, 3, 5])
@methods
def test_out_of_memory_loses_nothing(method: Any, most: int, how: dict) -> None:
    roomy, small = Small(10**6), Small(most)
    expected = method(roomy, X, **how)
    for size in ("auto", 64):
        with untouched(small, X):
            found = method(small, X, batch_size=size, **how)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert max(small.seen) > most  # it did run out


@methods
def test_one_row_too_many_raises(method: Any) -> None:
    small = Small(0)
    with untouched(small, X), pytest.raises(torch.OutOfMemoryError, match="no room"):
        method(small, X, target=1)


def test_other_errors_are_not_taken_for_memory() -> None:
    class Wrong(Small):
        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(len(x))
            raise RuntimeError("wrong shape")

    with pytest.raises(RuntimeError, match="wrong shape"):
        saliency(Wrong(1), X, target=0, batch_size=8)


@pytest.mark.parametrize(
    "text", ["not enough memory: you tried", "DefaultCPUAllocator: can't allocate memory"]
)
def test_the_cpu_allocators_error_counts_as_out_of_memory(text: str) -> None:
    def work(start: int, stop: int) -> tuple[int, int]:
        if stop - start > 2:
            raise RuntimeError(text)
        return start, stop

    assert list(Batches(8, CPU).run(5, work)) == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("how", HOW, ids=["one", "all"])
@methods
def test_the_model_never_gets_more_rows_than_asked_for(method: Any, size: int, how: dict) -> None:
    model = Small(10**6)
    method(model, X, batch_size=size, **how)
    assert max(model.seen) <= size


def test_the_batch_size_is_used() -> None:
    model = Small(10**6)
    integrated_gradients(model, X, target=0, n_steps=20, batch_size=32)
    assert model.seen.count(32) >= 6 * 20 // 32


def test_automatic_sizes() -> None:
    batches = Batches("auto", CPU)
    assert batches.chunk() == 8
    batches.measured(row_bytes=1 << 20, largest=1 << 10)
    assert batches.chunk() == 256  # 256 MB
    assert batches.chunk(share=10) == 25
    batches.measured(row_bytes=1)
    assert batches.chunk() == 256  # settled
    batches.measure_again()
    batches.measured(row_bytes=1)
    assert batches.chunk() == 4096
    fixed = Batches(5, CPU)
    fixed.measured(1)
    fixed.measure_again()
    assert fixed.chunk() == 5
    assert fixed.chunk(share=100) == 1
    huge = Batches("auto", CPU)
    huge.measured(1 << 40, 1 << 40)
    assert huge.chunk() == 1


@methods
def test_progress_is_told(method: Any) -> None:
    told: list[tuple[int, int]] = []
    method(Small(3), X, target=1, batch_size=4, progress=lambda done, total: told.append((done, total)))
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1] >= len(X)


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    smooth_grad(Small(99), X, target=1, progress=True, batch_size=4)
    shown = capsys.readouterr()
    assert "attrib" in shown.err
    assert shown.out == ""
