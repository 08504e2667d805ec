"""Any callable as a function of rows: what is accepted, what is refused, and that nothing is left changed."""

import copy
import io
import itertools
import pickle
import random
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.model.function import Function, one_tensor
from attrib.engine.model.parameters import device_of, dtype_of, modules
from attrib.functional import (
    deep_lift,
    feature_ablation,
    gradient_shap,
    integrated_gradients,
    predict,
    saliency,
    smooth_grad,
)
from attrib.testing import untouched

X = torch.linspace(-1, 1, 12).view(4, 3)
METHODS = [saliency, integrated_gradients, deep_lift, feature_ablation]
OTHER_OUTPUTS = "other outputs when the same rows are called again"
GENERATOR, COUNT, BUFFER = torch.Generator().manual_seed(0), itertools.count(1), torch.zeros(())
KERNEL = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0))


def _of_a_seed(made: Any, seed: int = 0) -> Tensor:
    """The same numbers each time, and the generator put back: still, a row's depend on its place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
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
        (lambda x: F.batch_norm(x, None, None, training=True), "mixes samples.*statistics of the batch"),
        (
            lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3), None, None, True),
            "mixes samples.*statistics of the batch",
        ),
        (
            lambda x: torch.ops.aten.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
            "mixes samples.*statistics of the batch",
        ),
        (
            lambda x: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
            "mixes samples.*statistics of the batch",
        ),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "draws random numbers"),
        (lambda x: _of_a_seed(lambda: x + torch.randn_like(x)), "mixes samples"),
        (lambda x: _of_a_seed(lambda: F.dropout(x, 0.5)), "mixes samples"),
        (lambda x: _of_a_seed(lambda: nn.Dropout1d(0.5)(x), 4), "mixes samples"),
        (lambda x: _of_a_seed(lambda: x + torch.empty_like(x).normal_()), "mixes samples"),
        (lambda x: x + torch.rand(3, generator=GENERATOR), OTHER_OUTPUTS),
        (lambda x: x + torch.from_numpy(np.random.default_rng().random(3, "float32")), OTHER_OUTPUTS),
        (lambda x: x * float(np.random.normal()), OTHER_OUTPUTS),  # noqa: NPY002
        (lambda x: x * random.random(), OTHER_OUTPUTS),
        (lambda x: x * next(COUNT), OTHER_OUTPUTS),
        (lambda x: x * BUFFER.add_(1.0), OTHER_OUTPUTS),
        (torch.jit.script(_drops), "draws random numbers"),
    ],
)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_functions_that_draw_or_use_the_batch_are_refused(method: Any, model: Any, text: str) -> None:
    state = torch.get_rng_state()
    for batch_size in ("auto", 2) if text.startswith("mixes samples") else ("auto", 2, 1):
        with pytest.raises(ValueError, match=text):
            method(model, X, target=0, batch_size=batch_size)
    assert torch.equal(torch.get_rng_state(), state)


class CallsMatter(nn.Module):
    """A buffer that every call changes, and that the output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Remembers(nn.Module):
    """An attribute that every call changes."""

    last: Any = None

    def forward(self, x: Tensor) -> Tensor:
        before, self.last = self.last, 2 + float(x.detach().abs().sum())
        return x * (before or 1.0)


@pytest.mark.parametrize("batch_size", ["auto", 1, 2])
@pytest.mark.parametrize("build", [CallsMatter, Remembers])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_modules_whose_calls_change_the_next_output_are_refused(
    method: Any, build: Any, batch_size: Any
) -> None:
    model = build()
    with pytest.raises(
        ValueError, match=r"other outputs when the same rows are called again.*counts its calls"
    ):
        method(model, X, target=0, batch_size=batch_size)
    assert build is Remembers or model.calls == 0


