"""Statistics of attributions: tables and means over labelled arrays."""

from attrib.stats.means import mean_by
from attrib.stats.summary import sample_dims, summary

__all__ = ["mean_by", "sample_dims", "summary"]
