"""Images, and overlays: the image where an attribution is zero, colour where it is not, dark where it is NaN."""

import numpy as np
import pytest
import xarray as xr

from attrib.domains.fcgr import fcgr
from attrib.plots import image, kmer_map, overlaid, overlays
from attrib.testing import legible
from tests.pictures import drawn, plane, texts

IMAGE = xr.DataArray(np.full((4, 4, 3), 100, np.uint8), dims=("y", "x", "channel"))


def test_image() -> None:
    a = plane([[1.0, -2.0, 0.5]] * 2, long_name="attribution", units="output")
    ax = image(a)
    (picture,) = ax.images
    assert picture.get_clim() == (-2.0, 2.0)
    assert picture.get_cmap()(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    np.testing.assert_array_equal(picture.get_array(), a.values)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y (µm)")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "10"]
    labels = texts(ax.figure)
    assert "attribution (output)" in labels
    assert "99th percentile of magnitudes: 2" in labels
    assert drawn(ax.figure).startswith(b"\x89PNG")


def test_image_takes_axes_limit_and_single_dims() -> None:
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    a = plane(np.ones((1, 2, 3)))
    assert image(a, ax=ax, limit=4, colorbar=False) is ax
    assert ax.images[0].get_clim() == (0, 4)
    with pytest.raises(
        ValueError, match=r"has the dims \(sample: 2, y: 2, x: 3\), expected 2; .*a.sum\('sample'\)"
    ):
        image(plane(np.ones((2, 2, 3))))


def test_labels_at_the_ticks() -> None:
    a = xr.DataArray(np.eye(4, 300), dims=("nucleotide", "position"), coords={"nucleotide": list("ACGT")})
    ax = image(a)
    assert [t.get_text() for t in ax.get_yticklabels()] == list("ACGT")
    assert len(ax.get_xticks()) <= 8
    assert ax.get_aspect() == "auto"


def test_colours() -> None:
    a = xr.DataArray(np.zeros((4, 4)), dims=("y", "x"))
    a[0, 0], a[0, 1], a[3, 3] = 2.0, 1.0, np.nan
    found = overlaid(IMAGE, a, limit=2.0)
    assert found.dtype == np.uint8
    assert np.array_equal(found[1:3], IMAGE.values[1:3])
    assert found[3, 3].tolist() == [40, 40, 40]
    shift = np.abs(found[0, :2].astype(int) - 100).sum(1)
    assert shift[0] > 60
    signed = overlaid(IMAGE, a - 3 * (a == 1), limit=2.0)
    assert signed[0, 0, 0] > signed[0, 0, 2]  # red for, blue against
    assert signed[0, 1, 0] < signed[0, 1, 2]
    with pytest.raises(ValueError, match="expected the same pixels"):
        overlaid(IMAGE, a[:2])


def test_panels_and_their_titles() -> None:
    a = xr.DataArray(
        np.random.default_rng(0).random((2, 4, 4)), dims=("method", "y", "x"), coords={"method": ["p", "q"]}
    )
    figure = overlays(IMAGE, a, "method", title="cell 1", outline=a[0] > 0.5)
    assert [ax.get_title() for ax in figure.axes] == ["image", "p", "q"]
    assert len(figure.axes[1].collections) == 1
    shared, separate = (
        overlays(IMAGE, a * [[[1]], [[9]]], "method", shared=s).axes[1].images[0].get_array()
        for s in (True, False)
    )
    assert np.abs(np.asarray(shared, int) - 100).sum() < np.abs(np.asarray(separate, int) - 100).sum()


def test_higher_coordinates_lie_up_and_right() -> None:
    def axes_of(y: object, x: object, rows: str = "y") -> tuple[bool, bool]:
        a = xr.DataArray(np.eye(3), dims=(rows, "x"), coords={rows: y, "x": x})
        ax = image(a)
        return ax.yaxis_inverted(), ax.xaxis_inverted()

    rising, falling = [1.5, 2.5, 3.5], [3.5, 2.5, 1.5]
    assert axes_of(rising, rising) == (False, False)
    assert axes_of(falling, falling) == (True, True)
    assert axes_of([0, 1, 2], [0, 1, 2]) == (True, False)  # rows of an image
    assert axes_of([0, 1, 2], [0, 1, 2], "depth") == (False, False)
    assert axes_of(list("abc"), list("abc")) == (True, False)
    assert image(xr.DataArray(np.eye(3), dims=("y", "x"))).yaxis_inverted()


def test_ticks_of_many_numbers_are_round() -> None:
    a = xr.DataArray(np.eye(50), dims=("lat", "lon"), coords={"lat": np.linspace(-5, 5, 50)})
    ax = image(a)
    assert {t.get_text() for t in ax.get_yticklabels()} >= {"-4", "0", "4"}
    assert ax.get_yticks()[[t.get_text() for t in ax.get_yticklabels()].index("0")] == pytest.approx(24.5)
    legible(ax.figure)


def test_overlays_stand_out_from_a_stain() -> None:
    violet = xr.DataArray(np.broadcast_to([150, 60, 200], (8, 8, 3)), dims=("y", "x", "channel"))
    a = xr.DataArray(np.linspace(0, 1, 64).reshape(8, 8), dims=("y", "x"))
    grey = overlaid(violet, a, overlay="grey")[0, 0]
    assert len(set(grey.tolist())) == 1
    assert overlaid(violet, a)[0, 0].tolist() == [150, 60, 200]
    with pytest.raises(ValueError, match="`overlay` is 'stain'"):
        overlaid(violet, a, overlay="stain")
    drawing = overlays(violet, a.expand_dims(method=["cam"]), "method", overlay="contours")
    legible(drawing)
    assert len(drawing.axes[1].collections) == 1
    signed = overlays(violet, (a - 0.5).expand_dims(method=["ig"]), "method", overlay="contours")
    legible(signed)
    assert len(signed.axes[1].collections) == 2  # positive, and dashed negative
    assert "dashed: negative" in signed.axes[1].get_xlabel()
    assert "dashed" not in drawing.axes[1].get_xlabel()


@pytest.mark.parametrize("overlay", ["colour", "grey", "contours"])
def test_colours_from_zero_to_one_are_those_to_255(overlay: str) -> None:
    violet = xr.DataArray(np.broadcast_to([102, 51, 204], (8, 8, 3)), dims=("y", "x", "channel"))
    a = xr.DataArray(np.linspace(0, 1, 64).reshape(1, 8, 8), dims=("method", "y", "x"))
    for k in range(2):
        whole, parts = (
            overlays(v, a, "method", overlay=overlay).axes[k].images[0] for v in (violet, violet / 255.0)
        )
        np.testing.assert_array_equal(whole.get_array(), parts.get_array())
    with pytest.raises(ValueError, match=r"`image` has values from -1\.2 to 0\.6, expected colours"):
        overlays(violet / 85.0 - 1.8, a, "method", overlay=overlay)


def test_numbers_of_kmers_lie_on_the_chaos_game() -> None:
    x = fcgr(["GATTACAGATTACA"], k=2)[0]
    ax = kmer_map(x - 1.0, limit=4.0)
    assert (ax.images[0].get_clim(), ax.images[0].get_cmap().name) == ((-4.0, 4.0), "RdBu_r")
    assert sorted(t.get_text() for t in ax.texts) == list("ACGT")
    assert kmer_map(x).images[0].get_cmap().name == "Reds"
    rings = [line for line in kmer_map(x, rings=3, named=False).lines if line.get_marker() == "o"]
    top = x.stack(cell=("y", "x")).sortby(x.stack(cell=("y", "x")), ascending=False)[:3]
    assert {float(x[int(r.get_ydata()[0]), int(r.get_xdata()[0])]) for r in rings} == set(top.values.tolist())
    with pytest.raises(ValueError, match="expected y and x of one image, with the coord `kmer`"):
        kmer_map(x.drop_vars("kmer"))
