"""Checks an answer to "who received my data?" offline, and counts again where the ledger is at hand.

1. The answer: each part signed by the disclosure node, and none missing (`usage_parts`); tokens for every month that
   the period can touch, and for no other.
2. Each ledger that was searched: its checkpoint is signed by it and cosigned by a quorum of the witnesses, and nothing
   that it showed the node later contradicts it. Every ledger whose key is given was searched.
3. Each row: a sound entry, with one of the tokens, of a day in the period, in the tree of its ledger's checkpoint.
4. For each ledger file that is given: its entries up to the size that was searched have the checkpoint's root, and
   those with one of the tokens and a day in the period are the rows, no more and no fewer; and as many more as the
   answer says are sealed until a day that had not come. What the file has after that is counted, and what of it is
   about the person is named: it may be younger than the moment up to which the answer holds, and not older.
5. Keys of sealed entries: one for every day up to the answer's on which an entry of the period can open, and no other.

What this cannot check is whether the tokens are those of the person: only the disclosure node and the center have the
key that makes them. The node has signed that they are.
"""

import hmac
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.ledger.verify.findings import Finding, Unsound
from jukinet.ledger.verify.layout import read_entry
from jukinet.ledger.verify.ledger_file import EntryLine, read_header, read_lines
from jukinet.ledger.verify.notes import Key, cosigned_by, read_checkpoint, read_key
from jukinet.ledger.verify.quorum import quorum_of, read_witnesses
from jukinet.ledger.verify.tree import GrowingTree, SignedTree, hash_leaf, root_from_proof
from jukinet.ledger.verify.usage_parts import join_parts, read_parts
from jukinet.ledger.verify.usage_report import CONTRADICTED, UsageReport

_JAPAN = timezone(timedelta(hours=9))
_LATE = timedelta(minutes=10)
"""An entry has its time before it is on the gateway's disk, and clocks differ. For so long, too, a gateway adds entries
that no quorum cosigned, and the first nodes did not look for those."""


def verify_usage(
    answer_path: Path,
    node_key_path: Path,
    ledger_keys: Sequence[Path],
    *,
    ledgers: Sequence[Path] = (),
    witnesses: Sequence[str] = (),
    quorum: int | None = None,
) -> UsageReport:
    """Verifies an answer of the disclosure node.

    Args:
        answer_path: JSON file of `jukinet disclosure usage`.
        node_key_path: file with the disclosure node's public key, `name+keyid+base64`.
        ledger_keys: files with the ledgers' public keys, the same.
        ledgers: exported ledgers in which to count again, of `jukinet-ledger/1`.
        witnesses: public keys of witnesses; none = cosignatures are passed over.
        quorum: how many of them must have cosigned; more than half of them if None.
    Returns: the report; it never raises for what is in the files.
    """
    report = UsageReport()
    try:
        node_key = read_key(node_key_path.read_text(encoding="utf-8"))
        keys = {key.name: key for key in (read_key(path.read_text(encoding="utf-8")) for path in ledger_keys)}
        if len(keys) < len(ledger_keys):
            raise Unsound("two of the ledgers' keys have the same name")
        witness_keys = read_witnesses(witnesses)
        check = _Verification(report, keys, witness_keys, quorum_of(len(witness_keys), quorum))
        parts = read_parts(answer_path.read_bytes())
        report.parts = len(parts)
        check.run(join_parts(parts, node_key, report.findings))
        for path in ledgers:
            check.count_again(path)
    except (Unsound, OSError, UnicodeDecodeError) as error:
        report.findings.stopped(error)
    return report


