"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def near(value: object, names: Iterable[object], most: int = 1) -> str:
    """``"; did you mean 'saliency'?"`` where a name, or so many at most, is close to the value, else nothing: the end of an error's message.

    Examples
    --------
    >>> from attrib._nearest import near
    >>> near("saliance", ["saliency", "deep_lift"]), near("x", ["saliency"])
    ("; did you mean 'saliency'?", '')
    """
    from difflib import get_close_matches

    spelled = {str(name).lower(): str(name) for name in names}
    close = get_close_matches(str(value).lower(), spelled, most)
    return f"; did you mean {' or '.join(repr(spelled[c]) for c in close)}?" if close else ""


def refuse_unnamed(argument: str, names: Sequence[object], available: Iterable[object]) -> None:
    """Refuse names that there are not, and a list without names.

    Raises
    ------
    ValueError
        Naming the argument, those that are unknown, and those that there are.
    """
    there = list(available)
    unknown = [n for n in names if n not in there]
    if unknown or not names:
        raise ValueError(
            f"`{argument}` is {', '.join(map(str, unknown)) or 'empty'}, expected some of {', '.join(map(str, there[:20]))}"
            f"{near(unknown[0] if unknown else '', there)}"
        )
