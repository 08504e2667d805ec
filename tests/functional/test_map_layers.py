"""Which layer a map is of, and how it lies on the input: one small model per kind of failure."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attrib
from attrib.engine.layers.image_form import Form, layouts
from attrib.engine.layers.positions import follows, moved
from attrib.engine.model.prepared import PreparedModel
from attrib.functional import (
    grad_cam,
    guided_grad_cam,
    hires_cam,
    input_x_gradient,
    layer_activation,
    saliency,
)
from attrib.testing import untouched


def sequences(n: int = 2, length: int = 64, last: bool = False) -> Tensor:
    letters = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(0))
    x = nn.functional.one_hot(letters, 4).float()
    return x if last else x.mT.contiguous()


def images(*size: int, n: int = 1) -> Tensor:
    return torch.randn(n, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# ------------------------------------------------------------------ a change moves the layer where it is


@pytest.mark.parametrize(
    "size", [(4, 60), (3, 48, 36), (1, 24, 18, 30), (60, 4), (60,), (20, 60), (2, 2), (8, 3, 24, 24)]
)
def test_the_input_is_moved_at_places_that_differ_along_every_dim(size: tuple[int, ...]) -> None:
    x = images(*size)
    moves = moved(x)
    assert torch.equal(moves.rows[0], x[0])
    assert set(moves.dims) == set(range(len(size))) - {
        k
        for k in {0, len(size) - 1, *([1] if len(size) == 4 and size[0] > 5 else [])}
        if size[k] < 6 and len(set(size)) > 1 and len(size) > 1
    }
    changed = moves.rows[1:] != x
    assert bool(changed.flatten(1).any(1).all())
    if len(moves.dims) > 1 and min(size[d] for d in moves.dims) >= 6:
        assert not bool((changed.sum(0) > 1).any())  # no two places share an entry


def test_a_grid_follows_the_input_forwards_or_backwards() -> None:
    moves = moved(torch.zeros(1, 4, 60))
    changes = (moves.rows[1:] != 0)[:, 0].double()
    for grid in (changes, changes.view(6, 12, 5).sum(2)):
        forward, backward = follows(grid, moves.spans)
        centres, places = (torch.arange(n).double().add(0.5) / n for n in (grid.shape[1], 6))
        bell = torch.exp(-(((centres - places[:, None]) / 0.08) ** 2) / 2)
        tables = [t - t.mean(0) - t.mean(1, keepdim=True) + t.mean() for t in (grid.gt(0).double(), bell)]
        expected = float(torch.corrcoef(torch.stack([t.flatten() for t in tables]))[0, 1])
        assert 0.85 < expected == pytest.approx(float(forward))
        assert float(backward) < 0
        assert float(follows(grid.flip(1), moves.spans)[1]) == pytest.approx(expected)
    assert float(follows(torch.rand(6, 60).double(), moves.spans)[0].abs()) < 0.3
    assert float(follows(torch.ones(6, 60).double(), moves.spans)[0]) == 0


def test_layouts_are_those_that_the_sizes_allow() -> None:
    assert set(layouts((1, 8, 5, 5), (3, 40, 40), (1, 2))) == {
        Form("first", 0, (5, 5)),
        Form("last", 0, (8, 5)),
    }
    tokens = set(layouts((1, 17, 8), (3, 32, 32), (1, 2)))
    assert Form("tokens", 1, (4, 4)) in tokens
    assert all(f.order == "tokens" for f in tokens)
    assert Form("tokens", 2, (2, 5)) not in set(layouts((1, 12, 8), (3, 32, 32), (1, 2)))  # strides 16 and 6
    assert set(layouts((1, 8, 16), (4, 64), (1,))) == {Form("first", 0, (16,)), Form("tokens", 0, (8,))}


# ------------------------------------------------------------------ the last layer whose positions are the input's


class Block(nn.Module):
    """Attention whose keys and weights pass through modules: (N, heads, tokens, 8) and (N, heads, tokens, tokens)."""

    def __init__(self, c: int = 32) -> None:
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.k_norm, self.drop = nn.Identity(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        weights = self.drop((q @ self.k_norm(k).mT).softmax(-1))
        return x + self.proj((weights @ v).transpose(1, 2).flatten(2))


class ViT(nn.Module):
    """Patches of 8 x 8 behind a class token and registers, as many heads as make attention look like an image; or of volumes."""

    def __init__(self, registers: int = 0, dims: int = 2) -> None:
        super().__init__()
        self.patch, self.block, self.norm, self.head = (
            (nn.Conv2d if dims == 2 else nn.Conv3d)(3, 32, 8, 8),
            Block(),
            nn.LayerNorm(32),
            nn.Linear(32, 3),
        )
        self.front = nn.Parameter(torch.randn(1, 1 + registers, 32))

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.front.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], 1)
        return self.head(self.norm(self.block(tokens))[:, 0])


class ChannelsFirstStage(nn.Module):
    """Linear and LayerNorm inside, (N, C, y, x) outside."""

    def __init__(self, c: int = 48) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(c), nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class PerPosition(nn.Module):
    """Scores of single positions, averaged: the last convolution is the head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.relu, self.scores = nn.Conv1d(4, 8, 5, padding=2), nn.ReLU(), nn.Conv1d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.relu(self.body(x))).mean(2)


