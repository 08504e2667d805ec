"""What torch.func cannot trace goes through plain autograd, and a gradient that is cut is an error."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attrib.engine.gradient.pullback import by_autograd, by_forward_mode, by_func, cut_inputs
from attrib.functional import integrated_gradients, saliency, smooth_grad
from attrib.testing import untouched

SEED = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, 6, generator=SEED)


class Cube(torch.autograd.Function):
    """A function in the old style: forward has a context, there is no setup_context."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.head = kind(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


def hooked(register: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
    seen: list[Any] = []
    getattr(model[1], register)(lambda module, *given: seen.append(len(given)))
    return model


def cubed() -> Any:
    layer = nn.Linear(6, 3)
    return lambda x: Cube.apply(layer(x).sum(1))


def build(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {
            "lstm": lambda: Recurrent(nn.LSTM),
            "gru": lambda: Recurrent(nn.GRU),
            "rnn": lambda: Recurrent(nn.RNN),
            "old-style function": cubed,
            "reentrant checkpoint": lambda: Checkpointed(True),
            "checkpoint": lambda: Checkpointed(False),
            "full backward hook": lambda: hooked("register_full_backward_hook"),
            "full backward pre-hook": lambda: hooked("register_full_backward_pre_hook"),
        }[name]()


UNTRACEABLE = ["lstm", "old-style function", "full backward hook", "full backward pre-hook"]
PERHAPS = ["rnn", "gru", "checkpoint"]  # depends on the version of torch


def plain(model: Any, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", UNTRACEABLE + PERHAPS)
def test_values_are_those_of_plain_autograd(name: str) -> None:
    model = build(name)
    expected = plain(model, X, 1)
    with untouched(model, X):
        found = saliency.explain(model, X, target=1, absolute=False, batch_size=2)
    torch.testing.assert_close(found.attribution, expected, rtol=1e-5, atol=1e-7)
    if name in UNTRACEABLE:
        assert found.engine == "autograd"


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", UNTRACEABLE + PERHAPS)
def test_all_targets_of_what_cannot_be_traced(name: str) -> None:
    model = build(name)
    found = integrated_gradients(model, X, targets="all", n_steps=5)
    for k in range(3):
        torch.testing.assert_close(
            found[k], integrated_gradients(model, X, target=k, n_steps=5), rtol=1e-5, atol=1e-6
        )


def test_a_reentrant_checkpoint_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="use_reentrant=False"):  # torch's own words
        saliency(build("reentrant checkpoint"), X, target=0)


@pytest.mark.parametrize("method", [saliency, smooth_grad])
def test_the_engine_is_recorded(method: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    assert method.explain(model, X, target=0).engine == "func"
    assert method.explain(model, X, target=0, engine="autograd").engine == "autograd"


def test_the_error_of_a_broken_model_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        saliency(nn.Linear(7, 2), X, target=0)


def test_few_inputs_and_many_outputs_go_forward() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 40)).double()
    x = torch.randn(5, 3, generator=SEED, dtype=torch.float64)
    for method in (saliency, smooth_grad, integrated_gradients):
        found = method.explain(model, x, targets="all", batch_size=2)
        by_reverse = method.explain(model, x, targets="all", engine="func")
        assert found.engine == "forward"
        assert by_reverse.engine == "func"
        torch.testing.assert_close(found.attribution, by_reverse.attribution, rtol=1e-9, atol=1e-12)


def test_several_inputs_go_forward() -> None:
    weights = torch.randn(5, 30, generator=SEED, dtype=torch.float64)

    def model(a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(torch.cat([a, b.flatten(1)], 1)) @ weights

    x = (torch.randn(4, 1, generator=SEED).double(), torch.randn(4, 2, 2, generator=SEED).double())
    found = saliency.explain(model, x, targets="all", batch_size=2)
    assert found.engine == "forward"
    expected = saliency(model, x, targets="all", engine="autograd")
    for a, b in zip(found.attribution, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_where_forward_mode_fails_it_goes_back() -> None:
    layer = nn.Linear(2, 6)
    found = saliency.explain(lambda x: Cube.apply(layer(x)), X[:, 0, :2], targets="all")
    assert found.engine in ("func", "autograd")
    expected = torch.stack([plain(lambda x: Cube.apply(layer(x)), X[:, 0, :2], k).abs() for k in range(6)])
    torch.testing.assert_close(found.attribution, expected)


LAYER = nn.Linear(6, 2)


def under_no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return LAYER(x[:, 0])


CUT = {
    "no_grad": under_no_grad,
    "detach": lambda x: LAYER(x[:, 0].detach()),
    "round": lambda x: x[:, 0].long().float(),
    "compare": lambda x: (x[:, 0] > 0).float(),
    "argmax": lambda x: LAYER.weight.T[x.argmax(2)[:, 0]],
    "numpy": lambda x: torch.from_numpy(x.detach().numpy()).sum(1),
    "copy": lambda x: torch.tensor(x[:, 0].tolist()),
}


@pytest.mark.filterwarnings("ignore:.*torch.tensor")
@pytest.mark.parametrize("engine", ["auto", "autograd"])
@pytest.mark.parametrize("method", [saliency, integrated_gradients, smooth_grad])
@pytest.mark.parametrize("name", CUT)
def test_a_cut_gradient_is_an_error(name: str, method: Any, engine: str) -> None:
    with pytest.raises(ValueError, match=r"`model` cuts the gradient:.* no_grad, detach, rounding"):
        method(CUT[name], X, target=0, engine=engine)


def test_the_input_that_is_cut_is_named() -> None:
    with pytest.raises(ValueError, match="cuts the gradient of input 1:"):
        saliency(lambda a, b: a[:, 0] + b.detach()[:, 0], (X, X), target=0)


@pytest.mark.parametrize(
    "model",
    [lambda x: 0 * x[:, 0], lambda x: torch.ones(len(x), 6), lambda x: torch.relu(x[:, 0] - 100), lambda x: x[:, 0] * 0 + 3],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_a_gradient_that_is_zero_is_no_error(model: Any, engine: str) -> None:
    assert not saliency(model, X, target=0, engine=engine).any()


def test_an_input_that_is_not_used_is_no_error() -> None:
    a, b = saliency(lambda a, b: a[:, 0], (X, X), target=0)
    assert a.any()
    assert not b.any()


class Transformed(nn.Module):
    """Linear layers on (rows, places, features), one of them on a view that does not lie in order."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(4, 3, bias=False)
        self.three = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x)).transpose(1, 2)
        return torch.cat([self.two(h), self.three(h)], 2).sum(1)


@pytest.mark.parametrize("engine", ["func", "autograd"])
def test_linear_layers_on_places(engine: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Transformed().double()
    x = X.double()
    with untouched(model, x):
        found = saliency(model, x, targets="all", absolute=False, engine=engine)
    torch.testing.assert_close(found, torch.stack([plain(model, x, k) for k in range(5)]))


def test_gradients_that_are_not_copied_are_nobody_elses() -> None:
    weight = torch.randn(6, 2, generator=SEED)

    def f(a: Tensor, b: Tensor) -> Tensor:
        return (a + b)[:, 0] @ weight

    a, b = saliency(f, (X, X.clone()), targets="all", absolute=False)
    kept, before = b.clone(), weight.clone()
    a.zero_()
    assert torch.equal(b, kept)
    assert torch.equal(weight, before)


def test_all_targets_of_a_dense_network_go_back_together_from_the_first_call_on() -> None:
    seen = []

    class Seen(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            seen.append(1)
            return g

    wide = nn.Linear(6, 4000)
    last = nn.Linear(4000, 9)
    saliency(lambda x: last(Seen.apply(wide(x[:, 0]))), X, targets="all", engine="func")
    assert len(seen) == 1


def test_pullbacks_agree() -> None:
    def f(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(a * b).sum(1), a.sin().sum(1), b.prod(1)], 1)

    rows = tuple(torch.randn(2, 3, generator=SEED, dtype=torch.float64) for _ in range(2))
    cotangents = torch.eye(3, dtype=torch.float64)[:, None].expand(3, 2, 3)
    y, pull = by_func(f, rows)
    y2, pull2 = by_autograd(f, rows)
    y3, forward = by_forward_mode(f, rows)
    first = pull(cotangents[:1], False)  # the graph stays for the rest
    assert [g.shape for g in first] == [(1, 2, 3)] * 2
    assert all(torch.equal(a, b) for a, b in zip(first, pull2(cotangents[:1], False), strict=True))
    assert torch.equal(y, y2)
    torch.testing.assert_close(y, y3)
    for j, (g, g2) in enumerate(zip(pull(cotangents, True), pull2(cotangents, True), strict=True)):
        torch.testing.assert_close(g, g2)
        torch.testing.assert_close(forward[j].permute(2, 1, 0), g)
    assert cut_inputs(f, rows) == []
    assert cut_inputs(lambda a, b: a.detach() * b, rows) == [0]
