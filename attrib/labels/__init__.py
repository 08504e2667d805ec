"""DataArrays in and out of tensors: the only place that builds DataArrays."""

from attrib.labels.at_layer import conductance
from attrib.labels.faithfulness import deletion, infidelity, insertion, randomization, sensitivity_max
from attrib.labels.inputs import labelled_inputs
from attrib.labels.interaction import interaction
from attrib.labels.methods import labelled
from attrib.labels.predictions import deep_lift_report, predict
from attrib.labels.spatial import filters, layer_activation

__all__ = [
    "conductance",
    "deep_lift_report",
    "deletion",
    "filters",
    "infidelity",
    "insertion",
    "interaction",
    "labelled",
    "labelled_inputs",
    "layer_activation",
    "predict",
    "randomization",
    "sensitivity_max",
]
