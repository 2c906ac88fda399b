"""Processor time of processes: the measure that a busy machine disturbs least.

Source: proc_pid_stat(5).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12  # fields after the command's closing bracket


def processor_seconds(pids: Iterable[int]) -> float:
    """Seconds that these processes, with all their threads, have run so far, in user and system mode."""
    return sum(_ticks(pid) for pid in pids) / _TICKS_A_SECOND


def children(pid: int) -> list[int]:
    """Process ids of the children that a process has now."""
    found = [path.read_text(encoding="ascii").split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for each in found for child in each]


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[_USER]) + int(fields[_SYSTEM])
