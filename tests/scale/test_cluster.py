"""Cohorts on several worker processes: the same bits as in one process, whatever dies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import attrib
from tests.scale.models import expression, net
from tests.scale.test_cohort import explained, killed_at, poisoned, zarr_file

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
from attrib.scale.cluster import OnCluster  # noqa: E402 (it needs distributed)

pytestmark = pytest.mark.filterwarnings("ignore")  # those of distributed

SLOW = {
    "model": "tests.scale.models:Slow",
    "block": 4,
    "reductions": ("mean", "var", "count", "quantiles", "top:2"),
}


def test_two_workers_give_the_same_bits(client: Any, tmp_path: Path) -> None:
    data = zarr_file(tmp_path)
    tree = explained(tmp_path / "out.zarr", data, model="tests.scale.models:net", cluster=client)
    xr.testing.assert_identical(tree, explained(tmp_path / "alone.zarr", data))


def test_arrays_and_a_model_that_come_from_this_process(client: Any, tmp_path: Path) -> None:
    alone = explained(tmp_path / "alone.zarr")
    for k, x in enumerate((expression(), expression().chunk(sample=5, gene=4))):
        xr.testing.assert_identical(explained(tmp_path / f"{k}.zarr", x, cluster=client), alone)


def test_a_scheduler_by_its_address(client: Any, tmp_path: Path) -> None:
    tree = explained(tmp_path / "out.zarr", cluster=client.scheduler.address)
    xr.testing.assert_identical(tree, explained(tmp_path / "alone.zarr"))
    assert not client.run(
        lambda dask_worker: [p for p in dask_worker.plugins if p.startswith("attrib")]
    ).popitem()[1]


def test_a_block_whose_model_raises_is_listed(client: Any, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="1 of 7 blocks failed: 3 .samples 24 to 31.: .*too much"):
        tree = explained(tmp_path / "out.zarr", poisoned(30), "tests.scale.models:Picky", cluster=client)
    assert np.isnan(tree["attribution"][24:32]).all()
    assert tree["reductions/count"].sum() == 45


def _full() -> None:
    raise OSError("No space left on device")


def test_what_a_worker_raised_beside_the_model_is_told(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = OnCluster._submitted

    def failing(self: OnCluster, name: str, job: Any, block: Any, plan: Any) -> Any:
        if block.number == 2:
            return self.client.submit(_full, pure=False)
        return submitted(self, name, job, block, plan)

    monkeypatch.setattr(OnCluster, "_submitted", failing)
    with pytest.warns(RuntimeWarning, match="2 .samples 16 to 23.: OSError: No space left on device"):
        explained(tmp_path / "out.zarr", cluster=client)


@pytest.mark.parametrize("address", ["somewhere", "tcp://127.0.0.1:1"])
def test_an_address_where_nobody_answers(address: str, tmp_path: Path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ValueError, match=f"`cluster` is '{address}', where no Dask scheduler answers"),
    ):
        explained(tmp_path / "out.zarr", cluster=address)
    assert not (tmp_path / "out.zarr").exists()


def test_the_blocks_of_a_dead_worker_are_done_again(client: Any, tmp_path: Path) -> None:
    died = Path(os.environ["ATTRIB_TEST_DEATH"])
    data = zarr_file(tmp_path, poisoned(30))
    tree = explained(tmp_path / "out.zarr", data, "tests.scale.models:Deadly", cluster=client)
    assert died.exists()
    xr.testing.assert_identical(tree, explained(tmp_path / "alone.zarr", data, "tests.scale.models:Deadly"))


def test_wrong_arguments_are_refused_as_in_one_process(client: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target"):
        explained(tmp_path / "out.zarr", target=7, cluster=client)
    assert not (tmp_path / "out.zarr").exists()
    with pytest.raises(TypeError, match="cluster"):
        explained(tmp_path / "out.zarr", cluster=2.5)


def test_killed_on_two_workers_and_continued_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cluster=2` starts its own workers; they end with the process that started them."""
    monkeypatch.setenv("ATTRIB_TEST_SLEEP", "0")
    data = zarr_file(tmp_path)
    whole = explained(tmp_path / "whole.zarr", data, **SLOW)
    killed = killed_at(0.8, data, tmp_path / "out.zarr", "2")
    tree = explained(tmp_path / "out.zarr", data, **SLOW)
    assert killed
    xr.testing.assert_identical(tree, whole)


def test_the_eager_result_is_the_same_whoever_computes_it(client: Any, tmp_path: Path) -> None:
    eager = attrib.integrated_gradients(net(), expression(), target=1, n_steps=5)
    tree = explained(tmp_path / "out.zarr", cluster=client)
    np.testing.assert_allclose(tree["attribution"], eager, rtol=1e-5, atol=1e-7)
