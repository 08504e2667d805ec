"""All translations, registered: importing a family's file enters its primitives in the table."""

from attrib.interop.jaxpr import (
    contractions,
    convolution,
    cumulative,
    elementwise,
    gathering,
    logic,
    nesting,
    normalised,
    ordering,
    reductions,
    shaping,
    slicing,
    spectra,
    windows,
)
from attrib.interop.jaxpr.table import TRANSLATIONS

FAMILIES = (
    *(elementwise, logic, contractions, convolution, reductions, windows, cumulative, ordering),
    *(shaping, slicing, gathering, normalised, spectra, nesting),
)

__all__ = ["FAMILIES", "TRANSLATIONS"]
