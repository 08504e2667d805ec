"""The notebooks are whole, and the cheapest of them runs here; the documentation runs them all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(p for p in FOLDER.glob("*.md") if p.name != "index.md")
CHEAPEST = "words.md"


def cells(text: str) -> list[str]:
    """The code of a notebook's cells."""
    return re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def carry_out(notebook: Path, folder: Path) -> dict[str, Any]:
    """Run a notebook's cells in a folder, in order; `%%writefile` and `%%bash` as IPython does."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in cells(notebook.read_text()):
        first, _, body = code.partition("\n")
        if first.startswith("%%writefile"):
            (folder / first.split()[1]).write_text(body)
        elif first.startswith("%%bash"):
            subprocess.run(["bash", "-e", "-c", body], cwd=folder, check=True)
        else:
            exec(compile(code, str(notebook), "exec"), names)
    return names


def test_there_are_seven() -> None:
    assert {p.stem for p in NOTEBOOKS} == {"cells", "sequences", "mirna", "mri", "expression", "words", "jax"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_in_the_gallery_with_a_picture(notebook: Path) -> None:
    gallery = (FOLDER / "index.md").read_text()
    assert f"({notebook.name})" in gallery or f":link: {notebook.stem}" in gallery
    picture = FOLDER / "thumbnails" / f"{notebook.stem}.png"
    assert picture.stat().st_size < 100_000
    assert f"thumbnails/{notebook.stem}.png" in gallery
    for code in cells(notebook.read_text()):
        if not code.startswith("%%"):
            compile(code, str(notebook), "exec")


def test_the_cheapest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names = carry_out(FOLDER / CHEAPEST, tmp_path)
    assert float(names["right"].float().mean()) > 0.95
    a = names["a"]
    assert float(abs(a.delta).max()) < 0.05 * float(abs(a.prediction).max())
    words = a["word"].values
    given = {
        s: dict(zip(w, v, strict=True)) for s, w, v in zip(a["sample"].values, words, a.values, strict=True)
    }
    assert given["the film was really good"]["good"] > 0
    assert given["the ending was dull"]["dull"] < 0
    assert (tmp_path / "thumbnail.png").stat().st_size > 5_000


if __name__ == "__main__":  # python -m tests.test_notebooks NAME FOLDER: run a notebook where you are
    sys.path.insert(0, str(Path.cwd()))
    carry_out(FOLDER / f"{sys.argv[1]}.md", Path.cwd())
