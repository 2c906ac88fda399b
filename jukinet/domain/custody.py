"""Custody: which municipality may change which resident, and the transfer of a resident between two of them.

Rule: nobody speaks for another. A resident in a register has one holder. Only the holder corrects or deletes; a
move-out is a ticket that names the one municipality that may enter the person next; and each change carries the
person's next version (更新順番号), so that a ticket is used once and the sides of a move may arrive in either order. An
entry that calls the record before it wrong (誤記の修正) comes from the municipality that deleted that record.
Source: Act art. 22, 24, 30-3, 30-6; Order art. 13 and 30-5.
Without it one compromised or mistaken municipality could move, rename or kill any resident of the country.

Three answers are possible: lawful; refused for good; or WAITING_FOR_EARLIER_CHANGE, when a change that another
municipality made earlier may still be on its way. A change is refused for good only for what no later arrival can mend:
therefore a version higher than the next one waits, and only a version that has its turn is judged by who sent it.

A node sees only part of a person's chain: a CS its own municipality, a prefecture its own, the center all. Where the
chain went on outside of what a node sees, versions that it has never seen are lawful.
"""

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.change import Act, ReasonFacts
from jukinet.domain.refusal import refuse

_MOVE_IN = change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN
_BIRTH = change_pb2.CHANGE_REASON_ENTRY_BIRTH
_ENTRY_EX_OFFICIO = change_pb2.CHANGE_REASON_ENTRY_EX_OFFICIO

_ACTIVE = identity_pb2.RESIDENT_STATUS_ACTIVE
_MOVED_OUT = identity_pb2.RESIDENT_STATUS_MOVED_OUT
_DECEASED = identity_pb2.RESIDENT_STATUS_DECEASED
_RETIRED = identity_pb2.RESIDENT_STATUS_RETIRED

_CODE = "record.resident_code"


def check_custody(
    change: change_pb2.Change,
    facts: ReasonFacts,
    row: identity_pb2.Resident | None,
    *,
    municipality: str,
    scope: str,
) -> None:
    """Check that a municipality may make this change now, as far as this node can see.

    Args:
        change: the change; its fields are taken to be well-formed.
        facts: the table's row of its reason.
        row: the row of the person's code here (on a change of the code: of the old code); None when there is none.
        municipality: local government code of the municipality whose seal is on the change, six digits.
        scope: prefix of the local government codes whose residents this node sees; empty at the center.

    Raises:
        ChangeRefused: NOT_HOLDER, RESIDENT_UNKNOWN, RESIDENT_EXISTS, RESIDENT_CODE_RETIRED, TRANSFER_MISMATCH,
            VERSION_CONFLICT or WAITING_FOR_EARLIER_CHANGE.

    Source: Act art. 30-6; Order art. 13, 30-5.
    """
    if row is None:
        _check_unknown(change, facts, municipality=municipality, scope=scope)
    elif row.status == _RETIRED:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_CODE_RETIRED, _CODE)
    elif facts.act is not Act.ENTRY:
        _check_holder(change, row, municipality)
    elif row.status == _ACTIVE:
        _check_entry_of_active(change, row, municipality=municipality, scope=scope)
    else:
        _check_return(change, row, municipality=municipality, scope=scope)
    if change.was_wrong and facts.act is Act.ENTRY:
        _check_own_error(row, municipality)


def _check_own_error(row: identity_pb2.Resident | None, municipality: str) -> None:
    """What an entry says was wrong (誤記の修正) is the record that the same municipality deleted."""
    if row is None:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_UNKNOWN, _CODE)
    if row.holder != municipality:
        refuse(errors_pb2.ERROR_REASON_NOT_HOLDER, _CODE)


def _check_unknown(change: change_pb2.Change, facts: ReasonFacts, *, municipality: str, scope: str) -> None:
    """Nobody has been seen under this code: a first entry, or one whose earlier chain is elsewhere."""
    if facts.act is not Act.ENTRY:
        # A CS sees all that its municipality did, in order. Above it the entry may wait for another municipality.
        if change.version > 1 and scope != municipality:
            refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")
        refuse(errors_pb2.ERROR_REASON_RESIDENT_UNKNOWN, _CODE)
    if change.version > 1 and not _chain_may_come_from_outside(change, scope):
        refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")


def _check_holder(change: change_pb2.Change, row: identity_pb2.Resident, municipality: str) -> None:
    """Corrections and deletions belong to the holder of an active record."""
    due = row.version + 1
    if change.version > due:
        refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")
    if row.holder != municipality:
        refuse(errors_pb2.ERROR_REASON_NOT_HOLDER, _CODE)
    if row.status != _ACTIVE:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_UNKNOWN, _CODE)
    if change.version < due:
        refuse(errors_pb2.ERROR_REASON_VERSION_CONFLICT, "version")


def _check_entry_of_active(
    change: change_pb2.Change, row: identity_pb2.Resident, *, municipality: str, scope: str
) -> None:
    """An active record can only be followed by its holder; an entry elsewhere needs the move-out first."""
    due = row.version + 1
    # The holder's own deletion may be missing too: parked as of a kind that this node cannot read yet.
    if change.version > due and scope != municipality:
        refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")
    if row.holder == municipality:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_EXISTS, _CODE)
    if change.version < due:
        refuse(errors_pb2.ERROR_REASON_VERSION_CONFLICT, "version")
    if change.reason == _MOVE_IN:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "version")
    refuse(errors_pb2.ERROR_REASON_RESIDENT_EXISTS, _CODE)


def _check_return(change: change_pb2.Change, row: identity_pb2.Resident, *, municipality: str, scope: str) -> None:
    """Entry of a person whose record was deleted: the way back must be the one that the deletion left open."""
    due = row.version + 1
    if change.version < due:
        refuse(errors_pb2.ERROR_REASON_VERSION_CONFLICT, "version")
    if change.version > due:
        if not (_went_on_outside(row, scope) and _chain_may_come_from_outside(change, scope)):
            refuse(errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, "version")
        return
    cancelled = change.reason == _ENTRY_EX_OFFICIO and row.holder == municipality
    if row.status == _DECEASED:
        if row.holder != municipality:
            refuse(errors_pb2.ERROR_REASON_NOT_HOLDER, _CODE)
        if not cancelled:
            refuse(errors_pb2.ERROR_REASON_CHANGE_NOT_COVERED, "reason")
    elif row.status == _MOVED_OUT:
        if not cancelled:
            _check_ticket(change, row, municipality)
    elif change.reason == _MOVE_IN:
        # The person was deleted without a move-out towards anywhere.
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "previous_municipality")


def _check_ticket(change: change_pb2.Change, row: identity_pb2.Resident, municipality: str) -> None:
    """The move-out named who may enter the person; the move-in must name who let the person go."""
    if change.reason != _MOVE_IN:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "reason")
    if row.next_municipality != municipality:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "next_municipality")
    if change.previous_municipality != row.holder:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "previous_municipality")


def _went_on_outside(row: identity_pb2.Resident, scope: str) -> bool:
    if row.status == _MOVED_OUT:
        return not row.next_municipality.startswith(scope)
    return row.status != _DECEASED


def _chain_may_come_from_outside(change: change_pb2.Change, scope: str) -> bool:
    # An entry that mends an error follows a deletion by the same municipality.
    if not scope or change.reason == _BIRTH or change.was_wrong:
        return False
    return change.reason != _MOVE_IN or not change.previous_municipality.startswith(scope)
