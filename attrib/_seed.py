"""What may be the seed of draws."""

from __future__ import annotations

import operator

BITS = 64


def whole_seed(seed: int) -> int:
    """The seed as a whole number from 0 on, of 64 bits; negative ones stand at their end.

    Raises
    ------
    TypeError, ValueError
        For anything but a whole number, and for one of more bits.

    Examples
    --------
    >>> from attrib._seed import whole_seed
    >>> whole_seed(3), whole_seed(-1) == 2**64 - 1
    (3, True)
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = None
    if number is None or isinstance(seed, bool):
        raise TypeError(f"`seed` is {seed!r}, expected an int")
    if not -(2 ** (BITS - 1)) <= number < 2**BITS:
        raise ValueError(f"`seed` is {seed}, expected an int of {BITS} bits")
    return number % 2**BITS
