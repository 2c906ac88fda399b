"""CSV after RFC 4180, more strictly than the csv module: a quote may stand only around a field, doubled inside one.

Rule: one stray quote does not swallow the rest of the file. When quoting is broken, only the physical line where the
record began is a record, and a wrong one; reading goes on at the next line.

Source: RFC 4180.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

# Further lines over which a quote may stay open before it counts as never closed.
_MAX_MORE_LINES: Final = 8
_FIELD: Final = r'(?:"(?:[^"]|"")*+"|[^",\r\n]*+)'
_RECORD: Final = re.compile(f"{_FIELD}(?:,{_FIELD})*+")


def records(stream: TextIO, width: int) -> Iterator[tuple[int, str]]:
    """Join physical lines into records. A record whose quotes do not match is its first physical line alone."""
    ahead: deque[str] = deque()
    number = 1
    while line := ahead.popleft() if ahead else stream.readline():
        number += 1
        more = _lines_until_quote_closes(line, ahead, stream, width) if line.count('"') % 2 else 0
        text = "".join((line, *(ahead.popleft() for _ in range(more)))).rstrip("\r\n")
        if text:
            yield number, text
        number += more


def _lines_until_quote_closes(line: str, ahead: deque[str], stream: TextIO, width: int) -> int:
    """Look ahead: how many further lines belong to the record that `line` begins; 0 if they make no record with it."""
    record = line
    for more in range(1, _MAX_MORE_LINES + 1):
        if more > len(ahead):
            ahead.append(stream.readline())
        record += ahead[more - 1]
        if ahead[more - 1].count('"') % 2:
            fields = split(record.rstrip("\r\n"))
            return more if fields is not None and len(fields) == width else 0
    return 0


def split(text: str) -> list[str] | None:
    """Split a record into its fields; None when its quotes do not match."""
    if '"' not in text:
        return text.split(",")
    return next(csv.reader([text], strict=True)) if _RECORD.fullmatch(text) else None


def join(fields: Sequence[str], more: Sequence[str]) -> str:
    """Write a record of the fields and some more, without line end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, *more])
    return line.getvalue()
