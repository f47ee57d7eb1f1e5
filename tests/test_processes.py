from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from databases import until
from midstream import processes


def test_the_identity_of_a_process() -> None:
    assert processes.is_running(os.getpid(), processes.identity(os.getpid()) or "")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    assert processes.identity(process.pid) is None
    assert not processes.is_running(process.pid, "")
    assert processes.identity(2**40) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells of zombies in /proc")
def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: processes.identity(process.pid) is None)  # ended, but nobody has waited for it yet
    assert process.wait(30) == 0