class LayerDrop(nn.Module):
    """Draws, also in evaluation mode, where the draw is not used (Wav2Vec2, HuBERT)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        skip = (torch.rand([]) < 0.1) and self.training
        return self.o(F.pad(x, (0, 1)) if skip else self.a(x).tanh())


def _standardised(x: Tensor) -> Tensor:
    """Weights normalised by batch norm, their channels as rows (BiT, NFNet)."""
    w = F.batch_norm(KERNEL.reshape(1, 4, -1), None, None, training=True, momentum=0.0).view_as(KERNEL)
    return F.conv1d(x[:, None], w).flatten(1)


def _of_unit_range(x: Tensor) -> Tensor:
    assert float(x.detach().abs().max()) <= 1.0
    return x.tanh()


def _by_batch_norm(x: Tensor) -> Tensor:
    return F.batch_norm(x, torch.zeros(3), torch.ones(3))


SOUND: dict[str, tuple[Any, Tensor]] = {  # what each is by definition has no draw and no batch in it
    "a seeded draw for all rows": (
        lambda x: x + torch.rand(3, generator=torch.Generator().manual_seed(1)),
        X,
    ),
    "a draw that is not used": (LayerDrop().eval(), X),
    "a draw times zero": (lambda x: x.tanh() + 0.0 * torch.randn_like(x), X),
    "a draw of numpy that is not used": (lambda x: (np.random.rand(), x.tanh())[1], X),  # noqa: NPY002
    "weights by batch norm": (_standardised, X),
    "instance norm": (lambda x: F.instance_norm(x[:, None])[:, 0] * torch.arange(3.0), X),
    "group norm": (lambda x: F.group_norm(x, 1).tanh(), X),
    "attention inside of samples": (
        lambda x: F.scaled_dot_product_attention(x, x, x).sum(1),
        X.view(2, 2, 3),
    ),
    "dropout that is off": (lambda x: F.dropout(x.tanh(), 0.5, training=False), X),
    "batch norm with statistics": (lambda x: _by_batch_norm(x).tanh(), X),
    "RReLU in evaluation mode": (nn.Sequential(nn.Linear(3, 2), nn.RReLU()).eval(), X),
    "the range of the input": (_of_unit_range, X),
}


@pytest.mark.parametrize("batch_size", ["auto", 1, 2, 5])
@pytest.mark.parametrize("name", SOUND)
def test_sound_functions_are_explained(name: str, batch_size: Any) -> None:
    model, x = SOUND[name]
    expected = []
    for row in x:  # each by itself, without any check
        leaf = row[None].clone().requires_grad_()
        expected.append(torch.autograd.grad(model(leaf)[0, 1], leaf)[0])
    state = torch.get_rng_state()
    found = saliency(model, x, target=1, absolute=False, batch_size=batch_size)
    torch.testing.assert_close(found, torch.cat(expected))
    path = integrated_gradients.explain(model, x, target=1, baselines=0.1, batch_size=batch_size)
    assert name.startswith("RReLU") or float(path.delta.abs().max()) < 1e-4
    if name not in (
        "a draw that is not used",
        "the range of the input",
    ):  # deep_lift records no values in Python
        replay = deep_lift.explain(model, x, target=1, baselines=0.1, batch_size=batch_size)
        assert float(replay.delta.abs().max()) < 1e-6 * (1 + float(replay.attribution.abs().sum()))
    if "draw" not in name:
        assert torch.equal(torch.get_rng_state(), state)


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


class _Estimator:
    def predict_proba(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (3, "`model` must be callable, got int$"),
        ({"weight": X}, "got dict; build the network and load these weights into it"),
        ("model.pt", "got 'model.pt'; build the network and load the weights of this file into it"),
        (_Estimator(), "got _Estimator; pass its method predict_proba"),
        (nn.ReLU, r"got the class ReLU; pass an instance, ReLU\(...\)"),
    ],
)
def test_something_that_is_no_model(model: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        saliency(model, X)


def test_one_sample_without_a_batch_dim() -> None:
    with pytest.raises(ValueError, match=r"for 3 rows, expected .* give it a batch dim: x\[None\]"):
        saliency(nn.Linear(3, 2), torch.ones(3), target=0)


def test_sparse_tensors() -> None:
    with pytest.raises(TypeError, match=r"`x` is a sparse tensor; pass x.to_dense\(\)"):
        saliency(nn.Linear(3, 2), torch.eye(3).to_sparse(), target=0)


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


def _check(function: Function, x: Tensor = X, alone: bool = False, measure: bool = False) -> None:
    function.check((x[[0, -1]],), len(x), alone=alone, measure=measure, padded=len(x))


def test_rows_are_counted() -> None:
    function = Function(nn.Linear(3, 5))
    _check(function)
    assert function.rows == 0  # the trial is nobody's row
    function(X)
    function(X[:1])
    assert function.rows == 5


@pytest.mark.parametrize("alone", [False, True])
def test_rows_are_measured_in_the_trial_where_that_is_needed(alone: bool) -> None:
    function = Function(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(5, 1)))
    _check(function, alone=alone)
    assert function.knowledge.row_bytes is None
    _check(function, alone=alone, measure=True)
    assert function.knowledge.row_bytes == (5 + 5 + 1) * 4
    assert function.knowledge.largest == 5 * 4
    assert not function.knowledge.sizes_fixed  # it took the trial: rows may be added to its calls
    assert not function.knowledge.checked  # before the first call


def test_one_trial_then_one_call_and_nothing_more() -> None:
    sizes: list[int] = []

    def model(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return (x**2).sum(1)

    function = Function(model)
    _check(function, measure=True)
    assert torch.equal(function(X), (X**2).sum(1))
    assert sizes == [2, 4]
    assert function.knowledge.checked
    assert function.is_known(measure=True)
    function(X)
    assert sizes == [2, 4, 4]
    sizes.clear()
    alone = Function(model)
    _check(alone, X[:1])
    alone(X[:1])
    assert sizes == [3, 1]


def test_a_model_that_takes_one_size_only_is_checked_within_it() -> None:
    def sized(x: Tensor) -> Tensor:
        if len(x) != 4:
            raise RuntimeError("exported for four rows")
        return (x**2).sum(1)

    function = Function(sized)
    _check(function)
    assert function.knowledge.sizes_fixed
    assert not function.knowledge.checked
    function(X)
    mixing = Function(lambda x: sized(x - x.mean(0)))
    _check(mixing)
    with pytest.raises(ValueError, match=r"mixes samples.*when other rows stand beside it"):
        mixing(X)


@pytest.mark.parametrize(
    "method",
    [
        saliency, integrated_gradients, partial(integrated_gradients, rtol=1e-3), smooth_grad, deep_lift,
        feature_ablation, partial(gradient_shap, baselines=torch.zeros(4, 3)), predict,
    ],
)  # fmt: skip
def test_an_export_of_one_batch_size(method: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    x = torch.rand(8, 3)
    program = torch.export.export(net, (x[:4],)).module()
    options = {} if method is predict else {"target": 0}
    found, expected = method(program, x, batch_size=4, **options), method(net, x, **options)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError) as caught:
        method(program, x[:3], batch_size=3, **options)
    assert any(
        "exported for 4 rows alone: export it with a batch of any size" in note
        for note in caught.value.__notes__
    )


def test_a_model_that_takes_one_row_only_has_nothing_to_be_checked() -> None:
    def sized(x: Tensor) -> Tensor:
        assert len(x) == 1
        return (x**2).sum(1)

    function = Function(sized)
    _check(function, X[:1])
    assert function.knowledge.sizes_fixed
    assert function.knowledge.checked
    assert torch.equal(function(X[:1]), (X[:1] ** 2).sum(1))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_rows_that_depend_on_each_other_alone(method: Any) -> None:
    """The documented way out: every row by itself, and a note that says so."""
    model, own = lambda x: (x * x.sum(0))[:, :2], lambda x: (x * x)[:, :2]
    with pytest.raises(ValueError, match="mixes samples"):
        method(model, X, target=0)
    found, expected = (method.explain(f, X, target=0, batch_size=1) for f in (model, own))
    torch.testing.assert_close(found.attribution, expected.attribution)
    assert found.notes["rows"] == "the model's rows depend on each other; each was called alone"
    assert "rows" not in (expected.notes or {})


def test_which_change_of_the_batch_changes_a_row_is_said() -> None:
    weights = torch.arange(1.0, 9.0)[:, None]
    for model, change in (
        (lambda x: x * x.mean(0), "when other rows stand beside it"),
        (lambda x: x * weights[: len(x)], "when it stands at another place in the batch"),
        (lambda x: x * len(x), "in a batch of another size"),
    ):
        with pytest.raises(
            ValueError, match=rf"mixes samples: the output of the first row changes by [\d.e+-]+ .*{change}"
        ):
            saliency(model, X, target=0)


def _normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def _exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()


@pytest.mark.filterwarnings("ignore:.torch.jit", "ignore::torch.jit.TracerWarning")
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


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_program_that_looks_at_the_range_of_its_input() -> None:
    x = torch.rand(4, 3)
    program = torch.jit.script(_OfUnitRange().eval())
    torch.testing.assert_close(predict(program, x), program(x))
    with pytest.raises(ValueError, match="mixes samples"):
        predict(torch.jit.script(_OfUnitRange().train()), x)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_rounding_of_one_row_and_of_two_is_not_taken_for_mixing() -> None:
    """One row alone takes another kernel than two, and little is left but rounding."""
    torch.manual_seed(0)
    program = torch.jit.script(_Cancels().eval())
    for x in torch.rand(8, 1, 4):
        torch.testing.assert_close(predict(program, x), program(x))


def test_a_draw_beside_the_model_is_not_taken_for_its_own() -> None:
    """The default generator is everybody's: where it moved, the outputs are looked at before a model is refused."""
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) == 1:
            torch.default_generator.manual_seed(5)  # as if by another thread
        return (x**2).sum(1)

    assert torch.equal(predict(model, X), (X**2).sum(1))
    assert calls == [2, 2, 2, 4]  # the trial, with draws at either end, the chunk


