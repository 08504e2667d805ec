"""Windows against one row of the model per edit, for every family of rules: equal up to rounding."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrib.engine.batching import Batches
from attrib.engine.edits.edits import Boxes, Letters, edited
from attrib.engine.window import Plan, Unsuited, Windows, dispatch, learn_layout, plan, program
from attrib.engine.window.propagate import Reference

Function = Callable[[Tensor], Tensor]


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A network of float64 with statistics other than (0, 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build().double().eval().requires_grad_(False)
        for part in net.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(part.running_mean, std=0.5)
                nn.init.uniform_(part.running_var, 0.5, 2.0)
                nn.init.normal_(part.weight)
    return net


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def boxes(x: Tensor, axes: tuple[int, ...], sizes: tuple[int, ...]) -> Boxes:
    """All boxes of a size along the axes, those at the ends cut off, filled with noise."""
    lines = [torch.arange(1 - w, x.shape[a]) for a, w in zip(axes, sizes, strict=True)]
    at = torch.cartesian_prod(*lines).view(-1, len(axes))
    ends = torch.tensor([x.shape[a] for a in axes])
    lo, hi = at.clamp(min=0), (at + torch.tensor(sizes)).minimum(ends)
    return Boxes(1, lo, hi, axes, 3 * drawn(*x.shape).flip(-1))


def both(
    f: Function, x: Tensor, edits: Boxes | Letters, axes: tuple[int, ...]
) -> tuple[Tensor, Tensor, Plan]:
    """Outputs of all edits by windows and by the model."""
    rows = torch.cat([x, dispatch.unlike(x, axes)])
    recorded = program(f, rows)
    found = plan(recorded, learn_layout(recorded, rows)[0], axes)
    r = torch.arange(len(edits.samples))
    expected = f(edited(x.expand(len(r), *x.shape[1:]), edits, r))
    outputs = torch.full_like(expected, torch.nan)
    for some, y in Windows(found, edits, Batches(7, x.device)).outputs(Reference(found, x), r):
        outputs[some] = y
    return outputs, expected, found


def exact(f: Function, x: Tensor, edits: Boxes | Letters, axes: tuple[int, ...] | None = None) -> Plan:
    """Assert that both are equal, and that the edits do something."""
    outputs, expected, found = both(f, x, edits, axes or edits.axes)
    assert expected.std(0).max() > 1e-3
    assert float((outputs - expected).abs().max()) <= 1e-10 * float(expected.abs().max())
    return found


LINES: dict[str, Function] = {  # of (N, 4, 31)
    "conv": nn.Conv1d(4, 5, 5, padding=2),
    "conv without padding": nn.Conv1d(4, 5, 6, bias=False),
    "conv to few channels": nn.Conv1d(4, 2, 7, padding=3, dilation=2),
    "conv dilated": nn.Conv1d(4, 5, 3, padding=6, dilation=4),
    "conv with more padding than kernel": nn.Conv1d(4, 5, 3, padding=5),
    "conv strided": nn.Conv1d(4, 5, 5, stride=3, padding=2),
    "conv in groups": nn.Conv1d(4, 8, 4, groups=2, padding=1),
    "depthwise": nn.Conv1d(4, 4, 4, groups=4, stride=2),
    "max pool": nn.MaxPool1d(3),
    "max pool overlapping": nn.MaxPool1d(4, 2, padding=1),
    "max pool dilated": nn.MaxPool1d(3, 2, dilation=3),
    "average pool": nn.AvgPool1d(4, 3),
    "average pool padded": nn.AvgPool1d(3, 2, padding=1),
    "pool that sees everything": nn.MaxPool1d(31),
    "ceil mode": nn.MaxPool1d(4, ceil_mode=True),  # dense: the last window is cut off
    "average without the padding": nn.AvgPool1d(3, 2, padding=1, count_include_pad=False),
    "batch norm": nn.BatchNorm1d(4),
    "relu": F.relu,
    "gelu": F.gelu,
    "glu over channels": lambda x: F.glu(x, 1),
    "softmax over channels": lambda x: x.softmax(1).square(),
    "softmax over positions": lambda x: x.softmax(2).square(),
    "residual": lambda x: x + F.conv1d(x, torch.ones(4, 4, 3).double() / 5, padding=1),
    "residual of shifted crops": lambda x: x[:, :, 3:-2] * x[:, :, :-5].sigmoid(),
    "cat of channels": lambda x: torch.cat([x, F.max_pool1d(x, 3, 1, 1), x.exp()], 1),
    "cat of positions": lambda x: torch.cat([x, 2 * x], 2),
    "crop": lambda x: x[:, :, 9:-8],
    "crop, every second": lambda x: x[:, :, ::2],
    "channels": lambda x: x[:, 1:3],
    "one channel": lambda x: x[:, 2].unsqueeze(1),
    "pad": lambda x: F.conv1d(F.pad(x, (3, 5), value=0.7), torch.ones(5, 4, 3).double()),
    "pad negative": lambda x: F.pad(x, (-3, 2)),
    "reflection": lambda x: F.pad(x, (3, 3), mode="reflect"),
    "flip": lambda x: x.flip(2),
    "roll": lambda x: x.roll(3, 2),
    "layer norm of channels": lambda x: F.layer_norm(x.transpose(1, 2), (4,)).transpose(1, 2).exp(),
    "linear on channels": lambda x: nn.functional.linear(x.transpose(1, 2), drawn(3, 4), drawn(3)).transpose(1, 2).tanh(),
    "linear on positions": lambda x: x @ drawn(31, 6),
    "weights of positions": lambda x: x * torch.linspace(0, 1, 31).double(),
    "factor per channel": lambda x: x * torch.arange(4.0).double()[:, None] - 1,
    "squeeze and excitation": lambda x: x * x.mean(2, keepdim=True).sigmoid(),
    "attention": lambda x: (x.transpose(1, 2) @ x).softmax(2) @ x.transpose(1, 2),
    "cumulative": lambda x: x.cumsum(2),
    "in place": lambda x: x.clone().mul_(2).relu_().add_(x),
    "part in place": lambda x: x.clone().index_fill_(2, torch.tensor([5]), 0.0),
    "where": lambda x: torch.where(x > 0, x, x.square()),
    "transposed convolution": nn.ConvTranspose1d(4, 3, 3, stride=2),
    "interpolation": lambda x: F.interpolate(x, scale_factor=2.0),
    "two pools": lambda x: F.max_pool1d(F.avg_pool1d(x, 2), 3),
    "two ways with unequal strides": lambda x: F.max_pool1d(x, 2)[:, :, :15] + x[:, :, :15],
}  # fmt: skip
ENDS: dict[str, Function] = {
    "flat": lambda y: y.flatten(1) @ drawn(y[0].numel(), 3),
    "flat, relu": lambda y: y.flatten(1).relu() @ drawn(y[0].numel(), 3) + 1,
    "mean": lambda y: y.mean(-1),
    "mean of all": lambda y: y.mean((1, 2)),
    "sum": lambda y: y.sum(2, keepdim=True).flatten(1),
    "max": lambda y: y.amax(2),
    "max of all": lambda y: y.amax((1, 2)),
    "everything": lambda y: y * 2,
    "dense": lambda y: y.flatten(1).square().cumsum(1)[:, -5:],
}


def of(layer: Function, end: Function, before: Function | None = None) -> Function:
    layer = seeded(lambda: layer) if isinstance(layer, nn.Module) else layer
    return lambda x: end(layer(x if before is None else before(x)))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("layer", LINES)
def test_lines(layer: str, end: str) -> None:
    """Boxes of 3 positions along a line, over both ends, through one layer behind a convolution."""
    x = drawn(1, 4, 31)
    first = seeded(lambda: nn.Conv1d(4, 4, 3, padding=1))
    exact(of(LINES[layer], ENDS[end], first), x, boxes(x, (2,), (3,)))


PLANES: dict[str, Function] = {  # of (N, 2, 9, 11)
    "conv": nn.Conv2d(2, 5, 3, padding=1),
    "conv strided": nn.Conv2d(2, 5, (3, 2), stride=(1, 2), padding=(2, 0)),
    "conv dilated in groups": nn.Conv2d(2, 4, 3, dilation=2, groups=2),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "average pool": nn.AvgPool2d((2, 3)),
    "batch norm": nn.Sequential(nn.BatchNorm2d(2), nn.SiLU()),
    "channels last": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (2,)).relu().permute(0, 3, 1, 2) + x,
    "transposed": lambda x: F.max_pool2d(x.transpose(2, 3), 2),
    "crop": lambda x: x[:, :, 2:-1, 3:],
    "pad": lambda x: F.pad(x, (1, 2, 0, 3), value=-1.0).square(),
    "cat": lambda x: torch.cat([x, F.conv2d(x, torch.ones(1, 2, 3, 3).double(), padding=1)], 1),
}
PLANE_ENDS: dict[str, Function] = {
    "flat": lambda y: y.flatten(1) @ drawn(y[0].numel(), 3),
    "mean": lambda y: y.mean((2, 3)),
    "max": lambda y: y.amax((2, 3)),
    "adaptive": lambda y: F.adaptive_avg_pool2d(y, 1).flatten(1),
    "everything": lambda y: y,
}


@pytest.mark.parametrize("end", PLANE_ENDS)
@pytest.mark.parametrize("layer", PLANES)
@pytest.mark.parametrize(("axes", "sizes"), [((2, 3), (3, 2)), ((3,), (2,)), ((1, 2, 3), (1, 2, 2))])
def test_planes(layer: str, end: str, axes: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Boxes over both dims, over one in full height, and in single channels."""
    x = drawn(1, 2, 9, 11)
    f = of(PLANES[layer], PLANE_ENDS[end])
    exact(f, x, boxes(x, axes, sizes), (2, 3) if axes[0] == 1 else axes)


