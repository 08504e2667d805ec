"""The pure methods: tensors in, tensors out."""

from attrib.functional.explanation import METHODS, About, Explanation
from attrib.functional.gradient import input_x_gradient, saliency
from attrib.functional.path import integrated_gradients
from attrib.functional.sampling import gradient_shap, noise_tunnel, smooth_grad

__all__ = [
    "METHODS",
    "About",
    "Explanation",
    "gradient_shap",
    "input_x_gradient",
    "integrated_gradients",
    "noise_tunnel",
    "saliency",
    "smooth_grad",
]
