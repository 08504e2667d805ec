"""Exact integrated gradients of piecewise linear networks, against a path that is halved until it bends no more."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib.functional import integrated_gradients
from attrib.testing import AXIOMS, CONTRACT, specimen

CELLS = 64
EXACT = partial(integrated_gradients, quadrature="exact")


def halved(f, x: Tensor, x0: Tensor, target: int) -> Tensor:
    """The average gradient of one sample, by halving every stretch whose ends have other gradients."""

    def gradients(t: Tensor) -> Tensor:
        rows = (x0 + t.view(-1, *[1] * x.ndim) * (x - x0)).requires_grad_()
        return torch.autograd.grad(f(rows)[:, target].sum(), rows)[0].flatten(1)

    left, right = torch.arange(CELLS).double() / CELLS, torch.arange(1, CELLS + 1).double() / CELLS
    nudge = 1e-13
    total = torch.zeros(x.numel(), dtype=torch.float64)
    while len(left):
        a, b = gradients(left + nudge), gradients(right - nudge)
        same = ((a - b).abs() <= 1e-9 * (1 + a.abs())).all(1) | (right - left < 1e-11)
        total += ((right - left)[same, None] * (a + b)[same] / 2).sum(0)
        middle = ((left + right) / 2)[~same]
        left, right = torch.cat([left[~same], middle]), torch.cat([middle, right[~same]])
    return total.view(x.shape)


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 6, 3, padding=1), nn.Conv1d(6, 5, 3)
        self.norm, self.out = nn.BatchNorm1d(6), nn.Linear(10, 3)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool1d(F.relu(self.norm(self.first(x))), 2)
        return self.out(F.leaky_relu(self.second(h), 0.1).flatten(1))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.relu6(3 * self.first(x)), 2)
        h = h.clone()
        h[:, 1].relu_()
        return self.out(self.second(h).abs().amax((2, 3)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.slope = nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.slope(self.a(x))
        h = torch.maximum(h, self.b(F.hardtanh(h)))
        return self.out(h.clamp(-0.5, 2) - F.relu(-h, inplace=True))


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(7, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3)
    )


NETS = {
    "mlp": (mlp, (7,)),
    "pooled": (Pooled, (4, 8)),
    "images": (Images, (2, 10, 10)),
    "residual": (Residual, (6,)),
}


@pytest.mark.parametrize("name", NETS)
def test_every_entry_is_that_of_the_halved_path(name: str) -> None:
    make, shape = NETS[name]
    torch.manual_seed(3)
    f = make().double().eval()
    x, x0 = 2 * torch.randn(3, *shape, dtype=torch.float64), torch.randn(3, *shape, dtype=torch.float64)
    found = integrated_gradients.explain(f, x, baselines=x0, quadrature="exact", targets="all", batch_size=7)
    for t in range(3):
        for n in range(3):
            expected = halved(f, x[n], x0[n], t) * (x[n] - x0[n])
            torch.testing.assert_close(found.attribution[t, n], expected, rtol=0, atol=1e-8)
    assert float(found.delta.abs().max()) < 1e-11
    assert found.per_sample["segments"].max() > 3
    assert (found.per_sample["evaluations"] < 20 * found.per_sample["segments"] + 20).all()


def test_bumps_between_probes_are_seen() -> None:
    """A network that is 0 but for a bump 1e-5 wide, whose slopes and values are the same on both of its sides."""
    place, width = 0.4321, 1e-5

    def f(x: Tensor) -> Tensor:
        hat = F.relu(x - place) - 2 * F.relu(x - place - width) + F.relu(x - place - 2 * width)
        return F.relu(hat.sum(1) - width / 2) * 1e5

    x = torch.ones(1, 1, dtype=torch.float64)
    found = integrated_gradients.explain(f, x, quadrature="exact", multiply_by_inputs=False)
    assert found.per_sample["segments"].tolist() == [6]
    assert abs(float(found.attribution)) < 1e-6  # what goes up comes down
    half = torch.full((1, 1), place + width, dtype=torch.float64)  # to the top of the bump
    assert float(integrated_gradients(f, half, quadrature="exact")) == pytest.approx(0.5, abs=1e-6)


def test_wide_first_layers_are_hoisted_and_float32_is_near() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(600, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    x = torch.randn(5, 600)
    found = integrated_gradients.explain(net, x, quadrature="exact", target="predicted")
    exact = integrated_gradients(net.double(), x.double(), quadrature="exact", target=found.target.tolist())
    error = (found.attribution - exact).abs().amax(1) / exact.abs().amax(1)
    assert float(error.max()) < 3e-3
    expected = halved(net, x[0].double(), torch.zeros(600, dtype=torch.float64), int(found.target[0])) * x[0]
    torch.testing.assert_close(exact[0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_samples_do_not_depend_on_each_other_or_on_chunks(batch_size) -> None:
    torch.manual_seed(1)
    f, x = mlp().double().eval(), torch.randn(4, 7, dtype=torch.float64)
    found = integrated_gradients.explain(f, x, target=1, quadrature="exact", batch_size=batch_size)
    for n in range(4):
        one = integrated_gradients.explain(f, x[n : n + 1], target=1, quadrature="exact")
        torch.testing.assert_close(found.attribution[n], one.attribution[0], rtol=0, atol=1e-12)
        assert found.per_sample["segments"][n] == one.per_sample["segments"][0]


def test_what_is_not_reached_shows_in_delta_and_notes() -> None:
    torch.manual_seed(2)
    f, x = mlp().double().eval(), 3 * torch.randn(2, 7, dtype=torch.float64)
    found = integrated_gradients.explain(f, x, target=0, quadrature="exact", n_steps=12)
    assert found.per_sample["evaluations"].max() <= 12
    assert "2 samples bend more often than n_steps=12" in found.notes["quadrature"]
    assert float(found.delta.abs().max()) > 1e-4
    some = integrated_gradients.explain(f, x, target=0, quadrature="exact", n_steps=24)
    exact = integrated_gradients(f, x, target=0, quadrature="exact")
    assert some.per_sample["evaluations"].max() <= 24
    assert (some.attribution - exact).abs().max() < (found.attribution - exact).abs().max()
    assert integrated_gradients.explain(f, x, target=0, quadrature="exact").notes is None


def test_samples_that_are_their_baselines() -> None:
    f, x = mlp().double().eval(), torch.randn(2, 7, dtype=torch.float64)
    found = integrated_gradients.explain(
        f, x, baselines=torch.cat([x[:1], 0 * x[:1]]), target=0, quadrature="exact"
    )
    assert found.attribution[0].abs().max() == 0
    assert found.per_sample["segments"][0] == 1
    assert found.per_sample["segments"][1] > 1


class Bent(nn.Module):
    def __init__(self, bend) -> None:
        super().__init__()
        self.layer, self.bend = nn.Linear(3, 4), bend

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(self.layer(x))


@pytest.mark.parametrize(
    ("bend", "op"),
    [
        (torch.sigmoid, "aten.sigmoid"), (F.gelu, "aten.gelu"), (F.elu, "aten.elu"), (lambda h: h * h, "aten.mul.Tensor"),
        (lambda h: h.softmax(1), "softmax"), (lambda h: h / h.sum(1, keepdim=True), "aten.div"), (lambda h: h**2, "aten.pow"),
        (lambda h: torch.where(h > 0, h, -h), "aten.gt|aten.where"), (lambda h: (h > 0).to(h) * h, "aten.gt"),
        (lambda h: h.sort(1).values, "aten.sort"), (lambda h: F.layer_norm(h, (4,)), "aten"),
        (lambda h: F.threshold(h, 0.1, 0.0), "aten.threshold"),
        (lambda h: h.clamp(max=h.sum(1, keepdim=True)), "aten"),
    ],
)  # fmt: skip
def test_other_ops_are_refused_by_name_and_line(bend, op: str) -> None:
    with pytest.raises(
        NotImplementedError, match=rf"`quadrature` is .exact., .*({op}).*test_exact|test_exact.*({op})"
    ):
        integrated_gradients(
            Bent(bend).double(), torch.randn(2, 3, dtype=torch.float64), target=0, quadrature="exact"
        )


def test_targets_are_part_of_the_network() -> None:
    torch.manual_seed(0)
    f, x = mlp().double().eval(), torch.randn(2, 7, dtype=torch.float64)
    largest = lambda y: y.amax(1)
    found = integrated_gradients.explain(f, x, target=largest, quadrature="exact")
    assert float(found.delta.abs().max()) < 1e-12
    for n in range(2):
        expected = halved(lambda rows: largest(f(rows))[:, None], x[n], 0 * x[n], 0) * x[n]
        torch.testing.assert_close(found.attribution[n], expected, rtol=0, atol=1e-8)
    with pytest.raises(NotImplementedError, match=r"aten.exp|logsumexp"):
        integrated_gradients(f, x, target=lambda y: y.logsumexp(1), quadrature="exact")


def test_arguments() -> None:
    f, x = mlp().eval(), torch.randn(1, 7)
    with pytest.raises(ValueError, match="`rtol` refines rules"):
        integrated_gradients(f, x, target=0, quadrature="exact", rtol=1e-3)
    with pytest.raises(ValueError, match="`n_steps` is 2"):
        integrated_gradients(f, x, target=0, quadrature="exact", n_steps=2)
    with pytest.raises(TypeError, match=r"`n_steps` is 2.5"):
        integrated_gradients(f, x, target=0, quadrature="exact", n_steps=2.5)
    rule = integrated_gradients(f, x, target=0)
    torch.testing.assert_close(rule, integrated_gradients(f, x, target=0, n_steps=50), rtol=0, atol=0)


class Sideways(nn.Module):
    """Its kink runs on (positions, rows, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(x.transpose(0, 1)).transpose(0, 1).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(3, 5, nonlinearity="relu", batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.adaptive_max_pool1d(self.rnn(x)[0].transpose(1, 2), 2).max(2).values)


def test_recurrent_relus_and_maxima_over_positions() -> None:
    torch.manual_seed(5)
    f, x = Recurrent().double().eval(), 2 * torch.randn(2, 6, 3, dtype=torch.float64)
    found = integrated_gradients.explain(f, x, target=1, quadrature="exact")
    for n in range(2):
        torch.testing.assert_close(
            found.attribution[n], halved(f, x[n], 0 * x[n], 1) * x[n], rtol=0, atol=1e-8
        )
    assert found.per_sample["segments"].min() > 2


def test_rows_that_are_not_in_front_are_refused_at_a_kink() -> None:
    with pytest.raises(NotImplementedError, match="first dim is not the rows"):
        integrated_gradients(Sideways(), torch.randn(2, 4, 2), target=0, quadrature="exact")


def test_kinks_of_weights_and_several_inputs() -> None:
    weight = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def f(a: Tensor, b: Tensor) -> Tensor:
        return F.relu(a @ F.relu(weight) - 1) + F.relu(b + a[:, :5])

    xs = tuple(torch.randn(3, k, dtype=torch.float64) for k in (6, 5))
    found = integrated_gradients.explain(f, xs, target=2, quadrature="exact")
    assert float(found.delta.abs().max()) < 1e-12
    together = lambda rows: f(rows[:, :6], rows[:, 6:])
    x = torch.cat(xs, 1)
    expected = halved(together, x[1], 0 * x[1], 2) * x[1]
    torch.testing.assert_close(torch.cat([a[1] for a in found.attribution]), expected, rtol=0, atol=1e-8)


def test_labelled_and_lazy_results_have_the_counts() -> None:
    torch.manual_seed(0)
    f = mlp().eval()
    x = xr.DataArray(np.random.default_rng(0).normal(size=(4, 7)).astype("float32"), dims=("cell", "gene"))
    a = attrib.integrated_gradients(f, x, target=0, quadrature="exact")
    assert a.segments.dims == ("cell",)
    assert (a.evaluations > a.segments).all()
    pytest.importorskip("dask")
    lazy = attrib.integrated_gradients(f, x.chunk(cell=2), target=0, quadrature="exact")
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy, a, atol=1e-6)
    np.testing.assert_array_equal(lazy.segments, a.segments)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "number", "sequence"])
@pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT.keys())
def test_contract_of_piecewise_linear_networks(check: Any, kind: str) -> None:
    s = specimen(
        kind, sum(map(ord, kind)), dtype=torch.float64, smooth=False, target="each", baselines="each"
    )
    check(EXACT, s.f, s.x, tolerance=1e-9, target=s.target, baselines=s.baselines)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "number", "sequence"])
@pytest.mark.parametrize("axiom", ["completeness", "dummy", "linearity"])
def test_axioms_of_piecewise_linear_networks(axiom: str, kind: str) -> None:
    for seed in range(4):
        s = specimen(kind, seed, dtype=torch.float64, smooth=False, baselines="each")
        AXIOMS[axiom](EXACT, s.f, s.x, tolerance=1e-9, target=s.target, baselines=s.baselines)


def test_several_targets_are_the_single_ones() -> None:
    s = specimen("mlp", 3, dtype=torch.float64, smooth=False, baselines="each")
    several = EXACT(s.f, s.x, targets="all", baselines=s.baselines)
    for k in range(3):
        torch.testing.assert_close(
            several[k], EXACT(s.f, s.x, target=k, baselines=s.baselines), rtol=1e-9, atol=1e-12
        )