def test_channels_last_memory() -> None:
    """PyTorch reads means of such values by `as_strided`, which a recording sees as an index that counts over all rows."""
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(3, 2),
        )
    ).to(memory_format=torch.channels_last)  # fmt: skip
    x = drawn(1, 2, 9, 11)
    found = exact(net, x, boxes(x, (2, 3), (2, 2)))
    assert len(found.aggregations) == 1
    assert not found.splices


def test_index_that_differs_from_row_to_row() -> None:
    with pytest.raises(Unsuited, match="looks values up by an index that differs from row to row"):
        both(
            lambda x: x.flatten(1).gather(1, (torch.arange(len(x)) + 1)[:, None]),
            drawn(1, 4, 9),
            boxes(drawn(1, 4, 9), (2,), (2,)),
            (2,),
        )


def test_volumes() -> None:
    x = drawn(1, 2, 6, 5, 7)
    net = seeded(
        lambda: nn.Sequential(nn.Conv3d(2, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2))
    )
    found = exact(lambda v: net(v).mean((2, 3, 4)), x, boxes(x, (2, 3, 4), (2, 2, 2)))
    assert not found.suffix
    exact(lambda v: net(v).flatten(1) @ drawn(54, 2), x, boxes(x, (2, 3, 4), (2, 1, 3)))


