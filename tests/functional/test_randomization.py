"""Randomization: what is drawn anew and in which order, the correlation, and that the model stays as it is."""

from __future__ import annotations

import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from attrib.engine.model.prepared import PreparedModel
from attrib.functional import grad_cam, input_x_gradient, integrated_gradients, randomization, saliency
from attrib.functional.randomization import average_ranks, redraw
from attrib.testing import KINDS, specimen, untouched


def test_the_definition() -> None:
    s = specimen("mlp", 3, dtype=torch.float64, n=4)
    before = copy.deepcopy(s.f.state_dict())
    r = randomization.explain(input_x_gradient, s.f, s.x, target="predicted", seed=5)
    assert r.layers == ("4", "2", "0")
    changed, goals = copy.deepcopy(s.f), s.f(s.x).argmax(1).tolist()
    origin = input_x_gradient(s.f, s.x, target=goals)
    for k, name in enumerate(r.layers):
        layer = changed.get_submodule(name)
        with torch.random.fork_rng():
            torch.manual_seed(5 + k)
            layer.reset_parameters()
        a = input_x_gradient(changed, s.x, target=goals)
        expected = [spearmanr(origin[n], a[n]).statistic for n in range(4)]
        assert r.correlation[k].tolist() == pytest.approx(expected)
    assert all(torch.equal(v, before[n]) for n, v in s.f.state_dict().items())
    assert torch.equal(r.correlation, randomization(input_x_gradient, s.f, s.x, target="predicted", seed=5))
    assert not torch.equal(
        r.correlation, randomization(input_x_gradient, s.f, s.x, target="predicted", seed=6)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(kind: str) -> None:
    s = specimen(kind, dtype=torch.float64, target="each")
    with untouched(s.f, s.x):
        state = torch.random.get_rng_state()
        r = randomization.explain(input_x_gradient, s.f, s.x, target=s.target, batch_size=2)
        assert torch.equal(state, torch.random.get_rng_state())
    assert r.correlation.shape == (len(r.layers), 3)
    owners = {n for n, m in s.f.named_modules() if list(m.parameters(recurse=False))}
    assert set(r.layers) == owners
    assert float(r.correlation.nan_to_num().abs().max()) <= 1 + 1e-12


def test_targets_prepared_models_and_maps() -> None:
    s = specimen("cnn", dtype=torch.float64)
    many = randomization(saliency, PreparedModel(s.f), s.x, targets=[0, 2])
    assert many.shape[0] == 2
    assert torch.allclose(many[1], randomization(saliency, s.f, s.x, target=2), equal_nan=True)
    maps = randomization.explain(partial(grad_cam, layer="0", relu=False), s.f, s.x, target=1)
    assert maps.layers[0] == "7"
    steps = randomization(partial(integrated_gradients, n_steps=4), s.f, s.x, target=1)
    assert steps.shape == maps.correlation.shape


def test_a_method_that_shows_the_input_alone_does_not_change() -> None:
    s = specimen("mlp", dtype=torch.float64)
    shows = lambda f, x, *, targets, **options: torch.stack([x for _ in targets])
    assert torch.allclose(randomization(shows, s.f, s.x, target=0), torch.ones(3, 3, dtype=torch.float64))
    constant = lambda f, x, *, targets, **options: torch.stack([0 * x for _ in targets])
    assert bool(randomization(constant, s.f, s.x, target=0).isnan().all())


def test_parameters_without_a_method_to_draw_them() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(200) * 3 + 1)
            self.same = nn.Parameter(torch.ones(4))
            self.below = nn.Linear(2, 2)

    module = Scale().requires_grad_(False)
    before = copy.deepcopy(module)
    redraw(module, 0)
    assert torch.equal(module.below.weight, before.below.weight)
    assert not torch.equal(module.scale, before.scale)
    assert float(module.scale.mean()) == pytest.approx(float(before.scale.mean()), abs=0.7)
    assert float(module.scale.std()) == pytest.approx(float(before.scale.std()), rel=0.15)
    assert float(module.same.std()) > 0


def test_ranks() -> None:
    assert average_ranks(torch.tensor([[3.0, 1.0, 3.0, 2.0]])).tolist() == [[2.5, 0.0, 2.5, 1.0]]


def test_models_without_weights() -> None:
    x = torch.ones(1, 2)
    layer = nn.Linear(2, 1)
    with pytest.raises(
        ValueError, match=r"`f` is a function around modules.*pass the torch\.nn\.Module itself"
    ):
        randomization(saliency, lambda x: layer(x), x, target=0)
    for f in (nn.Flatten(), lambda x: x.sum(1)):
        with pytest.raises(ValueError, match="without parameters of torch"):
            randomization(saliency, f, x, target=0)


def test_threads_draw_the_same_as_one_alone() -> None:
    """Torch has one generator for all threads, which a model's check puts back while others draw."""
    s = specimen("mlp", 3)
    alone = randomization(saliency, s.f, s.x, target=0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda _: randomization(saliency, s.f, s.x, target=0), range(60)))
    finally:
        sys.setswitchinterval(interval)
    for r in together:
        torch.testing.assert_close(r, alone)
