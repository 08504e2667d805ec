"""Figures of the library: shown by notebooks, with texts as they are written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure

from attrib import plots
from attrib.labels.grids import affine_coord
from attrib.plots import bars
from attrib.plots.scale import figure
from attrib.testing.legibility import drawn_lines
from tests.pictures import SEQUENCE, along

N = "a$b$_1"  # as a formula: a, an italic b, an index
LETTERS = ["A", "C", "G", "T"]


def square(**coords: Any) -> xr.DataArray:
    values = [[1.0, -2.0], [0.5, 3.0]]
    return xr.DataArray(values, dims=(N, "x"), coords={N: [N, "$2$"], "x": [N, "3"], **coords}, name=N)


def images(n: int) -> xr.DataArray:
    values = np.arange(16.0 * n).reshape(n, 4, 4)
    return xr.DataArray(values, dims=(N, "y", "x"), coords={N: [N, "$2$"][:n]}, attrs={"long_name": N})


def volume() -> xr.DataArray:
    a = xr.DataArray(np.arange(512.0).reshape(8, 8, 8), dims=("i", "j", "k"))
    return a.assign_coords(affine=affine_coord(np.diag([2.0, 2, 2, 1])))


def motif() -> xr.DataArray:
    p = np.array([[0.7, 0.1, 0.1, 0.1]] * 6).T
    return xr.DataArray(p, dims=("nucleotide", "position"), coords={"nucleotide": LETTERS}, attrs={"name": N})


def pixels() -> xr.DataArray:
    return xr.DataArray(np.full((4, 4, 3), 200), dims=("y", "x", "channel"))


HIT = pd.DataFrame({"motif": [N], "target": [N], "target_name": [N], "p": [0.1], "q": [0.2], "offset": [0], "strand": ["+"]})  # fmt: skip
ON_AXES: dict[str, Callable[..., Any]] = {
    "attribution_logo": lambda ax: plots.attribution_logo(along([1.0, -2, 3, 0, 1, 2]), SEQUENCE, ax=ax, label=N),
    "bars": lambda ax: plots.bars(square()[:, 0], ax=ax, label=N),
    "curves": lambda ax: plots.curves({N: square()[0], "$2$": square()[1]}, "x", ax=ax),
    "heatmap": lambda ax: plots.heatmap(square(), ax=ax, title=N),
    "image": lambda ax: plots.image(square(), ax=ax),
    "kmer_map": lambda ax: plots.kmer_map(
        xr.DataArray(np.eye(2), dims=("y", "x"), coords={"kmer": (("y", "x"), [[N, "b"], ["c", "d"]])}), ax=ax
    ),
    "letters": lambda ax: plots.letters(
        xr.DataArray([1.0, 2.0], dims="position", coords={"letter": ("position", ["A", "C"])}), ax=ax, label=N
    ),
    "motif_logo": lambda ax: plots.motif_logo(-motif().assign_attrs(long_name=N), ax=ax),
    "mutation_map": lambda ax: plots.mutation_map(SEQUENCE - 1.5, SEQUENCE, ax=ax, label=N),
    "points": lambda ax: plots.points(
        xr.DataArray(np.eye(2), dims=("s", "pc"), coords={N: ("s", [N, "$2$"])}), N, title=N, ax=ax
    ),
}  # fmt: skip
FIGURES: dict[str, Callable[[], Figure]] = {
    "bar_panels": lambda: plots.bar_panels({N: square()[0]}, label=N),
    "comparison": lambda: plots.comparison(images(2), {N: images(2)}, titles=[N, "$2$"]),
    "confusion": lambda: plots.confusion(
        xr.DataArray([[1, 2], [3, 4]], dims=("true", "predicted"), coords={d: [N, "$2$"] for d in ("true", "predicted")})
    ),
    "filter_grid": lambda: plots.filter_grid(images(2).rename({N: "filter"}).expand_dims("channel", 1)),
    "motif_cards": lambda: plots.motif_cards({N: motif()}, HIT, database={N: motif()}),
    "overlays": lambda: plots.overlays(pixels(), images(2), N, title=N),
    "panels": lambda: plots.panels(images(2), N, label=N),
    "sequence_tracks": lambda: plots.sequence_tracks(SEQUENCE, {N: along([1.0, -2, 3, 0, 1, 2])}, title=N),
    "slice_panels": lambda: plots.slice_panels(volume(), volume(), "k", 3, label=N, title=N),
    "slice_summary": lambda: plots.slice_summary(volume(), volume(), "k", [3, 4], label=N, title=N),
    "text": lambda: plots.text(xr.DataArray([1.0, 2], dims="token", coords={"token": [N, "word"]}), label=N),
}  # fmt: skip
NOT_FIGURES = {"robust_limit", "overlaid"}


def formulas(drawing: Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is drawn as a formula."""
    found: list[str] = []
    monkeypatch.setattr(RendererAgg, "draw_mathtext", lambda self, gc, x, y, s, *rest: found.append(s))
    FigureCanvasAgg(drawing).draw()
    return found


