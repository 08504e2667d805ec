"""`a.attrib`: registered in either order of imports, what it gives, and what a notebook shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

import attrib
from attrib.accessor import shown
from attrib.domains.sequences import one_hot
from attrib.stats.summary import with_samples
from attrib.testing import legible
from tests.pictures import texts

GENES = ["INS", "GCG", "SST"]


def genes(n: int = 4) -> xr.DataArray:
    """Attributions of a linear model, which are known: x w."""
    values = np.arange(3.0 * n).reshape(n, 3).astype("float32") - 4
    x = xr.DataArray(
        values,
        dims=("cell", "gene"),
        coords={
            "cell": [f"c{k}" for k in range(n)],
            "gene": GENES,
            "tissue": ("cell", ["a", "b"] * (n // 2)),
        },
    )
    weights = torch.tensor([[1.0, 0.0], [-2.0, 1.0], [0.5, 0.0]])
    return attrib.input_x_gradient(lambda v: v @ weights, x, targets="all", classes=["alpha", "beta"])


@pytest.mark.parametrize("first", ["xarray", "attrib"])
def test_either_may_be_imported_first_and_nothing_heavy_comes_along(first: str) -> None:
    code = f"""
import sys, {first}
assert {first!r} == "xarray" or not {{"xarray", "numpy", "torch", "pandas"}} & set(sys.modules), "attrib is light"
before = list(sys.meta_path)
import xarray, attrib
assert not [f for f in sys.meta_path if type(f).__module__.startswith("attrib")]
assert "exec_module" not in vars(xarray.__spec__.loader)
print(type(xarray.DataArray([1.0]).attrib).__name__, type(xarray.Dataset().attrib).__name__, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["Results", "Results", "False"], done.stderr


def test_top_is_the_mean_over_samples_by_magnitude() -> None:
    a = genes()
    table = a.attrib.top(2)
    assert table["target"].tolist() == ["alpha", "alpha", "beta", "beta"]
    for target, part in table.groupby("target"):
        mean = a.sel(target=target).mean("cell").to_series()
        expected = mean.reindex(mean.abs().sort_values(ascending=False).index)[:2]
        assert part["gene"].tolist()[0] == expected.index[0]
        np.testing.assert_allclose(part["mean"].abs(), expected.abs(), atol=1e-6)
    assert "specificity" not in table


@pytest.mark.parametrize("by", ["tissue", "cell"])
def test_top_by_a_coord_or_the_samples_themselves(by: str) -> None:
    a = genes().sel(target="alpha")
    table = a.attrib.top(1, by=by)
    means = a.groupby(by).mean().transpose(by, "gene").to_pandas()
    assert table[by].tolist() == means.index.tolist()
    assert table["gene"].tolist() == means.abs().idxmax(axis=1).tolist()
    np.testing.assert_allclose(
        table["mean"], [means.loc[r[by], r["gene"]] for _, r in table.iterrows()], atol=1e-6
    )


def test_top_of_images_without_labels_and_of_two_sample_dims() -> None:
    values = np.zeros((2, 3, 1, 4, 5), "float32")
    values[..., 2, 3], values[1, :, :, 0, 1] = 6.0, -2.0
    scans = xr.DataArray(values, dims=("subject", "slice", "channel", "y", "x"))
    a = attrib.input_x_gradient(lambda v: v.sum((1, 2, 3)), scans, sample_dims=("subject", "slice"))
    table = a.attrib.top(2)
    assert table[["rank", "channel", "y", "x", "mean"]].values.tolist() == [
        [1, 0, 2, 3, 6.0],
        [2, 0, 0, 1, -1.0],
    ]
    assert table["samples"].tolist() == [6, 6]
    assert a.attrib.top(1, by="subject")["mean"].tolist() == [6.0, 6.0]


def test_top_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"`by` is 'organ'.*tissue"):
        genes().attrib.top(by="organ")
    with pytest.raises(ValueError, match="`n` is 0"):
        genes().attrib.top(0)


def test_several_inputs() -> None:
    rna = np.ones((2, 3), "float32")
    two = xr.Dataset({"rna": (("cell", "gene"), rna), "atac": (("cell", "peak"), 2 * rna)})
    both = attrib.input_x_gradient(lambda rna, atac: rna.sum(1) * atac.sum(1), two)
    assert both.attrib.top(1)["input"].tolist() == ["rna", "atac"]
    assert set(both.attrib.summary()["input"]) == {"rna", "atac"}
    for method, arguments in (("plot", ()), ("to_anndata", ()), ("to_nifti", ()), ("to_bedgraph", ("x.bg",))):
        with pytest.raises(ValueError, match=r"pick one: result\['rna'\]\.attrib"):
            getattr(both.attrib, method)(*arguments)
    assert "rna" in both.attrib._repr_html_()
    with pytest.raises(ValueError, match="no variables"):
        xr.Dataset().attrib.top()


