"""What the next maintainer leans on: the recipes run, and the repository's files agree with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from attrib import _install
from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def test_the_recipes_run(tmp_path: Path) -> None:
    """Add a method, a study, a reader: in a process of their own, since they register what they add."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = page.split("<!-- recipes -->")[1].split("<!-- end of recipes -->")[0]
    assert re.findall("^## (.*)$", recipes, flags=re.MULTILINE) == [
        "Add a method",
        "Add a study",
        "Add a reader",
    ]
    code = "\n".join(code for _, language, code in blocks(recipes) if language == "python")
    assert code.count("assert ") >= 4
    (tmp_path / "recipes.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "recipes.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert not done.returncode, done.stderr


def parsed(file: Path) -> Any:
    return pytest.importorskip("yaml").safe_load(file.read_text())


def steps_of(file: Path) -> list[dict[str, Any]]:
    return [step for job in parsed(file)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_run_the_one_command(file: Path) -> None:
    """Each checks by `.ci/run` and a part that it has, with rights that are named and few."""
    flow = parsed(file)
    assert flow["permissions"] == {"contents": "read"}
    script = (ROOT / ".ci" / "run").read_text()
    parts = {part for step in steps_of(file) for part in re.findall(r"\.ci/run (\w+)", step.get("run", ""))}
    assert parts
    assert all(re.search(rf"^    {part}\)|\b{part}\b.*\)$", script, flags=re.MULTILINE) for part in parts)


def test_the_matrix_is_what_the_package_promises() -> None:
    (matrix,) = (job["strategy"]["matrix"] for job in parsed(ROOT / ".github/workflows/tests.yml")["jobs"].values() if "strategy" in job)  # fmt: skip
    pythons = {str(v) for v in matrix["python"]} | {str(i["python"]) for i in matrix.get("include", [])}
    assert pythons == {"3.11", "3.12", "3.13"}
    assert PROJECT["requires-python"] == ">=3.11"
    versions = set(matrix["versions"]) | {i["versions"] for i in matrix.get("include", [])}
    assert versions == {"tested", "newest", "lowest"}


def test_lowest_versions_are_those_of_the_project() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "lowest.py")], capture_output=True, text=True, check=True
    )
    pins = dict(line.split("==") for line in done.stdout.split())
    assert pins["torch"] == "2.9"
    every = [
        *PROJECT["dependencies"],
        *(r for group in PROJECT["optional-dependencies"].values() for r in group),
    ]
    assert {re.split(r"[\[>=<]", r)[0].lower() for r in every} == set(pins)


def test_the_readme_states_the_coverage_that_ci_demands() -> None:
    """`.ci/run coverage` fails below it, each night, so that the figure is never more than what was measured."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    (stated,) = re.findall(r"The tests reach (\d+)% of the lines", (ROOT / "README.md").read_text())
    assert int(stated) == settings["report"]["fail_under"] > 80
    assert any(s.get("run") == ".ci/run coverage" for s in steps_of(ROOT / ".github/workflows/nightly.yml"))


def test_the_release_publishes_without_a_password() -> None:
    jobs = parsed(ROOT / ".github/workflows/release.yml")["jobs"]
    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build"
    settings = str([step.get("with", {}) for step in publish["steps"]])
    assert not re.search("password|token|secrets", settings)


@pytest.mark.parametrize("file", FORMS, ids=lambda p: p.name)
def test_issue_forms_can_be_filled_in(file: Path) -> None:
    form = parsed(file)
    if file.name == "config.yml":
        assert form["blank_issues_enabled"] is False
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [f for f in form["body"] if f["type"] != "markdown"]
    assert len({f["id"] for f in fields}) == len(fields)
    assert all(f["attributes"]["label"] for f in fields)


def test_the_version_stands_in_one_place() -> None:
    """pyproject.toml has it; the citation and the changelog are of the same."""
    version = PROJECT["version"]
    code = [p for p in (ROOT / "attrib").rglob("*.py") if f'"{version}"' in p.read_text()]
    assert not code
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(version)}$", citation, flags=re.MULTILINE)
    headings = re.findall(
        r"^## \[(.*?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE
    )
    assert headings[0][0] == "Unreleased"
    assert headings[1][0] == version
    assert f"date-released: {headings[1][1]}" in citation


def test_addresses_are_named_once_there_are_any() -> None:
    """While the project is on no host, none is made up; what is published says where it lives."""
    assert bool(PROJECT.get("urls")) == _install.ON_INDEX


def test_the_documentation_is_built_as_configured() -> None:
    config = parsed(ROOT / ".readthedocs.yaml")
    assert (ROOT / config["sphinx"]["configuration"]).is_file()
    commands = str(config)
    assert "docs" in commands
    assert "docs" in PROJECT["optional-dependencies"]


@pytest.mark.parametrize(
    "name", ["CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "RELEASING.md"]
)
def test_files_that_maintainers_expect(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(text) > 300
    for link in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert "://" in link or (ROOT / link).exists()


@pytest.mark.parametrize("part", ["all", "tests"])
def test_a_failing_part_fails_the_run(part: str, tmp_path: Path) -> None:
    """Whatever comes after it."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "README.md").write_text("<!-- test command -->\n```sh\nfalse\n```\n")
    run = subprocess.run(["bash", ".ci/run", part], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "passed" not in run.stdout


PROGRAMS = (
    "pip",
    "ruff",
    "mypy",
    "lint-imports",
    "check-jsonschema",
    "zizmor",
    "pre-commit",
    "sphinx-build",
    "pytest",
)


@pytest.mark.parametrize("failing", [None, *PROGRAMS])
def test_a_failing_program_fails_the_run(failing: str | None, tmp_path: Path) -> None:
    """Also one of the checks, which run beside the documentation."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    lines = [f"printf '#!/bin/sh\nexit {int(p == failing)}\n' > .venv/bin/{p}" for p in PROGRAMS]
    command = " && ".join(["mkdir -p .venv/bin", *lines, "chmod +x .venv/bin/*"])
    (tmp_path / "README.md").write_text(f"<!-- test command -->\n```sh\n{command}\n```\n")
    run = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ("== passed" in run.stdout, run.returncode == 0) == (failing is None, failing is None), run.stderr
