"""The pure methods: tensors in, tensors out."""

from attrib.functional.explanation import METHODS, About, Explanation
from attrib.functional.gradient import input_x_gradient, saliency
from attrib.functional.mutagenesis import in_silico_mutagenesis
from attrib.functional.occlusion import feature_ablation, occlusion
from attrib.functional.path import integrated_gradients
from attrib.functional.sampling import gradient_shap, smooth_grad
from attrib.functional.tunnel import noise_tunnel

__all__ = [
    "METHODS",
    "About",
    "Explanation",
    "feature_ablation",
    "gradient_shap",
    "in_silico_mutagenesis",
    "input_x_gradient",
    "integrated_gradients",
    "noise_tunnel",
    "occlusion",
    "saliency",
    "smooth_grad",
]
