"""What is learned of a model is used again, and forgotten as soon as the model is another."""

import copy
import pickle
from collections.abc import Callable
from enum import IntEnum
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.gradient import affine_first_layer as room
from attrib.engine.model.function import Function
from attrib.engine.model.prepared import Knowledge, digest, prepare
from attrib.functional import (
    deep_lift,
    feature_ablation,
    grad_cam,
    gradient_shap,
    integrated_gradients,
    noise_tunnel,
    predict,
    saliency,
    smooth_grad,
)
from attrib.testing import untouched

G = torch.Generator().manual_seed(0)
X = torch.rand(3, 6, generator=G) + 0.1
SIGNALS = torch.rand(3, 2, 9, generator=G) + 0.1


class Net(nn.Module):
    """A dense network, or one of convolutions, with a number, a buffer, an activation and a tensor of its own."""

    def __init__(self, convolutions: bool) -> None:
        super().__init__()
        self.calls: list[int] = []
        first = nn.Conv1d(2, 4, 3) if convolutions else nn.Linear(6, 4)
        self.first, self.act, self.norm = first, nn.LeakyReLU(0.1), nn.BatchNorm1d(4)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(4, 2)
        self.scale, self.between, self.table = 1.5, torch.tanh, torch.tensor([1.0, 2.0])
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.3, 0.3)
            self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        h = self.drop(self.norm(self.act(self.first(x) - 0.3)))
        h = self.between(h.mean(2) if h.ndim == 3 else h)
        return self.last(h) * self.scale * self.table.to(h)


def net(convolutions: bool) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net(convolutions).eval()


