"""What agencies and operators ask in a day through all gateways (照会の上限): every question passes the center.

Rule 1: a question is charged when its ticket held and before anybody is looked up, the same whatever is found.
Rule 2: nobody gets more by a restart. A count is on disk rounded up, before the answer leaves, and a start goes on from
there: a hundredth of a day's limit is lost by it at most, of an operator's a thirtieth. Most questions write nothing.
Rule 3: limits are those of the center's own directory. Gateways count for themselves too, and the minute they alone.
Rule 4: an operator is kept as a digest under the center's token key, of his agency and the day; a person who was asked
about as a digest under a key that is made for the day, in memory alone. After a restart everybody is new once more.

Source: docs/decisions/0070-the-center-counts-for-all-gateways.md, 0080-operators-and-persons-count-at-the-center.md,
0081-a-batch-needs-a-line.md; docs/threat-model.md, threats 15 and 16.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from hashlib import blake2b
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Engine, String, Table, delete, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_METHOD_FOUR_ITEMS, Subject
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.mesh import metrics
from jukinet.mesh.errors import Refused
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.budgets import Budget, row_of
from jukinet.store.schema import metadata
from jukinet.store.statement import Rows
from jukinet.store.writer import Writer

_ROUNDED_TO: Final = 100
"""A count on disk is more than the true one by this part of its limit at most."""
_OPERATORS_ROUNDED_TO: Final = 30
"""The same of one operator, whose limit is small: a hundredth of it is used up by a few questions."""
_MOST_AHEAD: Final = 10_000
"""So many at most: of who may ask without end a share of the limit would be used up by thirty restarts all the same."""
_OF_OPERATORS: Final = "operator_"
"""How the names of their limits begin."""
_KEPT: Final = timedelta(days=2)
"""How old a day is that nobody needs, even if the clock is ahead."""
_SUBJECTS: Final = "agency_subjects_day"
_DIGEST_BYTES: Final = 16

asked_today = Table(
    "asked_today",
    metadata,
    Column("day", String(10), primary_key=True, comment="YYYY-MM-DD in Japan"),
    Column("agency", String(255), primary_key=True, comment="SPIFFE ID"),
    Column(
        "name",
        String(64),
        primary_key=True,
        comment="of the limit in the budget, or the row",
    ),
    Column("asked", BigInteger, nullable=False, comment="no less than was asked"),
)
_ADD = Rows(asked_today, ["day", "agency", "name", "asked"])

Account = tuple[str, str]
"""Agency and name of the limit, of an operator's followed by a space and his digest."""


