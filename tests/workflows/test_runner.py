"""The runner of the studies: what is done, drawn, refused, and told."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attrib.workflows import runner
from attrib.workflows.runner import OnWorkers, Outcome, Study, Unwritten, carried_out, studied


def draw(file: Path) -> None:
    """A picture that says which process drew it."""
    file.write_text(str(os.getpid()))


@dataclass(frozen=True)
class Numbers(Study):
    """Odd numbers can be explained; some make the model raise."""

    folder: Path
    finished: frozenset[int] = frozenset()
    faults: frozenset[int] = frozenset()
    seconds: dict[str, float] = field(default_factory=dict)

    program, what = "attrib numbers", "numbers"

    def identity(self) -> dict[str, Any]:
        return {"faults": sorted(self.faults)}

    def is_done(self, item: int) -> bool:
        return item in self.finished

    def do(self, block: Sequence[int]) -> list[Outcome]:
        self.seconds["explaining"] = self.seconds.get("explaining", 0.0) + len(block)
        for n in sorted(self.faults.intersection(block)):
            raise RuntimeError(f"it does not take {n}")
        return [
            Outcome(f"n{n}", partial(draw, self.folder / f"n{n}")) if n % 2 else Outcome(f"n{n}", refused="it is even")
            for n in block
        ]  # fmt: skip


ITEMS = {f"n{n}": n for n in range(1, 17)}


@pytest.mark.parametrize("workers", [0, 1])
def test_blocks_are_drawn_here_or_in_other_processes(
    tmp_path: Path, drawing: ContextVar[int], workers: int
) -> None:
    drawing.set(workers)
    told: list[tuple[str, int, int]] = []
    seconds: dict[str, float] = {}
    refused = carried_out(
        Numbers(tmp_path, frozenset({1})), ITEMS, size=4, seconds=seconds,
        tell=lambda *said: told.append(said),
    )  # fmt: skip
    assert refused == {f"n{n}": "it is even" for n in range(2, 17, 2)}
    assert {p.name for p in tmp_path.iterdir()} == {f"n{n}" for n in range(3, 17, 2)}
    drawers = {p.read_text() for p in tmp_path.iterdir()}
    assert (str(os.getpid()) in drawers) == (workers == 0)
    assert told == [("numbers", done, 16) for done in (5, 9, 13, 16)]
    assert set(seconds) == {"pictures"}


def test_few_samples_are_drawn_by_this_process(tmp_path: Path, drawing: ContextVar[int]) -> None:
    drawing.set(4)
    carried_out(Numbers(tmp_path), {"n3": 3, "n5": 5})
    assert (tmp_path / "n3").read_text() == str(os.getpid())


def test_nothing_is_opened_where_all_is_done(tmp_path: Path) -> None:
    class Closed(Study):
        def is_done(self, item: int) -> bool:
            return True

        def opened(self, device: str | None = None) -> Any:
            raise AssertionError

    assert carried_out(Closed(), ITEMS) == {}


def on_workers(cluster: Any, job: Any, blocks: Sequence[Any]) -> Iterator[tuple[Any, Any, Exception | None]]:
    """What a cluster does, without its processes: the worker that gets the second block dies at it."""
    session = pickle.loads(pickle.dumps(job)).opened()
    for k, block in enumerate(blocks):
        try:
            yield (block, session.do(block), None) if k != 1 else (block, None, RuntimeError("it died"))
        except Exception as error:
            yield block, None, error


def test_workers_of_a_cluster_draw_and_say_what_took_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "each", on_workers)
    seconds = {"explaining": 1.0}
    refused = carried_out(Numbers(tmp_path), ITEMS, size=2, cluster=2, seconds=seconds)
    assert {p.name for p in tmp_path.iterdir()} == {f"n{n}" for n in range(1, 17, 2)} - {"n3"}
    assert refused["n3"] == refused["n4"] == "RuntimeError: it died"
    assert refused["n2"] == "it is even"
    assert seconds["explaining"] == 1 + 14
    assert seconds["pictures"] > 0
    assert OnWorkers(Numbers(tmp_path), 1).device is None


@pytest.mark.parametrize("cluster", [None, 2])
def test_a_sample_for_which_the_model_raises_is_listed_and_the_rest_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: int | None
) -> None:
    """Here as on a cluster."""
    monkeypatch.setattr(runner, "each", on_workers)
    (tmp_path / "drawn").mkdir()
    items = {f"n{n}": n for n in range(1, 22, 2)}
    study = Numbers(tmp_path / "drawn", faults=frozenset({1, 13, 15, 17, 19}))
    refused: dict[str, str] = {}
    finished: list[str] = []

    def finish(run: Any, done: list[str], why: dict[str, str]) -> None:
        refused.update(why)
        finished.extend(done)

    result = studied(study, items, tmp_path / "out", finish, size=3, cluster=cluster)
    died = set() if cluster is None else {"n7", "n9", "n11"}
    raised = {f"n{n}": f"RuntimeError: it does not take {n}" for n in (1, 13, 19)}
    for name in ("n15", "n17"):  # its block is all faults: they have the reason of the block
        raised[name] = raised["n13"]
    assert {n: refused[n] for n in refused if n not in died} == raised
    assert set(refused) == {*raised, *died}
    assert result == tmp_path / "out"
    assert finished == [n for n in items if n not in refused]
    assert {p.name for p in (tmp_path / "drawn").iterdir()} == set(finished)


@pytest.mark.parametrize("cluster", [None, 2])
def test_a_model_that_raises_for_every_sample_of_the_first_block_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: int | None
) -> None:
    monkeypatch.setattr(runner, "each", on_workers)
    study = Numbers(tmp_path, faults=frozenset(ITEMS.values()))
    with pytest.raises(RuntimeError, match="it does not take"):
        studied(study, ITEMS, tmp_path / "out", lambda *_: {}, size=2, cluster=cluster)
    with pytest.raises(ValueError, match=r"`data`: none of 16 numbers can be explained; n1: .*take 1"):
        studied(study, ITEMS, tmp_path / "out", lambda *_: {}, size=1, cluster=None)


class Full(Numbers):
    """Nothing can be written."""

    def do(self, block: Sequence[int]) -> list[Outcome]:
        raise OSError("no space left on device")


@pytest.mark.parametrize("cluster", [None, 2])
def test_a_disk_that_is_full_is_no_fault_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: int | None
) -> None:
    monkeypatch.setattr(runner, "each", on_workers)

    with pytest.raises(Unwritten, match="no space left"):
        carried_out(Full(tmp_path), ITEMS, cluster=cluster)
    if cluster is not None:  # drawn there
        with pytest.raises(Unwritten, match="n1: FileNotFoundError"):
            carried_out(Numbers(tmp_path / "none"), ITEMS, cluster=cluster)
