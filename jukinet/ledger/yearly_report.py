"""The yearly report on provisions (提供の状況の公表): who was provided with how many records, by month and method.

Rules:

1. It is computed from the ledger alone, up to a signed checkpoint: whoever has the ledger gets the same bytes. Entries
   are read and hashed by the stand-alone verifier, and counted only if they add up to the signed root.
2. It goes up to the last month that is over in every ledger, and holds nothing later. A month is over in a ledger whose
   newest entry lies after it by more than entries may lie before an earlier one: no later entry can be of that month,
   so no two reports differ in it by what came between them.
3. No number under ten stands in it, for a small one beside a place and a month may point at a person. Sums are of the
   numbers that stand in it, and what part of a month's provisions had something is counted among those whose number
   stands there, and shown only where ten others had it not, or none; so none that is missing is found by subtraction.
4. Attempts of private organisations (Act art. 30-38) are counted to the last one: they are about no person.
5. Whatever an agency was refused is counted, questions or not: lists of persons and recalls too.

Months are Japan's; a year (年度) begins in April. Source: Act art. 30-16, Rules art. 22 (receiver, year and month,
number, method; resident codes by month and number).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger.verify.check import SKEW_TOLERANCE_SECONDS
from jukinet.ledger.verify.findings import Unsound
from jukinet.ledger.verify.layout import read_entry
from jukinet.ledger.verify.ledger_file import EntryLine, read_header, read_lines
from jukinet.ledger.verify.notes import Key, read_checkpoint
from jukinet.ledger.verify.tree import GrowingTree, SignedTree, hash_leaf

SMALLEST = 10
"""The smallest number that is published."""

PARTS = ("resident_code", "sealed")
"""Kinds that are a part of what was provided in a month."""

_JAPAN = timezone(timedelta(hours=9))
_METHODS = {
    ledger_pb2.ACTION_INQUIRE: "immediate",
    ledger_pb2.ACTION_VERIFY_IDENTITY: "immediate",
    ledger_pb2.ACTION_INQUIRE_BATCH: "batch",
    ledger_pb2.ACTION_TELL_CHANGE: "changes",
}
"""即時提供: one person at a time; 一括提供: many; 異動情報: later changes."""
_OF_RESIDENTS = {
    ledger_pb2.ACTION_DISCLOSE_USAGE,
    ledger_pb2.ACTION_REQUEST_RECORD,
    ledger_pb2.ACTION_DISCLOSE_RECORD,
    ledger_pb2.ACTION_CORRECT_RECORD,
}
"""What counters ask for residents (開示), in the ledger of the disclosure node: no agency is refused there."""


@dataclass(frozen=True)
class Source:
    """A ledger, as far as a checkpoint of it covers."""

    origin: str
    checkpoint: str
    """The signed note."""
    size: int
    root: str
    """32 bytes in hex digits."""
    covered_to: str = ""
    """When its newest entry was made, ISO 8601 in Japan's time, to the second; empty without entries."""
    ended: bool = False
    """Whether whoever made the report said that nothing is added to it any more."""


@dataclass(frozen=True)
class Line:
    """One number of the report; `number` is None where it is kept back, and where a column says nothing it is empty.

    `kind` is `provided`, `resident_code` (provisions that held a 住民票コード), `sealed` (those shown to the person
    later, 封印), `private_attempt`, `refused`, `no_single_match` or `not_provided`; `month` is `2026-04`, `receiver` an
    agency's SPIFFE ID, `reason` of the error catalogue.
    """

    kind: str
    receiver: str = ""
    month: str = ""
    method: str = ""
    reason: str = ""
    number: int | None = None


@dataclass
class YearlyReport:
    """The report of one year: `lines` are sorted, and each ledger is named with its checkpoint.

    `last_month` is the last one that is over in every ledger, such as `2026-05`; empty while none of the year is.
    """

    year: int
    last_month: str = ""
    sources: list[Source] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def first_day(self) -> date:
        """1 April."""
        return date(self.year, 4, 1)

    @property
    def last_day(self) -> date:
        """31 March of the next year."""
        return date(self.year + 1, 3, 31)


def report_year(
    year: int,
    ledgers: Sequence[Path],
    keys: Sequence[Key],
    checkpoints: Iterable[str] = (),
    ended: Collection[str] = (),
) -> YearlyReport:
    """Makes the report of a year.

    Args:
        year: the one that begins in April of it.
        ledgers: files of `jukinet-ledger/1`, one a gateway.
        keys: public keys of their ledgers, in any order.
        checkpoints: signed notes up to which ledgers are read; a ledger without one is read to its own.
        ended: origins of ledgers to which nothing is added any more: every month is over in them.

    Returns:
        The report, the same for the same arguments however much the ledgers have grown.

    Raises:
        Unsound: a ledger is not what was signed, or has no key here, or is given twice.
        OSError: a file cannot be read.
    """
    by_origin = {key.name: key for key in keys}
    ends = {note.partition("\n")[0]: note for note in checkpoints}
    counted: Counter[Line] = Counter()
    report = YearlyReport(year)
    for path in ledgers:
        with path.open("rb") as file:
            report.sources.append(_count(file, path.name, by_origin, ends, report, counted))
    origins = [source.origin for source in report.sources]
    if len(set(origins)) != len(origins):
        raise Unsound("one ledger is given twice")
    if unused := ends.keys() - set(origins):
        raise Unsound(f"a checkpoint is of no given ledger: {', '.join(sorted(unused))}")
    if unknown := set(ended) - set(origins):
        raise Unsound(f"what is said to have ended is no given ledger: {', '.join(sorted(unknown))}")
    report.sources = [
        replace(source, ended=source.origin in ended)
        for source in sorted(report.sources, key=lambda source: source.origin)
    ]
    report.last_month = _last_month(report)
    over = Counter({line: number for line, number in counted.items() if line.month <= report.last_month})
    report.lines = sorted(_published(over), key=_order)
    return report


