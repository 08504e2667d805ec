"""All translations, registered: importing a family's file enters its primitives in the table."""

from attrib.interop.jaxpr import (
    contractions,
    elementwise,
    gathering,
    idioms,
    nesting,
    reductions,
    shaping,
    windows,
)
from attrib.interop.jaxpr.table import TRANSLATIONS

FAMILIES = (elementwise, contractions, reductions, windows, shaping, gathering, idioms, nesting)

__all__ = ["FAMILIES", "TRANSLATIONS"]
