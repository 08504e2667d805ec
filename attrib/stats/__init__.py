"""Statistics of attributions: tables and means over labelled arrays."""

from attrib.stats.agreement import agreement, map_entropy, mass_inside, rank_correlation
from attrib.stats.assembly import assemble
from attrib.stats.contrast import contrast
from attrib.stats.performance import performance
from attrib.stats.regions import regions, strongest
from attrib.stats.summary import describe, mean_by, sample_dims, summary

__all__ = [
    "agreement",
    "assemble",
    "contrast",
    "describe",
    "map_entropy",
    "mass_inside",
    "mean_by",
    "performance",
    "rank_correlation",
    "regions",
    "sample_dims",
    "strongest",
    "summary",
]
