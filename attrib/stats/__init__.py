"""Statistics of attributions: tables and means over labelled arrays."""

from attrib.stats.agreement import agreement
from attrib.stats.assembly import assemble
from attrib.stats.contrast import contrast
from attrib.stats.describe import describe
from attrib.stats.maps import map_entropy, mass_inside, rank_correlation
from attrib.stats.means import mean_by
from attrib.stats.performance import performance
from attrib.stats.regions import regions
from attrib.stats.strongest import strongest
from attrib.stats.summary import sample_dims, summary

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
