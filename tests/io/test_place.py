"""Files appear whole or not at all."""

import pytest

from attrib.io import replacing, write_json


def test_replacing_replaces_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_write_json(tmp_path):
    path = write_json({"a": 1, "p": tmp_path, "name": "é"}, tmp_path / "a.json")
    assert '"name": "é"' in path.read_text(encoding="utf-8")
