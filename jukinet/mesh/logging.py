"""Logs of a node: one record, one line of JSON, and no person in it.

Rules:
1. A record has a fixed text and named extras from a closed list. Messages of the contract that are logged by mistake are
   rendered by `redaction`.
2. An exception is told by its type and the places it passed, never by its message: that may quote what it choked on.
3. Control characters are escaped by JSON itself, so a hostile name cannot forge a second line.
"""

import asyncio
import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from google.protobuf.message import Message
from opentelemetry import trace

from jukinet.mesh.redaction import redacted

EXTRAS: Final = frozenset({"reason", "peer", "address", "error_id", "error_type", "rpc", "count", "seconds", "sequence"})
"""Named values that a record may carry beside its text."""


def configure_logging(node: str, level: int = logging.INFO) -> None:
    """Sends all records of this process to standard error as JSON lines.

    Args:
        node: SPIFFE ID, on every line.
        level: the lowest that is shown.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(node))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("alembic", "sqlalchemy", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def install_loop_handler(loop: asyncio.AbstractEventLoop) -> None:
    """Logs what nobody awaited by its type and place; asyncio's own handler prints values."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        logging.getLogger("asyncio").error("nobody awaited a failure", exc_info=error)

    loop.set_exception_handler(handle)


class _Lines(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": _text(record),
            "node": self._node,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = f"{span.trace_id:032x}"
        line.update({name: _plain(value) for name, value in vars(record).items() if name in EXTRAS})
        if record.exc_info and record.exc_info[0] is not None:
            line["error_type"] = record.exc_info[0].__name__
            line["error_at"] = _places(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def _text(record: logging.LogRecord) -> str:
    if isinstance(record.args, tuple) and record.args:
        return str(record.msg) % tuple(_plain(argument) for argument in record.args)
    return str(record.msg)


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return redacted(value)
    if isinstance(value, BaseException):
        return type(value).__name__
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _places(trace_back: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace_back)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
