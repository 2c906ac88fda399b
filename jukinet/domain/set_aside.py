"""Versions that were set aside: how a person's chain goes on past a change that two operators gave up.

Rule: a change waits for the versions before its own. A version that was set aside never comes, so it counts as used up,
and the next one is judged by the row as it stands, by the same `apply`. Nothing else is taken on trust: what was set
aside says only that a version is gone, never what the row should be.
Source: Act art. 30-6; Order art. 30-5.
Without it one bad change would keep its resident's record as it was for ever; and if gaps were forgiven without two
people's word, a lost change would pass unseen.

A version is used up only if it was set aside of a municipality that had the say: the holder of an active record, the
one named by a move-out. A forged change of another municipality takes no version from the true one.

A deletion that follows is not held against the record here, for what was set aside is missing in it: so the
municipality deletes and enters the resident anew, and the record is again what it says. A correction is. A protection
(支援措置) takes effect on the record as it stands here: it changes no item, and must not fail because one is missing.

A change that could not be read names nobody. It stands for one missing version of a resident of its municipality,
where the change that waits and the one that made the row stand on both sides of it in that municipality's stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import apply
from jukinet.domain.arrival import Arrival
from jukinet.domain.change import Act, facts_of
from jukinet.domain.refusal import refuse

_ANYBODY = frozenset({identity_pb2.RESIDENT_STATUS_DELETED, identity_pb2.RESIDENT_STATUS_MOVED_ABROAD})


@dataclass(frozen=True, slots=True)
class Gone:
    """A change that was set aside; `version` is 0 for one that could not be read."""

    municipality: str
    place: tuple[int, int]
    version: int


def apply_past_gap(
    arrival: Arrival,
    *,
    scope: str,
    current: Mapping[str, identity_pb2.Resident],
    gone: Sequence[Gone],
    since: tuple[int, int],
) -> tuple[identity_pb2.Resident, ...]:
    """Apply a change that waits for nothing but versions that were set aside.

    Args:
        arrival: the change, which `apply` told to wait.
        scope: as in `apply`.
        current: as in `apply`.
        gone: what was set aside of the person, and of the municipality what could not be read.
        since: where the change that made the row stands in the arrival's municipality's stream; (0, 0) if not there.

    Returns:
        The rows to write, as `apply`.

    Raises:
        ChangeRefused: WAITING_FOR_EARLIER_CHANGE while another version is missing; else as in `apply`.

    Source: Act art. 30-6; Order art. 30-5.
    """
    change = arrival.change
    code = change.previous_resident_code or change.record.resident_code
    row = current.get(code)
    if not _all_gone(arrival, row, gone, since):
        refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")
    if row is None:
        first = change_pb2.Change()
        first.CopyFrom(change)
        first.version = 1
        written = apply(first, municipality=arrival.municipality, scope=scope, current=current)
    else:
        due = identity_pb2.Resident()
        due.CopyFrom(row)
        due.version = change.version - 1
        act = facts_of(change.reason).act
        if act is Act.DELETION:
            due.record.CopyFrom(change.record)
        elif act is Act.PROTECTION:
            change = change_pb2.Change()
            change.CopyFrom(arrival.change)
            change.record.CopyFrom(row.record)
        written = apply(change, municipality=arrival.municipality, scope=scope, current={**current, code: due})
    for resident in written:
        resident.version = change.version
    return written


def _all_gone(
    arrival: Arrival, row: identity_pb2.Resident | None, gone: Sequence[Gone], since: tuple[int, int]
) -> bool:
    due, version = (row.version if row else 0) + 1, arrival.change.version
    counted = {each.version for each in gone if due <= each.version < version and _had_the_say(each, row)}
    unread = [
        each
        for each in gone
        if not each.version
        and each.municipality == arrival.municipality
        and since < each.place < arrival.place
        and _had_the_say(each, row)
    ]
    return due < version and len(counted) + len(unread) >= version - due


def _had_the_say(each: Gone, row: identity_pb2.Resident | None) -> bool:
    if row is None or row.status in _ANYBODY:
        return True
    return each.municipality in (row.holder, row.next_municipality)
