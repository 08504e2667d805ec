"""From the command line to an exit code: every error that a user can mend is one line on standard error."""

from __future__ import annotations

import errno
import opcode
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from attrib._arguments import near
from attrib._typed import command, drawers

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
REFUSALS = (
    ValueError,
    TypeError,
    NotImplementedError,
    KeyError,
    ImportError,
)  # what attrib raises for arguments
PACKAGE = str(Path(__file__).parents[1])
PATHS = sysconfig.get_paths()
LIBRARIES = (*(PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen")
TRACEBACK = "--traceback"
# a file, an address or code; other values, such as `none`, are words of any message
FILE_LIKE = re.compile(r"\w[./:]|[./:]\w")
# arguments of functions inside, and that of the command which they come from
INNER = {"f": "model", "x": "data", "slice_range": "input", "atlas_names": "atlas", "key_mm": "key_slices"}


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
        0: done. 2: refused, for what a user can put right: arguments, files, the model. 130: Ctrl-C. 1: a fault of the program
        itself; `--traceback`, anywhere among the arguments, shows where.
    """
    words = [word for word in arguments if word != TRACEBACK]
    empty = next((flag for flag, value in _typed_values(words) if not value.strip(" ,")), None)
    if empty is not None:
        return _report(f"{empty} is empty, expected a value", REFUSED)
    before = command.set(("attrib", *arguments))
    drawing = drawers.set(min(4, os.cpu_count() or 1))
    try:
        code = _program()(args=repeated(words), prog_name="attrib", standalone_mode=False)
        sys.stdout.flush()
        return _interrupted() if code == INTERRUPTED else code if isinstance(code, int) else OK
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if TRACEBACK in arguments:
            traceback.print_exception(error)
        return _refusal(error, words)
    finally:
        command.reset(before)
        drawers.reset(drawing)


def repeated(arguments: Sequence[str]) -> list[str]:
    """``--methods a b`` as ``--methods a --methods b``, for the options of the command that take several values."""
    command = _command(arguments)
    several = {flag for p in command.params if getattr(p, "multiple", False) for flag in p.opts}
    words: list[str] = []
    option = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in several else ""
        elif option and words[-1] != option:
            words.append(option)
        words.append(word)
    return words


@cache
def _program() -> Any:
    """All commands, as the parser takes them."""
    from typer.main import get_command

    from attrib.cli.commands import app

    return get_command(app)


def _command(arguments: Sequence[str]) -> Any:
    """The command that the arguments name."""
    command = _program()
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    return command


def _refusal(error: Exception, arguments: Sequence[str]) -> int:
    """Report what is wrong, in one line."""
    if type(error).__name__ == "Abort":  # how older parsers pass Ctrl-C on
        return _interrupted()
    if hasattr(error, "format_message"):  # the parser's own
        return _report(_usage(error, arguments), REFUSED)
    if isinstance(error, OSError) or (isinstance(error, REFUSALS) and _is_refusal(error.__traceback__)):
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        if getattr(error, "errno", None) == errno.ENOSPC:
            text = "no space is left where `output` is; the files that are there are whole, and the same command goes on"
        told = with_flags(str(text), arguments) or type(error).__name__
        return _report(_with_its_flag(told, arguments), REFUSED)
    described = f"{type(error).__name__}: {error}"
    place = _users_place(error.__traceback__)
    if place is not None:
        return _report(f"{place} raised {described}; {TRACEBACK} shows the way there", REFUSED)
    return _report(
        f"{described}; this is a fault of attrib, not of the command: add {TRACEBACK} to see where", FAILED
    )


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_refusal(trace: TracebackType | None) -> bool:
    """Whether a `raise` of this package is where the error began; not a call that failed by surprise."""
    *_, last = _frames(trace)
    code = last.tb_frame.f_code
    raising = code.co_code[last.tb_lasti] == opcode.opmap["RAISE_VARARGS"]
    return raising and code.co_filename.startswith(PACKAGE)


def _users_place(trace: TracebackType | None) -> str | None:
    """Where the traceback passes through a file of neither attrib nor a library: the user's model."""
    places = [
        f"{t.tb_frame.f_code.co_filename}, line {t.tb_lineno},"
        for t in _frames(trace)
        if not t.tb_frame.f_code.co_filename.startswith((PACKAGE, *LIBRARIES))
        and Path(t.tb_frame.f_code.co_filename).is_file()
    ]
    return places[-1] if places else None


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
        Names that are no argument of the command stay as they are. Of a flag with two names, that which the user took; what goes by
        `--set`, as its help or the user says, is called so.

    Examples
    --------
    >>> from attrib.cli.run import with_flags
    >>> with_flags("`batch_size` is 0; see `n_steps`, `atol`", ["explain"])
    '--batch-size is 0; see --set n_steps, `atol`'
    """
    flags: dict[str, str] = {}
    used = {word.partition("=")[0] for word in arguments}
    for p in _command(arguments).params:
        words = [o for o in p.opts if o.startswith("--")]
        flag = next((o for o in words if o in used), words[0] if words else f"`{p.name}`")
        flags |= {o.strip("-").replace("-", "_"): flag for o in words} | {p.name: flag}
    documented = [
        re.findall(r"\b([a-z_]+)=", getattr(p, "help", None) or "") for p in _command(arguments).params if "--set" in p.opts
    ]  # fmt: skip
    typed = {
        m[1]: f"--set {m[1]}" for word in arguments if (m := re.match(r"(?:--set=)?(?:\w+\.)?(\w+)=", word))
    }
    by_set = {name: f"--set {name}" for names in documented for name in names}
    for table in (flags, by_set):
        table |= {inner: table[outer] for inner, outer in INNER.items() if outer in table}
    of_methods = _arguments_of_methods() if by_set else ()
    by_set |= {name: f"--set {name}" for name in of_methods if name not in flags}
    several = {
        f"{name}s": flag for name, flag in flags.items() if f"{name}s" not in flags
    }  # several values of one flag
    if any("HEAD:OUTPUT" in (p.help or "") for p in _command(arguments).params if hasattr(p, "help")):
        text = re.sub(
            r"wrap it: lambda \*x: model\(\*x\)\S*",
            "name one of its heads by --target HEAD:OUTPUT, such as 1:0",
            text,
        )
    return re.sub(
        r"`(\w+)(?:=True)?`", lambda name: (by_set | several | flags | typed).get(name[1], name[0]), text
    )


def _arguments_of_methods() -> set[str]:
    """What `--set` may name, as far as methods are loaded: before, no error can be about one."""
    methods = sys.modules.get("attrib.functional")
    return set() if methods is None else {a for m in methods.METHODS.values() for a in m.about.arguments}


def _typed_values(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The flags of the running command that take a value, each with the values that the user typed."""
    command = _command(arguments)
    valued = {
        o for p in command.params if not getattr(p, "is_flag", False) for o in p.opts if o.startswith("-")
    }
    pairs: list[tuple[str, str]] = []
    flag = ""
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("-") and name in valued:
            flag = name
            pairs += [(name, value)] if equals else []
        elif word.startswith("-"):
            flag = ""
        elif flag:
            pairs.append((flag, word))
    return pairs


def _with_its_flag(text: str, arguments: Sequence[str]) -> str:
    """A message behind the flag whose file it quotes: `--data: there is no file x.csv`.

    One that names a flag stays as it is, unless it begins with a flag that names another file.
    """
    quoted: list[tuple[int, str]] = []
    others: set[str] = set()
    for flag, typed in _typed_values(arguments):
        for value in {typed.strip(), *typed.split(","), typed.partition("=")[2]}:
            path = Path(value.strip())
            spelled = [v for v in (value.strip(), str(path), path.name) if FILE_LIKE.search(v)]
            in_text = [len(v) for v in spelled if re.search(rf"(?<![\w/.-]){re.escape(v)}(?![\w-])", text)]
            quoted += [(n, flag) for n in in_text]
            others |= {flag} if spelled and not in_text else set()
    head = re.match(r"(--[a-z-]+): ", text)
    names_it = (
        head[1] not in others - {f for _, f in quoted} if head else re.search(r"(?<![\w-])--[a-z]", text)
    )
    if names_it or not quoted:
        return text
    return f"{max(quoted)[1]}: {text[head.end() :] if head else text}"


def _interrupted() -> int:
    return _report("interrupted; the files that are there are whole", INTERRUPTED)


def _usage(error: Any, arguments: Sequence[str]) -> str:
    """The parser's message, with the nearest command where older parsers leave it out."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "attrib"
    text = re.sub(r"\. Did you mean", "; did you mean", error.format_message().rstrip("."))
    wrong = re.match(r"No such command '(.*?)'", text)
    if wrong and "did you mean" not in text:
        text += near(wrong[1], getattr(_command(arguments), "commands", {}))
    return f"{text}{'' if text.endswith('?') else ';'} see {path} --help"


def _report(text: str, code: int) -> int:
    print(f"attrib: {' '.join(text.split())}", file=sys.stderr)
    return code
