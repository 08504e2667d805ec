"""The figures of this library: notebooks show them, and texts in them are drawn as they are written."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter


class Drawing(Figure):
    """A Matplotlib figure drawn by Agg: it opens no window and touches no global state.

    Notes
    -----
    Names of samples and genes are no formulas: a dollar sign in a text is drawn as one. Tick labels that Matplotlib writes
    itself, such as powers of ten, stay as they are.
    """

    def __init__(self, size: tuple[float, float]) -> None:
        super().__init__(figsize=size, layout="constrained", dpi=110)
        FigureCanvasAgg(self)

    def draw(self, renderer: Any) -> None:
        """Draw it; see `Figure.draw`."""
        written = {
            id(label)
            for ax in self.axes
            for axis in (ax.xaxis, ax.yaxis)
            if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter)
            for label in axis.get_ticklabels(which="both")
        }
        for text in self.findobj(Text):
            if id(text) not in written:
                text.set_parse_math(False)  # type: ignore[attr-defined]
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()
