"""Outputs as packages give them: what is taken, and advice that fits what the model returned."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from attrib.functional import (
    deep_lift,
    feature_ablation,
    integrated_gradients,
    occlusion,
    predict,
    saliency,
    shapley_values,
)

LAYER = torch.nn.Linear(6, 2)
Heads = namedtuple("Heads", ["loss", "scores"])


@dataclass
class Output:
    """As a package of one's own may return it."""

    hidden: int
    scores: Tensor


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (
            lambda y: (y, y.sum(1)),
            r"a tuple \(\[0\] \(3, 2\), \[1\] \(3,\)\).*wrap it: lambda \*x: model\(\*x\)\[0\]$",
        ),
        (lambda y: {"human": y, "mouse": y}, r"a dict .*model\(\*x\)\['human'\]$"),
        (lambda y: Output(1, y), r"a Output \(\.hidden int, \.scores \(3, 2\)\).*model\(\*x\)\.scores$"),
        (lambda y: Heads(y.sum(), y), r"a Heads .*model\(\*x\)\.scores$"),
        (lambda y: ([y.sum(), {"a": y}],), r"model\(\*x\)\[0\]\[1\]\['a'\]$"),
        (lambda y: "text", r"a str, expected .*wrap it in a function that returns a float tensor"),
        (lambda y: None, "a NoneType, expected"),
    ],
)
def test_advice_fits_the_output(x: Tensor, wrap: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        saliency(lambda v: wrap(LAYER(v)), x, target=0)


def test_the_advice_works(x: Tensor) -> None:
    model = lambda v: ([LAYER(v).sum(), {"a": LAYER(v)}],)
    assert torch.equal(saliency(lambda *v: model(*v)[0][1]["a"], x, target=0), saliency(LAYER, x, target=0))


@pytest.mark.parametrize("arrays", [False, True])
def test_a_predictor_of_numpy(x: Tensor, arrays: bool) -> None:
    """Edits and predictions take it, also where it asks its input for what only arrays have; gradients say why they do not."""
    fitted = LogisticRegression().fit(x.repeat(9, 1).numpy(), np.arange(27) % 3).predict_proba
    model = (lambda v: fitted(v.astype(np.float64))) if arrays else fitted
    y = torch.from_numpy(fitted(x.numpy())).double()
    assert torch.allclose(predict(model, x).double(), y)
    edited = x.clone()
    edited[:, 4] = 0
    expected = y[:, 1] - torch.from_numpy(fitted(edited.numpy()))[:, 1]
    for method in (occlusion, feature_ablation):
        assert torch.allclose(method(model, x, target=1)[:, 4].double(), expected, atol=1e-6)
    change = y[:, 1] - torch.from_numpy(fitted(np.zeros((1, 6))))[:, 1]
    assert torch.allclose(shapley_values(model, x, target=1).sum(1).double(), change, atol=1e-6)
    for gradient in (saliency, integrated_gradients, deep_lift):
        words = r"`model` turns tensors into NumPy or JAX arrays, which have no gradient.*occlusion"
        with pytest.raises(TypeError, match=words):
            gradient(model, x, target=1)


def test_a_mistake_of_the_models_own_is_its_own(x: Tensor) -> None:
    with pytest.raises(AttributeError, match="no attribute 'reshaped'"):
        saliency(lambda v: v.reshaped(3, 6), x, target=0)


def test_an_estimator_of_a_network_names_it(x: Tensor) -> None:
    """As skorch's nets, TabNetClassifier and the models of scvi-tools are."""
    skorch = pytest.importorskip("skorch")
    net = skorch.NeuralNetClassifier(
        torch.nn.Linear, module__in_features=6, module__out_features=2
    ).initialize()
    words = r"got NeuralNetClassifier; pass the network that it holds, \.module_, or its method predict_proba"
    with pytest.raises(TypeError, match=words):
        saliency(net, x, target=0)
    assert torch.equal(saliency(net.module_, x, target=0), net.module_.weight[0].abs().expand(3, 6))