class Strands(nn.Module):
    """Logits of a profile over the positions of all strands, and their mean under it; `weighed` has a weight for each strand."""

    def __init__(self, strands: int = 2, weighed: bool = False) -> None:
        super().__init__()
        self.conv, self.relu, self.weighed = nn.Conv1d(4, 12, 5, padding=2), nn.ReLU(), weighed
        self.scores = nn.Conv1d(12, strands, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.scores(self.relu(self.conv(x)))
        h = h * torch.tensor([[1.0], [-0.5]]) if self.weighed else h
        return (h.flatten(1).softmax(1) * h.flatten(1)).sum(1, keepdim=True)


class Given(nn.Module):
    """Rows of its own, for every sample."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows.expand(len(x), -1, -1)


class Latents(nn.Module):
    """Eight latents that look at the tokens in an order of chance, which here is that of the tokens."""

    def __init__(self, positions: bool = False) -> None:
        super().__init__()
        self.embed, self.latents = nn.Linear(6, 12), Given(torch.eye(8, 12) * 9)
        places = nn.functional.interpolate(torch.eye(8)[None], 24)[0].T
        self.place = Given(torch.cat([places, torch.zeros(24, 4)], 1))
        self.norm, self.tokens, self.head = nn.LayerNorm(12), nn.LayerNorm(12), nn.Linear(12, 2)
        self.positions = positions

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(self.embed(x) + self.place(x))
        if self.positions:
            return self.head(h.mean(1))
        keys = self.place(x).mT
        latents = self.latents(x)
        return self.head(self.norm(latents + (latents @ keys).softmax(2) @ h).square().mean(1))


class Queries(nn.Module):
    """A few latents that are a parameter of the model itself and look at all tokens, with embeddings of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Linear(6, 32), nn.Parameter(torch.randn(1, 24, 32))
        self.tokens, self.latents = nn.LayerNorm(32), nn.Parameter(torch.randn(4, 32))
        self.query, self.drop, self.block = nn.Linear(32, 32), nn.Dropout(0.1), Block()
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(self.embed(x) + self.positions)
        latents = self.latents.expand(len(x), -1, -1)
        weights = self.drop((self.query(latents) @ h.mT / 6).softmax(2))  # (N, latents, tokens), of one head
        return self.head(self.norm(self.block(latents + weights @ h)).mean(1))


class BiasBranch(nn.Module):
    """A large branch that finishes first and a small one that finishes last."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.bias = nn.Conv1d(4, 8, 5, padding=2), nn.Conv1d(4, 8, 3, padding=1)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        main, bias = self.main(x).relu().mean(2), self.bias(x).relu().mean(2)
        return self.out(main) + 0.01 * self.out(bias)


class TwoModels(nn.Module):
    """ChromBPNet's: a large model and a small one that finishes last, through which most of the output's change goes."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(*[nn.Conv1d(c, 12, 5, padding=2) for c in (4, 12, 12)], nn.ReLU())
        self.bias, self.outs = (
            nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.ReLU()),
            nn.ModuleList([nn.Linear(12, 1), nn.Linear(4, 1)]),
        )

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        main, bias = (
            out(part(x).mean(2)) for part, out in zip((self.main, self.bias), self.outs, strict=True)
        )
        return main, 3 * bias

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.scores(x))  # type: ignore[return-value]


