"""From the command line to an exit code: every error that a user can mend is one line on standard error."""

from __future__ import annotations

import os
import re
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
        return _refusal(error, arguments)


def _refusal(error: Exception, arguments: Sequence[str]) -> int:
    """Report what is wrong, in one line."""
    if type(error).__name__ == "Abort":  # how older parsers pass Ctrl-C on
        return _interrupted()
    if hasattr(error, "format_message"):  # the parser's own
        return _report(_usage(error), REFUSED)
    if isinstance(error, USER_ERRORS):
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return _report(with_flags(str(text), arguments) or type(error).__name__, REFUSED)
    return _report(f"{type(error).__name__}: {error} (attrib --traceback ... shows where)", FAILED)


def with_flags(text: str, arguments: Sequence[str]) -> str:
    """A message with the flags of the running command in place of the names of its arguments.

    Parameters
    ----------
    text : str
        The message of an error raised in Python, with arguments in backticks: `` `batch_size` ``, `` `overwrite=True` ``.
    arguments : sequence of str
        What follows `attrib`; it names the command.

    Returns
    -------
    str
        Names that are no argument of the command stay as they are.

    Examples
    --------
    >>> from attrib.cli.run import with_flags
    >>> with_flags("`batch_size` is 0; see `n_steps`", ["explain"])
    '--batch-size is 0; see `n_steps`'
    """
    from typer.main import get_command

    from attrib.cli.commands import app

    command: Any = get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    flags = {p.name: next((o for o in p.opts if o.startswith("--")), f"`{p.name}`") for p in command.params}
    several = {
        f"{name}s": flag for name, flag in flags.items() if f"{name}s" not in flags
    }  # several values of one flag
    return re.sub(r"`(\w+)(?:=True)?`", lambda name: (several | flags).get(name[1], name[0]), text)


def _interrupted() -> int:
    return _report("interrupted; the files that are there are whole", INTERRUPTED)


def _usage(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "attrib"
    return f"{error.format_message().rstrip('.')}; see {path} --help"


def _report(text: str, code: int) -> int:
    print(f"attrib: {' '.join(text.split())}", file=sys.stderr)
    return code
