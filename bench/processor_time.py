"""Processor time of processes: the measure that a busy machine disturbs least.

Sources: clock_getcpuclockid(3) for the time, which it gives in nanoseconds, where proc_pid_stat(5) counts ticks of
10 ms and short work would be none; proc_pid_task(5) for the children.
"""

import ctypes
import os
import time
from collections.abc import Iterable
from pathlib import Path

_C_LIBRARY = ctypes.CDLL(None)


def processor_seconds(pids: Iterable[int]) -> float:
    """Seconds that these processes, with all their threads, have run so far, in user and system mode.

    Raises:
        ProcessLookupError: one of them does not run.
    """
    return sum(time.clock_gettime_ns(_clock_of(pid)) for pid in pids) / 1e9


def children(pid: int) -> list[int]:
    """Process ids of the children that a process has now."""
    found = [path.read_text(encoding="ascii").split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for each in found for child in each]


def _clock_of(pid: int) -> int:
    clock = ctypes.c_int()
    if code := _C_LIBRARY.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(code, os.strerror(code), str(pid))
    return clock.value
