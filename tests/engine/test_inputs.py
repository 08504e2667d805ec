"""Inputs, baselines and distributions that fit each other, or an error that says what would."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attrib.engine.inputs import as_baselines, as_distribution, as_tuple, moved, of_samples
from attrib.functional import deep_lift, integrated_gradients, saliency

X = torch.ones(4, 2, 3)
Z = torch.ones(4, 5)
POINT, EACH, MANY = (torch.arange(float(n)) for n in (6, 24, 168))
CPU = torch.device("cpu")


def test_inputs() -> None:
    assert torch.equal(as_tuple(X)[0], X)
    x, z = as_tuple((X, 2 * Z))
    assert torch.equal(x, X)
    assert torch.equal(z, 2 * Z)
    assert not as_tuple(X.clone().requires_grad_())[0].requires_grad


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ([[1.0]], TypeError, r"`x` is a list|`x\[0\]` is a list|`x` is a float|expected a torch.Tensor"),
        (X.numpy(), TypeError, "`x` is a ndarray, expected a torch.Tensor"),
        ((X, X.numpy()), TypeError, r"`x\[1\]` is a ndarray"),
        (X.long(), TypeError, r"`x` is torch.int64, which has no gradient.*x\.float\(\)"),
        (X.bool(), TypeError, "torch.bool"),
        (X.to(torch.complex64), TypeError, "torch.complex64"),
        (torch.tensor(1.0), ValueError, "at least one sample"),
        (X[:0], ValueError, "at least one sample"),
        ((X, Z[:3]), ValueError, "4 and 3 samples"),
        (torch.where(torch.arange(4)[:, None, None] == 2, math.nan, X), ValueError, "1 of 4 samples: 2"),
        (torch.where(torch.arange(4)[:, None, None] > 1, math.inf, X), ValueError, "2 of 4 samples: 2, 3"),
    ],
)  # fmt: skip
def test_wrong_inputs(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_tuple(x)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (0, (1, 1, 1)), (0.5, (1, 1, 1)), (torch.tensor(0.5), (1, 1, 1)), (POINT.view(2, 3), (1, 2, 3)),
        (POINT.view(1, 2, 3), (1, 2, 3)), (EACH.view(4, 2, 3), (4, 2, 3)), (POINT[:2].view(2, 1), (1, 2, 1)),
        (POINT[:4].view(4, 1, 1), (4, 1, 1)), (lambda x: x.mean(0), (1, 2, 3)), (lambda x: 0.0, (1, 1, 1)),
        (POINT.view(2, 3).double(), (1, 2, 3)),
    ],
)  # fmt: skip
def test_baselines(given: Any, shape: tuple[int, ...]) -> None:
    (found,) = as_baselines(given, (X,))
    values = given(X) if callable(given) else given
    assert torch.equal(found, torch.as_tensor(values).to(X).reshape(shape))
    assert found.dtype == X.dtype


def test_baselines_of_several_inputs() -> None:
    a, b = as_baselines((1.0, POINT[:5]), (X, Z))
    assert a.tolist() == [[[1.0]]]
    assert b.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]]
    assert [t.tolist() for t in as_baselines(0.5, (X, Z))] == [[[[0.5]]], [[0.5]]]
    a, b = as_baselines(lambda x, z: (x * 3, z.mean(0)), (X, Z))
    assert torch.equal(a, 3 * X)
    assert b.tolist() == [[1.0] * 5]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            torch.ones(3, 2, 3),
            ValueError,
            r"`baselines` has shape \(3, 2, 3\), expected \(1, 2, 3\) or \(4, 2, 3\)",
        ),
        (torch.ones(3, 2, 3), ValueError, r"baselines.mean\(0\)"),
        (torch.ones(5), ValueError, "expected"),
        (torch.ones(4, 3, 2), ValueError, "expected"),
        ("zero", TypeError, "`baselines` is a str"),
        (True, TypeError, "`baselines` is a bool"),
        (None, TypeError, "`baselines` is a NoneType"),
        ((0.0, 0.0), ValueError, "2 entries for 1 inputs"),
        (torch.full((2, 3), math.nan), ValueError, "`baselines` has NaN"),
        (math.nan, ValueError, "`baselines`"),
    ],
)
def test_wrong_baselines(given: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_baselines(given, (X,))


def test_one_tensor_for_two_inputs() -> None:
    with pytest.raises(ValueError, match="one tensor for 2 inputs; pass a tuple"):
        as_baselines(torch.ones(4, 5), (X, Z))
    with pytest.raises(ValueError, match=r"`baselines\[1\]` has shape"):
        as_baselines((0.0, torch.ones(7)), (X, Z))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (0.5, (1, 1, 1, 1)), (MANY[:42].view(7, 2, 3), (1, 7, 2, 3)), (MANY.view(4, 7, 2, 3), (4, 7, 2, 3)),
        (MANY[:42].view(1, 7, 2, 3), (1, 7, 2, 3)), (EACH.view(4, 2, 3), (1, 4, 2, 3)),
        (MANY[:21].view(7, 1, 3), (1, 7, 1, 3)), (lambda x: x + 1, (1, 4, 2, 3)),
    ],
)  # fmt: skip
def test_distributions(given: Any, shape: tuple[int, ...]) -> None:
    (found,) = as_distribution(given, (X,))
    values = given(X) if callable(given) else given
    assert torch.equal(found, torch.as_tensor(values).reshape(shape))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (torch.ones(3, 7, 2, 3), r"expected \(B, 2, 3\) for all samples or \(4, B, 2, 3\) for each"),
        (torch.ones(2, 3), "expected"),
        (torch.ones(7, 3, 2), "expected"),
    ],
)
def test_wrong_distributions(given: Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        as_distribution(given, (X,))


def test_distributions_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="all need the same number"):
        as_distribution((torch.ones(7, 2, 3), torch.ones(6, 5)), (X, Z))


def test_rows_of_samples() -> None:
    t = torch.arange(12.0).view(4, 3)
    for i in ([0, 1], [1, 1, 1, 2], [3], [0, 2, 3], [0, 0, 3], [0, 0, 2]):
        assert torch.equal(of_samples(t, torch.tensor(i), CPU), t[i])
    assert torch.equal(of_samples(t[:1], torch.tensor([0, 3]), CPU), t[:1])


def test_a_distribution_for_all_beside_one_for_each() -> None:
    a, b = torch.randn(4, 3), torch.randn(4, 2)
    shared, each = torch.randn(5, 3), torch.randn(4, 5, 2)
    u, v = as_distribution((shared, each), (a, b))
    assert torch.equal(u, shared.expand(4, 5, 3))
    assert torch.equal(v, each)
    u, v = as_distribution((0.5, each), (a, b))
    assert torch.equal(u.expand(4, 5, 3), torch.full((4, 5, 3), 0.5))
    u, v = as_distribution((shared[:1], each[:, :1]), (a, b))
    assert (u.shape, v.shape) == ((4, 1, 3), (4, 1, 2))


@pytest.mark.parametrize("method", [saliency, integrated_gradients])
def test_vmap_over_a_method_that_looks_at_values_is_refused(method: Any) -> None:
    model, x = torch.nn.Linear(3, 1).eval(), torch.ones(2, 3)
    with pytest.raises(
        NotImplementedError, match=r"`x` comes from torch.func.vmap.*pass all samples at once"
    ):
        torch.func.vmap(lambda row: method(model, row[None])[0])(x)
    rows = torch.func.vmap(lambda row: deep_lift(model, row[None])[0])(x)
    assert torch.allclose(rows, deep_lift(model, x))


class Copies(TorchDispatchMode):
    """Whether each copy between devices lets the CPU go on; the copy itself is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_for_nothing: list[bool] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if op is torch.ops.aten._to_copy.default and "device" in kwargs:
            self.waits_for_nothing.append(bool(kwargs.get("non_blocking")))
            return torch.empty_like(args[0], device=kwargs["device"])
        return op(*args, **(kwargs or {}))


def test_only_copies_from_the_cpu_wait_for_nothing() -> None:
    """A copy to the CPU that waits for nothing is pinned memory that is not written yet: wrong numbers, and no error."""
    here, there, i = torch.zeros(3, 2), torch.zeros(3, 2, device="meta"), torch.arange(1, 3)
    with Copies() as copies:
        moved(here, there.device)
        of_samples(here, i, there.device)
        moved(there, here.device)
        of_samples(there, i, here.device)
        of_samples(there[:1], i, here.device)
    assert copies.waits_for_nothing == [True, True, False, False, False]
