"""Builds the answer to "who received my data?" out of the mirrored ledgers (提供状況の開示).

Rules:

1. The whole of every ledger is searched, and an answer says how far that was: size and cosigned checkpoint. Whoever has
   the public ledger and the answer's tokens can count again.
2. A row shows date, function, affair, article, provider, recipient and items, and nothing about case, operator or any
   other person. Whoever asked is an agency there, not somebody.
3. The same question about the same state of the ledgers gives the same answer, byte by byte, so that one that was lost
   on its way can be had again.
4. An answer has as many rows as there are, in parts of `PART_ROWS`. Each part is signed, says which of how many rows it
   has, and beside that what every other part says.
5. A sealed entry (封印) is shown from its day on. Before that the answer says how many entries are sealed, of everybody
   together, and has no key that would tell whose.

Source: docs/disclosure.md; the items are those that prefectures show.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet.disclosure import mirror_store
from jukinet.disclosure.mirror_store import Found, Verified
from jukinet.domain.seal import opening_days
from jukinet.ledger import layout, merkle
from jukinet.ledger.entry import month_key, person_token
from jukinet.ledger.seal import seal_key, sealed_token
from jukinet.mesh.clock import JAPAN
from jukinet.mesh.errors import Refused
from jukinet.purpose.editions import Editions

NETWORK_BEGAN: Final = date(2002, 8, 5)
"""First day of the network (住民基本台帳ネットワークシステム), by the amendment of 1999 to the Act."""
LONGEST_YEARS: Final = 7
"""As long as provisions are kept on record."""
PART_ROWS: Final = 400
"""Rows of one part of an answer: a fifth of what a message may hold."""
PAGE_ROWS: Final = 20
ROW_BYTES: Final = 2048
"""A row with a proof of 30 hashes has about 1,700."""
_LEAST_PADDING: Final = 200
_CONTEXT: Final = b"jukinet usage v1\0"
NOTICE: Final = (
    "法令により開示を留保されている記録がある場合、この一覧には含まれません。この文は常に表示されます。"
    "該当者を特定できなかった照会及び拒否された照会は、特定の個人に結び付かないため含まれません。"
    "この一覧は一つの住民票コードのものです。住民票コードが変更された方は、変更前の提供について、変更前の住民票コードで改めて請求してください。"
    " Entries whose disclosure is deferred by law, if there are any, are not in this list. This sentence always stands "
    "here. Questions that found nobody and questions that were refused are tied to no person and are not in it either. "
    "This list is that of one resident code: whoever had the code changed asks once more, under the former one, for "
    "what was provided before."
)


class Period(NamedTuple):
    """Days in Japan, both included."""

    first: date
    last: date

    def check(self, today: date) -> None:
        """Refuses what nobody may be told: days to come too, whose tokens would show what is not provided yet.

        Args:
            today: in Japan.
        Raises Refused: USAGE_TOO_LONG.
        """
        if self.first < NETWORK_BEGAN:
            raise Refused(errors.ERROR_REASON_USAGE_TOO_LONG, field="first_day")
        if not self.first <= self.last <= today or self.first < first_of_longest(self.last):
            raise Refused(errors.ERROR_REASON_USAGE_TOO_LONG, field="last_day")

    def months(self) -> Iterator[datetime]:
        """A moment of each month of the period and of one more at both ends.

        Months of tokens are counted in UTC, where a day in Japan begins the day before; and two clocks differ a little.
        """
        month = _start_of_month(_start_of_month(self.first) - timedelta(days=1))
        while month <= self.last:
            yield datetime(month.year, month.month, 15, tzinfo=JAPAN)
            month = _start_of_month(month + timedelta(days=31))
        yield datetime(month.year, month.month, 15, tzinfo=JAPAN)

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in the period."""
        return self.first <= moment.astimezone(JAPAN).date() <= self.last


def first_of_longest(last: date) -> date:
    """First day of the longest period that ends on a day; 1 March where the year has no 29 February.

    The network's first day where that is later.
    """
    last = max(last, NETWORK_BEGAN)
    return max(date(last.year - LONGEST_YEARS, last.month, 1) + timedelta(days=last.day - 1), NETWORK_BEGAN)


