"""Models as their packages give them, each kind in a few lines: what is sound is explained, what is not says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.functional import (
    deep_lift,
    feature_ablation,
    grad_cam,
    integrated_gradients,
    occlusion,
    predict,
    saliency,
)


def double(model: nn.Module) -> nn.Module:
    return model.double().eval()


def brute(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(f(leaf).sum(), leaf)[0]


class Posterior(nn.Module):
    """SCANVI's classifier: the encoder makes a `Normal`, which is validated and sampled; its mean is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.batches = nn.Linear(6, 4), nn.Embedding(3, 6)
        self.mean, self.variance, self.classifier = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(2, 3)

    def forward(self, x: Tensor, batch: Tensor, sample: bool = False) -> Tensor:
        hidden = self.encoder(torch.log1p(x) + self.batches(batch[:, 0])).relu()
        posterior = torch.distributions.Normal(
            self.mean(hidden), self.variance(hidden).exp(), validate_args=True
        )
        z = posterior.rsample()
        return self.classifier(z if sample else posterior.loc)


def cells() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        5 * torch.rand(4, 6, generator=generator, dtype=torch.float64),
        torch.tensor([[0], [2], [1], [0]]),
    )


def test_a_sample_that_never_reaches_the_output() -> None:
    torch.manual_seed(0)
    model = double(Posterior())
    x, batch = cells()
    options: dict[str, Any] = {"target": 1, "additional_forward_args": (batch,)}
    expected = brute(lambda v: model(v, batch)[:, 1], x)
    torch.testing.assert_close(saliency(model, x, absolute=False, **options), expected)
    change = (model(x, batch) - model(0 * x, batch))[:, 1]
    path = integrated_gradients(model, x, n_steps=200, **options)
    torch.testing.assert_close(path.sum(1), change, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(deep_lift(model, x, **options).sum(1), change)
    edited = x.clone()
    edited[:, 2] = 0
    torch.testing.assert_close(
        feature_ablation(model, x, **options)[:, 2], (model(x, batch) - model(edited, batch))[:, 1]
    )


@pytest.mark.parametrize("method", [saliency, integrated_gradients, feature_ablation])
def test_a_sample_that_does_is_refused(method: Any) -> None:
    torch.manual_seed(0)
    model = double(Posterior())
    x, batch = cells()
    with pytest.raises(ValueError, match="draws random numbers"):
        method(lambda v, b: model(v, b, sample=True), x, target=1, additional_forward_args=(batch,))


class Bins(nn.Module):
    """scGPT's: values become bins, which are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.table((x * 9).long().clamp(0, 9)).sum(1)


def test_binned_values_are_edited_and_looked_up_by_deep_lift_and_refused_by_gradients() -> None:
    torch.manual_seed(0)
    model, x = double(Bins()), torch.rand(2, 5, dtype=torch.float64)
    edited = x.clone()
    edited[:, 3] = 0
    a = feature_ablation(model, x, target=0)
    torch.testing.assert_close(a[:, 3], (model(x) - model(edited))[:, 0])
    for method in (saliency, integrated_gradients):
        with pytest.raises(ValueError, match=r"gradient|depend"):
            method(model, x, target=0)
    change = (model(x) - model(torch.zeros_like(x)))[:, 0]
    torch.testing.assert_close(deep_lift(model, x, target=0).sum(1), change)


class Padded(nn.Module):
    """scGPT's encoder of continuous values: torch's own, with a mask of padding, which it reads to choose a nested path."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.head = nn.Linear(1, 8), nn.Linear(8, 2)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.zeros_like(x, dtype=torch.bool)
        padding[:, -1] = True
        return self.head(self.encoder(self.value(x[:, :, None]), src_key_padding_mask=padding)[:, 0])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's own, of its encoder
def test_an_encoder_with_a_mask_of_padding() -> None:
    torch.manual_seed(0)
    model, x = double(Padded()).requires_grad_(False), torch.rand(3, 6, dtype=torch.float64)
    torch.testing.assert_close(
        saliency(model, x, target=0, absolute=False), brute(lambda v: model(v)[:, 0], x)
    )
    a = deep_lift(model, x, target=0)
    torch.testing.assert_close(a.sum(1), (model(x) - model(0 * x))[:, 0])
    assert not bool(a[:, -1].any())


class Heads(nn.Module):
    """A trunk over sequences (N, L, 4) with heads in a dict, as Enformer has; or a tuple, as BPNet has."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.trunk = form, nn.Conv1d(4, 8, 5, padding=2)
        self.profile, self.counts = nn.Conv1d(8, 1, 1), nn.Linear(8, 1)

    def forward(self, x: Tensor, control: Tensor | None = None) -> Any:
        h = self.trunk(x.mT if self.form == "dict" else x).relu()
        h = h if control is None else h + control
        profile, counts = self.profile(h), self.counts(h.mean(2))
        return {"human": counts, "mouse": profile} if self.form == "dict" else (profile, counts)


def letters(last: bool) -> Tensor:
    x = F.one_hot(torch.randint(0, 4, (3, 40), generator=torch.Generator().manual_seed(0)), 4).double()
    return x if last else x.mT.contiguous()


def test_heads_and_control_tracks() -> None:
    torch.manual_seed(0)
    model, x = double(Heads("dict")), letters(last=True)
    with pytest.raises(TypeError, match=r"model\(\*x\)\['human'\]"):
        saliency(model, x, target=0)
    head = lambda v: model(v)["human"]
    torch.testing.assert_close(saliency(head, x, target=0, absolute=False), brute(head, x))
    assert grad_cam(head, x, target=0).shape == (3, 40)
    bpnet, y = double(Heads("tuple")), letters(last=False)
    control = torch.rand(3, 1, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    counts = lambda v, c: bpnet(v, c)[1]
    a = deep_lift(counts, y, additional_forward_args=(control,), target=0)
    torch.testing.assert_close(a.sum((1, 2)), (counts(y, control) - counts(0 * y, control))[:, 0])


class Instance(nn.Module):
    """MONAI's regressor: convolutions and instance norms."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv3d(1, 3, 3, 2, 1), nn.InstanceNorm3d(3), nn.PReLU(), nn.Conv3d(3, 4, 3, 2, 1), nn.InstanceNorm3d(4), nn.PReLU(),
        )  # fmt: skip
        self.final = nn.Linear(4 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.net(x).flatten(1))