class ReverseBranch(nn.Module):
    """A branch that reads the input from its end, and finishes last."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards, self.backwards, self.out = (
            nn.Conv1d(4, 8, 5, padding=2),
            nn.Conv1d(4, 8, 5, padding=2),
            nn.Linear(16, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        pair = [self.forwards(x).relu().amax(2), self.backwards(x.flip(1, 2)).relu().amax(2)]
        return self.out(torch.cat(pair, 1))


class ImageAndText(nn.Module):
    """Tokens of a text that no image moves finish last."""

    def __init__(self) -> None:
        super().__init__()
        self.vision, self.text, self.table = (
            nn.Conv2d(3, 8, 8, 8),
            nn.LayerNorm(8),
            nn.Parameter(torch.randn(1, 16, 8)),
        )

    def forward(self, x: Tensor) -> Tensor:
        image = self.vision(x).relu().mean((2, 3))
        return (image[:, None] * self.text(self.table.expand(len(x), -1, -1))).sum(2)


def stages(last: int) -> nn.Sequential:
    """Convolutions down to a grid of `last` x `last`, pooled."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 8, 8), nn.ReLU(), nn.Conv2d(6, 8, 4 // last, 4 // last), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "x", "layer", "grid"),
    [
        (ViT, images(3, 64, 64), "block.norm1", (8, 8)),
        (lambda: ViT(registers=4), images(3, 64, 64), "block.norm1", (8, 8)),
        (lambda: ViT(dims=3), images(3, 24, 40, 32), "block.norm1", (3, 5, 4)),
        (lambda: nn.Sequential(nn.Conv2d(3, 48, 8, 8), ChannelsFirstStage(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 2)), images(3, 32, 32), "1", (4, 4)),
        (PerPosition, sequences(), "relu", (64,)),
        (BiasBranch, sequences(), "main", (64,)),
        (TwoModels, sequences(), "main", (64,)),
        (Latents, images(24, 6), "tokens", (24,)),
        (lambda: Latents(positions=True), images(24, 6), "tokens", (24,)),
        (Strands, sequences(), "relu", (64,)),
        (lambda: Strands(1), sequences(), "relu", (64,)),
        (lambda: Strands(2, weighed=True), sequences(), "scores", (64,)),
        (ReverseBranch, sequences(), "forwards", (64,)),
        (ImageAndText, images(3, 64, 64), "vision", (8, 8)),
        (lambda: stages(2), images(3, 32, 32), "3", (2, 2)),
        (lambda: stages(1), images(3, 32, 32), "1", (4, 4)),
    ],
    ids=["attention", "registers", "volumes", "channels first", "scores", "bias branch", "two models", "latents", "positions", "both strands", "one strand", "weighed", "reversed", "text", "stages", "one position"],
)  # fmt: skip
def test_auto(model: Callable[[], nn.Module], x: Tensor, layer: str, grid: tuple[int, ...]) -> None:
    net = model().eval()
    with untouched(net, x):
        e = grad_cam.explain(net, x, target=0, upsample=False, relu=False)
    assert e.layers == (layer,)
    assert e.attribution.shape[1:] == grid
    assert e.notes is not None
    assert e.notes["layer"] == layer
    assert "the last layer whose positions are the input's" in str(e.notes["layer_choice"])
    assert float(e.attribution.abs().max()) > 0


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (ViT, images(3, 64, 64), "norm (its positions do not count for the output)"),
        (PerPosition, sequences(), "scores (scores of the outputs, position by position)"),
        (Latents, images(24, 6), "norm (its positions begin as values of its own)"),
        (Strands, sequences(), "scores (scores of the outputs, position by position)"),
        (lambda: Strands(1), sequences(), "scores (scores of the outputs, position by position)"),
        (ReverseBranch, sequences(), "backwards (it runs from the input's end to its beginning)"),
        (TwoModels, sequences(), "on the branch of most parameters (1,716) (others: bias)"),
        (lambda: stages(1), images(3, 32, 32), "(one position)"),
        (BiasBranch, sequences(), "larger part of the output's change (9"),
    ],
)
def test_notes_say_why(model: Callable[[], nn.Module], x: Tensor, words: str) -> None:
    e = grad_cam.explain(model().eval(), x, target=0)
    assert e.notes is not None
    assert words in str(e.notes["layer_choice"])


