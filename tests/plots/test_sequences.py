"""Pictures of sequences: letters as high as their numbers, mutations with the letters marked, cards of motifs."""

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.domains.motifs import information_content
from attrib.plots import attribution_logo, motif_cards, motif_logo, mutation_map, sequence_tracks
from tests.jaspar import matrices, one_hot

X = one_hot(np.array([[0, 1, 2, 3, 4, 0]]))[0]


def along(values: list[float]) -> xr.DataArray:
    attrs = {"long_name": "attribution", "units": "output"}
    return xr.DataArray(values, dims="position", coords={"position": np.arange(10, 16)}, attrs=attrs)


def extents(ax: object) -> list:
    """The box of each letter, from left to right."""
    found = [p.get_extents() for p in ax.collections[0].get_paths()]  # type: ignore[attr-defined]
    return sorted(found, key=lambda b: b.x0)


def boxes(ax: object) -> list[tuple[float, float]]:
    """Bottom and top of each letter, from left to right."""
    return [(round(b.y0, 2), round(b.y1, 2)) for b in extents(ax)]


def test_letters_are_as_high_as_attributions() -> None:
    ax = attribution_logo(along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25]), X)
    assert boxes(ax) == [(0, 1), (-0.5, 0), (0, 2), (0, 0.25)]  # N and zero have no letter
    assert ax.get_ylim()[0] < -0.5 < 2 < ax.get_ylim()[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "11", "12", "13", "14", "15"]
    assert "attribution" in ax.get_ylabel()
    whole = attribution_logo(along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25]) * X, limit=3)
    assert boxes(whole) == boxes(ax)
    assert whole.get_ylim() == (-3, 3)


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


def test_mutations_have_symmetric_colours_and_marks() -> None:
    a = xr.DataArray(
        np.zeros((4, 6)), dims=("nucleotide", "position"), coords=X.coords, attrs={"units": "output"}
    )
    a[1, 0], a[2, 3] = -2.0, 0.5
    ax = mutation_map(a, X)
    (shown,) = ax.images
    assert shown.get_clim() == (-shown.get_clim()[1], shown.get_clim()[1])
    np.testing.assert_array_equal(shown.get_array(), a.values)
    marks = ax.collections[0].get_offsets()
    assert sorted(map(tuple, np.asarray(marks).tolist())) == [(0, 0), (1, 1), (2, 2), (3, 3), (5, 0)]
    assert mutation_map(a, X, limit=9).images[0].get_clim() == (-9, 9)


def test_cards_say_name_sites_and_match() -> None:
    own = matrices()
    hits = pd.DataFrame([("MA0046.1", "MA0048.1", "NHLH1", 1e-5, 2e-4, 9.0, 10, 1, "-")], columns=["motif", "target", "target_name", "p", "q", "score", "overlap", "offset", "strand"])  # fmt: skip
    figure = motif_cards(own, hits, database=own, columns=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert "MA0046.1, 21 sites\nbest match: MA0048.1 NHLH1 (-)\np 1e-05, q 0.0002" in titles
    assert "MA0139.1, 913 sites" in titles
    assert sum(len(ax.collections) > 0 for ax in figure.axes) == 4  # three motifs and one match
    with pytest.raises(ValueError, match="`motifs` is empty"):
        motif_cards({})


def test_tracks_of_one_sequence() -> None:
    a = along([1.0, -0.5, 0.0, 2.0, 7.0, 0.25])
    seqlets = pd.DataFrame({"start": [1], "end": [4]})
    figure = sequence_tracks(X, {"one": a, "two": -a}, a * (1 - X), seqlets=seqlets, title="seq")
    assert len(figure.axes) == 4  # two logos, the map, its colour bar
    assert figure.get_suptitle() == "seq"
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one row"):
        sequence_tracks(X, {})


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at most 400"):
        attribution_logo(xr.DataArray(np.ones(401), dims="position"), one_hot(np.zeros((1, 401), int))[0])
    with pytest.raises(ValueError, match="expected the same positions"):
        attribution_logo(along([1.0] * 6)[:3], X)
    with pytest.raises(ValueError, match="expected nucleotide"):
        motif_logo(xr.DataArray(np.ones((2, 2)), dims=("y", "x")))
    with pytest.raises(ValueError, match="one sequence"):
        mutation_map(along([1.0] * 6), X)
