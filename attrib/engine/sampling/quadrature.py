"""Nodes and weights for integrals over [0, 1]."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from attrib._arguments import near, refuse_what_cannot_fit

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
LEVELS = (3, 5, 9, 17, 33, 65, 129, 257, 513, 1025)  # nested Clenshaw-Curtis: each level holds the one before

_BYTES = 48  # of memory for each node of a rule, while it is computed
_MANY = 1 << 20  # nodes; so many fit everywhere
_BY_RECURRENCE, _TERMS = 30, 16  # behind the 30th node, 16 terms of the series are exact to rounding


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
        raise ValueError(f"`quadrature` is {name!r}, expected one of {', '.join(RULES)}{near(name, RULES)}")
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"`n_steps` is {n!r}, expected an int")
    least = 1 if name == "gausslegendre" else 2
    if n < least:
        raise ValueError(f"`n_steps` is {n}, expected at least {least} for {name}")
    if n > _MANY:
        refuse_what_cannot_fit(_BYTES * n, "n_steps", f"{n:,} nodes")
    return gauss_legendre(n) if name == "gausslegendre" else _riemann(name, n)


def _kept(build: Callable[[int], tuple[Tensor, Tensor]]) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Compute a rule once for each number; nobody may write to it. Wherever it is first called from, it is plain CPU memory."""

    @functools.lru_cache(64)
    @functools.wraps(build)
    def cached(n: int) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.device("cpu"):
            return build(n)

    return cached


@_kept
def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Exact for polynomials of degree 2n - 1, in O(n).

    The nodes are the roots cos(theta) of the Legendre polynomial P_n, the weights 2 / (dP_n / dtheta)^2. P_n comes from its
    recurrence for the nodes next to the end, and from Stieltjes' asymptotic series for all others, as in Hale and Townsend (2013),
    doi:10.1137/120889873; the roots from Newton's method with its next term, which the differential equation of P_n gives.
    """
    count = (n + 1) // 2
    k = torch.arange(1, count + 1, dtype=torch.float64)
    ends = min(count, _BY_RECURRENCE)
    phase = (k - 0.25) * math.pi
    zero = phase + 1 / (8 * phase) - 31 / (384 * phase**3)  # of the Bessel function J_0
    psi = zero / (n + 0.5)
    theta = psi + (psi / torch.tan(psi) - 1) / (8 * psi * (n + 0.5) ** 2)
    for _ in range(2):  # the error's third power each: 2e-3, 1e-8, 1e-24
        value, slope = _legendre(n, theta, ends)
        step = -value / slope
        theta = theta + step * (1 + step / torch.tan(theta) / 2 - n * (n + 1) * step**2 / 2)
    weights = 1 / _legendre(n, theta, ends)[1] ** 2
    nodes = torch.sin(theta / 2) ** 2  # (1 - cos theta) / 2, exact next to zero
    if n % 2:
        nodes[-1] = 0.5
    other = slice(0, n // 2)
    nodes = torch.cat([nodes, (1 - nodes[other]).flip(0)])
    return nodes, torch.cat([weights, weights[other].flip(0)])


def _legendre(n: int, theta: Tensor, ends: int) -> tuple[Tensor, Tensor]:
    """P_n(cos theta) and its derivative in theta; the first `ends` angles are the smallest."""
    values = _by_recurrence(n, theta[:ends]), _by_series(n, theta[ends:])
    return torch.cat([values[0][0], values[1][0]]), torch.cat([values[0][1], values[1][1]])


def _by_recurrence(n: int, theta: Tensor) -> tuple[Tensor, Tensor]:
    """By differences P_k+1 - P_k, whose factor x - 1 = -2 sin^2(theta / 2) is exact next to the end."""
    gap = -2 * torch.sin(theta / 2) ** 2
    value, difference = torch.ones_like(theta), gap.clone()
    before = value
    for k in range(1, n + 1):
        before, value = value, value + difference
        difference = torch.addcmul(difference * (k / (k + 1)), gap, value, value=(2 * k + 1) / (k + 1))
    return value, n * ((value - before) + gap * value) / torch.sin(theta)


def _by_series(n: int, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Terms h_m cos(alpha_m) / (2 sin theta)^(m + 1/2), alpha_m = (n + m + 1/2) theta - (m + 1/2) pi / 2."""
    sine, cosine = torch.sin(theta), torch.cos(theta)
    odd = torch.arange(2, 2 * n + 1, 2, dtype=torch.float64)
    scale = 4 / math.pi * math.exp(-float(torch.log1p(1 / odd).sum()))  # product of j / (j + 1/2)
    factor = scale / torch.sqrt(2 * sine)
    value, slope = torch.zeros_like(theta), torch.zeros_like(theta)
    for m in range(_TERMS):
        alpha = (n + m + 0.5) * theta - (m + 0.5) * (math.pi / 2)
        wave = torch.cos(alpha)
        value += factor * wave
        slope -= factor * ((n + m + 0.5) * torch.sin(alpha) + (m + 0.5) * cosine / sine * wave)
        factor = factor * ((m + 0.5) ** 2 / ((m + 1) * (n + m + 1.5))) / (2 * sine)
    return value, slope


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


@_kept
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


@_kept
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