class Searched(NamedTuple):
    """How far a ledger is searched."""

    origin: str
    verified: Verified
    contradicted: bool
    verified_at: int
    """Up to when the ledger showed no more than that, microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class UsageOffice:
    """Makes answers.

    Args:
        node: SPIFFE ID of this node.
        token_key: root of the person tokens, 32 bytes.
        key: signs the answers.
        editions: of the statute table: by the one that an entry cites its affair is called.
        names: Japanese and English name of each agency, by SPIFFE ID.
        provider: SPIFFE ID of the node out of whose register gateways provide.
    """

    node: str
    token_key: bytes
    key: Ed25519PrivateKey
    editions: Editions
    names: Mapping[str, tuple[str, str]]
    provider: str

    def answer(
        self,
        connection: Connection,
        resident_code: str,
        period: Period,
        searched: Sequence[Searched],
        *,
        check_id: str,
        made_at: int,
        first_row: int = 0,
    ) -> disclosure.FindUsageResponse:
        """A signed part of the answer about one resident.

        Args:
            connection: to the mirrored ledgers; only read from.
            resident_code: eleven digits.
            period: checked.
            searched: all the ledgers.
            check_id: of the check of identity.
            made_at: microseconds since 1970.
            first_row: how many of the newest rows come before the part.
        Raises:
            LedgerCorrupt: the mirror is damaged.
        """
        tokens = {
            f"{month:%Y-%m}": person_token(month_key(self.token_key, month), resident_code) for month in period.months()
        }
        sizes = {each.origin: each.verified.size for each in searched}
        found = [
            (each, entry)
            for each in mirror_store.find(connection, list(tokens.values()))
            if each.place < sizes.get(each.origin, 0) and period.holds(_moment(entry := layout.decode(each.entry)))
        ]
        seals = _Seals.of(
            self.token_key, resident_code, opening_days(*period, datetime.fromtimestamp(made_at // 10**6, JAPAN).date())
        )
        for each in mirror_store.find_sealed(connection, *period):
            if each.place < sizes.get(each.origin, 0) and seals.opens(each, entry := layout.decode(each.entry)):
                found.append((each, entry))
        found.sort(key=lambda pair: (_moment(pair[1]), pair[0].origin, pair[0].place), reverse=True)
        part = found[first_row : first_row + PART_ROWS]
        rows = [self._row(connection, each, entry, sizes[each.origin]) for each, entry in part]
        usage = disclosure.Usage(
            node=self.node,
            check_id=check_id,
            first_day=_calendar(period.first),
            last_day=_calendar(period.last),
            tokens=[disclosure.MonthToken(month=month, token=token) for month, token in tokens.items()],
            ledgers=[_shown(each, seals.closed[each.origin]) for each in searched],
            rows=padded(rows),
            notice=NOTICE,
            seal_keys=[disclosure.SealKey(sealed_until=until, key=key) for until, key in seals.keys.items()],
            first_row=first_row,
            total_rows=len(found),
        )
        usage.made_at.FromMicroseconds(made_at)
        body = usage.SerializeToString(deterministic=True)
        return disclosure.FindUsageResponse(usage=body, signature=self.key.sign(_CONTEXT + body))

    def _row(self, connection: Connection, found: Found, entry: ledger.Entry, size: int) -> disclosure.UsageRow:
        affair_ja, affair_en, law_ja = self._affair(entry)
        name_ja, name_en = self.names.get(entry.agency, ("", ""))
        return disclosure.UsageRow(
            origin=found.origin,
            index=found.place,
            entry=found.entry,
            proof=merkle.inclusion_proof(found.place, size, mirror_store.node_reader(connection, found.origin)),
            recipient_ja=name_ja,
            recipient_en=name_en,
            affair_ja=affair_ja,
            affair_en=affair_en,
            law_ja=law_ja,
            provider=self.provider,
        )

    def _affair(self, entry: ledger.Entry) -> tuple[str, str, str]:
        """Affair in Japanese and English, and its law. Rows are renumbered: another edition may give a wrong name."""
        table = self.editions.named(entry.edition)
        if table is None:
            cited = entry.edition or "?"
            return (
                f"{entry.purpose}（根拠の版「{cited}」が開示ノードにないため、事務の名称は不明）",
                f"{entry.purpose} (name unknown: the node does not have edition {cited}, which the entry cites)",
                "",
            )
        row = table.find(entry.purpose)
        return (row.label_ja, row.label_en, row.law_ja) if row else ("", "", "")


def padded(rows: Sequence[disclosure.UsageRow]) -> list[disclosure.UsageRow]:
    """The rows, all of one length, and as many empty ones after them as make a multiple of `PAGE_ROWS`, not 0."""
    short = -len(rows) % PAGE_ROWS if rows else PAGE_ROWS
    everything = [*rows, *(disclosure.UsageRow() for _ in range(short))]
    for row in everything:
        size = row.ByteSize()
        pieces = -(-(size + _LEAST_PADDING) // ROW_BYTES)
        # One byte says which field it is and two say how long: it is never shorter than 128.
        row.padding = bytes(pieces * ROW_BYTES - size - 3)
    return everything


class _Seals(NamedTuple):
    """A resident's keys of the days that have come, and how many entries of each ledger are still sealed."""

    keys: dict[str, bytes]
    closed: Counter[str]

    @classmethod
    def of(cls, token_key: bytes, resident_code: str, days: Sequence[str]) -> "_Seals":
        return cls({until: seal_key(token_key, until, resident_code) for until in days}, Counter())

    def opens(self, found: Found, entry: ledger.Entry) -> bool:
        """Whether a sealed entry is the resident's, and may be shown; one that nobody may be shown is counted."""
        key = self.keys.get(entry.sealed_until)
        self.closed[found.origin] += key is None
        return key is not None and sealed_token(key, entry.request_id) == entry.person_token


def _shown(searched: Searched, sealed: int) -> disclosure.SearchedLedger:
    shown = disclosure.SearchedLedger(
        origin=searched.origin,
        size=searched.verified.size,
        checkpoint=searched.verified.note,
        contradicted=searched.contradicted,
        sealed=sealed,
    )
    shown.verified_at.FromMicroseconds(searched.verified_at)
    return shown


def _moment(entry: ledger.Entry) -> datetime:
    return entry.time.ToDatetime(tzinfo=JAPAN)


def _start_of_month(day: date) -> date:
    return day.replace(day=1)


def _calendar(day: date) -> CalendarDate:
    return CalendarDate(year=day.year, month=day.month, day=day.day)
