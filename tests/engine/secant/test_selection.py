"""Places of sorted orders, extremes of groups, running products and logarithms, angles and lengths: against algebra by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attrib.functional import deep_lift, op_shares
from tests.engine.secant.test_rules import multipliers


def rows(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of_sort(k: int) -> Callable[[Tensor], Tensor]:
    return lambda x: x.sort(0).values[k]


@pytest.mark.parametrize(
    ("x0", "x1", "place", "expected"),
    [
        ((1, 5, 9), (2, 6, 8), 1, (0, 1, 0)),  # the order stays: the element at the place
        ((0, 0, 0), (5, 4, 3), 1, (0, 1, 0)),  # from a flat baseline: the element that arrives
        (
            (1, 5, 9),
            (1, 7, 6),
            1,
            (0, 1 / 2, 0),
        ),  # 5 to 6 by one that rose by 2, as the one that arrives fell
        ((1, 5, 9), (10, 5, 9), 1, (4 / 9, 0, 0)),  # 9 arrives, but did not move; 1 passed it
        ((1, 2, 3), (4, 0, 3.5), 1, (0, 0, 0)),  # by hand below: y is 2, then 3.5
        ((1, 2, 3), (3, 2, 1), 0, (0, 0, 0)),  # no change, another element
        ((1, 2, 3), (1, 2, 3), 2, (0, 0, 1)),  # no change, the same element: its slope
    ],
)
def test_a_place_gives_its_change_to_an_element_that_passes(
    x0: Any, x1: Any, place: int, expected: Any
) -> None:
    if x1 == (4, 0, 3.5):  # only the first rose from below 2 to above 3.5, by 3
        expected = (1.5 / 3, 0, 0)
    (m,) = multipliers(of_sort(place), (rows(*x0),), (rows(*x1),))
    assert m.tolist() == pytest.approx(expected)
    (m,) = multipliers(lambda x: -(-x).sort(0, descending=True).values[place], (rows(*x0),), (rows(*x1),))
    assert m.tolist() == pytest.approx(expected)
    (m,) = multipliers(lambda x: x.kthvalue(place + 1, 0).values, (rows(*x0),), (rows(*x1),))
    assert m.tolist() == pytest.approx(expected)
    if place == 1:
        for f in (lambda x: x.median(), lambda x: x.median(0).values, lambda x: x.median(0, keepdim=True)[0]):
            assert multipliers(f, (rows(*x0),), (rows(*x1),))[0].tolist() == pytest.approx(expected)


SELECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sort": lambda x: x.sort(1).values,
    "falling": lambda x: x.sort(dim=1, descending=True, stable=True).values,
    "msort": lambda x: x.mT.contiguous().msort().mT,
    "top": lambda x: x.topk(3, 1).values,
    "lowest": lambda x: x.topk(2, -1, largest=False).values,
    "in any order": lambda x: x.topk(4, 1, sorted=False).values.sum(1),
    "k-th": lambda x: x.kthvalue(3, 1).values,
    "median": lambda x: x.median(1).values,
}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("ties", [False, True])
def test_each_place_is_complete_and_no_element_gets_more_than_its_change(name: str, ties: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x0, x1 = 3 * torch.randn(2, 20, 7, generator=generator, dtype=torch.float64)
    if ties:
        x0, x1 = x0.round(), x1.round()
    f = SELECTIONS[name]
    change = (f(x1) - f(x0)).reshape(20, -1)
    for k in range(change.shape[1]):
        (m,) = multipliers(lambda x, k=k: f(x).reshape(20, -1)[:, k], (x0,), (x1,))
        torch.testing.assert_close((m * (x1 - x0)).sum(1), change[:, k])
        if name != "in any order":
            assert float(m.min()) >= 0
            assert float(m.max()) <= 1 + 1e-12


def test_the_top_place_is_the_maximum() -> None:
    x0, x1 = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = multipliers(lambda x: x.amax(1), (x0,), (x1,))[0]
    for f in (lambda x: x.sort(1).values[:, -1], lambda x: x.topk(1, 1).values[:, 0]):
        torch.testing.assert_close(multipliers(f, (x0,), (x1,))[0], expected)


def test_an_order_as_an_index_is_refused() -> None:
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotImplementedError, match="index that depends on the inputs"):
        deep_lift(lambda v: (v**2).gather(1, v.argsort(1)[:, :1]), x, target=0)


COUNTED: dict[str, Callable[[Tensor], Tensor]] = {
    "counted": lambda x: (x**2).gather(1, (x > 0).sum(1, keepdim=True).clamp(max=6)),
    "sparsemax": lambda x: x.sort(1, descending=True).values.cumsum(1).gather(
        1, (1 + torch.arange(1, 8) * x.sort(1, descending=True).values > x.sort(1, descending=True).values.cumsum(1)).sum(1, keepdim=True) - 1
    ),
    "quantile": lambda x: x.quantile(0.3, dim=1),
    "quantiles": lambda x: x.quantile(torch.tensor([0.1, 0.75], dtype=x.dtype), dim=1, interpolation="midpoint").sum(0),
    "of all": lambda x: torch.stack([row.quantile(0.6) for row in x]),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_a_place_that_was_counted(name: str) -> None:
    """An index that is a number of comparisons moves by steps, which have secants."""
    x0, x1 = 2 * torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    f = lambda x: COUNTED[name](x).flatten()
    (m,) = multipliers(f, (x0,), (x1,))
    torch.testing.assert_close((m * (x1 - x0)).sum(1), f(x1) - f(x0))
    if "quantile" in name or name == "of all":
        assert float(m.min()) >= -1e-12


# ------------------------------------------------------------------ experts that the input chooses

GATE = torch.randn(6, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
EXPERTS = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def best(x: Tensor) -> tuple[Tensor, Tensor]:
    return (x @ GATE).topk(2, 1)


def masked(x: Tensor, scores: Tensor) -> Tensor:
    """PhiMoE's: minus infinity where a score is far from the largest of those that are left."""
    return x.masked_fill(scores < x.amax(1, keepdim=True) - 1, -torch.inf)


