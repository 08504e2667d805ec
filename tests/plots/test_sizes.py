"""Numbers of any size, long units and long names stay legible."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from attrib.domains.motifs import as_motif
from attrib.domains.sequences import one_hot
from attrib.labels.grids import affine_coord
from attrib.plots import (
    bar_panels,
    bars,
    comparison,
    curves,
    motif_cards,
    overlays,
    panels,
    points,
    sequence_tracks,
    slice_summary,
    text,
)
from attrib.plots.scale import figure, number, whole_ticks, wrapped
from attrib.testing import legible

UNIT = "log-odds / (normalized expression)"
GENES = [f"ENSG{k:011d}" for k in range(4)]
LONG = [f"{k} positive regulation of transcription elongation by polymerase II" for k in range(3)]


def values(dims: tuple[str, ...], shape: tuple[int, ...], scale: float, **coords: Any) -> xr.DataArray:
    drawn = np.random.default_rng(0).normal(size=shape) * scale
    return xr.DataArray(
        drawn, dims=dims, coords=coords, attrs={"long_name": "integrated gradients", "units": UNIT}
    )


PICTURES: dict[str, Callable[[float], Any]] = {
    "bars": lambda s: bars(values(("gene",), (4,), s, gene=GENES)),
    "points": lambda s: points(values(("sample", "axis"), (4, 2), s, tissue=("sample", GENES)), "tissue"),
    "overlays": lambda s: overlays(
        xr.DataArray(np.ones((8, 8, 3)), dims=("y", "x", "channel")), values(("method", "y", "x"), (3, 8, 8), s), "method",
    ),
    "sequence_tracks": lambda s: sequence_tracks(
        one_hot("ACGT" * 6)[0], {m: values(("position",), (24,), s) for m in ("saliency", "integrated gradients")},
    ),
    "text": lambda s: text(values(("token",), (4,), s, token=["the", "cell", "is", "well"])),
}  # fmt: skip


NAMED: dict[str, Callable[[], Any]] = {
    "bars": lambda: bars(values(("set",), (3,), 1, set=LONG)),
    "bar_panels": lambda: bar_panels({"saliency": values(("set",), (3,), 1, set=LONG)}),
    "curves": lambda: curves({n: values(("fraction",), (3,), 1, fraction=[0, 0.5, 1]) for n in LONG}),
    "motif_cards": lambda: motif_cards({n: as_motif(np.eye(4), sites=20) for n in LONG}),
    "panels": lambda: panels(values(("set", "y", "x"), (3, 8, 8), 1, set=LONG), "set"),
    "overlays": lambda: overlays(
        xr.DataArray(np.ones((8, 8, 3)), dims=("y", "x", "channel")), values(("method", "y", "x"), (2, 8, 8), 1), "method",
        titles=["two\nlines", "one"], overlay="contours",
    ),
    "overlays of many": lambda: overlays(
        xr.DataArray(np.ones((8, 8, 3)), dims=("y", "x", "channel")), values(("class", "y", "x"), (9, 8, 8), 1), "class", title=LONG[0],
    ),
    "comparison": lambda: comparison(
        values(("set", "y", "x"), (3, 8, 8), 1, set=["short", *LONG[1:]]), {"lift": values(("set", "y", "x"), (3, 8, 8), 1)},
    ),
    "sequence_tracks": lambda: sequence_tracks(one_hot("ACGT")[0], {"lift": values(("position",), (4,), 1)}, title=f"{LONG[0]}, {LONG[1]}"),
    "slice_summary": lambda: slice_summary(
        volume := values(("i", "j", "k"), (6, 7, 8), 1e-9).assign_coords(affine=affine_coord(np.eye(4))), volume, "k", [3],
        label=f"integrated gradients ({UNIT})", title=LONG[0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_long_names(name: str) -> None:
    drawn = NAMED[name]()
    legible(getattr(drawn, "figure", drawn))


@pytest.mark.parametrize("scale", [2.5e-5, 1e-3, 340.0, 1e7])
@pytest.mark.parametrize("name", PICTURES)
def test_small_and_large_numbers(name: str, scale: float) -> None:
    drawn = PICTURES[name](scale)
    legible(getattr(drawn, "figure", drawn))


def test_ticks_tell_whole_numbers() -> None:
    ax = figure((4.0, 2.0)).add_subplot()
    ax.plot([-3e-6, 3e-6], [0, 1])
    ax.locator_params(axis="x", nbins=4)
    whole_ticks(ax.xaxis)
    ax.figure.canvas.draw()
    assert {"\N{MINUS SIGN}2e-6".replace("-", "\N{MINUS SIGN}"), "0"} <= {
        t.get_text() for t in ax.get_xticklabels()
    }
    assert ax.xaxis.get_offset_text().get_text() == ""


def test_numbers_and_lines() -> None:
    assert [number(v) for v in (0.0, -0.00025, 2e-6, 270.4, 3412.0, 123456.0, 2e6, np.nan)] == [
        "0", "-0.00025", "2e-6", "270", "3410", "123000", "2e6", "nan",
    ]  # fmt: skip
    assert wrapped("score (log-odds / k-mers)", 22) == "score\n(log-odds / k-mers)"
    assert wrapped(f"({UNIT})", 20) == "(log-odds /\n(normalized\nexpression))"
