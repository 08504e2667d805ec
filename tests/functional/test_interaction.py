"""Interactions of two inputs against closed forms, brute force and the effect that they share out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from attrib.functional import interaction
from tests.examples import examples


def pair(n: int = 3, p: int = 4, q: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, p, dtype=torch.float64), torch.randn(n, q, dtype=torch.float64)


class Joined(nn.Module):
    """Two branches, multiplied and then mixed by a smooth or a kinked activation."""

    def __init__(self, act: type[nn.Module] = nn.SiLU, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.other = nn.Linear(4, 6), nn.Linear(3, 6)
        self.act, self.head = act(), nn.Linear(6, classes)
        self.double().eval()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.act(self.one(x) + self.other(y)))


def effect(f: nn.Module, x: Tensor, y: Tensor, x0: Tensor, y0: Tensor) -> Tensor:
    with torch.no_grad():
        return f(x, y) - f(x, y0) - f(x0, y) + f(x0, y0)


@given(seed=st.integers(0, 1000))
@examples(20)
def test_bilinear_functions_are_exact_with_one_step(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(4, 3, generator=g, dtype=torch.float64)
    x, y = (torch.randn(2, k, generator=g, dtype=torch.float64) for k in (4, 3))
    x0, y0 = (torch.randn(1, k, generator=g, dtype=torch.float64) for k in (4, 3))

    def f(u: Tensor, v: Tensor) -> Tensor:
        return ((u @ a) * v).sum(1) + u.exp().sum(1) + v.sin().sum(1)

    found = interaction(f, (x, y), baselines=(x0, y0), n_steps=1)
    expected = (x - x0)[:, :, None] * a * (y - y0)[:, None, :]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["func", "autograd"])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_sums_are_the_joint_effect(engine: str, batch_size: int | str) -> None:
    f, (x, y) = Joined(), pair()
    e = interaction.explain(f, (x, y), targets="all", n_steps=12, engine=engine, batch_size=batch_size)
    expected = effect(f, x, y, torch.zeros_like(x), torch.zeros_like(y)).T
    assert e.attribution.shape == (2, 3, 4, 3)
    torch.testing.assert_close(e.attribution.sum((2, 3)), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(e.delta, e.attribution.sum((2, 3)) - expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(e.prediction, f(x, y).T.detach())
    assert e.engine == engine


def test_equals_second_derivatives_at_every_node_brute_force() -> None:
    f, (x, y) = Joined(), pair(n=1)
    found = interaction(f, (x, y), target=1, n_steps=3)
    nodes = [0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5]  # Gauss-Legendre with three points
    weights = [5 / 18, 8 / 18, 5 / 18]
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for a, u in zip(nodes, weights, strict=True):
        for b, v in zip(nodes, weights, strict=True):
            h = torch.autograd.functional.hessian(
                lambda p, q: f(p[None], q[None])[0, 1], (a * x[0], b * y[0])
            )[0][1]
            expected += u * v * h * x[0][:, None] * y[0][None]
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-12)


def test_a_sample_is_alone_in_any_batch() -> None:
    f, (x, y) = Joined(), pair()
    x[1, 2:] = 0  # fewer directions than its batch-mates have
    whole = interaction(f, (x, y), target=0)
    for k in range(3):
        one = interaction(f, (x[k : k + 1], y[k : k + 1]), target=0)
        torch.testing.assert_close(whole[k : k + 1], one, rtol=1e-10, atol=1e-13)
    assert not whole[1, 2:].any()


@pytest.mark.parametrize("swap", [False, True])
def test_groups_add_up_their_members(swap: bool) -> None:
    f, (x, y) = Joined(), pair()
    fine = interaction(f, (x, y), target=0)
    labels = torch.tensor([0, 1, -1, 1])
    shares = torch.rand(3, 2, 3, dtype=torch.float64)  # per sample, two groups over y
    coarse = interaction(f, (x, y), target=0, groups=(labels, None if swap else shares))
    expected = torch.stack([fine[:, 0], fine[:, 1] + fine[:, 3]], 1)
    if not swap:
        expected = torch.einsum("ngj,nhj->ngh", expected, shares)
    torch.testing.assert_close(coarse, expected, rtol=1e-9, atol=1e-12)


def test_images_keep_their_shapes() -> None:
    x, y = torch.rand(2, 1, 3, 4).double(), torch.rand(2, 2, 2).double()
    f = lambda u, v: u.flatten(1).pow(2).sum(1) * v.flatten(1).sum(1)
    found = interaction(f, (x, y))
    by_pair = x.square()[:, :, :, :, None, None] * y[:, None, None, None]
    torch.testing.assert_close(found, by_pair, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.sum((1, 2, 3, 4, 5)), f(x, y), rtol=1e-12, atol=0)


def test_targets_that_are_functions_of_the_output_are_differentiated_too() -> None:
    x, y = pair()
    f = lambda u, v: torch.stack([u.sum(1), v.sum(1)], 1)
    found = interaction(f, (x, y), target=lambda out: out[:, 0] * out[:, 1])
    torch.testing.assert_close(found, x[:, :, None] * y[:, None, :], rtol=1e-10, atol=1e-12)


def test_kinks_after_the_inputs_meet_are_refused_and_softened() -> None:
    f, (x, y) = Joined(nn.ReLU), pair()
    with pytest.raises(ValueError, match=r"piecewise linear.*softplus=10\.0"):
        interaction(f, (x, y), target=0)
    e = interaction.explain(f, (x, y), target=0, softplus=5.0, n_steps=24)
    zeros = torch.zeros_like(x), torch.zeros_like(y)

    def smooth(u: Tensor, v: Tensor) -> Tensor:
        return f.head(nn.functional.softplus(f.one(u) + f.other(v), 5.0))[:, :1]

    expected = effect(smooth, x, y, *zeros)[:, 0]
    torch.testing.assert_close(e.attribution.sum((1, 2)), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(e.prediction, smooth(x, y)[:, 0].detach())
    assert e.notes == {"softplus": 5.0}


def test_kinks_inside_the_branches_are_no_obstacle() -> None:
    x, y = pair()
    f = lambda u, v: torch.relu(u).sum(1) * torch.relu(v).sum(1)
    found = interaction(f, (x, y), n_steps=2)
    torch.testing.assert_close(
        found, torch.relu(x)[:, :, None] * torch.relu(y)[:, None, :], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("form", ["module", "in place", "function", "method"])
def test_every_spelling_of_relu_is_softened(form: str) -> None:
    spelled = {
        "module": nn.ReLU(), "in place": nn.ReLU(inplace=True), "function": torch.relu, "method": lambda v: v.relu(),
    }[form]  # fmt: skip
    x, y = pair()
    f = lambda u, v: spelled(u.sum(1) + v.sum(1))
    same = lambda u, v: nn.functional.softplus(u.sum(1) + v.sum(1), 3.0)
    torch.testing.assert_close(interaction(f, (x, y), softplus=3.0), interaction(same, (x, y)))


def test_models_that_do_not_let_their_inputs_meet_have_no_interaction() -> None:
    x, y = pair()
    found = interaction(lambda u, v: u.exp().sum(1) + v.sin().sum(1), (x, y))
    assert not found.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": (torch.zeros(5, dtype=torch.long), None)}, r"`groups\[0\]` has shape \(5,\)"),
        ({"groups": (None, torch.rand(2, 4))}, r"`groups\[1\]` has shape \(2, 4\)"),
        ({"groups": (torch.full((4,), -1), None)}, "puts no value into a group"),
        ({"softplus": 0.0}, "`softplus` is 0.0"),
        ({"softplus": 2.0}, "calls no ReLU"),
        ({"engine": "jet"}, "`engine` is 'jet'"),
        ({"n_steps": 0}, "`n_steps` is 0"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interaction(Joined(), pair(), target=0, **options)


def test_one_or_three_inputs_are_refused() -> None:
    x, y = pair()
    with pytest.raises(ValueError, match="`x` has 1 inputs, expected two"):
        interaction(Joined(), (x,), target=0)
    with pytest.raises(TypeError, match="`groups` has to be a tuple of two"):
        interaction(Joined(), (x, y), target=0, groups=(1, None))


def test_samples_that_are_single_numbers() -> None:
    x, y = torch.tensor([2.0, 3.0]).double(), torch.tensor([[1.0, 4.0], [5.0, 7.0]]).double()
    torch.testing.assert_close(
        interaction(lambda u, v: u * v[:, 1], (x, y)), torch.stack([0 * x, x * y[:, 1]], 1)
    )
    torch.testing.assert_close(interaction(lambda u, v: u * v, (x, x)), x * x)
