"""How a missing extra is installed: the only place that names the package to pip."""

from __future__ import annotations

ON_INDEX = False  # a package index may have another project of this name


def install_hint(extra: str) -> str:
    """The command that installs an extra of the package.

    While the package is on no index, its name would install another project, so the command is for the folder of the source.
    """
    return f"pip install 'attrib[{extra}]'" if ON_INDEX else f"pip install -e '.[{extra}]' in attrib's folder"
