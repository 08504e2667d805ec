"""The lowest versions that pyproject.toml allows, as constraints for pip: `python .ci/lowest.py > lowest.txt`.

`python .ci/lowest.py torch==2.13.0+cpu` takes this version in place of the lowest: older builds of torch on PyPI are for GPUs only.
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
wanted = [
    *project["dependencies"],
    *(r for extra in project["optional-dependencies"].values() for r in extra),
]
lowest: dict[str, str] = {}
for requirement in wanted:
    name, version = re.fullmatch(r"([\w.-]+)(?:\[.*?\])?>=([\w.]+)", requirement).groups()  # type: ignore[union-attr]
    known = lowest.get(name.lower(), version)
    lowest[name.lower()] = min(known, version, key=lambda v: [int(part) for part in v.split(".")])
lowest |= dict(exception.split("==") for exception in sys.argv[1:])
print("\n".join(f"{name}=={version}" for name, version in sorted(lowest.items())))
