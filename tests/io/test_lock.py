"""Folders in use, what killed runs leave, and names of files."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from attrib.io.place import Lock, file_names, read_json, sweep


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    first, second = (Lock(tmp_path / "lock.json", tmp_path) for _ in range(2))
    first.take()
    with pytest.raises(ValueError, match=f"process {os.getpid()} on {socket.gethostname()}"):
        second.take()
    first.release()
    second.take()
    second.release()
    assert not list(tmp_path.iterdir())


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    code = "import sys, pathlib; from attrib.io.place import Lock; p = pathlib.Path(sys.argv[1]); Lock(p / 'lock.json', p).take(); import os; os._exit(9)"
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": root})
    assert read_json(tmp_path / "lock.json")["process"] != os.getpid()
    lock = Lock(tmp_path / "lock.json", tmp_path)
    lock.take()
    assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()
    lock.release()


def test_temporary_files_are_swept_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    left = [".run-0123abcd.json", "parts/.a.b-0123abcd.nc", ".table-00000000.tsv.gz", ".plain-0123abcd"]
    kept = ["run.json", ".lock.json", ".hidden", "a-0123abcd.nc", ".a-0123ABCD.nc"]
    for name in [*left, *kept]:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


def test_file_names_are_distinct_and_short() -> None:
    names = [
        "P53",
        "p53",
        "a/b",
        "a b",
        "é",
        "e\u0301",
        "CON",
        "con.txt",
        "",
        "...",
        "x" * 300,
        "x" * 301,
        "ü" * 80,
        "../up",
        "mean",
    ]
    chosen = file_names(names, reserved=["mean"])
    folded = {n.casefold() for n in chosen.values()}
    assert len(folded) == len(names)
    assert all(0 < len(n.encode()) <= 90 and "/" not in n and n[0] != "." for n in chosen.values())
    assert all(n.partition(".")[0].casefold() not in ("con", "mean") for n in chosen.values())
    assert file_names(["sample 1", "b-2.x"]) == {"sample 1": "sample_1", "b-2.x": "b-2.x"}
    assert file_names(reversed(names), reserved=["mean"]) == chosen
