"""How many examples hypothesis draws: a few fixed ones in CI, many new ones under `pytest -m explore`."""

from hypothesis import HealthCheck, settings

FIXED, EXPLORED = 15, 250

_ANY_MACHINE = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("ci", _ANY_MACHINE, derandomize=True, max_examples=FIXED)
settings.register_profile("explore", _ANY_MACHINE, derandomize=False, max_examples=EXPLORED, print_blob=True)


def examples(count: int) -> settings:
    """Settings of a test that draws `count` examples in CI, and as many times more as others when it explores."""
    return settings(max_examples=count * settings.default.max_examples // FIXED)
