"""What every method owes its callers, over the register of cases and all kinds of models."""

import math
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attrib.testing import CONTRACT, Specimen, purity, specimen, untouched
from tests.cases import CASES, MANY, UNREGISTERED, Case

PAIRS = [(case, kind) for case in CASES.values() for kind in case.kinds]
pairs = pytest.mark.parametrize(("case", "kind"), PAIRS, ids=[f"{c.name}-{k}" for c, k in PAIRS])
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())

ROUNDING = {
    torch.float32: 1e-4,
    torch.float64: 1e-10,
}  # sums in another order, relative to the largest attribution


def each(x: Any) -> tuple[Tensor, ...]:
    return x if isinstance(x, tuple) else (x,)


def agree(one: Any, other: Any, rtol: float = 1e-10) -> None:
    """Equal up to rounding, relative to the largest value."""
    for a, b in zip(each(one), each(other), strict=True):
        scale = max(float(a.abs().max()), float(b.abs().max()))
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= rtol * scale


def drawn(case: Case, kind: str, **how: Any) -> tuple[Specimen, dict[str, Any]]:
    """A specimen of float64 (of another kind, if the method cannot explain this one), and the options that fit it."""
    kind = kind if kind in case.kinds else "attention"
    s = specimen(kind, seed=sum(map(ord, kind)), **{"dtype": torch.float64, **how})
    return s, {"target": s.target, **case.baselines(s)}


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
    if case.takes == MANY and "shared" in signature(check).parameters:
        options["shared"] = ("baselines",)
    check(case.bound(), s.f, s.x, tolerance=ROUNDING[torch.float32], **options)


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
    if "func" not in case.engines or kind == "lstm":  # recurrent kernels: tests/engine/test_pullback.py
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


class Breaks(nn.Module):
    """Raises in the call of the given number."""

    def __init__(self, body: nn.Module, at: int) -> None:
        super().__init__()
        self.body, self._left = body, [at]

    def forward(self, x: Tensor) -> Tensor:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise ArithmeticError("the model broke")
        return self.body(x)


@pytest.mark.parametrize("at", [0, 1, 2])
@cases
def test_nothing_is_changed_by_a_model_that_breaks(case: Case, at: int) -> None:
    s, options = drawn(case, "mlp")
    model = Breaks(s.f, at)
    with untouched(model, s.x), pytest.raises(ArithmeticError, match="the model broke"):
        case.bound()(model, s.x, batch_size=1, **options)


@pytest.mark.parametrize("target", [7, -1, "cat", True, 1.5, [0], (0, 0), None, lambda y: y])
@cases
def test_nothing_is_changed_by_a_wrong_target(case: Case, target: Any) -> None:
    s, options = drawn(case, "mlp")
    with untouched(s.f, s.x), pytest.raises((ValueError, TypeError), match="`target`"):
        case.bound()(s.f, s.x, **{**options, "target": target})


@cases
def test_inputs_of_inference_mode(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.inference_mode():
        inside = s._replace(x=s.x.clone())
        found = case.bound()(inside.f, inside.x, **options)
    agree(found, expected, 1e-12)
    agree(case.bound()(inside.f, inside.x, **options), expected, 1e-12)


@cases
def test_a_caller_that_tracks_gradients_or_does_not(case: Case) -> None:
    s, options = drawn(case, "mlp")
    expected = case.bound()(s.f, s.x, **options)
    with torch.no_grad():
        assert torch.equal(case.bound()(s.f, s.x, **options), expected)
    tracked = s.x.clone().requires_grad_()
    found = case.bound()(s.f, tracked, **options)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert tracked.grad is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
@cases
def test_inputs_that_are_not_finite_are_named(case: Case, value: float) -> None:
    s, options = drawn(case, "mlp", n=4)
    x = s.x.clone()
    x[2, 1] = value
    with pytest.raises(ValueError, match=r"`x` has NaN or infinite values in 1 of 4 samples: 2"):
        case.bound()(s.f, x, **options)


@cases
def test_outputs_that_are_not_finite_are_named(case: Case) -> None:
    if "mlp" not in case.kinds:
        pytest.skip("no vectors")
    _, options = drawn(case, "mlp", n=4)
    x = torch.tensor([[1.0], [2.0], [-3.0], [4.0]], dtype=torch.float64)
    options.pop("baselines", None)
    if case.takes:
        options["baselines"] = x.new_ones(1, 1)
    with pytest.raises(ValueError, match=r"1 of 4 samples: 2"):
        case.bound()(lambda x: x.log(), x, **{**options, "target": 0})


@pytest.mark.parametrize("x", [3, [1.0, 2.0], np.ones((2, 5)), torch.ones(2, 5, dtype=torch.int64)])
@cases
def test_inputs_that_are_no_float_tensors(case: Case, x: Any) -> None:
    s, options = drawn(case, "mlp")
    with pytest.raises(TypeError, match="`x"):
        case.bound()(s.f, x, **options)


@cases
def test_inputs_without_samples_or_with_unequal_numbers(case: Case) -> None:
    if "two_inputs" not in case.kinds:
        pytest.skip("one input")
    s, options = drawn(case, "two_inputs")
    with pytest.raises(ValueError, match="at least one sample"):
        case.bound()(s.f, torch.ones(0, 5), **options)
    with pytest.raises(ValueError, match="3 and 2 samples"):
        case.bound()(s.f, (s.x[0], s.x[1][:2]), **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"batch_size": -3}, ValueError, "`batch_size` is -3"),
        ({"batch_size": "big"}, TypeError, "`batch_size` is 'big'"),
        ({"batch_size": True}, TypeError, "`batch_size` is True"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` is 2.0"),
        ({"engine": "magic"}, ValueError, "`engine` is 'magic'"),
        ({"target": 0, "targets": [0]}, ValueError, "both given"),
        ({"targets": []}, ValueError, "`targets` is empty"),
        ({"targets": "every"}, ValueError, "`targets` is 'every'"),
        ({"target": 0, "classes": ["a", "b"]}, ValueError, "`classes` has 2 names, but the model has 3"),
        ({"target": "a", "classes": ["a", "a", "b"]}, ValueError, "same name twice"),
    ],
)
@cases
def test_wrong_arguments(case: Case, options: dict, error: type[Exception], text: str) -> None:
    s, _ = drawn(case, "mlp")
    if "engine" in options and "func" not in case.engines:
        pytest.skip("no engine to choose")
    with untouched(s.f, s.x), pytest.raises(error, match=text):
        case.bound()(s.f, s.x, **{"target": None, **case.baselines(s), **options})
