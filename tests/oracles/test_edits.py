"""captum as an oracle of occlusion and ablation."""

import warnings
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from attrib.functional import feature_ablation, occlusion
from attrib.testing import specimen

if find_spec("captum") is None:
    pytest.skip("captum is in the optional extra `oracles`", allow_module_level=True)

with warnings.catch_warnings():  # captum's own, on import
    warnings.simplefilter("ignore")
    from captum.attr import FeatureAblation, Occlusion

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("kind", "window", "stride"),
    [
        ("cnn", (1, 1, 1), (1, 1, 1)),
        ("cnn", (1, 2, 3), (1, 1, 2)),
        ("cnn", (1, 4, 3), (1, 3, 3)),
        ("mlp", (2,), (2,)),
        ("attention", (3, 6), (2, 6)),
    ],
)
def test_occlusion(kind: str, window: tuple[int, ...], stride: tuple[int, ...]) -> None:
    s = specimen(kind, 1)
    x0 = torch.randn(s.x.shape, generator=torch.Generator().manual_seed(0))
    theirs = Occlusion(s.f).attribute(s.x, window, strides=stride, baselines=x0, target=s.target)
    ours = occlusion(s.f, s.x, window=window, stride=stride, baselines=x0, target=s.target)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "mlp", "attention", "two_inputs", "number"])
def test_ablation(kind: str) -> None:
    s = specimen(kind, 2)
    theirs: Any = FeatureAblation(s.f).attribute(s.x, target=s.target)
    torch.testing.assert_close(feature_ablation(s.f, s.x, target=s.target), theirs, rtol=1e-4, atol=1e-5)


def test_groups() -> None:
    s = specimen("cnn", 3)
    groups = torch.randint(0, 4, (1, 6, 6), generator=torch.Generator().manual_seed(0))
    theirs = FeatureAblation(s.f).attribute(s.x, target=2, feature_mask=groups[None], baselines=0.25)
    ours = feature_ablation(s.f, s.x, groups=groups, target=2, baselines=0.25)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
