"""Each rule against algebra done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.secant import expressed, secant

inf = math.inf


def multipliers(
    f: Callable[..., Tensor], x0: tuple[Tensor, ...], x1: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """d f / d x by secants, for the sum of f's outputs."""
    found = secant(expressed(f, x1), x0, x1)
    torch.testing.assert_close(found.y0, f(*x0))
    torch.testing.assert_close(found.y1, f(*x1))
    return tuple(m[0] for m in found.pull(torch.ones_like(found.y1)[None]))


def slope(f: Callable[[Tensor], Tensor], v0: float, v1: float) -> float:
    """The multiplier of one number."""
    x0, x1 = (torch.tensor([v], dtype=torch.float64) for v in (v0, v1))
    return float(multipliers(f, (x0,), (x1,))[0])


SCALARS = [
    # f, v0, v1, the secant by hand
    (torch.relu, -1.0, 3.0, 3 / 4),
    (torch.relu, -1.0, -3.0, 0.0),
    (torch.relu, 2.0, 2.0, 1.0),
    (torch.relu, -2.0, -2.0, 0.0),
    (lambda x: F.leaky_relu(x, 0.1), -1.0, 1.0, 1.1 / 2),
    (lambda x: F.prelu(x, torch.tensor([0.5], dtype=x.dtype)), -2.0, 2.0, 3 / 4),
    (lambda x: x.clamp(0.0, 1.0), -1.0, 3.0, 1 / 4),
    (lambda x: x.clamp(min=0.5), 0.0, 1.0, 0.5),
    (F.hardswish, -3.0, 3.0, 3 / 6),
    (F.hardswish, 1.0, 1.0, (2 * 1 + 3) / 6),
    (F.hardsigmoid, -6.0, 6.0, 1 / 12),
    (F.elu, -1.0, 0.0, 1 - math.exp(-1)),
    (torch.abs, -1.0, 2.0, 1 / 3),
    (torch.sign, -1.0, 3.0, 2 / 4),
    (torch.floor, 0.5, 2.5, 1.0),
    (torch.tanh, 0.0, 0.0, 1.0),
    (torch.tanh, -1.0, 2.0, (math.tanh(2) + math.tanh(1)) / 3),
    (torch.sigmoid, 0.0, 0.0, 0.25),
    (torch.exp, 0.0, 1.0, math.e - 1),
    (F.softplus, 0.0, 0.0, 0.5),
    (F.silu, 0.0, 2.0, 1 / (1 + math.exp(-2))),
    (F.gelu, 0.0, 1.0, 0.5 * (1 + math.erf(1 / math.sqrt(2)))),
    (torch.sin, 0.0, math.pi, 0.0),
    (lambda x: x**2, 1.0, 4.0, 5.0),
    (lambda x: x * x, 1.0, 4.0, 5.0),
    (lambda x: x**3, 1.0, 2.0, 7.0),
    (lambda x: x**3, 2.0, 2.0, 12.0),
    (lambda x: x**0.5, 1.0, 4.0, 1 / 3),
    (lambda x: x**-1, 1.0, 2.0, -0.5),
    (lambda x: x**1.5, 4.0, 4.0, 3.0),
    (torch.sqrt, 0.0, 4.0, 0.5),
    (torch.sqrt, 0.0, 0.0, 0.0),
    (torch.rsqrt, 1.0, 4.0, -1 / 6),
    (torch.reciprocal, 1.0, 2.0, -0.5),
    (torch.log, 1.0, math.e, 1 / (math.e - 1)),
    (torch.log, 2.0, 2.0, 0.5),
    (torch.log2, 1.0, 4.0, 2 / 3),
    (torch.log10, 1.0, 10.0, 1 / 9),
    (torch.log1p, 0.0, 1.0, math.log(2)),
    (lambda x: 2.0**x, 0.0, 2.0, 3 / 2),
    (lambda x: 6 / x, 1.0, 3.0, -2.0),
    (lambda x: x / 4, 1.0, 3.0, 0.25),
    (lambda x: 3 - 2 * x, 1.0, 5.0, -2.0),
    (lambda x: (x > 0) * 1.0, -1.0, 3.0, 1 / 4),
    (lambda x: x * (x > 0), -1.0, 3.0, 3 / 4),
    (lambda x: torch.where(x > 0, x, 0.1 * x), -1.0, 1.0, 1.1 / 2),
    (lambda x: ((x > 0) & (x < 2)) * 1.0, -1.0, 1.0, 1 / 2),
    (lambda x: ((x > 0) | (x < -2)) * 1.0, -1.0, 1.0, 1 / 2),
    (lambda x: ((x > 0) ^ (x > 5)) * 1.0, -1.0, 1.0, 1 / 2),
    (lambda x: (~(x > 0)) * 1.0, -1.0, 1.0, -1 / 2),
    (lambda x: torch.maximum(x, 1 - x), 0.0, 1.0, 0.0),
    (lambda x: torch.minimum(x, 2 * x), -1.0, 1.0, 3 / 2),
    (lambda x: x.detach() * 2, 0.0, 1.0, 2.0),
    (lambda x: x.to(torch.float32).to(torch.float64), 0.0, 1.0, 1.0),
    (lambda x: x.long() * 1.0, 0.5, 2.5, 1.0),
    (lambda x: x.bool() * 1.0, 0.0, 2.0, 0.5),
    (lambda x: torch.where((x > 0).any(0), 2 * x, x), -1.0, 1.0, 3 / 2),
    (lambda x: torch.where(x > 0, 1.0, -1.0), -1.0, 3.0, 0.5),
    (lambda x: torch.where(x.isinf(), torch.inf, 2 * x), -1.0, 3.0, 2.0),  # a guard that never acts
    (lambda x: torch.nan_to_num(x) * 3, -1.0, 3.0, 3.0),
    (lambda x: torch.xlogy(x, x), 1.0, 2.0, 2 * math.log(2)),
    (lambda x: torch.hypot(x, 2 * x), 1.0, 3.0, math.sqrt(5)),
    (lambda x: torch.cdist(x[None], -x[None])[0], 1.0, 3.0, 2.0),
    (lambda x: F.bilinear(x, x, torch.ones(1, 1, 1, dtype=x.dtype)), 1.0, 3.0, 4.0),
]


