"""What holds for every test that hypothesis makes up: the machine's speed decides nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Under load any example may be slow, or slow to make up; some are too large by chance, and are not tried. A test that builds upon
# these defaults has the rest of them from hypothesis (with CI set, the same examples each time).
settings.register_profile(
    "midstream",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("midstream")
