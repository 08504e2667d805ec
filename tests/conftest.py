"""Which examples hypothesis draws, which tests can draw others, and two processes for tests of clusters; how many processes draw."""

import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import settings

from attrib._typed import drawers
from tests import examples  # noqa: F401 (registers the profiles)
from tests.legible_pictures import _pictures_are_legible, _pictures_are_looked_at  # noqa: F401 (fixtures of all tests)

# JAX compiles hundreds of programs that run once
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)


def pytest_configure(config: pytest.Config) -> None:
    """`pytest -m explore` draws new examples; every other run draws the same ones."""
    profile = "explore" if config.getoption("markexpr") == "explore" else "ci"
    settings.load_profile(config.getoption("--hypothesis-profile") or profile)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that hypothesis calls; those that call it themselves are marked where they stand."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.explore)


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two worker processes, which know where they may die once."""
    distributed = pytest.importorskip("distributed")
    os.environ["ATTRIB_TEST_DEATH"] = str(tmp_path_factory.mktemp("death") / "died")
    os.environ["ATTRIB_TEST_SLEEP"] = "0"
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,  # other tests compute in their process
    ):
        yield client


@pytest.fixture
def drawing() -> Iterator[ContextVar[int]]:
    """How many processes may draw; as it was after the test."""
    before = drawers.set(0)
    yield drawers
    drawers.reset(before)
