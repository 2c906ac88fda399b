"""Reading a ledger file: JSON lines, one spelling each.

Header `{"format":"jukinet-ledger/1","origin":…,"checkpoint":…}`, then entries `{"i":…,"e":…,"h":…}` and earlier
checkpoints `{"c":…}`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.json_lines import parse_line, read_line
from jukinet.ledger.verify.notes import decode_base64

FORMAT = "jukinet-ledger/1"


@dataclass(frozen=True)
class Header:
    """First line of the file."""

    origin: str
    checkpoint: str


@dataclass(frozen=True)
class EntryLine:
    """An entry, the index that the line claims and the leaf hash that was stored with it."""

    index: int
    leaf: bytes
    stored_hash: bytes


@dataclass(frozen=True)
class CheckpointLine:
    """An earlier checkpoint."""

    note: str


def read_header(file: BinaryIO) -> Header:
    """The header. Raises Unsound."""
    content = _read_object(file)
    if content is None or set(content) != {"format", "origin", "checkpoint"} or content["format"] != FORMAT:
        raise Unsound(f"the file does not begin with a header of {FORMAT}")
    return Header(_text(content["origin"]), _text(content["checkpoint"]))


def read_lines(file: BinaryIO) -> Iterator[EntryLine | CheckpointLine]:
    """The lines after the header. Raises Unsound at the first one that is malformed."""
    while (content := _read_object(file)) is not None:
        if set(content) == {"c"}:
            yield CheckpointLine(_text(content["c"]))
        elif set(content) == {"i", "e", "h"} and type(content["i"]) is int:
            leaf, stored_hash = decode_base64(_text(content["e"])), decode_base64(_text(content["h"]))
            yield EntryLine(content["i"], leaf, stored_hash)
        else:
            raise Unsound("the line is neither an entry nor a checkpoint")


def _read_object(file: BinaryIO) -> dict[str, object] | None:
    line = read_line(file)
    return parse_line(line) if line else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unsound("the line holds a number where a text must be")
    return value
