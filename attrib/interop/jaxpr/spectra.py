"""Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import translation

KINDS: dict[str, Callable[..., Tensor]] = {
    "FFT": torch.fft.fftn,
    "IFFT": torch.fft.ifftn,
    "RFFT": torch.fft.rfftn,
    "IRFFT": torch.fft.irfftn,
}


@translation("fft")
def transform(step: Step, x: Tensor) -> Tensor:
    """Over the last dims."""
    kind, lengths = step.params["fft_type"], tuple(step.params["fft_lengths"])
    return KINDS[getattr(kind, "name", str(kind)).upper()](x, s=lengths, dim=tuple(range(-len(lengths), 0)))