class _Verification:
    """The check of one answer."""

    def __init__(self, report: UsageReport, keys: dict[str, Key], witnesses: list[Key], quorum: int) -> None:
        self._report = report
        self._keys = keys
        self._witnesses = witnesses
        self._quorum = quorum
        self._tokens: frozenset[bytes] = frozenset()
        self._seal_keys: dict[str, bytes] = {}
        self._sealed: dict[str, int] = {}
        self._period = (date.max, date.min)
        self._trees: dict[str, SignedTree] = {}
        self._until: dict[str, datetime] = {}
        self._rows: dict[str, dict[int, bytes]] = {}

    def run(self, usage: disclosure_pb2.Usage) -> None:
        try:
            self._period = _day(usage.first_day), _day(usage.last_day)
        except ValueError:
            raise Unsound("the answer holds no usage") from None
        self._report.node, self._report.made_at = usage.node, _moment(usage.made_at).isoformat()
        self._check_tokens(usage)
        self._check_seal_keys(usage)
        for ledger in usage.ledgers:
            self._check_ledger(ledger)
            self._check_until(ledger, usage)
        for origin in sorted(self._keys.keys() - {ledger.origin for ledger in usage.ledgers}):
            self._find("ledger", f"{origin}, whose key was given, was not searched")
        self._report.ledgers = list(self._trees)
        self._report.until = min(self._until.values(), default=None)
        for row in usage.rows:
            self._check_row(row)

    def _check_tokens(self, usage: disclosure_pb2.Usage) -> None:
        self._tokens = frozenset(each.token for each in usage.tokens)
        if [each.month for each in usage.tokens] != _months(*self._period):
            self._find("tokens", "the months of the tokens are not those of the period")
        if len(self._tokens) < len(usage.tokens) or any(len(each.token) != 32 for each in usage.tokens):
            self._find("tokens", "a token is missing, or stands twice")

    def _check_seal_keys(self, usage: disclosure_pb2.Usage) -> None:
        today = _moment(usage.made_at).date()
        self._seal_keys = {each.sealed_until: each.key for each in usage.seal_keys}
        if [each.sealed_until for each in usage.seal_keys] != _opening_days(*self._period, today):
            self._find("seals", "the keys of sealed entries are not those of the days that had come")
        if any(len(each.key) != 32 for each in usage.seal_keys):
            self._find("seals", "a key of sealed entries is malformed")

    def _check_ledger(self, ledger: disclosure_pb2.SearchedLedger) -> None:
        key = self._keys.get(ledger.origin)
        if key is None:
            self._find("ledger", f"the key of {ledger.origin} was not given")
            return
        try:
            tree = read_checkpoint(ledger.checkpoint, key)
            cosigned = len(cosigned_by(ledger.checkpoint, self._witnesses))
        except Unsound as error:
            self._find("checkpoint", f"{ledger.origin}: {error}")
            return
        if cosigned < self._quorum:
            self._find("witness", f"{ledger.origin}: cosigned by {cosigned} witnesses, {self._quorum} are wanted")
        if tree.size != ledger.size or ledger.origin in self._trees:
            self._find("ledger", f"{ledger.origin}: its size is not that of the checkpoint, or it stands twice")
        self._trees[ledger.origin] = tree
        self._rows[ledger.origin] = {}
        self._sealed[ledger.origin] = ledger.sealed
        self._report.sealed += ledger.sealed

    def _check_until(self, ledger: disclosure_pb2.SearchedLedger, usage: disclosure_pb2.Usage) -> None:
        self._until[ledger.origin] = _moment(ledger.verified_at)
        if not 0 < ledger.verified_at.ToNanoseconds() <= usage.made_at.ToNanoseconds():
            self._find("ledger", f"{ledger.origin}: up to when it was searched is not said, or is after the answer")
        if ledger.contradicted:
            self._find(CONTRADICTED, f"{ledger.origin}: what it showed after entry {ledger.size} did not verify")

    def _check_row(self, row: disclosure_pb2.UsageRow) -> None:
        tree, place = self._trees.get(row.origin), f"entry {row.index} of {row.origin}"
        if tree is None:
            self._find("row", f"{place}: the answer searched no such ledger")
            return
        if row.index in self._rows[row.origin]:
            self._find("row", f"{place}: it stands twice")
        self._rows[row.origin][row.index] = row.entry
        self._report.rows += 1
        try:
            entry = read_entry(row.entry)
        except Unsound as error:
            self._find("layout", f"{place}: {error}")
            return
        if not self._is_meant(entry):
            self._find("row", f"{place}: it is of another person, or not in the period")
        if row.index >= tree.size or any(len(digest) != 32 for digest in row.proof):
            self._find("proof", f"{place}: it is malformed")
        elif root_from_proof(hash_leaf(row.entry), row.index, tree.size, row.proof) != tree.root:
            self._find("proof", f"{place}: it does not lead to the root of the checkpoint")

    def count_again(self, path: Path) -> None:
        """Searches an exported ledger as the node did. Raises Unsound when the file is none."""
        with path.open("rb") as file:
            header = read_header(file)
            origin = header.origin
            tree = self._trees.get(origin)
            if tree is None:
                self._find("ledger", f"{path.name}: the answer searched no ledger {origin}")
                return
            leaves = (line.leaf for line in read_lines(file) if isinstance(line, EntryLine))
            growing, meant, sealed = GrowingTree(), set[int](), 0
            for leaf in islice(leaves, tree.size):
                entry = read_entry(leaf)
                if self._is_meant(entry):
                    meant.add(growing.size)
                sealed += self._is_closed(entry)
                growing.add(hash_leaf(leaf))
            if (growing.size, growing.root()) != tree:
                self._find("ledger", f"{path.name}: its first {growing.size} entries do not have the checkpoint's root")
                return
            self._look_after(origin, leaves, growing)
        if (growing.size, growing.root()) != read_checkpoint(header.checkpoint, self._keys[origin]):
            self._find("ledger", f"{path.name}: its entries do not have the root of its own checkpoint")
        for index in sorted(meant ^ self._rows[origin].keys()):
            self._find("complete", f"{path.name}: entry {index} stands in one of ledger and answer, not in both")
        if sealed != self._sealed[origin]:
            self._find("sealed", f"{path.name}: {sealed} entries were sealed, the answer says {self._sealed[origin]}")
        self._report.recounted.append(origin)

    def _look_after(self, origin: str, leaves: Iterator[bytes], growing: GrowingTree) -> None:
        """Names what a ledger has after what was searched."""
        known = self._until[origin] - _LATE
        for leaf in leaves:
            entry, place = read_entry(leaf), f"entry {growing.size} of {origin}"
            growing.add(hash_leaf(leaf))
            self._report.later_entries += 1
            is_meant, moment = self._is_meant(entry), _moment(entry.time)
            if is_meant:
                self._report.later.append(f"{place}, {moment.isoformat()}")
            if moment < known and (is_meant or self._is_closed(entry)):
                self._find("outdated", f"{place}: it is older than the moment up to which the answer holds")

    def _is_meant(self, entry: ledger_pb2.Entry) -> bool:
        if not entry.sealed_until:
            return entry.person_token in self._tokens and self._is_in_period(entry)
        key = self._seal_keys.get(entry.sealed_until)
        if key is None:
            return False
        return hmac.digest(key, entry.request_id.encode(), "sha256") == entry.person_token and self._is_in_period(entry)

    def _is_closed(self, entry: ledger_pb2.Entry) -> bool:
        is_sealed = bool(entry.sealed_until and entry.person_token)  # a recall of what was has none, and is open
        return is_sealed and entry.sealed_until not in self._seal_keys and self._is_in_period(entry)

    def _is_in_period(self, entry: ledger_pb2.Entry) -> bool:
        return self._period[0] <= _moment(entry.time).date() <= self._period[1]

    def _find(self, check: str, message: str) -> None:
        self._report.findings.add(Finding(check, message))


def _months(first: date, last: date) -> list[str]:
    """Every month of the period, and one more at both ends: days are counted in Japan, months of tokens in UTC."""
    numbers = range(first.year * 12 + first.month - 2, last.year * 12 + last.month + 1)
    return [f"{number // 12}-{number % 12 + 1:02}" for number in numbers]


def _opening_days(first: date, last: date, today: date) -> list[str]:
    """The first day of each month after the first of the period, up to today and to sixty months after the last."""
    end = min(last.year * 12 + last.month + 60, today.year * 12 + today.month)
    return [
        f"{(number - 1) // 12:04}-{(number - 1) % 12 + 1:02}-01"
        for number in range(first.year * 12 + first.month + 1, end + 1)
    ]


def _moment(stamp: Timestamp) -> datetime:
    try:
        return datetime.fromtimestamp(stamp.seconds, _JAPAN)
    except (ValueError, OverflowError, OSError):
        raise Unsound("a moment of the answer is none that there is") from None


def _day(day: CalendarDate) -> date:
    return date(day.year, day.month, day.day)
