"""Settings of all unit tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Hypothesis fails a test whose one example takes 0.2 s, or whose data come slowly, by itself:
# on a busy machine that says nothing.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
