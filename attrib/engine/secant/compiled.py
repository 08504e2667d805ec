"""A replay as one compiled program: torch.compile fuses the chains of elementwise ops between the heavy ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from attrib.engine.graph import Graph
from attrib.engine.secant.replay import Secant, secant

Program = Callable[..., tuple[Tensor, ...]]


class Compiled:
    """Replays of one graph, compiled for the sizes of the first.

    Parameters
    ----------
    graph : Graph
        What is replayed.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._programs: dict[int, Program] = {}  # by the number of targets

    def __call__(self, x0: Sequence[Tensor], x1: Sequence[Tensor], cotangents: Tensor) -> Secant:
        """As `secant`; `pull` gives the multipliers of these cotangents and of no others.

        Raises
        ------
        RuntimeError
            If torch.compile cannot work here, for example without a C++ compiler.
        NotImplementedError
            As `secant`.
        """
        given = (*x0, *x1, cotangents)
        try:
            if len(cotangents) not in self._programs:
                self._programs[len(cotangents)] = self._program(given)
            y0, y1, *multipliers = self._programs[len(cotangents)](*given)
        except (
            NotImplementedError,
            torch.OutOfMemoryError,
        ):  # the model's own, and what a smaller chunk mends
            raise
        except Exception as problem:
            first = str(problem).strip().partition("\n")[0]
            raise RuntimeError(
                f"`compile=True` does not work here; leave it out. torch.compile says: {first}"
            ) from problem
        changes = tuple(b - a for a, b in zip(x0, x1, strict=True))
        return Secant(y0, y1, changes, lambda *_, **__: tuple(multipliers))

    def _program(self, given: tuple[Tensor, ...]) -> Program:
        count = len(self.graph.inputs)

        def replay(*given: Tensor) -> tuple[Tensor, ...]:
            found = secant(self.graph, given[:count], given[count : 2 * count])
            return found.y0, found.y1, *found.pull(given[-1])

        return torch.compile(make_fx(replay)(*given))
