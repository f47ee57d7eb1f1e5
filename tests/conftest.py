"""What holds for every test: neither the machine's speed nor who started pytest decides anything."""

from __future__ import annotations

import signal

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

# A shell has what it runs in the background ignore SIGINT (POSIX, sh, 2.11), and so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
