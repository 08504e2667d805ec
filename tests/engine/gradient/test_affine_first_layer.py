"""The affine first layer is taken out of the path only where the input goes nowhere else."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.gradient.affine_first_layer import (
    NotStraightError,
    behind_first_layer,
    first_layer,
    goes_straight,
)
from attrib.functional import integrated_gradients
from attrib.testing import untouched

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 6, generator=G, dtype=torch.float64)
IMAGE = torch.randn(2, 2, 6, 6, generator=G, dtype=torch.float64)
W = torch.randn(4, 6, generator=G, dtype=torch.float64)
KERNEL = torch.randn(3, 2, 3, 3, generator=G, dtype=torch.float64)


def made(build: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return build().double().eval()


def rest(h: Tensor) -> Tensor:
    return torch.tanh(h).flatten(1).cumsum(1)[:, :3]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))


def convnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


class Hooked(nn.Module):
    """A model whose first layer has a hook that only looks at the layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.body[0].register_forward_hook(lambda m, x, y: y * 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Shaped(nn.Module):
    """Asks for shape, dtype and device, as attention and recurrent code do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, d = x.shape
        assert (x.size(0), x.dim(), x.ndim, len(x)) == (n, 2, 2, n)
        assert x.is_floating_point()
        zeros = torch.zeros(n, 3, dtype=x.dtype, device=x.device)
        return torch.sin(self.layer(x.view(n, d)) + zeros)


STRAIGHT: dict[str, tuple[Any, Tensor]] = {
    "mlp": (made(mlp), X),
    "function": (lambda x: rest(F.linear(x, W)), X),
    "product": (lambda x: rest(x @ W.T), X),
    "mm": (lambda x: rest(torch.mm(x, W.T)), X),
    "matmul method": (lambda x: rest(x.matmul(W.T)), X),
    "flattened image": (lambda x: rest(F.linear(x.flatten(1), torch.ones(5, 72).double())), IMAGE),
    "shape questions": (made(Shaped), X),
    "dropout that is off": (made(lambda: nn.Sequential(nn.Dropout(0.5), mlp())), X),
    "a hook behind": (made(Hooked), X),
    "flatten module": (made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Tanh())), IMAGE),
}


class PreHooked(nn.Module):
    """A hook before the first layer changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()
        self.body[0].register_forward_pre_hook(lambda m, x: (x[0] ** 2,))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Kept(nn.Module):
    """Keeps its input and uses it at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        kept = [x]
        h = torch.tanh(self.layer(x))
        return h + kept[0]


def branching(x: Tensor) -> Tensor:
    return rest(F.linear(x, W)) if x.sum() > 0 else -rest(F.linear(x, W))


NOT: dict[str, tuple[Any, Tensor]] = {
    "skip connection": (made(Kept), X),
    "two layers": (lambda x: rest(F.linear(x, W)) * F.linear(x, W[:3]).tanh(), X),
    "the same layer twice": (lambda x: rest(F.linear(x, W)) + rest(F.linear(x, W)).sin(), X),
    "gate": (lambda x: rest(F.linear(x, W)) * torch.sigmoid(x[:, :3]), X),
    "activation first": (lambda x: rest(F.linear(x.tanh(), W)), X),
    "padding first": (lambda x: rest(F.conv2d(F.pad(x, (1, 1, 1, 1), value=1.0), KERNEL)), IMAGE),
    "circular padding": (
        made(
            lambda: nn.Sequential(
                nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), nn.Tanh(), nn.Flatten()
            )
        ),
        IMAGE,
    ),
    "batch norm first": (made(lambda: nn.Sequential(nn.BatchNorm2d(2), *convnet())), IMAGE),
    "layer norm first": (made(lambda: nn.Sequential(nn.LayerNorm(6), *mlp())), X),
    "hook before": (made(PreHooked), X),
    "values decide": (branching, X),
    "input as weight": (lambda x: F.linear(W, x).T.tanh(), X),
    "input with itself": (lambda x: torch.einsum("ni,nj->nij", x, x).flatten(1)[:, :3], X),
    "batched product": (lambda x: rest(x.view(3, 2, 3) @ W[:3, :3]), X),
    "mean over features": (lambda x: x.mean(1), X),
    "convnet": (made(convnet), IMAGE),
    "conv1d": (lambda x: rest(F.conv1d(x.unsqueeze(1), W[:2, None])), X),
    "permuted image": (lambda x: rest(F.conv2d(x.permute(0, 1, 3, 2), KERNEL)), IMAGE),
    "slice first": (lambda x: rest(F.linear(x[:, :4], W[:, :4])), X),
    "numbers of the input": (lambda x: rest(F.linear(x, W)) * float(x.abs().max()), X),
    "through numpy": (lambda x: rest(torch.from_numpy(x.detach().numpy()) @ W.T), X),
    "view over the batch": (lambda x: rest(F.linear(x.reshape(-1, 3), W[:, :3])).reshape(len(x), -1), X),
}


@pytest.mark.parametrize("name", STRAIGHT)
def test_a_first_layer_that_takes_it_all(name: str) -> None:
    model, x = STRAIGHT[name]
    with untouched(model, x):
        assert goes_straight(model, x[:2], torch.zeros_like(x[:2]))
        with torch.no_grad():
            again = behind_first_layer(model, x.shape[1:])(first_layer(model, x))
    torch.testing.assert_close(again, model(x))


@pytest.mark.parametrize("name", NOT)
def test_an_input_that_goes_elsewhere(name: str) -> None:
    model, x = NOT[name]
    with untouched(model, x):
        assert not goes_straight(model, x[:2], torch.zeros_like(x[:2]))


ROWS_MIXED = ("through numpy", "numbers of the input", "values decide", "input as weight", "batched product")
EXPLAINED = {k: v for k, v in (STRAIGHT | NOT).items() if k not in ROWS_MIXED}


@pytest.mark.filterwarnings("ignore:.*__array_wrap__")
@pytest.mark.parametrize("rtol", [None, 1e-3])
@pytest.mark.parametrize("name", EXPLAINED)
def test_hoisted_or_not_the_attributions_are_those_of_the_path(name: str, rtol: float | None) -> None:
    """Against the definition, step by step with plain autograd, which knows of no hoisting."""
    model, x = EXPLAINED[name]
    x0 = 0.3 * torch.ones_like(x)
    found = integrated_gradients.explain(model, x, target=1 if name != "mean over features" else None,
                                         baselines=x0, n_steps=17, rtol=rtol)  # fmt: skip
    if rtol is not None:
        assert bool((found.delta.abs() < 0.1).all())
        return
    nodes, weights = _gauss(17)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        leaf = (x0 + node * (x - x0)).requires_grad_()
        y = model(leaf)
        score = y.sum() if y.ndim == 1 else y[:, 1].sum()
        total += weight * torch.autograd.grad(score, leaf)[0]
    torch.testing.assert_close(found.attribution, total * (x - x0), rtol=1e-9, atol=1e-10)


def _gauss(n: int) -> tuple[list[float], list[float]]:
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(n)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


class Noting(nn.Module):
    """Notes the rows that its first layer gets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.rows = nn.Linear(6, 3).double(), [0]
        outer = self

        class Layer(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                if isinstance(x, Tensor) and type(x) is Tensor:
                    outer.rows[0] += len(x)
                return super().forward(x)

        self.layer = Layer(6, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


def test_the_first_layer_really_runs_once_per_sample() -> None:
    model = Noting()
    integrated_gradients(model, X, target=0, n_steps=100)
    assert model.rows[0] < 3 * 100 / 4


def test_several_targets_and_baselines_behind_the_first_layer() -> None:
    model = STRAIGHT["mlp"][0]
    x0 = torch.randn(3, 6, generator=G, dtype=torch.float64)
    together = integrated_gradients(model, X, targets="all", baselines=x0, n_steps=9, batch_size=4)
    for k in range(3):
        alone = integrated_gradients(lambda x: model(x.clone()), X, target=k, baselines=x0, n_steps=9)
        torch.testing.assert_close(together[k], alone, rtol=1e-10, atol=1e-12)


def test_asking_for_a_first_layer_that_is_not_there() -> None:
    with pytest.raises(NotStraightError):
        first_layer(lambda x: x.tanh(), X)
    with pytest.raises(NotStraightError, match="no affine op"):
        first_layer(lambda x: torch.ones(3), X)
