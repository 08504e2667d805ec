"""What a type checker and an editor see: wrong calls are errors, right ones have types, the stub is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.labelled_stub import STUB, stub

CALLS = Path(__file__).with_name("typed_calls.py")


def test_the_stub_of_the_labelled_functions_is_up_to_date() -> None:
    assert STUB.read_text() == stub(), "run python -m tests.labelled_stub"


def test_mypy_sees_wrong_calls_and_no_others() -> None:
    """With the settings and the cache of the repository, so that whoever checks the types next takes half the time."""
    pytest.importorskip("mypy", reason="mypy is not installed; it is in the extra `test`")
    command = [sys.executable, "-m", "mypy", str(CALLS)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=CALLS.parents[1]).stdout
    lines = CALLS.read_text().splitlines()
    expected = [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]
    errors = {int(n) for n in re.findall(r"typed_calls\.py:(\d+): error", output)}
    assert sorted(errors) == expected, output
