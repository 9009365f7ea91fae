"""Hypothesis for the unit tests: the same examples in every run, so that a red test is a fact and not a mood."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("unit"), max_examples=5_000, derandomize=False)
settings.load_profile("unit")
