"""Occlusion and ablation against forward passes written out; captum is another oracle (tests/oracles)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import feature_ablation, occlusion
from attrib.functional.occlusion import grid
from attrib.testing import specimen


def by_hand(f: Any, x: Tensor, window: tuple[int, ...], stride: tuple[int, ...], x0: Tensor) -> Tensor:
    """Mean loss over the windows that cover each feature."""
    total, cover = torch.zeros_like(x), torch.zeros_like(x[0])
    starts = [range(0, max(n - w, 0) + s, s) for n, w, s in zip(x.shape[1:], window, stride, strict=True)]
    for at in torch.cartesian_prod(*[torch.tensor(list(s)) for s in starts]).view(-1, len(starts)).tolist():
        box = tuple(slice(a, a + w) for a, w in zip(at, window, strict=True))
        y = x.clone()
        y[(slice(None), *box)] = x0.expand_as(x)[(slice(None), *box)]
        loss = (f(x) - f(y)).detach().view(-1, *[1] * (x.ndim - 1))
        total[(slice(None), *box)] += loss
        cover[box] += 1
    return total / cover


CASES = [
    ("cnn", 1, 1, (1, 1, 1), (1, 1, 1)),
    ("cnn", (1, 2, 3), (1, 1, 2), (1, 2, 3), (1, 1, 2)),
    ("cnn", (1, 4, 3), (1, 3, 3), (1, 4, 3), (1, 3, 3)),
    ("cnn", {2: 4}, {2: 3}, (1, 4, 6), (1, 3, 1)),
    ("cnn", 9, 1, (1, 6, 6), (1, 1, 1)),
    ("mlp", 2, 2, (2,), (2,)),
    ("sequence", {2: 2}, 1, (2, 2), (1, 1)),
    ("attention", (1, 6), 1, (1, 6), (1, 1)),
]


@pytest.mark.parametrize("path", ["auto", "dense"])
@pytest.mark.parametrize(("kind", "window", "stride", "sizes", "steps"), CASES)
def test_windows_of_all_shapes(
    kind: str, window: Any, stride: Any, sizes: Any, steps: Any, path: str
) -> None:
    s = specimen(kind, dtype=torch.float64)
    x0 = torch.randn(s.x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    at = s.target if isinstance(s.target, tuple) else (s.target,)
    expected = by_hand(lambda y: s.f(y)[(slice(None), *at)], s.x, sizes, steps, x0)
    found = occlusion(s.f, s.x, window=window, stride=stride, baselines=x0, target=s.target, path=path)
    assert float((found - expected).abs().max()) < 1e-12


def image_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.SiLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        ).double().eval().requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize("window", [(3, 4, 4), (1, 2, 2), (3, 24, 5)])
def test_windows_by_window(window: tuple[int, ...]) -> None:
    """The window path, also for windows in one channel, over the full height, and cut off at the ends."""
    f = image_network()
    x = torch.randn(2, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"window": window, "stride": {3: 2}, "targets": "all"}
    one, other = (occlusion.explain(f, x, path=p, **options) for p in ("window", "dense"))
    assert one.engine == "window"
    assert float((one.attribution - other.attribution).abs().max()) < 1e-12


def test_volume_and_baselines_of_each_sample() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(54, 2)
        )
    net = net.double().requires_grad_(False)
    x, x0 = torch.randn(2, 2, 1, 6, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = by_hand(lambda y: net(y)[:, 1], x, (1, 3, 3, 3), (1, 3, 3, 3), x0)
    for path in ("window", "dense"):
        found = occlusion(
            net, x, window=(1, 3, 3, 3), stride={2: 3, 3: 3, 4: 3}, baselines=x0, target=1, path=path
        )
        assert float((found - expected).abs().max()) < 1e-12


@pytest.mark.parametrize("path", ["window", "dense"])
def test_genes_one_by_one(path: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 3)).double().requires_grad_(False)
    x = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = feature_ablation(net, x, baselines=0.5, targets="all", path=path)
    expected = torch.stack([net(x) - net(torch.where(torch.arange(50) == g, 0.5, x)) for g in range(50)], 2)
    assert float((found - expected.transpose(0, 1)).abs().max()) < 1e-12


def test_groups_without_a_feature_are_refused() -> None:
    x = torch.ones(2, 3)
    for groups in (torch.full((3,), -1), torch.full((2, 3), -2)):
        with pytest.raises(
            ValueError, match="`groups` has negative numbers only: no feature belongs to a group"
        ):
            feature_ablation(lambda x: x.sum(1), x, groups=groups)
    with pytest.raises(ValueError, match="`groups` has negative numbers only"):
        feature_ablation(lambda a, b: (a * b).sum(1), (x, x), groups=(torch.tensor([-1]), torch.tensor([-1])))


def test_groups() -> None:
    s = specimen("cnn", dtype=torch.float64)
    groups = torch.tensor([3, 3, 0, 0, 7, -1])  # of columns
    found = feature_ablation(s.f, s.x, groups=groups, target=1)
    assert found[..., 5].isnan().all()
    for number in (0, 3, 7):
        y = torch.where(groups == number, 0.0, s.x)
        loss = (s.f(s.x) - s.f(y))[:, 1].detach()
        assert torch.allclose(
            found[..., groups == number], loss[:, None, None, None].expand(3, 1, 6, 1), atol=1e-12
        )


def test_groups_of_several_inputs() -> None:
    s = specimen("two_inputs", dtype=torch.float64)
    whole, each = feature_ablation(s.f, s.x, groups=(torch.zeros(4, dtype=torch.long), None), target=0)
    a, b = s.x
    loss = (s.f(a, b) - s.f(torch.zeros_like(a), b))[:, 0].detach()
    assert torch.allclose(whole, loss[:, None].expand(3, 4), atol=1e-12)
    y = b.clone()
    y[:, 1, 2] = 0
    assert torch.allclose(each[:, 1, 2], (s.f(a, b) - s.f(a, y))[:, 0].detach(), atol=1e-12)


@pytest.mark.parametrize(
    ("window", "stride", "error", "text"),
    [
        ((2, 2), 1, ValueError, "has 2 sizes, expected one for each of the 3 dims"),
        ((1, 7, 1), 1, ValueError, "`window` has size 7 along dim 2, but `x` has 6"),
        ((1, 2, 2), (1, 3, 1), ValueError, "never be covered"),
        (0, 1, ValueError, "expected positive ints"),
        (1.5, 1, TypeError, "expected ints"),
        ({4: 1}, 1, ValueError, r"names the dims \[4\]"),
    ],
)
def test_wrong_windows(window: Any, stride: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        grid(window, stride, (1, 6, 6))


def test_wrong_groups() -> None:
    s = specimen("cnn", dtype=torch.float64)
    with pytest.raises(TypeError, match="expected a tensor of ints"):
        feature_ablation(s.f, s.x, groups=torch.zeros(6), target=0)
    with pytest.raises(ValueError, match=r"`groups` has shape \(5,\), expected \(1, 6, 6\)"):
        feature_ablation(s.f, s.x, groups=torch.zeros(5, dtype=torch.long), target=0)
    both = specimen("two_inputs")
    with pytest.raises(ValueError, match="1 entries for 2 inputs"):
        feature_ablation(both.f, both.x, groups=(None,), target=0)


def test_equal_numbers_of_several_inputs_are_one_group() -> None:
    f = lambda a, b: (a * b).sum(1)
    a, b = torch.tensor([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0]]), torch.tensor([[4.0, 5.0, 6.0], [1.0, 1.0, 3.0]])
    groups = (torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2]))
    u, v = feature_ablation(f, (a, b), groups=groups)
    assert u.tolist() == [[14, 14, 18], [3, 3, 3]]
    assert v.tolist() == [[14, 28, 28], [3, 4, 4]]
    held = feature_ablation(f, (a, b), groups=groups, only=1)[1]
    assert held.tolist() == [[4, 28, 28], [2, 4, 4]]
    for batch_size in (1, 3):
        again = feature_ablation(f, (a, b), groups=groups, batch_size=batch_size)
        assert torch.equal(again[0], u)
        assert torch.equal(again[1], v)
    several = feature_ablation(f, (a, b), groups=groups, targets=[lambda y: y, lambda y: 2 * y])
    assert torch.equal(several[1][1], 2 * v)


def test_groups_for_each_sample() -> None:
    s = specimen("cnn", dtype=torch.float64)
    groups = torch.randint(-1, 5, s.x.shape, generator=torch.Generator().manual_seed(0)) * 1000
    baselines = torch.randn(s.x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    every = feature_ablation(s.f, s.x, groups=groups, baselines=baselines, target=1)
    alone = [
        feature_ablation(s.f, s.x[[i]], groups=groups[i], baselines=baselines[[i]], target=1)
        for i in range(3)
    ]
    torch.testing.assert_close(every, torch.cat(alone), rtol=1e-10, atol=1e-12, equal_nan=True)
    columns = groups[:, :, :1]  # the same for all rows of an image
    broad = feature_ablation(s.f, s.x, groups=columns, target=1)
    full = feature_ablation(s.f, s.x, groups=columns.expand_as(s.x), target=1)
    assert torch.equal(broad.nan_to_num(7), full.nan_to_num(7))
    found = feature_ablation.explain(s.f, s.x, groups=groups, target=1)
    assert (found.engine, found.notes["path"]) == ("dense", "dense")
    with pytest.raises(ValueError, match="`path` is 'window', but groups for each sample"):
        feature_ablation(s.f, s.x, groups=groups, target=1, path="window")


def test_inputs_of_which_no_feature_is_in_a_group() -> None:
    f, x, none = (lambda a, b: a.sum(1) + b.sum(1)), torch.ones(2, 3), torch.tensor([-1, -1, -1])
    u, v = feature_ablation(f, (x, x), groups=(torch.tensor([0, 0, 1]), none))
    assert u.tolist() == [[2, 2, 1]] * 2
    assert v.isnan().all()
    some = feature_ablation(lambda x: x.sum(1), x, groups=torch.tensor([[-1, -1, -1], [0, 0, -1]]))
    torch.testing.assert_close(some, torch.tensor([[torch.nan] * 3, [2, 2, torch.nan]]), equal_nan=True)
    last = feature_ablation(lambda x: x.sum(1), x, groups=torch.tensor([[0, 0, -1], [-1, -1, -1]]))
    torch.testing.assert_close(last, torch.tensor([[2, 2, torch.nan], [torch.nan] * 3]), equal_nan=True)
