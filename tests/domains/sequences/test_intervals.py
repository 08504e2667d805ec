"""BED files and the sequences of their intervals, by reading the genome and by its index."""

import os
import time
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
    assert listed[7].endswith("has no chr3 (1 intervals); its records are chr1, chr2")
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


def test_an_index_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyfaidx = pytest.importorskip("pyfaidx")
    fasta, bed = written(tmp_path / "g.fa", ">c\nACGTACGT\n"), written(tmp_path / "a.bed", "c\t0\t3\n")
    opened = []
    plain = pyfaidx.Fasta
    monkeypatch.setattr(pyfaidx, "Fasta", lambda *a, **k: opened.append(a) or plain(*a, **k))
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["ACG"]
    assert not (tmp_path / "g.fa.fai").exists()
    assert not opened
    assert read_bed(bed, fasta, index=True).sequences.sequence.tolist() == ["ACG"]
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["ACG"]
    assert len(opened) == 2
    assert read_bed(bed, fasta, index=False).sequences.sequence.tolist() == ["ACG"]
    assert len(opened) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">c1\nAAAACCCC\n", ">c0\nTTTTTTTTTT\n>c1\nAAAACCCC\n"), (">c1\nAAAACCCC\n", ">c2\nGGGGCCCC\n>c1\nAAAACCCC\n"),
        (">c1\nAAAA\n>c2\nCC\n", ">c1\nAAAATT\n>c2\nCC\n"), (">c1\nAAAACCCC\n", ">c1 longer\nAAAACCCC\n"),
    ],
)  # fmt: skip
def test_an_index_of_another_file_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """A genome was replaced by an older one: its time does not tell."""
    pytest.importorskip("pyfaidx")
    bed, fasta = written(tmp_path / "a.bed", "c1\t0\t4\n"), written(tmp_path / "g.fa", old)
    read_bed(bed, fasta, index=True)
    written(tmp_path / "g.fa", new)
    long_ago = time.time() - 1e6
    os.utime(fasta, (long_ago, long_ago))
    with pytest.raises(ValueError, match="is the index of another file: c1 is not where it says"):
        read_bed(bed, fasta)


def test_a_packed_genome_with_an_index_is_read_whole(tmp_path: Path) -> None:
    bed, fasta = written(tmp_path / "a.bed", "c1\t0\t4\n"), written(tmp_path / "g.fa.gz", ">c1\nAAAACCCC\n")
    written(tmp_path / "g.fa.gz.fai", "c1\t8\t4\t8\t9\n")
    assert read_bed(bed, fasta).sequences.sequence.tolist() == ["AAAA"]


@pytest.mark.parametrize("index", [None, True])
def test_a_chromosome_of_another_name_is_told_once(index: bool | None, tmp_path: Path) -> None:
    if index:
        pytest.importorskip("pyfaidx")
    bed = written(tmp_path / "a.bed", "chr1\t0\t3\nchr1\t1\t4\n1\t0\t2\nchr9\t0\t2\nchr2\t0\t2\n")
    found = read_bed(bed, written(tmp_path / "g.fa", ">1\nACGT\n>2\nACGT\n"), index=index)
    assert found.sequences.sequence.tolist() == ["AC"]
    assert found.problems.record.tolist() == ["chr1", "chr9"]
    assert found.problems.problem[0].endswith(
        "has no chr1; it has 1: chromosomes are named otherwise there (3 intervals)"
    )
    assert found.problems.problem[1].endswith("has no chr9 (1 intervals); its records are 1, 2")


def test_summits_of_narrow_peaks(tmp_path: Path) -> None:
    """The summit of 2 to 18 lies at 2 + 3 = 5: bases 3 to 7 around it."""
    peaks = "chr1\t2\t18\tpeak\t0\t.\t1\t1\t1\t3\nchr1\t2\t18\tnone\t0\t.\t1\t1\t1\t-1\nchr1\t2\t18\tshort\n"
    bed, fasta = written(tmp_path / "a.narrowPeak", peaks), written(tmp_path / "g.fa", GENOME)
    found = read_bed(bed, fasta, width=4, summits=True)
    assert found.sequences.loc["peak", ["start", "end"]].tolist() == [3, 7]
    assert [p.split(",")[0] for p in found.problems.problem] == [
        "its column 10 is '-1'",
        "its column 10 is 'missing'",
    ]
    assert read_bed(bed, fasta, width=4).sequences.loc["peak", ["start", "end"]].tolist() == [8, 12]
    with pytest.raises(ValueError, match="`summits` is True, but `width` is missing"):
        read_bed(bed, fasta, summits=True)


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
