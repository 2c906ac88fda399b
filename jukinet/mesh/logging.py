"""Logs: one record a line, in JSON, without personal data (個人情報).

Rules:
1. The keys are `time`, `level`, `logger`, `event`, `node`, `trace_id` and those of `EXTRA`; any other is dropped.
2. A message of the contract is shown by `redaction`. Of an exception only type and places are shown, for its text may
   hold values. Any other object is shown as its type. Runs of 11 or 12 digits, the length of a resident code
   (住民票コード) or an individual number (個人番号), are masked wherever they stand.
3. Nothing in a value can begin a new line or move a terminal's cursor: JSON escapes all but printable ASCII.
4. Loggers of other libraries speak from WARNING on, and without their text arguments.
5. Errors that nobody caught end here too, not on the terminal with their values.

Source: OWASP ASVS 5.0 16.2.5, 16.4.1; Basic Resident Registration Act art. 30-26.
"""

import asyncio
import json
import logging
import re
import secrets
import sys
import threading
import traceback
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO
from uuid import UUID

from google.protobuf.message import Message

from jukinet.mesh import tracing
from jukinet.mesh.identity import Identity
from jukinet.mesh.redaction import REDACTED, redacted

EXTRA: Final = (
    "address",
    "attempt",
    "batch_size",
    "caller",
    "changes",
    "count",
    "deletions",
    "epoch",
    "error_id",
    "error_type",
    "exit_code",
    "mark",
    "municipality",
    "operator_pseudonym",
    "path",
    "peer",
    "position",
    "reason",
    "request_id",
    "residents",
    "role",
    "rpc",
    "seconds",
    "sequence",
    "version",
)
"""Fields that a record may carry through `extra=`."""

OURS: Final = frozenset(
    {
        "jukinet",
        "cs_node",
        "prefecture_node",
        "center_node",
        "agency_gateway",
        "nation",
        "bench",
        "__main__",
    }
)
_LONGEST: Final = 4_000  # characters of one text
_DEEPEST: Final = 8  # causes of one exception
_NUMBER_OF_A_PERSON: Final = re.compile(r"(?<![0-9A-Za-z])\d{11,12}(?![0-9A-Za-z])")
_SHOWN_AS_TEXT: Final = (Identity, PurePath, UUID, datetime, date)
_log: Final = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON.

    Args:
        node: SPIFFE ID of the node.
    """

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": _event(record),
            "node": self._node,
            "trace_id": tracing.trace_id(),
        }
        line |= {key: _plain(getattr(record, key)) for key in EXTRA if hasattr(record, key)}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line.setdefault("error_id", secrets.token_hex(8))
            line["error"] = described(error)
        return json.dumps(line).replace("\x7f", "\\u007f")


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines; says nothing of a record that it cannot write."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        """Keeps logging from printing the record and its arguments."""


def configure_logging(node: str, level: int | str = logging.INFO, *, stream: TextIO | None = None) -> None:
    """Sends all logs of this process, and errors that nobody caught, through the rules of this module.

    Args:
        node: SPIFFE ID of the node.
        level: of the project's own loggers; those of libraries speak from WARNING on.
        stream: standard error if None.
    """
    handler = _Lines(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(node))
    handler.addFilter(_admitted)
    root = logging.getLogger()
    for each in root.handlers[:]:
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    # A handler of its own would go past the rules.
    for name in ("grpc", "asyncio", "uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.lastResort = None
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def install_loop_handler(loop: asyncio.AbstractEventLoop) -> None:
    """Logs what goes wrong in tasks and callbacks that nobody waits for; asyncio's own handler prints values."""
    loop.set_exception_handler(_in_loop)


def described(error: BaseException) -> list[dict[str, object]]:
    """Describes an exception and its causes by type and place, never by text.

    Returns:
        One `{"type", "frames"}` each, the outermost first; a frame is `file:line function`, the innermost last.
    """
    found: list[dict[str, object]] = []
    waiting: list[BaseException] = [error]
    while waiting and len(found) < _DEEPEST:
        each = waiting.pop(0)
        frames = traceback.extract_tb(each.__traceback__)
        found.append(
            {
                "type": type(each).__qualname__,
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
            }
        )
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None:
            waiting.append(cause)
    return found


def _admitted(record: logging.LogRecord) -> bool:
    """Lets a library speak from WARNING on, even where it set a level for itself."""
    return _is_ours(record) or record.levelno >= logging.WARNING


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OURS


def _event(record: logging.LogRecord) -> str:
    ours = _is_ours(record)
    if record.name.partition(".")[0] == "asyncio" and not record.args:
        return "asyncio reports a failure"  # its text is made of the values of a callback
    if not isinstance(record.msg, str):
        return str(_plain(record.msg))
    try:
        text = record.msg % _arguments(record.args, ours=ours) if record.args else record.msg
    except (TypeError, ValueError, KeyError):
        text = record.msg
    return _masked(text)


def _arguments(args: Any, *, ours: bool) -> Any:
    if isinstance(args, dict):
        return {key: _argument(value, ours=ours) for key, value in args.items()}
    return tuple(_argument(value, ours=ours) for value in args)


def _argument(value: object, *, ours: bool) -> object:
    return "<text>" if isinstance(value, str) and not ours else _plain(value)


def _plain(value: object) -> object:
    """Turns a value into what may be shown of it."""
    match value:
        case None | bool() | float():
            return value
        case Enum():
            return value.name
        case int():
            return REDACTED if len(str(abs(value))) in (11, 12) else value
        case str():
            return _masked(value)
        case Message():
            return redacted(value)
        case BaseException():
            return type(value).__qualname__
        case list() | tuple() | set() | frozenset():
            return _masked(", ".join(str(_plain(each)) for each in value))
        case dict():
            return _masked(", ".join(f"{_plain(key)}: {_plain(each)}" for key, each in value.items()))
        case _ if isinstance(value, _SHOWN_AS_TEXT):
            return _masked(str(value))
    return f"<{type(value).__qualname__}>"


def _masked(text: str) -> str:
    return _NUMBER_OF_A_PERSON.sub(REDACTED, text[:_LONGEST])


def _uncaught(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    _log.critical("the process fails", exc_info=(type(error), error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _log.critical("a thread fails", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    if args.exc_value is not None:
        _log.error("an error could not be raised", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))


def _in_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    where = "task" if context.get("task") or context.get("future") else "callback" if context.get("handle") else "loop"
    exc_info = (type(error), error, error.__traceback__) if isinstance(error, BaseException) else None
    _log.error("nobody waited for what failed in a %s", where, exc_info=exc_info)
