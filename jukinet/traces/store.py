"""Spans on disk: one SQLite file, one connection, the oldest spans dropped when there are too many.

A span is kept as it came, so the same span sent twice is one row. What a collector is sent may be hostile: texts are
cut, nothing in them is trusted, and all of them are bound as parameters.

Source: OpenTelemetry protocol (OTLP) 1.x, trace.proto.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS span (
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    service TEXT NOT NULL,
    instance TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    reason TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (trace_id, span_id)
) STRICT;
CREATE INDEX IF NOT EXISTS span_by_start ON span (start_ns);
"""
_COLUMNS: Final = (
    "trace_id, span_id, parent_id, name, kind, service, instance, start_ns, end_ns, failed, reason, attributes"
)
_MOST_SPANS: Final = 200_000
_MOST_OF_A_TRACE: Final = 2_000
_LONGEST: Final = 200  # characters of one text
_TRIM_EVERY: Final = 1_000  # spans


class TracesError(OSError):
    """The trace console cannot start. Give a file that can be written and addresses of this machine that are free."""


@dataclass(frozen=True)
class Span:
    """One span of one process.

    Args:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; empty for the first of a trace.
        name: what was done.
        kind: `server`, `client`, `internal`, …
        service: role of the node that did it.
        instance: which node of that role.
        start_ns: nanoseconds since 1970, UTC.
        end_ns: the same; never before the start.
        failed: True when its status is an error.
        reason: why it failed or was refused; empty otherwise.
        attributes: the rest of what it says.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    instance: str
    start_ns: int
    end_ns: int
    failed: bool = False
    reason: str = ""
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def process(self) -> str:
        """Service and instance, such as `prefecture/130001`."""
        return f"{self.service}/{self.instance}" if self.instance else self.service

    @property
    def remark(self) -> str:
        """Why it failed or was refused, or else what became of its change; empty if neither is said."""
        return self.reason or ("error" if self.failed else str(self.attributes.get("jukinet.outcome", "")))


@dataclass(frozen=True)
class Summary:
    """One trace in a list."""

    trace_id: str
    name: str
    services: tuple[str, ...]
    spans: int
    failures: int
    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """From the first beginning to the last end."""
        return (self.end_ns - self.start_ns) / 1e9


class SpanStore:
    """The spans of all processes.

    Args:
        path: SQLite file; made if it is not there.
        most: spans that are kept; the oldest go first.
    """

    def __init__(self, path: Path | str, *, most: int = _MOST_SPANS) -> None:
        self._most = most
        self._untrimmed = 0
        try:
            self._database = _opened(path)
        except sqlite3.Error:
            raise TracesError(f"Cannot use {path} as a store of spans. {TracesError.__doc__}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def add(self, spans: Iterable[Span]) -> int:
        """Keeps spans; one that is kept already is replaced.

        Returns:
            Their number.
        """
        rows = [_row(span) for span in spans]
        marks = ", ".join("?" * len(_COLUMNS.split(", ")))
        self._database.execute("BEGIN")
        # The columns are a constant of this module.
        self._database.executemany(f"INSERT OR REPLACE INTO span ({_COLUMNS}) VALUES ({marks})", rows)  # noqa: S608
        self._database.execute("COMMIT")
        self._untrimmed += len(rows)
        if self._untrimmed >= _TRIM_EVERY:
            self.trim()
        return len(rows)

    def trim(self) -> None:
        """Drops the oldest spans beyond the limit."""
        self._untrimmed = 0
        self._database.execute(
            "DELETE FROM span WHERE rowid IN (SELECT rowid FROM span ORDER BY start_ns DESC LIMIT -1 OFFSET ?)",
            (self._most,),
        )

    def spans(self, trace_id: str) -> list[Span]:
        """Gives the spans of one trace, the earliest first; at most 2,000."""
        found = self._database.execute(
            f"SELECT {_COLUMNS} FROM span WHERE trace_id = ? ORDER BY start_ns, end_ns DESC, span_id LIMIT ?",  # noqa: S608
            (trace_id, _MOST_OF_A_TRACE),
        )
        return [_span(row) for row in found]

    def count(self) -> int:
        """Gives the number of spans."""
        (number,) = self._database.execute("SELECT count(*) FROM span").fetchone()
        return int(number)

    def latest(self, *, search: str = "", service: str = "", failed: bool = False, limit: int = 50) -> list[Summary]:
        """Lists traces, the latest first.

        Args:
            search: part of a span's name or reason, or the beginning of a trace id; empty = all.
            service: role that takes part; empty = all.
            failed: True = only those with a failure or refusal.
            limit: how many at most.
        """
        found = self._database.execute(
            """
            SELECT trace_id, count(*), sum(failed OR reason <> ''), min(start_ns), max(end_ns),
                   group_concat(DISTINCT service)
            FROM span WHERE trace_id IN (
                SELECT trace_id FROM span
                WHERE (:search = '' OR name LIKE :part ESCAPE '\\' OR reason LIKE :part ESCAPE '\\'
                       OR trace_id LIKE :beginning ESCAPE '\\')
                  AND (:service = '' OR trace_id IN (SELECT trace_id FROM span WHERE service = :service))
                  AND (NOT :failed OR trace_id IN (SELECT trace_id FROM span WHERE failed OR reason <> ''))
                GROUP BY trace_id ORDER BY max(start_ns) DESC LIMIT :limit)
            GROUP BY trace_id ORDER BY min(start_ns) DESC
            """,
            {
                "search": search,
                "part": f"%{_literal(search)}%",
                "beginning": f"{_literal(search.lower())}%",
                "service": service,
                "failed": failed,
                "limit": limit,
            },
        )
        return [
            Summary(trace_id, self._first(trace_id), tuple(sorted(services.split(","))), count, bad, start, end)
            for trace_id, count, bad, start, end, services in found.fetchall()
        ]

    def services(self) -> list[str]:
        """Lists the roles that sent spans."""
        return [service for (service,) in self._database.execute("SELECT DISTINCT service FROM span ORDER BY service")]

    def _first(self, trace_id: str) -> str:
        (name,) = self._database.execute(
            "SELECT name FROM span WHERE trace_id = ? ORDER BY parent_id <> '', start_ns LIMIT 1", (trace_id,)
        ).fetchone()
        return str(name)


def _opened(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")  # spans may be lost; time may not
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _cut(text: str) -> str:
    # A lone surrogate cannot be stored; a comma would split a service in two.
    return text[:_LONGEST].encode("utf-8", "replace").decode()


def _row(span: Span) -> tuple[object, ...]:
    attributes = {
        _cut(key): _cut(value) if isinstance(value, str) else value for key, value in list(span.attributes.items())[:64]
    }
    return (
        span.trace_id,
        span.span_id,
        span.parent_id,
        _cut(span.name),
        span.kind,
        _cut(span.service).replace(",", " "),
        _cut(span.instance),
        span.start_ns,
        max(span.start_ns, span.end_ns),
        int(span.failed),
        _cut(span.reason),
        json.dumps(attributes),
    )


def _span(row: tuple[str, str, str, str, str, str, str, int, int, int, str, str]) -> Span:
    *texts, start_ns, end_ns, failed, reason, attributes = row
    trace_id, span_id, parent_id, name, kind, service, instance = (str(text) for text in texts)
    return Span(
        trace_id, span_id, parent_id, name, kind, service, instance, start_ns, end_ns,
        bool(failed), reason, json.loads(attributes),
    )  # fmt: skip
