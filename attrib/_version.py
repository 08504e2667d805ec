"""The installed version, which results carry in their attrs."""

from importlib.metadata import version

__version__ = version("attrib")