def test_letters_in_a_deep_network() -> None:
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv1d(4, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(3),
            nn.Conv1d(6, 5, 4, padding=1), nn.GELU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(5 * 9, 8), nn.ReLU(),
            nn.Linear(8, 3),
        )
    )  # fmt: skip
    x = F.one_hot(torch.arange(60) ** 2 % 7 % 4, 4).double().T[None].clone()
    x[:, :, [0, 17, 59]] = 0  # unknown
    edits = Letters(x, 1, 2, torch.arange(60))
    assert len(edits.samples) == 57 * 3 + 3 * 4
    found = exact(net, x, edits)
    assert found.period == (6,)
    assert [str(n.op) for n in found.suffix] == ["aten.relu.default", "aten.addmm.default"]


def test_genes() -> None:
    net = seeded(lambda: nn.Sequential(nn.Linear(40, 8), nn.ReLU(), nn.Linear(8, 3)))
    x = drawn(1, 40)
    found = exact(net, x, boxes(x, (1,), (1,)))
    assert len(found.aggregations) == 1
    exact(net, x, boxes(x, (1,), (35,)))  # so wide that the boxes are multiplied one by one


def test_profile_with_dilations_and_crops() -> None:
    """Residual dilated convolutions, a profile head on a crop, a count head on its mean (BPNet)."""
    first, rest = seeded(lambda: nn.Conv1d(4, 6, 7, padding=3)), [
        seeded(lambda d=d: nn.Conv1d(6, 6, 3, padding=d, dilation=d)) for d in (2, 4, 8)
    ]  # fmt: skip
    head = seeded(lambda: nn.Conv1d(6, 2, 9, padding=4))

    def f(x: Tensor) -> Tensor:
        y = first(x).relu()
        for layer in rest:
            y = y + layer(y).relu()
        return torch.cat([head(y[:, :, 16:-16])[:, :, 4:-4].flatten(1), y[:, :, 20:-20].mean(2)], 1)

    x = drawn(1, 4, 80)
    found = exact(f, x, boxes(x, (2,), (1,)))
    assert found.period == (1,)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_guard_sees_what_is_not_finite(value: float) -> None:
    y = drawn(5, 2)
    assert dispatch.agrees(y, y.clone())
    assert not dispatch.agrees(torch.where(y == y[2, 1], value, y), y)
    assert not dispatch.agrees(y[:, :1], y)
    assert not dispatch.agrees(y + 1e-9 * y.abs().max(), y)
