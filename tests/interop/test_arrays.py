"""Anything array-like becomes a tensor of the same values, safely, or an error that says what to do."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.interop.arrays import as_numpy, as_tensor

V = np.arange(12.0).reshape(3, 4)


def read_only(v: np.ndarray) -> np.ndarray:
    v = v.copy()
    v.flags.writeable = False
    return v


class Exported:
    """Something that has `__dlpack__` and nothing else."""

    def __init__(self, v: np.ndarray) -> None:
        self._v = np.ascontiguousarray(v)

    def __dlpack__(self, **how: Any) -> Any:
        return self._v.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self._v.__dlpack_device__()


FORMS: dict[str, Any] = {
    "array": lambda v: v,
    "tensor": torch.from_numpy,
    "tensor that needs grad": lambda v: torch.from_numpy(v.copy()).requires_grad_(),
    "list": lambda v: v.tolist(),
    "negative strides": lambda v: v[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran order": np.asfortranarray,
    "every second": lambda v: np.repeat(v, 2, 1)[:, ::2],
    "read-only": read_only,
    "big-endian": lambda v: v.astype(">f8"),
    "broadcast": lambda v: v,
    "DataFrame": pd.DataFrame,
    "DataArray": xr.DataArray,
    "dlpack": Exported,
    "masked without masked values": np.ma.masked_array,
    "long double": lambda v: v.astype(np.longdouble),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_are_the_same(form: str) -> None:
    given_ = FORMS[form](V.copy())
    found = as_tensor(given_)
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
    np.testing.assert_array_equal(found.numpy(), V)
    if form != "dlpack":
        np.testing.assert_array_equal(as_numpy(given_), V)


@pytest.mark.parametrize(
    "form", ["negative strides", "read-only", "big-endian", "broadcast", "dlpack", "every second"]
)
def test_writing_to_the_tensor_of_a_foreign_array(form: str) -> None:
    given_ = np.broadcast_to(V[0], (3, 4)) if form == "broadcast" else FORMS[form](V.copy())
    found = as_tensor(given_)
    kept = found.clone()
    found[0, 0] = 99.0
    assert torch.equal(found[1:], kept[1:])
    if form == "read-only":
        assert given_[0, 0] == 0.0


@given(
    st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?", ">f4", ">i2", ">i8"]),
    st.lists(st.integers(0, 4), min_size=0, max_size=4),
    st.data(),
)
def test_any_dtype_shape_and_strides(dtype: str, shape: list[int], data: st.DataObject) -> None:
    v = (np.arange(np.prod(shape, dtype=int)) % 100).astype(dtype).reshape(shape)
    v = v.transpose(data.draw(st.permutations(range(v.ndim))))
    v = v[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1, -2]))) for _ in range(v.ndim))]
    v = v if data.draw(st.booleans()) or v.ndim == 0 else read_only(v)
    before = np.array(v)
    found = as_tensor(v)
    assert found.shape == v.shape
    np.testing.assert_array_equal(found.numpy(), before)
    np.testing.assert_array_equal(v, before)


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (torch.eye(3).to_sparse(), TypeError, r"sparse tensor; pass x.to_dense\(\)"),
        (np.array([1, "a"], dtype=object), TypeError, "dtype object"),
        (np.array(["a", "b"]), TypeError, "`x` is text"),
        (np.array([1 + 2j]), TypeError, "`x` is complex"),
        (np.array(["2024-01-01"], dtype="datetime64[D]"), TypeError, "expected an array of numbers"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), ValueError, "masked values; pass x.filled"),
        ([[1.0], [1.0, 2.0]], ValueError, "ragged"),
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), TypeError, "columns that are no numbers: b"),
        ({"a": 1}, TypeError, "a dict, expected an array of numbers"),
        (None, TypeError, "a NoneType"),
        ("text", TypeError, "`x` is text"),
    ],
)
def test_what_is_refused(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_tensor(x)


def test_a_flipped_dim_of_size_one() -> None:
    np.testing.assert_array_equal(as_tensor(V[:1][::-1]), V[:1])


def test_sparse_matrices_are_refused() -> None:
    from scipy import sparse

    for x in (sparse.csr_matrix(V), sparse.coo_array(V)):
        with pytest.raises(TypeError, match=r"sparse .*; pass data.toarray\(\)"):
            as_tensor(x, "data")


def test_jax_arrays_are_copied() -> None:
    jnp = pytest.importorskip("jax.numpy")
    given_ = jnp.arange(4.0)
    found = as_tensor(given_)
    found[0] = 9
    assert float(given_[0]) == 0.0


@pytest.mark.parametrize("offset", [0, 4, 8, 20])
def test_the_last_bits_do_not_depend_on_where_memory_begins(offset: int) -> None:
    """A frame that came over a network begins anywhere."""
    values = np.random.default_rng(0).normal(size=(53, 6)).astype("float32")
    frame = np.empty(values.nbytes + 64, "uint8")
    begin = -frame.ctypes.data % 16 + offset
    there = frame[begin : begin + values.nbytes].view("float32").reshape(values.shape)
    there[...] = values
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 8)
    assert as_tensor(there).data_ptr() % 16 == 0
    assert torch.equal(layer(as_tensor(there)), layer(torch.tensor(values)))
