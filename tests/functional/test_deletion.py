"""Curves of deletion and insertion: closed forms, groups, controls, and their independence of the batch."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from attrib.engine.sampling.perturbations import permutations
from attrib.functional import deletion, grad_cam, input_x_gradient, insertion, shapley_values
from attrib.testing import specimen

both = pytest.mark.parametrize("curve", [deletion, insertion])


def test_closed_forms() -> None:
    x = torch.tensor([[1.0, -2.0, 3.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    f = lambda x: x.sum(1)
    assert deletion(f, x, x, steps=4).tolist() == [[2.5, -0.5, -1.5, -2.0, 0.0], [0.0] * 5]
    assert insertion(f, x, x, steps=4).tolist() == [[0.0, 3.0, 4.0, 4.5, 2.5], [0.0] * 5]
    assert deletion(f, x, x, steps=4, order="magnitude")[0].tolist() == [2.5, -0.5, 1.5, 0.5, 0.0]
    assert deletion(f, x, x, steps=2, baselines=1.0)[0].tolist() == [2.5, 0.5, 4.0]
    e = deletion.explain(f, x, x, steps=4)
    assert e.area.tolist() == pytest.approx([(2.5 / 2 - 0.5 - 1.5 - 2.0) / 4, 0.0])
    assert e.fraction.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert e.prediction.tolist() == [2.5, 0.0]


def test_by_brute_force() -> None:
    s = specimen("mlp", 2, dtype=torch.float64)
    a = input_x_gradient(s.f, s.x, target=1)
    curve = deletion(s.f, s.x, a, target=1, steps=3, baselines=s.x.mean(0))
    for n in range(3):
        order = a[n].argsort(descending=True)
        for k in range(4):
            row = s.x[n].clone()
            gone = order[: round(k * 5 / 3)]
            row[gone] = s.x.mean(0)[gone]
            assert curve[n, k].item() == pytest.approx(s.f(row[None])[0, 1].item(), abs=1e-12)


@both
def test_independent_of_batch_order_and_chunk(curve: Any) -> None:
    s = specimen("cnn", dtype=torch.float64)
    a = input_x_gradient(s.f, s.x, targets=[0, 2])
    options = {"targets": [0, 2], "steps": 5, "n_random": 3, "seed": 4}
    e = curve.explain(s.f, s.x, a, **options)
    back = curve.explain(s.f, s.x.flip(0), a.flip(1), batch_size=7, **options)
    for one, other in zip(e, back, strict=True):
        other = other if one is e.fraction else other.flip(1)
        assert torch.allclose(one, other, atol=1e-10)
    for k, target in enumerate((0, 2)):  # each target has its own order
        alone = curve(s.f, s.x, a[k], target=target, steps=5)
        assert torch.allclose(e.score[k], alone, atol=1e-10)
    shared = curve(s.f, s.x, a[0], targets=[0, 2], steps=5)
    assert torch.allclose(shared[0], e.score[0], atol=1e-10)
    assert not torch.allclose(shared[1], e.score[1])


@both
def test_a_random_order_is_like_its_control(curve: Any) -> None:
    x = torch.randn(60, 30, generator=torch.Generator().manual_seed(0))
    f = lambda x: torch.relu(x).sum(1)
    chance = curve.explain(f, x, torch.zeros_like(x), order="random", n_random=20)
    assert abs(float(chance.z.mean())) < 0.5
    assert 0.7 < float(chance.z.std()) < 1.4
    good = curve.explain(f, x, torch.relu(x), n_random=20)
    assert float(good.z.min()) > 2
    bad = curve.explain(f, x, -torch.relu(x), n_random=20)
    assert float(bad.z.max()) < -2


@both
def test_a_random_attribution_is_like_its_control(curve: Any) -> None:
    """On a network, with an attribution that was drawn and an order that follows it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        f = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)).double()
    x, a = (torch.randn(100, 30, generator=torch.Generator().manual_seed(k)).double() for k in (0, 1))
    e = curve.explain(f, x, a, n_random=20, target=0)
    spread = float(e.area.std())
    assert abs(float((e.area - e.random_area).mean())) < 0.1 * spread
    assert abs(float(e.z.mean())) < 0.4
    assert 0.7 < float(e.z.std()) < 1.5


@both
def test_attributions_of_zero_and_models_that_are_constant(curve: Any) -> None:
    x = torch.randn(4, 6)
    e = curve.explain(lambda x: x.sum(1), x, torch.zeros_like(x), n_random=5)
    assert bool(torch.isfinite(e.area).all())
    flat = curve.explain(lambda x: 0 * x.sum(1) + 2, x, x, n_random=5)
    assert flat.area.tolist() == [2.0] * 4
    assert flat.z.tolist() == [0.0] * 4


@both
def test_differences_of_rounding_have_a_small_z(curve: Any) -> None:
    """A score that is the same but for its last digits makes no infinite z; a real difference from equal random areas a large one."""
    x = torch.randn(4, 6)
    order = torch.arange(6.0).expand(4, 6)
    nearly = curve.explain(lambda x: 1 + 6e-6 * (x[:, 5] != 0), x, order, n_random=5)
    assert bool((nearly.z.abs() < 5).all())
    one = curve.explain(lambda x: x[:, 0], torch.ones(1, 1), torch.ones(1, 1), n_random=5)
    assert bool(torch.isfinite(one.z).all())


