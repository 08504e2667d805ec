"""What may import what. The layers themselves are import-linter contracts in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import attrib

PACKAGE = Path(__file__).parents[1] / "attrib"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "jax", "dask", "zarr", "matplotlib", "netCDF4", "scipy", "sklearn", "hypothesis", "typer", "rich", "captum",
    "safetensors",
)  # fmt: skip


def imported(*modules: str) -> set[str]:
    """Top-level packages in memory after a fresh interpreter has imported `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_attrib_is_light() -> None:
    """What a method does not need is imported by the function that does."""
    assert imported("attrib", "attrib.labelled").isdisjoint(HEAVY)
    assert imported("attrib", "attrib.cli.commands").isdisjoint({"torch", "numpy", "pandas", "xarray"})


def test_help_needs_no_torch() -> None:
    code = "import sys; from attrib.cli.run import run; assert run(['--help']) == 0; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "What did the network look at?" in done.stdout
    assert done.stdout.split()[-1] == "False"


def test_the_other_rooms_are_found_when_they_are_used() -> None:
    """`import attrib; attrib.plots.logo(...)`, in a fresh interpreter; names that do not exist are errors."""
    rooms = [
        "plots.logo",
        "stats.agreement",
        "io.load",
        "testing.completeness",
        "interop.jax",
        "domains",
        "workflows",
    ]
    code = f"import attrib; {'; '.join(f'attrib.{room}' for room in rooms)}; assert 'plots' in dir(attrib)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'attrib' has no attribute 'plotz'"):
        attrib.plotz  # noqa: B018


def test_the_functional_layer_is_usable_without_labels() -> None:
    """Tensors in, tensors out: nothing that the pure methods need knows xarray."""
    tree = {
        f: ast.parse(f.read_text())
        for f in FILES
        if f.relative_to(PACKAGE).parts[0] in ("engine", "functional")
    }
    wrong = {
        str(f.relative_to(PACKAGE))
        for f, t in tree.items()
        if {"xarray", "numpy", "pandas"} & set(_packages(t))
    }
    assert not wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_file_imports_the_privates_of_another(file: Path) -> None:
    """A name that another file needs is a name of the file's own interface."""
    private = [
        f"from {node.module} import {name.name}"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attrib")
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert not private


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_but_the_command_line_prints(file: Path) -> None:
    """A library returns; the command line and its workflows tell."""
    if file.relative_to(PACKAGE).parts[0] in ("cli", "cli.py", "workflows"):
        return
    calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def _packages(tree: ast.AST) -> list[str]:
    """Top-level packages that a file imports anywhere, also inside functions."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name.partition(".")[0] for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "").partition(".")[0])
    return found
