"""Shapley values against the definition, closed forms, and what their standard error promises."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import attrib
from attrib.functional import shapley_values
from attrib.testing import specimen


def by_definition(f: Any, x: Tensor, pool: Tensor, groups: Tensor) -> Tensor:
    """The mean over all orders of what each group adds, group by group: (N, ...) with NaN outside of all groups."""
    numbers = groups[groups >= 0].unique().tolist()
    values = torch.full_like(x, torch.nan)
    for n in range(len(x)):
        baselines = pool[n] if len(pool) > 1 else pool[0]

        def score(present: frozenset[int]) -> Tensor:
            keep = torch.stack([groups == g for g in present] + [groups < 0]).any(0)
            rows = torch.where(keep, x[n], baselines)
            return f(rows).mean(0)

        scores: dict[frozenset[int], Tensor] = {}
        for order in permutations(numbers):
            for k in range(len(order) + 1):
                present = frozenset(order[:k])
                if present not in scores:
                    scores[present] = score(present)
        count = math.factorial(len(numbers))
        for g in numbers:
            total = sum(
                scores[frozenset(order[: order.index(g) + 1])] - scores[frozenset(order[: order.index(g)])]
                for order in permutations(numbers)
            )
            values[n][groups == g] = total / count
    return values


GROUPS = {
    "each": torch.arange(5),
    "some": torch.tensor([0, 7, 0, -1, 3]),
    "one": torch.zeros(5, dtype=torch.long),
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS.keys())
@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 1, 5), (1, 4, 5), (3, 4, 5)])
def test_the_definition(groups: Tensor, shape: tuple[int, ...]) -> None:
    s = specimen("mlp", 3, dtype=torch.float64)
    pool = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    f = lambda x: s.f(x)[:, 2].detach()
    expected = by_definition(f, s.x, pool, groups)
    e = shapley_values.explain(s.f, s.x, groups=groups, baselines=pool, target=2)
    assert torch.allclose(e.attribution, expected, rtol=0, atol=1e-10, equal_nan=True)
    assert float(e.delta.abs().max()) < 1e-12
    assert e.standard_error.nan_to_num().abs().max() == 0
    assert e.notes["players"] == len(groups.unique()) - int((groups < 0).any())
    assert e.notes["coalitions"] == "all"


def test_all_orders_are_the_definition_too() -> None:
    """With many orders the mean is near the exact value: within the errors that come with it."""
    s = specimen("mlp", 4, dtype=torch.float64, n=40)
    exact = shapley_values(s.f, s.x, target=1)
    e = shapley_values.explain(s.f, s.x, target=1, exact=False, n_permutations=400, path="dense")
    z = (e.attribution - exact) / e.standard_error
    assert float(z.square().mean()) == pytest.approx(1, abs=0.3)
    assert float(z.abs().max()) < 5
    assert float(e.delta.abs().max()) < 1e-12
    assert e.evaluations == 40 * (2 + 400 * 4)


def test_closed_forms() -> None:
    x, b = torch.randn(3, 20, dtype=torch.float64), torch.randn(3, 20, dtype=torch.float64)
    w = torch.randn(20, dtype=torch.float64)
    linear = shapley_values.explain(lambda x: x @ w, x, baselines=b, n_permutations=3)
    assert torch.allclose(linear.attribution, w * (x - b), atol=1e-12)
    assert float(linear.standard_error.max()) < 1e-12
    product = shapley_values(lambda x: x[:, 0] * x[:, 1] * x[:, 2], x[:, :3])
    assert torch.allclose(product, x[:, :3].prod(1, keepdim=True).expand(-1, 3) / 3)
    ten = torch.ones(1, 12, dtype=torch.float64)  # a majority of twelve: all alike
    majority = shapley_values(lambda x: (x.sum(1) > 6.5).double(), ten)
    assert torch.allclose(majority, torch.full_like(ten, 1 / 12), atol=1e-14)


def test_pairs_take_away_the_error_of_pairwise_interactions() -> None:
    """A quadratic score: an order and its reverse have the exact values between them."""
    a = torch.randn(15, 15, dtype=torch.float64)
    f = lambda x: torch.einsum("ni,ij,nj->n", x, a, x)
    x = torch.randn(2, 15, dtype=torch.float64)
    expected = x * (x @ (a + a.T)) / 2
    e = shapley_values.explain(f, x, n_permutations=4)
    assert torch.allclose(e.attribution, expected, atol=1e-10)
    assert float(e.standard_error.max()) < 1e-10


def test_groups_over_several_inputs_are_one_player() -> None:
    f = lambda a, b: a[:, 0] * b[:, 1] + 3 * a[:, 1] + b[:, 0] ** 2
    x = (torch.tensor([[2.0, 5.0]]), torch.tensor([[7.0, 11.0]]))
    a, b = shapley_values(f, x, groups=(torch.tensor([0, 1]), torch.tensor([1, 0])))
    assert a.tolist() == [[22.0, 64.0]]
    assert b.tolist() == [[64.0, 22.0]]
    alone, grouped = shapley_values(f, x, groups=(None, torch.tensor([0, 0])))
    assert grouped[0, 0] == grouped[0, 1] == 49 + 11
    assert alone.tolist() == [[11.0, 15.0]]
    named = attrib.shapley_values(
        f,
        {
            "a": xr.DataArray(
                x[0].numpy(), dims=("sample", "gene"), coords={"set": ("gene", ["left", "right"])}
            ),
            "b": xr.DataArray(
                x[1].numpy(), dims=("sample", "site"), coords={"side": ("site", ["right", "left"])}
            ),
        },
        groups={"a": "set", "b": "side"},
    )
    assert named["a"].values.tolist() == [[22.0, 64.0]]
    assert named["b"].values.tolist() == [[64.0, 22.0]]


def test_a_distribution_is_the_mean_over_its_members() -> None:
    s = specimen("mlp", 5, dtype=torch.float64)
    pool = torch.randn(4, 5, dtype=torch.float64)
    each = torch.stack([shapley_values(s.f, s.x, target=0, baselines=b) for b in pool])
    assert torch.allclose(shapley_values(s.f, s.x, target=0, baselines=pool[None]), each.mean(0), atol=1e-12)
    shares = torch.stack(
        [shapley_values(s.f, s.x, target=0, baselines=b, exact=False, n_permutations=6) for b in pool]
    )
    together = shapley_values.explain(
        s.f, s.x, target=0, baselines=pool[None], exact=False, n_permutations=6, batch_size=5
    )
    assert torch.allclose(together.attribution, shares.mean(0), atol=1e-12)  # the same orders
    assert float(together.delta.abs().max()) < 1e-12


def test_rtol_draws_as_many_as_a_sample_needs() -> None:
    s = specimen("mlp", 1, dtype=torch.float64, n=12)
    options = {"target": "predicted", "exact": False, "rtol": 0.02, "n_permutations": 8, "path": "dense"}
    e = shapley_values.explain(s.f, s.x, **options)
    reached = e.standard_error.amax(1) <= 0.02 * e.attribution.abs().amax(1)
    most = 2 + 8 * 64 * 4
    assert bool((reached | (e.n_steps == most)).all())
    assert len(e.n_steps.unique()) > 1
    assert int(e.n_steps.sum()) == e.evaluations
    alone = shapley_values.explain(s.f, s.x[3:4], **options)
    assert alone.n_steps[0] == e.n_steps[3]
    assert torch.allclose(alone.attribution[0], e.attribution[3], atol=1e-12)


def test_a_chunk_may_end_within_a_pair() -> None:
    s = specimen("cnn", dtype=torch.float64)
    options = {"target": 1, "n_permutations": 6, "seed": 3}
    expected = shapley_values.explain(s.f, s.x, **options)
    for size in (1, 13, 69, 71, 500):
        e = shapley_values.explain(s.f, s.x, batch_size=size, **options)
        assert torch.allclose(e.attribution, expected.attribution, atol=1e-12)
        assert torch.allclose(e.standard_error, expected.standard_error, atol=1e-12)
    other = shapley_values(s.f, s.x, target=1, n_permutations=6, seed=4)
    assert not torch.allclose(other, expected.attribution)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": torch.full((5,), -1)}, ValueError, "no feature belongs to a group"),
        ({"groups": torch.zeros(4, dtype=torch.long)}, ValueError, "`groups` has shape"),
        ({"groups": torch.zeros(5)}, TypeError, "`groups` is torch.float32"),
        ({"exact": "yes"}, TypeError, "`exact` is 'yes'"),
        ({"n_permutations": 0}, ValueError, "`n_permutations` is 0"),
        ({"n_permutations": 2.0}, TypeError, "`n_permutations` is 2.0"),
        ({"rtol": -1.0}, ValueError, "`rtol` is -1.0"),
        (
            {"baselines": torch.zeros(7, 5)},
            ValueError,
            r"pass baselines.mean\(0\), or use baselines\[None\]",
        ),
        ({"window": 2}, TypeError, "shapley_values has no argument 'window'"),
    ],
)
def test_bad_input(options: dict[str, Any], error: type, message: str) -> None:
    s = specimen("mlp")
    with pytest.raises(error, match=message):
        shapley_values(s.f, s.x, target=0, **options)


def test_too_many_players_for_all_coalitions() -> None:
    with pytest.raises(
        ValueError, match=r"30 players, which have 2\^30 coalitions; pass `groups` of at most"
    ):
        shapley_values(lambda x: x.sum(1), torch.ones(1, 30), exact=True)


def test_labels_that_are_missing_or_negative_are_in_no_group() -> None:
    x = xr.DataArray([[1.0, 2.0, 4.0]], dims=("cell", "gene"), coords={"set": ("gene", ["a", "", "b"])})
    f = lambda x: x.prod(1)
    assert attrib.shapley_values(f, x, groups="set").fillna(-1).values.tolist() == [[4.0, -1.0, 4.0]]
    numbers = xr.DataArray([1, -1, 0], dims="gene")
    assert attrib.shapley_values(f, x, groups=numbers).fillna(-1).values.tolist() == [[4.0, -1.0, 4.0]]


def test_lazy_with_a_distribution_for_each_sample() -> None:
    rng = np.random.default_rng(0)
    x = xr.DataArray(rng.normal(size=(4, 3)), dims=("cell", "gene"), coords={"cell": list("abcd")})
    f = lambda x: x[:, 0] * x[:, 1] + x[:, 2] ** 2
    shared = xr.DataArray(rng.normal(size=(5, 3)), dims=("baseline", "gene"))
    each = xr.DataArray(rng.normal(size=(4, 2, 3)), dims=("cell", "baseline", "gene"))
    for baselines in (0.0, shared, each, each.isel(baseline=0)):
        eager = attrib.shapley_values(f, x, baselines=baselines)
        lazy = attrib.shapley_values(f, x.chunk(cell=3), baselines=baselines)
        assert lazy.chunks is not None
        xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-12)


def test_groups_of_each_sample_are_its_own_players() -> None:
    s = specimen("mlp", 2, dtype=torch.float64)
    groups = torch.tensor([[0, 0, 1, 1, 2], [5, 5, 5, -1, 5], [3, 1, 4, 0, 2]])
    e = shapley_values.explain(s.f, s.x, groups=groups, target=1)
    for i in range(3):
        alone = shapley_values(s.f, s.x[i : i + 1], groups=groups[i], target=1)
        assert torch.allclose(e.attribution[i], alone[0], atol=1e-12, equal_nan=True)
    drawn = shapley_values.explain(s.f, s.x, groups=groups, target=1, exact=False, n_permutations=600)
    assert float(drawn.delta.abs().max()) < 1e-12
    off = (drawn.attribution - e.attribution).nan_to_num().abs()
    assert bool((off <= 5 * drawn.standard_error.nan_to_num() + 1e-12).all())
    with pytest.raises(ValueError, match=r"negative numbers only in the samples 1: no feature belongs"):
        shapley_values(s.f, s.x, groups=torch.where(torch.arange(3)[:, None] == 1, -1, groups), target=1)


def test_whole_numbers_and_values_beside_the_input() -> None:
    table = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def f(ids: Tensor, weight: Tensor) -> Tensor:
        return (table[ids].sum(2) * weight).sum(1)

    ids, weight = torch.tensor([[0, 1, 2], [3, 3, 1]]), torch.rand(2, 3, dtype=torch.float64)
    a = shapley_values(f, ids, baselines=0, additional_forward_args=(weight,))
    assert torch.allclose(a, weight * (table[ids].sum(2) - table[0].sum()))


def test_at_a_layer() -> None:
    s = specimen("mlp", 4, dtype=torch.float64)
    front, behind = s.f[:2], s.f[2:]
    pool = torch.randn(1, 3, 5, dtype=torch.float64)
    h, b = front(s.x).detach(), front(pool[0]).detach()[None]
    expected = shapley_values(behind, h, baselines=b, target=1)
    assert torch.allclose(shapley_values(s.f, s.x, layer="1", baselines=pool, target=1), expected, atol=1e-12)
    each = pool.expand(3, -1, -1) + s.x[:, None]
    b = front(each.flatten(0, 1)).detach().unflatten(0, (3, 3))
    assert torch.allclose(
        shapley_values(s.f, s.x, layer="1", baselines=each, target=1),
        shapley_values(behind, h, baselines=b, target=1),
        atol=1e-12,
    )


def sites(*starts: int) -> Tensor:
    """Players of four positions each in a sequence of 1,500; all other features keep their values."""
    groups = torch.full((1, 1500), -1)
    for player, start in enumerate(starts):
        groups[0, start : start + 4] = player
    return groups


@pytest.mark.parametrize("options", [{}, {"exact": False, "n_permutations": 12}])
def test_the_window_serves_coalitions_in_a_small_part_of_the_input(options: dict[str, Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        f = torch.nn.Sequential(
            torch.nn.Conv1d(4, 32, 5), torch.nn.ReLU(), torch.nn.Conv1d(32, 32, 3), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(32 * 1494, 2),
        ).double().eval()  # fmt: skip
        x = torch.rand(6, 4, 1500, dtype=torch.float64)
        pool = torch.rand(6, 2, 4, 1500, dtype=torch.float64)
    how = {"groups": sites(20, 24, 28, 32, 450), "baselines": pool, "targets": [0, 1], **options}
    dense = shapley_values.explain(f, x, path="dense", **how)
    assert (dense.engine, dense.notes["path_reason"]) == ("dense", "asked for")
    for path in ("auto", "window"):
        e = shapley_values.explain(f, x, path=path, batch_size=50, **how)
        assert e.engine == e.notes["path"] == "window", e.notes
        assert e.evaluations < dense.evaluations
        assert torch.allclose(e.attribution, dense.attribution, atol=1e-10, equal_nan=True)
        assert torch.allclose(e.standard_error, dense.standard_error, atol=1e-10, equal_nan=True)


def test_the_window_does_not_serve() -> None:
    s = specimen("two_inputs", dtype=torch.float64)
    assert "players lie in several inputs" in shapley_values.explain(s.f, s.x, target=1).notes["path_reason"]
    with pytest.raises(ValueError, match=r'`path` is "window", but players lie in several inputs'):
        shapley_values(s.f, s.x, target=1, path="window")
    with pytest.raises(ValueError, match="`path` is 'fast', expected one of auto, window, dense"):
        shapley_values(s.f, s.x, target=1, path="fast")
