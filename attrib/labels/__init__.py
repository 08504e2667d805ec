"""DataArrays in and out of tensors: the only place that builds DataArrays."""

from attrib.labels.align import at_samples, baseline_tensors, sample_values
from attrib.labels.editing import edit_options
from attrib.labels.inputs import Inputs, labelled_inputs
from attrib.labels.interaction import interaction
from attrib.labels.lazy import lazily, lazy_maps, of_first, settled
from attrib.labels.predictions import deep_lift_report, predict
from attrib.labels.results import Facts, plain, wrap
from attrib.labels.spatial import map_options, wrap_activation, wrap_filters, wrap_map

__all__ = [
    "Facts",
    "Inputs",
    "at_samples",
    "baseline_tensors",
    "deep_lift_report",
    "edit_options",
    "interaction",
    "labelled_inputs",
    "lazily",
    "lazy_maps",
    "map_options",
    "of_first",
    "plain",
    "predict",
    "sample_values",
    "settled",
    "wrap",
    "wrap_activation",
    "wrap_filters",
    "wrap_map",
]