def test_instance_norm_from_zeros() -> None:
    torch.manual_seed(0)
    model = double(Instance())
    x = torch.randn(2, 1, 8, 8, 8, dtype=torch.float64)
    a = deep_lift(model, x, target=0)
    torch.testing.assert_close(a.flatten(1).sum(1), (model(x) - model(0 * x))[:, 0])
    e = grad_cam.explain(model, x, target=0, upsample=False)
    assert e.attribution.shape == (2, 2, 2, 2)
    assert e.notes["layer"].startswith("net")


class Sparsemax(nn.Module):
    """TabNet's: a mask of features by sorting, and NODE's: choices of features that are exactly zero elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        z = self.attend(x)
        values = z.sort(1, descending=True).values
        k = torch.arange(1, 7, dtype=z.dtype)
        support = 1 + k * values > values.cumsum(1)
        tau = (torch.where(support, values, 0.0).sum(1, keepdim=True) - 1) / support.sum(1, keepdim=True)
        return self.last((z - tau).relu() * x)


def test_sparse_masks_of_tables() -> None:
    torch.manual_seed(0)
    model, x = double(Sparsemax()), torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(
        saliency(model, x, target=1, absolute=False), brute(lambda v: model(v)[:, 1], x)
    )
    a = deep_lift(model, x, baselines=-0.5 * x.flip(0), target=1)
    torch.testing.assert_close(a.sum(1), (model(x) - model(-0.5 * x.flip(0)))[:, 1])


class Tokens(nn.Module):
    """FT-Transformer's: each number of a table becomes a token of its own, behind a class token that the head reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(9, 8)), nn.Parameter(torch.randn(9, 8))
        self.first, self.head = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        return self.head(self.block(torch.cat([self.first.expand(len(x), -1, -1), tokens], 1))[:, 0])


def test_numbers_of_a_table_as_tokens() -> None:
    torch.manual_seed(0)
    model, x = double(Tokens()), torch.randn(3, 9, dtype=torch.float64)
    expected = brute(lambda v: model(v)[:, 1], x)
    torch.testing.assert_close(saliency(model, x, target=1, absolute=False), expected)
    torch.testing.assert_close(deep_lift(model, x, target=1).sum(1), (model(x) - model(0 * x))[:, 1])
    e = grad_cam.explain(model, x, target=1)
    assert (e.layers, e.attribution.shape) == (("block.norm1",), (3, 9))


class Whole(nn.Module):
    """A part of a model as one module."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


def past_hooks(layer: nn.Module) -> nn.Module:
    """A layer as Keras has them on torch: a module whose `__call__` is Keras's own, which runs no hooks."""
    layer.__class__ = type(
        type(layer).__name__, (type(layer),), {"__call__": lambda self, x: self.forward(x)}
    )
    return layer


def test_layers_that_are_called_past_the_hooks() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv1d(4, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)]
    keras, x = double(nn.Sequential(*map(past_hooks, layers))), letters(last=False)
    torch.testing.assert_close(
        saliency(keras, x, target=0, absolute=False), brute(lambda v: keras(v)[:, 0], x)
    )
    for layer in ("auto", "0"):
        with pytest.raises(
            ValueError, match="past torch's hooks, as Keras calls them: split it at the activation"
        ):
            grad_cam(keras, x, target=0, layer=layer)
    parts = nn.Sequential(Whole(keras[:1]), Whole(keras[1:]))
    assert grad_cam.explain(parts, x, target=0).layers == ("0",)


def test_estimators_around_networks() -> None:
    """skorch keeps the network as `module_`; the estimator's own predictions are NumPy."""
    skorch = pytest.importorskip("skorch")
    torch.manual_seed(0)
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    net = skorch.NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), max_epochs=1, train_split=None, verbose=0
    )
    net.fit(x.numpy(), y.numpy())
    expected = brute(lambda v: net.module_.eval()(v)[:, 1], x[:3])
    torch.testing.assert_close(saliency(net.module_.eval(), x[:3], target=1, absolute=False), expected)
    f = lambda v: net.predict_proba(v.numpy())
    torch.testing.assert_close(predict(f, x[:3]), net.module_(x[:3]).detach())
    a = occlusion(f, x[:3], window=1, target=1)
    edited = x[:3].clone()
    edited[:, 2] = 0
    torch.testing.assert_close(a[:, 2], (net.module_(x[:3]) - net.module_(edited))[:, 1].detach())


class Training(nn.Module):
    """A LightningModule in short: the network is an attribute, and `forward` calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Any) -> Tensor:
        return self(batch).mean()


def test_modules_in_modules() -> None:
    torch.manual_seed(0)
    model, x = double(Training()), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    e = grad_cam.explain(model, x, target=0)
    assert e.notes["layer"] == "model.1"
    model.train()
    assert saliency(model, x, target=0).shape == x.shape  # nothing in it behaves otherwise in training
