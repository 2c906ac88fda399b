"""What operators do about parked changes: set one aside, by two of them, or have it judged once more.

Rule 1: nothing parked is ever dropped. What is set aside is kept with its bytes, its reason and both operators, in a
table that the database itself keeps append-only.
Rule 2: it takes two different operators, and both looked at the same reason: the first call proposes, the second
operator's carries out. Who acts is whom the certificate names.
Rule 3: an operator never changes a row. What waited is tried again, in order, by the rules that always hold.

Each function works within the caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.errors.v1.errors_pb2 import ErrorReason
from jukinet.link.reading import read_change
from jukinet.mesh.errors import Refused
from jukinet.store.operator_acts import PROPOSE, note, proposal_of
from jukinet.store.register import Run
from jukinet.store.schema import parked, set_aside

_WAITING = errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE


@dataclass(frozen=True, slots=True)
class Place:
    """Where a change stands in its municipality's stream."""

    municipality: str
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Released:
    """What a call of one of two operators did."""

    carried_out: bool
    proposed_by: str
    applied: int
    """Changes that waited and are applied now."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a change that was judged once more; `reason` is None when it was applied."""

    reason: "ErrorReason.ValueType | None"
    applied: int


def release_parked(connection: Connection, place: Place, *, operator: str, scope: str, now_us: int) -> Released:
    """Proposes to set a parked change aside, or as the second operator does it.

    Args:
        connection: of the node's writer.
        place: which change.
        operator: SPIFFE ID of the caller.
        scope: as in `jukinet.domain.apply`.
        now_us: microseconds since 1970.

    Raises:
        Refused: NOT_PARKED, SECOND_OPERATOR_NEEDED.
    """
    row = _find(connection, place)
    proposed = proposal_of(connection, place.municipality, place.epoch, place.sequence, row.reason)
    if proposed is None:
        _note(connection, PROPOSE, place, row.reason, operator, now_us)
        return Released(False, operator, 0)
    if proposed.operator == operator:
        raise Refused(errors.ERROR_REASON_SECOND_OPERATOR_NEEDED)
    connection.execute(
        insert(set_aside).values(
            resident_code=row.resident_code,
            municipality=place.municipality,
            epoch=place.epoch,
            sequence=place.sequence,
            version=row.version,
            reason=row.reason,
            change=row.change,
            parked_at=row.parked_at,
            proposed_by=proposed.operator,
            proposed_at=proposed.acted_at,
            carried_out_by=operator,
            carried_out_at=now_us,
        )
    )
    connection.execute(delete(parked).where(parked.c.id == row.id))
    _note(connection, "set aside", place, row.reason, operator, now_us)
    applied = _try_again(connection, _codes_behind(connection, row), scope, now_us)
    return Released(True, proposed.operator, applied)


def retry_parked(connection: Connection, place: Place, *, operator: str, scope: str, now_us: int) -> Retried:
    """Judges a parked change once more by the rules as they are; what waited for it follows if it is applied.

    Args:
        connection: of the node's writer.
        place: which change.
        operator: SPIFFE ID of the caller.
        scope: as in `jukinet.domain.apply`.
        now_us: microseconds since 1970.

    Raises:
        Refused: NOT_PARKED; LINK_HELD for what the change brake keeps, which two operators release as a whole.
    """
    row = _find(connection, place)
    if row.reason == errors.ERROR_REASON_LINK_HELD:
        raise Refused(errors.ERROR_REASON_LINK_HELD)
    _note(connection, "again", place, row.reason, operator, now_us)
    arrival, fault = read_change(place.municipality, place.epoch, place.sequence, row.change)
    if fault is not None:
        return _still_parked(connection, row, fault)
    codes = arrival.moved_codes
    if row.reason == _WAITING:
        applied = _try_again(connection, codes, scope, now_us)
        left = connection.execute(select(parked.c.reason).where(parked.c.id == row.id)).scalar_one_or_none()
        return Retried(left, applied)
    run = Run(connection, codes)
    reason = _WAITING if run.is_behind(arrival) else run.take(arrival, scope)
    if reason is not None:
        _name_resident(connection, row, arrival.awaited_code, arrival.change.version)
        return _still_parked(connection, row, reason)
    connection.execute(delete(parked).where(parked.c.id == row.id))
    released = run.release(codes, scope)
    run.write(connection, now_us)
    return Retried(None, 1 + len(released))


def _find(connection: Connection, place: Place) -> Row[Any]:
    query = select(parked).where(
        and_(
            parked.c.municipality == place.municipality,
            parked.c.epoch == place.epoch,
            parked.c.sequence == place.sequence,
        )
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise Refused(errors.ERROR_REASON_NOT_PARKED)
    return row


def _codes_behind(connection: Connection, row: Row[Any]) -> Sequence[str]:
    """The codes under which something may have waited for a change; an unreadable one names no resident."""
    if row.resident_code:
        arrival, _ = read_change(row.municipality, row.epoch, row.sequence, row.change)
        return arrival.moved_codes
    waits = and_(parked.c.reason == _WAITING, parked.c.municipality == row.municipality)
    return list(connection.execute(select(parked.c.resident_code).where(waits).distinct()).scalars())


def _try_again(connection: Connection, codes: Sequence[str], scope: str, now_us: int) -> int:
    run = Run(connection, codes)
    released = run.release(codes, scope)
    run.write(connection, now_us)
    return len(released)


def _still_parked(connection: Connection, row: Row[Any], reason: "ErrorReason.ValueType") -> Retried:
    """Keeps a change where it is parked, since when it was, with the reason of now."""
    connection.execute(update(parked).where(parked.c.id == row.id).values(reason=reason))
    return Retried(reason, 0)


def _name_resident(connection: Connection, row: Row[Any], code: str, version: int) -> None:
    """A change that can be read by now waits under its resident."""
    connection.execute(update(parked).where(parked.c.id == row.id).values(resident_code=code, version=version))


def _note(connection: Connection, act: str, place: Place, reason: int, operator: str, now_us: int) -> None:
    note(
        connection,
        act,
        municipality=place.municipality,
        epoch=place.epoch,
        sequence=place.sequence,
        reason=reason,
        operator=operator,
        now_us=now_us,
    )
