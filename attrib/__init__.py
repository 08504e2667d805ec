"""attrib: what did the network look at?

Functional, array-first attribution for PyTorch and JAX models. The functions here take anything array-like and return labelled
xarray objects; `attrib.functional` has the same functions on tensors.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from attrib import functional
from attrib._version import __version__
from attrib.functional import prepare, shared
from attrib.interop.jax import from_jax
from attrib.io import load, save
from attrib.labelled import (
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    grad_cam,
    grad_cam_plus_plus,
    gradient_shap,
    guided_grad_cam,
    hires_cam,
    in_silico_mutagenesis,
    input_x_gradient,
    integrated_gradients,
    layer_cam,
    noise_tunnel,
    occlusion,
    saliency,
    shapley_values,
    smooth_grad,
)
from attrib.labels import (
    conductance,
    deep_lift_report,
    deletion,
    filters,
    infidelity,
    insertion,
    interaction,
    layer_activation,
    predict,
    randomization,
    sensitivity_max,
)

__all__ = [
    "__version__",
    "cohort",
    "conductance",
    "deep_lift",
    "deep_lift_report",
    "deep_lift_shap",
    "deletion",
    "feature_ablation",
    "filters",
    "from_jax",
    "functional",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient_shap",
    "guided_grad_cam",
    "hires_cam",
    "in_silico_mutagenesis",
    "infidelity",
    "input_x_gradient",
    "insertion",
    "integrated_gradients",
    "interaction",
    "layer_activation",
    "layer_cam",
    "load",
    "noise_tunnel",
    "occlusion",
    "predict",
    "prepare",
    "randomization",
    "saliency",
    "save",
    "sensitivity_max",
    "shapley_values",
    "shared",
    "smooth_grad",
]

if TYPE_CHECKING:
    from attrib import domains, interop, io, plots, scale, stats, testing, workflows  # noqa: F401
    from attrib.scale import cohort
else:
    _ROOMS = ("domains", "interop", "io", "plots", "scale", "stats", "testing", "workflows")

    def __getattr__(name: str) -> object:
        """The other rooms, imported when they are first used: `attrib.plots.logo(...)`."""
        if name in _ROOMS:
            return _import_module(f"attrib.{name}")
        if name == "cohort":  # it needs Zarr, which takes as long to import as all else here
            return _import_module("attrib.scale").cohort
        raise AttributeError(f"module 'attrib' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """The public names and the rooms."""
        return sorted({*globals(), *_ROOMS, "cohort"})
