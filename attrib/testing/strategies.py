"""Hypothesis strategies: small models of many kinds with inputs, tensors, labelled arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from attrib._install import install_hint
from attrib._public import public
from attrib.engine.inputs import Tensors

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


Build = Callable[[type[nn.Module]], nn.Module]


def _strategies() -> Any:
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            f"strategies need hypothesis, which is not installed: {install_hint('test')}"
        ) from error
    return strategies


class _Parts(nn.Module):
    """A module whose forward is a function of its parts."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: Tensor) -> Any:
        return self.run(self, *x)


def _mlp(act: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), act(), nn.Linear(8, 8), act(), nn.Linear(8, 3))


def _cnn(act: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), act(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 2), act(),
        nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


def _attention(act: type[nn.Module]) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.block(x).mean(1))

    block = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.1, activation=act(), batch_first=True)
    return _Parts(run, block=block, head=nn.Linear(6, 3))


def _lstm(act: type[nn.Module]) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.act(m.cells(x)[0][:, -1]))

    return _Parts(run, cells=nn.LSTM(3, 4, batch_first=True), act=act(), head=nn.Linear(4, 3))


def _two_inputs(act: type[nn.Module]) -> nn.Module:
    def run(m: Any, a: Tensor, b: Tensor) -> Tensor:
        return m.head(m.act(m.left(a)) * torch.sigmoid(m.right(b.flatten(1))))

    parts = {"left": nn.Linear(4, 5), "right": nn.Linear(6, 5), "act": act(), "head": nn.Linear(5, 2)}
    return _Parts(run, **parts)


def _number(act: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), act(), nn.Linear(6, 1), nn.Flatten(0))


def _sequence(act: type[nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), act(), nn.Conv1d(4, 3, 1))


def _logits(act: type[nn.Module]) -> nn.Module:
    def run(m: Any, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=m.body(x), hidden=x)

    return _Parts(run, body=nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 6), act(), nn.Linear(6, 3)))


_BUILD: dict[str, tuple[Build, tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "mlp": (_mlp, ((5,),), (3,)),
    "cnn": (_cnn, ((1, 6, 6),), (4,)),
    "attention": (_attention, ((4, 6),), (3,)),
    "lstm": (_lstm, ((4, 3),), (3,)),
    "two_inputs": (_two_inputs, ((4,), (2, 3)), (2,)),
    "number": (_number, ((4,),), ()),
    "sequence": (_sequence, ((2, 5),), (3, 5)),
    "logits": (_logits, ((5,),), (3,)),
}

KINDS = tuple(_BUILD)


@public
def specimens(
    kinds: Sequence[str] = KINDS,
    *,
    smooth: bool | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    most: int = 4,
    baselines: Sequence[str] = ("number", "one", "each"),
    targets: Sequence[str] = ("one", "each", "predicted"),
) -> SearchStrategy[Specimen]:
    """Small models with random weights, and inputs, baselines and a target that fit them.

    Parameters
    ----------
    kinds : sequence of str, default KINDS
        Kinds of models: see `specimen`.
    smooth : bool, optional
        True for smooth models only, False for piecewise linear ones; None for both.
    dtypes : sequence of torch.dtype, default (torch.float32, torch.float64)
        Of models and inputs.
    most : int, default 4
        Largest number of samples.
    baselines : sequence of str, default ("number", "one", "each")
        Kinds of baselines: see `specimen`.
    targets : sequence of str, default ("one", "each", "predicted")
        Kinds of targets: see `specimen`.

    Returns
    -------
    SearchStrategy of Specimen

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.functional import deep_lift
    >>> from attrib.testing import completeness, specimens
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(specimens())
    ... def test_complete(s):
    ...     completeness(deep_lift, s.f, s.x, baselines=s.baselines, target=s.target, tolerance=1e-3)
    >>> test_complete()
    """
    st = _strategies()
    return st.builds(
        specimen,
        st.sampled_from(list(kinds)),
        st.integers(0, 2**31 - 1),
        n=st.integers(1, most),
        smooth=st.booleans() if smooth is None else st.just(smooth),
        dtype=st.sampled_from(list(dtypes)),
        baselines=st.sampled_from(list(baselines)),
        target=st.sampled_from(list(targets)),
    )


@public
def tensors(
    shape: Sequence[int], *, n: int | None = None, dtype: torch.dtype = torch.float32, largest: float = 3.0
) -> SearchStrategy[Tensor]:
    """Inputs for your own model: normal values, some of them zero or equal to each other.

    Parameters
    ----------
    shape : sequence of int
        Of a sample.
    n : int, optional
        Number of samples; default: 1 to 4.
    dtype : torch.dtype, default torch.float32
        Of the tensor.
    largest : float, default 3.0
        Values are clipped to [-largest, largest].

    Returns
    -------
    SearchStrategy of Tensor (N, *shape)

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.testing import tensors
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(tensors((2, 3)))
    ... def test_shape(x):
    ...     assert x.shape[1:] == (2, 3)
    >>> test_shape()
    """
    st = _strategies()

    def build(seed: int, rows: int, zeros: bool, coarse: bool) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, *shape, generator=generator, dtype=torch.float64).clamp(-largest, largest)
        x = (2 * x).round() / 2 if coarse else x
        keep = torch.rand(x.shape, generator=generator) < 0.7
        return (torch.where(keep, x, 0.0) if zeros else x).to(dtype)

    rows = st.integers(1, 4) if n is None else st.just(n)
    return st.builds(build, st.integers(0, 2**31 - 1), rows, st.booleans(), st.booleans())