def test_a_result_without_variables_is_shown_as_xarray_shows_it() -> None:
    """As `both[[]]` is: its attrs are still those of a result."""
    empty = xr.Dataset(attrs={"attrib_version": "0"})
    assert shown(empty).startswith("<div><svg")
    assert "xarray.Dataset" in shown(empty)
    assert repr(empty.attrib).startswith("attribution: top()")


def test_summary_is_that_of_stats() -> None:
    pd.testing.assert_frame_equal(genes().attrib.summary(), attrib.stats.summary(genes()))


SEQUENCES = one_hot(["ACGTACGTAC", "TTTTGGGGCC"])
VOLUME = xr.DataArray(
    np.random.default_rng(0).normal(size=(2, 1, 8, 9, 10)), dims=("sample", "channel", "i", "j", "k")
)
PICTURES = {
    "a sample": genes()[:, :1], "few samples": genes(6), "many samples": genes(30),
    "letters": SEQUENCES * 0.5, "mutations": SEQUENCES - 0.25,
    "words": xr.DataArray([[0.5, -1.0]], dims=("sample", "token"), coords={"token": ["not", "bad"]}),
    "embeddings": xr.DataArray(np.ones((2, 3, 4)), dims=("sample", "token", "feature"), coords={"token": ["a", "b", "c"]}),
    "images": xr.DataArray(np.random.default_rng(0).normal(size=(7, 3, 12, 12)), dims=("sample", "channel", "y", "x")),
    "maps of a layer": xr.DataArray(np.ones((2, 4, 4)), dims=("sample", "y", "x"), attrs={"units": "output"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_follow_the_dims(name: str) -> None:
    figure = PICTURES[name].attrib.plot()
    legible(figure)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_words_stand_for_tokens_without_labels() -> None:
    """Each sentence has words of its own: a coord of two dims, as a tokenizer gives them."""
    a = xr.DataArray(
        [[0.5, -1.0, 0.0], [0.0, 0.1, 2.0]], dims=("sample", "token"), attrs={"attrib_version": "0"},
        coords={"sample": ["first", "second"], "word": (("sample", "token"), [["not", "bad", ""], ["a", "good", "film"]])},
    )  # fmt: skip
    assert a.attrib.top(1, by="sample")[["sample", "token"]].values.tolist() == [
        ["first", "bad"],
        ["second", "film"],
    ]
    assert a.attrib.top(1)["token"].tolist() == [2]  # over sentences there is only the position
    assert a.attrib.summary()["at_token"].tolist() == ["bad", "film"]
    assert a.expand_dims(target=["x", "y"]).attrib.summary()["at_token"].tolist() == ["bad", "film"] * 2
    assert a[1].attrib.top(1)["token"].tolist() == ["film"]
    assert "bad: -1" in a.attrib._repr_html_()
    drawn = [t.get_text() for t in a.attrib.plot().axes[0].texts]
    assert drawn == ["first", "not", "bad", "second", "a", "good", "film"]


def test_pictures_with_the_input() -> None:
    names = {"sample": [f"grey matter of the right superior temporal gyrus, {k}" for k in range(7)]}
    images = PICTURES["images"].assign_coords(names)
    legible(images.attrib.plot(images, n=2))
    a = SEQUENCES.sum("nucleotide").assign_attrs(units="output")
    legible(a.attrib.plot(SEQUENCES))


def test_volumes_are_drawn_at_their_strongest_slices() -> None:
    from attrib.labels.grids import affine_coord

    a = VOLUME.assign_coords(affine=affine_coord(np.diag([2.0, 2.0, 2.0, 1.0])))
    a[0, 0, :, :, 7] = 30.0
    figure = a.attrib.plot(a, n=3)
    legible(figure)
    assert "k = 7" in texts(figure)


def test_pictures_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="no picture fits the dims a, b, c, d, e"):
        xr.DataArray(np.ones((1, 5, 5, 5, 5)), dims=list("abcde")).attrib.plot()
    with pytest.raises(ValueError, match="`n` is 0"):
        genes().attrib.plot(n=0)


def test_files_of_the_fields(tmp_path: Path) -> None:
    a = one_hot(pd.DataFrame({"sequence": ["AC"], "chrom": ["chr1"], "start": [7], "end": [9]})) * [
        [0.5, 2.0]
    ]
    assert a.attrib.to_bedgraph(tmp_path / "a.bg").read_text() == "chr1\t7\t8\t0.5\nchr1\t8\t9\t2.0\n"
    nibabel = pytest.importorskip("nibabel")
    image = VOLUME[:1].attrib.to_nifti(nibabel.Nifti1Image(np.zeros((8, 9, 10), "f4"), np.eye(4)))
    np.testing.assert_allclose(image.get_fdata(), VOLUME[0, 0], atol=1e-6)


def test_an_annotated_object() -> None:
    pytest.importorskip("anndata")
    adata = genes().sel(target="alpha").attrib.to_anndata(key="mine")
    assert adata.var_names.tolist() == GENES
    np.testing.assert_allclose(adata.layers["mine"], genes().sel(target="alpha"))
    assert adata.obs.columns.tolist() == ["tissue", "mine_prediction"]  # the table of the cells comes along
    assert adata.obs["tissue"].tolist() == ["a", "b", "a", "b"]


def test_a_notebook_shows_score_residual_and_strongest_entries() -> None:
    x = genes(6)[0].drop_vars(["prediction", "target"])
    a = attrib.integrated_gradients(lambda v: (v**2).sum(1), x.assign_coords(gene=["INS", "<b>", "SST"]))
    view = shown(a)
    head, _, below = view.partition("<div><svg")
    assert "xarray.DataArray" in below
    assert "Integrated gradients attribution (output)" in head
    assert "residual" in head
    assert f"{float(a.prediction[0]):.3g}" in head
    assert head.count("<tr>") == 1 + 5
    assert "and 1 more" in head
    assert "&lt;b&gt;" in head
    assert "<b>:" not in head
    assert "rtol=1e-3" not in head
    assert "rtol=1e-3" in shown(
        attrib.integrated_gradients(lambda v: torch.tanh(90 * v).sum(1), x, n_steps=2)
    )
    strongest = a[0].to_series().abs().idxmax()
    assert (
        head.split("c0</td>")[1]
        .split("</td>")[2]
        .split(">")[-1]
        .startswith(strongest.replace("<b>", "&lt;b&gt;"))
    )


def test_other_arrays_look_as_they_did_and_lazy_results_stay_lazy() -> None:
    plain = xr.DataArray([1.0])
    assert shown(plain).startswith(plain._repr_html_()[:100])  # the rest has numbers drawn anew each time
    pytest.importorskip("dask")
    x = xr.DataArray(np.ones((4, 3), "float32"), dims=("cell", "gene")).chunk(cell=1)
    calls = []

    def model(v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return v.sum(1)

    a = attrib.saliency(model, x)
    before = len(calls)
    assert "computed when it is needed, in 4 blocks" in shown(a)
    assert len(calls) == before


def test_the_view_is_registered_where_a_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython's own table of formatters, by type; no method of xarray is replaced."""
    from types import SimpleNamespace

    from attrib import accessor

    known: dict[type, object] = {}
    formatter = SimpleNamespace(for_type=lambda kind, function: known.update({kind: function}))
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    accessor.install()
    assert known == {xr.DataArray: shown, xr.Dataset: shown}


def test_a_selected_sample_and_a_mean_over_samples_keep_what_is_an_entry() -> None:
    a = genes()
    lone = a.sel(cell="c1")
    assert (
        lone.attrib.top(1)["gene"].tolist()
        == a.attrib.top(1, by="cell").query("cell == 'c1'")["gene"].tolist()
    )
    assert lone.attrib.summary().equals(a.isel(cell=[1]).attrib.summary())
    assert lone.sel(target="alpha").attrib.summary()["cell"].tolist() == ["c1"]
    assert "c1" in shown(lone)
    mean = a.sel(target="alpha").mean("cell", keep_attrs=True)
    assert mean.attrib.top(3)["gene"].tolist() == a.sel(target="alpha").attrib.top(3)["gene"].tolist()
    assert len(mean.attrib.plot().axes[0].patches) == len(lone.attrib.plot().axes[0].patches) == 3  # bars
    image = xr.DataArray(np.ones((2, 3, 8, 8), "float32"), dims=("sample", "channel", "y", "x"))
    b = attrib.saliency(lambda v: v.square().sum((1, 2, 3)), image)
    for result in (b[0], b.mean("sample", keep_attrs=True)):
        assert result.attrib.top(1)[["channel", "y", "x"]].shape == (1, 3)
        assert result.attrib.plot().axes[0].images[0].get_array().shape == (8, 8)
    assert len([ax for ax in b[0].attrib.plot(image[0]).axes if ax.images]) == 2
    letters = one_hot(["ACGTACGTAC"])
    c = attrib.input_x_gradient(lambda v: v.square().sum((1, 2)), letters)
    assert "position" in texts(c[0].attrib.plot())


def test_the_input_of_a_picture_is_matched_by_its_labels() -> None:
    x = one_hot(["ACGTACGTAC", "TTTTGGGGCC"]).assign_coords(sample=["p", "q"])
    a = x.sum("nucleotide").assign_attrs(units="output")

    def drawn(figure: Figure) -> list[bytes]:
        figure.draw_without_rendering()
        return [
            np.concatenate([p.vertices for p in ax.collections[0].get_paths()]).tobytes()
            for ax in figure.axes
        ]

    both = drawn(a.attrib.plot(x))
    assert both[0] != both[1]
    assert drawn(a.attrib.plot(x[::-1])) == both
    assert drawn(a.sel(sample="q").attrib.plot(x)) == drawn(a.sel(sample="q").attrib.plot(x[1])) != both[:1]
    with pytest.raises(ValueError, match="`x` has no sample 'q'"):
        a.attrib.plot(x[:1])
    with pytest.raises(ValueError, match="`x` has 2 samples along 'sample' and the result 1"):
        a.drop_vars("sample")[:1].attrib.plot(x.drop_vars("sample"))


@pytest.mark.parametrize("labels", [True, False])
def test_of_long_sequences_the_strongest_stretch_is_drawn(labels: bool) -> None:
    x = one_hot({"peak": "ACGT" * 300})
    x = x if labels else x.drop_vars("position")
    a = x * xr.where(abs(xr.DataArray(np.arange(1200), dims="position") - 900) < 3, 5.0, 0.01)
    for result in (a, a.sum("nucleotide")):
        ax = result.attrib.plot(x).axes[0]
        assert ax.get_title(loc="left") == "peak; the strongest 200 of 1,200 positions"
        numbers = [int(t.get_text()) for t in ax.get_xticklabels() if t.get_text()]
        assert min(numbers) >= 700
        assert min(numbers) <= 900 <= max(numbers) <= 1_100


def test_letters_that_are_not_there_are_no_logo() -> None:
    """A sum over letters would turn mutations' signs around, and add gradients of letters that the sequence lacks."""
    x = one_hot(["ACGTACGTAC", "TTTTGGGGCC"])
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 10)).astype("float32"))

    def f(v: torch.Tensor) -> torch.Tensor:
        return (v * weights).sum((1, 2))

    for a in (attrib.in_silico_mutagenesis(f, x), attrib.saliency(f, x)):
        assert [len(ax.images) for ax in a.attrib.plot().axes[:2]] == [1, 1]
    assert attrib.in_silico_mutagenesis(f, x).attrib.plot(x).axes[0].images
    here = (abs(weights.numpy()) * x.values[0]).sum(0)
    paths = attrib.saliency(f, x).attrib.plot(x).axes[0].collections[0].get_paths()
    assert np.allclose([p.get_extents().height for p in paths], here, rtol=1e-5)
    assert not attrib.input_x_gradient(f, x).attrib.plot().axes[0].images


