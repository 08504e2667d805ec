"""AnnData goes in as it is and attributions come back as layers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import xarray as xr
from torch import nn

import attrib
from attrib.io import from_anndata, load, save, to_anndata
from attrib.labels import frames

anndata = pytest.importorskip("anndata")
VALUES = np.random.default_rng(0).poisson(1.0, (5, 4)).astype("float32")
CELLS, GENES = [f"cell{k}" for k in range(5)], ["INS", "GCG", "SST", "ACTB"]


def example(form: Any = np.asarray) -> Any:
    obs = pd.DataFrame(
        {"donor": pd.Categorical([*"aabb", None]), "n": range(5), "prediction": 0.5}, index=CELLS
    )
    var = pd.DataFrame({"pathway": ["p", "q", "p", None], "n": [4, 3, 2, 1]}, index=GENES)
    return anndata.AnnData(form(VALUES), obs=obs, var=var, layers={"counts": form(2 * VALUES)})


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


FORMS = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix, "array": sp.csr_array}
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {}, "integrated_gradients": {}, "smooth_grad": {"n_samples": 2}, "feature_ablation": {"groups": "pathway"},
    "deep_lift": {},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", METHODS)
def test_the_numbers_are_those_of_the_array(form: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BLOCK_BYTES", 2 * 4 * 4)  # two rows in a block
    method = getattr(attrib, name)
    a = method(model(), example(FORMS[form]), target=1, **METHODS[name])
    x = xr.DataArray(VALUES, dims=("obs", "var"), coords={"pathway": ("var", ["p", "q", "p", ""])})
    np.testing.assert_allclose(a, method(model(), x, target=1, **METHODS[name]), atol=1e-6)
    assert a.chunks is None
    assert a.obs.values.tolist() == CELLS
    assert a["var"].values.tolist() == GENES


def test_columns_are_coords_that_can_be_saved(tmp_path: Any) -> None:
    a = attrib.saliency(model(), example(sp.csr_matrix), target=0)
    assert a.donor.values.tolist() == ["a", "a", "b", "b", ""]
    assert a.obs_n.values.tolist() == [0, 1, 2, 3, 4]
    assert a.var_n.values.tolist() == [4, 3, 2, 1]
    assert a.obs_prediction.values.tolist() == [0.5] * 5
    save(a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a)


def test_a_layer_baselines_and_targets_by_label() -> None:
    adata = example(sp.csr_matrix)
    counts = from_anndata(adata, "counts", dims=("cell", "gene"))
    np.testing.assert_array_equal(counts, 2 * VALUES)
    assert counts.dims == ("cell", "gene")
    with pytest.raises(ValueError, match="`adata` has no numbers in the layer 'raw'; its layers: counts"):
        from_anndata(adata, "raw")
    control = adata[::-1, ["ACTB", "SST", "GCG", "INS"]]
    a = attrib.integrated_gradients(model(), adata, baselines=control, target=0)
    np.testing.assert_allclose(a, np.zeros((5, 4)), atol=1e-7)
    shap = attrib.deep_lift_shap(model(), adata, baselines=control, target=0)
    np.testing.assert_allclose(
        shap, attrib.deep_lift_shap(model(), VALUES, baselines=VALUES, target=0), atol=1e-6
    )
    kinds = adata.obs["donor"].astype(object).fillna("a")[::-1]
    by_name = attrib.saliency(model(), adata, target=kinds, classes=["a", "b"])
    assert by_name.target.values.tolist() == ["a", "a", "b", "b", "a"]
    y = attrib.predict(model(), adata)
    np.testing.assert_allclose(y, model()(torch.from_numpy(VALUES)).detach(), atol=1e-6)
    assert y.chunks is None
    beside = attrib.input_x_gradient(lambda x, c: (x * c).sum(1), adata, additional_forward_args=(control,))
    np.testing.assert_allclose(beside, VALUES**2)


def test_attributions_of_another_order_are_measured_by_label() -> None:
    adata = example(sp.csr_matrix)
    a = attrib.input_x_gradient(model(), adata, target=0)
    beside = anndata.AnnData(a.values, pd.DataFrame(index=CELLS), pd.DataFrame(index=GENES))
    other = beside[::-1, GENES[::-1]].copy()
    for measure in (attrib.deletion, attrib.insertion, attrib.infidelity):
        expected = measure(model(), adata, a, target=0)
        for form in (beside, other, other.to_df()):
            np.testing.assert_allclose(
                measure(model(), adata, form, target=0), expected, rtol=1e-5, atol=1e-6
            )
    one = attrib.deletion(model(), adata[:1], other[-1:], target=0)
    np.testing.assert_allclose(one, attrib.deletion(model(), adata, a, target=0)[:1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`attribution` lacks 'INS'"):
        attrib.deletion(model(), adata, beside[:, 1:], target=0)
    with pytest.raises(
        ValueError,
        match=r"`attribution` is AnnData with layers; say which .*from_anndata\(adata, 'input_x_gradient'\)",
    ):
        attrib.deletion(model(), adata, to_anndata(a), target=0)
    with pytest.raises(TypeError, match="`groups` is AnnData; pass the name of a column of its var"):
        attrib.feature_ablation(model(), adata, groups=beside, target=0)


@pytest.mark.parametrize(
    "name", ["saliency", "integrated_gradients", "deep_lift", "feature_ablation", "predict"]
)
def test_a_sparse_matrix_is_never_dense_as_a_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, genes, block = 600, 50, 64
    values = sp.random(rows, genes, 0.1, "csr", dtype=np.float32, random_state=0)
    adata = anndata.AnnData(
        values, pd.DataFrame(index=map(str, range(rows))), pd.DataFrame(index=map(str, range(genes)))
    )
    monkeypatch.setattr(frames, "BLOCK_BYTES", block * genes * 4)
    seen: list[int] = []
    dense = sp.csr_matrix.toarray

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(self.shape[0])
        return dense(self, *args, **options)

    monkeypatch.setattr(sp.csr_matrix, "toarray", counted)
    monkeypatch.setattr(sp.csr_matrix, "todense", None)
    net = nn.Linear(genes, 1)
    options = {} if name == "predict" else {"target": 0}
    a = getattr(attrib, name)(net, adata, **options)
    assert a.sizes["obs"] == rows
    assert max(seen) == block
    assert sum(seen) <= rows + block  # each row once, and the first block to see the result's form


@pytest.mark.parametrize("form", [lambda adata: adata, lambda adata: adata.to_df()])
def test_a_cohort_of_cells(form: Any, tmp_path: Any) -> None:
    pytest.importorskip("dask")
    adata = example(sp.csr_matrix)
    tree = attrib.cohort(
        attrib.integrated_gradients,
        model(),
        form(adata),
        tmp_path / "a.zarr",
        target=0,
        block=2,
        reductions=["mean"],
    )
    if form(adata) is adata:
        with pytest.raises(
            ValueError, match="`reductions` has 'var', and a dim of `data` is called so, too; rename the dim"
        ):
            attrib.cohort(attrib.saliency, model(), adata, tmp_path / "b.zarr", target=0, reductions=["var"])
    expected = attrib.integrated_gradients(model(), adata, target=0)
    np.testing.assert_allclose(tree["attribution"], expected, atol=1e-6)
    np.testing.assert_allclose(tree["reductions/mean"], expected.mean("obs"), atol=1e-6)
    np.testing.assert_array_equal(tree["attribution"].coords[tree["attribution"].dims[0]], CELLS)


def test_attributions_come_back_as_layers() -> None:
    adata = example()
    a = attrib.integrated_gradients(model(), adata, targets="all", classes=["beta", "alpha"])
    some = a.isel(obs=[3, 1], var=[2, 0])
    assert to_anndata(some, adata, key="ig") is adata
    expected = np.full((5, 4), np.nan, dtype="float32")
    expected[np.ix_([3, 1], [2, 0])] = some.sel(target="alpha").values
    np.testing.assert_array_equal(adata.layers["ig:alpha"], expected)
    np.testing.assert_array_equal(adata.obs["ig:beta_prediction"].notna(), [False, True, False, True, False])
    own = attrib.saliency(model(), adata, target=list("abbaa"), classes=["a", "b"]).isel(obs=[2, 0])
    column = to_anndata(own, adata).obs["saliency_target"]
    assert column.cat.categories.tolist() == ["a", "b"]
    assert column.astype(object).where(column.notna(), "").tolist() == ["a", "", "b", "", ""]
    one = to_anndata(attrib.saliency(model(), example(), target=0))
    assert one.obs_names.tolist() == CELLS
    assert list(one.layers) == ["saliency"]
    with pytest.raises(ValueError, match="`result` has 'cell4'"):
        to_anndata(a, adata[:4].copy())
    with pytest.raises(ValueError, match="expected one of cells, one of genes"):
        to_anndata(xr.DataArray(np.ones((1, 2, 3)), dims=("sample", "y", "x")), adata)


def test_without_anndata_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    a = attrib.saliency(model(), example(), target=0)
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[anndata\]'"):
        to_anndata(a)


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_files_that_stay_on_disk(form: str, tmp_path: Any) -> None:
    adata = example(FORMS[form])
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        np.testing.assert_array_equal(from_anndata(backed).values, VALUES)
    finally:
        backed.file.close()
