"""The first bulk transmission (初期一括送信): a municipality joins with the whole register that it has.

Rule 1: whole or not at all. One transaction takes every line in, by the rules of the intake; one refused line and
nothing was loaded.
Rule 2: only an empty register is loaded. Whoever has sent something reports changes.
Rule 3: what is loaded is sealed and counted like any change, and does not stay in the outbox: the nodes above get it as
a snapshot that the municipality signs, not one by one.

Source: Act art. 30-6; reliability protocol, bootstrap (2.9).
"""

from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice

from sqlalchemy import Connection

from cs_node.intake import Item, Sealing, accept
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission
from jukinet.mesh.errors import Refused, check_message
from jukinet.store import journal
from jukinet.store.outbox_start import drop_outbox

Refusal = tuple[int, str, "ErrorReason.ValueType"]
"""Line number, field at fault or an empty text, and the reason."""

_AT_ONCE = 500
_REFUSALS_TOLD = 20


class NotEmpty(Exception):
    """The register holds changes already. Only an empty one is loaded; report the others as changes."""

    def __init__(self) -> None:
        super().__init__("the register holds changes already; only an empty one is loaded, so report these as changes")


class LinesRefused(Exception):
    """Lines of the file were refused, and nothing was loaded. `refused` has the first ones: line, field, reason."""

    def __init__(self, refused: list[Refusal]) -> None:
        super().__init__("lines of the file were refused, and nothing was loaded")
        self.refused = refused


def first_load(
    connection: Connection, lines: Iterable[tuple[int, Submission]], sealing: Sealing, *, today: date, at_us: int
) -> int:
    """Loads a register in the caller's transaction, which must be rolled back when it raises.

    Args:
        connection: of the CS's writer.
        lines: line number and submission of each.
        sealing: in whose name the changes are sealed.
        today: the date in Japan.
        at_us: microseconds since 1970.

    Returns:
        The number of changes.

    Raises:
        NotEmpty: the register is not new.
        LinesRefused: the rules refuse some of the lines.
    """
    if journal.read_stream(connection).last_sequence:
        raise NotEmpty
    refused: list[Refusal] = []
    loaded = 0
    for group in _grouped(lines):
        refused += [broken for number, submission in group if (broken := _broken(number, submission))]
        if not refused:
            items = [Item(submission, "") for _, submission in group]
            answers = accept(connection, items, sealing, today=today, at_us=at_us)
            numbered = zip((number for number, _ in group), answers, strict=True)
            refused += [(number, each.field, each.reason) for number, each in numbered if isinstance(each, Refused)]
        if len(refused) >= _REFUSALS_TOLD:
            break
        last = journal.read_stream(connection).last_sequence
        if last > loaded:
            drop_outbox(connection, last)
        loaded = last
    if refused:
        raise LinesRefused(refused[:_REFUSALS_TOLD])
    return loaded


def _broken(number: int, submission: Submission) -> "Refusal | None":
    try:
        check_message(submission)
    except Refused as refused:
        return number, refused.field, refused.reason
    return None


def _grouped(lines: Iterable[tuple[int, Submission]]) -> Iterator[list[tuple[int, Submission]]]:
    rest = iter(lines)
    while group := list(islice(rest, _AT_ONCE)):
        yield group
