"""Attributions at a layer: dims that are the input's keep its labels, the others get names."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import attrib


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(ids)).sum(1))


def built(make: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double().eval()


def sentences() -> xr.DataArray:
    ids = np.array([[1, 2, 3], [4, 5, 0]])
    coords = {
        "text": ["a b c", "d e"],
        "word": (("text", "token"), [["a", "b", "c"], ["d", "e", ""]]),
        "place": ("token", [0, 1, 2]),
        "author": ("text", ["x", "y"]),
    }
    return xr.DataArray(ids, dims=("text", "token"), coords=coords)


METHODS = {
    "saliency": {},
    "integrated_gradients": {"baselines": 0},
    "deep_lift": {"baselines": 0},
    "feature_ablation": {"baselines": 0},
}


@pytest.mark.parametrize("name", METHODS)
def test_tokens_keep_all_their_labels(name: str) -> None:
    x, model = sentences(), built(Reader)
    a = getattr(attrib, name)(model, x, layer="words", target=1, **METHODS[name])
    assert a.dims == ("text", "token", "feature")
    for coord in ("text", "word", "place", "author"):
        xr.testing.assert_identical(a[coord].reset_coords(drop=True), x[coord].reset_coords(drop=True))
    if name == "integrated_gradients":
        scores = [
            float(attrib.predict(model, v, sample_dims="text").sel(target=1)[0]) for v in (x[:1], 0 * x[:1])
        ]
        assert float(a[0].sum()) == pytest.approx(scores[0] - scores[1], rel=1e-9)


def test_several_targets_lead() -> None:
    a = attrib.saliency(built(Reader), sentences(), layer="words", targets="all", classes=["no", "yes"])
    assert a.dims == ("target", "text", "token", "feature")
    assert a.target.values.tolist() == ["no", "yes"]


@pytest.mark.parametrize(
    ("layer", "dims", "sizes"),
    [("0", ("channel", "y", "x"), (5, 8, 8)), ("1", ("channel", "y", "x"), (5, 4, 4)), ("3", ("layer_dim_1",), (3,))],
)  # fmt: skip
def test_images(layer: str, dims: tuple[str, ...], sizes: tuple[int, ...]) -> None:
    model = built(
        lambda: nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(80, 3),
            nn.Tanh(),
            nn.Linear(3, 2),
        )
    )
    x = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 2, 8, 8)),
        dims=("sample", "channel", "y", "x"),
        coords={"channel": ["T1", "T2"], "y": ("y", 10.0 * np.arange(8), {"units": "µm"})},
    )
    a = attrib.saliency(model, x, layer=layer, target=0)
    assert a.dims == ("sample", *dims)
    assert a.shape[1:] == sizes
    assert "channel" not in a.coords  # the layer's channels are others
    if sizes[-1] == 8:
        np.testing.assert_array_equal(a.y, x.y)
    elif "y" in a.dims:
        np.testing.assert_allclose(a.y, [5.0, 25.0, 45.0, 65.0])


def test_conductance_of_tokens_names_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"`x` is torch.int64, .*integrated_gradients with `layer`"):
        attrib.conductance(built(Reader), sentences(), layer="words", baselines=0, target=1)
