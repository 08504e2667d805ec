"""Watches the pictures that tests save, the first two of each kind: their texts have to be legible, and drawn as they are written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from attrib.plots.drawing import Drawing
from attrib.testing import LegibilityError
from attrib.testing.legibility import drawn_lines, refuse_unreadable

LOOKED_AT = 2  # of the pictures of one kind
faults: list[str] = []


@pytest.fixture(autouse=True, scope="session")
def _pictures_are_looked_at() -> Iterator[None]:
    """`Figure.savefig` measures what it saved, where it stands in the file."""
    save, looked_at = Figure.savefig, Counter[str]()

    def savefig(self: Figure, path: Any, *args: Any, **options: Any) -> None:
        named = isinstance(path, str | Path)
        kind = re.sub(r"-[0-9a-f]{8}\b|\d+", "", Path(path).name) if named else ""
        looked_at[kind] += named
        if named and not isinstance(self, Drawing):
            faults.append(f"{kind} is no figure of the library: names in it would be read as formulas")
        save(self, path, *args, **options)
        if looked_at[kind] <= LOOKED_AT:
            try:
                refuse_unreadable(drawn_lines(self, laid_out=True))
            except LegibilityError as error:
                faults.append(f"{Path(path).name if named else 'a figure'}: {error}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture(autouse=True)
def _pictures_are_legible() -> Iterator[None]:
    """The test in which a picture was saved, or for which its fixtures saved it, fails with what cannot be read."""
    yield
    found = "\n".join(faults)
    faults.clear()
    assert not found, found
