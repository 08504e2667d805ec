"""DeepLIFT against captum, shap and tangermeme where they are right, and past their known errors where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrib.functional import deep_lift, deep_lift_shap

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x, x0 = torch.randn(2, 5, 3, 12, 12, dtype=torch.float64)
    return x, x0


def conv_net(*middle: nn.Module, features: int) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), *middle, nn.Flatten(), nn.Linear(features, 3)).double().eval()


PLAIN = {
    "relu": lambda: conv_net(nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(), features=256),
    "smooth": lambda: conv_net(nn.Tanh(), nn.Conv2d(8, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.Softplus(), features=144),
    "kinked": lambda: conv_net(nn.LeakyReLU(), nn.Conv2d(8, 4, 3), nn.ELU(), features=256),
    "pool": lambda: conv_net(nn.MaxPool2d(2), nn.Conv2d(8, 8, 2), nn.ReLU(), features=128),
    "average": lambda: conv_net(nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), features=200),
}  # fmt: skip


def captum(model: nn.Module, x: Tensor, x0: Tensor, target: int, **options: Any) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its hooks
        return attr.DeepLift(model, **options).attribute(x, x0, target=target).detach()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("multiply_by_inputs", [True, False])
def test_equal_to_captum(name, multiply_by_inputs, pair):
    model = PLAIN[name]()
    expected = captum(model, *pair, 1, multiply_by_inputs=multiply_by_inputs)
    found = deep_lift(model, pair[0], baselines=pair[1], target=1, multiply_by_inputs=multiply_by_inputs)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_equal_to_captums_deep_lift_shap(pair):
    attr = pytest.importorskip("captum.attr")
    model = PLAIN["relu"]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = attr.DeepLiftShap(model).attribute(pair[0], pair[1][:3], target=2).detach()
    torch.testing.assert_close(
        deep_lift_shap(model, pair[0], baselines=pair[1][:3], target=2), expected, **CLOSE
    )


@pytest.mark.parametrize("name", ["relu", "smooth"])
def test_equal_to_shap(name, pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shap = pytest.importorskip("shap")
        model = PLAIN[name]()
        expected = shap.DeepExplainer(model, pair[1][:3]).shap_values(pair[0], check_additivity=False)
    found = deep_lift_shap(model, pair[0], baselines=pair[1][:3], targets="all")
    torch.testing.assert_close(found, torch.tensor(expected).movedim(-1, 0), **CLOSE)


def test_equal_to_tangermeme():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("tangermeme.deep_lift_shap")
        torch.manual_seed(0)
        x = F.one_hot(torch.randint(0, 4, (3, 20)), 4).mT.float()
        references = torch.stack([x[:, :, torch.randperm(20)] for _ in range(4)], 1)
        model = nn.Sequential(nn.Conv1d(4, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(96, 1)).eval()
        raw = theirs.deep_lift_shap(model, x, references=references, device="cpu", raw_outputs=True)
    found = deep_lift_shap(model, x, baselines=references, multiply_by_inputs=False)
    torch.testing.assert_close(found, raw.mean(1), rtol=1e-4, atol=1e-6)


class Profiled(nn.Module):
    """Trunk, profile of two strands and counts, as BPNet has them; `score` makes one number of the profile."""

    def __init__(self, score: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.relu = (
            nn.Conv1d(4, 8, 5, padding=2),
            nn.Conv1d(8, 8, 3, padding=1),
            nn.ReLU(),
        )
        self.profile, self.counts = nn.Conv1d(8, 2, 1), nn.Linear(8, 1)
        self.score = score
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first(x))
        h = h + self.relu(self.second(h))
        if self.score is None:
            return self.counts(h.mean(2))
        y = 4 * self.profile(h).flatten(1)
        return self.score(y - y.mean(1, keepdim=True))


class Weighted(nn.Module):
    """Logits under their own softmax."""

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.softmax, self.product = nn.Softmax(1), product

    def forward(self, y: Tensor) -> Tensor:
        return self.product(y, self.softmax(y)).sum(1, keepdim=True)


def apart(y: Tensor) -> Tensor:
    """The same number with its softmax written step by step: exponentials, their sum, its logarithm, an exponential."""
    return (y * (y - y.exp().sum(1, keepdim=True).log()).exp()).sum(1, keepdim=True)


@pytest.mark.parametrize("hypothetical", [True, False])
def test_models_with_profiles_are_explained_as_tangermeme_does(hypothetical: bool) -> None:
    """Counts: equal. Profiles: tangermeme's softmax is a rule a step, here it is one rule; written in steps it is equal here too.

    Both add up. They share out the change of the log-sum-exp by logarithmic means, of exponentials there and of softmaxes here, which
    do not change when a number is added to all logits of the input or of the baseline.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pytest.importorskip("tangermeme.deep_lift_shap")
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 4, (3, 30), generator=generator)
    x = F.one_hot(codes, 4).mT.double().contiguous()
    references = torch.stack([x[:, :, torch.randperm(30, generator=generator)] for _ in range(4)], 1)

    def peer(model: nn.Module) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"references": references, "device": "cpu"}
            if hypothetical:
                return theirs.deep_lift_shap(model, x, hypothetical=True, **options)
            return theirs.deep_lift_shap(model, x, raw_outputs=True, **options).mean(1)

    def own(model: Callable[[Tensor], Tensor]) -> Tensor:
        form = {"hypothetical": True} if hypothetical else {"multiply_by_inputs": False}
        return deep_lift_shap(model, x, baselines=references, target=0, **form)

    exact = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(own(Profiled()), peer(Profiled()), **exact)
    hooked = peer(Profiled(Weighted(theirs.BilinearOp("...,...->..."))))
    torch.testing.assert_close(own(Profiled(apart)), hooked, **exact)
    whole = own(Profiled(Weighted(torch.mul)))
    assert 1e-3 < float((whole - hooked).abs().max() / hooked.abs().max()) < 0.05
    if hypothetical:
        with torch.no_grad():
            f = Profiled(apart)
            change = f(x)[:, 0] - f(references.flatten(0, 1)).view(3, 4).mean(1)
        for a in (whole, hooked):
            torch.testing.assert_close((a * x).sum((1, 2)), change, **exact)
        plain = peer(
            Profiled(Weighted(torch.mul))
        )  # as in bpnet-lite's wrapper: a product that has no rule there
        assert float(((plain * x).sum((1, 2)) - change).abs().max() / change.abs().max()) > 0.1


