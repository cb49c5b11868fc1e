"""What all rings share: property tests that are the same each time they are run for a gate."""

from hypothesis import HealthCheck, settings

# Slow machines are no failures; an example that failed once becomes a test, not a database row.
settings.register_profile(
    "gate", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gate")
