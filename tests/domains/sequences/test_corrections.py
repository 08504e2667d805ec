"""Gradient correction and hypothetical contributions, on models whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib.domains.sequences import (
    dinucleotide_shuffle,
    gradient_correction,
    hypothetical,
    one_hot,
    uniform,
)

X = one_hot(["ACGTTGCANA", "GATTACAGAT"], dtype=np.float64)


def model(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(40, 1)
    ).double()


def test_a_function_of_the_letters_sum_alone_has_no_corrected_gradient() -> None:
    """What every one-hot sequence has in common changes no prediction, but it changes the gradient."""
    f = model()

    def same_on_sequences(x: torch.Tensor) -> torch.Tensor:
        return f(x)[:, 0] + 7 * (x.sum((1, 2)) - 10) ** 2 + 3 * x.sum((1, 2))

    plain, other = (attrib.saliency(g, X, absolute=False) for g in (f, same_on_sequences))
    assert float(abs(plain - other).max()) > 1
    np.testing.assert_allclose(gradient_correction(plain), gradient_correction(other), atol=1e-12)


def test_correction_keeps_differences_between_letters_and_labels() -> None:
    g = attrib.saliency(model(), X, absolute=False)
    c = gradient_correction(g)
    np.testing.assert_allclose(c.sum("nucleotide"), 0, atol=1e-14)
    np.testing.assert_allclose(c.diff("nucleotide"), g.diff("nucleotide"), atol=1e-14)
    assert c.dims == g.dims
    assert c.coords.equals(g.coords)
    assert c.attrs["units"] == g.attrs["units"]
    assert c.attrs["history"].splitlines() == [g.attrs["history"], "gradient correction"]
    holes = gradient_correction(g.where(g.nucleotide != "A"))
    assert bool(holes.isnull().all())
    with pytest.raises(ValueError, match="expected nucleotide"):
        gradient_correction(g.rename(nucleotide="base"))


@pytest.mark.parametrize("method", [attrib.deep_lift, attrib.integrated_gradients])
@pytest.mark.parametrize("baselines", [0.0, 0.25, "uniform", "shuffle"])
def test_hypothetical_contributions_at_the_letters_are_the_attribution(method, baselines) -> None:
    f = model()
    b = {"uniform": uniform(X), "shuffle": dinucleotide_shuffle(X, n=1).isel(baseline=0)}.get(
        baselines, baselines
    )
    m = method(f, X, baselines=b, multiply_by_inputs=False)
    a = method(f, X, baselines=b)
    h = hypothetical(m, b)
    known = X.sum("nucleotide") == 1  # at an N no letter contributes
    contributions = (X * h).sum("nucleotide").where(known)
    np.testing.assert_allclose(contributions, a.sum("nucleotide").where(known), atol=1e-12)
    assert h.dims == X.dims


def test_hypothetical_contributions_of_a_linear_model_are_exact() -> None:
    """For a linear model they are what the other letters do contribute."""
    weights = np.random.default_rng(0).normal(size=(4, 10))
    w = torch.from_numpy(weights)
    m = attrib.deep_lift(lambda x: (x * w).sum((1, 2)), X, baselines=uniform(X), multiply_by_inputs=False)
    np.testing.assert_allclose(hypothetical(m, uniform(X))[1], weights - weights.mean(0), atol=1e-12)


def test_hypothetical_contributions_over_a_distribution() -> None:
    """The mean over baselines, each with its own multipliers; the mean's multipliers would give something else."""
    f, b = model(), dinucleotide_shuffle(X, n=3)
    each = [attrib.deep_lift(f, X, baselines=b.isel(baseline=k), multiply_by_inputs=False) for k in range(3)]
    h = hypothetical(xr.concat(each, "baseline", coords="minimal", compat="override"), b)
    expected = sum(hypothetical(m, b.isel(baseline=k)).values for k, m in enumerate(each)) / 3
    np.testing.assert_allclose(h, expected, atol=1e-12)
    assert h.dims == X.dims
    a = attrib.deep_lift_shap(f, X, baselines=b)
    known = X.sum("nucleotide") == 1
    np.testing.assert_allclose(
        (X * h).sum("nucleotide").where(known), a.sum("nucleotide").where(known), atol=1e-12
    )
    mean = attrib.deep_lift_shap(f, X, baselines=b, multiply_by_inputs=False)
    with pytest.raises(ValueError, match="compute them one by one"):
        hypothetical(mean, b)
