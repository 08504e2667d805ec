"""Whether the texts of a figure can be read: where they lie, on what, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attrib._public import public

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST = 6.0
SLACK = 1.0  # pixels that a text may reach over another or over the edge
MOST = 12  # faults that a message lists
SHAPES = (
    "draw_gouraud_triangles", "draw_image", "draw_markers", "draw_path", "draw_path_collection", "draw_quad_mesh",
)  # fmt: skip


class LegibilityError(AssertionError):
    """A figure has texts that cannot be read."""


class Line(NamedTuple):
    """A line of text as it was drawn.

    Attributes
    ----------
    words : str
    text : int
        Number of the text that it is a line of.
    points : float
        Size of the letters.
    corners : array (4, 2)
        Of its box, in pixels from the lower left corner of the figure, in their order around it.
    visible : array (4,)
        The part of the figure that is not cut off: x0, y0, x1, y1.
    """

    words: str
    text: int
    points: float
    corners: np.ndarray
    visible: np.ndarray


@public
def legible(figure: Figure, *, smallest: float = SMALLEST) -> None:
    """Check that every text of a figure can be read at the size at which the figure is saved.

    Parameters
    ----------
    figure : matplotlib Figure
        It is drawn once, and not changed.
    smallest : float, default 6
        Points that letters must have.

    Raises
    ------
    LegibilityError
        If a text reaches out of the figure or out of the axes that cut it off, if two texts lie over each other, or if a
        text is smaller than `smallest`. The message names the texts.

    Notes
    -----
    Texts are measured as they are drawn, tick labels and rotated texts too: by the boxes around their ink, of which one
    pixel may overlap. Letters that are drawn as shapes, as in logos, are data and are not measured.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from attrib.testing import legible
    >>> figure = Figure()
    >>> text = figure.text(0.5, 0.5, "GCG")
    >>> legible(figure)
    >>> text = figure.text(0.5, 0.5, "INS")
    >>> legible(figure)
    Traceback (most recent call last):
    ...
    attrib.testing.legibility.LegibilityError: the figure has 1 fault:
    'GCG' and 'INS' lie over each other
    """
    refuse_unreadable(drawn_lines(figure), smallest)


def refuse_unreadable(lines: Sequence[Line], smallest: float = SMALLEST) -> None:
    """Raise a LegibilityError for lines that are small, cut off, or lie over each other."""
    faults = [*_small(lines, smallest), *_cut_off(lines), *_over_each_other(lines)]
    if faults:
        more = [f"and {len(faults) - MOST} more"] * (len(faults) > MOST)
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        raise LegibilityError("\n".join([f"the figure has {count}:", *faults[:MOST], *more]))


def drawn_lines(figure: Figure, laid_out: bool = False) -> list[Line]:
    """Every line of text that is drawn where somebody sees it; where axes are if it is `laid_out`, as by saving it, else after layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg

    lines: list[Line] = []

    class Recorder(RendererAgg):
        """Draws nothing, and writes down what it is told to write."""

        texts = 0

        def open_group(self, s: str, gid: str | None = None) -> None:
            self.texts += s == "text"

        def draw_text(
            self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
        ) -> None:  # fmt: skip
            width, height, descent = self.get_text_width_height_descent(s, prop, ismath)
            if s.strip() and gc.get_alpha() != 0 and len(gc.get_rgb()) and gc.get_rgb()[-1] != 0:
                turn = np.deg2rad(angle)
                along, up = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
                origin = np.array([x, self.height - y]) - descent * up
                corners = origin + np.array(
                    [0 * along, width * along, width * along + height * up, height * up]
                )
                clip = gc.get_clip_rectangle()
                visible = (
                    np.array([0, 0, self.width, self.height]) if clip is None else np.array(clip.extents)
                )
                lines.append(Line(s.strip(), self.texts, prop.get_size_in_points(), corners, visible))

    canvas, layout = figure.canvas, figure.get_layout_engine()
    try:
        FigureCanvasAgg(figure)
        if laid_out and layout is not None:
            figure.set_layout_engine("none")  # each layout moves axes again
        renderer = Recorder(*figure.bbox.size, figure.dpi)
        vars(renderer).update(dict.fromkeys(SHAPES, lambda *_, **__: None))
        figure.draw(renderer)
    finally:
        figure.set_canvas(canvas)
        if laid_out and layout is not None:
            figure.set_layout_engine(layout)
    return lines


def _small(lines: Sequence[Line], smallest: float) -> list[str]:
    return [
        f"{_quoted(line)} has letters of {line.points:.3g} points, expected at least {smallest:.3g}"
        for line in lines
        if line.points < smallest - 1e-6
    ]


def _cut_off(lines: Sequence[Line]) -> list[str]:
    faults = []
    for line in lines:
        low, high = line.corners.min(0), line.corners.max(0)
        over = max(*(line.visible[:2] - low), *(high - line.visible[2:]))
        if over > SLACK:
            faults.append(f"{_quoted(line)} reaches {over:.0f} pixels out of what is seen")
    return faults


def _over_each_other(lines: Sequence[Line]) -> list[str]:
    if len(lines) < 2:
        return []
    low = np.stack([line.corners.min(0) for line in lines]) + SLACK
    high = np.stack([line.corners.max(0) for line in lines]) - SLACK
    meet = ((low[:, None] < high) & (low < high[:, None])).all(2)
    pairs = np.argwhere(np.triu(meet, 1))
    return [
        f"{_quoted(lines[i])} and {_quoted(lines[j])} lie over each other"
        for i, j in pairs
        if lines[i].text != lines[j].text and _overlap(lines[i].corners, lines[j].corners)
    ]


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rectangles share more than a rim: no side of either lies between them (separating axes)."""
    for corners in (first, second):
        for side in (corners[1] - corners[0], corners[3] - corners[0]):
            length = np.linalg.norm(side)
            if length == 0:
                return False
            a, b = first @ side / length, second @ side / length
            if min(a.max(), b.max()) - max(a.min(), b.min()) <= SLACK:
                return False
    return True


def _quoted(line: Line) -> str:
    return repr(line.words if len(line.words) <= 40 else line.words[:37] + "...")
