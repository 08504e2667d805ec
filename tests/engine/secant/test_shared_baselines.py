"""One row of baselines for all rows: the same secants as with the row repeated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from attrib.engine.secant import expressed, secant
from attrib.engine.secant.replay import SHARED_ARGUMENTS, apply_rule, is_shared, shared_arguments, start
from tests.engine.secant.test_replay import composed, graphs
from tests.zoo import ZOO

TRAPS = {  # as many rows as features, so that rows could be taken for something else
    "rows are columns": lambda x: (x.T @ x).sum(0) + x.sum(1),
    "one number a row": lambda x: (x * x.sum(1)).sum(1),
    "rows against rows": lambda x: torch.sigmoid(x @ x.T).sum(1),
    "rows in a reshape": lambda x: torch.tanh(x).reshape(4, 2, 2).relu().sum((1, 2)),
    "rows split": lambda x: torch.tanh(x).reshape(2, 2, 4).exp().sum(2).reshape(4),
    "a constant per row": lambda x: (torch.exp(x) * torch.arange(4.0).double()[:, None]).sum(1),
    "a bias per row": lambda x: (
        torch.addmm(torch.arange(16.0).double().view(4, 4), x.exp(), x.new_ones(4, 4)).sin().sum(1)
    ),
    "joined": lambda x: torch.cat([x.exp(), torch.ones(4, 1).double(), x], 1).sin().sum(1),
    "sum over rows": lambda x: (x.exp() / x.exp().sum(0)).sum(1),
}


def both(f, x1: list[Tensor], x0: list[Tensor]):
    """Multipliers and ends with one row of baselines, and with the row repeated."""
    graph = expressed(f, x1)
    for given_x0 in ([b[:1] for b in x0], [b[:1].expand_as(x) for b, x in zip(x0, x1, strict=True)]):
        found = secant(graph, given_x0, x1)
        yield found.y0, found.y1, found.changes, found.pull(torch.ones(1, *found.y1.shape).to(found.y1))


@pytest.mark.parametrize("name", ZOO)
def test_whole_models(name):
    specimen = ZOO[name]()
    shared, repeated = both(specimen.like(torch.float64), specimen.inputs(), specimen.inputs())
    torch.testing.assert_close(shared, repeated, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", TRAPS)
def test_what_looks_like_rows_and_is_not(name):
    torch.manual_seed(3)
    x1, x0 = torch.randn(2, 4, 4, dtype=torch.float64)
    shared, repeated = both(TRAPS[name], [x1], [x0])
    torch.testing.assert_close(shared, repeated, rtol=1e-10, atol=1e-12)


@given(graphs, st.integers(0, 99))
def test_random_graphs(steps, seed):
    torch.manual_seed(seed)
    x1, x0 = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    shared, repeated = both(composed(steps), [x1], [x0])
    torch.testing.assert_close(shared, repeated, rtol=1e-8, atol=1e-10, equal_nan=True)


def test_the_baseline_is_one_row_to_the_end():
    """Counted: what every op of a plain network gives at the baseline."""
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    x = torch.randn(6, 1, 8, 8)
    graph = expressed(net, [x])
    rows: list[int] = []

    def call(node, args, kwargs):
        result = apply_rule(node, shared_arguments(node.op, args), kwargs)
        rows.append(len((result[0] if isinstance(result, list) else result).v0))
        return result

    graph.run(start([x[:1] * 0], [x], [x]), call)
    assert set(rows) == {1}


def test_ops_that_are_not_listed_see_every_row():
    x = torch.randn(3, 2)
    pair = start([x[:1]], [x], [x])[0]
    assert is_shared(pair)
    op = torch.ops.aten.flip.default
    assert op not in SHARED_ARGUMENTS
    (first, _) = shared_arguments(op, [pair, [0]])
    assert torch.equal(first.v0, x[:1].expand(3, 2))
    assert shared_arguments(op, [first, [0]])[0] is first
