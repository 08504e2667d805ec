"""DataArrays in and out of tensors: the only place that builds DataArrays."""

from attrib.labels.align import at_samples, baseline_tensors, sample_values
from attrib.labels.editing import edit_options
from attrib.labels.inputs import Inputs, labelled_inputs
from attrib.labels.lazy import lazily
from attrib.labels.results import Facts, wrap

__all__ = [
    "Facts",
    "Inputs",
    "at_samples",
    "baseline_tensors",
    "edit_options",
    "labelled_inputs",
    "lazily",
    "sample_values",
    "wrap",
]
