"""Windows in single precision, whose convolutions and products are computed in other ways than in double."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.edits.edits import Letters
from attrib.engine.window import dispatch, learn_layout, plan, program
from attrib.engine.window.aggregations import product
from attrib.engine.window.dispatch import block_size, snapped
from attrib.functional import in_silico_mutagenesis

LENGTH = 120


def letters() -> Tensor:
    at = torch.randint(4, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(at, 4).float().transpose(1, 2).contiguous()


def pooled() -> nn.Module:
    """Narrow windows: a product for all taps at once."""
    return nn.Sequential(
        nn.Conv1d(4, 32, 9, padding=4), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(3),
        nn.Conv1d(32, 24, 7, padding=3), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(),
        nn.Linear(24 * 20, 64), nn.ReLU(), nn.Linear(64, 3),
    )  # fmt: skip


class Dilated(nn.Module):
    """Wide windows: the change convolved with zeros around it; few channels at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 20, 21, padding=10)
        self.rest = nn.ModuleList(nn.Conv1d(20, 20, 3, padding=d, dilation=d) for d in (2, 4, 8, 16))
        self.head = nn.Conv1d(20, 2, 15, padding=7)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        for layer in self.rest:
            y = y + layer(y).relu()
        return torch.cat([self.head(y[:, :, 20:-20])[:, :, 7:-7].flatten(1), y.mean(2)], 1)


def network(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build().eval().requires_grad_(False)
        for part in net.modules():
            if isinstance(part, nn.BatchNorm1d):
                nn.init.normal_(part.running_mean, std=0.5)
                nn.init.uniform_(part.running_var, 0.5, 2.0)
                nn.init.normal_(part.weight)
    return net


@pytest.mark.parametrize("build", [pooled, Dilated])
def test_every_letter_as_in_double_precision(build: Callable[[], nn.Module]) -> None:
    net, x = network(build), letters()
    found = in_silico_mutagenesis(net, x, targets="all", path="window")
    net = net.double()
    expected = in_silico_mutagenesis(net, x.double(), targets="all", path="dense")
    assert float(expected.std()) > 1e-3
    assert float((found - expected).abs().max()) < 3e-6 * float(net(x.double()).abs().max())


@pytest.mark.parametrize("sizes", [(1, 1, 1), (23, 700, 90), (24, 700, 90), (200, 64, 150), (150, 64, 1000)])
def test_product(sizes: tuple[int, int, int]) -> None:
    """Few rows and many, small ones and large ones: the same numbers, by whatever kernel."""
    m, k, n = sizes
    generator = torch.Generator().manual_seed(2)
    a, w = torch.randn(m, k, generator=generator), torch.randn(n, k, generator=generator)
    expected = a.double() @ w.double().T
    assert product(a, w).shape == expected.shape
    assert float((product(a, w) - expected).abs().max()) < 1e-5 * k**0.5
    assert torch.equal(product(a.double(), w.double()), expected)


def test_neighbours_share_a_box_where_the_pool_makes_them_alike() -> None:
    net, x = network(pooled), letters()
    rows = torch.cat([x, dispatch.unlike(x, (2,))])
    recorded = program(net, rows)
    found = plan(recorded, learn_layout(recorded, rows)[0], (2,))
    lo, hi = (edits := Letters(x, 1, 2, torch.arange(LENGTH))).box(torch.arange(len(edits.samples)))
    assert block_size(found, lo, hi) % 3 == 0
    a, b = snapped(found, lo, hi, 7)
    assert bool(((a <= lo) & (b >= hi) & (a % 7 == 0) & ((b % 7 == 0) | (b == LENGTH)) & (b - a <= 7)).all())


def test_a_factor_of_batch_norm_goes_into_the_weight() -> None:
    net, x = network(pooled), letters()
    rows = torch.cat([x, dispatch.unlike(x, (2,))])
    recorded = program(net, rows)
    found = plan(recorded, learn_layout(recorded, rows)[0], (2,))
    assert torch.ops.aten.convolution.default not in {r.node.op for r in found.rules}