# ---------------------------------------------------------------- errors of others that do not happen here


def complete(model: Callable[..., Tensor], x: Tensor, x0: Tensor) -> None:
    found = deep_lift.explain(model, x, baselines=x0, target=1)
    with torch.no_grad():
        change = (model(x) - model(x0))[:, 1]
    torch.testing.assert_close(found.attribution.flatten(1).sum(1), change, rtol=1e-10, atol=1e-12)


def test_1_softmax_does_not_mix_the_rows_of_a_batch(pair):
    x, x0 = pair
    model = conv_net(nn.ReLU(), nn.Flatten(), nn.Linear(800, 4), nn.Softmax(1), features=4)
    complete(model, x, x0)
    whole = deep_lift(model, x, baselines=x0, target=1)
    torch.testing.assert_close(deep_lift(model, x[:1], baselines=x0[:1], target=1), whole[:1], **CLOSE)


@pytest.mark.parametrize(("size", "stride", "features"), [(4, 2, 128), (3, 1, 512), (3, 2, 128)])
def test_2_overlapping_max_pools_are_complete(size, stride, features, pair):
    complete(conv_net(nn.MaxPool2d(size, stride), features=features), *pair)


def test_3_multipliers_of_a_max_pool_are_each_samples_own(pair):
    x, x0 = pair
    model = PLAIN["pool"]()
    whole = deep_lift(model, x, baselines=x0, target=1, multiply_by_inputs=False)
    for n in range(len(x)):
        alone = deep_lift(model, x[n : n + 1], baselines=x0[n : n + 1], target=1, multiply_by_inputs=False)
        torch.testing.assert_close(alone, whole[n : n + 1], **CLOSE)


@pytest.mark.parametrize(
    "activation",
    [nn.GELU(), F.gelu, lambda h: F.gelu(h, approximate="tanh"), torch.exp, lambda h: h * h.sigmoid(), lambda h: F.softmax(h, 1)],
    ids=["GELU", "gelu", "gelu-tanh", "exp", "product", "softmax"],
)  # fmt: skip
def test_4_activations_that_others_have_no_rule_for(activation, pair):
    head = PLAIN["relu"]()
    complete(lambda x: activation(head(x)), *pair)


def test_5_adjacent_modules(pair):
    complete(conv_net(nn.ReLU(), nn.MaxPool2d(2), features=200), *pair)
    complete(conv_net(nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.ReLU(), features=32), *pair)


def test_6_no_hooks_are_left_after_an_error(pair):
    model = conv_net(nn.ReLU(), features=800)
    with pytest.raises(ValueError, match="out of range"):
        deep_lift(model, pair[0], target=7)
    with pytest.raises(NotImplementedError):
        deep_lift(lambda x: model(x).cummax(1).values, pair[0], target=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_captum_is_still_wrong_where_we_say_so(pair):
    """If this fails, captum has been repaired: say so in the documentation and compare with it."""
    x, x0 = pair
    model = conv_net(nn.MaxPool2d(4, 2), features=128)
    theirs = captum(model, x, x0, 1).flatten(1).sum(1)
    with torch.no_grad():
        change = (model(x) - model(x0))[:, 1]
    assert float((theirs - change).abs().max()) > 0.01
