"""Layers: how their outputs become images, which one is chosen, and the one pass through them."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.gradient.passes import Passes
from attrib.engine.layers.at_layer import OffPath, Site, find_layer, pass_through
from attrib.engine.layers.image_form import Form, form_by_types, scaled, upsampled
from attrib.engine.layers.map_layers import map_layers
from attrib.functional import grad_cam, hires_cam, layer_activation
from attrib.testing import untouched
from tests.cams import ChannelsLast, Transformer, convnet

IDENTITY = nn.Identity()


@pytest.mark.parametrize(
    ("shape", "module", "inputs", "form"),
    [
        ((2, 64, 7, 7), IDENTITY, (2, 3, 224, 224), Form("first", 0, (7, 7))),
        ((2, 7, 7, 768), IDENTITY, (2, 3, 224, 224), Form("last", 0, (7, 7))),
        ((2, 56, 56, 96), IDENTITY, (2, 3, 224, 224), Form("last", 0, (56, 56))),
        ((2, 8, 8, 16), IDENTITY, (2, 3, 32, 32), Form("last", 0, (8, 8))),
        ((2, 16, 56, 56), IDENTITY, (2, 3, 224, 224), Form("first", 0, (56, 56))),
        ((2, 32, 13, 5), IDENTITY, (2, 3, 100, 37), Form("first", 0, (13, 5))),
        ((2, 13, 5, 32), IDENTITY, (2, 3, 100, 37), Form("last", 0, (13, 5))),
        ((2, 32, 40, 10), IDENTITY, (2, 1, 40, 100), Form("first", 0, (40, 10))),  # strides 1 and 10
        ((2, 8, 8, 8), nn.LayerNorm(8), (2, 3, 32, 32), Form("last", 0, (8, 8))),
        ((2, 8, 8, 8), nn.Conv2d(3, 8, 1), (2, 3, 32, 32), Form("first", 0, (8, 8))),
        ((2, 4, 3, 3), IDENTITY, (2, 12, 12), Form("first", 0, (3, 3))),  # an input without channels
        ((2, 197, 192), IDENTITY, (2, 3, 224, 224), Form("tokens", 1, (14, 14))),
        ((2, 196, 192), IDENTITY, (2, 3, 224, 224), Form("tokens", 0, (14, 14))),
        ((2, 201, 192), IDENTITY, (2, 3, 224, 224), Form("tokens", 5, (14, 14))),  # class token and 4 registers
        ((2, 17, 8), IDENTITY, (2, 3, 32, 32), Form("tokens", 1, (4, 4))),
        ((2, 33, 8), IDENTITY, (2, 3, 32, 64), Form("tokens", 1, (4, 8))),
        ((2, 9, 8), IDENTITY, (2, 1, 16, 16, 16), Form("tokens", 1, (2, 2, 2))),
        ((2, 16, 25), nn.Conv1d(4, 16, 1), (2, 4, 100), Form("first", 0, (25,))),
        ((2, 25, 128), IDENTITY, (2, 4, 100), Form("tokens", 0, (25,))),
        ((2, 26, 128), IDENTITY, (2, 4, 100), Form("tokens", 1, (25,))),
        ((2, 8, 3, 3, 3), IDENTITY, (2, 1, 12, 12, 12), Form("first", 0, (3, 3, 3))),
        ((2, 10), IDENTITY, (2, 3, 32, 32), None),
        ((2, 7, 8), IDENTITY, (2, 3, 32, 32), None),
    ],
)  # fmt: skip
def test_image_form(shape: tuple, module: nn.Module, inputs: tuple, form: Form | None) -> None:
    assert form_by_types(shape, module, inputs) == form


def test_tokens_become_the_image_they_were_cut_from() -> None:
    image = torch.arange(2 * 3 * 4 * 8.0).view(2, 3, 4, 8)
    tokens = torch.cat([torch.full((2, 1, 3), -1.0), image.flatten(2).transpose(1, 2)], 1)
    form = form_by_types(tokens.shape, IDENTITY, (2, 3, 16, 32))
    assert form == Form("tokens", 1, (4, 8))
    assert torch.equal(form(tokens), image)
    assert torch.equal(Form("last", 0, (4, 8))(image.permute(0, 2, 3, 1)), image)


def test_upsampling_is_linear_between_centres_of_positions() -> None:
    found = upsampled(torch.tensor([[0.0, 4.0]]), (4,))
    assert found.tolist() == [[0.0, 1.0, 3.0, 4.0]]
    ramp = torch.arange(4.0).view(1, 2, 2)
    rows, columns = (((torch.arange(n) + 0.5) * 2 / n - 0.5).clamp(0, 1) for n in (8, 6))
    torch.testing.assert_close(upsampled(ramp, (8, 6))[0], 2 * rows[:, None] + columns)
    with pytest.raises(ValueError, match="upsample=False"):
        upsampled(torch.ones(1, 2, 2, 2, 2), (4, 4, 4, 4))


def test_scaling_is_per_map() -> None:
    found = scaled(torch.tensor([[[-1.0, 3.0]], [[5.0, 5.0]]]), 2)
    assert torch.allclose(found, torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]]))


@pytest.mark.parametrize(
    ("model", "size", "name"),
    [
        (convnet(), 16, "features"),
        (ChannelsLast(), 16, "blocks.1"),
        (Transformer(), 16, "blocks.1.norm1"),  # behind it only the class token goes on
        (Transformer(mean=True), 16, "norm"),
    ],
)
def test_auto_is_the_last_layer_on_whose_positions_the_output_depends(
    model: nn.Module, size: int, name: str
) -> None:
    x = torch.randn(1, 3, size, size)
    with Passes(model, (x,), 1, target=0) as passes:
        (chosen,) = map_layers(passes, ["auto"], lambda: (x,))
        assert chosen.site.name == name
        assert chosen.placement is not None
        assert chosen.placement.tested


def test_auto_says_that_there_is_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    with pytest.raises(ValueError, match=r"`layer` is \"auto\".*no layer of the model has a map"):
        grad_cam(model, torch.ones(1, 3, 4, 4), target=0)


def test_layers_by_name_and_by_object() -> None:
    model = convnet()
    assert find_layer(model, "features.3") == ("features.3", model.features[3])
    assert find_layer(model, model.features[3]) == ("features.3", model.features[3])
    assert find_layer(lambda x: 2 * model(x), "features.3") == ("features.3", model.features[3])
    assert find_layer(model, "features.30") is None
    other = convnet()
    with pytest.raises(ValueError, match="a name in 2 modules"):
        find_layer(lambda x: model(x) + other(x), "features")
    with pytest.raises(TypeError, match="`layer` is a int"):
        find_layer(model, 3)  # type: ignore[arg-type]


def test_gradients_at_several_layers_are_those_of_autograd() -> None:
    """Layers behind each other, with activations that the next layer overwrites."""
    model, x = convnet().double(), torch.randn(3, 3, 16, 16, dtype=torch.float64)
    names = ["features.0", "features.1", "features", "features.3"]
    with Passes(model, (x,), 3, targets="all") as passes:
        sites = [Site(n, model.get_submodule(n)) for n in names]
        layer_pass = pass_through(passes, sites, (x,), torch.arange(3))
        grads = [torch.cat(g) for g in zip(*layer_pass.gradients(), strict=True)]
    y = model(x)
    assert torch.allclose(layer_pass.scores, y.T)
    h, expected = x, {}
    for k, layer in enumerate(model.features):
        h = layer(h.clone())
        expected[f"features.{k}"] = h
        h = h.clone()
    expected["features"] = h
    y = model.head(h)
    for t in range(y.shape[1]):
        for name, a, g in zip(names, layer_pass.activations, grads, strict=True):
            assert torch.allclose(a, expected[name])
            want = torch.autograd.grad(y[:, t].sum(), expected[name], retain_graph=True)[0]
            assert torch.allclose(g[t], want, atol=1e-12)


class Strided(nn.Module):
    """Batch norm whose gradient arrives with channels last, which torch gets wrong for one row on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8).eval()
        with torch.no_grad():
            self.norm.running_var.uniform_(0.2, 4.0)
            self.norm.weight.uniform_(0.2, 3.0)
        self.weights = nn.Parameter(torch.randn(2, 16, 8))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        h = self.norm(self.first(x)).flatten(2).transpose(1, 2)
        return (h[:, None] * self.weights).sum((2, 3))