def without_best(x: Tensor) -> Tensor:
    return x.scatter(1, x.argmax(1, keepdim=True), -torch.inf)


CHOSEN: dict[str, Callable[[Tensor], Tensor]] = {
    "experts": lambda x: ((EXPERTS[best(x)[1]] @ x[:, None, :, None]).squeeze(-1) * best(x)[0].softmax(1)[..., None]).sum((1, 2)),
    "one expert": lambda x: (EXPERTS[(x @ GATE).max(1).indices] @ x[:, :, None]).sum((1, 2)),
    "argmax": lambda x: EXPERTS[(x @ GATE).argmax(1), (x @ GATE.cos()).argmin(1)].mul(x).sum(1),
    "embedded": lambda x: torch.nn.functional.embedding((x @ GATE).argmax(1), EXPERTS[:, 0]).mul(x).sum(1),
    "gathered": lambda x: (x @ GATE).sin().gather(1, best(x)[1])[:, 1],
    "index_select": lambda x: EXPERTS[0].index_select(1, (x @ GATE).argmax(1)).mT.mul(x).sum(1),
    "a mask": lambda x: ((x @ GATE).sigmoid() * torch.zeros_like(x[:, :4]).scatter(1, best(x)[1], 1.0)).sum(1),
    "put back": lambda x: ((x @ GATE).tanh().scatter(1, best(x)[1], best(x)[0]) ** 2).sum(1),
    "added": lambda x: ((x @ GATE).tanh().scatter_add(1, best(x)[1], best(x)[0]) ** 2).sum(1),
    "compared": lambda x: ((best(x)[1][..., None] == torch.arange(4)) * (x @ GATE)[:, None]).sum((1, 2)),
    "one-hot": lambda x: (torch.nn.functional.one_hot(best(x)[1], 4).sum(1) * (x @ GATE)).sum(1),
    "one-hot by name": lambda x: (torch.nn.functional.one_hot((x @ GATE).argmax(1), num_classes=4) * x[:, :4]).sum(1),
    "the index": lambda x: (x @ GATE).argmax(1).double(),
    "k-th": lambda x: EXPERTS[0, 0, (x @ GATE).kthvalue(2, 1).indices],
    "the weakest masked": lambda x: (masked(x @ GATE, x @ GATE).softmax(1) * x[:, :4]).sum(1),
    "the best masked": lambda x: (without_best(x @ GATE).softmax(1) * x[:, :4]).sum(1),
    "masked twice": lambda x: (masked(without_best(x @ GATE), x @ GATE).softmax(1) * x[:, 1:5]).sum(1),
    "binned": lambda x: torch.arange(40.0, dtype=x.dtype).square()[(4 * x.sum(1)).long().clamp(-20, 19) + 20],
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_input_chooses_adds_up(name: str) -> None:
    x0, x1 = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    f = CHOSEN[name]
    (m,) = multipliers(f, (x0,), (x1,))
    torch.testing.assert_close((m * (x1 - x0)).sum(1), f(x1) - f(x0))
    mapped = torch.func.vmap(
        lambda a, b: deep_lift(f, b[None], baselines=a[None], multiply_by_inputs=False)[0]
    )
    torch.testing.assert_close(mapped(x0[:3], x1[:3]), m[:3])


def test_the_report_of_a_choice_adds_up() -> None:
    """The index has a share too: the experts' part of the change that goes to the scores."""
    x0, x1 = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    f = CHOSEN["experts"]
    found = op_shares(f, x1, baselines=x0)
    assert {"aten.topk.default", "aten.index.Tensor"} <= {s.op for s in found}
    assert max(abs(s.residual) for s in found) < 1e-9


def test_a_choice_of_two_is_a_comparison() -> None:
    """The index jumps as `where` does, whatever the number of the expert is."""
    x0, x1 = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    compared = lambda x: torch.where(x[:, 1] > x[:, 2], 3 * x[:, 0], x[:, 0] ** 2)
    looked_up = lambda x: torch.stack([x[:, 0] ** 2, 3 * x[:, 0], 3 * x[:, 0]], 1).gather(1, torch.tensor([1, 0])[x[:, 1:].argmax(1)][:, None])[:, 0]  # fmt: skip
    torch.testing.assert_close(*(multipliers(f, (x0,), (x1,))[0] for f in (compared, looked_up)))


def test_a_third_that_passes_both_moves_a_place() -> None:
    """Second of (3, 2, 1) is b; of (3, 2, 5) it is a: only c changed order with them, by 4 each. The index falls by one."""
    (m,) = multipliers(lambda x: x.topk(2, 1).indices[:, 1].double(), (rows((3, 2, 1)),), (rows((3, 2, 5)),))
    torch.testing.assert_close(m, rows((1 / 8, 1 / 8, -1 / 4)))


SYSTEMS: dict[str, Callable[[Tensor], Tensor]] = {
    "of a constant matrix": lambda x: torch.linalg.solve_triangular(EXPERTS[0], x[:, :, None], upper=True),
    "of a constant side": lambda x: torch.linalg.solve_triangular(x[:, :, None] * x[:, None], EXPERTS[0, 0, :, None], upper=False),
    "of both": lambda x: torch.linalg.solve_triangular(x[:, :, None] * x[:, None], x[:, None].sin(), upper=True, left=False),
    "with ones": lambda x: torch.linalg.solve_triangular(x[:, :, None] * x[:, None], x[:, :, None].sin(), upper=False, unitriangular=True),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_triangular_systems(name: str) -> None:
    x0, x1 = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    f = lambda x: SYSTEMS[name](x).tanh().flatten(1).sum(1)
    (m,) = multipliers(f, (x0,), (x1,))
    torch.testing.assert_close((m * (x1 - x0)).sum(1), f(x1) - f(x0))
    (m,) = multipliers(f, (x1 - 1e-7 * x0,), (x1,))
    torch.testing.assert_close(m, torch.func.grad(lambda x: f(x).sum())(x1), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ groups

INDEX = torch.tensor([[0, 0, 1, 1, 1, 3], [2, 2, 2, 0, 0, 3]])


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("how", ["amax", "amin"])
@pytest.mark.parametrize("own", [False, True])
def test_extremes_of_groups_are_those_of_each_group(how: str, own: bool) -> None:
    """Against maxima of the members, group by group."""
    t0, t1 = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s0, s1 = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    f = lambda t, s: t.scatter_reduce(1, INDEX, s, how, include_self=own)

    def by_hand(t: Tensor, s: Tensor) -> Tensor:
        groups = []
        for r in range(2):
            for k in range(4):
                members = s[r][INDEX[r] == k]
                members = torch.cat([t[r, k : k + 1], members]) if own or not len(members) else members
                groups.append(getattr(members, how)(0))
        return torch.stack(groups).view(2, 4)

    weights = torch.randn(2, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = multipliers(lambda t, s: f(t, s) * weights, (t0, s0), (t1, s1))
    expected = multipliers(lambda t, s: by_hand(t, s) * weights, (t0, s0), (t1, s1))
    torch.testing.assert_close(found, expected)
    along_rows = multipliers(
        lambda t, s: (
            t.T.contiguous().index_reduce(0, INDEX[0], s.T.contiguous(), how, include_self=own).T * weights
        ),
        (t0, s0),
        (t1, s1),
    )
    same = INDEX[:1].expand(2, -1)
    torch.testing.assert_close(
        along_rows,
        multipliers(
            lambda t, s: t.scatter_reduce(1, same, s, how, include_self=own) * weights, (t0, s0), (t1, s1)
        ),
    )


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sums_of_groups_are_linear(how: str) -> None:
    s0, s1 = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    f = lambda s: torch.ones(2, 4, dtype=s.dtype).scatter_reduce(1, INDEX, s, how)
    leaf = s1.clone().requires_grad_()
    torch.testing.assert_close(multipliers(f, (s0,), (s1,))[0], torch.autograd.grad(f(leaf).sum(), leaf)[0])


def test_products_of_groups_and_smaller_indices_are_refused() -> None:
    x = torch.rand(2, 6)
    with pytest.raises(NotImplementedError, match="reduces by 'prod'"):
        deep_lift(
            lambda s: torch.ones(len(s), 4).scatter_reduce(1, INDEX[:1].expand(len(s), -1), s, "prod"),
            x,
            target=0,
        )


# ------------------------------------------------------------------ running products, running sums of exponentials


def test_running_products_halve_the_cross_term() -> None:
    (m,) = multipliers(lambda x: x.cumprod(0)[1], (rows(1, 2, 5),), (rows(3, 6, 7),))
    assert m.tolist() == [4, 2, 0]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_running_values_are_those_of_the_beginnings(count: int) -> None:
    x0, x1 = torch.randn(2, 3, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for f in (lambda x: x.cumprod(1), lambda x: x.logcumsumexp(1)):
        for k in range(count):
            (m,) = multipliers(lambda x, f=f, k=k: f(x)[:, k], (x0,), (x1,))
            torch.testing.assert_close((m * (x1 - x0)).sum(1), (f(x1) - f(x0))[:, k])
            assert not m[:, k + 1 :].any()
    (m,) = multipliers(lambda x: x.logcumsumexp(1), (x1,), (x1,))
    leaf = x1.clone().requires_grad_()
    torch.testing.assert_close(m, torch.autograd.grad(leaf.logcumsumexp(1).sum(), leaf)[0])


def test_running_sums_of_large_exponentials() -> None:
    (m,) = multipliers(lambda x: x.logcumsumexp(0)[2], (rows(0, 800, -900),), (rows(1, 803, -100),))
    assert m.tolist() == pytest.approx([0, 1, 0])


# ------------------------------------------------------------------ angles and lengths


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((0.0, 1.0), (1.0, 0.0)),
        ((1.0, 1.0), (1.0, -2.0)),
        ((0.5, -1.0), (-0.5, -1.0)),  # across the cut: the angle jumps by a full turn
        ((1.0, 1.0), (2.0, 2.0)),  # the same direction
        ((0.0, 1.0), (0.0, -1.0)),  # a half turn through the origin
        ((0.0, 0.0), (3.0, 4.0)),
        ((3.0, 4.0), (3.0, 4.0)),
    ],
)
def test_angles_add_up(start: tuple[float, float], end: tuple[float, float]) -> None:
    y0, x0, y1, x1 = (rows(v) for v in (*start, *end))
    a, b = multipliers(torch.atan2, (y0, x0), (y1, x1))
    change = math.atan2(*end) - math.atan2(*start)
    assert float(a * (y1 - y0) + b * (x1 - x0)) == pytest.approx(change, abs=1e-12)
    if start == end:
        assert (float(a), float(b)) == pytest.approx((4 / 25, -3 / 25))


def test_small_angles_are_their_slopes() -> None:
    a, b = multipliers(torch.atan2, (rows(3.0), rows(4.0)), (rows(3.0 + 1e-9), rows(4.0 - 1e-9)))
    assert (float(a), float(b)) == pytest.approx((4 / 25, -3 / 25), rel=1e-7)


def test_an_angle_with_a_number() -> None:
    (a,) = multipliers(lambda y: torch.atan2(y, torch.ones_like(y)), (rows(0.0),), (rows(1.0),))
    assert float(a) == pytest.approx(math.pi / 4)


def test_lengths_and_angles_of_complex_numbers() -> None:
    x0, x1 = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for f in (
        lambda x: torch.fft.rfft(x).abs(),
        lambda x: torch.fft.rfft(x).abs() ** 2,
        lambda x: torch.fft.rfft(x)[:, 1:].angle(),
        lambda x: torch.complex(x[:, :8], x[:, 8:]).abs(),
        lambda x: torch.polar(x[:, :8], x[:, 8:]).real,
    ):
        (m,) = multipliers(f, (x0,), (x1,))
        torch.testing.assert_close((m * (x1 - x0)).sum(1), (f(x1) - f(x0)).sum(1))
    (m,) = multipliers(lambda x: torch.complex(x[:1], x[1:]).abs(), (rows(0, 0),), (rows(3, 4),))
    assert m.tolist() == pytest.approx([3 / 5, 4 / 5])
    (m,) = multipliers(lambda x: torch.complex(x[:1], x[1:]).abs(), (rows(0, 0),), (rows(0, 0),))
    assert m.tolist() == [0, 0]


def test_rules_stand_in_networks() -> None:
    """Sparse attention, k-max pooling and spectra, complete from end to end, under torch.func too."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(8, 8).double()

    def net(x: Tensor) -> Tensor:
        z = linear(x)
        values = z.sort(1, descending=True).values
        sums = values.cumsum(1)
        support = 1 + torch.arange(1, 9) * values > sums
        tau = (torch.where(support, values, 0.0).sum(1, keepdim=True) - 1) / support.sum(1, keepdim=True)
        sparse = (z - tau).relu()
        return (sparse * x).sum(1) + z.topk(3, 1).values.mean(1) + torch.fft.rfft(z).abs().median(1).values

    x0, x1 = torch.randn(2, 4, 8, dtype=torch.float64)
    a = deep_lift.explain(net, x1, baselines=x0)
    torch.testing.assert_close(a.attribution.sum(1), net(x1) - net(x0))
    one = torch.func.vmap(lambda r, b: deep_lift(net, r[None], baselines=b[None])[0])(x1, x0)
    torch.testing.assert_close(one, a.attribution)
