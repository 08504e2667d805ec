"""What every method owes its callers, over the register of cases and all kinds of models."""

from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch

from attrib.testing import CONTRACT, Specimen, purity, specimen
from tests.cases import CASES, UNREGISTERED, Case, agree, drawn, each

PAIRS = [(case, kind) for case in CASES.values() for kind in case.kinds]
pairs = pytest.mark.parametrize(("case", "kind"), PAIRS, ids=[f"{c.name}-{k}" for c, k in PAIRS])
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())

ROUNDING = {
    torch.float32: 1e-4,
    torch.float64: 1e-10,
}  # sums in another order, relative to the largest attribution


def test_every_method_is_registered() -> None:
    assert not UNREGISTERED, "add a line to tests/cases.py"


@pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT.keys())
@pairs
def test_contract(case: Case, kind: str, check: Any) -> None:
    s, options = drawn(case, kind, target="each", baselines="each")
    check(case.bound(), s.f, s.x, tolerance=ROUNDING[torch.float64], **options)


@pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT.keys())
@cases
def test_contract_in_float32_for_several_targets(case: Case, check: Any) -> None:
    s, options = drawn(case, "cnn", dtype=torch.float32, baselines="one")
    options["target"], options["targets"] = None, [2, [0, 1, 2]]
    if case.takes == "distribution" and "shared" in signature(check).parameters:
        options["shared"] = ("baselines",)
    check(case.bound(), s.f, s.x, tolerance=ROUNDING[torch.float32], **options)


@cases
def test_a_sample_with_its_own_values_alone_in_float32(case: Case) -> None:
    s, options = drawn(case, "mlp", dtype=torch.float32, target="each", baselines="each")
    CONTRACT["context_independence"](case.bound(), s.f, s.x, tolerance=1e-6, **options)


@pytest.mark.parametrize("engine", ["func", "autograd"])
@cases
def test_both_engines_are_pure(case: Case, engine: str) -> None:
    if engine not in case.engines:
        pytest.skip("the method has its own engine")
    s, options = drawn(case, "cnn")
    purity(case.bound(), s.f, s.x, tolerance=0.0, engine=engine, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pairs
def test_form(case: Case, kind: str, dtype: torch.dtype) -> None:
    s, options = drawn(case, kind, dtype=dtype)
    found = case.explain()(s.f, s.x, **options)
    for a, x in zip(each(found.attribution), each(s.x), strict=True):
        assert (a.shape, a.dtype, a.device) == (x.shape, x.dtype, x.device)
        assert not a.requires_grad
        assert a.abs().sum() > 0
    y = s.f(*each(s.x))
    y = getattr(y, "logits", y).detach()
    at = () if s.target is None else s.target if isinstance(s.target, tuple) else (s.target,)
    agree(found.prediction, y[:, *at], ROUNDING[dtype])
    assert found.prediction.shape == (3,)
    assert found.engine in (*case.engines, "forward")
    assert found.evaluations >= 3
    assert isinstance(case.bound()(s.f, s.x, **options), type(found.attribution))


@pairs
def test_engines_agree(case: Case, kind: str) -> None:
    if (
        "func" not in case.engines or kind == "lstm"
    ):  # recurrent kernels: tests/engine/gradient/test_pullback.py
        pytest.skip("one engine")
    s, options = drawn(case, kind)
    one, other = (case.bound()(s.f, s.x, engine=e, **options) for e in case.engines)
    agree(one, other, 1e-9)


@cases
def test_float32_agrees_with_float64(case: Case) -> None:
    results = []
    for dtype in (torch.float32, torch.float64):
        s, _ = drawn(case, "mlp", n=2, baselines="number")
        s = specimen(s.kind, 5)
        wide = Specimen(s.kind, s.f.to(dtype), s.x.to(dtype), 0.0, s.target)  # the same numbers
        results.append(case.bound()(wide.f, wide.x, target=1, **case.baselines(wide)).double())
    agree(*results, 1e-4)


@pairs
def test_several_targets_are_the_single_ones(case: Case, kind: str) -> None:
    s, options = drawn(case, kind)
    del options["target"]
    if not case.alone:
        pytest.skip("the targets share their points")
    wanted: list[Any] = {"number": [None, 0], "sequence": [(0, 1), (2, 4), [(1, 1), (0, 2), (2, 0)]]}.get(
        kind, [1, 0, [1, 0, 1], "predicted"]
    )
    together = each(case.bound()(s.f, s.x, targets=wanted, **options))
    for k, target in enumerate(wanted):
        agree(tuple(a[k] for a in together), each(case.bound()(s.f, s.x, target=target, **options)), 1e-9)


@cases
def test_all_targets(case: Case) -> None:
    s, options = drawn(case, "attention")
    del options["target"]
    found = case.explain()(s.f, s.x, targets="all", classes=["a", "b", "c"], **options)
    agree(found.attribution, case.bound()(s.f, s.x, targets=[0, 1, 2], **options), 1e-9)
    assert found.attribution.shape == (3, *s.x.shape)
    assert found.prediction.shape == (3, 3)
    assert found.target_labels == ["a", "b", "c"]
    assert found.target.tolist() == [[0] * 3, [1] * 3, [2] * 3]
    if "number" not in case.kinds:
        return
    alone, _ = drawn(case, "number")
    single = case.bound()(alone.f, alone.x, targets="all", **case.baselines(alone))
    agree(single[0], case.bound()(alone.f, alone.x, **case.baselines(alone)))


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (np.int64(2), {}), (torch.tensor(2), {}), ((2,), {}), ([2, 2, 2, 2], {}), (np.full(4, 2), {}),
        (torch.full((4,), 2), {}), (["c", 2, (2,), "c"], {"classes": "abc"}), ("c", {"classes": ["a", "b", "c"]}),
        (lambda y: y[:, 2], {}),
    ],
    ids=["numpy int", "tensor", "tuple", "list", "array", "tensor of samples", "mixed", "name", "function"],
)  # fmt: skip
@cases
def test_ways_to_name_a_target(case: Case, target: Any, options: dict[str, Any]) -> None:
    s, _ = drawn(case, "mlp", n=4)
    baselines = case.baselines(s)
    found = case.bound()(s.f, s.x, target=target, **options, **baselines)
    agree(found, case.bound()(s.f, s.x, target=2, **baselines), 1e-12)


@cases
def test_the_predicted_target_is_settled_at_the_input(case: Case) -> None:
    s, _ = drawn(case, "mlp", n=4)
    baselines = case.baselines(s)
    largest = s.f(s.x).argmax(1)
    assert len(set(largest.tolist())) > 1
    found = case.explain()(s.f, s.x, target="predicted", **baselines)
    assert torch.equal(found.target, largest)
    agree(found.attribution, case.bound()(s.f, s.x, target=largest.tolist(), **baselines), 1e-12)