@pytest.mark.parametrize("targets", [[1], [0, 1]])
def test_one_row_and_batch_norm(targets: list[int]) -> None:
    """Against the formula: gradient = scale of the norm x weights of the target."""
    torch.manual_seed(0)
    model, x = Strided().double().eval(), torch.randn(3, 3, 4, 4, dtype=torch.float64)
    scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    gradient = (model.weights * scale)[targets].mT.reshape(-1, 1, 8, 4, 4)
    with torch.no_grad():
        expected = (gradient * model.first(x)).sum(2)
    for size in (1, 2, 3):
        model.sizes.clear()
        found = hires_cam(
            model, x, layer="first", targets=targets, relu=False, upsample=False, batch_size=size
        )
        torch.testing.assert_close(found, expected)
        moved = {1: [1] * 7, 2: [2, 2, 2, 1], 3: [3, 3, 1]}[size]  # one row and its changes
        single = {1: [1, 2] * 3, 2: [2, 1, 2], 3: [3]}[size]  # a single row is doubled
        assert model.sizes == [2 if size == 1 or size == 3 else 3, *moved, *single]
        y = hires_cam(model, x, layer="norm", targets=targets, relu=False, upsample=False, batch_size=size)
        with torch.no_grad():
            h = model.norm(model.first(x))
        torch.testing.assert_close(y, (model.weights[targets].mT.reshape(-1, 1, 8, 4, 4) * h).sum(2))