class AskedToday:
    """The counts of today.

    Args:
        directory: the agencies with their limits.
        reader: of the register's database.
        writer: of the same.
        today: in Japan.
        token_key: the center's; makes the operators' digests.
    """

    def __init__(
        self, directory: AgencyDirectory, reader: Engine, writer: Writer, today: date, *, token_key: bytes
    ) -> None:
        self._directory = directory
        self._writer = writer
        self._token_key = token_key
        self._begin(today)
        with reader.connect() as connection:
            self._counts.update(_counts_of(connection, today))
        self._on_disk.update(self._counts)

    def _begin(self, day: date) -> None:
        self._day = day
        self._day_key = secrets.token_bytes(32)
        self._named: set[bytes] = set()
        """Who was asked about; no more of an agency than its limit of different persons."""
        self._counts: Counter[Account] = Counter()
        self._on_disk: dict[Account, int] = {}
        self._short: set[Account] = set()
        """Of which more was asked than is on disk."""

    def charge(self, ticket: provision.Ticket, subjects: Sequence[Subject], today: date) -> None:
        """Counts the questions of a ticket, which are about these persons.

        Raises:
            Refused: BUDGET_EXCEEDED, with the limit; nothing was counted.
        """
        if today > self._day:  # a clock that was put back opens no second day
            self._begin(today)
        accounts = [(ticket.agency, name) for name in self._names(ticket)]
        person = b""
        if ticket.kind != provision.PROVISION_KIND_BATCH:
            person = self._person(ticket.agency, subjects[0])
            if person not in self._named:
                accounts.append((ticket.agency, _SUBJECTS))
        persons = len(subjects)
        for account in accounts:
            if self._counts[account] + persons > self._most(account):
                metrics.budget_exceeded()
                raise Refused(errors.ERROR_REASON_BUDGET_EXCEEDED, limit=self._limit(account))
        if person:
            self._named.add(person)
        for account in accounts:
            self._counts[account] += persons
            if self._counts[account] > self._on_disk.get(account, 0):
                self._short.add(account)

    async def keep(self) -> None:
        """Returns when no count on disk is less than the true one. Raises StoreError."""
        if not self._short:
            return
        day = self._day
        rounded = {account: self._counts[account] + self._ahead(account) for account in self._short}
        await self._writer.run(partial(_write, day, rounded))
        if day == self._day:
            self._on_disk.update(rounded)
            self._short = {account for account in self._short if self._counts[account] > self._on_disk.get(account, 0)}

    def _names(self, ticket: provision.Ticket) -> Iterator[str]:
        """The accounts of its agency that a ticket touches, whoever it is about."""
        budget = self._budget(ticket.agency)
        if ticket.kind == provision.PROVISION_KIND_BATCH:
            yield "agency_batch_day"
            if budget.operator_batch_day is not None:
                yield f"operator_batch_day {self._operator(ticket)}"
        elif ticket.method == INQUIRY_METHOD_FOUR_ITEMS:
            yield "agency_searches_day"
            yield f"operator_searches_day {self._operator(ticket)}"
        if (row := row_of(ticket.purpose)) in budget.row_questions_day:
            yield row

    def _operator(self, ticket: provision.Ticket) -> str:
        """The operator's digest of the day, made anew each time: a gateway may name as many as it likes."""
        # No identity of an agency has a zero byte.
        whose = f"jukinet asked today v1 operator\0{self._day}\0{ticket.agency}\0{ticket.operator}"
        return hmac.digest(self._token_key, whose.encode(), "sha256")[:_DIGEST_BYTES].hex()

    def _person(self, agency: str, subject: Subject) -> bytes:
        named = agency.encode() + b"\0" + subject.SerializeToString(deterministic=True)
        return blake2b(named, key=self._day_key, digest_size=_DIGEST_BYTES).digest()

    def _most(self, account: Account) -> int:
        agency, name = account
        budget = self._budget(agency)
        if name in budget.row_questions_day:
            return budget.row_questions_day[name]
        most: int = getattr(budget, self._limit(account))
        return most

    def _limit(self, account: Account) -> str:
        """The name of an account's limit in the directory."""
        agency, name = account
        return "row_questions_day" if name in self._budget(agency).row_questions_day else name.partition(" ")[0]

    def _ahead(self, account: Account) -> int:
        """By how much a count is written before it is reached."""
        part = _OPERATORS_ROUNDED_TO if account[1].startswith(_OF_OPERATORS) else _ROUNDED_TO
        return min(self._most(account) // part, _MOST_AHEAD)

    def _budget(self, agency: str) -> Budget:
        listed = self._directory.get(agency)
        return listed.budget if listed else Budget()


def _counts_of(connection: Connection, day: date) -> dict[Account, int]:
    kept = select(asked_today).where(asked_today.c.day == day.isoformat())
    return {(row.agency, row.name): row.asked for row in connection.execute(kept)}


def _write(day: date, rounded: dict[Account, int], connection: Connection) -> None:
    """Only ever upwards: of two that are under way the later one may know less."""
    kept = _counts_of(connection, day)
    larger = {account: count for account, count in rounded.items() if count > kept.get(account, 0)}
    # Of days that are over nothing is needed; but the clock may be a day ahead, and today what it calls over.
    connection.execute(delete(asked_today).where(asked_today.c.day < (day - _KEPT).isoformat()))
    for agency, name in larger:
        of_today = asked_today.c.day == day.isoformat(), asked_today.c.agency == agency, asked_today.c.name == name
        connection.execute(delete(asked_today).where(*of_today))
    _ADD.write(connection, [(day.isoformat(), *account, count) for account, count in larger.items()])
