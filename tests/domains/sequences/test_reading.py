"""Files of sequences: what is read, what is left out and listed, what is an error."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attrib.domains import sequences
from attrib.domains.sequences import read_bed, read_fasta, read_table

GENOME = ">chr1 the first\nAACCGGTTNN\nACGTacgtUU\n>chr2\nGATTACA\n"


def written(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.fa", "a.fa.gz", "a.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_fasta_plain_gzip_and_any_line_end(tmp_path: Path, name: str, end: str) -> None:
    text = "\ufeff>one  a description\nacg\n\nTN \n\n>two\nU U\n>three\n\n>\nA"
    found = read_fasta(written(tmp_path / name, text.replace("\n", end)))
    assert found.sequences.sequence.to_dict() == {"one": "acgTN", "two": "UU", "unnamed": "A"}
    assert found.sequences.description["one"] == "a description"
    assert found.problems.values.tolist() == [
        ["three", 8, "it has no letters", False],
        ["", 10, "it has no name; it is called 'unnamed'", True],
    ]


def test_fasta_names_that_occur_again_are_numbered(tmp_path: Path) -> None:
    found = read_fasta(written(tmp_path / "a.fa", ">x\nA\n>x_2\nC\n>x\nG\n>x\nT\n"))
    assert found.sequences.sequence.to_dict() == {"x": "A", "x_2": "C", "x_3": "G", "x_4": "T"}
    assert found.problems.kept.tolist() == [True, True]
    assert "used more than once; it is called 'x_3'" in found.problems.problem[0]


def test_fasta_bad_letters_are_listed_and_the_others_finished(tmp_path: Path) -> None:
    found = read_fasta(written(tmp_path / "a.fa", ">a\nACGT\n>b\nAC-T*\n>c\nAéC\n>d\nN\n"))
    assert found.sequences.index.tolist() == ["a", "d"]
    assert found.problems.record.tolist() == ["b", "c"]
    assert found.problems.line.tolist() == [3, 5]
    assert "letter '-' at position 2 (counted from 0), and 1 more" in found.problems.problem[0]
    assert "letter 'é' at position 1" in found.problems.problem[1]


def test_fasta_files_without_a_good_record_give_an_empty_table(tmp_path: Path) -> None:
    found = read_fasta(written(tmp_path / "a.fa", ">a\n\n"))
    assert list(found.sequences.columns) == ["sequence"]
    assert len(found.sequences) == 0
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n \n", "no records"),
        (b"ACGT\n", "line 1 is 'ACGT', expected '>name'"),
        (gzip.compress(b">a\nACGT", mtime=0)[:-6], "gzip file that cannot be read"),
        (b"\x1f\x8bnot gzip at all", "gzip file that cannot be read"),
    ],
)
def test_files_that_are_no_fasta(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.fa").write_bytes(content)
    with pytest.raises(ValueError, match=text):
        read_fasta(tmp_path / "a.fa")


def test_files_that_do_not_exist(tmp_path: Path) -> None:
    missing, there = tmp_path / "no.fa", written(tmp_path / "a.bed", "chr1\t0\t1\n")
    for call in (lambda: read_fasta(missing), lambda: read_table(missing), lambda: read_bed(there, missing)):
        with pytest.raises(FileNotFoundError, match=r"no\.fa"):
            call()


BED = """# a comment
track name=peaks
chr1\t0\t4\tfirst\t0\t+
chr1\t2\t10\t.\t0\t-
chr2 0 7
chr1\t18\t21\tbeyond
chr3\t0\t1\tnowhere
chr1\t5\t5
chr1\tx\t5
chr1\t0\t2\tfirst\t0\t?
chr1\t10\t20\tfirst
"""


@pytest.mark.parametrize("how", ["plain", "gzip", "indexed"])
def test_bed_reads_intervals_on_their_strand(tmp_path: Path, how: str) -> None:
    if how == "indexed":
        pytest.importorskip("pyfaidx")
    fasta = written(tmp_path / ("g.fa.gz" if how == "gzip" else "g.fa"), GENOME)
    found = read_bed(written(tmp_path / "a.bed", BED), fasta, index=how == "indexed")
    assert found.sequences.sequence.to_dict() == {
        "first": "AACC",
        "chr1:2-10(-)": "NNAACCGG",
        "chr2:0-7(+)": "GATTACA",
        "first_2": "ACGTacgtUU",
    }
    assert found.sequences.loc["chr1:2-10(-)", ["chrom", "start", "end", "strand"]].tolist() == [
        "chr1",
        2,
        10,
        "-",
    ]
    listed = dict(zip(found.problems.line, found.problems.problem, strict=True))
    assert listed.keys() == {6, 7, 8, 9, 10, 11}
    assert listed[6] == "chr1 has 20 bases"
    assert listed[7].endswith("has no chr3")
    assert "starts at 5 and ends at 5" in listed[8]
    assert "two numbers" in listed[9]
    assert "strand is '?'" in listed[10]
    assert "called 'first_2'" in listed[11]
    assert found.problems.kept.tolist() == [False] * 5 + [True]


def test_bed_names_may_have_spaces_where_tabs_are_between_columns(tmp_path: Path) -> None:
    fasta = written(tmp_path / "g.fa", ">c\nAACCGGTT\n")
    bed = written(tmp_path / "a.bed", "c\t1\t4\tmy peak\t.\t-\nc\t1\t4\t\t0\t-\nc 1 4 other 0 -\n")
    found = read_bed(bed, fasta)
    assert not len(found.problems)
    assert found.sequences.index.tolist() == ["my peak", "c:1-4(-)", "other"]
    assert found.sequences.sequence.tolist() == ["GGT"] * 3


def test_bed_of_one_width(tmp_path: Path) -> None:
    """Around the middle: bases 4 and 5 of an interval from 3 to 7 are its middle two."""
    bed = written(tmp_path / "a.bed", "chr1\t3\t7\tx\nchr1\t0\t2\tedge\n")
    found = read_bed(bed, written(tmp_path / "g.fa", GENOME), width=4)
    assert found.sequences.loc["x"].tolist() == ["CGGT", "chr1", 3, 7, "+"]
    assert found.problems.problem.tolist() == ["it starts at -1"]
    with pytest.raises(ValueError, match="`width` is 0"):
        read_bed(bed, tmp_path / "g.fa", width=0)


def test_an_index_is_used_where_there_is_one(tmp_path: Path) -> None:
    """The index says where the letters are, so a wrong one shows that it was used."""
    pytest.importorskip("pyfaidx")
    fasta, bed = written(tmp_path / "g.fa", ">c\nACGTACGT\n"), written(tmp_path / "a.bed", "c\t0\t3\n")
    assert not (tmp_path / "g.fa.fai").exists()
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["ACG"]
    assert not (tmp_path / "g.fa.fai").exists()
    (tmp_path / "g.fa.fai").write_text("c\t5\t5\t5\t6\n")
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["GTA"]
    assert read_bed(bed, fasta, index=False).sequences.sequence.tolist() == ["ACG"]


def test_an_index_without_pyfaidx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fasta, bed = written(tmp_path / "g.fa", ">c\nACGT\n"), written(tmp_path / "a.bed", "c\t0\t3\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["ACG"]
    with pytest.raises(ImportError, match=r"attrib\[sequence\]"):
        read_bed(bed, fasta, index=True)


def test_a_file_that_cannot_be_indexed(tmp_path: Path) -> None:
    pytest.importorskip("pyfaidx")
    bed = written(tmp_path / "a.bed", "c\t0\t3\n")
    with pytest.raises(ValueError, match="pass index=False"):
        read_bed(bed, written(tmp_path / "g.fa.gz", ">c\nACGT\n"), index=True)


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


def test_nothing_optional_is_loaded_to_read(tmp_path: Path) -> None:
    import subprocess

    path = written(tmp_path / "a.fa", ">a\nACGT\n")
    code = (
        "import sys; from attrib.domains.sequences import *; "
        f"one_hot(read_fasta({str(path)!r}).sequences); "
        "print({'pyfaidx', 'logomaker', 'memelite', 'torch.cuda.nccl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("set()", "{'torch.cuda.nccl'}")


def test_all_of_it_is_public() -> None:
    assert all(hasattr(sequences, name) for name in sequences.__all__)