@public
def labelled_arrays(
    features: dict[str, int],
    *,
    sample_dims: Sequence[str] = ("sample",),
    most: int = 4,
    chunked: bool = False,
) -> SearchStrategy[xr.DataArray]:
    """DataArrays with dims in any order and coords of many kinds.

    Parameters
    ----------
    features : dict of str to int
        Dims of a sample and their sizes, in the order in which the model takes them. The array has its dims in any
        order.
    sample_dims : sequence of str, default ("sample",)
        Dims of the samples.
    most : int, default 4
        Largest size of a sample dim.
    chunked : bool, default False
        Whether the arrays are Dask arrays, with any chunks; needs dask.

    Returns
    -------
    SearchStrategy of DataArray
        float32 or float64. Along each dim an index of numbers, strings or dates, or none; also coords that are no
        index, two-dimensional ones and scalars. With or without a name and attrs.

    Raises
    ------
    ImportError
        Without hypothesis.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from attrib.testing import labelled_arrays
    >>> @settings(max_examples=5, deadline=None, derandomize=True)
    ... @given(labelled_arrays({"y": 2, "x": 3}))
    ... def test_sizes(a):
    ...     assert a.sizes["y"] == 2 and set(a.dims) == {"sample", "y", "x"}
    >>> test_sizes()
    """
    st = _strategies()
    return st.composite(_labelled_array)(st, dict(features), tuple(sample_dims), most, chunked)


def _labelled_array(
    draw: Callable[[Any], Any],
    st: Any,
    features: dict[str, int],
    sample_dims: tuple[str, ...],
    most: int,
    chunked: bool,
) -> xr.DataArray:
    """Draw a DataArray with dims in any order, coords of many kinds, and chunks."""
    sizes = {d: draw(st.integers(1, most)) for d in sample_dims} | features
    dims = draw(st.permutations(list(sizes)))
    random = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = random.standard_normal([sizes[d] for d in dims]).astype(dtype)
    a = xr.DataArray(values, dims=dims, coords=_coords(draw, st, sizes, random))
    a.name = draw(st.sampled_from([None, "signal"]))
    a.attrs = draw(st.sampled_from([{}, {"units": "K", "scanner": "B"}]))
    return a.chunk({d: draw(st.integers(1, n)) for d, n in sizes.items()}) if chunked else a


def _coords(
    draw: Callable[[Any], Any], st: Any, sizes: dict[str, int], random: np.random.Generator
) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    for d, n in sizes.items():
        index = _index(draw(st.sampled_from(["none", "int", "float", "str", "date"])), n)
        if index is not None:
            coords[d] = (d, index, {"long_name": f"the {d}"})
        if draw(st.booleans()):
            coords[f"{d}_group"] = (d, random.choice(["a", "b"], n))
    if draw(st.booleans()):
        first, *_, last = sizes
        coords["plane"] = ((first, last), random.standard_normal((sizes[first], sizes[last])))
    if draw(st.booleans()):
        coords["cohort"] = "pilot"
    return coords


