"""The runner of the studies: what is done, drawn, refused, and told."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attrib.workflows import runner
from attrib.workflows.runner import Job, OnWorkers, Outcome, carried_out


def draw(file: Path) -> None:
    """A picture that says which process drew it."""
    file.write_text(str(os.getpid()))


@dataclass(frozen=True)
class Numbers(Job):
    """Odd numbers can be explained."""

    folder: Path

    def do(self, block: Sequence[int]) -> list[Outcome]:
        return [
            Outcome(f"n{n}", partial(draw, self.folder / f"n{n}")) if n % 2 else Outcome(f"n{n}", refused="it is even")
            for n in block
        ]  # fmt: skip


ITEMS = {f"n{n}": n for n in range(1, 17)}


@pytest.mark.parametrize("workers", [0, 1])
def test_blocks_are_drawn_here_or_in_other_processes(tmp_path: Path, workers: int) -> None:
    told: list[tuple[str, int, int]] = []
    seconds: dict[str, float] = {}
    refused = carried_out(
        Numbers(tmp_path), ITEMS, lambda name: name == "n1", what="numbers", size=4, workers=workers, seconds=seconds,
        tell=lambda *said: told.append(said),
    )  # fmt: skip
    assert refused == {f"n{n}": "it is even" for n in range(2, 17, 2)}
    assert {p.name for p in tmp_path.iterdir()} == {f"n{n}" for n in range(3, 17, 2)}
    drawers = {p.read_text() for p in tmp_path.iterdir()}
    assert (str(os.getpid()) in drawers) == (workers == 0)
    assert told == [("numbers", done, 16) for done in (5, 9, 13, 16)]
    assert set(seconds) == {"pictures"}


def test_few_samples_are_drawn_by_this_process(tmp_path: Path) -> None:
    carried_out(Numbers(tmp_path), {"n3": 3, "n5": 5}, lambda name: False, what="numbers", workers=4)
    assert (tmp_path / "n3").read_text() == str(os.getpid())


def test_nothing_is_opened_where_all_is_done(tmp_path: Path) -> None:
    class Closed(Job):
        def opened(self, device: str | None = None) -> Any:
            raise AssertionError

    assert carried_out(Closed(), ITEMS, lambda name: True, what="numbers") == {}


def test_workers_of_a_cluster_draw_and_their_errors_refuse_the_samples_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def each(cluster: Any, job: Any, blocks: Sequence[Any]) -> Iterator[tuple[Any, Any, Exception | None]]:
        session = pickle.loads(pickle.dumps(job)).opened()
        for k, block in enumerate(blocks):
            yield (block, session.do(block), None) if k else (block, None, OSError("it died"))

    monkeypatch.setattr(runner, "each", each)
    refused = carried_out(Numbers(tmp_path), ITEMS, lambda name: False, what="numbers", size=2, cluster=2)
    assert {p.name for p in tmp_path.iterdir()} == {f"n{n}" for n in range(3, 17, 2)}
    assert refused["n1"] == refused["n2"] == "OSError: it died"
    assert refused["n4"] == "it is even"
    assert OnWorkers(Numbers(tmp_path), 1).device is None