class Rounds(nn.Module):
    """Rounding that differs with the number of rows, as that of kernels does: the model is looked at again for it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convnet()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (1 + torch.finfo(x.dtype).eps * 500 * (len(x) == 3))


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("layer", ["auto", "body.features", ["body.features.3", "body.features"]])
def test_what_is_called_to_be_compared_is_no_call_of_the_layer(as_function: bool, layer: Any) -> None:
    torch.manual_seed(0)
    model, x = Rounds(), torch.randn(3, 3, 16, 16)
    f = (lambda t: model(t)) if as_function else model
    with untouched(model, x):
        found = hires_cam(f, x, layer=layer, target=1)
    expected = hires_cam(f, torch.cat([x, x]), layer=layer, target=1, batch_size=6)[..., :3, :, :]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_program_of_one_size_is_never_padded() -> None:
    """What takes one row only is called with one row only, and gives what the model gives for two."""
    torch.manual_seed(0)
    model, x = convnet().double(), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    sizes: list[int] = []

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) != 1:
                raise RuntimeError("made for one row")
            return self.body(x)

    found = hires_cam(One().eval(), x, layer="body.features", target=1, batch_size=1)
    torch.testing.assert_close(found, hires_cam(model, torch.cat([x, x]), layer="features", target=1)[:1])
    assert sizes[0] == 2  # tried, and given up
    assert set(sizes[1:]) == {1}


def test_nothing_before_the_layer_is_recorded() -> None:
    modes = []

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            modes.append((torch.is_grad_enabled(), x.requires_grad))
            return x

    model = nn.Sequential(Looks(), nn.Conv2d(1, 2, 3), Looks(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    grad_cam(model, torch.ones(1, 1, 8, 8), layer="1", target=0)
    assert modes == [(False, False)] * 5 + [(True, True)]  # the trial, the input moved, the pass


class Odd(nn.Module):
    """Calls a layer twice, one never, and has one that returns a tuple and one whose gradient is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.twice, self.never = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)
        self.pair, self.cut, self.head = Pair(), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.twice(self.twice(self.conv(x)) + 1)
        h = self.pair(h)[0] + self.cut(h).detach()
        return self.head(h.mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("twice", "calls it 2 times"),
        ("never", "does not call it"),
        ("pair", "returns a tuple"),
        ("cut", "no gradient path leads from the output back"),
        ("head", r"\(2, 2\) has no image form"),
        ("convv", "is not in the model; did you mean 'conv'"),
        ("", "is not in the model"),
    ],
)
def test_layers_that_cannot_be_explained(layer: str, text: str) -> None:
    model, x = Odd().eval(), torch.randn(2, 1, 8, 8)
    with (
        untouched(model, x),
        pytest.raises(ValueError, match=rf"{text}.*; layers with maps: .*conv \(6 x 6\)") as error,
    ):
        grad_cam(model, x, layer=layer, target=0)
    assert f" {layer} (" not in str(error.value).partition("layers with maps")[2]


