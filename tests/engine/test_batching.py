"""Rows per model call: bounded, halved when memory runs out, counted."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.batching import Batches, Span
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
    trial, *sizes = model.seen
    assert trial == 2  # of another size than the first chunk, unless rows go alone
    trials_inside = method is METHODS["noise_tunnel"]  # of the method that it runs
    assert max(sizes) <= (max(size, 2) if trials_inside else size)


def test_the_batch_size_is_used() -> None:
    model = Small(10**6)
    integrated_gradients(model, X, target=0, n_steps=20, batch_size=32)
    assert model.seen.count(32) >= 6 * 20 // 32


def test_automatic_sizes() -> None:
    batches = Batches("auto", CPU)
    assert batches.chunk() == 8
    batches.measured(None)
    assert batches.chunk() == 8  # nothing is known yet
    batches.measured(row_bytes=1 << 20, largest=1 << 10)
    assert batches.chunk() == 256  # 256 MB
    assert batches.chunk(share=10) == 25
    batches.measured(row_bytes=1)
    assert batches.chunk() == 256  # settled
    tiny = Batches("auto", CPU)
    tiny.measured(row_bytes=1)
    assert tiny.chunk() == 4096
    fixed = Batches(5, CPU)
    fixed.measured(1)
    assert fixed.chunk() == 5
    assert fixed.chunk(share=100) == 1
    huge = Batches("auto", CPU)
    huge.measured(1 << 40, 1 << 40)
    assert huge.chunk() == 1


@pytest.mark.parametrize(("row_bytes", "first"), [(1, 64), (1 << 15, 64), (1 << 17, 16), (1 << 20, 8)])
def test_an_automatic_size_is_open_while_more_rows_wait_than_the_first_call_takes(
    row_bytes: int, first: int
) -> None:
    for rows, more, expected in ((first, False, False), (first + 1, False, True), (1, True, True)):
        batches = Batches("auto", CPU, row_bytes=row_bytes)
        assert batches.chunk() == first
        batches.expect(rows, more)
        assert batches.open is expected
        batches.measured(1 << 20)
        assert not batches.open
    fixed = Batches(2, CPU)
    fixed.expect(99)
    assert not fixed.open


@methods
def test_an_automatic_chunk_is_full_from_the_start(method: Any) -> None:
    """The trial measures: there is no smaller first chunk, and no more than one smaller at the end of a run."""
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model = Small(10**6, nn.Sequential(nn.Linear(5, 2**15), nn.Linear(2**15, 3)).double())
    method(model, x, target=1)
    assert model.seen[:2] == [2, 40]


def test_spans_come_again_in_halves() -> None:
    """What was done stays done; the size that fitted is kept for what follows."""
    batches, rows = Batches(8, CPU), []
    for span in batches.spans(19):
        with span:
            if span.stop - span.start > 3:
                raise torch.OutOfMemoryError("no room")
            rows.append((span.start, span.stop))
        assert span.done is (span.stop - span.start <= 3)
    assert rows == [(start, start + 2) for start in range(0, 18, 2)] + [(18, 19)]
    assert batches.rows == 2


def test_errors_inside_a_span_go_on_unless_fewer_rows_may_mend_them() -> None:
    def fail(size: int, error: BaseException) -> None:
        for span in Batches(size, CPU).spans(4):
            with span:
                raise error

    for error in (ValueError("wrong"), KeyboardInterrupt(), torch.OutOfMemoryError("one row")):
        with pytest.raises(type(error)):
            fail(1, error)
    with pytest.raises(torch.OutOfMemoryError, match="in halves"):
        fail(4, torch.OutOfMemoryError("in halves, down to one"))


def test_spans_of_rows_that_stand_for_several_or_for_less() -> None:
    def sizes(total: int, **options: Any) -> list[int]:
        return [_through(span) for span in Batches(12, CPU).spans(total, **options)]

    assert sizes(30) == [12, 12, 6]
    assert sizes(30, share=lambda: 4) == [3] * 10
    assert sizes(30, share=lambda: 100) == [1] * 30
    assert sizes(30, light=2) == [24, 6]
    shares = iter(
        [1, 6, 6, 6, 6, 6, 6, 6, 6, 6]
    )  # as when the first chunk settles how targets are pulled back
    assert sizes(16, share=lambda: next(shares)) == [12, 2, 2]


def _through(span: Span) -> int:
    with span:
        return span.stop - span.start


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


def test_sums_are_kept_with_the_model_if_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU no chunk waits for its copy then; on a CPU there is nothing to choose."""

    class Card:
        total_memory = 800

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card)
    gpu = Batches("auto", torch.device("cuda"))
    assert gpu.sums_at(CPU, 100).type == "cuda"
    assert gpu.sums_at(CPU, 101).type == "cpu"
    assert Batches("auto", CPU).sums_at(CPU, 1).type == "cpu"
