"""Words on the colours of their attributions: each word where it is read, coloured by its own value."""

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from attrib.plots import text
from attrib.testing import legible
from tests.pictures import texts

WORDS = ["[CLS]", "the", "film", "was", "not", "bad", "at", "all", "$x^{$", "[SEP]"]


def sentences() -> xr.DataArray:
    values = np.linspace(-1.0, 1.0, 20).reshape(2, 10)
    values[1, 4:] = np.nan
    coords = {
        "sample": ["first", "second"],
        "word": (("sample", "token"), [WORDS, WORDS[:6] + [""] * 4]),
        "prediction": ("sample", [0.931, -2.0]),
    }
    return xr.DataArray(
        values, dims=("sample", "token"), coords=coords, attrs={"long_name": "attribution", "units": "logit"}
    )


def test_each_word_once_and_no_padding() -> None:
    drawing = text(sentences(), words="word")
    drawn = [t.get_text() for t in drawing.axes[0].texts]
    assert drawn == ["first, prediction 0.931", *WORDS, "second, prediction -2", *WORDS[:4]]
    assert "attribution (logit)" in texts(drawing)
    legible(drawing)


def test_colours_are_those_of_the_values() -> None:
    a = xr.DataArray([-2.0, 0.0, 2.0], dims="token", coords={"token": ["bad", "so", "good"]})
    against, neutral, speaks = (t.get_bbox_patch().get_facecolor()[:3] for t in text(a).axes[0].texts)
    assert against[2] > against[0]
    assert speaks[0] > speaks[2]
    assert min(neutral) > 0.95
    scaled = text(a / 2, limit=2.0).axes[0].texts[2].get_bbox_patch().get_facecolor()
    assert to_rgb(scaled) != to_rgb(speaks)


def test_long_texts_go_over_lines() -> None:
    a = xr.DataArray(np.ones(60), dims="token", coords={"token": ["word"] * 60})
    drawing = text(a, width=4.0)
    places = [t.get_position() for t in drawing.axes[0].texts]
    assert len({y for _, y in places}) > 4
    assert max(x for x, _ in places) < 4 * 72
    legible(drawing)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"expected a token dim.*sum\(\"feature\"\)"):
        text(xr.DataArray(np.ones((2, 3, 4)), dims=("sample", "token", "feature")))
    with pytest.raises(ValueError, match="`words` is 'word', which is no coord"):
        text(xr.DataArray(np.ones(3), dims="token"), words="word")


def test_small_numbers_fit_below_the_bar() -> None:
    drawing = text(sentences() / 1000, words="word")
    legible(drawing)
    bar = drawing.axes[1]
    boxes = [t.get_window_extent() for t in bar.get_xticklabels() if t.get_text()]
    assert min(b.x0 for b in boxes) > 0
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_the_one_coord_of_text_has_the_words() -> None:
    without_names = [t.get_text() for t in text(sentences()).axes[0].texts]
    assert without_names == [t.get_text() for t in text(sentences(), words="word").axes[0].texts]
