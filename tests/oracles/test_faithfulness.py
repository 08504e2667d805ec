"""captum as an oracle of infidelity and sensitivity: the same numbers for the same perturbations."""

import importlib
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from attrib.functional import deletion, infidelity, input_x_gradient, randomization, sensitivity_max
from attrib.stats import mass_inside, pointing_game
from attrib.testing import specimen

if find_spec("captum") is None:
    pytest.skip("captum is in the optional extra `oracles`", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from captum import metrics
    from captum.attr import InputXGradient

randomized = importlib.import_module("attrib.functional.randomization")
pytestmark = pytest.mark.filterwarnings("ignore")
kinds = pytest.mark.parametrize("kind", ["mlp", "cnn", "two_inputs", "attention", "number"])


def noise(rows: Any) -> Any:
    """Perturbations drawn from torch's generator, which both libraries find in the same state."""
    parts = rows if isinstance(rows, tuple) else (rows,)
    moves = tuple(0.1 * torch.randn_like(r) for r in parts)
    pair = (moves, tuple(r - m for r, m in zip(parts, moves, strict=True)))
    return pair if isinstance(rows, tuple) else (pair[0][0], pair[1][0])


def moved(rows: Any, radius: float) -> Any:
    parts = rows if isinstance(rows, tuple) else (rows,)
    found = tuple(r + radius * (2 * torch.rand_like(r) - 1) for r in parts)
    return found if isinstance(rows, tuple) else found[0]


@pytest.mark.parametrize("normalize", [False, True])
@kinds
def test_infidelity(kind: str, normalize: bool) -> None:
    s = specimen(kind, 1, dtype=torch.float64, target="each")
    a = input_x_gradient(s.f, s.x, target=s.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = infidelity(
            s.f,
            s.x,
            a,
            perturb_func=noise,
            n_perturb_samples=6,
            normalize=normalize,
            target=s.target,
            batch_size=100,
        )
        torch.manual_seed(0)
        expected = metrics.infidelity(
            s.f, noise, s.x, a, target=s.target, n_perturb_samples=6, normalize=normalize
        )
    assert torch.allclose(found, expected, rtol=1e-8)


@kinds
def test_sensitivity_max(kind: str) -> None:
    s = specimen(kind, 1, dtype=torch.float64, target="each")
    method = InputXGradient(s.f)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = sensitivity_max(
            input_x_gradient, s.f, s.x, perturb_func=moved, perturb_radius=0.1, n_perturb_samples=6, target=s.target,
            batch_size=100,
        )  # fmt: skip
        torch.manual_seed(0)

        def attribute(x: Any, **options: Any) -> Any:
            leaves = tuple(t.requires_grad_() for t in (x if isinstance(x, tuple) else (x,)))
            with torch.enable_grad():
                return method.attribute(leaves if isinstance(x, tuple) else leaves[0], **options)

        expected = metrics.sensitivity_max(
            attribute, s.x, moved, perturb_radius=0.1, n_perturb_samples=6, target=s.target
        )
    assert isinstance(found, Tensor)
    assert torch.allclose(found, expected, rtol=1e-8)


@pytest.mark.skipif(find_spec("quantus") is None, reason="quantus is not installed")
def test_deletion_is_pixel_flipping() -> None:
    """Quantus flips one pixel at a time and keeps all scores but the first."""
    import quantus

    s = specimen("cnn", 1)
    a = input_x_gradient(s.f, s.x, target=2)
    metric = quantus.PixelFlipping(
        features_in_step=1,
        normalise=False,
        perturb_baseline="black",
        disable_warnings=True,
        display_progressbar=False,
    )
    expected = metric(
        model=s.f,
        x_batch=s.x.numpy(),
        y_batch=torch.full((3,), 2).numpy(),
        a_batch=a.numpy(),
        softmax=False,
        device="cpu",
    )
    black = s.x.amin((1, 2, 3), keepdim=True)  # of each sample
    curve = deletion(s.f, s.x, a, target=2, steps=36, baselines=black)
    assert torch.allclose(curve[:, 1:].double(), torch.as_tensor(np.array(expected)), atol=1e-6)


@pytest.mark.skipif(find_spec("quantus") is None, reason="quantus is not installed")
def test_randomization_redraws_what_quantus_redraws() -> None:
    from quantus.helpers.model.pytorch_model import PyTorchModel

    s = specimen("cnn", 1)
    wrapped = PyTorchModel(s.f, channel_first=True, softmax=False)
    names = [name for name, _ in wrapped.get_random_layer_generator(order="top_down", seed=0)]
    assert list(randomization.explain(input_x_gradient, s.f, s.x, target=2).layers) == names


@pytest.mark.skipif(find_spec("quantus") is None, reason="quantus is not installed")
def test_randomization_with_the_parameters_that_quantus_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantus draws every module with one seed; then each correlation is its own."""
    from quantus.functions.similarity_func import correlation_spearman
    from quantus.helpers.model.pytorch_model import PyTorchModel

    s = specimen("cnn", 1, dtype=torch.float64)
    drawn = randomized.redraw
    monkeypatch.setattr(randomized, "redraw", lambda module, seed: drawn(module, 8))
    found = randomization(input_x_gradient, s.f, s.x, target=2)
    origin = input_x_gradient(s.f, s.x, target=2).flatten(1).numpy()
    wrapped = PyTorchModel(s.f, channel_first=True, softmax=False)
    with torch.random.fork_rng(devices=[]):
        for k, (_, model) in enumerate(wrapped.get_random_layer_generator(order="top_down", seed=7)):
            a = input_x_gradient(getattr(model, "model", model), s.x, target=2).flatten(1).numpy()
            assert found[k].tolist() == pytest.approx(
                [correlation_spearman(a[n], origin[n]) for n in range(3)]
            )


@pytest.mark.skipif(find_spec("quantus") is None, reason="quantus is not installed")
def test_mass_inside_and_pointing_game() -> None:
    import quantus

    s = specimen("cnn", 1)
    a = torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)).numpy()
    a[0, 0, 2, 3] = 2.0
    mask = np.zeros(a.shape, bool)
    mask[:, :, 1:4, 2:5] = True
    dims = ("sample", "y", "x")
    ours = (xr.DataArray(a[:, 0], dims=dims), xr.DataArray(mask[:, 0], dims=dims))
    asked = {
        "model": s.f, "x_batch": s.x.numpy(), "y_batch": np.full(3, 2), "a_batch": a, "s_batch": mask, "softmax": False,
        "device": "cpu",
    }  # fmt: skip
    how = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    np.testing.assert_allclose(mass_inside(*ours), quantus.RelevanceMassAccuracy(**how)(**asked), rtol=1e-6)
    hits = pointing_game(*ours).values.tolist()
    assert hits == [float(hit) for hit in quantus.PointingGame(**how)(**asked)]
    assert set(hits) == {0.0, 1.0}
