"""attrib: what did the network look at?

Functional, array-first attribution for PyTorch and JAX models. The functions here take anything array-like and return labelled
xarray objects; `attrib.functional` has the same functions on tensors.
"""

from importlib.metadata import version as _version

__version__ = _version("attrib")

from attrib import functional
from attrib.interop.jax import from_jax
from attrib.io import load, save
from attrib.labelled import (
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    filters,
    grad_cam,
    grad_cam_plus_plus,
    gradient_shap,
    guided_grad_cam,
    hires_cam,
    in_silico_mutagenesis,
    input_x_gradient,
    integrated_gradients,
    layer_activation,
    layer_cam,
    noise_tunnel,
    occlusion,
    saliency,
    smooth_grad,
)
from attrib.labels import deep_lift_report, interaction, predict

__all__ = [
    "__version__",
    "deep_lift",
    "deep_lift_report",
    "deep_lift_shap",
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
    "input_x_gradient",
    "integrated_gradients",
    "interaction",
    "layer_activation",
    "layer_cam",
    "load",
    "noise_tunnel",
    "occlusion",
    "predict",
    "saliency",
    "save",
    "smooth_grad",
]
