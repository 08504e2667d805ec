"""MEME files: whole or absent, and back without a change."""

import gzip
from pathlib import Path

import pytest

from attrib.io import load_motifs, motif_reading, save_motifs
from tests.jaspar import database


def test_files_come_back(tmp_path: Path) -> None:
    motifs = database()
    back = load_motifs(save_motifs(motifs, tmp_path / "db.meme"))
    assert list(back) == list(motifs)
    assert all(back[k].identical(m) for k, m in motifs.items())


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    file = save_motifs(database(0), tmp_path / "db.meme")
    before = file.read_bytes()
    with pytest.raises(ValueError, match="without spaces"):
        save_motifs({"a b": database(0)["MA0139.1"]}, file)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["db.meme"]
    with pytest.raises(FileNotFoundError, match=r"there is no file .*x\.meme"):
        load_motifs(tmp_path / "x.meme")


def test_packed_files_and_marks_of_the_byte_order(tmp_path: Path) -> None:
    plain = save_motifs(database(), tmp_path / "db.meme").read_bytes()
    for name, raw in {"a.meme.gz": gzip.compress(plain), "b.meme": b"\xef\xbb\xbf" + plain}.items():
        (tmp_path / name).write_bytes(raw)
        assert list(load_motifs(tmp_path / name)) == list(database())


def test_motifs_that_are_left_out_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.jaspar"
    file.write_text(">a\nA [1]\nC [0]\nG [0]\nT [0]\n>b\nA [1]\n")
    with pytest.warns(UserWarning, match="a.jaspar: line 6, b: it has 1 rows"):
        assert list(load_motifs(file)) == ["a"]
    assert motif_reading(file).problems.record.tolist() == ["b"]
