"""The folder of a run: one that is continued, and one that is replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from attrib.workflows.folder import Folder


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def write(folder: Path, names: str, seed: int = 0) -> None:
    """A run that writes these files, and a part."""
    with Folder(folder, program="attrib test", settings={"seed": seed, "methods": ("a", "b")}) as run:
        (run.parts / "one.nc").touch()
        for name in names.split():
            path = run.file(name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(name)


def files(folder: Path) -> set[str]:
    names = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return {f for f in names if f not in ("run.json", "parts/one.nc")}


def test_a_later_run_replaces_the_files_of_an_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, "a.csv b.csv records/a.png")
    assert record(folder)["files"] == ["a.csv", "b.csv", "records/a.png"]
    assert record(folder)["state"] == "finished"
    assert record(folder)["settings"] == {"seed": 0, "methods": ["a", "b"]}
    (folder / "mine.txt").touch()
    write(folder, "b.csv c.csv")
    assert files(folder) == {"b.csv", "c.csv", "mine.txt"}
    assert record(folder)["files"] == ["b.csv", "c.csv"]


def stopped(folder: Path, error: type[BaseException]) -> None:
    with Folder(folder, program="attrib test", settings={"seed": 0, "methods": ["a", "b"]}) as run:
        assert record(folder)["state"] == "running"
        assert record(folder)["files"] == ["a.csv", "b.csv"]  # if it is killed, they are still known
        run.file("c.csv").touch()
        raise error


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")])
def test_a_run_that_does_not_end_leaves_the_earlier_files(
    tmp_path: Path, error: type[BaseException], state: str
) -> None:
    write(tmp_path, "a.csv b.csv")
    with pytest.raises(error):
        stopped(tmp_path, error)
    assert record(tmp_path)["state"] == state
    assert files(tmp_path) == {"a.csv", "b.csv", "c.csv"}
    write(tmp_path, "d.csv")
    assert files(tmp_path) == {"d.csv"}


def test_a_run_that_is_refused_leaves_no_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with (
            pytest.raises(ValueError, match="refused"),
            Folder(tmp_path / name, settings={}, folders=("logs",)),
        ):
            raise ValueError("refused")
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    write(tmp_path / "new", "a.csv b.csv")
    with pytest.raises(ValueError, match=r"^$"):
        stopped(tmp_path / "new", ValueError)
    assert record(tmp_path / "new")["state"] == "failed"


def test_what_a_run_must_not_touch(tmp_path: Path) -> None:
    write(tmp_path / "out", "a.csv")
    with pytest.raises(ValueError, match="holds a run with other seed; name another folder"):
        write(tmp_path / "out", "a.csv", seed=1)
    with pytest.raises(
        ValueError, match="holds a run with other methods; name"
    ):  # a setting that only the earlier run has
        Folder(tmp_path / "out", program="attrib test", settings={"seed": 0})
    (tmp_path / "out/parts/one.nc").unlink()
    write(tmp_path / "out", "a.csv", seed=1)  # an earlier run that has no results stands in no one's way
    with pytest.raises(ValueError, match="which holds a run of attrib test;"):
        Folder(tmp_path / "out", program="attrib other", settings={})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/run.json").write_text("[1]")
    with pytest.raises(ValueError, match="files that are not attrib"):
        Folder(tmp_path / "broken", program="attrib test", settings={})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="which is a file"):
        Folder(tmp_path / "file", program="attrib test", settings={})


def test_nothing_outside_the_folder_is_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.touch()
    write(tmp_path / "out", "a.csv")
    altered = record(tmp_path / "out") | {"files": ["a.csv", "../outside.txt", str(outside)]}
    (tmp_path / "out/run.json").write_text(json.dumps(altered))
    write(tmp_path / "out", "b.csv")
    assert outside.exists()
    assert files(tmp_path / "out") == {"b.csv"}


def test_a_folder_in_use_and_what_a_killed_run_left(tmp_path: Path) -> None:
    left = tmp_path / "run" / "parts" / ".a-0123abcd.nc"
    with Folder(tmp_path / "run", program="attrib test", settings={"seed": 0}) as run:
        with (
            pytest.raises(ValueError, match=f"process {os.getpid()} on "),
            Folder(tmp_path / "run", program="attrib test", settings={"seed": 0}),
        ):
            pass
        left.touch()
        run.file("a.csv").touch()
    with Folder(tmp_path / "run", program="attrib test", settings={"seed": 0}):
        assert not left.exists()
    assert not (tmp_path / "run" / ".lock.json").exists()


def test_runs_of_other_versions_are_not_continued(tmp_path: Path) -> None:
    with Folder(tmp_path / "run", program="attrib test", settings={"seed": 0}) as run:
        (run.parts / "a.nc").touch()
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    record["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"version of torch \(1.0, now "):
        Folder(tmp_path / "run", program="attrib test", settings={"seed": 0})


def replaced(folder: Path, *names: str, overwrite: bool = True) -> None:
    """A run without settings."""
    with Folder(folder, overwrite=overwrite) as run:
        for name in names:
            run.text(name, name)


def test_a_run_without_settings_is_replaced_at_its_first_file(tmp_path: Path) -> None:
    replaced(tmp_path / "a", "x.csv", "y.csv", overwrite=False)
    with pytest.raises(ValueError, match=r"holds a run of .* \(finished\)"):
        replaced(tmp_path / "a", "z.csv", overwrite=False)
    replaced(tmp_path / "a")  # fails before its first file, so to say
    assert files(tmp_path / "a") == {"x.csv", "y.csv"}
    replaced(tmp_path / "a", "y.csv", "z.csv")
    assert files(tmp_path / "a") == {"y.csv", "z.csv"}
    assert record(tmp_path / "a")["files"] == ["y.csv", "z.csv"]
    with pytest.raises(ValueError, match="which holds a run of attrib; name"):
        write(tmp_path / "a", "a.csv")
    replaced(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_run_without_settings_has_a_lock_and_sweeps(tmp_path: Path) -> None:
    replaced(tmp_path, "a.csv")
    left = tmp_path / ".a-0123abcd.csv"
    left.touch()
    with Folder(tmp_path, overwrite=True) as run:
        run.text("b.csv", "b")
        assert not left.exists()
        with pytest.raises(ValueError, match=f"process {os.getpid()} on "):
            replaced(tmp_path)  # before any work
    assert files(tmp_path) == {"b.csv"}


def test_overwrite_begins_anew_with_other_settings(tmp_path: Path) -> None:
    write(tmp_path, "a.csv")
    with Folder(tmp_path, program="attrib test", settings={"seed": 1}, overwrite=True) as run:
        assert list(run.parts.iterdir()) == []
        run.text("b.csv", "b")
    assert files(tmp_path) == {"b.csv"}
    assert record(tmp_path)["settings"] == {"seed": 1}
