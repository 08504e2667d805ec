"""Checks of names and labels find a method that goes by position."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from attrib.functional import integrated_gradients, noise_tunnel, saliency
from attrib.testing import AxiomError, by_label, by_name, completeness, contract, purity

X = torch.tensor([[1.0, 2.0], [3.0, -4.0], [0.5, 1.0]])


def by_position(method: Any) -> Any:
    """A labelled form that looks at no label and no name."""

    def attribute(f: Any, x: Any, **options: Any) -> Any:
        bare = lambda v: torch.as_tensor(v.values.copy()) if isinstance(v, xr.DataArray) else v
        options["additional_forward_args"] = {"scale": bare(options["additional_forward_args"]["scale"])}
        if isinstance(x, dict):
            return {
                n: xr.DataArray(a)
                for n, a in zip(x, method(f, tuple(map(bare, x.values())), **options), strict=True)
            }
        return xr.DataArray(method(f, bare(x), **{k: bare(v) for k, v in options.items()}), dims=x.dims)

    return attribute


def test_a_method_by_position_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    f, two = lambda x: (x**2).sum(1), lambda a, b: (a * b**2).sum(1)
    by_label(saliency, f, X, tolerance=1e-6)
    by_name(integrated_gradients, two, (X, 2 * X), tolerance=1e-6)
    by_label(partial(noise_tunnel, saliency, n_samples=2), f, X, tolerance=1e-6)
    monkeypatch.setattr(contract, "labelled", by_position)
    with pytest.raises(AxiomError, match="labels"):
        by_label(saliency, f, X, tolerance=1e-6)
    with pytest.raises(AxiomError, match="names"):
        by_name(integrated_gradients, two, (X, 2 * X), tolerance=1e-6)


def test_baselines_and_targets_by_position_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    g = lambda x: torch.stack([x[:, 0] * x[:, 1], x.sum(1) ** 2], 1)
    options: dict[str, Any] = {"target": [0, 1, 0], "baselines": X.flip(0) / 3, "tolerance": 1e-6}
    by_label(integrated_gradients, g, X, **options)
    seen = {}

    def watched(method: Any) -> Any:
        def attribute(f: Any, x: Any, **given: Any) -> Any:
            seen.update(given)
            return form(method)(f, x, **given)

        return attribute

    form = contract.labelled
    monkeypatch.setattr(contract, "labelled", watched)
    by_label(integrated_gradients, g, X, **options)
    assert [str(s) for s in seen["target"].sample.values] == ["sample 2", "sample 1", "sample 0"]
    assert seen["baselines"].isel(sample=0, drop=True)["dim 0 1"].values.tolist() == [
        "dim 0 1 1",
        "dim 0 1 0",
    ]


def test_functions_of_others_have_no_form_for_labels() -> None:
    with pytest.raises(TypeError, match=r"no form for labels; pass a method of attrib\.functional"):
        by_label(lambda f, x, **_: x, lambda x: x.sum(1), X)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"method": "saliency"}, TypeError, "`method` must be callable"),
        ({"f": None}, TypeError, "`f` must be callable"),
        ({"x": np.ones((2, 3))}, TypeError, "`x` is a ndarray, expected a tensor"),
        ({"x": torch.tensor(1.0)}, TypeError, "`x` is a Tensor, expected a tensor, or a tuple of tensors, samples on dim 0"),
        ({"tolerance": -1}, ValueError, "`tolerance` is -1, expected a number of at least 0"),
        ({"tolerance": "small"}, TypeError, "`tolerance` is 'small', expected a number"),
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused_by_name(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    right: dict[str, Any] = {"method": saliency, "f": lambda x: x.sum(1), "x": torch.ones(2, 3)}
    for check in (completeness, purity):
        with pytest.raises(error, match=message):
            check(**(right | wrong))
