"""Runs the command line with a disk whose fsync fails from a moment on: `python failing_disk.py FILE COMMAND...`.

As soon as FILE exists, every fsync and fdatasync of the process gives EIO: a seccomp filter, which needs no rights and
no tool, and cannot be taken back. Linux on x86-64 alone.
"""

import ctypes
import struct
import sys
import threading
import time
from pathlib import Path

_FSYNC, _FDATASYNC = 74, 75
_EIO = 5
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP, _SET_MODE_FILTER, _ALL_THREADS = 317, 1, 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def fail_from_now_on() -> None:
    """Makes every fsync of this process fail, in all its threads."""
    steps = [
        (_LOAD, 0, 0, 0),  # the number of the system call
        (_EQUAL, 1, 0, _FSYNC),
        (_EQUAL, 0, 1, _FDATASYNC),
        (_RETURN, 0, 0, _ERRNO | _EIO),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp")


def _watch(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)
    fail_from_now_on()
    file.with_suffix(".failing").touch()


if __name__ == "__main__":
    threading.Thread(target=_watch, args=(Path(sys.argv[1]),), daemon=True).start()
    from jukinet.cli import main

    sys.argv[1:2] = []
    main()