@pytest.mark.parametrize("coord", ["evaluations", "segments", "area"])
def test_numbers_of_a_selected_sample_do_not_name_its_dim(coord: str) -> None:
    a = xr.DataArray(np.ones((2, 3)), dims=("sample", "gene"), coords={"prediction": ("sample", [1.0, 2.0]), coord: ("sample", [5, 6])})  # fmt: skip
    assert with_samples(a[1]).identical(a[[1]])


def test_an_input_of_any_kind_is_drawn_as_its_labels_are() -> None:
    x = torch.rand(2, 1, 8, 8)
    a = attrib.saliency(lambda v: (v**2).flatten(1).sum(1), x, dims=("sample", "channel", "y", "x"))
    labelled = xr.DataArray(x.numpy(), dims=("sample", "channel", "y", "x"))
    drawn = [
        [image.get_array() for ax in a.attrib.plot(v).axes for image in ax.images]
        for v in (labelled, x, x.numpy())
    ]
    assert len(drawn[0]) >= 4
    for other in drawn[1:]:
        for image, expected in zip(other, drawn[0], strict=True):
            np.testing.assert_array_equal(image, expected)
    table = labelled[:, 0, 0].to_pandas()
    b = attrib.saliency(lambda v: (v**2).sum(1), table)
    assert b.attrib.plot(table).axes[0].images
    with pytest.raises(ValueError, match="`x` is a single number"):
        b.attrib.plot(3)
