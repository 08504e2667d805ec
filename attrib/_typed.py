"""The command that is running, as it was typed, for the records of runs; empty for calls from Python."""

from __future__ import annotations

from contextvars import ContextVar

command: ContextVar[tuple[str, ...]] = ContextVar("command", default=())
