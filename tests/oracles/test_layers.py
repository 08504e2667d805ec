"""captum as an oracle of layers, neurons and values beside x: equal to 1e-6 where it is right."""

import warnings
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.inputs import as_distribution
from attrib.engine.sampling.perturbations import Draws, Noise, stdevs_of
from attrib.functional import (
    conductance,
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    grad_cam,
    gradient_shap,
    infidelity,
    input_x_gradient,
    integrated_gradients,
    layer_activation,
    noise_tunnel,
    occlusion,
    saliency,
    sensitivity_max,
    shapley_values,
    up_to,
)
from tests.cases import agree

if find_spec("captum") is None:
    pytest.skip("captum is in the optional extra `oracles`", allow_module_level=True)

with warnings.catch_warnings():  # captum's own, on import
    warnings.simplefilter("ignore")
    import captum.attr as C
    from captum import metrics

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 12
X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
X0 = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
IDS = torch.tensor([2, 0, 3])
SCALE = torch.tensor([[1.0], [0.5], [-2.0]], dtype=torch.float64)


class Net(nn.Module):
    """Images, and beside them a group and a scale of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.pool = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2)
        self.last = nn.ReLU()
        self.group, self.hidden, self.head = nn.Embedding(4, 36), nn.Linear(36, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, ids: Tensor | None = None, scale: Any = 1.0) -> Tensor:
        h = self.pool(self.act(self.conv(x))).flatten(1)
        h = h if ids is None else h + self.group(ids)
        return self.head(self.last(self.hidden(h))) * scale


def built() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().double().eval()


NET = built()
BESIDE = [(), (IDS,), (IDS, SCALE), (IDS, 2.0)]
LAYERS = ["conv", "pool", "hidden"]
beside = pytest.mark.parametrize("extra", BESIDE, ids=["nothing", "ids", "ids and scales", "a number"])
layers = pytest.mark.parametrize("layer", LAYERS)


def part(name: str) -> nn.Module:
    return NET.get_submodule(name)


@beside
def test_values_beside_x(extra: tuple) -> None:
    given = {"target": 1, "additional_forward_args": extra}
    theirs = {"target": 1, "additional_forward_args": extra or None}
    agree(saliency(NET, X, **given), C.Saliency(NET).attribute(X, **theirs), 1e-10)
    agree(input_x_gradient(NET, X, **given), C.InputXGradient(NET).attribute(X, **theirs).detach(), 1e-10)
    agree(
        integrated_gradients(NET, X, baselines=X0, n_steps=STEPS, **given),
        C.IntegratedGradients(NET).attribute(X, baselines=X0, n_steps=STEPS, **theirs).detach(),
        1e-6,
    )
    agree(
        deep_lift(NET, X, baselines=X0, **given),
        C.DeepLift(NET).attribute(X, baselines=X0.expand_as(X), **theirs).detach(),
        1e-6,  # captum adds 1e-10 to changes of the input of a ReLU
    )
    groups = torch.arange(128).reshape(1, 2, 8, 8) // 16
    agree(
        feature_ablation(NET, X, groups=groups[0], **given),
        C.FeatureAblation(NET).attribute(X, feature_mask=groups, **theirs),
        1e-6,
    )
    agree(
        occlusion(NET, X, window=(2, 4, 4), stride=(2, 4, 4), **given),
        C.Occlusion(NET).attribute(X, sliding_window_shapes=(2, 4, 4), strides=(2, 4, 4), **theirs),
        1e-6,
    )


@layers
@beside
def test_a_layer(layer: str, extra: tuple) -> None:
    given = {"target": 1, "additional_forward_args": extra}
    theirs = {"target": 1, "additional_forward_args": extra or None}
    agree(
        layer_activation(NET, X, layer=layer, additional_forward_args=extra),
        C.LayerActivation(NET, part(layer)).attribute(X, additional_forward_args=extra or None).detach(),
        1e-12,
    )
    agree(
        input_x_gradient(NET, X, layer=layer, **given),
        C.LayerGradientXActivation(NET, part(layer)).attribute(X, **theirs).detach(),
        1e-6,
    )
    agree(
        integrated_gradients(NET, X, layer=layer, baselines=X0, n_steps=STEPS, **given),
        C.LayerIntegratedGradients(NET, part(layer))
        .attribute(X, baselines=X0.expand_as(X), n_steps=STEPS, **theirs)
        .detach(),
        1e-6,
    )
    agree(
        deep_lift(NET, X, layer=layer, baselines=X0, **given),
        C.LayerDeepLift(NET, part(layer)).attribute(X, baselines=X0.expand_as(X), **theirs).detach(),
        1e-6,
    )


@layers
def test_conductance_is_the_limit_of_captums(layer: str) -> None:
    """captum takes differences of the layer between steps, a rule of first order; this one integrates its derivative."""
    found = conductance(NET, X, layer=layer, baselines=X0, n_steps=400, target=1)
    theirs = C.LayerConductance(NET, part(layer))
    coarse, fine = (theirs.attribute(X, baselines=X0, n_steps=n, target=1).detach() for n in (50, 1000))
    scale = float(found.abs().max())
    assert float((fine - found).abs().max()) < 5e-3 * scale
    assert float((fine - found).abs().max()) < 0.1 * float((coarse - found).abs().max())


def test_conductance_is_captums_where_its_rule_is_exact() -> None:
    """Behind the layer the network is linear: differences add up to the whole change, where captum's points are the ends, too."""
    theirs = C.LayerConductance(NET, part("last"))
    for steps in (2, STEPS):
        agree(
            conductance(NET, X, layer="last", baselines=X0, n_steps=steps, target=1),
            theirs.attribute(X, baselines=X0, n_steps=steps, target=1, method="riemann_trapezoid").detach(),
            1e-6,
        )


