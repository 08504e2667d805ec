"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def near(value: object, names: Iterable[object]) -> str:
    """``"; did you mean 'saliency'?"`` where a name is close to the value, else nothing: the end of an error's message.

    Examples
    --------
    >>> from attrib._nearest import near
    >>> near("saliance", ["saliency", "deep_lift"]), near("x", ["saliency"])
    ("; did you mean 'saliency'?", '')
    """
    from difflib import get_close_matches

    spelled = {str(name).lower(): str(name) for name in names}
    close = get_close_matches(str(value).lower(), spelled, 1)
    return f"; did you mean {spelled[close[0]]!r}?" if close else ""
