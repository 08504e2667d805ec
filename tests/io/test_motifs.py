"""MEME files: whole or absent, and back without a change."""

from pathlib import Path

import pytest

from attrib.io import load_motifs, save_motifs
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
