"""What convolutions and pools have in common: a kernel that slides along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from attrib.engine.window.rule import Rule, Span


class Kernel(NamedTuple):
    """A kernel along one axis: result i reads i * stride - padding + k * dilation for k < size."""

    size: int
    stride: int
    dilation: int
    padding: int

    @property
    def extent(self) -> int:
        """Positions from the first to the last that one result reads, less one."""
        return (self.size - 1) * self.dilation


@dataclass
class Sliding(Rule):
    """An op whose result reads its source through a kernel."""

    kernels: tuple[Kernel, ...] = ()

    def reach(self, spans: Sequence[Span]) -> Span:
        """Every result that reads a changed position."""
        return tuple(
            (-((k.extent - lo - k.padding) // k.stride), (hi - 1 + k.padding) // k.stride + 1)
            for (lo, hi), k in zip(spans[0], self.kernels, strict=True)
        )

    def need(self, span: Span) -> Span:
        """Every position that the results read."""
        return under(self.kernels, span)

    @property
    def strides(self) -> tuple[int, ...]:
        """The kernels'."""
        return tuple(k.stride for k in self.kernels)


def under(kernels: Sequence[Kernel], span: Span) -> Span:
    """Every position that the results over a span read."""
    return tuple(
        (lo * k.stride - k.padding, (hi - 1) * k.stride - k.padding + k.extent + 1)
        for (lo, hi), k in zip(span, kernels, strict=True)
    )


def per_dim(value: Any, dims: int) -> list[int]:
    """An option of a convolution or pool, one number per spatial dim."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values