def test_latents_are_refused_by_name_as_auto_passes_them_over() -> None:
    model, x = Latents().eval(), images(24, 6)
    with untouched(model, x), pytest.raises(ValueError, match=r"'norm': its positions begin as values of its own; pass reshape=.*tokens \(24\)"):  # fmt: skip
        grad_cam(model, x, target=0, layer="norm")
    assert grad_cam(model, x, target=0, layer="tokens").shape == (1, 24)
    assert layer_activation(model, x, layer="norm").shape == (1, 8, 12)  # as it is
    own = grad_cam(model, x, target=0, layer="norm", reshape=lambda t: t.mT, upsample=False)
    assert own.shape == (1, 8)


@pytest.mark.parametrize("seed", range(6))
def test_latents_follow_no_input_though_they_may_by_chance(seed: int) -> None:
    torch.manual_seed(seed)
    e = grad_cam.explain(Queries().eval(), images(24, 6), target=0, upsample=False)
    assert (e.layers, e.attribution.shape[1:]) == (("tokens",), (24,))
    assert "drop (attention weights)" in str((e.notes or {})["layer_choice"])


def test_most_of_the_change_goes_through_the_small_model() -> None:
    """So the map of `TwoModels` is not that of the branch through which most of the output's change goes."""
    with torch.no_grad():
        main, bias = ((y - y[:1]).norm() for y in TwoModels().eval().scores(moved(sequences()[:1]).rows))
    assert bias > 1.5 * main


def test_an_empty_first_sample_does_not_hide_the_layer() -> None:
    """Of a model that is dead on it: the layer is found with the sample that varies most."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)
    ).eval()  # fmt: skip
    with torch.no_grad():
        for weights in net.parameters():
            weights.abs_()
        net[4].bias.fill_(-0.01)
    x = torch.rand(3, 1, 9, 9)
    x[0] = 0
    assert not bool(grad_cam(net, x, target=1)[0].any())
    torch.testing.assert_close(grad_cam(net, x, target=1)[1:], grad_cam(net, x[1:], target=1))


def test_maps_of_zeros_are_told() -> None:
    model = nn.Sequential(
        nn.Conv1d(4, 3, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    with torch.no_grad():
        model[4].weight.copy_(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    e = grad_cam.explain(model.eval(), sequences(3), layer="1", targets="all")
    assert e.notes is not None
    assert str(e.notes["zero_maps"]).startswith("3 of 6 maps are zero everywhere")
    assert "zero_maps" not in (grad_cam.explain(model, sequences(3), layer="1", target=1).notes or {})


# ------------------------------------------------------------------ layouts are believed where the input moves them


class Shuffled(nn.Module):
    """Tokens in an order that is not the image's, until the last norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.early, self.late, self.head = (
            nn.Conv2d(3, 6, 4, 4),
            nn.LayerNorm(6),
            nn.LayerNorm(6),
            nn.Linear(6, 2),
        )
        order = (
            torch.arange(64).view(2, 4, 2, 4).permute(1, 3, 0, 2).flatten()
        )  # units of 4 x 4, their insides first
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.early(self.patch(x).flatten(2).mT[:, self.order])
        return self.head(self.late(tokens[:, self.back]).relu().mean(1))


