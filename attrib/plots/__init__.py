"""Pictures of labelled arrays. Only colours, limits and orders are computed here."""

from attrib.plots.anatomy import slice_panels, slice_summary
from attrib.plots.charts import bar_panels, bars, curves, points
from attrib.plots.heatmap import confusion, heatmap
from attrib.plots.image import image, kmer_map, overlaid, overlays
from attrib.plots.logo import attribution_logo, letters, motif_logo, mutation_map, sequence_tracks
from attrib.plots.panels import comparison, filter_grid, motif_cards, panels
from attrib.plots.scale import robust_limit
from attrib.plots.text import text

__all__ = [
    "attribution_logo",
    "bar_panels",
    "bars",
    "comparison",
    "confusion",
    "curves",
    "filter_grid",
    "heatmap",
    "image",
    "kmer_map",
    "letters",
    "motif_cards",
    "motif_logo",
    "mutation_map",
    "overlaid",
    "overlays",
    "panels",
    "points",
    "robust_limit",
    "sequence_tracks",
    "slice_panels",
    "slice_summary",
    "text",
]
