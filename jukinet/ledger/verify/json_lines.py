"""Lines of JSON with one spelling each: without blanks, characters as they are, no key twice."""

import json
from collections.abc import Mapping
from typing import BinaryIO

from jukinet.ledger.verify.findings import Unsound

_MAX_LINE_BYTES = 1 << 20


def read_line(file: BinaryIO) -> bytes:
    """The next line without its newline; empty at the end. Raises Unsound for one that is cut off, empty or long."""
    line = file.readline(_MAX_LINE_BYTES)
    if line and (not line.endswith(b"\n") or line == b"\n"):
        raise Unsound("the line is empty, cut off or too long")
    return line[:-1]


def parse_line(line: bytes) -> dict[str, object]:
    """The object in a line. Raises Unsound unless it is spelled as it must be."""
    try:
        text = line.decode()
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise Unsound("the line is not JSON in UTF-8") from None
    # Doubled keys and odd spellings could mean different things to different readers.
    if not isinstance(content, dict) or spell(content) != text:
        raise Unsound("the line is not spelled canonically")
    return content


def spell(content: Mapping[str, object]) -> str:
    """The one spelling of an object, without the newline."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
