"""Every kind of picture that the studies of pairs and of cells write in the tests has to be legible."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from attrib.testing import legible

LOOKED_AT = 2  # of the pictures of one name
seen: Counter[str] = Counter()


@pytest.fixture(autouse=True, scope="module")
def _pictures_are_legible(request: pytest.FixtureRequest) -> Any:
    if not request.module.__name__.endswith(("test_fcgr", "test_cells")):
        yield
        return
    save = Figure.savefig

    def savefig(self: Figure, path: Any, *args: Any, **options: Any) -> None:
        kind = re.sub(r"-[0-9a-f]{8}\.png$|\d+", "", Path(str(path)).name)
        seen[kind] += 1
        if seen[kind] <= LOOKED_AT:
            legible(self)
        save(self, path, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield
