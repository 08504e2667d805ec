"""Sequence motifs: from filters and from seqlets, as MEME text, and matched to a database."""

from attrib.domains.motifs.clusters import Clusters, cluster_seqlets, tomtom
from attrib.domains.motifs.filters import FilterMotifs, filter_counts, filter_motifs, filter_peaks
from attrib.domains.motifs.formats import MotifReading, meme_text, read_motifs
from attrib.domains.motifs.matrix import (
    as_motif,
    consensus,
    counted_motif,
    flipped_motif,
    information_content,
    trimmed_motif,
)
from attrib.domains.motifs.seqlets import find_seqlets

__all__ = [
    "Clusters",
    "FilterMotifs",
    "MotifReading",
    "as_motif",
    "cluster_seqlets",
    "consensus",
    "counted_motif",
    "filter_counts",
    "filter_motifs",
    "filter_peaks",
    "find_seqlets",
    "flipped_motif",
    "information_content",
    "meme_text",
    "read_motifs",
    "tomtom",
    "trimmed_motif",
]
