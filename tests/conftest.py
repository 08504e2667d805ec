"""One hypothesis profile: the same examples on every run, no deadline on slow machines."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "attrib",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("attrib")
