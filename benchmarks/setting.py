"""What a run of the benchmarks is about: where, how often, which networks; and the tables that it prints."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attrib.workflows.bench import seconds
from benchmarks.models import CASES, SMALL, Case

TARGET = 3


@dataclass(frozen=True)
class Setting:
    """Where to run, and how much.

    Attributes
    ----------
    device, dtype
        Of networks and inputs.
    rounds : int
        Alternating rounds; ratios are medians over them.
    batch_sizes : tuple of int
        For the sweep over batch sizes.
    quick : bool
        A smoke test: two small networks, one round, few samples.
    explained : int, optional
        How many samples are explained per timing, instead of each network's own number.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    rounds: int = 7
    batch_sizes: tuple[int, ...] = (4, 16, 64, 256, 1024)
    quick: bool = False
    explained: int | None = None

    @property
    def exact(self) -> Setting:
        """A small setting in double precision, in which answers are checked."""
        return Setting(self.device, torch.float64, quick=True)

    @property
    def cases(self) -> tuple[Case, ...]:
        return SMALL if self.quick else CASES

    @property
    def steps(self) -> int:
        return 8 if self.quick else 50

    def chunk(self, case: Case) -> int:
        """Rows per model call where both sides get the same."""
        return 256 if len(case.shapes[0]) == 1 else 64

    def samples(self, case: Case) -> int:
        if self.quick:
            return 2
        count = case.samples if self.device.type == "cpu" else 8 * case.samples
        return self.explained or count

    def ready(self, case: Case) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network and its inputs."""
        return (
            case.model(self.device, self.dtype),
            case.inputs(self.samples(case), self.device, self.dtype),
        )


def alternate(works: dict[str, Callable[[], object]], setting: Setting) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round, after one round that is not counted; the order turns round.

    One thread on a CPU is timed by the seconds it ran, which other programs on the machine change least.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(setting.rounds + 1):
        for name in works if turn % 2 else reversed(works):
            spent = _spent(works[name], setting)
            if turn:
                times[name].append(spent)
    return times


def _spent(work: Callable[[], object], setting: Setting) -> float:
    if setting.device.type == "cuda" or torch.get_num_threads() > 1:
        return seconds(work, setting.device)
    begin = time.process_time()
    work()
    return time.process_time() - begin


def ratio(times: dict[str, list[float]], numerator: str, denominator: str) -> float:
    """Median over the rounds of one time as a multiple of another's in the same round."""
    return statistics.median(a / b for a, b in zip(times[numerator], times[denominator], strict=True))


def difference(a: Tensor | tuple[Tensor, ...], b: Tensor | tuple[Tensor, ...]) -> float:
    """Largest difference of two results, as a fraction of the largest value."""
    pairs = zip(*(v if isinstance(v, tuple) else (v,) for v in (a, b)), strict=True)
    return max(float((p.to(q) - q).abs().max() / q.abs().max()) for p, q in pairs)


def check(what: str, error: float, allowed: float) -> None:
    """Refuse to time wrong answers."""
    if not error <= allowed:
        raise SystemExit(
            f"wrong answer: {what} differs by {error:.1e} of the largest value, allowed {allowed:.0e}"
        )


def tolerance(setting: Setting) -> float:
    """What rounding may change, as a fraction of the largest value: near a kink it can turn a ReLU or a max over."""
    return {torch.float64: 1e-8, torch.float32: 1e-2}.get(setting.dtype, 0.3)


def table(title: str, words: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A section in Markdown."""
    lines = [f"## {title}", "", words, "", _line(columns), _line(["---"] * len(columns)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def verdict(value: float, demand: float, *, at_least: bool = False) -> str:
    """Whether a demand is met."""
    met = value >= demand if at_least else value <= demand
    return "met" if met else "MISSED"