def _count(
    file: BinaryIO,
    name: str,
    keys: dict[str, Key],
    ends: dict[str, str],
    report: YearlyReport,
    counted: Counter[Line],
) -> Source:
    header = read_header(file)
    key = keys.get(header.origin)
    if key is None:
        raise Unsound(f"{name}: no key of {header.origin} is given")
    note = ends.get(header.origin, header.checkpoint)
    signed = read_checkpoint(note, key)
    tree, newest, in_order = GrowingTree(), 0, True
    for line in read_lines(file):
        if tree.size == signed.size:
            break
        if isinstance(line, EntryLine):
            tree.add(hash_leaf(line.leaf))
            entry = read_entry(line.leaf)
            time = entry.time.ToNanoseconds()
            in_order = in_order and time >= newest - SKEW_TOLERANCE_SECONDS * 1_000_000_000
            newest = max(newest, time)
            counted.update(_lines_of(entry, report, name))
    _require_same(tree, signed, name)
    if not in_order:
        raise Unsound(f"{name}: an entry lies before an earlier one in time; `jukinet ledger verify` says where")
    covered_to = _in_japan(newest // 1_000_000_000).isoformat() if tree.size else ""
    return Source(header.origin, note, signed.size, signed.root.hex(), covered_to)


def _last_month(report: YearlyReport) -> str:
    """The last month of the year that is over in every ledger; empty where none is."""
    months = [_month_over(source.covered_to) for source in report.sources if not source.ended]
    last = min([f"{report.last_day:%Y-%m}", *months])
    return last if report.sources and last >= f"{report.first_day:%Y-%m}" else ""


def _month_over(covered_to: str) -> str:
    """The month before the one in which the next entry of a ledger may lie; empty for one without entries."""
    if not covered_to:
        return ""
    next_at_least = datetime.fromisoformat(covered_to) - timedelta(seconds=SKEW_TOLERANCE_SECONDS)
    return f"{next_at_least.replace(day=1) - timedelta(days=1):%Y-%m}"


def _in_japan(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone(_JAPAN)


def _require_same(tree: GrowingTree, signed: SignedTree, name: str) -> None:
    if (tree.size, tree.root()) != (signed.size, signed.root):
        raise Unsound(f"{name}: its entries are not those that were signed; `jukinet ledger verify` says where")


def _lines_of(entry: ledger_pb2.Entry, report: YearlyReport, name: str) -> Iterable[Line]:
    """What an entry adds one to; nothing for those of other years."""
    at = _in_japan(entry.time.seconds)
    if not report.first_day <= at.date() <= report.last_day:
        return
    month = f"{at:%Y-%m}"
    if entry.result == ledger_pb2.RESULT_PROVIDED:
        method = _METHODS.get(entry.action)
        if method is None:
            raise Unsound(f"{name}: it holds a kind of provision that this version does not know")
        yield Line("provided", entry.agency, month, method)
        if inquiry_pb2.IDENTITY_FIELD_RESIDENT_CODE in entry.fields:
            yield Line("resident_code", entry.agency, month, method)
        if entry.sealed_until:
            yield Line("sealed", entry.agency, month, method)
    elif entry.result == ledger_pb2.RESULT_NO_SINGLE_MATCH:
        yield Line("no_single_match", month=month)
    elif entry.result == ledger_pb2.RESULT_NOT_PROVIDED:
        yield Line("not_provided", month=month)
    elif entry.refusal == errors_pb2.ERROR_REASON_PRIVATE_SECTOR_BANNED:
        yield Line("private_attempt", month=month)
    elif entry.result == ledger_pb2.RESULT_REFUSED and entry.action not in _OF_RESIDENTS:
        yield Line("refused", month=month, reason=_reason(entry.refusal))


def _reason(number: int) -> str:
    known = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("ERROR_REASON_") if known else f"REASON_{number}"


def _published(counted: Mapping[Line, int]) -> Iterator[Line]:
    """What is shown of what was counted; parts of a month's provisions are counted by receiver and method too."""
    months: Counter[str] = Counter()
    parts: Counter[Line] = Counter()
    for line, number in counted.items():
        if line.kind in PARTS:
            whole = counted[replace(line, kind="provided")]
            parts[Line(line.kind, month=line.month)] += number if whole >= SMALLEST else 0
        else:
            shown = number if number >= SMALLEST or line.kind == "private_attempt" else None
            months[line.month] += (shown or 0) if line.kind == "provided" else 0
            yield replace(line, number=shown)
    for line, number in parts.items():
        is_shown = number >= SMALLEST and not 0 < months[line.month] - number < SMALLEST
        yield replace(line, number=number if is_shown else None)


_KINDS = ("provided", "resident_code", "sealed", "private_attempt", "refused", "no_single_match", "not_provided")


def _order(line: Line) -> tuple[int, str, str, str, str]:
    return _KINDS.index(line.kind), line.receiver, line.month, line.method, line.reason
