"""Statistics of attributions: tables, groups, regions and agreement, from labelled arrays."""

from attrib.stats.agreement import agreement, entropy, mass_inside, pointing_game, rank_correlation
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
    "entropy",
    "mass_inside",
    "mean_by",
    "performance",
    "pointing_game",
    "rank_correlation",
    "regions",
    "sample_dims",
    "strongest",
    "summary",
]
