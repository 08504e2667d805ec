"""The interpreter: completeness on graphs nobody chose, several cotangents, refusals, and the report."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.secant import expressed, secant, shares
from attrib.engine.secant.norms import NORM
from attrib.engine.secant.pair import RULES
from attrib.engine.secant.replay import FAMILIES
from tests.zoo import ZOO

UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.relu, torch.tanh, torch.sigmoid, F.gelu, F.silu, F.softplus, F.elu, F.hardswish, F.leaky_relu, F.mish,
    torch.abs, torch.sin, torch.neg, F.logsigmoid, lambda t: t.clamp(-0.5, 0.8), lambda t: t * (t > 0),
    lambda t: torch.where(t > 0.1, t, t.exp()), lambda t: (t * t + 0.1).sqrt(), lambda t: (t.abs() + 0.5).log(),
    lambda t: 1 / (t * t + 1), lambda t: t.softmax(-1), lambda t: t.log_softmax(1), lambda t: t.cumsum(-1) * 0.3,
    lambda t: t - t.mean((1, 2), keepdim=True), lambda t: F.layer_norm(t, t.shape[-1:]), lambda t: t.flip(1),
    lambda t: F.normalize(t + 0.1, dim=1), lambda t: t.transpose(1, 2), lambda t: t.roll(1, -1),
    lambda t: t - t.amax(-1, keepdim=True), lambda t: t.logsumexp(1, keepdim=True) - t, lambda t: t.clone().relu_(),
    lambda t: F.max_pool2d(t, 2, 1, 1)[:, 1:, 1:], lambda t: F.avg_pool2d(t, 3, 1, 1), lambda t: t.std((1, 2), keepdim=True) + t,
    lambda t: F.pad(t, (1, 0))[..., :-1], lambda t: (t.abs() + 0.1) ** 1.3, lambda t: torch.cat([t[:, 2:], t[:, :2]], 1),
]  # fmt: skip
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda a, b: a @ b, lambda a, b: a / (b * b + 1),
    lambda a, b: torch.where(a > b, a, 0.5 * b), lambda a, b: torch.einsum("nij,nkj->nik", a, b) * 0.3,
    lambda a, b: a.softmax(-1) @ b, lambda a, b: torch.hypot(a + 2, b), lambda a, b: a.index_add(1, torch.tensor([0, 2]), b[:, :2]),
    lambda a, b: a.lerp(b, 0.3), lambda a, b: torch.logaddexp(a, b), lambda a, b: a * (b > 0),
]  # fmt: skip

Step = tuple[int, int, int]
graphs = st.lists(
    st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 7), st.integers(0, 7)),
    min_size=1,
    max_size=12,
)


def composed(steps: list[Step]) -> Callable[[Tensor], Tensor]:
    """A model from a list of (op, operand, operand)."""

    def f(x: Tensor) -> Tensor:
        values = [x, 0.5 * x.transpose(1, 2) + 0.2]
        for op, a, b in steps:
            one, other = values[-1 - a % len(values)], values[-1 - b % len(values)]
            values.append(UNARY[op](one) if op < len(UNARY) else BINARY[op - len(UNARY)](one, other))
        return sum(v.flatten(1).mean(1) for v in values[2:])

    return f


@given(graphs, st.integers(0, 99))
def test_random_graphs_are_complete_row_by_row(steps, seed):
    torch.manual_seed(seed)
    x0, x1 = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    x1[:, 0] = x0[:, 0]  # some inputs do not change
    f = composed(steps)
    found = secant(expressed(f, [x1]), [x0], [x1])
    torch.testing.assert_close((found.y0, found.y1), (f(x0), f(x1)))
    (m,) = found.pull(torch.ones(1, 3, dtype=torch.float64))
    attributed = (m[0] * (x1 - x0)).flatten(1)
    scale = 1 + attributed.abs().sum(1) + found.y1.abs() + found.y0.abs()  # values inside are of order one
    assert bool(((attributed.sum(1) - (found.y1 - found.y0)).abs() <= 1e-12 * scale).all())


@pytest.mark.parametrize("op", range(len(UNARY) + len(BINARY)))
def test_every_op_of_the_generator_alone(op):
    test_random_graphs_are_complete_row_by_row.hypothesis.inner_test([(op, 0, 1)], op)


def test_many_cotangents_from_one_replay():
    specimen = ZOO["residual_net"]()
    model, (x1,), (x0,) = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    cotangents = torch.randn(4, 3, 3, dtype=torch.float64)
    found = secant(expressed(model, [x1]), [x0], [x1])
    (together,) = found.pull(cotangents, keep=True)
    for c, m in zip(cotangents, together, strict=True):
        torch.testing.assert_close(found.pull(c[None], keep=True)[0][0], m)


def test_an_input_that_is_not_used_gets_zeros():
    x = torch.ones(2, 3)
    found = secant(expressed(lambda a, b: a.sum(1), [x, x]), [x * 0, x * 0], [x, x])
    assert found.pull(torch.ones(1, 2))[1].tolist() == [[[0.0] * 3] * 2]


def test_an_output_that_depends_on_nothing():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="does not depend on its inputs"):
        secant(expressed(lambda a: torch.ones(2), [x]), [x], [x])


@pytest.mark.parametrize(
    ("f", "op"),
    [
        (lambda x: x.nanmedian(1).values, "aten.nanmedian"),
        (lambda x: x.gather(1, x.argsort(1)), "aten.gather"),
        (lambda x: x.cummax(1).values, "aten.cummax"),
        (lambda x: x[x > 0], "aten.index"),
        (lambda x: x.masked_select(x > 0), "aten.masked_select"),
        (lambda x: torch.linalg.inv(x @ x.T), "aten.linalg_inv_ex"),
        (lambda x: x % 2, "aten.remainder"),
        (lambda x: torch.div(x, x + 9, rounding_mode="floor"), "aten.div"),
        (lambda x: x.view(torch.int32).float(), "aten.view"),
        (lambda x: torch.fft.fft(x).sgn().real, "aten.sgn"),
        (lambda x: x.long() & 3, "aten.bitwise_and"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_ops_without_a_rule_are_named_with_the_model_line(f, op):
    x = torch.rand(3, 3)
    with pytest.raises(NotImplementedError, match=op.replace(".", r"\.")) as caught:
        secant(expressed(f, [x]), [x * 0], [x])
    assert f"{__file__}:{f.__code__.co_firstlineno}" in str(caught.value)


def test_training_batch_norm_is_refused_at_its_line():
    x = torch.randn(4, 3)
    with pytest.raises(NotImplementedError, match="mixes the samples"):
        expressed(torch.nn.BatchNorm1d(3).train(), [x])


def test_every_rule_says_its_algebra():
    files = {family.__name__ for family in FAMILIES}
    for rule in set(RULES.values()):
        assert rule.__module__ in files
        assert rule.__doc__


def test_no_rule_is_for_an_op_that_writes():
    assert not any(op._schema.is_mutable for op in RULES if op is not NORM)


@pytest.mark.parametrize(
    "name", ["residual_net", "transformer_encoder", "rnn_cells", "two_branches", "rearrangements"]
)
def test_report_accounts_for_change_and_residual(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x1, x0 = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    graph = expressed(model, x1)
    cotangent = torch.zeros_like(graph.value)
    cotangent[:, 0] = 1
    rows = shares(graph, x0, x1, cotangent)
    with torch.no_grad():
        change = float(((model(*x1) - model(*x0)) * cotangent).sum())
    assert len(rows) == len(graph.nodes)
    assert rows[-1].change == pytest.approx(change)
    assert abs(sum(r.residual for r in rows)) < 1e-12
    assert all("zoo.py" in r.source or "modules" in r.source for r in rows)


def test_report_finds_the_op_that_is_incomplete(monkeypatch):
    """A rule that loses half of the change shows up as the residual, and nothing else does."""
    from attrib.engine.secant.pair import Pair

    aten = torch.ops.aten
    right = RULES[aten.tanh.default]

    def wrong(op, args, kwargs):
        y = right(op, args, kwargs)
        return Pair(y.v0, y.v1, 0.5 * y.dv)

    monkeypatch.setitem(RULES, aten.tanh.default, wrong)
    x = torch.ones(1, 3, dtype=torch.float64)
    rows = shares(
        expressed(lambda v: (2 * v).tanh().exp().sum(1), [x]),
        [x * 0],
        [x],
        torch.ones(1, dtype=torch.float64),
    )
    change = 3 * (torch.tensor(2.0).double().tanh().exp() - 1)
    assert [r.residual != 0 for r in rows if abs(r.residual) > 1e-12] == [True]
    tanh = next(r for r in rows if "tanh" in r.op)
    assert tanh.residual == pytest.approx(float(change) / 2)
    assert tanh.rule == "wrong"


@pytest.mark.parametrize("one_baseline", [True, False])
def test_heavy_weights_are_read_once_for_both_ends(one_baseline: bool) -> None:
    """A layer whose weights outweigh its rows runs once, on both ends; the answers are those of two runs."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 16, 3), torch.nn.Linear(64, 40), torch.nn.Linear(40, 3, bias=False)
    x, x0 = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    x0 = x0[:1] if one_baseline else x0

    def f(x: Tensor) -> Tensor:
        return layers[2](layers[1](layers[0](x).relu().flatten(1)).tanh())

    graph, calls = expressed(f, [x]), 0

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            nonlocal calls
            calls += op in (torch.ops.aten.convolution.default, torch.ops.aten.addmm.default)
            return op(*args, **(kwargs or {}))

    with Calls():
        replay = secant(graph, [x0], [x])
    assert calls == 2
    torch.testing.assert_close(replay.y1, f(x))
    torch.testing.assert_close(replay.y0, f(x0).expand(3, 3))
    (multipliers,) = replay.pull(torch.eye(3)[:, None].expand(3, 3, 3))
    torch.testing.assert_close((multipliers * (x - x0)).flatten(2).sum(2), (f(x) - f(x0)).T)
