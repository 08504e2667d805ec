"""Norms: the averaged Jacobian against quadrature of the Jacobian, where it is recognised, and what is done when precision fails."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional as F

from attrib.engine.graph import record
from attrib.engine.secant import expressed, secant
from attrib.engine.secant.decompositions import decompose
from attrib.engine.secant.report import in_double
from attrib.functional import deep_lift, deep_lift_shap

Norm = Callable[[Tensor], Tensor]


def by_hand(x: Tensor) -> Tensor:
    """As Llama has it."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def channels_first(x: Tensor) -> Tensor:
    """As ConvNeXt has it: the centred value is computed twice."""
    variance = (x - x.mean(1, keepdim=True)).pow(2).mean(1, keepdim=True)
    return (x - x.mean(1, keepdim=True)) / torch.sqrt(variance + 1e-6)


NORMS: dict[str, Norm] = {
    "rms": lambda x: F.rms_norm(x, (6,), eps=1e-6),
    "layer": lambda x: F.layer_norm(x, (6,), torch.linspace(1, 2, 6).to(x), torch.ones(6).to(x)),
    "group": lambda x: F.group_norm(x.view(1, 6, 1), 2).view(1, 6),
    "instance": lambda x: F.instance_norm(x.view(1, 2, 3)).view(1, 6),
    "by hand": by_hand,
    "channels first": channels_first,
    "a sum and a root": lambda x: x / ((x * x).sum(1, keepdim=True) / 5 + 1e-5) ** 0.5,
    "a variance": lambda x: (x - x.mean(-1, keepdim=True)) * (x.var(-1, keepdim=True) + 1e-5).pow(-0.5),
    "a reciprocal": lambda x: 1 / (1e-5 + 0.25 * x.square().sum(-1, True)).sqrt() * x,
}
ENDS = ["random", "zeros", "to zeros", "opposed", "opposed exactly", "near", "equal"]


def ends(kind: str, norm: Norm = by_hand) -> tuple[Tensor, Tensor]:
    """A baseline and an input (1, 6)."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 1, 6, dtype=torch.float64)
    return {
        "random": (a, b),
        "zeros": (torch.zeros_like(b), b),
        "to zeros": (a, torch.zeros_like(a)),
        "opposed": (a, -1.3 * a + 0.01 * b),
        "opposed exactly": (a, -1.3 * a),
        "near": (a, a + 1e-5 * b),
        "equal": (a, a.clone()),
    }[kind]


def averaged(f: Norm, x0: Tensor, x1: Tensor) -> Tensor:
    """The Jacobian (6, 6) averaged along the line, in pieces that shrink towards the ends and the middle of an opposed line."""
    steps = [0.0, *(10.0**-k / 4 for k in range(8, -1, -1))]
    spots = (0.0, 1 / 2.3, 1.0)
    cuts = sorted({min(max(s + way * t, 0.0), 1.0) for s in spots for way in (-1, 1) for t in steps})
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(24))
    at = torch.cat([a + (b - a) * (nodes + 1) / 2 for a, b in itertools.pairwise(cuts)])
    weight = torch.cat([(b - a) * weights / 2 for a, b in itertools.pairwise(cuts)])
    points = x0 + at[:, None] * (x1 - x0)
    jacobians = vmap(jacrev(lambda v: f(v[None])[0]))(points)
    return (weight[:, None, None] * jacobians).sum(0)


def jacobian(f: Norm, x0: Tensor, x1: Tensor) -> Tensor:
    """The rule's matrix (6, 6)."""
    graph = expressed(f, [x1])
    assert [str(node.op) for node in graph.nodes].count("norm") == 1
    cotangents = torch.eye(6, dtype=x1.dtype)[:, None]
    return secant(graph, [x0], [x1]).pull(cotangents)[0][:, 0]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("name", NORMS)
