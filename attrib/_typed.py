"""What only the command line knows: the command as it was typed, for the records of runs, and how many processes may draw. Nothing of it for calls from Python."""

from __future__ import annotations

from contextvars import ContextVar

command: ContextVar[tuple[str, ...]] = ContextVar("command", default=())

# Processes import the main program again, which a script in Python may not bear; the command does.
drawers: ContextVar[int] = ContextVar("drawers", default=0)
