"""Recurrent layers as one op: the same multipliers as op by op, complete, whatever the layer, its states and its lengths."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attrib.engine.graph import Graph, record
from attrib.engine.secant import expressed, secant, shares
from attrib.engine.secant.decompositions import decompose
from attrib.functional import deep_lift, op_shares

KINDS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "lstm, projected": (nn.LSTM, {"proj_size": 3}),
    "gru": (nn.GRU, {}),
    "rnn": (nn.RNN, {}),
    "rnn, relu": (nn.RNN, {"nonlinearity": "relu"}),
}
STACKS = [
    dict(zip(("num_layers", "bidirectional", "bias", "batch_first"), v, strict=True))
    for v in ((1, False, True, True), (2, False, False, True), (1, True, True, False), (2, True, True, True))
]
READINGS = ["outputs", "last states", "states of the input", "packed", "packed, unsorted"]


class Net(nn.Module):
    """A recurrent layer between linear layers, read in several ways."""

    def __init__(self, kind: str, stack: dict[str, Any], reading: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        build, options = KINDS[kind]
        self.reading, self.first = reading, nn.Linear(4, 5)
        self.layer = build(5, 6, **options, **stack)
        self.starts = nn.ModuleList(nn.Linear(4, s) for s in (self.layer.proj_size or 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        layer, y = self.layer, self.first(x)
        y = y if layer.batch_first else y.transpose(0, 1)
        if self.reading.startswith("packed"):
            lengths = torch.tensor([7, 4, 1] if self.reading == "packed" else [2, 7, 5])[: len(x)]
            packed = pack_padded_sequence(
                y, lengths, layer.batch_first, enforce_sorted=self.reading == "packed"
            )
            out, states = layer(packed)
            y, _ = pad_packed_sequence(out, layer.batch_first, total_length=7)
        elif self.reading == "states of the input":
            number = layer.num_layers * (1 + layer.bidirectional)
            states = [s(x[:, 0]).tanh().expand(number, -1, -1) * 0.7 for s in self.starts]
            y, states = layer(y, tuple(states) if isinstance(layer, nn.LSTM) else states[0])
        else:
            y, states = layer(y)
        y = y if layer.batch_first else y.transpose(0, 1)
        states = states if isinstance(states, tuple) else (states,)
        ends = torch.cat([s.transpose(0, 1).flatten(1) for s in states], 1)
        if self.reading == "outputs":
            return torch.stack([y.tanh().sum((1, 2)), y[:, 2].square().sum(1)], 1)
        return torch.stack([(y * y.roll(1, 2)).sum((1, 2)) + ends.sum(1), ends.square().sum(1)], 1)


def by_steps(op: Any) -> Callable | None:
    """The recording in which a layer is a loop over its steps."""
    return (
        op.decompose
        if op._schema.name.split("::")[1] in ("lstm", "gru", "rnn_tanh", "rnn_relu")
        else decompose(op)
    )


CASES = list(itertools.product(KINDS, range(len(STACKS)), READINGS))


def multipliers(graph: Graph, x: Tensor, x0: Tensor) -> Tensor:
    """Of both outputs (2, N, ...), as float64."""
    cotangents = torch.eye(2, dtype=x.dtype)[:, None].expand(2, len(x), 2)
    return secant(graph, [x0], [x]).pull(cotangents)[0].double()


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("kind", "stack", "reading"), CASES)
def test_the_layer_as_one_op_is_the_layer_op_by_op(kind: str, stack: int, reading: str) -> None:
    """In single precision, either is as far from the right answer as secants in single precision are."""
    net = Net(kind, STACKS[stack], reading).double().eval()
    x, x0 = torch.randn(2, 3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, small = expressed(net, [x]), record(net, [x], by_steps)
        y1, y0 = net(x), net(x0)
        net = net.float()
        singles = expressed(net, [x.float()]), record(net, [x.float()], by_steps)
    assert len(one.nodes) < len(small.nodes)
    replay, m, expected = secant(one, [x0], [x]), multipliers(one, x, x0), multipliers(small, x, x0)
    torch.testing.assert_close((replay.y0, replay.y1), (y0, y1))
    scale = float(expected.abs().max())
    torch.testing.assert_close(m, expected, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(
        (m * (x - x0)).flatten(2).sum(2), (y1 - y0).T, rtol=0, atol=1e-12 * float(y1.abs().max())
    )
    error, before = (float((multipliers(g, x.float(), x0.float()) - m).abs().max()) for g in singles)
    assert error <= max(1e-6 * scale, 1.5 * before)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_layer_of_which_only_the_state_depends_on_the_input(kind: str) -> None:
    """As a decoder that starts from a code."""
    torch.manual_seed(0)
    layer = KINDS[kind][0](2, 4).double()
    steps = torch.randn(5, 1, 2, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        state = x[None]
        return layer(
            steps.expand(-1, len(x), -1), (state, torch.zeros_like(state)) if kind == "lstm" else state
        )[0].sum((0, 2))

    x, x0 = torch.randn(2, 3, 4, dtype=torch.float64)
    found = deep_lift.explain(f, x, baselines=x0)
    assert float(found.delta.abs().max()) < 1e-13


@pytest.mark.parametrize("reading", ["outputs", "states of the input"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_under_transforms(kind: str, reading: str) -> None:
    net = Net(kind, STACKS[3], reading).double().eval()
    x, x0 = torch.randn(2, 3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = {k: v.detach() for k, v in net.named_parameters()}

    def attributed(p: dict[str, Tensor], x: Tensor, x0: Tensor) -> Tensor:
        return deep_lift(lambda v: functional_call(net, p, (v,)), x, baselines=x0, target=1)

    expected = deep_lift(net, x, baselines=x0, target=1)
    mapped = vmap(lambda a, b: attributed(parameters, a[None], b[None])[0])(x, x0)
    torch.testing.assert_close(mapped, expected)
    penalty = lambda p: attributed(p, x, x0).square().sum()
    way = {k: torch.randn_like(v) for k, v in parameters.items()}
    slopes, step = grad(penalty)(parameters), 1e-6
    ends = [penalty({k: v + s * way[k] for k, v in parameters.items()}) for s in (step, -step)]
    along = sum(float((slopes[k] * way[k]).sum()) for k in parameters)
    assert along == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_without_a_change_the_multipliers_are_the_gradient() -> None:
    for kind in KINDS:
        net = Net(kind, STACKS[3], "packed").double().eval()
        x = torch.randn(3, 7, 4, dtype=torch.float64)
        leaf = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
        graph = expressed(net, [x])
        (m,) = secant(graph, [x], [x]).pull(torch.tensor([1.0, 0.0]).double().expand(1, 3, 2))
        torch.testing.assert_close(m[0], expected)


def test_the_report_has_the_layer_as_one_op() -> None:
    net = Net("lstm", STACKS[0], "outputs").double().eval()
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    layer = next(op for op in op_shares(net, x, target=0) if op.rule == "recurrent")
    assert layer.op == "aten.lstm.input"
    assert "test_recurrent.py" in layer.source
    assert abs(layer.residual) < 1e-12
    assert (
        sum(abs(op.residual) for op in shares(expressed(net, [x]), [x * 0], [x], torch.ones(3, 2).double()))
        < 1e-11
    )


def test_weights_that_depend_on_the_input_are_refused() -> None:
    layer = nn.RNN(2, 2, batch_first=True)

    def f(x: Tensor) -> Tensor:
        weights = [layer.weight_ih_l0 * x.mean(), layer.weight_hh_l0]
        return torch.rnn_tanh(x, torch.zeros(1, 1, 2), weights, False, 1, 0.0, False, False, True)[0].sum(
            (1, 2)
        )

    with pytest.raises(
        NotImplementedError, match=r"aten.rnn_tanh.input at .*its weights depend on the inputs"
    ):
        deep_lift(f, torch.randn(1, 3, 2))


def test_long_sequences_in_half_precision_and_many_targets() -> None:
    net = Net("gru", STACKS[0], "outputs").eval()
    x = torch.randn(2, 7, 4)
    both = deep_lift(net, x, targets=[0, 1])
    for target in (0, 1):
        torch.testing.assert_close(both[target], deep_lift(net, x, target=target))
    half = deep_lift(net.to(torch.bfloat16), x.to(torch.bfloat16), target=0)
    torch.testing.assert_close(half.float(), both[0], rtol=0.1, atol=0.05 * float(both[0].abs().max()))


def test_no_warning_of_its_own() -> None:
    net = Net("lstm", STACKS[0], "packed").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expressed(net, [torch.randn(3, 7, 4)])
