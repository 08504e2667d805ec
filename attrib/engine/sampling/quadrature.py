"""Nodes and weights for integrals over [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
LEVELS = (3, 5, 9, 17, 33, 65, 129, 257, 513, 1025)  # nested Clenshaw-Curtis: each level holds the one before


def rule(name: str, n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights (n,), float64, of a named rule.

    Parameters
    ----------
    name : str
        One of `RULES`. The Riemann rules are captum's, its trapezoid included: there all nodes but the ends weigh
        1/n although they lie 1/(n - 1) apart, so the weights sum to 1 - 1/n.
    n : int
        Number of nodes, at least 1; at least 2 for the Riemann rules.

    Raises
    ------
    ValueError, TypeError
        For an unknown rule or too few nodes.
    """
    if name not in RULES:
        raise ValueError(f"`quadrature` is {name!r}, expected one of {', '.join(RULES)}")
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"`n_steps` is {n!r}, expected an int")
    least = 1 if name == "gausslegendre" else 2
    if n < least:
        raise ValueError(f"`n_steps` is {n}, expected at least {least} for {name}")
    return gauss_legendre(n) if name == "gausslegendre" else _riemann(name, n)


def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Exact for polynomials of degree 2n - 1.

    Golub and Welsch (1969), doi:10.1090/S0025-5718-69-99647-1: the nodes are the eigenvalues of the Jacobi matrix of
    the Legendre polynomials, the weights the squared first components of its eigenvectors.
    """
    k = torch.arange(1, n, dtype=torch.float64)
    beside = k / torch.sqrt(4 * k * k - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (nodes + 1) / 2, vectors[0] ** 2


def _riemann(name: str, n: int) -> tuple[Tensor, Tensor]:
    weights = torch.full((n,), 1 / n, dtype=torch.float64)
    first, last = {
        "riemann_left": (0, 1 - 1 / n),
        "riemann_right": (1 / n, 1),
        "riemann_middle": (1 / (2 * n), 1 - 1 / (2 * n)),
        "riemann_trapezoid": (0, 1),
    }[name]
    if name == "riemann_trapezoid":
        weights[[0, -1]] /= 2
    return torch.linspace(first, last, n, dtype=torch.float64), weights


def clenshaw_curtis(n: int) -> tuple[Tensor, Tensor]:
    """Exact for polynomials of degree n - 1; nodes of n = 2^m + 1 hold those of 2^(m-1) + 1.

    Clenshaw and Curtis (1960), doi:10.1007/BF01386223; weights as the cosine sum of Waldvogel (2006),
    doi:10.1007/s10543-006-0045-4.
    """
    theta = torch.arange(n, dtype=torch.float64) * (math.pi / (n - 1))
    j = torch.arange(1, (n - 1) // 2 + 1, dtype=torch.float64)
    b = torch.full_like(j, 2.0)
    if (n - 1) % 2 == 0:
        b[-1] = 1.0
    cosines = torch.cos(2 * j[None] * theta[:, None])
    weights = (1 - (b / (4 * j * j - 1) * cosines).sum(1)) / (n - 1)
    weights[[0, -1]] /= 2
    return (1 - torch.cos(theta)) / 2, weights


def nested(level: int) -> tuple[Tensor, Tensor]:
    """The nodes that `LEVELS[level]` adds to the level before, and their weights in this and all later levels.

    Returns
    -------
    nodes : Tensor (new,)
    weights : Tensor (levels - level, new)
        Row m holds the weights of the new nodes in the rule of level `level + m`. Sums kept for every level while the
        nodes are visited once make each level's integral available without storing what was integrated.
    """
    n = LEVELS[level]
    fresh = torch.arange(n) if level == 0 else torch.arange(1, n, 2)
    rows = [clenshaw_curtis(m)[1][fresh * ((m - 1) // (n - 1))] for m in LEVELS[level:]]
    return clenshaw_curtis(n)[0][fresh], torch.stack(rows)