def test_input_and_attribution_are_matched_by_their_labels() -> None:
    """An input of another order was drawn with the attribution of another sample or letter."""
    x = SEQUENCE.assign_coords(position=np.arange(SEQUENCE.sizes["position"]))
    a = along([1.0, -2, 3, 0, 1, 2]).assign_coords(position=x["position"])

    def drawn(x: xr.DataArray) -> bytes:
        return np.concatenate(
            [p.vertices for p in plots.attribution_logo(a, x).collections[0].get_paths()]
        ).tobytes()

    def dots(x: xr.DataArray) -> list[list[float]]:
        return sorted(plots.mutation_map(SEQUENCE - 1.5, x).collections[0].get_offsets().tolist())

    turned = x.isel(position=slice(None, None, -1), nucleotide=[2, 0, 3, 1])
    assert drawn(turned) == drawn(x)
    assert dots(SEQUENCE.isel(nucleotide=[2, 0, 3, 1])) == dots(SEQUENCE)
    with pytest.raises(ValueError, match="different labels along 'position'"):
        plots.attribution_logo(a, x.assign_coords(position=x["position"] + 1))
    pictures = xr.DataArray(np.arange(18.0).reshape(2, 3, 3), dims=("s", "y", "x"), coords={"s": ["p", "q"]})
    grid = plots.comparison(pictures, {"m": pictures.transpose("x", "y", "s")[:, :, ::-1]}).axes
    values = [np.asarray(ax.images[0].get_array()) for ax in grid if ax.images]
    assert np.allclose(values[2] / values[2].max(), pictures[0] / pictures[0].max())
    image, heat = pixels().assign_coords(y=[3, 2, 1, 0]), images(1)[0].assign_coords(y=[0, 1, 2, 3])
    assert np.array_equal(plots.overlaid(image, heat), plots.overlaid(image, heat[::-1]))
    frame = xr.DataArray([[True, False], [False, False]], dims=("a", "b"), coords={"a": [0, 1]})
    table = frame.astype(float)
    lines = [
        [c.get_segments() for c in plots.heatmap(table, outline=o).collections] for o in (frame, frame[::-1])
    ]
    assert str(lines[0]) == str(lines[1])


def test_every_plot_is_looked_at() -> None:
    assert {*ON_AXES, *FIGURES} | NOT_FIGURES == set(plots.__all__)


@pytest.mark.parametrize("name", [*ON_AXES, *FIGURES])
def test_names_are_drawn_as_they_are_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = ON_AXES[name](None).figure if name in ON_AXES else FIGURES[name]()
    assert any(N in line.words for line in drawn_lines(drawing))
    assert not formulas(drawing, monkeypatch)


@pytest.mark.parametrize("name", ON_AXES)
def test_names_are_drawn_as_they_are_written_on_axes_of_yours(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = Figure(layout="constrained")
    ON_AXES[name](drawing.add_subplot())
    assert any(N in line.words for line in drawn_lines(drawing))
    assert not formulas(drawing, monkeypatch)


def test_dollar_signs_are_no_formulas() -> None:
    """As formulas these would be an error, or lose their signs."""
    names = ["a$b$c", "$\\frac{$", "x^2$"]
    a = xr.DataArray([3.0, 2.0, 1.0], dims="gene", coords={"gene": names}, attrs={"units": "$per$ cell"})
    ax = bars(a)
    ax.set_title("$title$")
    words = {line.words for line in drawn_lines(ax.figure)}
    assert {*names, "$title$"} <= words
    assert any("$per$" in w for w in words)


def test_powers_of_ten_stay_formulas() -> None:
    drawing = figure((3, 2))
    ax = drawing.add_subplot()
    ax.set_yscale("log")
    ax.plot([1, 1e6])
    drawing.savefig(__import__("io").BytesIO())
    assert any(t.get_parse_math() and "10^" in t.get_text() for t in ax.get_yticklabels())


def test_notebooks_show_them() -> None:
    ax = bars(xr.DataArray(np.ones(2), dims="gene"))
    assert ax.figure._repr_png_().startswith(b"\x89PNG")
