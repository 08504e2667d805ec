"""BED files and the sequences of their intervals, by reading the genome and by its index."""

from pathlib import Path

import pytest

from attrib.domains.sequences import read_bed
from tests.written import written

GENOME = ">chr1 the first\nAACCGGTTNN\nACGTacgtUU\n>chr2\nGATTACA\n"
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
    with pytest.raises(ImportError, match=r"pip install -e '.\[sequence\]'"):
        read_bed(bed, fasta, index=True)


def test_a_file_that_cannot_be_indexed(tmp_path: Path) -> None:
    pytest.importorskip("pyfaidx")
    bed = written(tmp_path / "a.bed", "c\t0\t3\n")
    with pytest.raises(ValueError, match="pass index=False"):
        read_bed(bed, written(tmp_path / "g.fa.gz", ">c\nACGT\n"), index=True)
