"""Tables with a column of sequences, in every format, and files that are not tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.domains.sequences import read_seqdata, read_table
from tests.written import written


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".csv.gz", ".parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame(
        {
            "id": ["NA", "b", "b"],
            "utr": ["NA", "", "acx"],
            "label": [0.5, np.nan, 2.0],
            "kind": ["x", None, "z"],
        }
    )
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="," if suffix.startswith(".csv") else "\t", index=False)
    found = read_table(path, column="utr", name="id")
    assert found.sequences.to_dict("index") == {"NA": {"sequence": "NA", "label": 0.5, "kind": "x"}}
    assert found.problems.values[:, :2].tolist() == [["b", 2], ["b", 3]]
    assert "letter 'x' at position 2" in found.problems.problem[1]
    assert read_table(path, column="utr").sequences.index.tolist() == ["0"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "sequence,x\n", "no rows"),
        ("a.csv", "seq,x\nA,1\n", r"no column 'sequence'; its columns: seq, x"),
        ("a.csv", 'sequence\n"A\n', "no table that can be read"),
        ("a.xyz", "sequence\nA\n", "no table by its name"),
        ("a.csv.gz", "", "is empty"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_table(written(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.txt", "sequence\tlabel\n1\tACGT\t0.5\n2\tGG\t1\n"), ("end.csv", "sequence,label,\nACGT,0.5,\nGG,1,\n"),
        ("end.tsv", "sequence\tlabel\nACGT\t0.5\t\nGG\t1\t\n"), ("mark.csv", "\ufeffsequence,label\nACGT,0.5\nGG,1\n"),
        ("semicolons.csv", "sequence;label\nACGT;0.5\nGG;1\n"), ("wide.csv", "sequence,label\nACGT,0.5\nGG,1\n"),
        ("spaces.csv", "sequence ,label\nACGT,0.5\nGG,1\n"), ("short.csv", "sequence,label,more\nACGT,0.5\nGG,1\n"),
    ],
)  # fmt: skip
def test_row_names_and_separators_at_the_end_shift_nothing(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-16" if name == "wide.csv" else "utf-8")
    found = read_table(tmp_path / name)
    assert found.sequences.sequence.tolist() == ["ACGT", "GG"]
    assert found.sequences.label.tolist() == [0.5, 1]
    assert found.sequences.index.tolist() == (["1", "2"] if name == "r.txt" else ["0", "1"])


def test_lines_of_too_many_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 3 has 3 fields, the header 2"):
        read_table(written(tmp_path / "a.csv", "sequence,x\nACGT,1\nAC,1,2\n"))


def test_names_of_seqdata_may_be_its_index_but_not_its_sequences(tmp_path: Path) -> None:
    letters = ("_sequence", "length"), np.array([list("ACGT"), list("GGGT")], dtype="S1")
    xr.Dataset(
        {"seq": letters, "target": ("_sequence", [0.5, 2.0])}, coords={"_sequence": ["u", "v"]}
    ).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert read_seqdata(tmp_path / "a.zarr", name="_sequence").sequences.to_dict("index") == {
        "u": {"sequence": "ACGT", "target": 0.5}, "v": {"sequence": "GGGT", "target": 2.0}
    }  # fmt: skip
    assert read_seqdata(tmp_path / "a.zarr").sequences.index.tolist() == ["u", "v"]
    xr.Dataset({"seq": letters}, coords={"_sequence": ["u", "u"]}).to_zarr(tmp_path / "b.zarr", zarr_format=2)
    assert read_seqdata(tmp_path / "b.zarr").sequences.index.tolist() == ["0", "1"]
    with pytest.raises(
        ValueError,
        match=r"seq has dims .*, expected a name for each of the 2 sequences of seq; one of target",
    ):
        read_seqdata(tmp_path / "a.zarr", name="seq")


def test_texts_of_seqdata_as_its_own_writer_leaves_them(tmp_path: Path) -> None:
    """seqdata 0.2.2 on zarr 2 gives texts of any lengths the fill value 0, which zarr 3 does not read."""
    store = tmp_path / "a.zarr"
    texts = xr.Dataset(
        {"seq": ("_sequence", np.array(["ACGT", "GG"], dtype=object)), "activity": ("_sequence", [0.5, 2.0])}
    )
    texts.to_zarr(store, zarr_format=2)
    for file in (store / "seq/.zarray", store / ".zmetadata"):
        described = json.loads(file.read_text())
        array = described.get("metadata", {}).get("seq/.zarray", described)
        array |= {"fill_value": 0, "filters": [{"id": "vlen-bytes"}]}
        file.write_text(json.dumps(described))
    with pytest.raises(TypeError, match="Expected a string"):
        xr.open_zarr(store, chunks=None)
    reading = read_seqdata(store).sequences
    assert reading.to_dict("list") == {"sequence": ["ACGT", "GG"], "activity": [0.5, 2.0]}
