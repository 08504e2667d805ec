"""Pictures of labelled arrays; nothing is computed here but colours and order."""

from attrib.plots.bars import bar_panels, bars
from attrib.plots.comparison import comparison
from attrib.plots.filters import filter_grid
from attrib.plots.image import image
from attrib.plots.overlay import confusion, overlaid, overlays
from attrib.plots.panels import panels
from attrib.plots.scale import robust_limit

__all__ = [
    "bar_panels",
    "bars",
    "comparison",
    "confusion",
    "filter_grid",
    "image",
    "overlaid",
    "overlays",
    "panels",
    "robust_limit",
]
