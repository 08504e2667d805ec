"""Pictures of labelled arrays; nothing is computed here but colours and order."""

from attrib.plots.bars import bar_panels, bars
from attrib.plots.cards import motif_cards
from attrib.plots.comparison import comparison
from attrib.plots.filters import filter_grid
from attrib.plots.image import image
from attrib.plots.letters import letters
from attrib.plots.logo import attribution_logo, motif_logo
from attrib.plots.mutations import mutation_map
from attrib.plots.overlay import confusion, overlaid, overlays
from attrib.plots.panels import panels
from attrib.plots.scale import robust_limit
from attrib.plots.tracks import sequence_tracks

__all__ = [
    "attribution_logo",
    "bar_panels",
    "bars",
    "comparison",
    "confusion",
    "filter_grid",
    "image",
    "letters",
    "motif_cards",
    "motif_logo",
    "mutation_map",
    "overlaid",
    "overlays",
    "panels",
    "robust_limit",
    "sequence_tracks",
]
