"""Numbers of any size and long units stay legible, whatever a model's output is measured in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from attrib.domains.sequences import one_hot
from attrib.plots import bars, overlays, points, sequence_tracks, text
from attrib.plots.scale import figure, number, whole_ticks, wrapped
from attrib.testing import legible

UNIT = "log-odds / (normalized expression)"
GENES = [f"ENSG{k:011d}" for k in range(4)]


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
