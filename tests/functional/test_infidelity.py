"""Infidelity and sensitivity: closed forms, independence of the batch, bad input."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from attrib.functional import (
    grad_cam,
    infidelity,
    input_x_gradient,
    integrated_gradients,
    saliency,
    sensitivity_max,
)
from attrib.testing import specimen

MEASURES = {
    "infidelity": lambda f, x, **options: infidelity(f, x, torch.ones_like(x), **options),
    "sensitivity_max": partial(sensitivity_max, saliency),
}
W = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


def test_the_gradient_of_a_linear_model_has_no_infidelity() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    f = lambda x: x @ W
    assert float(infidelity(f, x, saliency(f, x, absolute=False), stdevs=0.5).max()) < 1e-24
    lone = infidelity(f, x, torch.zeros_like(x), stdevs=0.5, n_perturb_samples=4000)
    assert torch.allclose(lone, (0.25 * W @ W).expand(4), rtol=0.1)  # the variance of the change
    twice = infidelity(f, x, 2 * W.expand(4, 3), n_perturb_samples=50, normalize=True)
    assert float(twice.max()) < 1e-17
    assert float(infidelity(f, x, torch.zeros_like(x), normalize=True).min()) > 0


def test_by_brute_force_with_the_callers_perturbations() -> None:
    s = specimen("two_inputs", 1, dtype=torch.float64)
    a = input_x_gradient(s.f, s.x, target=1)

    def halves(rows: tuple[torch.Tensor, ...]) -> Any:
        moved = tuple(r / 2 for r in rows)
        return moved, tuple(r - m for r, m in zip(rows, moved, strict=True))

    change = (s.f(*s.x) - s.f(*(x / 2 for x in s.x)))[:, 1]
    estimate = sum((b * x / 2).flatten(1).sum(1) for b, x in zip(a, s.x, strict=True))
    found = infidelity(s.f, s.x, a, perturb_func=halves, n_perturb_samples=3, target=1)
    assert torch.allclose(found, (estimate - change) ** 2, atol=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
def test_independent_of_batch_order_and_chunk(normalize: bool) -> None:
    s = specimen("cnn", dtype=torch.float64)
    a = saliency(s.f, s.x, targets=[0, 2], absolute=False)
    options = {"targets": [0, 2], "n_perturb_samples": 4, "stdevs": 0.3, "normalize": normalize}
    found = infidelity(s.f, s.x, a, **options)
    back = infidelity(s.f, s.x.flip(0), a.flip(1), batch_size=5, **options)
    assert torch.allclose(found, back.flip(1), rtol=1e-9)
    alone = infidelity(s.f, s.x, a[1], **{**options, "targets": None, "target": 2})
    assert torch.allclose(found[1], alone, rtol=1e-9)
    moves = {"n_perturb_samples": 4, "perturb_radius": 0.2, "targets": [0, 2]}
    most = sensitivity_max(saliency, s.f, s.x, **moves)
    assert torch.allclose(
        most, sensitivity_max(saliency, s.f, s.x.flip(0), batch_size=5, **moves).flip(1), rtol=1e-9
    )
    assert torch.allclose(
        most[0], sensitivity_max(saliency, s.f, s.x, **{**moves, "targets": None, "target": 0}), rtol=1e-9
    )
    assert float(most.min()) > 0


def test_sensitivity_of_what_does_not_change_and_of_what_is_linear() -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    assert sensitivity_max(saliency, lambda x: x @ W, x).tolist() == [0.0] * 3
    found = sensitivity_max(
        input_x_gradient, lambda x: x @ W, x, perturb_func=lambda rows: rows * 1.5, n_perturb_samples=2
    )
    assert found.tolist() == pytest.approx([0.5] * 3)
    at_zero = sensitivity_max(
        input_x_gradient, lambda x: x @ W, 0 * x, perturb_func=lambda rows, r: rows + r, perturb_radius=2.0
    )
    assert torch.allclose(at_zero, 2 * W.norm().expand(3))  # no norm to divide by


def test_options_of_the_method_and_maps_of_layers() -> None:
    s = specimen("mlp", dtype=torch.float64)
    baselines = torch.randn(3, 5, dtype=torch.float64)
    inner = partial(integrated_gradients, baselines=baselines, n_steps=8)
    together = sensitivity_max(inner, s.f, s.x, target="predicted")
    alone = [
        sensitivity_max(
            partial(integrated_gradients, baselines=baselines[i : i + 1], n_steps=8),
            s.f,
            s.x[i : i + 1],
            target="predicted",
        )
        for i in range(3)
    ]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9)
    c = specimen("cnn")
    maps = sensitivity_max(partial(grad_cam, layer=["0", "4"]), c.f, c.x, target=1)
    assert maps.shape == (3,)


@pytest.mark.parametrize(
    ("measure", "options", "error", "message"),
    [
        ("infidelity", {"stdevs": -1.0}, ValueError, "`stdevs` is -1.0"),
        ("infidelity", {"n_perturb_samples": 0}, ValueError, "`n_perturb_samples` is 0"),
        ("infidelity", {"perturb_func": lambda r: r}, TypeError, "has to return a pair"),
        ("infidelity", {"perturb_func": lambda r: (r, r[:, :2])}, ValueError, "`perturb_func` returned"),
        ("sensitivity_max", {"perturb_radius": -1.0}, ValueError, "`perturb_radius` is -1.0"),
        ("sensitivity_max", {"perturb_func": lambda r: r[:1]}, ValueError, "`perturb_func` returned"),
        ("sensitivity_max", {"perturb_radios": 1.0}, TypeError, "did you mean 'perturb_radius'"),
    ],
)
def test_bad_input(measure: str, options: dict[str, Any], error: type, message: str) -> None:
    s = specimen("mlp")
    with pytest.raises(error, match=message):
        MEASURES[measure](s.f, s.x, target=0, **options)