def _index(kind: str, n: int) -> np.ndarray | None:
    return {
        "none": None,
        "int": np.arange(n) * 10,
        "float": np.linspace(0, 1, n) if n > 1 else np.array([0.5]),
        "str": np.array([f"name{i}" for i in range(n)]),
        "date": np.datetime64("2024-01-01", "ns") + np.arange(n) * np.timedelta64(1, "D"),
    }[kind]


class Specimen(NamedTuple):
    """A model with inputs, baselines and a target that fit it.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    f : torch.nn.Module
        In evaluation mode.
    x : Tensor or tuple of Tensor
        Inputs (N, ...).
    baselines : float, Tensor or tuple of Tensor
        A number, (1, ...) or (N, ...).
    target : int, tuple, list, str or None
        A target that the model's output has.

    Examples
    --------
    >>> from attrib.testing import specimen
    >>> s = specimen("two_inputs", n=2)
    >>> s.f(*s.x).shape
    torch.Size([2, 2])
    """

    kind: str
    f: nn.Module
    x: Tensors
    baselines: Any
    target: Any

    def __repr__(self) -> str:
        """Short, for reports of failures; `specimen` builds it again from kind and seed."""
        shapes = [tuple(t.shape) for t in (self.x if isinstance(self.x, tuple) else (self.x,))]
        return f"Specimen({self.kind!r}, x={shapes}, baselines={self.baselines!r}, target={self.target!r})"


@public
def specimen(
    kind: str,
    seed: int = 0,
    *,
    n: int = 3,
    smooth: bool = True,
    dtype: torch.dtype = torch.float32,
    baselines: str = "number",
    target: str = "one",
) -> Specimen:
    """A small model of a kind, with inputs, baselines and a target.

    Parameters
    ----------
    kind : str
        `"mlp"`, `"cnn"` (with batch norm), `"attention"`, `"lstm"`, `"two_inputs"`, `"number"` (output (N,)),
        `"sequence"` (output (N, C, L)), `"logits"` (output an object with `.logits`, layer norm at the input).
    seed : int, default 0
        Of weights and inputs. torch's own generator is left alone.
    n : int, default 3
        Samples.
    smooth : bool, default True
        GELU, for which quadratures converge fast; else ReLU.
    dtype : torch.dtype, default torch.float32
        Of model and inputs.
    baselines : {"number", "one", "each"}
        Zero; one for all samples, (1, ...); one for each, (N, ...).
    target : {"one", "each", "predicted"}
        The same entry of the output for all samples; a list with one entry per sample; each sample's largest output.
        Models with outputs (N,) have the target None.

    Returns
    -------
    Specimen

    Raises
    ------
    ValueError
        For an unknown `kind`.

    Examples
    --------
    >>> from attrib.testing import specimen
    >>> specimen("mlp", 1)
    Specimen('mlp', x=[(3, 5)], baselines=0.0, target=1)
    """
    if kind not in _BUILD:
        raise ValueError(f"`kind` is {kind!r}, expected one of {', '.join(KINDS)}")
    build, shapes, outputs = _BUILD[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _lively(build(nn.GELU if smooth else nn.ReLU)).to(dtype).eval()
        xs = tuple(torch.randn(n, *shape).to(dtype) for shape in shapes)
        x0s = tuple(0.5 * torch.randn(1 if baselines == "one" else n, *shape).to(dtype) for shape in shapes)
        goals = [tuple(int(torch.randint(size, ())) for size in outputs) for _ in range(n)]
    several = len(xs) > 1
    start: Any = 0.0 if baselines == "number" else (x0s if several else x0s[0])
    return Specimen(kind, model, xs if several else xs[0], start, _target(target, goals, len(outputs)))


def _target(how: str, goals: list[tuple[int, ...]], dims: int) -> Any:
    plain = [g if dims > 1 else g[0] if g else None for g in goals]
    if dims == 0:
        return None
    if how == "predicted" and dims == 1:
        return "predicted"
    return plain if how == "each" else plain[0]


def _lively(model: nn.Module) -> nn.Module:
    """The model with large random weights and statistics, so that mistakes show."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0, 1.5 / parameter[0].numel() ** 0.5)
            elif "bias" in name:
                nn.init.normal_(parameter, 0, 0.3)
    return model
