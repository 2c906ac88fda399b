"""The end of a ledger in the memory of the process that writes it: the tree's state, and the request ids (要求番号) of
the last entries, which are not gathered in the table of used ids yet.

Rule 1: all of it follows from the entries on disk; a start derives it again.
Rule 2: it goes back with the database: what was appended in a transaction that was rolled back is forgotten at the
first look at what is on disk, and an id that was gathered in it is in memory again.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import Connection

from agency_gateway import used_ids
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import store as ledger

UNDER_WAY: Final = 2
"""How many groups may be under way: while one is written, the next one lies ready, and the node makes a third."""
RUN: Final = 16_384
"""Entries whose ids are gathered together: some 20 ms of writing, and 2 MB of memory until then."""
_AT_ONCE: Final = 4096


class _Step(NamedTuple):
    """What one group did."""

    state: ledger.LedgerState
    """After it."""
    ids: frozenset[bytes]
    """Which it used."""
    gathered: int
    """How many of the first entries have their ids in the table after it."""
    leaving: frozenset[bytes] = frozenset()
    """The ids that it gathered."""


class Tail:
    """The end of one ledger.

    Args:
        state: of `ledger.load`.
        ids: `known_by` of the entries whose ids are not gathered.
        gathered: how many of the first entries have theirs in the table.
    """

    def __init__(self, state: ledger.LedgerState, ids: set[bytes], gathered: int) -> None:
        self._steps = [_Step(state, frozenset(), gathered)]
        self._ids = ids

    def state(self, connection: Connection) -> ledger.LedgerState:
        """The state on disk, as this transaction sees it. Goes back to it.

        At most `UNDER_WAY` groups are added before it is known whether the first of them is committed. When another
        process appended, the state is one that is not on disk, to which nothing can be appended.
        """
        signed = ledger.latest_checkpoint(connection)
        while len(self._steps) > 1 and self._steps[-1].state.checkpoint != signed:
            undone = self._steps.pop()
            self._ids = (self._ids | undone.leaving) - undone.ids
        del self._steps[:-UNDER_WAY]
        return self._steps[-1].state

    def used(self, connection: Connection, ids: Collection[bytes]) -> set[bytes]:
        """Those of these ids that were used before."""
        known = self._ids.intersection(ids)
        return known | used_ids.among(connection, [each for each in ids if each not in known])

    def add(self, connection: Connection, state: ledger.LedgerState, ids: Collection[bytes]) -> None:
        """Adds a group that used these ids, none of which was used before, and gathers ids when they are many."""
        step = _Step(state, frozenset(ids), self._steps[-1].gathered)
        self._ids.update(ids)
        if state.frontier.size - step.gathered >= RUN:
            used_ids.gather(connection, self._ids, ledger_size=state.frontier.size)
            step = step._replace(gathered=state.frontier.size, leaving=frozenset(self._ids))
            self._ids = set()
        self._steps.append(step)


def read_tail(connection: Connection, state: ledger.LedgerState) -> Tail:
    """The end of the ledger of this state, from its entries. Ids that are many are gathered first."""
    first, ids = used_ids.gathered(connection), set[bytes]()
    for begin in range(first, state.frontier.size, _AT_ONCE):
        leaves = ledger.read_entries(connection, begin, begin + _AT_ONCE)
        ids.update(map(known_by, leaves))
        if begin + len(leaves) - first >= RUN:
            first = begin + len(leaves)
            used_ids.gather(connection, ids, ledger_size=first)
            ids.clear()
    return Tail(state, ids, first)


def known_by(leaf: bytes) -> bytes:
    """By what the question of an entry is known again."""
    entry = Entry.FromString(leaf)
    return used_ids.digest_of(entry.agency, entry.request_id)
