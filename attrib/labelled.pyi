"""Signatures of the labelled functions. Written by `python -m tests.labelled_stub`: change the methods, not this file."""

# fmt: off

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.layers.at_layer import Call, Layer
from attrib.engine.layers.image_form import Reshape
from attrib.engine.model.parameters import Model
from attrib.engine.sampling.perturbations import Stdevs
from attrib.engine.target import TargetLike
from attrib.functional.layer_maps import Layers

@overload
def saliency(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, absolute: bool = True, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Gradient of the score with respect to the input."""
@overload
def saliency(
    f: Model, x: tuple[Any, ...], *, absolute: bool = True, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Gradient of the score with respect to the input."""
@overload
def saliency(
    f: Model, x: Any, *, absolute: bool = True, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Gradient of the score with respect to the input."""

@overload
def input_x_gradient(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Input times the gradient of the score."""
@overload
def input_x_gradient(
    f: Model, x: tuple[Any, ...], *, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Input times the gradient of the score."""
@overload
def input_x_gradient(
    f: Model, x: Any, *, layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Input times the gradient of the score."""

@overload
def integrated_gradients(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, baselines: Any = 0.0, n_steps: int | None = None,
    quadrature: str = "gausslegendre", multiply_by_inputs: bool = True, rtol: float | None = None,
    max_steps: int = 1025, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Gradient integrated along the straight line from a baseline to the input."""
@overload
def integrated_gradients(
    f: Model, x: tuple[Any, ...], *, baselines: Any = 0.0, n_steps: int | None = None,
    quadrature: str = "gausslegendre", multiply_by_inputs: bool = True, rtol: float | None = None,
    max_steps: int = 1025, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Gradient integrated along the straight line from a baseline to the input."""
@overload
def integrated_gradients(
    f: Model, x: Any, *, baselines: Any = 0.0, n_steps: int | None = None,
    quadrature: str = "gausslegendre", multiply_by_inputs: bool = True, rtol: float | None = None,
    max_steps: int = 1025, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Gradient integrated along the straight line from a baseline to the input."""

@overload
def smooth_grad(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, n_samples: int = 25, stdevs: Stdevs | None = None,
    stdev_spread: float = 0.15, reduce: str = "mean", seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Gradient averaged over noisy copies of the input."""
@overload
def smooth_grad(
    f: Model, x: tuple[Any, ...], *, n_samples: int = 25, stdevs: Stdevs | None = None,
    stdev_spread: float = 0.15, reduce: str = "mean", seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Gradient averaged over noisy copies of the input."""
@overload
def smooth_grad(
    f: Model, x: Any, *, n_samples: int = 25, stdevs: Stdevs | None = None, stdev_spread: float = 0.15,
    reduce: str = "mean", seed: int = 0, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Gradient averaged over noisy copies of the input."""

@overload
def noise_tunnel(
    method: Callable[..., Any], f: Model, x: xr.Dataset | Mapping[str, Any], *, n_samples: int = 25,
    stdevs: Stdevs | None = None, stdev_spread: float = 0.15, reduce: str = "mean", seed: int = 0,
    layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Any method averaged over noisy copies of the input."""
@overload
def noise_tunnel(
    method: Callable[..., Any], f: Model, x: tuple[Any, ...], *, n_samples: int = 25,
    stdevs: Stdevs | None = None, stdev_spread: float = 0.15, reduce: str = "mean", seed: int = 0,
    layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Any method averaged over noisy copies of the input."""
@overload
def noise_tunnel(
    method: Callable[..., Any], f: Model, x: Any, *, n_samples: int = 25, stdevs: Stdevs | None = None,
    stdev_spread: float = 0.15, reduce: str = "mean", seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Any method averaged over noisy copies of the input."""

@overload
def gradient_shap(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, baselines: Any, n_samples: int = 50,
    stdevs: Stdevs = 0.0, multiply_by_inputs: bool = True, seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Expected gradient between the input and a distribution of baselines."""
@overload
def gradient_shap(
    f: Model, x: tuple[Any, ...], *, baselines: Any, n_samples: int = 50, stdevs: Stdevs = 0.0,
    multiply_by_inputs: bool = True, seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Expected gradient between the input and a distribution of baselines."""
@overload
def gradient_shap(
    f: Model, x: Any, *, baselines: Any, n_samples: int = 50, stdevs: Stdevs = 0.0,
    multiply_by_inputs: bool = True, seed: int = 0, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Expected gradient between the input and a distribution of baselines."""

@overload
def in_silico_mutagenesis(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, axis: Hashable = "nucleotide",
    position: Hashable = "position",
    positions: Sequence[Any] | Tensor | np.ndarray | xr.DataArray | slice | None = None,
    center: bool = False, only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What every letter at every position would do to the score."""
@overload
def in_silico_mutagenesis(
    f: Model, x: tuple[Any, ...], *, axis: Hashable = "nucleotide", position: Hashable = "position",
    positions: Sequence[Any] | Tensor | np.ndarray | xr.DataArray | slice | None = None,
    center: bool = False, only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """What every letter at every position would do to the score."""
@overload
def in_silico_mutagenesis(
    f: Model, x: Any, *, axis: Hashable = "nucleotide", position: Hashable = "position",
    positions: Sequence[Any] | Tensor | np.ndarray | xr.DataArray | slice | None = None,
    center: bool = False, only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """What every letter at every position would do to the score."""

@overload
def occlusion(
    f: Model, x: xr.Dataset | Mapping[str, Any], *,
    window: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1,
    stride: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1, baselines: Any = 0.0,
    only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What the score loses when a window is covered, averaged over the windows that cover a feature."""
@overload
def occlusion(
    f: Model, x: tuple[Any, ...], *,
    window: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1,
    stride: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1, baselines: Any = 0.0,
    only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """What the score loses when a window is covered, averaged over the windows that cover a feature."""
@overload
def occlusion(
    f: Model, x: Any, *, window: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1,
    stride: int | Sequence[int] | Mapping[Any, int] | tuple[Any, ...] = 1, baselines: Any = 0.0,
    only: int | str | None = None, path: str = "auto",
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """What the score loses when a window is covered, averaged over the windows that cover a feature."""

@overload
def feature_ablation(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, groups: Any = None, baselines: Any = 0.0,
    only: int | str | None = None, path: str = "auto", layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What the score loses when a feature, or a group of features, is replaced by its baseline."""
@overload
def feature_ablation(
    f: Model, x: tuple[Any, ...], *, groups: Any = None, baselines: Any = 0.0,
    only: int | str | None = None, path: str = "auto", layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """What the score loses when a feature, or a group of features, is replaced by its baseline."""
@overload
def feature_ablation(
    f: Model, x: Any, *, groups: Any = None, baselines: Any = 0.0, only: int | str | None = None,
    path: str = "auto", layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """What the score loses when a feature, or a group of features, is replaced by its baseline."""

@overload
def shapley_values(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, baselines: Any = 0.0, groups: Any = None,
    n_permutations: int = 25, exact: bool | str = "auto", rtol: float | None = None, path: str = "auto",
    seed: int = 0, layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """What a feature, or a group of features, adds to the score, averaged over all orders in which they can come."""
@overload
def shapley_values(
    f: Model, x: tuple[Any, ...], *, baselines: Any = 0.0, groups: Any = None, n_permutations: int = 25,
    exact: bool | str = "auto", rtol: float | None = None, path: str = "auto", seed: int = 0,
    layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """What a feature, or a group of features, adds to the score, averaged over all orders in which they can come."""
@overload
def shapley_values(
    f: Model, x: Any, *, baselines: Any = 0.0, groups: Any = None, n_permutations: int = 25,
    exact: bool | str = "auto", rtol: float | None = None, path: str = "auto", seed: int = 0,
    layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """What a feature, or a group of features, adds to the score, averaged over all orders in which they can come."""

@overload
def deep_lift(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, baselines: Any = 0.0,
    multiply_by_inputs: bool = True, check: bool = True, compile: bool = False,
    layer: Layer | None = None, output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """The change from a baseline to the input, shared out by the slope of every op between its two values."""
@overload
def deep_lift(
    f: Model, x: tuple[Any, ...], *, baselines: Any = 0.0, multiply_by_inputs: bool = True,
    check: bool = True, compile: bool = False, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """The change from a baseline to the input, shared out by the slope of every op between its two values."""
@overload
def deep_lift(
    f: Model, x: Any, *, baselines: Any = 0.0, multiply_by_inputs: bool = True, check: bool = True,
    compile: bool = False, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """The change from a baseline to the input, shared out by the slope of every op between its two values."""

@overload
def deep_lift_shap(
    f: Model, x: xr.Dataset | Mapping[str, Any], *, baselines: Any, multiply_by_inputs: bool = True,
    hypothetical: bool = False, check: bool = True, compile: bool = False, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """DeepLIFT averaged over a distribution of baselines."""
@overload
def deep_lift_shap(
    f: Model, x: tuple[Any, ...], *, baselines: Any, multiply_by_inputs: bool = True,
    hypothetical: bool = False, check: bool = True, compile: bool = False, layer: Layer | None = None,
    output: int | None = None, call: int | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    engine: str = "auto", sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """DeepLIFT averaged over a distribution of baselines."""
@overload
def deep_lift_shap(
    f: Model, x: Any, *, baselines: Any, multiply_by_inputs: bool = True, hypothetical: bool = False,
    check: bool = True, compile: bool = False, layer: Layer | None = None, output: int | None = None,
    call: int | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False, engine: str = "auto",
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """DeepLIFT averaged over a distribution of baselines."""

def grad_cam(
    f: Model, x: Any, *, layer: Layers = "auto", call: Call = None, relu: bool = True,
    upsample: bool = True, normalize: str | None = None, reshape: Reshape | None = None,
    onto: int | str = 0, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Features of a layer, weighted by their mean gradient."""

def grad_cam_plus_plus(
    f: Model, x: Any, *, layer: Layers = "auto", call: Call = None, relu: bool = True,
    upsample: bool = True, normalize: str | None = None, reshape: Reshape | None = None,
    onto: int | str = 0, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Features of a layer, weighted by positive gradients where several objects may share them."""

def layer_cam(
    f: Model, x: Any, *, layer: Layers = "auto", call: Call = None, relu: bool = True,
    upsample: bool = True, normalize: str | None = None, reshape: Reshape | None = None,
    onto: int | str = 0, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Features of a layer times their positive gradients, position by position."""

def hires_cam(
    f: Model, x: Any, *, layer: Layers = "auto", call: Call = None, relu: bool = True,
    upsample: bool = True, normalize: str | None = None, reshape: Reshape | None = None,
    onto: int | str = 0, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Features of a layer times their gradients, position by position."""

@overload
def guided_grad_cam(
    method: Callable[..., Any], f: Model, x: xr.Dataset | Mapping[str, Any], *, layer: Layer = "auto",
    call: int | None = None, reshape: Reshape | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.Dataset:
    """Product of a method's attribution and Grad-CAM: fine detail, where the class is."""
@overload
def guided_grad_cam(
    method: Callable[..., Any], f: Model, x: tuple[Any, ...], *, layer: Layer = "auto",
    call: int | None = None, reshape: Reshape | None = None,
    target: TargetLike | xr.DataArray | np.ndarray = None, targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None, additional_forward_args: Any = (),
    batch_size: BatchSize = "auto", device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, ...]:
    """Product of a method's attribution and Grad-CAM: fine detail, where the class is."""
@overload
def guided_grad_cam(
    method: Callable[..., Any], f: Model, x: Any, *, layer: Layer = "auto", call: int | None = None,
    reshape: Reshape | None = None, target: TargetLike | xr.DataArray | np.ndarray = None,
    targets: Sequence | str | None = None, classes: Sequence[str] | None = None,
    additional_forward_args: Any = (), batch_size: BatchSize = "auto",
    device: torch.device | str | None = None, progress: Progress = False,
    sample_dims: Hashable | Sequence[Hashable] | None = None,
    dims: Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None = None,
    coords: Mapping[Hashable, Any] | None = None,
) -> xr.DataArray:
    """Product of a method's attribution and Grad-CAM: fine detail, where the class is."""
