"""From the command line to an exit code: every refusal is one line on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
USER_ERRORS = (ValueError, TypeError, NotImplementedError, OSError, KeyError, ImportError)


def main() -> None:
    """Run `attrib` with the arguments of this process, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str
        What follows `attrib`.

    Returns
    -------
    int
        0: done. 2: refused, for what a user can put right. 130: Ctrl-C. 1: anything else; `--traceback` shows where.
    """
    try:
        from attrib.cli.cells import repeated
        from attrib.cli.commands import app

        code = app(args=repeated(arguments), prog_name="attrib", standalone_mode=False)
        sys.stdout.flush()
        return _interrupted() if code == INTERRUPTED else code if isinstance(code, int) else OK
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if "--traceback" in arguments:
            raise
        return _refusal(error)


def _refusal(error: Exception) -> int:
    """Say what is wrong, in one line."""
    if type(error).__name__ == "Abort":  # how older parsers pass Ctrl-C on
        return _interrupted()
    if hasattr(error, "format_message"):  # the parser's own
        return _told(_usage(error), REFUSED)
    if isinstance(error, USER_ERRORS):
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return _told(str(text) or type(error).__name__, REFUSED)
    return _told(f"{type(error).__name__}: {error} (attrib --traceback ... shows where)", FAILED)


def _interrupted() -> int:
    return _told("interrupted; the files that are there are whole", INTERRUPTED)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "attrib"
    return f"{error.format_message().rstrip('.')}; see {path} --help"


def _told(text: str, code: int) -> int:
    print(f"attrib: {' '.join(text.split())}", file=sys.stderr)
    return code
