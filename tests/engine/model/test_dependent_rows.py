"""Models whose rows depend on each other: every method refuses them before it gives a result, whatever the batch size."""

import itertools
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.functional import (
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    grad_cam,
    gradient_shap,
    guided_grad_cam,
    input_x_gradient,
    integrated_gradients,
    interaction,
    layer_activation,
    noise_tunnel,
    occlusion,
    predict,
    saliency,
    smooth_grad,
)

G = torch.Generator().manual_seed(0)
X = torch.rand(5, 3, 6, generator=G) + 0.1
POOL = torch.rand(4, 3, 6, generator=G)


def built(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


class Net(nn.Module):
    """A small network, and what is done to its input first."""

    def __init__(self, first: Any = None) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 2)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.conv(x if self.first is None else self.first(x))).mean(2))


class TimeFirst(nn.Module):
    """A recurrent layer that takes (time, batch, features), given (batch, time, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x.transpose(1, 2))[0].transpose(1, 2)


def by_values(x: Tensor) -> Tensor:
    return x if float(x.detach().max()) > 1.2 else x * 2


MIXING: dict[str, Any] = {
    "less its mean": lambda x: x - x.mean(0),
    "by its deviation": lambda x: x / x.std(),
    "by its variance": lambda x: x / (x.var() + 1),
    "cumulative sum": lambda x: x.cumsum(0),
    "reversed cumulative sum": lambda x: x.flip(0).cumsum(0).flip(0),
    "softmax over the batch": lambda x: x.softmax(0),
    "rolled": lambda x: x.roll(1, 0),
    "less the first": lambda x: x - x[0],
    "less the last": lambda x: x - x[-1],
    "value decides": by_values,
    "rows from a table": lambda x: x * TABLE[: len(x)],
    "time before batch": built(TimeFirst),
    "batch norm over the batch": lambda x: F.batch_norm(x, None, None, training=True),
}
TABLE = torch.linspace(0.5, 2, 200).view(-1, 1, 1)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 2))


def scripted() -> Any:
    return torch.jit.script(built(normalised).train())


def traced() -> Any:
    return torch.jit.trace(built(normalised).train(), X, check_trace=False)


def exported() -> Any:
    return torch.export.export(
        built(normalised).train(), (X,), dynamic_shapes=({0: torch.export.Dim("n")},)
    ).module()


def programs() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {f.__name__: f() for f in (scripted, traced, exported)}


MODELS = {name: built(partial(Net, mix)) for name, mix in MIXING.items()} | programs()


def two(model: Any) -> Any:
    """A model of two inputs, the first of which it mixes."""
    return lambda a, b: model(a) * b.tanh().sum((1, 2))[:, None]


METHODS: dict[str, Any] = {
    "predict": lambda f, x, target, **o: predict(f, x, **o),
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": partial(integrated_gradients, n_steps=5),
    "integrated_gradients by levels": partial(integrated_gradients, rtol=0.1),
    "smooth_grad": partial(smooth_grad, n_samples=4),
    "gradient_shap": partial(gradient_shap, baselines=POOL, n_samples=4),
    "deep_lift": deep_lift,
    "deep_lift_shap": partial(deep_lift_shap, baselines=POOL),
    "occlusion": partial(occlusion, window=(3, 2), stride=(3, 2)),
    "occlusion by window": partial(occlusion, window=(3, 1), path="window"),
    "feature_ablation": feature_ablation,
    "noise_tunnel": partial(noise_tunnel, saliency, n_samples=3),
    "noise_tunnel of edits": partial(noise_tunnel, feature_ablation, n_samples=3),
    "interaction": lambda f, x, **o: interaction(two(f), (x, x[:, :1, :2]), n_steps=2, **o),
    "grad_cam": partial(grad_cam, layer="conv"),
    "grad_cam of auto": grad_cam,
    "guided_grad_cam": partial(guided_grad_cam, saliency, layer="conv"),
    "layer_activation": lambda f, x, target, **o: layer_activation(f, x, layer="conv", **o),
}
SIZES = ("auto", 2, 5)
OF_LAYERS = {"grad_cam", "grad_cam of auto", "guided_grad_cam", "layer_activation"}
PAIRS = [
    (k, m) for k in MODELS for m in METHODS if k in MIXING or m not in OF_LAYERS
]  # programs have no layers


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "method"), PAIRS)
def test_rows_that_depend_on_each_other_are_refused(kind: str, method: str) -> None:
    for n, size in itertools.product((1, 2, 5), SIZES):
        with pytest.raises(ValueError, match="`model` mixes samples"):
            METHODS[method](MODELS[kind], X[:n], target=0, batch_size=size)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_arrays_with_an_entry_per_sample_are_refused(method: str, n: int) -> None:
    """A model that is made for these samples: it takes no other number of rows."""
    weights = TABLE[:n]
    model = built(partial(Net, lambda x: x * weights))
    own = "every row must get its own output|must match the size"  # where more rows, or fewer, come first
    mixes = "`model` mixes samples.*a closure over arrays with an entry per sample"
    first = own if method == "deep_lift_shap" else mixes
    with pytest.raises((ValueError, RuntimeError), match=first):
        METHODS[method](model, X[:n], target=0)
    with pytest.raises((ValueError, RuntimeError), match=f"{own}|{mixes}"):
        METHODS[method](model, X[:n], target=0, batch_size=3)


ALONE = [
    (k, m)
    for k in MIXING
    for m in METHODS
    if m != "occlusion by window"  # some are records that no window suits; "auto" sees to that
    and k not in ("batch norm over the batch", "by its deviation")  # not of one row; NaN at the baseline
    and not (k == "value decides" and "deep_lift" in m)  # is no graph
]


@pytest.mark.parametrize(("kind", "method"), ALONE)
def test_one_row_at_a_time_they_may_depend_on_each_other(kind: str, method: str) -> None:
    """Every row of every call is then alone, which is what the result is of."""
    alone = MIXING[kind]
    by_rows = built(partial(Net, lambda x: torch.cat([alone(row) for row in x.split(1)])))
    sizes: list[int] = []
    model = built(partial(Net, lambda x: (sizes.append(len(x)), alone(x))[1]))
    found, expected = (METHODS[method](f, X[:2], target=0, batch_size=1) for f in (model, by_rows))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert 1 in sizes


NESTED = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=True).eval()
SOUND: dict[str, Any] = {
    "nothing": None,
    "of each sample": lambda x: (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), keepdim=True) + 1),
    "cumulative over positions": lambda x: x.cumsum(2),
    "softmax over channels": lambda x: x.softmax(1),
    "the first position": lambda x: x - x[:, :, :1],
    "rolled positions": lambda x: x.roll(1, 2),
    "attention inside of samples": NESTED,
    "recurrent": built(lambda: nn.GRU(6, 6, batch_first=True)),
    "batch norm with statistics": nn.BatchNorm1d(3).eval(),
    "a table with one row": lambda x: x * TABLE[:1],
    "sorted inside of samples": lambda x: x.sort(2).values,
}


UNSUITED = {  # torch has no second derivative, the window no way; a sum moves all positions that follow
    ("attention inside of samples", "interaction"),
    ("cumulative over positions", "grad_cam of auto"),
    *((k, "occlusion by window") for k in SOUND if k not in ("nothing", "batch norm with statistics")),
}
EXPLAINED = [(k, m) for k in SOUND for m in METHODS if (k, m) not in UNSUITED]


@pytest.mark.parametrize(("kind", "method"), EXPLAINED)
def test_rows_that_do_not_are_explained(kind: str, method: str) -> None:
    """The results of one row at a time, whatever the batch size."""
    first = SOUND[kind]
    model = built(partial(Net, (lambda x: first(x)[0]) if kind == "recurrent" else first))
    for n in (1, 2, 5):
        expected = METHODS[method](model, X[:n], target=0, batch_size=1)
        for size in SIZES:
            found = METHODS[method](model, X[:n], target=0, batch_size=size)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mixing", [False, True])
def test_points_of_a_path_are_not_taken_for_the_first_sample(
    mixing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory allows one row, batch norm doubles it: the first call of two rows is of points between the samples."""
    from attrib.engine import batching

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 3)
    )
    net = net.double().eval()
    f = lambda x: (lambda y: y - y.mean(0) if mixing else y)(net(x).mean((2, 3)))
    x, baseline = torch.randn(2, 3, 2, 9, 9, dtype=torch.float64)
    expected = None if mixing else integrated_gradients(f, x, baselines=baseline, n_steps=3, target=1)
    monkeypatch.setattr(batching, "CPU_BYTES", 1)
    if expected is None:
        with pytest.raises(ValueError, match="mixes samples"):
            integrated_gradients(f, x, baselines=baseline, n_steps=3, target=1)
    else:
        found = integrated_gradients(f, x, baselines=baseline, n_steps=3, target=1)
        torch.testing.assert_close(found, expected)


class SingleInside(nn.Module):
    """OLMo's: a norm in single precision in a model of double, whose last bits depend on the size of the batch."""

    def __init__(self, inside: torch.dtype) -> None:
        super().__init__()
        self.inside, self.first, self.head = inside, nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.layer_norm(self.first(x).to(self.inside), (8,)) * (1 + 2e-7 * (len(x) % 3))
        return self.head(h.to(x.dtype))


@pytest.mark.parametrize("method", [saliency, integrated_gradients, deep_lift, feature_ablation])
def test_rounding_is_that_of_the_coarsest_numbers_inside(method: Any) -> None:
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    single, double = (built(partial(SingleInside, t)).double() for t in (torch.float32, torch.float64))
    torch.testing.assert_close(method(single, x, target=1)[2:3], method(single, x[2:3], target=1))
    with pytest.raises(ValueError, match="mixes samples"):
        method(double, x, target=1)
