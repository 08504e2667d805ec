"""Saliency and input x gradient against their definitions."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from attrib.functional import gradient_shap, input_x_gradient, integrated_gradients, saliency, smooth_grad
from attrib.testing import specimen

X = torch.tensor([[3.0, -2.0], [0.5, 1.0]])
W = torch.tensor([[1.0, 0.0, 2.0], [-2.0, 4.0, 0.0]])


def linear(x: Tensor) -> Tensor:
    return x @ W


def test_of_a_linear_model() -> None:
    assert torch.equal(saliency(linear, X, target=0, absolute=False), W[:, 0].expand(2, 2))
    assert torch.equal(saliency(linear, X, target=0), W[:, 0].abs().expand(2, 2))
    assert torch.equal(input_x_gradient(linear, X, target=0), X * W[:, 0])
    assert torch.equal(input_x_gradient(linear, X, targets="all"), X * W.T[:, None])


def test_of_a_function_of_the_output() -> None:
    def margin(y: Tensor) -> Tensor:
        return (y[:, 0] - y[:, 1]) ** 2

    y = linear(X)
    expected = 2 * (y[:, 0] - y[:, 1])[:, None] * (W[:, 0] - W[:, 1])
    torch.testing.assert_close(saliency(linear, X, target=margin, absolute=False), expected)


def test_logits_are_explained_not_probabilities() -> None:
    found = saliency.explain(linear, X, target=1)
    assert torch.equal(found.prediction, linear(X)[:, 1])


def test_what_else_is_known() -> None:
    found = input_x_gradient.explain(linear, X, targets=[2, "b"], classes=["a", "b", "c"])
    assert found.target_labels == ["c", "b"]
    assert found.target.tolist() == [[2, 2], [1, 1]]
    assert torch.equal(found.prediction, linear(X)[:, [2, 1]].T)
    assert (found.engine, found.evaluations, found.delta) == ("func", 2, None)


@pytest.mark.parametrize("kind", ["mlp", "attention", "lstm"])
def test_calls_at_the_same_time_on_one_model(kind: str) -> None:
    s = specimen(kind, 0, n=6, dtype=torch.float64)
    work = [
        lambda: saliency(s.f, s.x, target=0),
        lambda: integrated_gradients(s.f, s.x, target=1, n_steps=20, batch_size=7),
        lambda: smooth_grad(s.f, s.x, targets="all", n_samples=5),
        lambda: gradient_shap(s.f, s.x, baselines=s.x[:3], target=2, n_samples=9),
    ]
    expected = [w() for w in work]
    start = threading.Barrier(4)

    def run(k: int) -> Tensor:
        start.wait()
        for _ in range(5):
            found = work[k]()
        return found

    with ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(run, range(4)), expected, strict=True):
            torch.testing.assert_close(found, one, rtol=1e-9, atol=1e-12)
