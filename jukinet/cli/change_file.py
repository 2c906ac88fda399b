"""Change files (異動データ): CSV or JSON lines that a municipal system (既存住基システム) writes for its CS.

The file as a whole is refused at once when its encoding or its header cannot be trusted. A single bad line is only
itself refused: the lines around it go on. Reading holds one record at a time, however long the file is.

CSV is that of `jukinet.cli.csv_records`, JSON lines are objects of texts, one a line. The first character decides: `{`
begins JSON lines, anything else a CSV header.
"""

import json
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.cli.change_columns import BY_HEADER, BY_NAME, REQUIRED, LineRefused, submission_of
from jukinet.cli.csv_records import records, split

REJECT_COLUMNS: Final = ("reject_reason", "reject_message")
"""Columns that a reject file has beside those of a change file; they are ignored when it is submitted again."""

MAX_LINE_BYTES: Final = 65_536
"""Longest physical line, and longest record; the longest lawful submission has about a tenth of it."""

# What Python's CP932 makes of bytes that Microsoft's code page 932 leaves unassigned.
_UNASSIGNED: Final = re.compile("[\x80\xa0\uf8f0-\uf8f3]")
_REASON_NAMES: Final = frozenset(
    value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values
)
# A newer communication server may know reasons that this program does not.
_REASON_LIKE: Final = re.compile("[A-Z0-9_]*")


class ChangeFileRefused(Exception):
    """The file as a whole cannot be read; nothing of it was sent. `line` counts from 1."""

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


class EncodingUnknown(ChangeFileRefused):
    """The file is neither UTF-8 nor CP932 (Shift_JIS of Windows). Save it in one of the two.

    `offset` is the position of the first byte that does not fit, counted from 0.
    """

    def __init__(self, *, line: int, offset: int) -> None:
        super().__init__(f"byte {offset} fits neither UTF-8 nor CP932; save the file in one of the two", line=line)
        self.offset = offset


