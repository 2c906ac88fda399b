"""Which of the changes that wait for a list (異動情報) are told, and what of each (Act art. 30-9 to 30-12).

Rule 1: what is told is decided when it is told: about a person who is not protected then. What may not be told leaves
no trace in what is: positions have gaps anyway. What the law of that day says of agency, row and items is decided for
the list as a whole (`center_node/changes.py`): where it says no the list is refused, and nothing passed over.
Rule 2: whose residents the row speaks of is asked of the municipality that sealed the change. Who holds the record
when the agency happens to come says nothing of it: a move-out from a prefecture would be lost to that prefecture, and
what was reported elsewhere would be told to it after a return.
Rule 3: what cannot be told yet is not passed over, since the agency would acknowledge it with what comes behind it. The
list waits in front of the change of a person whose row is damaged, so that nobody can decide, and of one whom a
municipality holds that is half in for the first time, of whose residents nothing is provided until all of it is here.
"""

import logging
from collections.abc import Set
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, select

from center_node.cut import cut
from center_node.freshness import Said, Sources
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_UNSPECIFIED, Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import Resident
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.domain.apply import row_after
from jukinet.domain.protection import is_protected
from jukinet.ledger.entry import month_key, person_token
from jukinet.mesh.clock import now, today_in_japan
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.recall import RecallMarks
from jukinet.store import watches
from jukinet.store.checksum import RecordDamaged, is_sound
from jukinet.store.schema import residents
from jukinet.store.snapshots import is_provided
from jukinet.store.watch_start import Begun
from jukinet.store.watches import Waiting, WatchList

log = logging.getLogger(__name__)

MOST_TOLD: Final = 64


class _NotYet(Exception):
    """The agency may hear of the person, whose municipality is half in."""


class Telling:
    """Decides what of the waiting changes is told, and writes it.

    Args:
        policy: the law, the statute table and the agencies.
        token_key: root of the person tokens and of the recall marks, 32 bytes.
        sources: how fresh each municipality's reports are.
    """

    def __init__(self, *, policy: PurposePolicy, token_key: bytes, sources: Sources) -> None:
        self._policy = policy
        self._sources = sources
        self._token_key = token_key
        self._recalls = RecallMarks(token_key)

    def next_changes(self, connection: Connection, kept: WatchList, after: int) -> list[provision.ToldProvision]:
        """The next changes that may be told. Raises RecordDamaged: of the first one that cannot be decided."""
        told: list[provision.ToldProvision] = []
        moment, day, now_us = now(), today_in_japan(), self._sources.now()
        while not told and (found := watches.waiting(connection, kept.list_id, after=after, limit=MOST_TOLD)):
            for each in found:
                try:
                    may_tell = self._may_tell(connection, kept, each.resident_code, day, {each.municipality})
                except RecordDamaged:
                    log.critical("a list waits at a damaged record", extra={"position": each.position})
                    if not told:
                        raise
                    return told
                except _NotYet:
                    return told
                if may_tell:
                    said = self._sources.of(connection, each.municipality, now_us)
                    told.append(self._told(each, kept, moment, said))
            after = found[-1].position
        return told

    def misses(self, connection: Connection, kept: WatchList, begun: Begun, day: date) -> bool:
        """Whether a list came too late for a change that may be told, today or once all of the municipality is here.

        Raises RecordDamaged: the row cannot be read.
        """
        if begun.missed == frozenset():
            return False
        try:
            return self._may_tell(connection, kept, begun.resident_code, day, begun.missed)
        except _NotYet:
            return True

    def _may_tell(
        self, connection: Connection, kept: WatchList, code: str, day: date, sealed_by: Set[str] | None
    ) -> bool:
        """Whether an agency whose list is lawful may hear today of this person, of what any of these sealed.

        None stands for changes of which nobody knows whose they are. Raises RecordDamaged: the row cannot be read;
        _NotYet.
        """
        row = connection.execute(
            select(residents.c.resident, residents.c.checksum, is_provided(residents.c.holder).label("whole")).where(
                residents.c.resident_code == code
            )
        ).first()
        if row is None:
            return False
        if not is_sound(bytes(row.resident), row.checksum):
            raise RecordDamaged
        resident = Resident.FromString(bytes(row.resident))
        may_tell = not is_protected(resident) and (
            sealed_by is None or any(map(self._policy.territory(kept.agency, kept.purpose, day), sealed_by))
        )
        if may_tell and not row.whole:
            raise _NotYet
        return may_tell

    def _told(self, each: Waiting, kept: WatchList, moment: datetime, said: Said) -> provision.ToldProvision:
        """What is told of one change: the record after it, as it was sealed."""
        change = Change.FromString(each.change)
        told = provision.ToldProvision(
            change=watch.ToldChange(
                position=each.position,
                number=each.number,
                reason=change.reason if inquiry.IDENTITY_FIELD_CHANGE in kept.fields else CHANGE_REASON_UNSPECIFIED,
                freshness=said.message,
            ),
            person_token=person_token(month_key(self._token_key, moment), each.resident_code),
            method=inquiry.InquiryMethod.ValueType(each.method),
            recall_mark=self._recalls.of_change(change.record.resident_code, change.version),
        )
        cut(row_after(change, each.municipality), items_of(kept), into=told.change.provided)
        return told


def items_of(kept: WatchList) -> "list[inquiry.IdentityField.ValueType]":
    """Items that a list is for."""
    return [inquiry.IdentityField.ValueType(number) for number in kept.fields]