class Cached(nn.Module):
    """Keeps a table that its first call makes from its input (ESM's rotary tables, LeViT's biases)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(3, 3), None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(3.0).cos() * torch.ones_like(x[0])
        return self.layer(x) * self.table


@pytest.mark.parametrize("batch_size", ["auto", 1])
@pytest.mark.parametrize("engine", ["auto", "func", "autograd"])
@pytest.mark.parametrize("x", [X, X[:1]], ids=len)
def test_a_table_that_the_first_pass_of_all_makes_is_a_plain_one(
    x: Tensor, engine: str, batch_size: Any
) -> None:
    model = Cached()
    found = saliency(model, x, target=1, absolute=False, engine=engine, batch_size=batch_size)
    torch.testing.assert_close(found, (model.layer.weight[1] * np.cos(1)).detach().expand(len(x), 3))
    assert type(model.table) is Tensor
    assert not model.table.requires_grad
    torch.testing.assert_close(copy.deepcopy(model).table, torch.arange(3.0).cos())
    torch.save(model.state_dict(), io.BytesIO())
    pickle.dumps(model)
    for _ in range(2):
        model(x).sum().backward()  # it trains as before


def test_a_table_of_a_model_whose_first_method_is_another() -> None:
    for method in METHODS:
        model = Cached()
        method(model, X, target=0)
        assert torch.equal(copy.deepcopy(model).table, torch.arange(3.0).cos())


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
        with pytest.raises(TypeError, match=r"`x` is torch.float64"):
            saliency(model, x, target=0)
    layer = torch.nn.Linear(3, 2)
    assert Function(lambda x: layer(x.float()))(x).shape == (2, 2)


def test_memory_of_recurrent_layers_is_that_of_a_pass_back() -> None:
    """What torch's kernels keep for the pass back is most of what they take: forward alone, a row seems to take a tenth."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.LSTM(16, 32, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0].mean(1)

    torch.manual_seed(0)
    x, model = torch.randn(3, 100, 16), Net().eval()
    function = Function(model, (x,))
    function.check((x[[0, -1]],), 3, alone=False, measure=True, padded=3)
    kept = 0

    def keep(t: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if isinstance(t, torch.nn.Parameter) else t.nbytes
        return t

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(x.clone().requires_grad_())
    assert function.knowledge.row_bytes is not None
    assert function.knowledge.row_bytes > 0.8 * kept / 3
    assert not x.requires_grad
