"""Attributions at a layer: dims that are the input's keep its labels, the others get names."""

from functools import partial
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


class Turned(nn.Module):
    """Images of 8 x 8 with 8 channels on the last dim, or with rows and columns exchanged."""

    def __init__(self, order: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.conv, self.order, self.inside = nn.Conv2d(1, channels, 3, padding=1), order, nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(self.conv(x).permute(0, *self.order)).flatten(1).sum(1)


IMAGES = xr.DataArray(
    np.random.default_rng(0).normal(size=(2, 1, 8, 8)),
    dims=("sample", "channel", "y", "x"),
    coords={"y": 10.0 * np.arange(8), "x": 5.0 * np.arange(8)},
)
GENES = xr.DataArray(
    np.random.default_rng(0).normal(size=(3, 8)),
    dims=("sample", "gene"),
    coords={"gene": [f"g{k}" for k in range(8)], "pathway": ("gene", list("aabbccdd"))},
)


@pytest.mark.parametrize(
    ("order", "dims"), [((2, 3, 1), ("y", "x", "channel")), ((3, 2, 1), ("x", "y", "channel")), ((1, 2, 3), ("channel", "y", "x"))]
)  # fmt: skip
@pytest.mark.parametrize("channels", [8, 3])
def test_dims_are_found_by_what_moves_them_not_by_their_sizes(
    order: tuple[int, ...], dims: tuple[str, ...], channels: int
) -> None:
    a = attrib.saliency(built(lambda: Turned(order, channels)), IMAGES, layer="inside")
    assert a.dims == ("sample", *dims)
    assert a.sizes["channel"] == channels
    np.testing.assert_array_equal(a.y, IMAGES.y)
    np.testing.assert_array_equal(a.x, IMAGES.x)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("layer", ["0", "1"])
def test_a_layer_that_is_as_wide_as_the_input_has_no_genes(layer: str, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    a = attrib.integrated_gradients(model, GENES, layer=layer, target=0)
    assert a.dims == ("sample", "layer_dim_1")
    assert not {"gene", "pathway", "layer_dim_1"} & set(a.coords)
    assert attrib.conductance(model, GENES, layer=layer, target=0).dims == a.dims


def test_a_layer_of_the_genes_themselves_keeps_them() -> None:
    model = built(lambda: nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    for layer in "01":
        a = attrib.integrated_gradients(model, GENES, layer=layer, target=0)
        assert a.dims == ("sample", "gene")
        assert a.pathway.values.tolist() == list("aabbccdd")
    assert attrib.conductance(model, GENES, layer="1", target=0).dims == ("sample", "gene")


def test_channels_that_a_convolution_mixes_are_not_the_inputs_even_if_as_many() -> None:
    x = IMAGES.isel(channel=[0, 0, 0]).assign_coords(channel=["r", "g", "b"])
    mixed = built(lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Flatten(), nn.Linear(192, 1)))
    assert "channel" not in attrib.saliency(mixed, x, layer="0", target=0).coords
    apart = built(lambda: nn.Sequential(nn.InstanceNorm2d(3), nn.Flatten(), nn.Linear(192, 1)))
    assert attrib.saliency(apart, x, layer="0", target=0).channel.values.tolist() == ["r", "g", "b"]


def test_the_dims_are_those_of_the_input_that_moves_them() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second = nn.Tanh()

        def forward(self, rna: Tensor, atac: Tensor) -> Tensor:
            return rna.sum(1) * self.second(atac * 0.1).sum(1)

    x = {"rna": GENES, "atac": GENES.rename(gene="peak").assign_coords(peak=[f"p{k}" for k in range(8)])}
    a = attrib.input_x_gradient(Two().double(), x, layer="second")
    assert a.dims == ("sample", "peak")
    assert a.peak.values.tolist() == x["atac"].peak.values.tolist()


class Words(nn.Module):
    """Attention over words: every position moves with every word, its own the most."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 12)
        self.block = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.block(self.words(ids), src_key_padding_mask=mask)[:, 0])


def test_positions_behind_attention_are_those_of_their_words() -> None:
    ids = xr.DataArray(
        np.random.default_rng(0).integers(1, 30, (2, 12)),
        dims=("text", "token"),
        coords={"token": np.arange(12)},
    )
    mask = (ids < 4).isel(token=slice(None))
    mask[:, 0] = False
    for layer in ("words", "block"):
        a = attrib.saliency(built(Words), ids, layer=layer, target=1, additional_forward_args=(mask,))
        assert a.dims == ("text", "token", "feature")


LAZY: dict[str, tuple[Any, dict[str, Any]]] = {
    **{n: (getattr(attrib, n), o) for n, o in METHODS.items()},
    "gradient_shap": (attrib.gradient_shap, {"baselines": sentences().rename(text="baseline").drop_vars(["word", "author"]), "n_samples": 4}),
    "deep_lift_shap": (attrib.deep_lift_shap, {"baselines": sentences().rename(text="baseline").drop_vars(["word", "author"])}),
    "shapley_values": (attrib.shapley_values, {"baselines": 0, "groups": np.arange(3)[:, None].repeat(4, 1)}),
    "groups of samples": (attrib.feature_ablation, {"baselines": 0, "groups": np.random.default_rng(0).integers(0, 3, (5, 3, 4))}),
    "several targets": (attrib.input_x_gradient, {"targets": "all", "classes": ["no", "yes"]}),
    "own targets": (attrib.input_x_gradient, {"target": [0, 1, 1, 0, 1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAZY)
def test_blocks_that_are_computed_later_give_the_eager_result(name: str) -> None:
    pytest.importorskip("dask")
    method, options = LAZY[name]
    options = options if "target" in options or "targets" in options else {**options, "target": 1}
    ids = np.random.default_rng(1).integers(1, 9, (5, 3))
    coords = {"text": [*"abcde"], "word": (("text", "token"), ids.astype(str)), "place": ("token", [0, 1, 2])}
    x = xr.DataArray(ids, dims=("text", "token"), coords=coords)
    model = built(Reader)
    eager = method(model, x, layer="words", **options)
    lazy = method(model, x.chunk(text=2), layer="words", **options)
    assert lazy.chunks is not None
    assert lazy.dims == eager.dims
    assert set(lazy.coords) == set(eager.coords)
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-10)
    notes = ("path_reason", "path_gain")  # they depend on how many samples are in a block
    assert {k: v for k, v in lazy.attrs.items() if k not in notes} == {
        k: v for k, v in eager.attrs.items() if k not in notes
    }


def test_a_layer_of_the_method_inside_a_noise_tunnel_has_its_own_dims() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 2)))
    inside = partial(attrib.input_x_gradient, layer="1")
    a = attrib.noise_tunnel(inside, model, GENES, stdevs=0.0, n_samples=2, target=0)
    assert a.dims == ("sample", "layer_dim_1")
    np.testing.assert_allclose(a, inside(model, GENES, target=0), rtol=1e-10)
    lazy = attrib.noise_tunnel(inside, model, GENES.chunk(sample=2), stdevs=0.0, n_samples=2, target=0)
    np.testing.assert_allclose(a, lazy)


def test_conductance_may_be_computed_later() -> None:
    pytest.importorskip("dask")
    model = built(lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)))
    own = xr.DataArray(np.random.default_rng(3).normal(size=(3, 8)), dims=("sample", "gene"))
    for options in ({"target": "predicted"}, {"targets": [0, 1]}):
        eager = attrib.conductance(model, GENES, layer="1", baselines=own, n_steps=4, **options)
        lazy = attrib.conductance(
            model, GENES.chunk(sample=2), layer="1", baselines=own, n_steps=4, **options
        )
        assert lazy.chunks is not None
        assert set(lazy.coords) == set(eager.coords)
        xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-10)


def test_conductance_of_tokens_names_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"`x` is torch.int64, .*integrated_gradients with `layer`"):
        attrib.conductance(built(Reader), sentences(), layer="words", baselines=0, target=1)
