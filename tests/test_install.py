"""Hints name what can be installed: while the package is on no index, its name there is another project's."""

import re
import tomllib
from pathlib import Path

import pytest

from attrib import _install

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
CODE = [p for p in (ROOT / "attrib").rglob("*.py") if p.name != "_install.py"]


def test_hints_name_extras_that_exist() -> None:
    named = [m for p in CODE for m in re.findall(r"install_hint\(['\"](\w+)['\"]\)", p.read_text())]
    assert len(named) > 8
    assert set(named) <= set(EXTRAS)


def test_only_one_place_names_the_package_to_pip() -> None:
    texts = [*CODE, *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    wrong = [p.name for p in texts if re.search(r"pip install (?!-)['\"]?attrib", p.read_text())]
    assert not wrong
    written = [m for p in texts for m in re.findall(r"pip install -e '\.\[(\w+)\]'", p.read_text())]
    assert set(written) <= set(EXTRAS)


def test_the_hint_follows_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _install.install_hint("cells") == "pip install -e '.[cells]' in attrib's folder"
    monkeypatch.setattr(_install, "ON_INDEX", True)
    assert _install.install_hint("cells") == "pip install 'attrib[cells]'"
