"""Recurrent layers run without cuDNN where a backward pass follows, and only there; tested without a GPU by what is switched on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrib.engine.graph.modes import switched_off
from attrib.functional import deep_lift, integrated_gradients, occlusion, saliency

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.convolution, self.recurrent, self.out = (
            nn.Conv1d(4, 4, 1),
            kind(4, 6, batch_first=True),
            nn.Linear(6, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recurrent(self.convolution(x.mT).mT)[0][:, -1])


class Watch(TorchFunctionMode):
    """Notes for each call of some functions whether cuDNN is on and gradients are followed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, set[tuple[bool, bool]]] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("lstm", "gru", "rnn_tanh", "conv1d"):
            state = torch.is_grad_enabled(), torch.backends.cudnn.enabled
            self.calls.setdefault(name, set()).add(state)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(("kind", "name"), [(nn.LSTM, "lstm"), (nn.GRU, "gru"), (nn.RNN, "rnn_tanh")])
@pytest.mark.parametrize("method", [saliency, integrated_gradients])
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_gradients_go_around_cudnn(
    gpu: None, kind: type[nn.RNNBase], name: str, method: Any, engine: str
) -> None:
    watch, before = Watch(), torch.backends.cudnn.enabled
    net = Head(kind).eval()
    with watch:
        method(net, X, target=0, engine=engine)
    tracked = {on for grad, on in watch.calls[name] if grad}
    assert tracked == {False}
    assert {on for _, on in watch.calls["conv1d"]} == {True}
    assert torch.backends.cudnn.enabled == before


def test_forward_passes_keep_it(gpu: None) -> None:
    with Watch() as watch:
        occlusion(Head(nn.LSTM).eval(), X, target=0, window=(1, 4), path="dense")
    assert watch.calls["lstm"] == {(False, True), (True, False)}  # the latter measures memory


def test_scripts_run_without_it_as_a_whole(gpu: None) -> None:
    seen = []

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.jit.script(Head(nn.LSTM).eval())

        def forward(self, x: Tensor) -> Tensor:
            seen.append((torch.is_grad_enabled(), torch.backends.cudnn.enabled))
            return self.inner(x)

    saliency(Outer().eval(), X, target=0, engine="autograd")
    assert (True, False) in seen
    assert (True, True) not in seen


def test_an_error_puts_the_setting_back(gpu: None) -> None:
    net = Head(nn.LSTM).eval()
    with pytest.raises(RuntimeError):
        saliency(net, torch.zeros(2, 5, 3), target=0)
    assert torch.backends.cudnn.enabled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_same_numbers_as_on_the_cpu(kind: type[nn.RNNBase]) -> None:
    net = Head(kind).eval()
    for method in (saliency, integrated_gradients, deep_lift):
        expected = method(net.cpu(), X, target=0)
        torch.testing.assert_close(method(net.cuda(), X, target=0), expected, rtol=1e-3, atol=1e-5)


def test_the_last_thread_switches_it_on_again() -> None:
    """Each for itself, the first to leave would switch it on for the other, which would then leave it off."""
    enabled = lambda: torch.backends.cudnn.enabled
    first, second, states = switched_off("cudnn"), switched_off("cudnn", "mkldnn"), [enabled()]
    for step in (first.__enter__, second.__enter__, first.__exit__, second.__exit__):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
        states.append(enabled())
    assert states == [True, False, False, False, True]
    assert torch._C._get_mkldnn_enabled()