def test_an_order_that_is_not_the_images_is_refused() -> None:
    model, x = Shuffled().eval(), images(3, 32, 32)
    assert grad_cam.explain(model, x, target=0).layers == ("late",)
    with (
        untouched(model, x),
        pytest.raises(ValueError, match=r"'early': its positions do not follow.*reshape=.*late \(8 x 8\)"),
    ):
        grad_cam(model, x, layer="early", target=0)
    assert layer_activation(model, x, layer="early").shape == (1, 64, 6)  # as it is
    assert layer_activation(model, x, layer="late").shape == (1, 6, 8, 8)
    raster = lambda t: t[:, model.back].mT.unflatten(2, (8, 8))
    a = hires_cam(model, x, layer="early", target=0, reshape=raster, relu=False, upsample=False)
    assert torch.allclose(a.sum(), hires_cam(model, x, layer="early", target=0, reshape=lambda t: t.mT.unflatten(2, (8, 8)), relu=False, upsample=False).sum())  # fmt: skip


def test_attention_and_heads_are_no_maps() -> None:
    model, x = ViT().eval(), images(3, 64, 64)
    for layer in ("block.k_norm", "block.drop"):
        with pytest.raises(ValueError, match=r"no image form|do not follow"):
            grad_cam(model, x, layer=layer, target=0)


class LettersLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.Conv1d(4, 8, 5, padding=2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.relu(self.c(x.transpose(1, 2))).mean(2))


class Signal(nn.Module):
    """Values (N, L) without channels."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.Conv1d(1, 8, 5, 2, padding=2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.relu(self.c(x[:, None])).mean(2))


def test_letters_on_the_last_dim() -> None:
    model, x = LettersLast().eval(), sequences(last=True)
    first = hires_cam(lambda t: model(t.mT), x.mT.contiguous(), layer=model.c, target=0, relu=False)
    for options in ({}, {"layer": "c"}):
        e = hires_cam.explain(model, x, target=0, relu=False, **options)
        assert e.dims == (0,)
        assert torch.allclose(e.attribution, first, atol=1e-7)
    import xarray as xr

    labels = {"position": range(100, 164), "nucleotide": list("ACGT")}
    a = attrib.hires_cam(model, xr.DataArray(x.numpy(), dims=("sample", "position", "nucleotide"), coords=labels), target=0, relu=False)  # fmt: skip
    assert a.dims == ("sample", "position")
    assert a.position.values.tolist() == list(range(100, 164))
    fine = guided_grad_cam(input_x_gradient, model, x, target=0)
    map_ = grad_cam(model, x, target=0)
    assert torch.allclose(fine, input_x_gradient(model, x, target=0) * map_[..., None])
    activation = attrib.layer_activation(
        model, xr.DataArray(x.numpy(), dims=("sample", "position", "nucleotide")), layer="c"
    )
    assert activation.dims == ("sample", "filter", "position")


def test_values_without_channels() -> None:
    e = grad_cam.explain(Signal().eval(), images(60, n=3), target=0)
    assert e.layers == ("c",)
    assert e.attribution.shape == (3, 60)


class Words(nn.Module):
    """A transformer of embeddings (N, L, C): sixteen words in a row, which a grid of 8 x 2 or 5 x 3 could be."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.head = nn.Sequential(Block(), Block()), nn.Linear(32, 3)
        self.norm = nn.LayerNorm(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(x)).mean(1))


