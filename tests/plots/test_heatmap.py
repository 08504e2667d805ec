"""Tables as colours: names that can be read, frames where they belong, and the largest entries where there are many."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import confusion, heatmap
from attrib.testing import legible
from tests.pictures import texts

TISSUES = [f"Brain - Nucleus accumbens (basal ganglia) {k}"[: 12 + k] for k in range(54)]


def table(rows: int = 54, columns: int = 20) -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(rows, columns))
    coords = {"tissue": TISSUES[:rows], "gene": [f"ENSG{k:06}" for k in range(columns)]}
    attrs = {"long_name": "mean attribution", "units": "logit"}
    return xr.DataArray(values, dims=("tissue", "gene"), coords=coords, attrs=attrs)


@pytest.mark.parametrize("shape", [(54, 20), (2, 3), (1, 60), (60, 2)])
def test_every_name_is_legible(shape: tuple[int, int]) -> None:
    a = table(min(shape[0], 54), shape[1])
    ax = heatmap(a.expand_dims("method"), title="Liver") if shape[0] > 1 else heatmap(a)
    legible(ax.figure)
    assert [t.get_text() for t in ax.get_xticklabels()] == a.gene.values.tolist()
    assert len(ax.get_yticklabels()) == a.sizes["tissue"]
    assert max(ax.figure.get_size_inches()) <= 13
    assert "mean attribution (logit)" in texts(ax.figure)
    assert "99th percentile of magnitudes" in texts(ax.figure).replace("\n", " ")


def test_a_title_is_no_wider_than_a_narrow_map() -> None:
    a = table(25, 2).assign_coords(tissue=[f"T{k}" for k in range(25)])
    ax = heatmap(a, title="25 of 40 gene labels, those of the largest mean magnitude")
    legible(ax.figure)
    assert max(map(len, ax.get_title().splitlines())) <= 32


def test_outlines_frame_what_they_name() -> None:
    a = table(4, 3)

    def length(**more: object) -> float:
        lines = heatmap(a, **more).collections[0].get_segments()  # type: ignore[arg-type]
        return float(sum(np.abs(np.diff(s, axis=0)).sum() for s in lines))

    assert length(outline={"tissue": TISSUES[1]}) == 2 * (3 + 1)
    assert length(outline={"tissue": TISSUES[1:3], "gene": "ENSG000000"}) == 2 * (2 + 1)
    mask = xr.zeros_like(a, bool)
    mask[0, 0] = mask[3, 2] = True
    assert length(outline=mask.transpose()) == 8
    for wrong, words in (
        ({"cell": "x"}, "the dim 'cell'"),
        ({"gene": "INS"}, "lacks"),
        (mask[:2], "expected"),
    ):
        with pytest.raises(ValueError, match=words):
            heatmap(a, outline=wrong)


def test_the_strongest_of_many_are_drawn_and_the_title_says_so() -> None:
    a = table(3, 300)
    a[:, 7] = 9.0
    ax = heatmap(a, outline={"gene": "ENSG000007"})
    names = [t.get_text() for t in ax.get_xticklabels()]
    assert len(names) == 60
    assert "ENSG000007" in names
    assert "60 of 300 gene" in ax.get_title()
    assert len(ax.collections[0].get_segments()) == 2 * (3 + 1)
    legible(ax.figure)


def test_colours_have_a_sign_where_values_have_one() -> None:
    assert heatmap(table(3, 3)).images[0].get_clim() == pytest.approx((-0.0, 0.0), abs=3)
    low, high = heatmap(abs(table(3, 3)), limit=2).images[0].get_clim()
    assert (low, high) == (0, 2)
    low, high = heatmap(table(3, 3), limit=2).images[0].get_clim()
    assert (low, high) == (-2, 2)


def matrix(n: int) -> xr.DataArray:
    draw = np.random.default_rng(0)
    counts = np.diag(draw.integers(50, 200, n)) + (draw.random((n, n)) < 0.1) * draw.integers(0, 9, (n, n))
    names = [TISSUES[k % 54] + str(k) for k in range(n)]
    return xr.DataArray(counts, dims=("true", "predicted"), coords={"true": names, "predicted": names})


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n", [2, 11, 54])
def test_confusion_is_legible_on_twelve_inches(n: int, normalize: bool) -> None:
    figure = confusion(matrix(n), normalize=normalize)
    legible(figure)
    assert max(figure.get_size_inches()) <= 12
    assert len(figure.axes[0].get_yticklabels()) == n
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    wanted = "share of the true class (%)" if normalize else "samples"
    assert wanted in texts(figure)


def test_colour_bars_of_counts_have_whole_numbers() -> None:
    for values, whole in (
        (np.array([[0.0, 1.0], [3.0, np.nan]]), True),
        (np.array([[0.0, 0.5], [3.0, np.nan]]), False),
    ):
        figure = heatmap(xr.DataArray(values, dims=("label", "other")), limit=3.0).figure
        figure.canvas.draw()
        ticks = figure.axes[1].get_yticks()
        assert np.array_equal(ticks, ticks.round()) == whole


def test_confusion_says_what_it_counts() -> None:
    names = ["a", "b"]
    table = xr.DataArray(
        [[3, 1], [0, 2]], dims=("true", "predicted"), coords={"true": names, "predicted": names}
    )
    assert [t.get_text() for t in confusion(table).axes[0].texts] == ["3", "1", "0", "2"]
    shares = confusion(table.transpose(), normalize=True)
    assert [t.get_text() for t in shares.axes[0].texts] == ["75", "25", "0", "100"]


def test_of_many_classes_those_with_errors_are_drawn() -> None:
    counts = matrix(80)
    counts.values[:] = np.diag(np.full(80, 10))
    counts[3, 77] = 5
    figure = confusion(counts)
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert len(names) == 60
    assert str(counts.true.values[3]) in names
    assert str(counts.true.values[77]) in names
    assert "60 of 80" in figure.axes[0].get_title()
