"""The command line: parse, call a workflow, report."""

from attrib.cli.run import main

__all__ = ["main"]
