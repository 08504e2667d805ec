"""What is legible, and what is not."""

import pytest
from matplotlib.figure import Figure

from attrib.testing import LegibilityError, legible
from attrib.testing.legibility import drawn_lines


def test_a_plain_figure_is_legible_and_stays_as_it_is() -> None:
    figure = Figure(layout="constrained")
    ax = figure.add_subplot()
    ax.plot([0, 1], label="line")
    ax.set_title("two\nlines")
    ax.legend()
    canvas = figure.canvas
    legible(figure)
    assert figure.canvas is canvas
    words = {line.words for line in drawn_lines(figure)}
    assert {"two", "lines", "line", "0.0"} <= words


@pytest.mark.parametrize(
    ("place", "more", "words"),
    [
        ((0.99, 0.5), {}, "pixels out of what is seen"),
        ((0.5, 0.99), {"rotation": 90}, "pixels out"),
        ((0.5, 0.5), {"fontsize": 5}, "5 points, expected at least 6"),
        ((0.3, 0.2), {}, "over each other"),
    ],
)
def test_faults_are_named(place: tuple[float, float], more: dict, words: str) -> None:
    figure = Figure()
    figure.text(0.32, 0.2, "another text")
    legible(figure)
    figure.text(*place, "a long text", **more)
    with pytest.raises(LegibilityError, match=words) as error:
        legible(figure)
    assert "1 fault" in str(error.value)
    assert "a long text" in str(error.value)


def test_text_that_axes_cut_off() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    text = ax.text(0.98, 0.5, "a long text")
    legible(figure)
    text.set_clip_on(True)
    with pytest.raises(LegibilityError, match="out of what is seen"):
        legible(figure)


def test_turned_texts_are_measured_as_they_lie() -> None:
    """Their boxes along the axes overlap; the texts do not."""
    figure = Figure()
    figure.text(0.2, 0.2, "a long slanted text", rotation=45)
    figure.text(0.26, 0.2, "a long slanted text", rotation=45)
    legible(figure)
    figure.text(0.21, 0.2, "a long slanted text", rotation=45)
    with pytest.raises(LegibilityError, match="over each other"):
        legible(figure)


def test_what_is_not_drawn_is_not_measured() -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "seen")
    figure.text(0.5, 0.5, "hidden", visible=False)
    figure.text(0.5, 0.5, "clear", alpha=0)
    figure.text(0.5, 0.5, " ")
    legible(figure)


def test_crowded_tick_labels_are_found() -> None:
    figure = Figure(figsize=(3, 2))
    ax = figure.add_subplot()
    ax.set_xticks(range(30), [f"gene {k}" for k in range(30)])
    with pytest.raises(LegibilityError, match=r"and \d+ more"):
        legible(figure)
