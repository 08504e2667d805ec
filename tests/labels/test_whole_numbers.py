"""Whole numbers and booleans go in as they are wherever no gradient is taken at them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import attrib


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)
        self.conv = nn.Conv1d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert not ids.is_floating_point()
        return self.head(torch.relu(self.conv(self.embedding(ids).transpose(1, 2))).mean(2))


F = Tokens().eval()
IDS = np.random.default_rng(0).integers(1, 20, (3, 6))
FORMS: dict[str, Any] = {
    "array": lambda: xr.DataArray(IDS, dims=("sample", "position"), coords={"sample": list("abc")}),
    "int32": lambda: IDS.astype("int32"),
    "frame": lambda: pd.DataFrame(IDS),
    "tensor": lambda: torch.from_numpy(IDS),
    "dask": lambda: xr.DataArray(IDS, dims=("sample", "position")).chunk(sample=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_reach_the_model(form: str) -> None:
    x, t = FORMS[form](), torch.from_numpy(IDS)
    y = F(t).detach()
    np.testing.assert_allclose(attrib.predict(F, x), y, atol=1e-6)
    pad = [F(t.where(torch.arange(6) != k, 0)).detach()[:, 1] for k in range(6)]
    expected = y[:, 1:] - torch.stack(pad, 1)
    for method in (attrib.feature_ablation, attrib.occlusion):
        a = method(F, x, baselines=0, target=1)
        np.testing.assert_allclose(a, expected, atol=1e-6)
        assert a.dtype.kind == "f"
    a = attrib.layer_activation(F, x, layer="conv")
    assert a.shape == (3, 6, 6)
    m = attrib.grad_cam(F, x, layer="conv", target=0, upsample=False, relu=False)
    assert m.shape == (3, 6)
    if form != "dask":
        e = attrib.integrated_gradients(F, x, layer="embedding", baselines=0, target=1)
        np.testing.assert_allclose(
            e.sum(e.dims[1:]) - e.delta, y[:, 1] - F(torch.zeros_like(t)).detach()[:, 1], atol=1e-5
        )


def test_baselines_of_ids() -> None:
    x = FORMS["array"]()
    mask = xr.DataArray([7, 8, 9, 10, 11, 12], dims="position")
    a = attrib.feature_ablation(F, x, baselines=mask, target=1)
    b = attrib.feature_ablation(F, x, baselines=torch.tensor([[7, 8, 9, 10, 11, 12]]), target=1)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        attrib.feature_ablation(F, x, baselines=pd.Series(mask.values), target=1), a
    )
    t = torch.from_numpy(IDS)
    other = t.clone()
    other[:, 2] = 9
    np.testing.assert_allclose(a[:, 2], (F(t) - F(other)).detach()[:, 1], atol=1e-6)


def test_booleans() -> None:
    x = xr.DataArray([[True, False], [True, True]], dims=("sample", "gene"))
    f = lambda x: (
        x @ torch.tensor([2.0, 5.0]) if x.is_floating_point() else x.float() @ torch.tensor([2.0, 5.0])
    )
    np.testing.assert_array_equal(attrib.feature_ablation(f, x, baselines=False), [[2, 0], [2, 5]])
    np.testing.assert_array_equal(attrib.predict(f, x), [2, 7])


def test_where_gradients_are_taken_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"`x` is torch.int64, which has no gradient"):
        attrib.saliency(F, FORMS["array"](), target=0)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool])
def test_whole_numbers_into_a_network_of_floats(dtype: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype)
    for method in (
        attrib.functional.predict,
        attrib.functional.feature_ablation,
        attrib.functional.layer_activation,
    ):
        options = {"layer": "0"} if method is attrib.functional.layer_activation else {}
        with pytest.raises(
            TypeError, match=rf"`x` is {dtype}, but .* convert it with x.to\(torch.float32\)$"
        ):
            method(torch.nn.Sequential(torch.nn.Linear(3, 1)), x, **options)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_letters_of_whole_numbers_are_mutated(dtype: str) -> None:
    weights = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 5.0], [4.0, 0.0]])
    letters = xr.DataArray(np.eye(4)[[[0, 2], [3, 3]]], dims=("sample", "position", "nucleotide")).transpose(
        "sample", "nucleotide", "position"
    )
    f = lambda v: (v.float() * weights).sum((1, 2))
    found = attrib.in_silico_mutagenesis(f, letters.astype(dtype))
    expected = weights.numpy() - (letters.values * weights.numpy()).sum(1)[:, None]
    np.testing.assert_array_equal(found, expected)


def test_ids_beside_letters_are_held() -> None:
    letters, ids = torch.eye(4)[torch.tensor([[0, 2, 1]])].transpose(1, 2), torch.tensor([[3, 4]])
    table = nn.Embedding(5, 1)
    f = lambda v, i: v[:, 2].sum(1) * table(i).sum((1, 2))
    found, held = attrib.functional.in_silico_mutagenesis(f, (letters, ids), only=0)
    factor = table(ids).sum().detach()
    torch.testing.assert_close(found[0, :, 0], factor * torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert held.shape == ids.shape
    assert held.isnan().all()
