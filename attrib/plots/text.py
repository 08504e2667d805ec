"""Words on the colours of their attributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from attrib._public import public
from attrib.labels.frames import text_along
from attrib.plots.scale import (
    colours,
    extends,
    figure,
    inches,
    limit_text,
    number,
    robust_limit,
    value_label,
    whole_ticks,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE, LINE, GAP = 10.0, 20.0, 7.0  # points: of the letters, from line to line, between words
LEAST = 4.0  # inches, for the colour bar
MARGIN, HEAD = 10.0, 18.0  # points: around the text, for the name of a sample
FOOT, LABEL = 36.0, 12.0  # points: for the colour bar, for a line of its label


class Word(NamedTuple):
    """A word, its value, and where it begins: points from the left and from the top."""

    text: str
    value: float
    x: float
    y: float
    width: float


@public
def text(
    a: xr.DataArray,
    *,
    words: str | None = None,
    width: float = 6.5,
    limit: float | None = None,
    label: str | None = None,
) -> Figure:
    """Draw words on the colours of their attributions.

    Parameters
    ----------
    a : DataArray (token,) or (sample, token)
        One value for each token, such as ``integrated_gradients(..., layer="embeddings").sum("feature")``.
    words : str, optional
        A coord with the words of the tokens, along the token's dim or along both; default: the labels of the last dim, or where it
        has none, the one coord of text along it. Tokens
        whose word is empty or whose value is missing are left out, as padding is.
    width : float, default 6.5
        Inches, at most.
    limit : float, optional
        Value of the last colour; default: the largest magnitude.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Figure
        A paragraph for each sample, under its label and its `prediction` where the array has one. Red speaks for the
        score, blue against it.

    Raises
    ------
    ValueError
        For more than two dims, or a coord that is not there.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import text
    >>> a = xr.DataArray([0.1, -2.0, 1.0], dims="token", coords={"token": ["not", "bad", "!"]})
    >>> drawing = text(a)
    >>> [t.get_text() for t in drawing.axes[0].texts]
    ['not', 'bad', '!']
    """
    if a.ndim not in (1, 2):
        dims = ", ".join(f"{d}: {k}" for d, k in a.sizes.items())
        raise ValueError(
            f"`a` has the dims ({dims}), expected a token dim, and a sample dim before it or none; sum the others, "
            'e.g. a.sum("feature")'
        )
    if words is not None and words not in a.coords:
        raise ValueError(
            f"`words` is {words!r}, which is no coord of `a`; it has {', '.join(map(str, a.coords))}"
        )
    last = robust_limit(a, 100) if limit is None else float(limit)
    samples = [a] if a.ndim == 1 else [a[i] for i in range(a.shape[0])]
    heads = [_head(s, a) for s in samples]
    paragraphs, height = [], MARGIN
    for sample, head in zip(samples, heads, strict=True):
        top = height + (HEAD if head else 0.0)
        paragraphs.append(_laid_out(_words(sample, words), 72 * width, top))
        height = max([top, *(w.y for w in paragraphs[-1])]) + LINE + MARGIN / 2
    right = max([w.x + w.width for p in paragraphs for w in p] + [MARGIN + 72 * inches(h, 8) for h in heads])
    width = min(width, max(LEAST, (right + 2 * MARGIN) / 72))
    style, beyond = colours(a.values, last), extends(a.values, last)
    note = "" if beyond == "neither" else limit_text(last, None if limit is not None else 100.0)
    what = wrapped(f"{label or value_label(a)} {note}".rstrip(), int(width / 0.075))
    foot = FOOT + LABEL * len(what.splitlines())
    drawing = figure((width, (height + foot) / 72))
    drawing.set_layout_engine("none")
    _draw(drawing, heads, paragraphs, style, (72 * width, height + foot))
    _bar(drawing, style, beyond, what, foot - 18)
    return drawing


def _head(sample: xr.DataArray, a: xr.DataArray) -> str:
    """Label of a sample, with its prediction."""
    if a.ndim == 1:
        return ""
    dim = a.dims[0]
    name = str(sample.coords[dim].item()) if dim in sample.coords else ""
    if "prediction" in sample.coords and sample.coords["prediction"].ndim == 0:
        name = ", ".join(t for t in (name, f"prediction {number(float(sample.coords['prediction']))}") if t)
    return name


def _words(sample: xr.DataArray, words: str | None) -> list[tuple[str, float]]:
    """The tokens of a sample that are no padding."""
    (dim,) = sample.dims
    named = text_along(sample, dim) if words is None else sample.coords[words]
    if named is None:
        named = sample.coords.get(dim)
    names = np.arange(sample.size) if named is None else named.values
    pairs = zip((str(w) for w in names), sample.values.astype(float).tolist(), strict=True)
    return [(word, value) for word, value in pairs if word and np.isfinite(value)]


def _laid_out(words: Sequence[tuple[str, float]], width: float, top: float) -> list[Word]:
    """Words from left to right, in lines of at most `width` points less the margins."""
    placed, x, y = [], MARGIN, top
    for word, value in words:
        size = 72 * inches(word, SIZE)
        if x > MARGIN and x + size > width - MARGIN:
            x, y = MARGIN, y + LINE
        placed.append(Word(word, value, x, y, size))
        x += size + GAP
    return placed


def _draw(
    drawing: Figure,
    heads: Sequence[str],
    paragraphs: Sequence[Sequence[Word]],
    style: dict[str, Any],
    size: Any,
) -> None:
    """Words in boxes, in axes whose unit is a point."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    ax = drawing.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
    ax.set_axis_off()
    scale, colour = Normalize(style["vmin"], style["vmax"]), colormaps[style["cmap"]]
    for head, paragraph in zip(heads, paragraphs, strict=True):
        if head and paragraph:
            ax.text(
                MARGIN,
                paragraph[0].y - LINE / 2 - 2,
                head,
                size=8,
                color="0.35",
                va="center",
                parse_math=False,
            )
        for w in paragraph:
            face = colour(float(scale(w.value)))
            dark = 0.3 * face[0] + 0.59 * face[1] + 0.11 * face[2] < 0.5
            ax.text(
                w.x, w.y + LINE / 2, w.text, size=SIZE, va="center", color="white" if dark else "black", parse_math=False,
                bbox={"facecolor": face, "edgecolor": "none", "boxstyle": "square,pad=0.22"},
            )  # fmt: skip


def _bar(drawing: Figure, style: dict[str, Any], extend: str, label: str, bottom: float) -> None:
    """A colour bar below the text, its lower edge so many points above that of the figure."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    width, height = drawing.get_size_inches()
    length, left = (
        min(2.6, width - 1),
        (MARGIN + SIZE) / 72,
    )  # the first number is centred below the bar's end
    place = drawing.add_axes((left / width, bottom / 72 / height, length / width, 8 / 72 / height))
    colour = ScalarMappable(Normalize(style["vmin"], style["vmax"]), style["cmap"])
    bar = drawing.colorbar(colour, cax=place, orientation="horizontal", extend=extend, ticks=MaxNLocator(4))
    bar.set_label(label, loc="left", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    whole_ticks(bar.ax.xaxis)
