"""Models of other libraries: torch does not see into them, so they and the engine tell each other what they must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

Mode = TypeVar("Mode", bound=TorchDispatchMode)

_PADDED: ContextVar[int] = ContextVar("room", default=0)


class External(nn.Module):
    """A module that another library computes.

    A subclass overrides `weights` and `programs`; while it runs it asks `present(Recorder)` and `present(Ops)` whether
    it is being recorded or watched, and `room` how many rows to fill up to.
    """

    def weights(self) -> tuple[Tensor, ...]:
        """Views of its weights, which say where it computes and in which precision."""
        return ()

    def programs(self) -> Counter[Hashable]:
        """How often each program that it had to compile was used so far."""
        return Counter()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> External:
        """Refuse a move (`.to`, `.half`), which would do nothing."""
        for w in self.weights():
            empty = w.new_empty(0)
            moved = fn(empty)
            if (moved.dtype, moved.device) != (empty.dtype, empty.device):
                raise TypeError(
                    f"torch cannot move the weights of {type(self).__name__} to {moved.device}, {moved.dtype}: "
                    "they belong to the other library; convert them there and wrap the model again"
                )
        return self


def present(kind: type[Mode]) -> Mode | None:
    """The innermost dispatch mode of a kind that is active around us."""
    return next((m for m in reversed(_get_current_dispatch_mode_stack()) if isinstance(m, kind)), None)


def free_rows(n: int) -> int:
    """How many rows to fill a call of `n` rows up to, so that few sizes occur: at least `n`."""
    return max(n, _PADDED.get())


@contextmanager
def padded_up_to(rows: int) -> Iterator[None]:
    """While a chunk of a run is computed: its calls may be filled up to so many rows."""
    token = _PADDED.set(rows)
    try:
        yield
    finally:
        _PADDED.reset(token)


def external(modules: Iterable[nn.Module]) -> list[External]:
    """Those of some modules that another library computes."""
    return [part for part in modules if isinstance(part, External)]


def used(parts: Iterable[External]) -> Counter[Hashable]:
    """How often each program of each part was used so far."""
    return Counter({(id(p), key): count for p in parts for key, count in p.programs().items()})
