"""What callers hand over: options inside a partial, nameless dims of several inputs, targets of a wrong kind."""

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

import attrib


def squares(x: torch.Tensor) -> torch.Tensor:
    return (x**2).sum(1)


def test_options_of_a_partial_are_matched_by_name() -> None:
    rng = np.random.default_rng(0)
    x = xr.DataArray(rng.normal(size=(3, 4)), dims=("cell", "gene"), coords={"gene": list("abcd")})
    point = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="gene", coords={"gene": list("dcba")})
    quiet = {"n_samples": 2, "stdevs": 0.0}
    through = attrib.noise_tunnel(partial(attrib.integrated_gradients, baselines=point), squares, x, **quiet)
    alone = attrib.integrated_gradients(squares, x, baselines=point)
    np.testing.assert_allclose(through, alone)
    pool = xr.DataArray(rng.normal(size=(5, 4)), dims=("baseline", "gene"), coords={"gene": list("abcd")})
    through = attrib.noise_tunnel(partial(attrib.deep_lift_shap, baselines=pool), squares, x, **quiet)
    np.testing.assert_allclose(through, attrib.deep_lift_shap(squares, x, baselines=pool))
    windows = partial(attrib.occlusion, window={"gene": 2})
    through = attrib.noise_tunnel(windows, squares, x, **quiet)
    np.testing.assert_allclose(through, attrib.occlusion(squares, x, window={"gene": 2}))


def test_nameless_dims_of_a_tuple_need_not_agree() -> None:
    u, v = torch.ones(2, 3), torch.ones(2, 4, 5)
    a, b = attrib.saliency(lambda u, v: u.sum(1) + 2 * v.sum((1, 2)), (u, v))
    np.testing.assert_array_equal(a, np.ones((2, 3)))
    np.testing.assert_array_equal(b, np.full((2, 4, 5), 2.0))


@pytest.mark.parametrize("targets", [3, 2.5, None.__class__])
def test_targets_that_are_no_list(targets: object) -> None:
    with pytest.raises(TypeError, match=r"`targets` is .*for one use `target`"):
        attrib.saliency(squares, np.ones((2, 3)), targets=targets)
