"""Letters as high as their numbers, at their positions."""

import numpy as np
import pytest
import xarray as xr

from attrib.domains.motifs import as_motif, information_content
from attrib.plots import attribution_logo, letters, motif_logo
from tests.jaspar import matrices, one_hot
from tests.pictures import SEQUENCE, along


def extents(ax: object) -> list:
    """The box of each letter, from left to right."""
    letter_boxes = [p.get_extents() for p in ax.collections[0].get_paths()]  # type: ignore[attr-defined]
    return sorted(letter_boxes, key=lambda b: b.x0)


def boxes(ax: object) -> list[tuple[float, float]]:
    """Bottom and top of each letter, from left to right."""
    return [(round(b.y0, 2), round(b.y1, 2)) for b in extents(ax)]


def test_letters_are_as_high_as_attributions() -> None:
    ax = attribution_logo(along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25]), SEQUENCE)
    assert boxes(ax) == [(0, 1), (-0.5, 0), (0, 2), (0, 0.25)]  # N and zero have no letter
    assert ax.get_ylim()[0] < -0.5 < 2 < ax.get_ylim()[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "11", "12", "13", "14", "15"]
    assert "attribution" in ax.get_ylabel()
    summed = attribution_logo(along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25]) * SEQUENCE, limit=3)
    assert boxes(summed) == boxes(ax)
    assert summed.get_ylim() == (-3, 3)


def test_motifs_are_as_high_as_their_information() -> None:
    ctcf = matrices()["MA0139.1"]
    ax = motif_logo(ctcf)
    tops: dict[int, float] = {}
    for box in extents(ax):
        column = round((box.x0 + box.x1) / 2)
        tops[column] = max(tops.get(column, 0.0), box.y1)
    assert [tops[k] for k in range(12)] == pytest.approx(information_content(ctcf).values.tolist(), abs=0.02)
    assert ax.get_ylim() == (0, 2)
    negative = motif_logo(ctcf - 0.5)
    assert negative.get_ylim()[0] < -1


def test_outlines_have_the_heights_and_positions() -> None:
    values = [1.0, -2.0, 0.5, np.nan]
    a = xr.DataArray(
        values, dims="position", coords={"position": [1, 2, 3, 4], "letter": ("position", list("ACGT"))}
    )
    ax = letters(a, label="share")
    boxes = [p.get_extents() for p in ax.collections[0].get_paths()]
    assert len(boxes) == 3
    for k, (box, value) in enumerate(zip(boxes, values, strict=False)):
        assert (box.y0, box.y1) == pytest.approx((min(0, value), max(0, value)))
        assert (box.x0 + box.x1) / 2 == pytest.approx(k)
        assert box.width <= 0.9 + 1e-9
    assert [t.get_text()[0] for t in ax.get_xticklabels()] == ["A", "C", "G"]
    low, high = ax.get_ylim()
    assert low < -2.0
    assert high > 1.0
    assert letters(a, limit=3.0).get_ylim()[0] == pytest.approx(-3.12)


def test_what_has_no_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="coord `letter`"):
        letters(xr.DataArray([1.0], dims="position"))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at most 400"):
        attribution_logo(xr.DataArray(np.ones(401), dims="position"), one_hot(np.zeros((1, 401), int))[0])
    with pytest.raises(ValueError, match="expected the same positions"):
        attribution_logo(along([1.0] * 6)[:3], SEQUENCE)
    with pytest.raises(ValueError, match="expected nucleotide"):
        motif_logo(xr.DataArray(np.ones((2, 2)), dims=("y", "x")))


def test_a_motif_of_one_site_says_that_it_tells_nothing() -> None:
    one = as_motif([[1, 0], [0, 1], [0, 0], [0, 0]])
    texts = {n: [t.get_text() for t in motif_logo(one.assign_attrs(sites=n)).texts] for n in (1, 20)}
    assert texts == {1: ["1 site: no more than chance"], 20: []}


def test_motifs_of_few_sites_shrink() -> None:
    """By 3 / (2 ln 2 n) bits a column; without a number of sites by nothing."""
    certain = as_motif([[1, 0.25], [0, 0.25], [0, 0.25], [0, 0.25]])

    def top(sites: float | None) -> float:
        motif = certain if sites is None else certain.assign_attrs(sites=sites)
        paths = motif_logo(motif).collections[0].get_paths()
        return max(float(p.get_extents().y1) for p in paths)

    assert top(None) == pytest.approx(2.0)
    assert top(5) == pytest.approx(2 - 3 / (2 * np.log(2) * 5))
    assert top(1000) == pytest.approx(2.0, abs=0.01)
    assert (
        len(motif_logo(certain.assign_attrs(sites=5)).collections[0].get_paths()) == 1
    )  # the even column shows nothing


def test_positions_of_long_motifs_do_not_run_together() -> None:
    ax = motif_logo(as_motif(np.full((4, 22), 0.25)))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "5", "10", "15", "20"]


def test_letters_may_have_names_for_positions() -> None:
    a = xr.DataArray([1.0, 2.0], dims="p", coords={"p": ["x1", "x2"], "letter": ("p", ["A", "C"])})
    assert [t.get_text() for t in letters(a).get_xticklabels()] == ["A\nx1", "C"]
