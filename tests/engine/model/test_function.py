"""Any callable as a function of rows: what is accepted, what is refused, and that nothing is left changed."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.model.function import Function, one_tensor
from attrib.engine.model.parameters import device_of, dtype_of, modules
from attrib.functional import deep_lift, integrated_gradients, predict, saliency
from attrib.testing import untouched

X = torch.linspace(-1, 1, 12).view(4, 3)


def _of_a_seed(made: Any) -> Tensor:
    """The same numbers each time, and the generator put back: still, a row's would depend on the rows before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made()


def _drops(x: Tensor) -> Tensor:
    return torch.dropout(x, 0.5, True)


class Formula(nn.Module):
    def __init__(self, formula: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.formula = formula
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: Tensor) -> Any:
        return self.formula(self, *x)


def test_modules_are_found_through_partials_methods_closures_and_objects() -> None:
    layer = nn.Linear(3, 1)

    class Holder:
        def __init__(self) -> None:
            self.net = layer

        def __call__(self, x: Tensor) -> Tensor:
            return self.net(x)

        def other(self, x: Tensor) -> Tensor:
            return self.net(x)

    def closure(x: Tensor) -> Tensor:
        return layer(x)

    for model in (
        layer, closure, lambda x: closure(x), partial(closure), Holder(), Holder().other, layer.forward,
        partial(lambda f, x: f(x), layer),
    ):  # fmt: skip
        assert modules(model) == [layer], model
        assert device_of(model) == torch.device("cpu")
        assert dtype_of(model) == torch.float32
    assert modules(torch.sin) == []


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
        nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
        nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)),
        nn.Sequential(nn.Unflatten(1, (3, 1)), nn.LSTM(1, 2, 2, dropout=0.5)),
        nn.TransformerEncoderLayer(3, 1, 4, dropout=0.1),
    ],
    ids=["batch norm", "batch norm without statistics", "dropout", "lstm", "attention"],
)
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: lambda x: f(x), lambda f: partial(f)])
def test_modules_in_training_mode_are_refused(model: nn.Module, wrap: Any) -> None:
    with (
        untouched(model, X),
        pytest.raises(ValueError, match=r"`model` is not deterministic row by row.*model\.eval"),
    ):
        saliency(wrap(model), X, target=0)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0)),
        nn.Sequential(nn.Linear(3, 2), nn.ReLU()),
        nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)),
        nn.Sequential(nn.Unflatten(1, (1, 3)), nn.InstanceNorm1d(1), nn.Flatten()),
    ],
)
def test_training_mode_that_changes_nothing_is_accepted(model: nn.Module) -> None:
    model.train()
    with untouched(model, X):
        assert saliency(model, X, target=0).shape == X.shape
    assert model.training


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda x: F.dropout(x, 0.5), "draws random numbers"),
        (lambda x: x + torch.randn_like(x), "draws random numbers"),
        (lambda x: x * torch.rand(3), "draws random numbers"),
        (lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)), "draws random numbers"),
        (lambda x: F.batch_norm(x, None, None, training=True), "statistics of the batch"),
        (
            lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3), None, None, True),
            "statistics of the batch",
        ),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "draws random numbers"),
        (lambda x: x + torch.rand(3, generator=torch.Generator().manual_seed(1)), "draws random numbers"),
        (lambda x: _of_a_seed(lambda: x + torch.randn_like(x)), "draws random numbers"),
        (lambda x: _of_a_seed(lambda: F.dropout(x, 0.5)), "draws random numbers"),
        (lambda x: _of_a_seed(lambda: nn.Dropout1d(0.5)(x)), "draws random numbers"),
        (lambda x: _of_a_seed(lambda: x + torch.empty_like(x).normal_()), "draws random numbers"),
        (torch.jit.script(_drops), "draws random numbers"),
    ],
)
@pytest.mark.parametrize("method", [saliency, integrated_gradients, deep_lift])
def test_functions_that_draw_or_use_the_batch_are_refused(method: Any, model: Any, text: str) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=text):
        method(model, X, target=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3)),
        lambda x: F.scaled_dot_product_attention(x, x, x),
        lambda x: F.instance_norm(x[:, None])[:, 0],
        lambda x: F.group_norm(x, 1),
    ],
)
def test_functions_that_could_but_do_not_are_accepted(model: Any) -> None:
    assert saliency(model, X, target=0).shape == X.shape


def test_outputs_of_many_forms() -> None:
    y = X[:, :2]
    assert one_tensor(y, 4) is y
    assert one_tensor(SimpleNamespace(logits=y), 4) is y
    assert one_tensor({"logits": y, "loss": None}, 4) is y


