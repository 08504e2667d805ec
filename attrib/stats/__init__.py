"""Statistics of attributions: tables, groups, regions and agreement, from labelled arrays."""

from attrib.stats.agreement import agreement, entropy, mass_inside, pointing_game, rank_correlation
from attrib.stats.clusters import cluster_contrast
from attrib.stats.contrast import consistency, contrast
from attrib.stats.one_against_rest import (
    enrichment,
    false_discovery_rate,
    fold_change,
    moments_by,
    one_against_rest,
    overlap,
    top,
)
from attrib.stats.parcels import lateralisation, region_contrast, region_shares
from attrib.stats.regions import assemble, regions, strongest
from attrib.stats.report import performance, report
from attrib.stats.summary import describe, mean_by, sample_dims, summary

__all__ = [
    "agreement",
    "assemble",
    "cluster_contrast",
    "consistency",
    "contrast",
    "describe",
    "enrichment",
    "entropy",
    "false_discovery_rate",
    "fold_change",
    "lateralisation",
    "mass_inside",
    "mean_by",
    "moments_by",
    "one_against_rest",
    "overlap",
    "performance",
    "pointing_game",
    "rank_correlation",
    "region_contrast",
    "region_shares",
    "regions",
    "report",
    "sample_dims",
    "strongest",
    "summary",
    "top",
]
