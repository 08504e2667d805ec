"""DataArrays in and out of tensors: the only place that builds DataArrays."""

from attrib.labels.align import at_samples, baseline_tensors, sample_values
from attrib.labels.blocks import lazy_maps, settled
from attrib.labels.editing import edit_options
from attrib.labels.inputs import Inputs, labelled_inputs
from attrib.labels.lazy import lazily, of_first
from attrib.labels.ops import deep_lift_report
from attrib.labels.pairs import interaction
from attrib.labels.predictions import predict
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
