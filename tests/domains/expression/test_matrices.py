"""Matrices of every format come out as samples by genes, matched by ids."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xarray as xr

from attrib.domains.expression import read_gmt, read_matrix, with_samples, without_version
from attrib.domains.expression.annotation import known_samples, read_samples
from attrib.domains.expression.genes import aligned, gene_list

GENES = ["ENSG00000254647.6", "ENSG00000115263.14", "ENSG00000157005.3"]
CUT = [g.split(".")[0] for g in GENES]
SAMPLES = ["GTEX-A-1", "GTEX-B-1"]
VALUES = np.array([[1.5, 0, 3], [2, 4, 0.25]], dtype=np.float32)  # samples by genes
GCT12 = (
    "#1.2\n3\t2\nName\tDescription\tGTEX-A-1\tGTEX-B-1\n"
    "ENSG00000254647.6\tINS\t1.5\t2\nENSG00000115263.14\tGCG\t0\t4\nENSG00000157005.3\tSST\t3\t0.25\n"
)
GCT13 = (
    "#1.3\n3\t2\t2\t1\nid\tpr_gene_symbol\tchr\tGTEX-A-1\tGTEX-B-1\ntissue\tna\tna\tislet\tliver\n"
    "ENSG00000254647.6\tINS\t11\t1.5\t2\nENSG00000115263.14\tGCG\t2\t0\t4\nENSG00000157005.3\tSST\t3\t3\t0.25\n"
)


def check(x: xr.DataArray) -> None:
    assert x.dims == ("sample", "gene")
    assert x.gene.values.tolist() == CUT
    assert x["sample"].values.tolist() == SAMPLES
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.values, VALUES)


@pytest.mark.parametrize("text", [GCT12, GCT13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("packed", [False, True])
def test_gct(tmp_path: Path, text: str, packed: bool) -> None:
    file = tmp_path / ("m.gct.gz" if packed else "m.gct")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    x = read_matrix(file).x
    check(x)
    assert x.symbol.values.tolist() == ["INS", "GCG", "SST"]
    if text == GCT13:
        assert x.tissue.values.tolist() == ["islet", "liver"]
        assert x.chr.values.tolist() == ["11", "2", "3"]
    some = read_matrix(file, genes=[CUT[2] + ".99", CUT[0], "ENSG00000000000"])
    assert some.x.gene.values.tolist() == [CUT[0], CUT[2]]
    assert some.problems == {"input_filter": "1 of 3 genes are not in the data, such as ENSG00000000000"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GCT12[: GCT12.rindex("ENSG")], "2 genes, its second line says 3; it may be cut off"),
        (GCT12.replace("3\t2\n", "3\t4\n"), "has 2 samples, its second line says 4"),
        (GCT12.replace("#1.2", "#1.1"), "expected #1.2 with two sizes"),
        (GCT12.replace("\t4\n", "\tabc\n"), "something else than numbers"),
        (
            GCT12.replace("\t4\n", "\t\n"),
            "1 values that are missing or not finite, the first in sample GTEX-B-1",
        ),
    ],
)
def test_gct_that_is_broken(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.gct").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_matrix(tmp_path / "m.gct")


def frame() -> pd.DataFrame:
    return pd.DataFrame(VALUES, index=SAMPLES, columns=GENES)


@pytest.mark.parametrize("genes_down", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".csv.gz", ";"])
def test_tables_of_both_orientations(tmp_path: Path, genes_down: bool, suffix: str) -> None:
    table = frame().T if genes_down else frame()
    file = tmp_path / f"m{'.csv' if suffix == ';' else suffix}"
    table.to_csv(file, sep=";" if suffix == ";" else "," if ".csv" in suffix else "\t")
    check(read_matrix(file).x)


def test_orientation_by_samples_by_genes_and_by_default(tmp_path: Path) -> None:
    table = pd.DataFrame(VALUES, index=SAMPLES, columns=["INS", "GCG", "SST"])
    table.T.to_csv(tmp_path / "m.csv")
    assert read_matrix(tmp_path / "m.csv", samples=["x", *SAMPLES]).x["sample"].values.tolist() == SAMPLES
    assert read_matrix(tmp_path / "m.csv", genes=["SST", "INS"]).x.gene.values.tolist() == ["INS", "SST"]
    assert (
        read_matrix(tmp_path / "m.csv").x.gene.values.tolist() == SAMPLES
    )  # nothing to match: rows are samples
    with pytest.raises(ValueError, match="`data` has none of the samples of the sample table, 'other"):
        read_matrix(tmp_path / "m.csv", samples=["other"])


def test_tables_of_r_whose_header_is_a_field_short(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("a\tb\ns1\t1\t2\ns2\t3\t4\n")
    x = read_matrix(tmp_path / "m.tsv").x
    assert x.to_pandas().to_dict() == {"a": {"s1": 1.0, "s2": 3.0}, "b": {"s1": 2.0, "s2": 4.0}}


def test_text_and_named_columns_are_no_genes(tmp_path: Path) -> None:
    table = frame().assign(tissue=["islet", "liver"], age=[50, 60])
    table.to_csv(tmp_path / "m.csv")
    x = read_matrix(tmp_path / "m.csv").x
    check(x)  # age is not among ids of ENSEMBL
    assert x.tissue.values.tolist() == ["islet", "liver"]
    symbols = pd.DataFrame({"INS": [1, 2], "stage": [3, 4]}, index=SAMPLES)
    assert read_matrix(symbols, columns=["stage"]).x.gene.values.tolist() == ["INS"]
    described = frame().T.assign(Description=["INS", "GCG", "SST"])
    check(read_matrix(described).x)
    assert read_matrix(described).x.symbol.values.tolist() == ["INS", "GCG", "SST"]


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame().to_parquet(tmp_path / "m.parquet")
    check(read_matrix(tmp_path / "m.parquet").x)
    frame().T.rename_axis("gene").reset_index().to_parquet(tmp_path / "n.parquet")
    check(read_matrix(tmp_path / "n.parquet").x)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_matrix])
def test_h5ad(tmp_path: Path, form) -> None:
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame({"tissue": pd.Categorical(["islet", "liver"])}, index=SAMPLES)
    var = pd.DataFrame({"gene_name": ["INS", "GCG", "SST"]}, index=GENES)
    adata = anndata.AnnData(form(VALUES), obs=obs, var=var, layers={"counts": form(VALUES * 2)})
    adata.write_h5ad(tmp_path / "m.h5ad")
    backed = anndata.read_h5ad(tmp_path / "m.h5ad", backed="r")
    for data in (adata, tmp_path / "m.h5ad", backed):
        matrix = read_matrix(data)
        check(matrix.x)
        assert matrix.x.symbol.values.tolist() == ["INS", "GCG", "SST"]
        assert with_samples(matrix, label="tissue").x.label.values.tolist() == ["islet", "liver"]
        np.testing.assert_array_equal(read_matrix(data, layer="counts").x.values, VALUES * 2)
        assert read_matrix(data, genes=CUT[1:2]).x.values.tolist() == [[0], [4]]
    assert backed.isbacked  # and can be read again
    backed.file.close()
    with pytest.raises(ValueError, match="layer 'raw'"):
        read_matrix(tmp_path / "m.h5ad", layer="raw")


def test_duplicates_are_told() -> None:
    table = pd.DataFrame(
        np.arange(9.0).reshape(3, 3),
        index=["a", "b", "a"],
        columns=["ENSG00000254647.6", "ENSG00000254647.7", "ENSG00000182378.1_PAR_Y"],
    )
    x, problems = read_matrix(table)
    assert x.to_pandas().to_dict("list") == {"ENSG00000254647": [0, 3], "ENSG00000182378_PAR_Y": [2, 5]}
    assert problems["duplicate samples"].startswith("1 samples come a second time")
    assert problems["duplicate genes"].endswith("such as ENSG00000254647")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("m.xlsx", "expected one of .gct"),
        (pd.DataFrame({"INS": [1.0, None]}, index=["a", "b"]), "column 'INS' has 1 empty"),
        (
            pd.DataFrame({"INS": ["1", "x"], "GCG": [1, 2]}, index=["a", "b"]),
            "column 'INS' holds text, such as 'x'",
        ),
        (pd.DataFrame({"INS": [1.0, np.inf]}, index=["a", "b"]), "not finite, the first in sample b"),
        (xr.DataArray(np.zeros((2, 2)), dims=("sample", "gene")), "two with labels"),
    ],
)
def test_what_is_refused(data, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_matrix(data)


def test_a_layer_without_anndata_is_refused() -> None:
    with pytest.raises(ValueError, match="`layer` is 'counts', but `data` is no AnnData"):
        read_matrix(frame(), layer="counts")


# ------------------------------------------------------------------ sample tables


def test_sample_tables_are_matched_by_their_ids(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text(
        "n\tSAMPID\tSMTSD\tdonor\n1\tGTEX-B-1\tLiver\tB\n2\tGTEX-C-1\tSkin\tC\n3\tGTEX-A-1\tPancreas\tA\n"
    )
    table = read_samples(tmp_path / "s.txt")
    assert set(known_samples(table)) >= set(SAMPLES)
    x, problems = with_samples(read_matrix(frame()), table, label="SMTSD", group="donor")
    assert x.label.values.tolist() == ["Pancreas", "Liver"]
    assert x.group.values.tolist() == ["A", "B"]
    assert problems == {"only in the sample table": "1 rows have no sample in the data"}
    x = with_samples(read_matrix(frame()), table, label="SMTSD", group="^(GTEX-[^-]+)").x
    assert x.group.values.tolist() == ["GTEX-A", "GTEX-B"]


def test_samples_without_a_row_or_a_label_are_told() -> None:
    matrix = read_matrix(pd.DataFrame({"INS": [1, 2, 3]}, index=["a", "b", "c"]))
    table = read_samples(pd.DataFrame({"id": ["a", "b", "b"], "tissue": ["liver", None, "skin"]}))
    x, problems = with_samples(matrix, table, label="tissue")
    assert x["sample"].values.tolist() == ["a"]
    assert problems["without label"] == "1 samples have no label and are left out, such as b"
    assert problems["not in the sample table"] == "1 samples are left out, such as c"
    assert problems["sample table"].startswith("1 samples have several rows")


def test_errors_of_sample_tables_name_what_is_wrong(tmp_path: Path) -> None:
    matrix = read_matrix(frame())
    table = read_samples(pd.DataFrame({"id": SAMPLES, "tissue": ["a", "b"]}))
    with pytest.raises(ValueError, match="did you mean 'tissue'"):
        with_samples(matrix, table, label="tisue")
    with pytest.raises(ValueError, match="names none of the samples"):
        with_samples(matrix, read_samples(pd.DataFrame({"id": ["x"]})), label="id")
    with pytest.raises(ValueError, match="GTEX-A-1 does not"):
        with_samples(matrix, table, label="tissue", group="(TCGA)")
    with pytest.raises(FileNotFoundError, match="`sample_table`"):
        read_samples(tmp_path / "no.csv")


# ------------------------------------------------------------------ genes


def test_versions_are_cut_and_nothing_else() -> None:
    ids = [
        "ENSG00000254647.6",
        "ENSMUSG00000000001.4",
        "HLA-A",
        "RP11-34P13.7",
        "NKX2.1",
        "ENST00000381330.5",
    ]
    assert without_version(ids).tolist() == ["ENSG00000254647", "ENSMUSG00000000001", "HLA-A", "RP11-34P13.7", "NKX2.1", "ENST00000381330"]  # fmt: skip


def test_gene_lists_and_gene_sets(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text(
        "# protein coding\nENSG00000254647.6 INS\n\nENSG00000254647\nENSG00000115263\n"
    )
    assert gene_list(tmp_path / "g.txt") == CUT[:2]
    (tmp_path / "e.txt").write_text("#\n")
    with pytest.raises(ValueError, match="holds no gene"):
        gene_list(tmp_path / "e.txt")
    (tmp_path / "s.gmt").write_text("islet\thttp://x\tINS\tGCG\tINS\t\nempty\tno\n")
    with pytest.raises(ValueError, match=r"line 2 .* has 2 fields"):
        read_gmt(tmp_path / "s.gmt")


def test_genes_of_a_model_in_its_order() -> None:
    x = read_matrix(frame()).x
    wanted = [CUT[2], CUT[0], *CUT[1:2]]
    assert aligned(x, wanted, 0.0).x.values.tolist() == VALUES[:, [2, 0, 1]].tolist()
    many = [*CUT, *[f"ENSG{k:011d}" for k in range(90)]]
    with pytest.raises(ValueError, match=r"lacks 90 of the 93 genes .* at most 5%"):
        aligned(x, many, 0.0)
    wide = xr.DataArray(
        np.ones((2, 20)), dims=("sample", "gene"), coords={"gene": [f"g{k}" for k in range(20)]}
    )
    filled = aligned(wide, [*wide.gene.values, "new"], np.arange(21.0))
    assert filled.missing == ["new"]
    assert filled.x.values[:, 20].tolist() == [20.0, 20.0]
    assert filled.x.values[:, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fault", ["cut", "another bit"])
def test_packed_files_that_were_copied_badly(tmp_path: Path, fault: str) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,tissue,ENSG1", *(f"s{k},{rng.integers(1 << 60)},{rng.random()}" for k in range(200))]
    body = bytearray(gzip.compress("\n".join(lines).encode()))
    body[len(body) // 2] ^= 255
    for name, read in (("m.csv.gz", read_matrix), ("samples.csv.gz", read_samples)):
        (tmp_path / name).write_bytes(body[: len(body) // 2] if fault == "cut" else body)
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            read(tmp_path / name)
