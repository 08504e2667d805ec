"""Whole models that are awkward for windows, through the public functions, against an edited copy of the input each."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrib.functional import in_silico_mutagenesis, occlusion

Function = Callable[[Tensor], Tensor]
LENGTH = 36


def seeded(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layer = layer.double().eval().requires_grad_(False)
    for p in [*layer.parameters(), *layer.buffers()]:
        if p.is_floating_point():
            p.copy_(torch.rand(p.shape, generator=generator, dtype=p.dtype) - 0.3)
    return layer


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


FIRST = nn.Sequential(seeded(nn.Conv1d(4, 6, 5, padding=2)), nn.ReLU())
SAME = seeded(nn.Conv1d(6, 6, 3, padding=1))
POSITIONS = drawn(6, LENGTH)
HEAD, ALL = drawn(6, 3), drawn(6 * LENGTH, 3)
GROUPS = seeded(nn.GroupNorm(2, 6))
ATTENTION = seeded(nn.MultiheadAttention(6, 2, batch_first=True))
CIRCULAR = seeded(nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"))
REPLICATE = seeded(nn.Conv1d(4, 6, 5, padding="same", padding_mode="replicate"))
GRU = seeded(nn.GRU(6, 6, batch_first=True))
LSTM = seeded(nn.LSTM(6, 6, num_layers=2, bidirectional=True))
RNN = seeded(nn.RNN(6, 6, batch_first=True))
STRIDED = seeded(nn.Conv1d(6, 6, 5, groups=3, dilation=3, stride=2, padding=6))
UP = seeded(nn.ConvTranspose1d(6, 6, 4, stride=2, padding=1))
ORDER = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(3))


def written_in_place(x: Tensor) -> Tensor:
    y = FIRST(x).clone()
    y[:, :, 10:20] *= 2
    y[:, 2] += y[:, 3]
    return y.relu_().mean(2) @ HEAD


def written_into_zeros(x: Tensor) -> Tensor:
    y = FIRST(x)
    z = torch.zeros_like(y)
    z[:, :, 1:] = y[:, :, :-1]
    z[:, :4] -= y[:, 2:]
    return z.flatten(1) @ ALL


def reused(x: Tensor) -> Tensor:
    y = FIRST(x)
    for _ in range(3):
        y = y + SAME(y).relu() / 4
    return y.flatten(1) @ ALL


def attention(x: Tensor) -> Tensor:
    y = FIRST(x).transpose(1, 2)
    return ATTENTION(y, y, y)[0].mean(1) @ HEAD


MODELS: dict[str, Function] = {
    "written in place": written_in_place,
    "written into zeros": written_into_zeros,
    "a module used three times": reused,
    "a view split and joined": lambda x: (lambda v: v[:, 0] * v[:, 1])(FIRST(x).view(len(x), 2, 3, LENGTH)).amax(2),
    "group norm": lambda x: GROUPS(FIRST(x)).square().mean(2) @ HEAD,
    "attention": attention,
    "recurrent": lambda x: GRU(FIRST(x).transpose(1, 2))[0][:, -1] @ HEAD,
    "two recurrent layers": lambda x: LSTM(F.max_pool1d(FIRST(x), 2).permute(2, 0, 1))[1][0][-2:].sum(0) @ HEAD,
    "recurrent over all": lambda x: RNN(FIRST(x).mT)[0].amax(1) @ HEAD,
    "transposed": lambda x: UP(FIRST(x)).relu().mean(2) @ HEAD,
    "grouped, dilated, strided": lambda x: STRIDED(FIRST(x)).relu().amax(2) @ HEAD,
    "circular": lambda x: CIRCULAR(x).relu().mean(2) @ HEAD,
    "replicate": lambda x: REPLICATE(x).relu().flatten(1) @ ALL,
    "maximum, softmax": lambda x: (FIRST(x).amax(2) @ HEAD).softmax(1),
    "attention pool": lambda x: (FIRST(x) * FIRST(x)[:, :1].softmax(2)).sum(2) @ HEAD,
    "ceil": lambda x: F.max_pool1d(FIRST(x), 7, 3, ceil_mode=True).mean(2) @ HEAD,
    "adaptive": lambda x: F.adaptive_avg_pool1d(FIRST(x), 7).amax(2) @ HEAD,
    "cumulative": lambda x: FIRST(x).cumsum(2).tanh().mean(2) @ HEAD,
    "both strands": lambda x: torch.maximum(FIRST(x).mean(2) @ HEAD, FIRST(x.flip((1, 2))).mean(2) @ HEAD),
    "another order": lambda x: (FIRST(x)[:, :, ORDER] * FIRST(x)).flatten(1) @ ALL,
    "gather": lambda x: FIRST(x).gather(2, ORDER[:9].expand(len(x), 6, 9)).mean(2) @ HEAD,
    "unfold": lambda x: FIRST(x).unfold(2, 6, 3).amax(3).mean(2) @ HEAD,
    "patches": lambda x: FIRST(x).view(len(x), 6, LENGTH // 4, 4).amax(3).mean(2) @ HEAD,
    "sorted": lambda x: FIRST(x).sort(2)[0].flatten(1) @ ALL,
    "positions added": lambda x: (FIRST(x) + POSITIONS).relu().mean(2) @ HEAD,
    "positions weighed": lambda x: F.max_pool1d(FIRST(x) * POSITIONS[:1], 2).amax(2) @ HEAD,
    "one number": lambda x: (FIRST(x).mean(2) @ HEAD)[:, 0],
    "a profile": lambda x: SAME(FIRST(x)),
}  # fmt: skip


REFUSED = {
    "written in place": "writes to parts of a value",
    "written into zeros": "makes a constant that depends on the number of rows",
    "circular": "makes a constant that depends on the number of rows",
    "replicate": "from aten.replication_pad1d",
    "gather": "looks values up by an index that differs",
    "pieces": "from aten.im2col",
}


def letters() -> Tensor:
    at = torch.randint(4, (2, LENGTH), generator=torch.Generator().manual_seed(5))
    x = F.one_hot(at, 4).double().transpose(1, 2).contiguous()
    x[1, :, 7] = 0
    return x


def score(y: Tensor) -> Tensor:
    flat = y.reshape(len(y), -1)
    return flat @ torch.linspace(1, 2, flat.shape[1], dtype=y.dtype)


@pytest.mark.parametrize("path", ["window", "auto"])
@pytest.mark.parametrize("model", MODELS)
def test_mutagenesis(model: str, path: str) -> None:
    """Equal to the model on edited copies, or refused for a reason that is said."""
    f, x = MODELS[model], letters()
    before = score(f(x))
    expected = torch.zeros_like(x)
    for p in range(LENGTH):
        for letter in range(4):
            y = x.clone()
            y[:, :, p] = torch.eye(4).double()[letter]
            expected[:, letter, p] = score(f(y)) - before
    if path == "window" and model in REFUSED:
        with pytest.raises(ValueError, match=f"not possible here: .*{REFUSED[model]}"):
            in_silico_mutagenesis(f, x, target=score, path=path)
        return
    found = in_silico_mutagenesis(f, x, target=score, path=path, batch_size=16)
    assert expected.abs().max() > 1e-3
    assert float((found - expected).abs().max()) <= 1e-10 * float(before.abs().max())


CONV, CONV2 = seeded(nn.Conv2d(2, 6, 3, padding=1)), seeded(nn.Conv2d(6, 6, 3, padding=1))
DEPTHWISE, NORM = seeded(nn.Conv2d(6, 6, 5, padding=2, groups=6)), seeded(nn.LayerNorm(6))
LINE = drawn(3, 6, 3)
DOUBLE = seeded(nn.ConvTranspose2d(6, 6, 2, stride=2))
PICTURES: dict[str, Function] = {
    "a net with skips": lambda x: (
        lambda a: torch.cat([a, DOUBLE(CONV2(F.max_pool2d(a, 2)).relu())], 1).mean((2, 3))
    )(CONV(x)),
    "channels last in the middle": lambda x: CONV(x) + NORM(DEPTHWISE(CONV(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "excited": lambda x: (CONV(x) * CONV(x).mean((2, 3), keepdim=True).sigmoid()).amax((2, 3)),
    "standardised": lambda x: CONV((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)).relu(),
    "mirrored": lambda x: (CONV(x) + CONV(x.flip(3)).flip(3)).amax((2, 3)),
    "rows, then a line": lambda x: F.conv1d(CONV(x).mean(2), LINE).relu().mean(2),
    "in another memory": lambda x: F.adaptive_avg_pool2d(
        CONV(x).contiguous(memory_format=torch.channels_last).relu(), 1
    ).flatten(1),
    "pieces": lambda x: F.unfold(x, 3, padding=1).amax(2),
}  # fmt: skip


@pytest.mark.parametrize("window", [(2, 3, 3), (1, 2, 2)])
@pytest.mark.parametrize("model", PICTURES)
def test_occlusion(model: str, window: tuple[int, int, int]) -> None:
    f, x = PICTURES[model], drawn(2, 2, 10, 10)
    dense = occlusion(f, x, window=window, baselines=0.3, target=score, path="dense")
    if model in REFUSED:
        with pytest.raises(ValueError, match=f"not possible here: .*{REFUSED[model]}"):
            occlusion(f, x, window=window, baselines=0.3, target=score, path="window")
        return
    found = occlusion(f, x, window=window, baselines=0.3, target=score, path="window", batch_size=16)
    assert dense.abs().max() > 1e-3
    assert float((found - dense).abs().max()) <= 1e-10 * float(score(f(x)).abs().max())


@pytest.mark.parametrize("size", [1, 3])
def test_batch_norm_of_the_edited_features(size: int) -> None:
    """Genes: the first batch norm has a factor and a shift for each of the features that are edited."""
    layers = nn.BatchNorm1d(40), nn.Linear(40, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    net = nn.Sequential(*(seeded(layer) for layer in layers))
    for norm in (net[0], net[2]):
        norm.running_var.abs_().add_(0.1)
    x = drawn(3, 40)
    window, dense = (
        occlusion.explain(net, x, window=(size,), target=1, path=path) for path in ("window", "dense")
    )
    assert window.engine == "window"
    torch.testing.assert_close(window.attribution, dense.attribution, rtol=1e-9, atol=1e-12)
