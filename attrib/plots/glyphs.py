"""The outlines and colours of letters."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.path import Path

COLOURS = {"A": "#2e8b57", "C": "#2166ac", "G": "#e08214", "T": "#b2182b"}
OTHER = "#777777"
SLIM = 0.3  # of a letter's height: the least width that is stretched to the whole, so that an I stays slim


@functools.cache
def outline(letter: str) -> Path:
    """A letter's outline, one wide around 0 and one high from 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), letter, size=10, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    wide = max(box.width, SLIM * 10)
    middle = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
    return middle.scale(1 / wide, 1 / box.height).transform_path(path)