DENSE: dict[str, Any] = {
    "saliency": partial(saliency, absolute=False),
    "integrated_gradients": integrated_gradients,
    "smooth_grad": partial(smooth_grad, n_samples=6),
    "gradient_shap": partial(gradient_shap, baselines=torch.zeros(2, 6), n_samples=6),
    "deep_lift": deep_lift,
    "feature_ablation": feature_ablation,
    "noise_tunnel": partial(noise_tunnel, saliency, n_samples=3),
}
SPATIAL: dict[str, Any] = {
    "saliency of signals": partial(saliency, absolute=False),
    "deep_lift of signals": deep_lift,
    "feature_ablation of signals": feature_ablation,
    "grad_cam": partial(grad_cam, layer="first", relu=False),
    "grad_cam of auto": partial(grad_cam, relu=False),
}
METHODS = DENSE | SPATIAL


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small first layers are taken apart, too."""
    monkeypatch.setattr(room, "WIDE", 1)


def inputs(name: str) -> Tensor:
    return SIGNALS if name in SPATIAL else X


def known(prepared: Any, x: Tensor) -> Knowledge:
    """What a method that is called now would know."""
    return Function(prepared, (x,)).knowledge


# ------------------------------------------------------------------ unchanged


@pytest.mark.parametrize("batch_size", ["auto", 2])
@pytest.mark.parametrize("name", METHODS)
def test_an_unchanged_model_is_called_less_with_the_same_results(name: str, batch_size: Any) -> None:
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    expected = method(model, x, targets=[0, 1], batch_size=batch_size)
    calls = list(model.calls)
    prepared = prepare(model)
    for _ in range(3):
        model.calls.clear()
        with untouched(model.first, x):
            found = method(prepared, x, targets=[0, 1], batch_size=batch_size)
        torch.testing.assert_close(found, expected)
        first, calls = calls, list(model.calls)
        assert len(calls) <= len(first)
    assert calls == first  # of the second and the third time
    model.calls.clear()
    method(model, x, targets=[0, 1], batch_size=batch_size)
    assert len(calls) < len(model.calls)
    assert sum(calls) < sum(model.calls)


def test_what_one_method_learned_serves_the_others() -> None:
    model = net(False)
    prepared = prepare(model)
    saliency(prepared, X, target=0)
    assert model.calls == [2, 3]  # the trial, and the pass
    model.calls.clear()
    predict(prepared, X)
    saliency(prepared, X[:2], target=1)
    assert model.calls == [3, 2]
    model.calls.clear()
    saliency(copy.deepcopy(prepared), X, target=0)  # starts anew, with a model of its own
    assert model.calls == []
    saliency(prepare(model), X, target=0)
    assert model.calls == [2, 3]


def test_the_recording_and_the_first_layer_are_kept() -> None:
    model = net(False)
    prepared = prepare(model)
    first = deep_lift(prepared, X, target=0)
    integrated_gradients(prepared, X, target=0)
    knowledge = known(prepared, X)
    (graph,), layer = knowledge.graphs.values(), knowledge.first_layer
    assert layer is not None
    torch.testing.assert_close(deep_lift(prepared, X, target=0), first)
    torch.testing.assert_close(deep_lift(prepared, 2 * X, target=1), deep_lift(model, 2 * X, target=1))
    integrated_gradients(prepared, X + 1, target=1, baselines=0.5)
    again = known(prepared, X)
    assert list(again.graphs.values()) == [graph]
    assert again.first_layer is layer


def test_a_prepared_model_is_called_as_the_model_is() -> None:
    model = net(False)
    prepared = prepare(model)
    assert torch.equal(prepared(X), model(X))
    assert prepared.model is model
    assert prepare(prepared) is prepared
    again = pickle.loads(pickle.dumps(prepared))
    assert torch.equal(again(X), model(X))
    assert again.model is not model
    with pytest.raises(TypeError, match="`f` must be callable, got dict; build the network"):
        prepare({})  # type: ignore[arg-type]


def test_several_methods_of_targets_of_ones_own() -> None:
    """A recording with a function of the output in it is of that function only."""
    prepared, model = prepare(net(False)), net(False)
    for target in (0, lambda y: y[:, 0] * y[:, 1], lambda y: y.sum(1) ** 2, 1, "predicted"):
        for _ in range(2):
            torch.testing.assert_close(
                deep_lift(prepared, X, target=target), deep_lift(model, X, target=target)
            )


# ------------------------------------------------------------------ changed


def optimizer_step(model: Net) -> None:
    x = SIGNALS if isinstance(model.first, nn.Conv1d) else X
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    model(x).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def other_weights(model: Net) -> None:
    state = {k: v * 0.7 + 0.1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)


def by_data(model: Net) -> None:
    version = model.last.weight._version
    model.last.weight.data[0, 0] += 0.5
    assert model.last.weight._version == version  # nothing told of it


def by_numpy(model: Net) -> None:
    model.first.weight.detach().numpy()[0] *= 2.0


def exchanged_values(model: Net) -> None:
    w = model.first.weight.data
    w[[0, 1]] = w[[1, 0]].clone()  # the sum is the same


def set_buffer(model: Net) -> None:
    model.norm.running_mean.add_(0.3)


def new_buffer(model: Net) -> None:
    model.norm.running_var = model.norm.running_var * 2


def set_number(model: Net) -> None:
    model.act.negative_slope = 0.9


def own_number(model: Net) -> None:
    model.scale = -0.5


def other_module(model: Net) -> None:
    model.act = nn.Tanh()


def other_layer(model: Net) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model.first = nn.Conv1d(2, 4, 5) if isinstance(model.first, nn.Conv1d) else nn.Linear(6, 4)


def other_function(model: Net) -> None:
    model.between = torch.sigmoid


def written_tensor(model: Net) -> None:
    model.table += 1


def other_tensor(model: Net) -> None:
    model.table = torch.tensor([3.0, -1.0])


def frozen_weights(model: Net) -> None:
    model.first.weight = nn.Parameter(model.first.weight.detach() * 2, requires_grad=False)


def hook(model: Net) -> None:
    model.act.register_forward_hook(lambda m, args, y: y * 2)


def hook_before(model: Net) -> None:
    model.first.register_forward_pre_hook(lambda m, args: (args[0] ** 2,))


def no_bias(model: Net) -> None:
    model.first.bias = None


CHANGES = {
    change.__name__: change
    for change in (
        optimizer_step, other_weights, by_data, by_numpy, exchanged_values, set_buffer, new_buffer, set_number, own_number,
        other_module, other_layer, other_function, written_tensor, other_tensor, frozen_weights, hook, hook_before, no_bias,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_explained_as_it_is(change: str, name: str) -> None:
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    prepared = prepare(model)
    before = method(prepared, x, targets=[0, 1])
    for kind in METHODS:  # all that can be learned
        if (kind in SPATIAL) is (name in SPATIAL):
            METHODS[kind](prepared, x, target=0)
    learned = known(prepared, x)
    assert learned.checked
    CHANGES[change](model)
    assert known(prepared, x) is not learned
    found = method(prepared, x, targets=[0, 1])
    torch.testing.assert_close(found, method(model, x, targets=[0, 1]))
    assert not torch.allclose(found, before)
    torch.testing.assert_close(method(prepared, x, targets=[0, 1]), found)


class Scaled(nn.Module):
    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * float(self.scale[0] if isinstance(self.scale, tuple) else self.scale)).sum(
            1, keepdim=True
        )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.float64(2), np.float64(3)),
        (np.int64(2), np.int64(3)),
        (torch.Size([2]), torch.Size([3])),
        (IntEnum("Scale", ["one", "two"]).one, IntEnum("Scale", ["one", "two"]).two),
        (Fraction(1, 2), Fraction(3, 2)),
    ],
)
def test_numbers_of_other_types_count(before: Any, after: Any) -> None:
    """A recorded graph holds a number that a module held: of NumPy, of an enumeration, a size."""
    model, x = Scaled(before), torch.ones(2, 3)
    prepared = prepare(model)
    deep_lift(prepared, x, target=0)
    model.scale = after
    torch.testing.assert_close(deep_lift(prepared, x, target=0), deep_lift(model, x, target=0))


class Configured(nn.Module):
    """Numbers where the state of a module does not show a change: in a list, an object, a list of lists, a set."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.scales, self.settings, self.nested, self.ids = [1.0], SimpleNamespace(slope=1.0), [[1.0]], {1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factor = self.scales[0] * self.settings.slope * self.nested[0][0] * len(self.ids)
        return (self.layer(x) * factor).tanh()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.scales.__setitem__(0, -0.5),
        lambda m: setattr(m.settings, "slope", -0.5),
        lambda m: m.nested[0].__setitem__(0, -0.5),
        lambda m: m.ids.add(2),
    ],
)
@pytest.mark.parametrize("options", [{}, {"check": False}])
@pytest.mark.parametrize("method", [deep_lift, integrated_gradients, saliency, feature_ablation])
def test_numbers_that_are_out_of_sight_count(method: Any, options: dict, change: Any) -> None:
    """DeepLIFT's recorded graph holds them as they were: it is made anew where its outputs are not the model's."""
    model, x = Configured().eval(), X[:, :3]
    prepared, options = prepare(model), options if method is deep_lift else {}
    for _ in range(2):
        before = method(prepared, x, target=0, **options)
    change(model)
    found = method(prepared, x, target=0, **options)
    torch.testing.assert_close(found, method(model, x, target=0))
    assert not torch.allclose(found, before)
    torch.testing.assert_close(method(prepared, x, target=0, **options), found)


