"""Hypothetical contributions: projected for each baseline, then averaged, as tangermeme and TF-MoDISco take them."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import attrib
from attrib.domains.sequences import one_hot
from attrib.functional import deep_lift, deep_lift_shap

torch.manual_seed(0)
NET = nn.Sequential(
    nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv1d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 2)
).eval()
X = torch.eye(4)[torch.randint(0, 4, (3, 12))].permute(0, 2, 1).contiguous()
BASELINES = torch.stack([t[:, torch.randperm(12)] for t in X for _ in range(5)]).view(3, 5, 4, 12)


def by_hand(target: int) -> torch.Tensor:
    """Of each baseline: each letter everywhere, its change from the baseline times the multipliers, summed over the letters."""
    total = torch.zeros_like(X)
    for k in range(5):
        multipliers = deep_lift(NET, X, baselines=BASELINES[:, k], target=target, multiply_by_inputs=False)
        for letter in range(4):
            everywhere = torch.zeros_like(X)
            everywhere[:, letter] = 1
            total[:, letter] += ((everywhere - BASELINES[:, k]) * multipliers).sum(1) / 5
    return total


@pytest.mark.parametrize("batch_size", ["auto", 4])
def test_projected_for_each_baseline_and_then_averaged(batch_size: int | str) -> None:
    found = deep_lift_shap(NET, X, baselines=BASELINES, target=1, hypothetical=True, batch_size=batch_size)
    assert torch.allclose(found, by_hand(1), atol=1e-6)
    attribution = deep_lift_shap(NET, X, baselines=BASELINES, target=1)
    assert torch.allclose((X * found).sum(1), attribution.sum(1), atol=1e-6)
    both = deep_lift_shap(NET, X, baselines=BASELINES, targets=[0, 1], hypothetical=True)
    assert torch.allclose(both, torch.stack([by_hand(0), by_hand(1)]), atol=1e-6)


def test_letters_may_come_last() -> None:
    found = deep_lift_shap(
        lambda z: NET(z.transpose(1, 2)), X.transpose(1, 2).contiguous(), baselines=BASELINES.transpose(2, 3), target=1, hypothetical=True
    )  # fmt: skip
    assert torch.allclose(found.transpose(1, 2), by_hand(1), atol=1e-6)


def test_labels_stay() -> None:
    x = one_hot(["ACGTACGTACGT", "GGGTTTACCCAA"])
    baselines = xr.DataArray(
        np.full((1, 4, 12), 0.25, "float32"), dims=("baseline", "nucleotide", "position")
    )
    found = attrib.deep_lift_shap(NET, x, baselines=baselines, target=1, hypothetical=True)
    assert found.dims == ("sample", "nucleotide", "position")
    assert found.attrs["units"] == "output"
    explanation = deep_lift_shap.explain(
        NET,
        torch.as_tensor(x.values),
        baselines=torch.as_tensor(baselines.values),
        target=1,
        hypothetical=True,
    )
    assert np.allclose(found, explanation.attribution.numpy(), atol=1e-6)
    assert explanation.delta is not None
    assert float(abs(explanation.delta).max()) < 1e-5


@pytest.mark.parametrize(
    ("x", "options", "text"),
    [
        (X * 0.5, {}, "is not one input of one-hot"), (torch.ones(2, 4, 12), {}, "is not one input of one-hot"),
        (X, {"multiply_by_inputs": False}, "pass one of them"),
    ],
)  # fmt: skip
def test_what_has_no_letters(x: torch.Tensor, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=f"`hypothetical` is True.*{text}"):
        deep_lift_shap(NET, x, baselines=torch.zeros(1, 4, 12), target=0, hypothetical=True, **options)


def test_as_tangermeme_does() -> None:
    tangermeme = pytest.importorskip("tangermeme.deep_lift_shap")
    theirs = tangermeme.deep_lift_shap(
        NET, X, references=BASELINES, target=1, hypothetical=True, device="cpu"
    )
    ours = deep_lift_shap(NET, X, baselines=BASELINES, target=1, hypothetical=True)
    assert torch.allclose(ours, theirs, atol=1e-5)