@pytest.mark.parametrize(("f", "v0", "v1", "expected"), SCALARS, ids=range(len(SCALARS)))
def test_functions_of_one_number(f, v0, v1, expected):
    assert slope(f, v0, v1) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("f", [torch.tanh, torch.sigmoid, F.gelu, F.silu, F.softplus, F.mish, torch.exp, F.elu, torch.erf, torch.log1p, lambda x: (x + 2) ** 1.7])  # fmt: skip
@pytest.mark.parametrize("d", [1e-12, 1e-8, 1e-5, 1e-3, 0.3])
def test_small_changes_do_not_cancel(f, d):
    """Against the slope integrated over the interval, which no difference enters."""
    nodes = torch.tensor(
        [-0.9061798459386640, -0.5384693101056831, 0.0, 0.5384693101056831, 0.9061798459386640]
    ).double()
    weights = torch.tensor([0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665, 0.2369268850561891]).double() / 2  # fmt: skip
    start = 0.4
    points = (start + d * (nodes + 1) / 2).requires_grad_()
    (slopes,) = torch.autograd.grad(f(points).sum(), points)
    assert slope(f, start, start + d) == pytest.approx(float(slopes @ weights), rel=1e-9)


def test_product_halves_the_cross_term():
    u, v = multipliers(
        lambda a, b: a * b,
        (torch.tensor([1.0]), torch.tensor([2.0])),
        (torch.tensor([3.0]), torch.tensor([6.0])),
    )
    assert (float(u), float(v)) == (4.0, 2.0)  # the means of the other factor


def test_quotient():
    u, v = multipliers(
        lambda a, b: a / b,
        (torch.tensor([1.0]), torch.tensor([1.0])),
        (torch.tensor([3.0]), torch.tensor([2.0])),
    )
    assert (float(u), float(v)) == (0.75, -1.0)  # mean of 1/b; minus mean of a over the product of b


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a @ b,
        lambda a, b: torch.einsum("ij,jk->ki", a, b),
        lambda a, b: torch.addmm(torch.ones(2, 2, dtype=a.dtype), a, b, alpha=2, beta=3),
        lambda a, b: F.conv1d(a[None], b.T[:, :, None].contiguous()).sum(0),
    ],
)
def test_matrix_products_take_the_means(f):
    torch.manual_seed(0)
    a0, a1 = torch.randn(2, 2, 3).double()
    b0, b1 = torch.randn(2, 3, 2).double()
    if f.__code__.co_names[:1] == ("F",):
        a0, a1 = torch.randn(2, 3, 5).double()
    da, db = multipliers(f, (a0, b0), (a1, b1))
    mean_a, mean_b = ((a0 + a1) / 2).requires_grad_(), ((b0 + b1) / 2).requires_grad_()
    grads = torch.autograd.grad(f(mean_a, mean_b).sum(), (mean_a, mean_b))
    torch.testing.assert_close((da, db), tuple(grads))


def test_bias_and_summand_that_depend_on_the_inputs():
    c0, c1 = torch.zeros(2), torch.ones(2)
    eye = torch.eye(2)
    (m,) = multipliers(lambda c: torch.addmm(c, eye, eye, beta=3), (c0,), (c1,))
    assert torch.equal(m, torch.tensor([6.0, 6.0]))
    (m,) = multipliers(lambda c: F.conv1d(torch.ones(1, 1, 4), torch.ones(2, 1, 1), c), (c0,), (c1,))
    assert torch.equal(m, torch.tensor([4.0, 4.0]))


