"""FASTA files: what is read, what is left out and listed, what is an error."""

import gzip
import sys
from pathlib import Path

import pytest

from attrib.domains import sequences
from attrib.domains.sequences import read_bed, read_fasta, read_table
from tests.written import written


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
    missing, bed = tmp_path / "no.fa", written(tmp_path / "a.bed", "chr1\t0\t1\n")
    for call in (lambda: read_fasta(missing), lambda: read_table(missing), lambda: read_bed(bed, missing)):
        with pytest.raises(FileNotFoundError, match=r"no\.fa"):
            call()


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


def test_comments_of_old_programs(tmp_path: Path) -> None:
    file = written(tmp_path / "a.fa", "# made by hand\n; a comment\n>one\nAC\n;more\nGT\n")
    assert read_fasta(file).sequences.sequence.to_dict() == {"one": "ACGT"}