def test_groups_go_together() -> None:
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    groups = torch.tensor([0, 1, 0, -1])
    f = lambda x: x.sum(1)
    values = shapley_values(f, x, groups=groups)  # NaN outside of the groups
    assert deletion(f, x, values, groups=groups, steps=2).tolist() == [[15.0, 10.0, 8.0]]
    assert insertion(f, x, values, groups=groups, steps=2).tolist() == [[8.0, 13.0, 15.0]]
    with pytest.raises(ValueError, match="pass the `groups` it was computed with"):
        deletion(f, x, values)
    everything = torch.zeros(4, dtype=torch.long)
    assert deletion(f, x, x, groups=everything, steps=2).tolist() == [[15.0, 15.0, 0.0]]


def test_maps_without_channels_take_all_channels_at_once() -> None:
    s = specimen("cnn", dtype=torch.float64)
    x = torch.cat([s.x, s.x], 1)
    f = lambda x: s.f(x.sum(1, keepdim=True) / 2)
    maps = grad_cam(s.f, s.x, layer="0", target=1, relu=False)[:, None]  # no two values are equal
    one = deletion(s.f, s.x, maps, target=1)
    assert torch.allclose(deletion(f, x, maps, target=1), one, atol=1e-10)
    tied = maps.clamp(min=maps.median())
    pixels = torch.arange(36).view(1, 6, 6).expand(2, 6, 6)
    together = deletion(f, x, tied.expand_as(x), target=1, groups=pixels)
    assert torch.allclose(deletion(f, x, tied, target=1), together, atol=1e-10)


def test_equal_attributions_go_as_they_go_alone() -> None:
    """Other samples of the batch have more players: that changes no order."""
    f = lambda x: (x * torch.arange(1.0, 7.0)).sum(1)
    groups = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
    for seed in range(8):
        x = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed))
        together = deletion(f, x, torch.ones(2, 6), groups=groups, steps=3)
        alone = deletion(f, x[:1], torch.ones(1, 6), groups=groups[:1], steps=3)
        torch.testing.assert_close(together[:1], alone)


@both
def test_equal_attributions_are_no_order_of_places(curve: Any) -> None:
    """A model whose score lies in its first features: a constant attribution, and one that knows half, are as good there as elsewhere."""
    weights = torch.linspace(2.0, 0.0, 40, dtype=torch.float64) ** 4
    f = lambda x: x @ weights
    x = 1 + torch.rand(80, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for value in (0.0, 1.0):
        e = curve.explain(f, x, torch.full_like(x, value), n_random=20)
        assert abs(float(e.z.mean())) < 0.4
        assert 0.7 < float(e.z.std()) < 1.5
        back = curve.explain(lambda x: f(x.flip(1)), x, torch.full_like(x, value), n_random=20)
        assert abs(float(back.z.mean())) < 0.4
    known = torch.where(torch.arange(40) < 20, weights, 0.0).expand_as(x)
    assert float(curve.explain(f, x, known, n_random=20).z.min()) > 2
    one, again = (curve(f, x[:3], torch.zeros(3, 40), seed=k) for k in (0, 1))
    assert not torch.allclose(one, again)


def test_several_inputs_are_ranked_together() -> None:
    x = (torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0]]))
    f = lambda a, b: a.sum(1) + b.sum(1)
    assert deletion(f, x, x, steps=3).tolist() == [[9.0, 4.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attribution": torch.ones(3, 4)}, ValueError, r"has shape \(3, 4\), expected \(3, 5\)"),
        ({"attribution": torch.ones(2, 5)}, ValueError, r"has shape \(2, 5\)"),
        ({"attribution": None}, TypeError, "is a NoneType"),
        ({"attribution": torch.full((3, 5), torch.inf)}, ValueError, "NaN or infinite values in 3 of 3"),
        ({"groups": torch.full((5,), -1)}, ValueError, "no feature belongs to a group"),
        (
            {"groups": torch.zeros(4, dtype=torch.long)},
            ValueError,
            r"`groups` has shape \(4,\), expected \(5,\)",
        ),
        ({"order": "smallest"}, ValueError, "`order` is 'smallest', expected one of largest"),
        ({"steps": 0}, ValueError, "`steps` is 0, expected at least 1"),
        ({"n_random": 1.5}, TypeError, "`n_random` is 1.5, expected an int"),
        (
            {"attribution": torch.ones(2, 3, 5), "targets": [0, 1, 2], "target": None},
            ValueError,
            "has 2 targets",
        ),
        ({"n_steps": 3}, TypeError, "deletion has no argument 'n_steps'; did you mean 'steps'"),
    ],
)
def test_bad_input(options: dict[str, Any], error: type, message: str) -> None:
    s = specimen("mlp")
    with pytest.raises(error, match=message):
        deletion(s.f, s.x, **{"attribution": torch.ones(3, 5), "target": 0, **options})


def test_an_order_is_drawn_once_however_small_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders of millions of voxels take longer than a network; points of one order may be calls of their own."""
    drawn: list[int] = []
    monkeypatch.setattr(
        sys.modules["attrib.functional.deletion"],
        "permutations",
        lambda *a: drawn.append(1) or permutations(*a),
    )
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    f = lambda x: (x * torch.arange(1.0, 7)).sum(1).square()
    one = deletion.explain(f, x, x, n_random=3, steps=5, batch_size=1)
    assert len(drawn) == 2 * 3
    torch.testing.assert_close(one.z, deletion.explain(f, x, x, n_random=3, steps=5).z)
