"""The end of a ledger in the memory of the process that writes it: the tree's state, and the request ids (要求番号) of
the last entries, which are not gathered in the table of used ids yet.

Rule 1: all of it follows from the entries on disk; a start derives it again.
Rule 2: it goes back with the database: what was appended in a transaction that was rolled back is forgotten at the
first look at what is on disk, and an id that was gathered in it is in memory again.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from agency_gateway import used_ids
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import store as ledger

UNDER_WAY: Final = 2
"""How many groups may be under way: while one is written, the next one lies ready, and the node makes a third."""
RUN: Final = 16_384
"""Entries whose ids are gathered together."""
LEAST_SLICE: Final = 32
"""Ids that a group gathers at least, and twice as many as it has entries: so no group waits for a whole run, and a run
is in the table before the next one is due."""
_AT_ONCE: Final = 4096


class _Run(NamedTuple):
    """Ids on their way into the table, in their order."""

    ids: Sequence[bytes]
    entries: int
    """So many first entries have theirs in the table when all of these are there."""


class _Step(NamedTuple):
    """What there is after one group."""

    state: ledger.LedgerState
    ids: frozenset[bytes]
    """Which the group used."""
    gathered: int
    """How many of the first entries have their ids in the table."""
    run: _Run | None = None
    place: int = 0
    """How many ids of the run are in the table."""
    leaving: frozenset[bytes] = frozenset()
    """The ids of the run whose last ones the group gathered."""


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
        """Adds a group of at least one entry that used these ids, none of which was used before; gathers some where
        many are waiting.
        """
        last = self._steps[-1]
        step = _Step(state, frozenset(ids), last.gathered, last.run, last.place)
        if step.run is None and state.frontier.size - step.gathered >= RUN:
            step = step._replace(run=_Run(sorted(self._ids.union(ids)), state.frontier.size), place=0)
        if step.run is not None:
            step = _gather(connection, step, step.run, state.frontier.size - last.state.frontier.size)
        # Only now: what could not be written was not used.
        self._ids.update(ids)
        self._ids -= step.leaving
        self._steps.append(step)


def _gather(connection: Connection, step: _Step, run: _Run, entries: int) -> _Step:
    """Gathers the next ids of a run, in the transaction of so many entries."""
    end = step.place + max(2 * entries, LEAST_SLICE)
    if end < len(run.ids):
        used_ids.gather(connection, run.ids[step.place : end], ledger_size=step.gathered)
        return step._replace(place=end)
    used_ids.gather(connection, run.ids[step.place :], ledger_size=run.entries)
    return step._replace(gathered=run.entries, run=None, leaving=frozenset(run.ids))


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
