"""Small models of many architectures, for methods that must hold on all of them.

`ZOO[name]()` gives a `Specimen`; build it under `torch.manual_seed`. Models return (N,) or (N, C).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Specimen(NamedTuple):
    """A model, the shape of a sample of each input, and whether it is deeper than a hundred ops."""

    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    deep: bool = False

    def inputs(self, n: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        return tuple(torch.randn(n, *shape, dtype=torch.float64).to(dtype) for shape in self.shapes)

    def like(self, dtype: torch.dtype) -> nn.Module:
        return self.model.to(dtype).eval()


ZOO: dict[str, Callable[[], Specimen]] = {}


def specimen(*shapes: tuple[int, ...], deep: bool = False) -> Callable[[Callable[[], nn.Module]], Callable]:
    """Register a function that builds a model."""

    def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        ZOO[build.__name__] = lambda: Specimen(warm(build()), shapes, deep)
        return build

    return register


def warm(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and affine maps that are not trivial."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if (
            isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm))
            and module.weight is not None
        ):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


class Expression(nn.Module):
    """A module from a function of its parts: `Expression(lambda m, x: m.a(x), a=nn.Linear(2, 3))`."""

    def __init__(self, formula: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.formula = formula
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: Tensor) -> Tensor:
        return self.formula(self, *x)


# ---------------------------------------------------------------- activations


@specimen((6,))
def activations_as_modules() -> nn.Module:
    kinds = (
        nn.ReLU,
        nn.GELU,
        nn.SiLU,
        nn.ELU,
        nn.Softplus,
        nn.Hardswish,
        nn.Tanh,
        nn.Sigmoid,
        nn.LeakyReLU,
        nn.Mish,
    )
    more = (nn.CELU, nn.SELU, nn.PReLU, nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign)
    branches = nn.ModuleList(nn.Sequential(nn.Linear(6, 4), kind()) for kind in (*kinds, *more))
    return Expression(
        lambda m, x: m.head(torch.cat([b(x) for b in m.branches], 1)),
        branches=branches,
        head=nn.Linear(72, 3),
    )


@specimen((6,))
def activations_as_functions() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        h = F.relu(m.a(x)) + F.gelu(m.b(x), approximate="tanh") + F.silu(m.a(-x)) + F.elu(m.b(x), alpha=0.7)
        return m.c(
            F.softplus(h, beta=2) * F.hardswish(h) + torch.tanh(h) - torch.sigmoid(h) + F.tanhshrink(h)
        )

    return Expression(formula, a=nn.Linear(6, 8), b=nn.Linear(6, 8), c=nn.Linear(8, 3))


@specimen((6,))
def activations_by_hand() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        a = m.a(x)
        h = a * (a > 0) + torch.where(a > 0.2, a, 0.1 * a) + a / (1 + torch.exp(-a)) + a.clamp(-0.5, 0.7)
        h = (
            h
            + torch.log1p(torch.exp(a))
            + (a.abs() + a) / 2
            + torch.max(a, -a)
            + ((a > 0) & (a < 1)).to(a) * a
        )
        return m.b(h * 0.5 * (1 + torch.erf(h / 2**0.5)))

    return Expression(formula, a=nn.Linear(6, 8), b=nn.Linear(8, 3))


@specimen((4, 4))
def glu_gates() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Flatten(), nn.Linear(16, 2))


@specimen((6,))
def reused_modules() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        for _ in range(4):
            x = m.act(m.lin(x)) + x
        return m.act(x).sum(1)

    return Expression(formula, lin=nn.Linear(6, 6), act=nn.GELU())


@specimen((3, 8, 8))
def in_place() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = m.net(x)
        y += 1
        y[:, 0].mul_(2.0)
        y[:, 1:3] = y[:, 0:2].sigmoid()
        out = torch.zeros_like(y)
        out[:, :2] = y[:, 2:].tanh_()
        flat = out.view(len(x), -1)
        flat.relu_().sub_(0.1)
        return m.head(torch.cat([flat, y.flatten(1)], 1))

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.SiLU(inplace=True))
    return Expression(formula, net=net, head=nn.Linear(128, 3))


# ---------------------------------------------------------------- pooling and images


@specimen((2, 23))
def pools_1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 5, dilation=2), nn.ReLU(), nn.MaxPool1d(4, 2, dilation=2), nn.AvgPool1d(3, 1, padding=1),
        nn.AdaptiveMaxPool1d(3), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip


@specimen((3, 17, 17))
def pools_2d() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=1, padding="same"), nn.ReLU(), nn.MaxPool2d(4, 2, padding=1),
        nn.Conv2d(6, 6, 2, groups=3), nn.ELU(), nn.MaxPool2d(2, 1, dilation=2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((4, 3)), nn.AdaptiveMaxPool2d((3, 2)), nn.Flatten(), nn.Linear(36, 4),
    )  # fmt: skip


@specimen((1, 9, 9, 9))
def pools_3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(3, 2), nn.Conv3d(4, 4, 2), nn.AvgPool3d(2, 1, padding=1),
        nn.AdaptiveMaxPool3d((2, 1, 2)), nn.AdaptiveAvgPool3d((1, 1, 2)), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


@specimen((2, 6, 6))
def up_and_down() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = F.relu(m.up(x))
        y = F.interpolate(y, scale_factor=0.75, mode="bilinear", align_corners=False)
        y = y + F.interpolate(m.side(x), size=y.shape[-2:], mode="nearest")
        y = F.pad(y, (1, 2, 0, 1), value=0.3) - F.pad(y, (1, 2, 0, 1), mode="reflect")
        y = F.pixel_shuffle(F.interpolate(y, size=(6, 8), mode="bicubic"), 2)
        return m.head(F.unfold(y.roll(2, -1).flip(-2), 3, stride=3).amax(-1))

    parts = {"up": nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), "side": nn.Conv2d(2, 4, 1)}
    return Expression(formula, **parts, head=nn.Linear(9, 3))


# ---------------------------------------------------------------- normalisation


@specimen((4, 6, 6), deep=True)
def norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.GroupNorm(3, 6), nn.SiLU(),
        nn.Conv2d(6, 6, 2), nn.InstanceNorm2d(6, affine=True), nn.GELU(), nn.Flatten(), nn.Linear(54, 8),
        nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 8), nn.RMSNorm(8), nn.Linear(8, 3),
    )  # fmt: skip


@specimen((5, 7, 7))
def global_response_norm() -> nn.Module:
    """The block of ConvNeXt V2."""

    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = F.gelu(m.wide(m.norm(m.depthwise(x).permute(0, 2, 3, 1))))
        size = y.norm(p=2, dim=(1, 2), keepdim=True)
        y = y + 0.7 * (y * (size / (size.mean(-1, keepdim=True) + 1e-6))) + 0.1
        return m.head((x + m.narrow(y).permute(0, 3, 1, 2)).mean((2, 3)))

    depthwise = nn.Conv2d(5, 5, 3, padding=1, groups=5)
    parts = {
        "wide": nn.Linear(5, 20),
        "narrow": nn.Linear(20, 5),
        "norm": nn.LayerNorm(5),
        "head": nn.Linear(5, 3),
    }
    return Expression(formula, depthwise=depthwise, **parts)


@specimen((6, 5))
def statistics_pooling() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = m.a(x)
        spread = y.std(1) + y.var((1, 2), unbiased=False, keepdim=True).squeeze(1)
        return m.b(torch.cat([y.mean(1), spread, F.normalize(y, dim=-1).sum(1), y.norm(1, dim=1)], 1))

    return Expression(formula, a=nn.Linear(5, 4), b=nn.Linear(16, 2))


# ---------------------------------------------------------------- gates and attention


@specimen((4, 8, 8))
def squeeze_excitation() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = F.silu(m.bn(m.conv(x)))
        gate = m.up(F.relu(m.down(F.adaptive_avg_pool2d(y, 1)))).sigmoid()
        return m.head((y * gate).mean((2, 3)))

    parts = {
        "conv": nn.Conv2d(4, 8, 3),
        "bn": nn.BatchNorm2d(8),
        "down": nn.Conv2d(8, 2, 1),
        "up": nn.Conv2d(2, 8, 1),
    }
    return Expression(formula, **parts, head=nn.Linear(8, 3))


@specimen((5, 8))
def multihead_attention() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y, weights = m.att(x, x, x)
        return m.head(F.gelu(y).mean(1)) + weights.sum((1, 2), keepdim=True).squeeze(2) * 0.1

    return Expression(formula, att=nn.MultiheadAttention(8, 2, batch_first=True), head=nn.Linear(8, 3))


@specimen((6, 8))
def masked_attention() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).view(len(x), 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mask = torch.ones(6, 6, dtype=torch.bool, device=x.device).tril()
        causal = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        boolean = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(~mask, float("-inf"))
        by_hand = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)
        return m.head((causal + boolean - 0.5 * by_hand).transpose(1, 2).flatten(2).mean(1))

    return Expression(formula, qkv=nn.Linear(8, 24), head=nn.Linear(8, 3))


@specimen((5, 8), deep=True)
def transformer_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(encoder, nn.Flatten(), nn.Linear(40, 3))


@specimen((3, 8, 8), deep=True)
def vision_transformer() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        tokens = m.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([m.cls.weight.expand(len(x), -1, -1), tokens], 1) + m.position.weight
        return m.head(m.block(tokens)[:, 0])

    block = nn.TransformerEncoderLayer(8, 2, 16, activation="relu", batch_first=True)
    parts = {"patch": nn.Conv2d(3, 8, 4, 4), "cls": nn.Embedding(1, 8), "position": nn.Embedding(5, 8)}
    return Expression(formula, **parts, block=block, head=nn.Linear(8, 3))


# ---------------------------------------------------------------- outputs and formulas


@specimen((5,))
def softmax_output() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4), nn.Softmax(-1))


@specimen((5,))
def log_softmax_of_large_logits() -> nn.Module:
    return Expression(lambda m, x: F.log_softmax(1000 * m.a(x), -1), a=nn.Linear(5, 4))


@specimen((5,))
def softmax_of_large_logits() -> nn.Module:
    return Expression(
        lambda m, x: F.softmax(1000 * m.a(x), -1) @ m.b.weight, a=nn.Linear(5, 4), b=nn.Linear(3, 4)
    )


@specimen((5,))
def log_partition() -> nn.Module:
    return Expression(
        lambda m, x: torch.logsumexp(20 * m.a(x), 1) - m.a(x).exp().sum(1).log(), a=nn.Linear(5, 4)
    )


@specimen((5,))
def formulas() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        p, q = m.a(x).exp(), F.softplus(m.b(x)) + 0.1
        h = (
            p / q
            + q.sqrt()
            + torch.rsqrt(q)
            + q.log()
            + q**1.5
            + m.a(x) ** 3
            + 1 / p
            + q.log2()
            + torch.log1p(q)
        )
        h = (
            h
            + torch.min(p, q)
            + p.clamp(0.5, 2)
            + torch.sin(p) * torch.cos(q)
            + 2.0**q
            + (p - q).square()
            - q**-2
        )
        return m.c(h)

    return Expression(formula, a=nn.Linear(5, 6), b=nn.Linear(5, 6), c=nn.Linear(6, 2))


@specimen((4, 6))
def contractions() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        a, b = m.a(x), torch.tanh(m.b(x))
        gram = torch.einsum("nik,njk->nij", a, b) + a @ b.transpose(1, 2)
        cross = torch.bmm(gram, b).cumsum(1)
        outer = torch.einsum("ni,nj->nij", a[:, 0], b[:, 1])
        return m.c(cross.mean(1)) + outer.diagonal(dim1=1, dim2=2).prod(1, keepdim=True)

    return Expression(formula, a=nn.Linear(6, 5), b=nn.Linear(6, 5), c=nn.Linear(5, 3))


@specimen((8, 6))
def rearrangements() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        order = torch.tensor([5, 2, 0, 3, 1, 4])
        a, b = torch.split(m.a(x), [2, 6], dim=1)
        y = torch.cat([b[:, ::2], a.flip(1), b[..., order]], 1)[:, 3:]
        y = torch.zeros_like(y).scatter(2, order.expand(y.shape), y.relu()) + y.index_select(2, order)
        y = y.index_add(1, torch.tensor([0, 0, 3]), y[:, :3]) + torch.stack([y[:, 0], y[:, 1]], 1).repeat(
            1, 4, 1
        )
        return m.b(y.gather(1, torch.arange(6).expand(len(x), 2, 6) % 8).unfold(2, 3, 2).flatten(1))

    return Expression(formula, a=nn.Linear(6, 6), b=nn.Linear(12, 2))


@specimen((1, 16))
def spectrum() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        z = torch.fft.rfft(x)
        return m.a(torch.log1p(z.real**2 + z.imag**2).flatten(1))

    return Expression(formula, a=nn.Linear(9, 2))


# ---------------------------------------------------------------- recurrent nets


@specimen((6, 4), deep=True)
def lstm() -> nn.Module:
    rnn = nn.LSTM(4, 5, num_layers=2, batch_first=True, bidirectional=True)
    return Expression(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=rnn, head=nn.Linear(10, 3))


@specimen((6, 4), deep=True)
def gru() -> nn.Module:
    return Expression(
        lambda m, x: m.head(m.rnn(x)[1][0]), rnn=nn.GRU(4, 5, batch_first=True), head=nn.Linear(5, 3)
    )


@specimen((4, 3))
def rnn_cells() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        h, c = x.new_zeros(len(x), 5), x.new_zeros(len(x), 5)
        states = x.new_zeros(len(x), 4, 5)
        for t in range(4):
            h, c = m.lstm(x[:, t], (h, c))
            states[:, t] = m.gru(x[:, t], h)
        return m.head(states.amax(1))

    return Expression(formula, lstm=nn.LSTMCell(3, 5), gru=nn.GRUCell(3, 5), head=nn.Linear(5, 2))


# ---------------------------------------------------------------- blocks


@specimen((3, 12, 12))
def residual_net() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        x = m.stem(x)
        x = F.relu(m.block(x) + x, inplace=True)
        x = F.relu(m.down(x) + m.short(x), inplace=True)
        return m.head(x.mean((2, 3)))

    def conv(i: int, o: int, k: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(i, o, k, stride, k // 2, bias=False), nn.BatchNorm2d(o)]

    return Expression(
        formula,
        stem=nn.Sequential(*conv(3, 6, 3), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
        block=nn.Sequential(*conv(6, 6, 3), nn.ReLU(inplace=True), *conv(6, 6, 3)),
        down=nn.Sequential(*conv(6, 10, 3, 2), nn.ReLU(inplace=True), *conv(10, 10, 3)),
        short=nn.Sequential(*conv(6, 10, 1, 2)),
        head=nn.Linear(10, 3),
    )


@specimen((3, 10, 10))
def dense_block() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        for layer in m.layers:
            x = torch.cat([x, layer(x)], 1)
        return m.head(F.avg_pool2d(F.relu(m.bn(x)), 5).flatten(1))

    layers = nn.ModuleList(
        nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 4, 3, padding=1)) for c in (3, 7, 11)
    )
    return Expression(formula, layers=layers, bn=nn.BatchNorm2d(15), head=nn.Linear(60, 3))


@specimen((3, 10, 10))
def inception_block() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        pooled = m.pool(F.max_pool2d(x, 3, 1, 1))
        return m.head(F.relu(torch.cat([m.one(x), m.three(x), m.five(x), pooled], 1)).amax((2, 3)))

    parts = {
        "one": nn.Conv2d(3, 3, 1),
        "three": nn.Conv2d(3, 3, 3, padding=1),
        "five": nn.Conv2d(3, 2, 5, padding=2),
    }
    return Expression(formula, **parts, pool=nn.Conv2d(3, 2, 1), head=nn.Linear(10, 3))


@specimen((4, 6, 6))
def shuffle_block() -> nn.Module:
    def formula(m: nn.Module, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        y = torch.cat([left, m.branch(right)], 1)
        y = y.view(len(x), 2, 2, 6, 6).transpose(1, 2).reshape(len(x), 4, 6, 6)
        return m.head(nn.functional.channel_shuffle(y, 2).mean((2, 3)))

    branch = nn.Sequential(
        nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1, groups=2)
    )
    return Expression(formula, branch=branch, head=nn.Linear(4, 2))


@specimen((3, 16, 16))
def inverted_residual() -> nn.Module:
    """The block of EfficientNetV2."""

    def formula(m: nn.Module, x: Tensor) -> Tensor:
        y = m.expand(x)
        y = y * m.gate(y)
        return m.head((m.project(y) + x).mean((2, 3)))

    expand = [
        nn.Conv2d(3, 12, 1),
        nn.BatchNorm2d(12),
        nn.SiLU(),
        nn.Conv2d(12, 12, 3, 1, 1, groups=12),
        nn.SiLU(),
    ]
    gate = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 3, 1), nn.SiLU(), nn.Conv2d(3, 12, 1), nn.Sigmoid()]
    project = [nn.Conv2d(12, 3, 1), nn.BatchNorm2d(3)]
    blocks = {"expand": expand, "gate": gate, "project": project}
    return Expression(formula, **{k: nn.Sequential(*v) for k, v in blocks.items()}, head=nn.Linear(3, 3))


@specimen((1, 8, 8), (6, 4))
def two_branches() -> nn.Module:
    def formula(m: nn.Module, image: Tensor, table: Tensor) -> Tensor:
        a, b = m.image(image), F.silu(m.table(table)).mean(1)
        return m.head(torch.cat([a * b, a, b], 1))

    image = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))
    return Expression(formula, image=image, table=nn.Linear(4, 5), head=nn.Linear(15, 3))


@specimen((4, 30))
def sequence_tower() -> nn.Module:
    """Dilated residual convolutions and a profile, as BPNet has."""

    def formula(m: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x))
        for layer in m.tower:
            x = x + F.relu(layer(x))
        profile = 10 * m.profile(x).squeeze(1)
        return (F.log_softmax(profile, 1) * F.softmax(profile, 1)).sum(1) + m.counts(x.mean(2)).squeeze(1)

    tower = nn.ModuleList(nn.Conv1d(6, 6, 3, padding=2**i, dilation=2**i) for i in (1, 2, 3))
    profile = nn.ConvTranspose1d(6, 1, 5, padding=2)
    return Expression(
        formula, stem=nn.Conv1d(4, 6, 7, padding=3), tower=tower, profile=profile, counts=nn.Linear(6, 1)
    )