def test_scatter_to_a_place_drops_what_was_there():
    def f(x):
        y = x * 2
        y[0] = 5.0
        y[1] = x[2] * 3
        return y

    (m,) = multipliers(f, (torch.zeros(3),), (torch.ones(3),))
    assert m.tolist() == [0, 0, 5]


@pytest.mark.parametrize(
    ("v0", "v1", "expected"),
    [
        ([0, 0, 0], [1, 2, 3], [0, 0, 1]),  # the largest at the input, as the largest grew
        ([3, 0, 0], [0, 2, 1], [1 / 3, 0, 0]),  # it fell by 1: the largest at the baseline, which fell by 3
        ([1, 2, 0], [1, 2, 1], [0, 1, 0]),  # no change, one winner: its slope
        ([2, 0, 0], [0, 2, 0], [0, 0, 0]),  # no change, another winner
        ([-inf, 0, 1], [-inf, 3, 1], [0, 2 / 3, 0]),
    ],
)
def test_largest(v0, v1, expected):
    x0, x1 = torch.tensor([v0, v1], dtype=torch.float64)
    for f in (
        lambda x: x.amax(),
        lambda x: x.max(),
        lambda x: x.max(0).values,
        lambda x: -(-x).amin(),
        lambda x: F.max_pool1d(x[None], 3),
    ):
        assert multipliers(f, (x0,), (x1,))[0].tolist() == pytest.approx(expected)


def test_softmax_of_two_is_a_sigmoid_of_the_difference():
    x0, x1 = torch.tensor([[0.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    (m,) = multipliers(lambda x: x.softmax(0)[:1], (x0,), (x1,))
    expected = slope(torch.sigmoid, 0.0, 1.0)
    assert m.tolist() == pytest.approx([expected, -expected])


@pytest.mark.parametrize("f", [lambda x: x.softmax(0)[0], lambda x: x.log_softmax(0)[0]])
def test_softmax_ignores_shifts(f):
    x0, x1 = torch.tensor([[0.0, 1.0, -2.0], [2.0, 0.5, 1.0]], dtype=torch.float64)
    (m,) = multipliers(f, (x0,), (x1,))
    (shifted,) = multipliers(f, (x0 + 700,), (x1 - 900,))
    torch.testing.assert_close(m, shifted)
    assert float(m.sum()) == pytest.approx(0, abs=1e-15)


def test_softmax_at_one_point_is_its_jacobian():
    x = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for f in (lambda v: v.softmax(0)[1], lambda v: v.log_softmax(0)[1], lambda v: v.logsumexp(0)):
        (m,) = multipliers(f, (x,), (x,))
        torch.testing.assert_close(m, torch.func.grad(f)(x))


def test_masked_logits_get_nothing_and_spoil_nothing():
    mask = torch.tensor([False, True, False])
    x0, x1 = torch.tensor([[0.0, 9.0, 1.0], [2.0, -9.0, 1.5]], dtype=torch.float64)
    (m,) = multipliers(lambda x: x.masked_fill(mask, -inf).softmax(0)[0], (x0,), (x1,))
    (alone,) = multipliers(lambda x: x.softmax(0)[0], (x0[~mask],), (x1[~mask],))
    assert m[1] == 0
    torch.testing.assert_close(m[~mask], alone)
    (m,) = multipliers(lambda x: (x + torch.where(mask, -inf, 0.0)).log_softmax(0)[0], (x0,), (x1,))
    assert m[1] == 0
    (alone,) = multipliers(lambda x: x.log_softmax(0)[0], (x0[~mask],), (x1[~mask],))
    torch.testing.assert_close(m[~mask], alone)


def test_batch_norm_is_affine():
    bn = torch.nn.BatchNorm2d(2).double().eval()
    bn.running_var[:] = torch.tensor([3.0, 8.0])
    bn.weight.data[:] = torch.tensor([2.0, -1.0])
    x = torch.randn(2, 3, 2, 2, 2).double()
    (m,) = multipliers(bn, (x[0],), (x[1],))
    expected = bn.weight / (bn.running_var + bn.eps).sqrt()
    torch.testing.assert_close(m, expected.detach().view(1, 2, 1, 1).expand_as(m))


def test_a_product_of_many_factors():
    x0, x1 = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 1.0, 1.0, 1.0]])
    (m,) = multipliers(lambda x: x.prod(), (x0,), (x1,))
    assert float(m[0]) == 1.0
    assert float((m * (x1 - x0)).sum()) == 2.0