@layers
def test_conductance_is_nearer_to_the_truth_than_captums_in_as_many_steps(layer: str) -> None:
    truth = conductance(NET, X, layer=layer, baselines=X0, n_steps=2000, target=1)
    theirs = C.LayerConductance(NET, part(layer)).attribute(X, baselines=X0, n_steps=50, target=1).detach()
    ours = conductance(NET, X, layer=layer, baselines=X0, n_steps=50, target=1)
    assert float((ours - truth).norm()) < 0.75 * float((theirs - truth).norm())


@pytest.mark.parametrize(("layer", "neuron"), [("conv", (1, 2, 3)), ("hidden", (4,))])
def test_a_neuron(layer: str, neuron: tuple[int, ...]) -> None:
    extra = () if layer == "conv" else (IDS,)
    agree(
        integrated_gradients(
            up_to(NET, layer), X, target=neuron, baselines=X0, n_steps=STEPS, additional_forward_args=extra
        ),
        C.NeuronIntegratedGradients(NET, part(layer))
        .attribute(X, neuron, baselines=X0, n_steps=STEPS, additional_forward_args=extra or None)
        .detach(),
        1e-6,
    )


@pytest.mark.parametrize("extra", BESIDE[1:], ids=["ids", "ids and scales", "a number"])
def test_values_beside_x_in_what_is_left(extra: tuple) -> None:
    """Shapley values, maps and conductance of a layer, and measures."""
    given = {"target": 1, "additional_forward_args": extra}
    groups = torch.arange(128).reshape(1, 2, 8, 8) // 32
    agree(
        shapley_values(NET, X, groups=groups[0], **given),
        C.ShapleyValues(NET).attribute(X, feature_mask=groups, **given).double(),
        1e-6,
    )
    agree(
        grad_cam(NET, X, layer="conv", relu=False, upsample=False, **given),
        C.LayerGradCam(NET, part("conv")).attribute(X, **given)[:, 0].detach(),
        1e-6,
    )
    agree(
        conductance(NET, X, layer="last", baselines=X0, n_steps=STEPS, **given),
        C.LayerConductance(NET, part("last"))
        .attribute(X, baselines=X0, n_steps=STEPS, method="riemann_trapezoid", **given)
        .detach(),
        1e-6,
    )
    a = input_x_gradient(NET, X, **given)
    for mine, theirs in (
        (
            lambda: infidelity(NET, X, a, perturb_func=halved, n_perturb_samples=2, **given),
            lambda: metrics.infidelity(NET, halved, X, a, n_perturb_samples=2, **given),
        ),
        (
            lambda: sensitivity_max(
                input_x_gradient, NET, X, perturb_func=lambda rows, r: rows + r, n_perturb_samples=2, **given
            ),
            lambda: metrics.sensitivity_max(
                C.InputXGradient(NET).attribute, X, lambda rows, r: rows + r, n_perturb_samples=2, **given
            ),
        ),
    ):
        agree(mine(), theirs().detach(), 1e-8)


@pytest.mark.parametrize("extra", BESIDE[1:3], ids=["ids", "ids and scales"])
def test_values_beside_x_in_methods_of_many_baselines_and_draws(extra: tuple) -> None:
    """captum repeats the values for each baseline and draw; at its own points the methods are the same."""
    given = {"target": 1, "additional_forward_args": extra}
    pool = torch.cat([X0, 0.5 * X0, X[:1].flip(3)])
    agree(
        deep_lift_shap(NET, X, baselines=pool, **given),
        C.DeepLiftShap(NET).attribute(X, baselines=pool, **given).detach(),
        1e-6,
    )
    draws, count = (
        Draws(Noise(X_, stdevs_of(X_, 0.0), 3, torch.device("cpu")), as_distribution(pool, X_), 5),
        5,
    )
    i, total = torch.arange(3), torch.zeros_like(X)
    for k in range(
        count
    ):  # GradientShap of captum at one of our points is the gradient there, times the way to it
        points = draws.points(i, torch.full_like(i, k))
        gradient = C.Saliency(NET).attribute(points[0], abs=False, **given)
        total += draws.products((gradient[None],))[0][0] / count
    agree(gradient_shap(NET, X, baselines=pool, n_samples=count, seed=3, **given), total, 1e-8)
    for method, theirs in ((saliency, C.Saliency(NET)), (input_x_gradient, C.InputXGradient(NET))):
        tunnel = C.NoiseTunnel(theirs).attribute(X, nt_samples=4, stdevs=0.0, **given)
        agree(noise_tunnel(method, NET, X, n_samples=4, stdevs=0.0, **given), tunnel.detach(), 1e-8)

    def linear(x: Tensor, ids: Tensor, scale: Any = 1.0) -> Tensor:
        return (x.flatten(1) @ X0.flatten()[:, None].expand(-1, 2) + ids[:, None]) * (
            scale if len(extra) == 2 else ids[:, None]
        )

    found = gradient_shap(linear, X, baselines=X0, n_samples=3, **given)
    agree(
        found,
        C.GradientShap(linear).attribute(X, baselines=X0, n_samples=3, stdevs=0.0, **given).detach(),
        1e-6,
    )


X_ = (X,)


def halved(rows: Any) -> Any:
    rows = rows[0] if isinstance(rows, tuple) else rows
    return rows / 2, rows / 2
