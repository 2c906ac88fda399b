"""What each agency asks in a day through all gateways (照会の上限): the center counts, since every question passes it.

Rule 1: a question is charged when its ticket held and before anybody is looked up, the same whatever is found.
Rule 2: nobody gets more by a restart. A count is on disk rounded up, before the answer leaves, and a start goes on from
there: at most a hundredth of a day's limit is lost by it. So most questions write nothing.
Rule 3: limits are those of the center's own directory. Gateways count for themselves too, by operator and by different
persons, of which the center knows nothing.

Source: docs/decisions/0070-the-center-counts-for-all-gateways.md; docs/threat-model.md, threats 15 and 16.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Engine, String, Table, delete, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import INQUIRY_METHOD_FOUR_ITEMS
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
"""Agency and name of the limit."""


class AskedToday:
    """The counts of today.

    Args:
        directory: the agencies with their limits.
        reader: of the register's database.
        writer: of the same.
        today: in Japan.
    """

    def __init__(self, directory: AgencyDirectory, reader: Engine, writer: Writer, today: date) -> None:
        self._directory = directory
        self._writer = writer
        self._day = today
        with reader.connect() as connection:
            self._counts = Counter(_counts_of(connection, today))
        self._on_disk = dict(self._counts)
        self._short: set[Account] = set()
        """Of which more was asked than is on disk."""

    def charge(self, ticket: provision.Ticket, persons: int, today: date) -> None:
        """Counts the questions of a ticket.

        Raises:
            Refused: BUDGET_EXCEEDED; nothing was counted.
        """
        if today > self._day:  # a clock that was put back opens no second day
            self._day, self._on_disk = today, {}
            self._counts.clear()
            self._short.clear()
        limits = list(self._limits(ticket))
        if any(self._counts[account] + persons > most for account, most in limits):
            metrics.budget_exceeded()
            raise Refused(errors.ERROR_REASON_BUDGET_EXCEEDED)
        for account, _ in limits:
            self._counts[account] += persons
            if self._counts[account] > self._on_disk.get(account, 0):
                self._short.add(account)

    async def keep(self) -> None:
        """Returns when no count on disk is less than the true one. Raises StoreError."""
        if not self._short:
            return
        day = self._day
        rounded = {account: self._counts[account] + self._most(account) // _ROUNDED_TO for account in self._short}
        await self._writer.run(partial(_write, day, rounded))
        if day == self._day:
            self._on_disk.update(rounded)
            self._short = {account for account in self._short if self._counts[account] > self._on_disk.get(account, 0)}

    def _limits(self, ticket: provision.Ticket) -> Iterator[tuple[Account, int]]:
        """The accounts that a ticket touches, and the most that each may come to."""
        names = ["agency_batch_day"]
        if ticket.kind != provision.PROVISION_KIND_BATCH:
            names = ["agency_searches_day"] if ticket.method == INQUIRY_METHOD_FOUR_ITEMS else []
            if (row := row_of(ticket.purpose)) in self._budget(ticket.agency).row_questions_day:
                names.append(row)
        for name in names:
            yield (ticket.agency, name), self._most((ticket.agency, name))

    def _most(self, account: Account) -> int:
        agency, name = account
        budget = self._budget(agency)
        if name in budget.row_questions_day:
            return budget.row_questions_day[name]
        most: int = getattr(budget, name)
        return most

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
    # Of days that are over nothing is needed.
    connection.execute(delete(asked_today).where(asked_today.c.day < day.isoformat()))
    for agency, name in larger:
        connection.execute(delete(asked_today).where(asked_today.c.agency == agency, asked_today.c.name == name))
    _ADD.write(connection, [(day.isoformat(), *account, count) for account, count in larger.items()])