@pytest.mark.parametrize("name", METHODS)
def test_precision_and_shapes_of_samples(name: str) -> None:
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    prepared = prepare(model)
    single = method(prepared, x, target=0)
    learned = known(prepared, x)
    model.double()
    double = method(prepared, x.double(), target=0)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, method(model, x.double(), target=0))
    if "smooth" not in name and "noise" not in name:  # noise is of the precision
        torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4)
    assert known(prepared, x.double()) is not learned
    with pytest.raises(
        TypeError, match=r"`x` is torch.float32, but the model's parameters are torch.float64"
    ):
        method(prepared, x, target=0)
    model.float()
    torch.testing.assert_close(method(prepared, x, target=0), single)
    if name in SPATIAL:
        longer = torch.cat([x, x.flip(2)], 2)
        torch.testing.assert_close(method(prepared, longer, target=0), method(model, longer, target=0))
        torch.testing.assert_close(method(prepared, x, target=0), single)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_in_training_mode_is_refused_although_it_is_known(name: str) -> None:
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    prepared = prepare(model)
    expected = method(prepared, x, target=0)
    model.train()
    with pytest.raises(ValueError, match="not deterministic row by row"):
        method(prepared, x, target=0)
    model.eval()
    torch.testing.assert_close(method(prepared, x, target=0), expected)
    model.norm.train()
    with pytest.raises(ValueError, match=r"norm \(BatchNorm1d\)"):
        method(prepared, x, target=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_begins_to_mix_rows_is_refused(name: str) -> None:
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    prepared = prepare(model)
    method(prepared, x, target=0)
    model.between = lambda h: h * h.exp().mean(0)
    with pytest.raises(ValueError, match="mixes samples"):
        method(prepared, x, target=0)


@pytest.mark.parametrize("name", METHODS)
def test_what_rows_alone_showed_is_no_proof_for_many(name: str) -> None:
    """With a batch size of one nothing is learned of rows beside each other."""
    model, x, method = net(name in SPATIAL), inputs(name), METHODS[name]
    model.between = lambda h: h.tanh() * h.exp().sum(0)
    prepared = prepare(model)
    alone = [method(f, x, target=0, batch_size=1) for f in (prepared, model, prepared)]
    torch.testing.assert_close(alone[0], alone[1])
    torch.testing.assert_close(alone[2], alone[1])
    for batch_size in ("auto", 2):
        with pytest.raises(ValueError, match="mixes samples"):
            method(prepared, x, target=0, batch_size=batch_size)
    notes = [saliency.explain(prepared, x, target=0, batch_size=1).notes for _ in range(2)]
    assert notes == [{"rows": "the model's rows depend on each other; each was called alone"}] * 2


def test_weights_made_in_inference_mode() -> None:
    """They have no version counter, and no gradient goes through them: methods without gradients take them."""
    with torch.inference_mode():
        model = net(False)
        model.last.weight = nn.Parameter(model.last.weight.clone(), requires_grad=False)
    assert model.last.weight.is_inference()
    prepared = prepare(model)
    before = feature_ablation(prepared, X, target=0)
    learned = known(prepared, X)
    with torch.inference_mode():
        model.last.weight.mul_(2)
    found = feature_ablation(prepared, X, target=0)
    assert known(prepared, X) is not learned
    torch.testing.assert_close(found, feature_ablation(copy.deepcopy(model), X, target=0))
    assert not torch.allclose(found, before)
    with torch.no_grad():
        torch.testing.assert_close(predict(prepared, X), model(X))


def test_functions_of_modules_and_tensors() -> None:
    """What a function names, its module and its tensors, is part of the model."""
    model, shift = net(False), torch.ones(2)

    def f(x: Tensor) -> Tensor:
        return model(x) * 2 + shift * x[:, :2].square()

    prepared = prepare(f)
    methods = [m for name, m in DENSE.items() if name != "gradient_shap"]

    def agree() -> None:
        for method in methods:
            torch.testing.assert_close(method(prepared, X, target=0), method(f, X, target=0))

    agree()
    model.act.negative_slope = 0.8
    agree()
    shift *= 3
    agree()
    model = net(False)
    model.act = nn.Tanh()
    agree()


def test_a_partial_and_an_object() -> None:
    class Ensemble:
        def __init__(self) -> None:
            self.nets = [net(False), net(False)]

        def __call__(self, x: Tensor, weight: float = 0.5) -> Tensor:
            return self.nets[0](x) * weight + self.nets[1](x) * (1 - weight)

    ensemble = Ensemble()
    prepared = prepare(partial(ensemble, weight=0.2))
    for change in (
        lambda: None,
        lambda: set_number(ensemble.nets[1]),
        lambda: ensemble.nets.reverse(),
        lambda: ensemble.nets.__setitem__(0, ensemble.nets[1]),
    ):
        change()
        for method in (saliency, deep_lift, feature_ablation):
            expected = method(partial(ensemble, weight=0.2), X, target=0)
            torch.testing.assert_close(method(prepared, X, target=0), expected)


# ------------------------------------------------------------------ the digest

VALUES = torch.randn(300, 7, generator=G)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_the_digest_sees_one_value_and_an_exchange_of_two(dtype: torch.dtype) -> None:
    t = VALUES > 0 if dtype == torch.bool else (VALUES * 9).to(dtype)
    changed, exchanged = t.clone(), t.clone()
    changed[299, 6] = ~changed[299, 6] if dtype == torch.bool else changed[299, 6] + 1
    i = int((t != t[0]).any(1).nonzero()[0])
    exchanged[[0, i]] = exchanged[[i, 0]]
    assert digest(t) == digest(t.clone()) == digest(t.t().contiguous().t())
    assert len({digest(t), digest(changed), digest(exchanged)}) == 3


@pytest.mark.parametrize("start", [0, 1])
def test_the_digest_of_large_tensors(start: int) -> None:
    """Sums of columns see one value, signs, exchanged rows and the end that fills no row, also where memory is not aligned."""
    t = torch.randn(80 * 1024 + 1, generator=torch.Generator().manual_seed(0))[start:][: 80 * 1024 - 3]
    first, last, rows = t.clone(), t.clone(), t.clone()
    first[7] += 1e-3
    last[-1] += 1e-3
    rows[:1024], rows[1024:2048] = t[1024:2048], t[:1024]
    assert digest(t) == digest(t.clone())
    assert len({digest(v) for v in (t, first, last, rows, -t, t * 2)}) == 6


def test_the_digest_of_what_has_no_values() -> None:
    assert digest(torch.empty(0, 3)) == 0
    assert digest(torch.empty(2, 3, device="meta")) == 0
    assert digest(torch.zeros(())) == digest(torch.zeros(1))


def test_a_digest_of_a_parameter_leaves_it_as_it_is() -> None:
    weight = nn.Parameter(VALUES.clone())
    before: Callable[[], tuple] = lambda: (weight._version, weight.grad, weight.requires_grad)
    expected = before()
    digest(weight)
    assert before() == expected
    assert F.linear(VALUES[:, :7], weight).requires_grad


def test_a_call_of_the_model_itself_forgets_nothing() -> None:
    """A method that is handed the bare module puts its buffers back, which counts as a write and changes no value."""
    model = net(False)
    prepared = prepare(model)
    deep_lift(prepared, X, target=0)
    learned = known(prepared, X)
    deep_lift(model, X, target=0)
    assert known(prepared, X) is learned
