"""attrib: what did the network look at?

Functional, array-first attribution for PyTorch and JAX models. The functions here take anything array-like and return labelled
xarray objects; `attrib.functional` has the same functions on tensors.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from attrib._rooms import unknown as _unknown

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
    from attrib import domains, functional, interop, io, plots, scale, stats, testing, workflows  # noqa: F401
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
        layer_activation,
        predict,
        randomization,
        sensitivity_max,
    )
    from attrib.labels.interaction import interaction  # by its file: a module of its own name is there too
    from attrib.scale.cohort import cohort
else:
    _ROOMS = ("domains", "functional", "interop", "io", "plots", "scale", "stats", "testing", "workflows")
    _ELSEWHERE = {
        **dict.fromkeys(("prepare", "shared"), "functional"),
        **dict.fromkeys(("load", "save"), "io"),
        **dict.fromkeys(
            ("conductance", "deep_lift_report", "deletion", "filters", "infidelity", "insertion"), "labels"
        ),
        **dict.fromkeys(
            ("interaction", "layer_activation", "predict", "randomization", "sensitivity_max"), "labels"
        ),
        "__version__": "_version",
        "from_jax": "interop.jax",
        "cohort": "scale",
    }

    def __getattr__(name: str) -> object:
        """What is asked for, imported when it is first used: the command line's help and `import attrib` need no torch."""
        if name in _ROOMS:
            return _import_module(f"attrib.{name}")
        if name not in __all__:
            raise _unknown(__name__, name)
        value = getattr(_import_module(f"attrib.{_ELSEWHERE.get(name, 'labelled')}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """The public names and the rooms."""
        return sorted({*globals(), *_ROOMS, *__all__})


_import_module("attrib.accessor").install()
