"""The documentation says what the code does: examples run, the table is the register, public names are documented."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import attrib
from attrib.cli.commands import app
from attrib.cli.run import run
from attrib.functional import METHODS
from attrib.testing import AXIOMS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [*(p for p in sorted((ROOT / "docs").rglob("*.md")) if "notebooks" not in p.parts), README]
MODULES = ("attrib", "attrib.functional", "attrib.testing", "attrib.interop.jax")
LISTED_MODULES = (  # beside these in docs/reference
    "attrib.io", "attrib.stats", "attrib.plots", "attrib.domains.sequences", "attrib.domains.motifs", "attrib.domains.fcgr",
)  # fmt: skip
PUBLIC = [f"{m}.{name}" for m in MODULES for name in importlib.import_module(m).__all__]
LISTED = [f"{m}.{name}" for m in LISTED_MODULES for name in importlib.import_module(m).__all__]
CHECKS = {"GL08", "SS01", "EX01", "PR01", "PR02", "PR03", "RT01"}  # of numpydoc, as in docs/conf.py
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(text: str) -> list[tuple[int, str, str]]:
    """Line, language and code of the fenced blocks of a Markdown page."""
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text[: m.start(2)].count("\n"), m[1], m[2]) for m in found]


def public(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` blocks run in order, `pycon` blocks give what they show; all of a page share their names."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for line, language, code in blocks(page.read_text()):
        if language == "python" and ">>>" not in code:
            exec(compile("\n" * line + code, str(page), "exec"), names)
        elif language in ("python", "pycon"):
            report: list[str] = []
            example = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
            runner = doctest.DocTestRunner(optionflags=OPTIONS)
            runner.run(example, out=report.append, clear_globs=False)
            assert not report, "".join(report)
            names = example.globs


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    """A first line; Parameters for each argument, or Attributes for each field; Returns."""
    value = public(name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    sections = numpydoc_sections(inspect.getdoc(value) or "")
    assert sections[""].strip()
    if inspect.isclass(value):
        fields = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", {})
        assert set(fields) <= entries(sections.get("Attributes", "") + sections.get("Parameters", ""))
        return
    arguments = {p.name for p in inspect.signature(value).parameters.values()}
    assert arguments == entries(sections.get("Parameters", ""))
    assert "Returns" in sections or "Yields" in sections or returns_nothing(value)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_public_names_run(name: str) -> None:
    """Also those of functions that are made, where pytest does not look for examples."""
    doc = inspect.getdoc(public(name)) or ""
    if not callable(public(name)) or ">>> " not in doc:
        return
    if "jax" in doc:
        pytest.importorskip("jax")
    example = doctest.DocTestParser().get_doctest(doc, {}, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", [*PUBLIC, *LISTED])
def test_docstrings_pass_numpydocs_checks(name: str) -> None:
    """A summary, an example, the parameters in the order of the signature. Records have Attributes, see above."""
    validate = pytest.importorskip(
        "numpydoc.validate", reason="numpydoc is not installed; it is in the extra `docs`"
    )
    if not inspect.isfunction(public(name)):
        return
    doc = validate.get_doc_object(public(name))
    errors = [(code, text) for code, text in validate.validate(doc)["errors"] if code in CHECKS]
    assert not errors


def listed(page: str) -> list[str]:
    """The full names in a page of the reference."""
    names, module = [], ""
    for line in (ROOT / "docs" / "reference" / page).read_text().splitlines():
        module = line.removeprefix(".. currentmodule:: ") if line.startswith(".. currentmodule::") else module
        names += [f"{module}.{line.strip()}"] if re.match(r"   \w", line) else []
    return names


STUDIES = listed("workflows.rst")


@pytest.mark.parametrize("name", STUDIES)
def test_studies_are_documented(name: str) -> None:
    """Parameters in the order of the signature, what comes back, and an example, which pytest runs with the module."""
    validate = pytest.importorskip(
        "numpydoc.validate", reason="numpydoc is not installed; it is in the extra `docs`"
    )
    doc = validate.get_doc_object(public(name))
    records = {"PR01", "EX01"} if inspect.isclass(public(name)) else set()  # these have Attributes
    assert not [e for e in validate.validate(doc)["errors"] if e[0] in CHECKS - records]
    if records:
        sections = numpydoc_sections(inspect.getdoc(public(name)) or "")
        assert set(public(name)._fields) <= entries(sections["Attributes"])


def test_every_study_is_in_the_reference() -> None:
    packages = [
        f"attrib.workflows.{p.parent.name}"
        for p in sorted((ROOT / "attrib" / "workflows").glob("*/__init__.py"))
    ]
    assert packages
    public_names = {
        f"{m}.{n}" for m in packages for n in importlib.import_module(m).__all__ if n != "METHODS"
    }
    assert public_names <= set(STUDIES)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_labelled_docstrings_speak_of_labels(name: str) -> None:
    sections = numpydoc_sections(inspect.getdoc(getattr(attrib, name)) or "")
    assert "Tensor" not in sections["Returns"]
    assert re.search(r"^x : .*(Dataset|DataArray)", sections["Parameters"], flags=re.MULTILINE)
    assert "xr.DataArray" in sections["Examples"]
    assert f"attrib.{name}(" in sections["Examples"]
    assert "functional" not in sections["Examples"]
    for section in ("Returns", "Examples"):
        assert ".explain" not in sections[section]
    for words in (
        "the explanation",
        "`Explanation`",
        "its notes",
        "per_sample",
        "float tensors",
        "tuple of Tensor",
    ):
        assert not [title for title, text in sections.items() if words in text]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_say_what_they_cost_and_where_they_come_from(name: str) -> None:
    sections = numpydoc_sections(inspect.getdoc(METHODS[name]) or "")
    assert {"Parameters", "Returns", "Raises", "Notes", "References", "Examples"} <= set(sections)
    assert re.search(r"(arXiv:\d|doi:10\.)", sections["References"])


def numpydoc_sections(doc: str) -> dict[str, str]:
    """The sections of a numpydoc docstring by title; what stands before the first one under ""."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", doc, flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> set[str]:
    """The names that a section of parameters or attributes explains."""
    heads = re.findall(r"^([\w*][\w*, ]*?) *(?::.*)?$", section, flags=re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


def returns_nothing(function: Callable[..., Any]) -> bool:
    return inspect.signature(function).return_annotation in (None, "None", "Iterator[None]")


def method_table(text: str) -> list[tuple[str, ...]]:
    """The rows of the README's table of methods."""
    rows = text.split("<!-- methods -->")[1].strip().splitlines()[2:]
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]


