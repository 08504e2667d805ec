"""Sequences in random order that keep their letters, or their pairs of neighbouring letters."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from attrib._seed import whole_seed
from attrib.domains.sequences.alphabet import UNKNOWN


def generator(codes: np.ndarray, seed: int, draw: int) -> np.random.Generator:
    """Random numbers that depend on a sequence's letters, the seed, and the number of the draw alone."""
    key = hashlib.blake2b(codes.tobytes(), digest_size=16, key=f"{whole_seed(seed)}/{draw}".encode())
    return np.random.Generator(np.random.PCG64(int.from_bytes(key.digest(), "little")))


class Letters:
    """All orders of a sequence's letters A, C, G, T; N keeps its position.

    Parameters
    ----------
    codes : array (positions,)
        0 to 3, and 4 for N.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.codes, self._letters = codes, np.flatnonzero(codes < UNKNOWN)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One of them, each with equal probability."""
        shuffled = self.codes.copy()
        shuffled[self._letters] = rng.permutation(self.codes[self._letters])
        return shuffled


class Pairs:
    """All sequences with the same pairs of neighbours, the same first and the same last letter; N keeps its position.

    Each stretch between Ns is shuffled by itself, so that pairs with N remain too.

    Parameters
    ----------
    codes : array (positions,)
        0 to 3, and 4 for N.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes
        edges = np.flatnonzero(np.diff(np.r_[True, codes >= UNKNOWN, True].astype(np.int8)))
        stretches = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        self._walks = [(a, b, _Walks(codes[a:b])) for a, b in stretches if b - a > 3]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One of them, each with equal probability."""
        shuffled = self.codes.copy()
        for a, b, walks in self._walks:
            shuffled[a:b] = walks.draw(rng)
        return shuffled


class _Walks:
    """Walks that use every pair of neighbours once, from the first letter to the last.

    The last exits from the letters form a tree towards the last letter. Every tree, with any order of the other exits,
    gives a walk (Altschul and Erickson 1985, doi:10.1093/oxfordjournals.molbev.a040370). With four letters there are at
    most 27 trees. So they are listed, and one is drawn with a probability in proportion to the ways to choose its
    exits. No draw is rejected.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self._first, self._last, self._size = int(codes[0]), int(codes[-1]), len(codes)
        exits = [np.sort(codes[1:][codes[:-1] == letter]) for letter in range(UNKNOWN)]
        counts = np.array([np.bincount(e, minlength=UNKNOWN) for e in exits], float)
        self._trees = _trees(counts, self._last)
        ways = np.array([np.prod([counts[edge] for edge in tree.items()]) for tree in self._trees])
        self._odds = np.cumsum(ways / ways.sum())
        self._exits = exits

    def draw(self, rng: np.random.Generator) -> list[int]:
        tree = self._trees[min(int(np.searchsorted(self._odds, rng.random(), "right")), len(self._trees) - 1)]
        order = [iter(_ordered(e, tree.get(k), rng)) for k, e in enumerate(self._exits)]
        letter, walk = self._first, [self._first]
        for _ in range(self._size - 1):
            letter = next(order[letter])
            walk.append(letter)
        return walk


def _ordered(exits: np.ndarray, last: int | None, rng: np.random.Generator) -> list[int]:
    """The exits in random order, one of the letter `last` at the end."""
    if last is None:
        return rng.permutation(exits).tolist()
    free = np.delete(exits, np.searchsorted(exits, last))
    return [*rng.permutation(free).tolist(), last]


def _trees(counts: np.ndarray, root: int) -> list[dict[int, int]]:
    """Every choice of a last exit for each letter but the root, by which all of them reach the root."""
    inner = [k for k in range(UNKNOWN) if k != root and counts[k].any()]
    choices = [[j for j in range(UNKNOWN) if j != k and counts[k, j]] for k in inner]
    trees = [dict(zip(inner, choice, strict=True)) for choice in itertools.product(*choices)]
    return [tree for tree in trees if all(_reaches(tree, k, root) for k in inner)]


def _reaches(tree: dict[int, int], start: int, root: int) -> bool:
    at = start
    for _ in range(UNKNOWN):
        at = tree.get(at, at)
    return at == root
