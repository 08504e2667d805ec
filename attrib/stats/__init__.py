"""Statistics of attributions: tables and means over labelled arrays."""

from attrib.stats.maps import map_entropy, mass_inside, rank_correlation
from attrib.stats.means import mean_by
from attrib.stats.strongest import strongest
from attrib.stats.summary import sample_dims, summary

__all__ = ["map_entropy", "mass_inside", "mean_by", "rank_correlation", "sample_dims", "strongest", "summary"]
