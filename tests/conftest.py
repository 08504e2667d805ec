"""Which examples hypothesis draws, and which tests can draw others."""

import pytest
from hypothesis import settings

from tests import examples  # noqa: F401 (registers the profiles)
from tests.legible_pictures import _pictures_are_legible, _pictures_are_looked_at  # noqa: F401 (fixtures of all tests)


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