def test_readme_lists_the_methods() -> None:
    expected = [
        (
            f"`{m.about.name}`",
            m.about.long_name,
            ", ".join(a.replace("_", " ") for a in m.about.axioms) or "none",
            m.about.cost,
        )
        for m in METHODS.values()
    ]
    assert method_table(README.read_text()) == expected


def test_methods_are_in_the_order_of_the_readme_whatever_was_imported_first() -> None:
    code = "import attrib.functional.{}; import attrib.functional as F; print(*F.METHODS)"
    for first in ("cam", "saliency"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(first)], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [row[0].strip("`") for row in method_table(README.read_text())]


def test_the_plan_of_the_house_shows_the_house() -> None:
    """Every path on the page exists, and every part of the package is on it."""
    rows = [
        line
        for line in (ROOT / "docs" / "architecture.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    shown = {path for row in rows for path in re.findall(r"`([\w/.]+)`", row.split("|")[1])}
    assert not [path for path in shown if not (ROOT / "attrib" / path).exists()]
    parts = {p.name + "/" * p.is_dir() for p in (ROOT / "attrib").iterdir() if not p.name.startswith("_")}
    assert parts - {"py.typed"} <= shown


def test_every_axiom_is_explained() -> None:
    """A method may claim only what the page on methods says in words."""
    page = (ROOT / "docs" / "methods.md").read_text()
    assert set(AXIOMS) == {
        t.replace(" ", "_") for t in re.findall(r"^(\w[\w ]*)\n: ", page, flags=re.MULTILINE)
    }
    assert {a for m in METHODS.values() for a in m.about.axioms} <= set(AXIOMS)


def test_the_command_line_is_described_as_it_is(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command has its row; every option that the page names exists."""
    monkeypatch.setenv("COLUMNS", "200")
    page = (ROOT / "docs" / "command-line.md").read_text()
    commands = [c.name or c.callback.__name__ for c in app.registered_commands]
    groups = {g.name: [c.name for c in g.typer_instance.registered_commands] for g in app.registered_groups}
    commands += groups
    assert set(commands) == set(re.findall(r"^\| `attrib (\w+)`", page, flags=re.MULTILINE))
    assert all(run([*command, "--help"]) == 0 for command in ([], *([c] for c in commands)))
    assert all(run([g, c, "--help"]) == 0 for g, inner in groups.items() for c in inner)
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= set(
        re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)
    )


def test_ci_runs_the_readmes_test_command() -> None:
    """The script that CI runs takes the command out of the README; this is the line that it takes."""
    awk = re.search(r"awk '(.*?)' README", (ROOT / ".ci" / "run").read_text())
    assert awk
    line = subprocess.run(["awk", awk[1], str(README)], capture_output=True, text=True, check=True).stdout
    assert line.count("\n") == 1
    assert "-c constraints.txt" in line
    assert ".venv/bin/pytest" in line


def test_readme_picture_is_small() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text())
    assert pictures
    assert all((ROOT / p).stat().st_size < 300_000 for p in pictures)


def test_every_benchmark_is_listed() -> None:
    scripts = {
        p.stem for p in (ROOT / "benchmarks").glob("*.py") if 'if __name__ == "__main__"' in p.read_text()
    }
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    inner = {"__main__", "gradients", "walk"}  # `python -m benchmarks` itself, and a part of `way`
    assert set(re.findall(r"-m benchmarks\.(\w+)", page)) == scripts - inner