class Spectrogram(nn.Module):
    """A transformer of patches of 8 x 8 of an image (N, time, frequency) without a dim of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.words = nn.Conv2d(1, 32, 8, 8), Words()

    def forward(self, x: Tensor) -> Tensor:
        return self.words(self.patch(x[:, None]).flatten(2).mT)


@pytest.mark.parametrize("seed", range(8))
def test_words_are_a_row_and_patches_a_grid(seed: int) -> None:
    torch.manual_seed(seed)
    words, spectrogram = Words().double().eval(), Spectrogram().double().eval()
    for net, sizes, layer, grid in (
        (words, (16, 32), words.norm, (16,)),
        (spectrogram, (96, 48), spectrogram.words.norm, (12, 6)),
    ):
        x = torch.randn(2, *sizes, dtype=torch.float64)
        e = grad_cam.explain(net, x, target=1, upsample=False, relu=False)
        outputs: list[Tensor] = []
        with layer.register_forward_hook(lambda *a, outputs=outputs: outputs.append(a[2])):
            gradient = torch.autograd.grad(net(x)[:, 1].sum(), outputs[0])[0]
        assert e.layers[0].endswith("norm")
        assert e.attribution.shape == (2, *grid)
        expected = (outputs[0] * gradient.mean(1, keepdim=True)).sum(2).view(2, *grid)
        torch.testing.assert_close(e.attribution, expected)


class TwoHeads(nn.Module):
    """Keys (N, heads, words, 8) with a norm of their own, as T5Gemma 2 has them, behind which all words become one vector."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.k_proj = nn.LayerNorm(32), nn.Linear(32, 16)
        self.k_norm, self.head = nn.LayerNorm(8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        keys = self.k_norm(self.k_proj(self.norm(x)).unflatten(2, (2, 8)).transpose(1, 2))
        return self.head(keys.transpose(1, 2).flatten(2).mean(1))


@pytest.mark.parametrize("seed", [0, 19, 29])
def test_two_heads_are_no_positions_though_they_follow_a_dim_by_chance(seed: int) -> None:
    torch.manual_seed(seed)
    e = grad_cam.explain(TwoHeads().eval(), torch.randn(1, 16, 32), target=0, upsample=False)
    assert (e.layers, e.attribution.shape[1:]) == (("norm",), (16,))


class TimeFirst(nn.Module):
    """Reads (N, frequency, time) as an image (N, 1, time, frequency)."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.o = nn.Conv2d(1, 6, 4, 4), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.relu(self.c(x.mT[:, None])).mean((2, 3)))


def test_a_map_lies_on_the_dims_of_the_input_in_their_order() -> None:
    model, x = TimeFirst().eval(), images(24, 80)
    e = hires_cam.explain(model, x, layer="c", target=1, relu=False, upsample=False)
    assert e.attribution.shape[1:] == (6, 20)
    h = model.c(x.mT[:, None])
    assert torch.allclose(
        e.attribution, (model.o.weight[1].view(1, -1, 1, 1) * h.relu() / 120).sum(1).mT, atol=1e-6
    )


# ------------------------------------------------------------------ layers that run twice


class SecondSamples(nn.Module):
    """A transformer with samples behind the positions, (L, N, C), as torch's own by default and XLNet have them."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=first)
        self.first, self.encoder, self.head = (
            first,
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x if self.first else x.transpose(0, 1))
        return self.head((h if self.first else h.transpose(0, 1)).tanh().mean(1))


@pytest.mark.parametrize("n", [1, 3, 16])
def test_samples_behind_the_positions(n: int) -> None:
    """Also where there are as many of them as positions."""
    first, second = SecondSamples(True).eval(), SecondSamples(False).eval()
    second.load_state_dict(first.state_dict())
    x = images(16, 8, n=n)
    for options in ({}, {"layer": "encoder.layers.0"}):
        found = grad_cam(second, x, target=0, **options)
        assert found.shape == (n, 16)
        torch.testing.assert_close(found, grad_cam(first, x, target=0, **options), rtol=1e-4, atol=1e-6)


class EncoderAndDecoder(nn.Module):
    """The decoder has as many tokens as the encoder; each of its positions looks at all of the input, and at none more than at others."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(Block() for _ in range(2))
        self.tokens, self.cross = nn.Embedding(24, 32), nn.MultiheadAttention(32, 4, batch_first=True)
        self.decoder, self.head = Block(), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.encoder:
            x = block(x)
        h = self.tokens(torch.arange(24).expand(len(x), 24))
        return self.head(self.decoder(h + 3 * self.cross(h, x, x)[0])[:, -1])


def test_positions_of_a_decoder_are_not_the_inputs() -> None:
    model, x = EncoderAndDecoder().eval(), images(24, 32, n=2)
    assert grad_cam.explain(model, x, target=0).layers == ("encoder.1",)
    with pytest.raises(ValueError, match=r"`layer` 'decoder': every position answers to changes anywhere"):
        grad_cam(model, x, target=0, layer="decoder")


class WithScale(nn.Module):
    """A block of I-BERT: what it gives stands beside its scale, a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.block(x)
        return h, h.detach().abs().amax((1, 2), keepdim=True)[0, 0]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(WithScale() for _ in range(2)), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(x.mean(1))


def test_a_layer_whose_output_stands_beside_a_number() -> None:
    model, x = Scaled().eval(), images(24, 32, n=2)
    e = grad_cam.explain(model, x, target=0, relu=False)
    assert e.layers == ("layers.1",)
    named = grad_cam(model, x, target=0, relu=False, layer="layers.1.block")
    torch.testing.assert_close(named, e.attribution)
    assert layer_activation(model, x, layer="layers.1").shape == (2, 32, 24)


class Film(nn.Module):
    """Patches of 8 x 8 of each frame (N, T, C, y, x) behind a class token, place by place with its frames, as TimeSformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.first, self.head = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(1, 1, 32)), nn.Linear(32, 3)  # fmt: skip
        self.block, self.norm = Block(), nn.LayerNorm(32)

    def forward(self, x: Tensor) -> Tensor:
        places = self.patch(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        tokens = places.permute(0, 3, 4, 1, 2).flatten(1, 3)
        return self.head(self.norm(self.block(torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)))[:, 0])  # fmt: skip


def test_frames_have_a_stride_of_their_own() -> None:
    """A map lies on frames, rows and columns, in the order of the input's dims."""
    model, x = Film().eval(), images(8, 3, 32, 40)
    found = grad_cam.explain(model, x, target=0, upsample=False, relu=False)
    assert (found.layers, found.dims) == (
        ("block.norm1",),
        (0, 2, 3),
    )  # behind it only the class token counts
    outputs: list[Tensor] = []
    handle = model.block.norm1.register_forward_hook(lambda part, args, output: outputs.append(output))
    model(x)
    handle.remove()
    gradient = saliency(model, x, target=0, layer="block.norm1", absolute=False)
    h, g = (t[0, 1:].unflatten(0, (4, 5, 8)) for t in (outputs[0], gradient))
    expected = (h * g.mean((0, 1, 2))).sum(-1).permute(2, 0, 1)
    torch.testing.assert_close(found.attribution[0], expected.detach(), rtol=1e-4, atol=1e-6)


class BothStrands(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc, self.o = nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.ReLU()), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        encoded = [self.enc(v).mean(2) for v in (x, x.flip(1, 2))]
        return self.o((encoded[0] + encoded[1]) / 2)


def test_an_encoder_that_runs_twice() -> None:
    """By hand: the second strand's map is turned back onto the input."""
    model, x = BothStrands().eval(), sequences(3)
    maps = [
        (model.o.weight[0].view(1, -1, 1) * model.enc(v).detach() / 128).sum(1) for v in (x, x.flip(1, 2))
    ]
    options: dict[str, Any] = {"layer": "enc", "target": 0, "relu": False}
    assert torch.allclose(hires_cam(model, x, call=0, **options), maps[0], atol=1e-6)
    assert torch.allclose(hires_cam(model, x, call=1, **options), maps[1].flip(1), atol=1e-6)
    both = hires_cam.explain(model, x, call="all", **options)
    assert both.layers == ("enc",)
    assert torch.allclose(both.attribution, torch.stack([maps[0], maps[1].flip(1)]), atol=1e-6)
    e = hires_cam.explain(model, x, target=0, relu=False)
    assert (e.layers, (e.notes or {})["call"]) == (("enc",), 0)
    assert torch.allclose(e.attribution, maps[0], atol=1e-6)
    many = hires_cam(model, x, layer="enc", call="all", targets="all", relu=False)
    assert many.shape == (2, 2, 3, 64)
    assert layer_activation(model, x, layer="enc", call=1).shape == (3, 8, 64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (None, 'calls it 2 times.*pass call=0 to 1 for one of them, or call="all"'),
        (2, "`call` is 2, but the model calls it 2 times"),
        (-1, "`call` is -1"),
        ("both", "`call` is 'both'"),
    ],
)
def test_calls_that_are_none(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        grad_cam(BothStrands().eval(), sequences(), layer="enc", call=call, target=0)


def test_calls_have_a_dim() -> None:
    dask = pytest.importorskip("dask.array")
    import xarray as xr

    model, x = BothStrands().eval(), sequences(4)
    a = xr.DataArray(x.numpy(), dims=("sample", "nucleotide", "position"))
    options: dict[str, Any] = {"layer": "enc", "targets": "all", "relu": False}
    eager = attrib.hires_cam(model, a, call="all", **options)
    assert eager.dims == ("target", "call", "sample", "position")
    assert eager.call.values.tolist() == [0, 1]
    lazy = attrib.hires_cam(model, a.chunk(sample=3), call="all", **options)
    assert isinstance(lazy.data, dask.Array)
    xr.testing.assert_allclose(lazy.compute(), eager, atol=1e-6)
    chosen = attrib.hires_cam(model, a.chunk(sample=3), target=0, relu=False)
    xr.testing.assert_allclose(chosen.compute(), attrib.hires_cam(model, a, target=0, relu=False), atol=1e-6)
    assert chosen.attrs["call"] == 0


def test_two_inputs_through_one_encoder() -> None:
    """Of a pair, the call that the input moves."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc, self.o = nn.Conv1d(4, 8, 5, padding=2), nn.Linear(8, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.o(self.enc(a).relu().mean(2) - self.enc(b).relu().mean(2))

    x = sequences(4)
    for onto in (0, 1):
        e = grad_cam.explain(Pair().eval(), (x[:2], x[2:]), target=0, onto=onto)
        assert (e.notes or {})["call"] == onto


# ------------------------------------------------------------------ what a prepared model remembers


def test_a_prepared_model_is_moved_once() -> None:
    sizes: list[int] = []
    model, x = LettersLast().eval(), sequences(last=True)
    prepared = PreparedModel(lambda t: (sizes.append(len(t)), model(t))[1])
    first = grad_cam(prepared, x, target=0)
    tried = len(sizes)
    assert torch.equal(grad_cam(prepared, x, target=0), first)
    assert len(sizes) == tried + 1


@pytest.mark.parametrize("positions", [2, 3, 4])
def test_a_layer_of_a_few_positions_has_a_map(positions: int) -> None:
    """What a change does at one of so few positions is spread over all, once their mean is taken away."""
    net = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    x = torch.randn(2, 1, positions, generator=torch.Generator().manual_seed(1))
    weight = net[3].weight[0].detach()
    expected = (x.relu() * weight[:, None] / positions).sum(1)
    torch.testing.assert_close(grad_cam(net, x, layer="0", target=0, relu=False), expected)
