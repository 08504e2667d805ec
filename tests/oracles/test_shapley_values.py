"""captum and shap as oracles of Shapley values."""

import warnings
from importlib.util import find_spec

import pytest
import torch

from attrib.functional import shapley_values
from attrib.testing import specimen

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.skipif(find_spec("captum") is None, reason="captum is in the optional extra `oracles`")
def test_captum_in_the_limit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.attr import ShapleyValues, ShapleyValueSampling
    for kind, groups in (
        ("mlp", None),
        ("cnn", torch.arange(36).view(1, 6, 6) // 9),
        ("two_inputs", (torch.tensor([0, 0, 1, 1]), torch.tensor([[2, 3, 3], [4, 4, 2]]))),
    ):
        s = specimen(kind, 2, dtype=torch.float64, n=2)
        mask = None if groups is None else groups if isinstance(groups, tuple) else groups[None]
        mask = tuple(m[None] for m in mask) if isinstance(mask, tuple) else mask
        expected = ShapleyValues(s.f).attribute(s.x, target=s.target, feature_mask=mask)
        e = shapley_values(s.f, s.x, target=s.target, groups=groups)
        pairs = zip(*((v if isinstance(v, tuple) else (v,)) for v in (e, expected)), strict=True)
        assert all(torch.allclose(a, b.double(), atol=1e-6) for a, b in pairs)  # captum gives float32
    s = specimen("mlp", 2, dtype=torch.float64, n=2)
    torch.manual_seed(0)
    limit = ShapleyValueSampling(s.f).attribute(s.x, target=1, n_samples=4000)
    exact = shapley_values(s.f, s.x, target=1)
    sampled = shapley_values.explain(s.f, s.x, target=1, exact=False, n_permutations=4000)
    assert float((limit - exact).abs().max()) < 0.02 * float(exact.abs().max())
    assert float((sampled.attribution - exact).abs().max()) < 0.02 * float(exact.abs().max())


@pytest.mark.skipif(find_spec("shap") is None, reason="shap is not installed")
def test_shap_exact() -> None:
    import shap

    s = specimen("mlp", 3, dtype=torch.float64)
    pool = torch.randn(6, 5, dtype=torch.float64)
    f = lambda x: s.f(torch.as_tensor(x)).detach().numpy()
    explainer = shap.explainers.Exact(f, shap.maskers.Independent(pool.numpy(), max_samples=6))
    expected = torch.as_tensor(explainer(s.x.numpy()).values)  # (N, features, outputs)
    for k in range(3):
        found = shapley_values(s.f, s.x, target=k, baselines=pool[None])
        assert float((found - expected[:, :, k]).abs().max()) < 1e-10