def test_against_quadrature(name: str, kind: str) -> None:
    f, (x0, x1) = NORMS[name], ends(kind)
    expected = averaged(f, x0, x1)
    scale = float(expected.abs().max())
    torch.testing.assert_close(jacobian(f, x0, x1), expected, rtol=0, atol=1e-9 * scale)
    single = jacobian(f, x0.float(), x1.float()).double()
    torch.testing.assert_close(single, expected, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("name", NORMS)
def test_complete_and_symmetric(name: str, kind: str) -> None:
    f, (x0, x1) = NORMS[name], ends(kind)
    for dtype in (torch.float64, torch.float32):
        a, b = x0.to(dtype), x1.to(dtype)
        change, matrix = (f(b) - f(a))[0], jacobian(f, a, b)
        size = float(f(b).abs().max() + f(a).abs().max())
        torch.testing.assert_close(
            matrix @ (b - a)[0], change, rtol=0, atol=40 * torch.finfo(dtype).eps * size
        )
    if name == "by hand":
        torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-6 * float(matrix.abs().max()))


LOOK_ALIKES: dict[str, Norm] = {
    "another value": lambda x: x * torch.rsqrt((2 * x).pow(2).mean(-1, keepdim=True) + 1e-6),
    "two values": lambda x: x * torch.rsqrt((x * x.flip(1)).mean(-1, keepdim=True) ** 2 + 1e-6),
    "a cube": lambda x: x * torch.rsqrt(x.abs().pow(3).mean(-1, keepdim=True) + 1e-6),
    "eps outside": lambda x: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-3),
    "eps of the input": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + x.exp()),
    "subtracted": lambda x: x * torch.rsqrt(5 - x.pow(2).mean(-1, keepdim=True)),
    "the other way round": lambda x: torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) / x,
    "another exponent": lambda x: x * (x.pow(2).mean(-1, keepdim=True) + 1e-6) ** -0.25,
    "dims dropped": lambda x: x * torch.rsqrt(x.pow(2).mean(-1) + 1e-6),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_alike_is_left_alone(name: str) -> None:
    f, (x0, x1) = LOOK_ALIKES[name], ends("random")
    graph = expressed(f, [x1])
    assert "norm" not in {str(node.op) for node in graph.nodes}
    replay = secant(graph, [x0], [x1])
    (m,) = replay.pull(torch.ones_like(replay.y1)[None])
    torch.testing.assert_close((m[0] * (x1 - x0)).sum(), (f(x1) - f(x0)).sum())


class PreNorm(nn.Module):
    """x + tanh(W norm(x)), a number of times."""

    def __init__(self, norm: Norm, depth: int) -> None:
        super().__init__()
        self.norm, self.layers = norm, nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(self.norm(x)).tanh()
        return x.sum(1)


def unrecognised(x: Tensor) -> Tensor:
    """The scale meets a weight before it meets x."""
    return x * (torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * torch.ones_like(x[:1]))


def bounded(depth: int) -> Norm:
    """Layers without biases, so that zeros stay zeros all the way."""
    torch.manual_seed(0)
    net = PreNorm(by_hand, depth)
    for layer in net.layers:
        nn.init.zeros_(layer.bias)
    return net


@pytest.mark.parametrize(("depth", "largest"), [(1, 2e1), (4, 1e5), (8, 1e8)])
def test_entries_stay_bounded_from_a_baseline_of_zeros(depth: int, largest: float) -> None:
    """The product rule has 5e10 at four layers and 5e20 at eight."""
    net, x = bounded(depth).double(), torch.randn(3, 16, dtype=torch.float64)
    found = deep_lift.explain(net, x)
    assert float(found.delta.abs().max()) < 1e-9 * float(found.prediction.abs().max())
    assert float(found.attribution.abs().max()) < largest


def test_rows_that_single_precision_loses_are_done_again_in_double() -> None:
    torch.manual_seed(1)
    net, x = bounded(4), torch.randn(3, 16)
    net.norm = unrecognised
    baselines = torch.zeros(3, 16)
    baselines[1] = 0.5  # this row is well
    found = deep_lift.explain(net, x, baselines=baselines)
    assert found.notes["in_double"].startswith("2 pairs")
    expected = deep_lift(copy.deepcopy(net).double(), x.double(), baselines=baselines.double())
    torch.testing.assert_close(found.attribution.double(), expected, rtol=1e-6, atol=1e-4)
    alone = deep_lift.explain(net, x[1:2], baselines=baselines[1:2])
    assert alone.notes is None
    torch.testing.assert_close(found.attribution[1:2], alone.attribution)
    # what the watch takes for the sum is the sum
    pool = torch.stack([torch.zeros(16), torch.full((16,), 0.5)])
    averaged = deep_lift_shap.explain(net, x, baselines=pool, multiply_by_inputs=False)
    assert averaged.notes["in_double"].startswith("3 pairs")


