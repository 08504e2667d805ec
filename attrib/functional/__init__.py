"""The pure methods: tensors in, tensors out."""

from attrib.engine.model.companions import shared
from attrib.engine.model.prepared import prepare
from attrib.engine.secant import OpShare
from attrib.functional.activations import conductance, filters, layer_activation
from attrib.functional.cam import (
    class_activation_maps,
    grad_cam,
    grad_cam_plus_plus,
    guided_grad_cam,
    hires_cam,
    layer_cam,
)
from attrib.functional.deep_lift import deep_lift, deep_lift_shap, op_shares
from attrib.functional.deletion import Curve, deletion, insertion
from attrib.functional.explanation import METHODS, About, Explanation
from attrib.functional.heads import head, predict, profile_score
from attrib.functional.infidelity import infidelity, sensitivity_max
from attrib.functional.integrated_gradients import integrated_gradients
from attrib.functional.interaction import interaction
from attrib.functional.layers import from_layer, up_to
from attrib.functional.mutagenesis import in_silico_mutagenesis
from attrib.functional.noise_tunnel import gradient_shap, noise_tunnel, smooth_grad
from attrib.functional.occlusion import feature_ablation, occlusion
from attrib.functional.randomization import Randomized, randomization
from attrib.functional.saliency import input_x_gradient, saliency
from attrib.functional.shapley_values import shapley_values

__all__ = [
    "METHODS",
    "About",
    "Curve",
    "Explanation",
    "OpShare",
    "Randomized",
    "class_activation_maps",
    "conductance",
    "deep_lift",
    "deep_lift_shap",
    "deletion",
    "feature_ablation",
    "filters",
    "from_layer",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient_shap",
    "guided_grad_cam",
    "head",
    "hires_cam",
    "in_silico_mutagenesis",
    "infidelity",
    "input_x_gradient",
    "insertion",
    "integrated_gradients",
    "interaction",
    "layer_activation",
    "layer_cam",
    "noise_tunnel",
    "occlusion",
    "op_shares",
    "predict",
    "prepare",
    "profile_score",
    "randomization",
    "saliency",
    "sensitivity_max",
    "shapley_values",
    "shared",
    "smooth_grad",
    "up_to",
]
