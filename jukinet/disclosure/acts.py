"""The disclosure node's own record: what it told, to which counter, in a ledger of its own (no record, no answer).

The ledger is one of `jukinet.ledger`, under the node's own key, with the residents' tokens of the month. An act and its
entry are one transaction.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry
from jukinet.ledger import layout
from jukinet.ledger import store as ledger
from jukinet.ledger.newest import Newest
from jukinet.ledger.note import Signer
from jukinet.mesh import clock, metrics
from jukinet.mesh.errors import Refused
from jukinet.store.grouping import Grouping
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)

T = TypeVar("T")
Act = Callable[[Connection], T]
"""Does something that must be on record; raises Refused before it has written anything."""


class _Handed(NamedTuple):
    act: Act[Any]
    entry: Callable[[Any], Entry]


class Acts:
    """The way into the node's own ledger.

    Args:
        writer: of the node's database.
        signer: the ledger's key.
        state: what `ledger.load` gave.
        newest_us: what `newest.newest_us` gave.
    """

    def __init__(self, *, writer: Writer, signer: Signer, state: ledger.LedgerState, newest_us: int) -> None:
        self._writer = writer
        self._signer = signer
        self._state = state
        self._newest = Newest(newest_us)
        self.grouping: Grouping[_Handed, Any] = Grouping(self._commit)

    def is_open(self) -> bool:
        """Whether an entry may be added now: the clock was not set back (docs/decisions/0098)."""
        return not self._newest.is_too_early(clock.now_us())

    def require_open(self) -> None:
        """Raises Refused: LEDGER_UNAVAILABLE while the clock is behind the newest entry."""
        self._newest.require(clock.now_us())

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._state.frontier.size

    async def carry_out(self, act: Act[T], entry: Callable[[T], Entry]) -> T:
        """Does something and puts it on record; returns what it gave when both are on disk.

        Args:
            act: what is done. One that raises has no entry.
            entry: what the record says of what the act gave.
        Raises:
            Refused: what the act raised; LEDGER_UNAVAILABLE.
        """
        try:
            done: T = await self.grouping.hand_in(_Handed(act, entry))
        except Refused:
            raise
        except Exception as failure:
            log.error("an act could not be put on record", extra={"error_type": type(failure).__name__})
            raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE) from None
        return done

    async def keep(self, entry: Callable[[], Entry]) -> None:
        """Puts on record what changes nothing here, such as a refusal. Raises Refused: LEDGER_UNAVAILABLE."""
        await self.carry_out(lambda _connection: None, lambda _done: entry())

    async def _commit(self, group: list[_Handed]) -> "Sequence[Any | Exception]":
        self._state, done = await self._writer.run(lambda connection: self._append(connection, group))
        metrics.ledger_entries(self.size)
        return done

    def _append(self, connection: Connection, group: list[_Handed]) -> "tuple[ledger.LedgerState, list[Any]]":
        done = [_carried_out(connection, handed) for handed in group]
        entries = [
            handed.entry(result) for handed, result in zip(group, done, strict=True) if not isinstance(result, Refused)
        ]
        if entries:  # what was done is undone with the transaction
            self._newest.take(*(each.time.ToMicroseconds() for each in entries))
        state, _ = ledger.append(connection, self._state, list(map(layout.encode, entries)), self._signer)
        return state, done


def _carried_out(connection: Connection, handed: _Handed) -> Any:
    try:
        return handed.act(connection)
    except Refused as refused:
        return refused