class HeaderRefused(ChangeFileRefused):
    """The header line names a column that does not exist, one twice, or lacks one that is needed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, line=1)


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why one line is not sent: its number, the header of the column at fault (or empty), the reason, what is wrong."""

    line: int
    column: str
    reason: errors_pb2.ErrorReason.ValueType
    message: str


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One record of a change file: its first physical line, its text without line end, and what it states."""

    number: int
    text: str = field(repr=False)
    content: Submission | LineProblem = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """A change file whose encoding and header are in order. `header` is None for JSON lines."""

    path: Path
    encoding: str
    header: tuple[str, ...] | None
    line_end: str

    def lines(self) -> Generator[ChangeLine, None, None]:
        """Read record by record, in the order of the file; empty lines are left out."""
        with self.path.open(encoding=self.encoding, newline="\n") as text:
            yield from (_read_json(text) if self.header is None else _read_csv(text, self.header))

    def header_called(self, column: str) -> str:
        """Give the header that this file uses for a column, by its English name."""
        headers = (name for name in self.header or () if name in BY_HEADER)
        return next((name for name in headers if BY_HEADER[name].name == column), column)


def open_change_file(path: Path) -> ChangeFile:
    """Look at the whole file once: is its encoding clear, is its header in order?

    Args:
        path: a CSV file (UTF-8 with or without BOM, or CP932) or a file of JSON lines.

    Returns:
        The file, ready to be read line by line.

    Raises:
        EncodingUnknown: the file is neither UTF-8 nor CP932.
        HeaderRefused: a column is unknown, doubled or missing.
        ChangeFileRefused: a line is too long to be a change.
        OSError: the file cannot be read.

    Source: RFC 4180 (CSV), RFC 8259 (JSON).
    """
    with path.open("rb") as raw:
        encoding = _detect_encoding(raw)
    with path.open(encoding=encoding, newline="\n") as text:
        first = text.readline()
    line_end = "\r\n" if first.endswith("\r\n") else "\n"
    if first.lstrip().startswith("{"):
        return ChangeFile(path, encoding, None, line_end)
    header = split(first.rstrip("\r\n"))
    if header is None:
        raise HeaderRefused("the quotes of the header line do not match")
    named = columns_of(header, REJECT_COLUMNS)
    if missing := [name for name in REQUIRED if name not in named]:
        raise HeaderRefused(f"the header line lacks {', '.join(missing)}")
    return ChangeFile(path, encoding, tuple(header), line_end)


def read_changes(path: Path) -> Iterator[tuple[int, Submission | LineProblem]]:
    """Read a change file.

    Args:
        path: as for `open_change_file`.

    Returns:
        For each record its first physical line, from 1, and what it states or why it cannot be sent.

    Raises:
        ChangeFileRefused: as `open_change_file` does, before the first record.
        OSError: the file cannot be read.
    """
    return ((line.number, line.content) for line in open_change_file(path).lines())


def _detect_encoding(raw: BinaryIO) -> str:
    """Decode line by line: 0x0A is never part of a longer character, neither in UTF-8 nor in CP932."""
    bom = raw.read(3) == b"\xef\xbb\xbf"
    furthest = (0, 0)
    for encoding in ("utf-8-sig",) if bom else ("utf-8", "cp932"):
        raw.seek(0)
        failure = _first_failure(raw, encoding.removesuffix("-sig"))
        if failure is None:
            return encoding
        # The encoding that fits further into the file is the one that its writer meant.
        furthest = max(furthest, failure)
    offset, line = furthest
    raise EncodingUnknown(line=line, offset=offset)


def _first_failure(raw: BinaryIO, codec: str) -> tuple[int, int] | None:
    start, number = 0, 0
    while line := raw.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise ChangeFileRefused(f"longer than {MAX_LINE_BYTES} bytes: this is no change file", line=number)
        try:
            text = line.decode(codec)
        except UnicodeDecodeError as error:
            return start + error.start, number
        if codec == "cp932" and (found := _UNASSIGNED.search(text)):
            return start + len(text[: found.start()].encode(codec)), number
        start += len(line)
    return None


def columns_of(header: Sequence[str], more: Collection[str] = ()) -> list[str]:
    """Which columns a header line names, by their English names, each once.

    Unknown headers are told by position only: without a header line they would be somebody's data.

    Args:
        header: its fields, in English or in Japanese.
        more: what it may have beside the columns of a change file.

    Raises:
        HeaderRefused: a column is unknown, or stands twice in whichever language.
    """
    named: list[str] = []
    for position, name in enumerate(header, start=1):
        known = name if name in more else BY_HEADER[name].name if name in BY_HEADER else None
        if known is None:
            raise HeaderRefused(f"column {position} of the header line is not a column of a change file")
        if known in named:
            raise HeaderRefused(f"column {position} of the header line repeats {known}")
        named.append(known)
    return named


def _read_csv(stream: TextIO, header: Sequence[str]) -> Iterator[ChangeLine]:
    names = columns_of(header, REJECT_COLUMNS)
    called = dict(zip(names, header, strict=True))
    stream.readline()
    for number, text in records(stream, len(header)):
        try:
            content: Submission | LineProblem = submission_of(_csv_values(text, names))
        except LineRefused as refused:
            content = LineProblem(number, called.get(refused.column, refused.column), refused.reason, str(refused))
        yield ChangeLine(number, text, content)


def _csv_values(text: str, names: Sequence[str]) -> Mapping[str, str]:
    fields = split(text)
    if fields is None:
        raise LineRefused("", "the quotes of this line do not match; a quote inside a field is written twice")
    if len(fields) != len(names):
        raise LineRefused("", f"the line has {len(fields)} fields, the header {len(names)}")
    values = dict(zip(names, fields, strict=True))
    if REJECT_COLUMNS[0] in values:
        reason = values.pop(REJECT_COLUMNS[0])
        values.pop(REJECT_COLUMNS[1], None)
        # A reject file that went through a spreadsheet may come back with a short line filled up at its end.
        if not _REASON_LIKE.fullmatch(reason) or not _REASON_NAMES.isdisjoint(values.values()):
            raise LineRefused("", "the fields of this line are shifted against the header")
    values.pop(REJECT_COLUMNS[1], None)
    return values


def _read_json(stream: TextIO) -> Iterator[ChangeLine]:
    for number, line in enumerate(stream, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            content: Submission | LineProblem = submission_of(_json_values(text))
        except LineRefused as refused:
            content = LineProblem(number, refused.column, refused.reason, str(refused))
        yield ChangeLine(number, text, content)


def _json_values(text: str) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for name, value in json_object(text).items():
        if name in REJECT_COLUMNS:
            continue
        if name not in BY_NAME:
            raise LineRefused("", "a name of the object is not a column of a change file")
        if name == "transfer_version" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str | None):
            raise LineRefused(name, "the value is not a text")
        values[name] = value or ""
    return values


def json_object(text: str) -> dict[str, Any]:
    """Read one line of a file of JSON lines. Raises LineRefused: it is no object, or a name stands twice in it."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise LineRefused("", "a name stands twice in the object")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    # What was raised may quote the line, so it goes no further.
    except (ValueError, RecursionError):
        raise LineRefused("", "the line is not a JSON object") from None
    if not isinstance(value, dict):
        raise LineRefused("", "the line is not a JSON object")
    return value
