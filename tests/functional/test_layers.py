"""Attribution at a layer: methods between the layer and the output, tokens, tuples, several calls."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attrib.functional import (
    conductance,
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    from_layer,
    grad_cam,
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    interaction,
    layer_activation,
    noise_tunnel,
    predict,
    saliency,
    smooth_grad,
    up_to,
)
from attrib.testing import untouched
from tests.cases import agree


def _net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.Tanh()
        )
        return nn.Sequential(body, nn.Flatten(), nn.Linear(12, 5)).double().eval()


X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
X0 = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
POOL = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
WAYS: dict[str, Any] = {
    "saliency": (saliency, {}, {}),
    "input x gradient": (input_x_gradient, {}, {}),
    "integrated gradients": (integrated_gradients, {"baselines": X0}, {"n_steps": 7}),
    "deep lift": (deep_lift, {"baselines": X0}, {}),
    "deep lift shap": (deep_lift_shap, {"baselines": POOL}, {}),
    "gradient shap": (gradient_shap, {"baselines": POOL}, {"n_samples": 6}),
    "ablation": (feature_ablation, {"baselines": X0}, {}),
}


@pytest.mark.parametrize("batch_size", ["auto", 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_method_at_a_layer_is_the_method_behind_it(way: str, batch_size: Any) -> None:
    method, baselines, options = WAYS[way]
    net = _net()
    head = net[1:]
    with untouched(net, X):
        explanation = method.explain(
            net, X, target=2, layer="0.4", batch_size=batch_size, **baselines, **options
        )
    moved = {k: net[0](v).detach() for k, v in baselines.items()}
    expected = method.explain(lambda h: head(h), net[0](X).detach(), target=2, **moved, **options)
    agree(explanation.attribution, expected.attribution)
    agree(explanation.prediction, expected.prediction)


def test_noise_is_added_at_the_input() -> None:
    net = _net()
    options = {"target": 1, "n_samples": 4, "stdevs": 0.2, "seed": 3}
    found = smooth_grad(net, X, layer="0.1", **options)
    assert found.shape == (3, 4, 8, 8)
    agree(found, noise_tunnel(partial(saliency, absolute=False, layer="0.1"), net, X, **options))
    agree(
        smooth_grad(net, X, layer="0.1", target=1, stdevs=0.0),
        saliency(net, X, layer="0.1", target=1, absolute=False),
    )
    with pytest.raises(ValueError, match="`stdevs` is noise at `x`"):
        gradient_shap(net, X, baselines=POOL, layer="0.1", target=1, stdevs=0.1)


def test_a_neuron_is_explained_by_the_model_up_to_it() -> None:
    net = _net()
    found = integrated_gradients(up_to(net, "0.3"), X, target=(1, 0, 1), n_steps=9)
    agree(found, integrated_gradients(net[0][:4], X, target=(1, 0, 1), n_steps=9))
    h = up_to(net, net[0][3])(X).detach()
    agree(from_layer(net, "0.3")(h * 2, X).detach(), net[1:](torch.tanh(h * 2)).detach())


class Tokens(nn.Module):
    """A small text classifier: a padded sentence is to have the attribution that it has alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(20, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        h = self.block(self.embeddings(ids), src_key_padding_mask=attention_mask == 0)
        return self.head((h * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.mark.parametrize("method", [saliency, input_x_gradient, integrated_gradients, deep_lift])
def test_tokens_by_the_output_of_their_embedding(method: Any) -> None:
    torch.manual_seed(0)
    model = Tokens().double().eval()
    ids, mask = torch.randint(1, 20, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    ids[1, 4:], mask[1, 4:] = 0, 0
    found = method(model, ids, target=1, layer="embeddings", additional_forward_args={"attention_mask": mask})
    alone = method(
        model, ids[1:2, :4], target=1, layer="embeddings", additional_forward_args=(mask[1:2, :4],)
    )
    agree(found[1:2, :4], alone)
    assert not found[1, 4:].any()
    with pytest.raises(TypeError, match=r"int64, which has no gradient.*`layer`"):
        method(model, ids, target=1, additional_forward_args=(mask,))


def test_token_ids_are_ablated_to_a_pad() -> None:
    torch.manual_seed(0)
    model = Tokens().double().eval()
    ids, mask = torch.randint(1, 20, (2, 5)), torch.ones(2, 5, dtype=torch.long)
    found = feature_ablation(model, ids, target=0, baselines=7, additional_forward_args=(mask,))
    for k in range(5):
        edited = ids.clone()
        edited[:, k] = 7
        agree(found[:, k], (model(ids, mask) - model(edited, mask))[:, 0].detach(), rtol=1e-9)
    with pytest.raises(ValueError, match=r"`baselines` has values that are no torch\.int64"):
        feature_ablation(model, ids, target=0, baselines=0.5, additional_forward_args=(mask,))


class Twice(nn.Module):
    """An encoder that runs twice and returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.rnn(x)[0][:, -1], self.rnn(x.flip(1))[0][:, -1]], 1))


def test_layers_that_return_tuples_or_are_called_twice() -> None:
    torch.manual_seed(0)
    model, x = Twice().double().eval(), torch.randn(2, 5, 3, dtype=torch.float64)
    weight = model.head.weight.detach()[1]
    for call in (0, 1):
        found = saliency(model, x, target=1, absolute=False, layer="rnn", output=0, call=call)
        assert found.shape == (2, 5, 4)
        agree(found[:, -1], weight[4 * call : 4 * call + 4].expand(2, 4))
        assert not found[:, :-1].any()
    with pytest.raises(ValueError, match="calls it 2 times; pass `call`"):
        saliency(model, x, target=1, layer="rnn", output=0)
    with pytest.raises(ValueError, match="`call` is 2, but the model calls it 2 times"):
        saliency(model, x, target=1, layer="rnn", output=0, call=2)
    with pytest.raises(ValueError, match="returns a tuple, expected a tensor"):
        saliency(model, x, target=1, layer="rnn", call=0)
    with pytest.raises(ValueError, match="`layer` 'nothing' is not in the model"):
        saliency(model, x, target=1, layer="nothing")


def test_conductance_adds_up_and_is_exact_where_the_layer_is_linear() -> None:
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4), nn.GELU(), nn.Linear(4, 3)).double().eval()
    )
    x = torch.randn(3, 5, dtype=torch.float64)
    found = conductance(net, x, layer="1", target=1, n_steps=200)
    change = (net(x) - net(torch.zeros_like(x)))[:, 1].detach()
    assert torch.allclose(found.sum(1), change, atol=1e-6)
    first = conductance(
        net, x, layer="0", target=1, n_steps=50
    )  # of a linear layer: integrated gradients behind it
    h, h0 = net[0](x).detach(), net[0](torch.zeros_like(x)).detach()
    expected = integrated_gradients(
        net[1:], h, baselines=h0, target=1, quadrature="riemann_middle", n_steps=50
    )
    agree(first, expected)


def test_a_model_that_rounds_otherwise_in_other_batches_has_its_layers() -> None:
    """Its comparison with itself runs with the hooks of the layer, too."""

    class Rounding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Tanh()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inside(x).sum(1) * (1 + 1e-13 * len(x))

    x = torch.randn(4, 3, dtype=torch.float64)
    a = saliency(Rounding(), x, layer="inside")
    torch.testing.assert_close(a, torch.ones_like(x))
    torch.testing.assert_close(predict(up_to(Rounding(), "inside"), x), x.tanh())


class Held(nn.Module):
    """A block that a checkpoint holds, or none does."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.stem, self.head, self.reentrant = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(20, 2), reentrant
        self.block = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        y = (
            self.block(h)
            if self.reentrant is None
            else checkpoint(self.block, h, use_reentrant=self.reentrant)
        )
        return self.head(y.flatten(1))


AT_LAYER = [
    partial(integrated_gradients, n_steps=5), saliency, deep_lift, conductance, feature_ablation, grad_cam,
    partial(gradient_shap, baselines=torch.zeros(3, 1, 4, 4), n_samples=4),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("layer", ["stem", "block", "block.0", "block.2"])
def test_a_checkpoint_around_a_layer_changes_no_number(layer: str) -> None:
    """The block runs again for the gradient, when nothing stands in for the layer any more."""
    torch.manual_seed(0)
    plain, x = Held(None).eval(), torch.randn(3, 1, 4, 4)
    held, reentrant = Held(False).eval(), Held(True).eval()
    for other in (held, reentrant):
        other.load_state_dict(plain.state_dict())
    for method in AT_LAYER:
        a, b = (method(f, x, layer=layer, target=1) for f in (plain, held))
        torch.testing.assert_close(a, b)
    with pytest.raises(
        RuntimeError, match=r"`(model|layer)`.* torch.utils.checkpoint in its re-entrant form"
    ):
        conductance(reentrant, x, layer=layer, target=1)
    if layer == "block.0":
        with pytest.raises(RuntimeError, match=r"`layer` 'block.0' lies inside torch.utils.checkpoint"):
            saliency(reentrant, x, layer=layer, target=1)
        with pytest.raises(RuntimeError, match=r"`layer` 'block.0' lies inside torch.utils.checkpoint"):
            saliency(up_to(reentrant, layer), x, target=1)
        both = from_layer(held, layer)(torch.randn(3, 5, 4, 4, requires_grad=True), x)
        assert both.requires_grad
        with pytest.raises(RuntimeError, match="is run without what stands in for the layer"):
            saliency(from_layer(held, layer), (torch.randn(3, 5, 4, 4), x), target=1)
    torch.testing.assert_close(
        layer_activation(reentrant, x, layer=layer), layer_activation(plain, x, layer=layer)
    )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_what_changes_a_model_does_not_reach_into_a_checkpoint() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(600, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(2, 600)
    held = lambda v: checkpoint(wide, v, use_reentrant=False)
    torch.testing.assert_close(integrated_gradients(held, x), integrated_gradients(wide, x))
    relu = nn.Sequential(nn.Linear(600, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(RuntimeError, match=r"`softplus` is given, but `f` calls torch.utils.checkpoint"):
        interaction(lambda a, b: checkpoint(relu, a * b, use_reentrant=False), (x, x), softplus=5.0)
    with pytest.raises(RuntimeError, match=r"`model` calls torch.utils.checkpoint in its re-entrant form"):
        interaction(lambda a, b: checkpoint(wide, a * b, use_reentrant=True), (x, x))
    for reentrant in (False, True):
        with pytest.raises(RuntimeError, match='`engine` is "func", but `model` calls'):
            saliency(lambda v: checkpoint(wide, v, use_reentrant=reentrant), x, engine="func")


@pytest.mark.parametrize("method", [conductance, partial(grad_cam, relu=False)])
def test_a_layer_of_a_frozen_part(method: Any) -> None:
    class Frozen(Held):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = self.block(self.stem(x))
            return self.head(y.flatten(1))

    torch.manual_seed(0)
    frozen, plain, x = Frozen(None).eval(), Held(None).eval(), torch.randn(3, 1, 4, 4)
    plain.load_state_dict(frozen.state_dict())
    a, b = (method(f, x, layer="block", target=1) for f in (frozen, plain))
    assert a.any()
    torch.testing.assert_close(a, b)