def test_a_model_that_breaks_behind_the_layer_keeps_no_hook() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ArithmeticError("broke")

    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), Breaks()), torch.ones(1, 1, 8, 8)
    for layer in ("0", "auto"):
        with untouched(model, x), pytest.raises(ArithmeticError):
            grad_cam(model, x, layer=layer, target=0)
    assert torch.is_grad_enabled()


def test_the_users_own_hooks_run_and_stay() -> None:
    model, x = convnet(), torch.randn(2, 3, 16, 16)
    plain = layer_activation(model, x, layer="features.3")
    handle = model.features[3].register_forward_hook(lambda module, args, output: output * 2)
    with untouched(model, x):
        hooked = layer_activation(model, x, layer="features.3")
        moved = hires_cam(model, x, layer="features.3", target=1, relu=False, upsample=False)
    handle.remove()
    assert torch.equal(hooked, 2 * plain)
    leaf = hooked.clone().requires_grad_()  # what went on, and the gradient there
    g = torch.autograd.grad(model.head(model.features[4:](leaf * 1))[:, 1].sum(), leaf)[0]
    assert torch.allclose(moved, (g * hooked).sum(1), atol=1e-6)


def test_threads_that_share_a_model_do_not_see_each_other() -> None:
    model, n = convnet(), 6
    xs = [torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(k)) for k in range(n)]
    layers = ["features.3", "features.0", "features"]
    alone = [grad_cam(model, x, layer=layers[k % 3], targets="all") for k, x in enumerate(xs)]
    found: dict[tuple[int, int], Tensor] = {}
    plain: list[bool] = []

    def work(k: int) -> None:
        for turn in range(15):
            found[k, turn] = grad_cam(model, xs[k], layer=layers[k % 3], targets="all", batch_size=2)

    def predict() -> None:
        for _ in range(60):
            plain.append(model(xs[0]).grad_fn is not None and not model(xs[0].detach()).is_leaf)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(n)] + [
        threading.Thread(target=predict)
    ]
    with untouched(model, xs[0]):
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(found) == 15 * n
    assert all(torch.allclose(a, alone[k], rtol=1e-4, atol=1e-6) for (k, _), a in found.items())
    assert len(plain) == 60
    assert all(plain)


def test_an_off_path_error_names_the_layer() -> None:
    error = OffPath("a.b", "why")
    assert (error.layer, error.why) == ("a.b", "why")
    assert str(error) == "`layer` 'a.b': why"


def test_outputs_with_logits() -> None:
    model, x = convnet(), torch.randn(2, 3, 16, 16)
    wrapped = lambda t: SimpleNamespace(logits=model(t), hidden=t)
    assert torch.equal(grad_cam(wrapped, x, target=1), grad_cam(model, x, target=1))
