"""Whether a process that noted itself down still runs: its number alone does not tell, for numbers are used again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROC = Path("/proc")


def identity(pid: int) -> str | None:
    """Return what tells this process from a later one of its number (boot and start time; "" where the system does not
    tell), or None if no such process runs."""
    if not _exists(pid):
        return None
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        # proc(5): "pid (name) state ...", and the name may hold anything; the start time, in ticks since boot, is field 22
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def is_running(pid: int, noted: str) -> bool:
    """Whether the process runs that noted down this number and identity."""
    now = identity(pid)
    return now is not None and (now == noted or not (now and noted))


if sys.platform == "win32":
    import ctypes

    def _exists(pid: int) -> bool:
        """os.kill(pid, 0) would send Ctrl-C here."""
        query, still_active = 0x1000, 259  # PROCESS_QUERY_LIMITED_INFORMATION, STILL_ACTIVE
        handle = ctypes.windll.kernel32.OpenProcess(query, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code))
        ctypes.windll.kernel32.CloseHandle(handle)
        return code.value == still_active

else:

    def _exists(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except (ProcessLookupError, OverflowError):
            return False
        return pid > 0