@pytest.mark.parametrize(
    ("output", "error", "text"),
    [
        ((X, X), TypeError, r"returned a tuple.*lambda \*x: model\(\*x\)\[0\]"),
        ({"out": X}, TypeError, "returned a dict"),
        (None, TypeError, "returned a NoneType"),
        (X.sum(), ValueError, "every row must get its own output"),
        (X.T, ValueError, r"returned shape \(3, 4\) for 4 rows"),
        (X.argmax(1), TypeError, "return logits, not labels"),
    ],
)
def test_outputs_that_are_refused(output: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        saliency(lambda x: output, X, target=0)


def test_something_that_is_not_callable() -> None:
    with pytest.raises(TypeError, match="`model` must be callable, got dict"):
        saliency({}, X)


class Counting(nn.Module):
    """Counts its calls and its rows in buffers, and keeps a running mean of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean.mul_(0.9).add_(x.detach().mean(0))
        return self.layer(x)


@pytest.mark.parametrize("method", [saliency, integrated_gradients])
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_buffers_that_a_model_writes_are_put_back(method: Any, engine: str) -> None:
    model = Counting()
    model(X)
    with untouched(model, X):
        found = method(model, X, target=1, engine=engine, batch_size=2)
    assert model.calls == 1
    expected = method(model.layer, X, target=1)
    assert torch.allclose(found, expected)


def test_buffers_are_put_back_after_an_error() -> None:
    model = Counting()
    with untouched(model, X), pytest.raises(RuntimeError, match="in-place"):
        saliency(model, X, target=1, engine="func")  # torch.func does not let a model write to a buffer


def test_a_model_that_writes_to_its_input() -> None:
    def model(x: Tensor) -> Tensor:
        x *= 2
        return (x**2).sum(1)

    given = X.clone()
    found = saliency(model, given, absolute=False)
    assert torch.equal(given, X)
    assert torch.allclose(found, 8 * X)


def test_rows_are_counted_and_measured() -> None:
    function = Function(nn.Linear(3, 5))
    function(X)
    function(X[:1])
    assert function.rows == 5
    assert function.row_bytes == 5 * 4


def test_rows_are_measured_once_that_is_needed() -> None:
    wanted: list[bool] = []
    function = Function(nn.Linear(3, 5), lambda: bool(wanted))
    function(X)
    assert function.row_bytes is None
    wanted.append(True)
    function(X)
    assert function.row_bytes == 5 * 4


def _normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def _exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("made", [torch.jit.script, lambda m: torch.jit.trace(m, X), _exported])
def test_programs_that_use_the_batch_are_refused(made: Any) -> None:
    with pytest.raises(ValueError, match="mixes samples"):
        saliency(made(_normalised().train()), X, target=0)
    model = _normalised().eval()
    for x in (X, X[:1]):
        found = saliency(made(model), x, target=0)
        assert torch.allclose(found, saliency(model, x, target=0), atol=1e-6)


@pytest.mark.parametrize("rows", [2, 100])
def test_a_random_slope_is_fixed_in_evaluation_mode(rows: int) -> None:
    """Torch does not hand on an option that has its usual value: here, not to train."""
    x = torch.randn(rows, 3)
    model, fixed = nn.RReLU().eval(), nn.LeakyReLU((1 / 8 + 1 / 3) / 2)
    assert torch.equal(predict(model, x), fixed(x))
    for method in (saliency, deep_lift):
        torch.testing.assert_close(method(model, x, target=0), method(fixed, x, target=0))
        with pytest.raises(ValueError, match="draws random numbers"):
            method(nn.RReLU().train(), x, target=0)


class _OfUnitRange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.max()) <= 1.0
        return self.norm(self.layer(x))


class _Cancels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(400, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.repeat(1, 100) * 1e4
        return self.layer(wide) - self.layer(wide + 1e-3)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_that_looks_at_the_range_of_its_input() -> None:
    x = torch.rand(4, 3)
    assert predict(torch.jit.script(_OfUnitRange().eval()), x).shape == (4, 4)
    with pytest.raises(ValueError, match="mixes samples"):
        predict(torch.jit.script(_OfUnitRange().train()), x)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_rounding_of_one_row_and_of_two_is_not_taken_for_mixing() -> None:
    """One row alone takes another kernel than two, and little is left but rounding."""
    torch.manual_seed(0)
    program = torch.jit.script(_Cancels().eval())
    for x in torch.rand(8, 1, 4):
        assert predict(program, x).shape == (1, 3)


def test_a_draw_beside_the_model_is_not_taken_for_its_own() -> None:
    """The default generator is everybody's: what moved it is looked for op by op before a model is refused."""
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 1:
            torch.default_generator.manual_seed(5)  # as if by another thread
        return (x**2).sum(1)

    assert torch.equal(Function(model, lambda: False)(X), (X**2).sum(1))
    assert len(calls) == 2


def test_requires_grad_and_frozen_parameters_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    model[1].weight.grad = torch.ones(2, 2)
    with untouched(model, X):
        integrated_gradients(model, X, target=0)


def test_functions_without_a_module_of_their_own() -> None:
    scope: dict = {"__name__": None}
    exec("def f(x): return (x * x).sum(1)", scope)
    assert scope["f"].__module__ is None
    assert modules(scope["f"]) == []


def test_inputs_of_another_dtype_than_the_model() -> None:
    x = torch.ones(2, 3, dtype=torch.float64)
    for model in (
        torch.nn.Linear(3, 2),
        torch.nn.Sequential(torch.nn.Unflatten(1, (1, 3)), torch.nn.Conv1d(1, 1, 2)),
    ):
        with pytest.raises(
            TypeError, match=r"`x` is torch.float64, .* parameters are torch.float32; .*x.to\(torch.float32\)"
        ):
            Function(model)(x)
    layer = torch.nn.Linear(3, 2)
    assert Function(lambda x: layer(x.float()))(x).shape == (2, 2)