def test_what_double_precision_loses_is_an_error_that_names_the_op() -> None:
    torch.manual_seed(1)
    net, x = bounded(10), torch.randn(2, 16)
    net.norm = unrecognised
    with pytest.raises(ValueError, match=r"sample 0 add up to .*, expected .*; most is lost in aten\.\w+.* at .*test_norms.py:\d+ in .*check=False"):  # fmt: skip
        deep_lift(net, x)
    with pytest.raises(ValueError, match="most is lost in"):
        deep_lift(net.double(), x.double())
    found = deep_lift.explain(net, x.double(), check=False)
    assert float(found.delta.abs().max()) > 1e-3


def test_large_entries_are_told() -> None:
    torch.manual_seed(0)
    net, x = bounded(5), torch.randn(4, 16)
    found = deep_lift.explain(net, x)
    entries = found.attribution.abs().amax(1) / found.prediction.abs()
    assert float(entries.max()) > 1e3
    assert found.notes["large_entries"].startswith(f"{int((entries > 1e3).sum())} pairs")
    assert "choose another baseline (docs/deeplift.md" in found.notes["large_entries"]
    assert deep_lift.explain(net, x, baselines=0.5).notes is None


def test_a_graph_in_double_precision() -> None:
    def f(x: Tensor) -> Tensor:
        return (x.to(torch.bfloat16) * weight).float().sum(1, dtype=torch.float32)

    weight = torch.full((3,), 1 / 3)
    x = torch.tensor([[1 / 7, 2 / 7, 3.0]])
    graph = in_double(expressed(f, [x]))
    y = graph.run([x.double()])
    assert y.dtype == torch.float64
    assert float(y) == pytest.approx(float((x.double() * weight.double()).sum()), rel=1e-15)


def test_norms_of_several_dims_and_of_constants() -> None:
    x0, x1 = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    eps = torch.tensor(1e-4, dtype=torch.float64)
    f = lambda x: (x * torch.rsqrt((x * x).mean((1, 3), keepdim=True) + eps)).flatten(1).exp().sum(1)
    graph = expressed(f, [x1])
    assert "norm" in {str(node.op) for node in graph.nodes}
    assert len(graph.constants) == 0
    replay = secant(graph, [x0], [x1])
    (m,) = replay.pull(torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close((m[0] * (x1 - x0)).flatten(1).sum(1), f(x1) - f(x0), rtol=1e-12, atol=0)


def test_recognition_changes_no_value() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.GELU(), nn.RMSNorm(6), nn.Linear(6, 2)).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    small, fused = record(net, [x], decompose), expressed(net, [x])
    torch.testing.assert_close(fused.run([x]), small.run([x]), rtol=1e-14, atol=1e-14)
    assert len(fused.nodes) < len(small.nodes)


class Steep(nn.Sequential):
    """Probabilities behind logits of about 10^6 `scale`, whose rounding in single precision is a tenth."""

    def __init__(self, scale: float) -> None:
        super().__init__(
            nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10), nn.Softmax(1)
        )
        with torch.no_grad():
            for k in (0, 2, 4):
                self[k].weight.fill_(scale if k == 4 else 1.0)


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 1e-1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_probabilities_behind_large_logits(scale: float, seed: int) -> None:
    """What the model itself loses to rounding is no sign of anything that escaped, and shares of nothing are nothing."""
    torch.manual_seed(seed)
    net, x = Steep(scale).eval(), torch.arange(80.0).reshape(2, 40)
    true = copy.deepcopy(net).double()
    for target in (2, 5):
        single = deep_lift.explain(net, x, baselines=0.0, target=target)
        double = deep_lift.explain(true, x.double(), baselines=0.0, target=target)
        assert float(double.delta.abs().max()) < 1e-9
        ends, own = (
            [m(t)[:, target].double() for t in (u, 0 * u)] for m, u in ((true, x.double()), (net, x))
        )
        lost = max(float((a - b).detach().abs().max()) for a, b in zip(ends, own, strict=True))
        total = single.attribution.double().sum(1)
        torch.testing.assert_close(total, ends[0] - ends[1], rtol=1e-3, atol=1e-5 + lost)
        deep_lift_shap(net, x, baselines=torch.randn(5, 40), target=target)
