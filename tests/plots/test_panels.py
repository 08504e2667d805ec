"""Panels per label, cards of motifs, and filters."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import attrib
from attrib.plots import filter_grid, motif_cards, motif_logo, panels
from tests.cams import convnet
from tests.jaspar import matrices
from tests.pictures import drawn


def test_panels() -> None:
    a = xr.DataArray(np.arange(24.0).reshape(4, 3, 2) - 12, dims=("y", "target", "x"),
                     coords={"target": ["cat", "dog", "owl"], "count": ("target", [1, 2, 3])}, attrs={"units": "u"})  # fmt: skip
    figure = panels(a, "target", columns=2)
    drawn(figure)
    pictures = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in pictures] == ["cat (n = 1)", "dog (n = 2)", "owl (n = 3)"]
    assert len({ax.images[0].get_clim() for ax in pictures}) == 1
    np.testing.assert_array_equal(pictures[2].images[0].get_array(), a.sel(target="owl").values)
    with pytest.raises(ValueError, match="expected 'digit' and two more"):
        panels(a, "digit")


def test_cards_say_name_sites_and_match() -> None:
    motifs = matrices()
    hits = pd.DataFrame([("MA0046.1", "MA0048.1", "NHLH1", 1e-5, 2e-4, 9.0, 10, 1, "-")], columns=["motif", "target", "target_name", "p", "q", "score", "overlap", "offset", "strand"])  # fmt: skip
    figure = motif_cards(motifs, hits, database=motifs, columns=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert "MA0046.1, 21 sites\nbest match: MA0048.1 NHLH1 (-)\np 1e-05, q 0.0002" in titles
    assert "MA0139.1, 913 sites" in titles
    assert sum(len(ax.collections) > 0 for ax in figure.axes) == 4  # three motifs and one match
    with pytest.raises(ValueError, match="`motifs` is empty"):
        motif_cards({})


def test_a_match_has_its_own_number_of_sites() -> None:
    """A motif of three sites does not take bits off the known motif below it."""
    known = matrices()["MA0139.1"]
    few = known.assign_attrs(sites=3)
    hits = pd.DataFrame([("few", "MA0139.1", "CTCF", 1e-5, 2e-4, 9.0, 10, 0, "+")], columns=["motif", "target", "target_name", "p", "q", "score", "overlap", "offset", "strand"])  # fmt: skip
    below = motif_cards({"few": few}, hits, database={"MA0139.1": known}).axes[1]
    alone = motif_logo(known)
    tops = [max(p.get_extents().y1 for p in ax.collections[0].get_paths()) for ax in (below, alone)]
    assert tops[0] == pytest.approx(tops[1])
    assert not below.texts


@pytest.mark.parametrize("channels", [3, 1])
def test_filters_are_drawn(channels: int) -> None:
    w = attrib.filters(convnet(channels=channels))
    figure = filter_grid(w, columns=4)
    assert len([ax for ax in figure.axes if ax.images]) == 6
    picture = np.asarray(figure.axes[2].images[0].get_array())
    values = w[2].transpose("y", "x", "channel").values
    limit = abs(w).max().item()
    assert np.allclose(picture, 0.5 + values / (2 * limit) if channels == 3 else values[..., 0])
    with pytest.raises(ValueError, match="expected filter, channel, y, x"):
        filter_grid(w[0])


@pytest.mark.parametrize(("least", "colours"), [(-1.0, "RdBu_r"), (0.0, "Reds")])
def test_panels_without_a_sign_have_no_middle(least: float, colours: str) -> None:
    """A spread begins at zero; the limit of all panels decides, not that of each."""
    values = np.abs(np.random.default_rng(0).normal(size=(2, 3, 3)))
    values[1, 0, 0] = least
    drawing = panels(xr.DataArray(values, dims=("tissue", "y", "x"), coords={"tissue": ["a", "b"]}), "tissue")
    pictures = [image for ax in drawing.axes for image in ax.images]
    assert {p.get_cmap().name for p in pictures} == {colours}
    assert all(p.get_clim()[0] == (0 if least == 0 else -p.get_clim()[1]) for p in pictures)
