"""Application of a change (本人確認情報の通知) to a register: one function at CS, prefecture and center.

Rule: a row of the register changes only by `apply`, which decides from the change, the municipality that sealed it and
the rows of this node alone. Each node on the way decides again; none trusts the verdict of the one below.
Source: Act art. 30-6, 30-7; Order art. 30-5; Rules art. 11.
Without it the three registers of one person would drift apart, and a breached prefecture could change any resident.
"""

from collections.abc import Mapping

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.change import Act, OldValue, ReasonFacts, facts_of
from jukinet.domain.custody import check_custody
from jukinet.domain.individual_number import is_individual_number
from jukinet.domain.local_government import is_municipality_code
from jukinet.domain.protection import goes_on
from jukinet.domain.refusal import ChangeRefused, refuse
from jukinet.domain.resident_code import is_resident_code

__all__ = ["ChangeRefused", "apply", "check"]

_BIRTH = change_pb2.CHANGE_REASON_ENTRY_BIRTH
_RETIRED = identity_pb2.RESIDENT_STATUS_RETIRED
_CODE = "record.resident_code"
_NOT_COVERED = errors_pb2.ERROR_REASON_CHANGE_NOT_COVERED


def apply(
    change: change_pb2.Change,
    *,
    municipality: str,
    scope: str,
    current: Mapping[str, identity_pb2.Resident],
) -> tuple[identity_pb2.Resident, ...]:
    """Apply one change to a register.

    Args:
        change: the change, valid by the rules of the protos.
        municipality: local government code of the municipality whose seal is on the change, six digits.
        scope: prefix of the local government codes whose residents this node sees: a CS its own six digits, a
            prefecture its two, the center none.
        current: resident code -> row of this node, for each code of `resident_codes(change)` that it has.

    Returns:
        The rows to write: one; two when the resident code changes, the new code's and then the retired one's.

    Raises:
        ChangeRefused: nothing may be written; WAITING_FOR_EARLIER_CHANGE asks to keep the change and to apply it again
            after another change of the same person.

    Source: Act art. 30-6, 30-7; Order art. 30-5; Rules art. 11.
    """
    facts = facts_of(change.reason)
    row = check(change, facts, municipality=municipality, scope=scope, current=current)
    written = row_after(change, municipality)
    written.protected_before = goes_on(change, row)
    if facts.carries is not OldValue.RESIDENT_CODE or row is None:
        return (written,)
    retired = identity_pb2.Resident(
        record=row.record,
        version=change.version,
        status=_RETIRED,
        holder=municipality,
        effective_date=change.event_date,
        successor_code=change.record.resident_code,
        protected=written.protected,
        protected_before=written.protected_before,
    )
    return written, retired


def row_after(change: change_pb2.Change, municipality: str) -> identity_pb2.Resident:
    """The row of the change's resident code after it, as far as the change alone tells.

    A protection (支援措置) that the change does not state is not in it: `apply` carries it on from the row before.

    Args:
        change: a change that `apply` took.
        municipality: as in `apply`.
    """
    return identity_pb2.Resident(
        record=change.record,
        version=change.version,
        status=facts_of(change.reason).status_after,
        holder=municipality,
        effective_date=change.event_date,
        next_municipality=change.next_municipality,
        protected=change.protected,
    )


def check(
    change: change_pb2.Change,
    facts: ReasonFacts,
    *,
    municipality: str,
    scope: str,
    current: Mapping[str, identity_pb2.Resident],
) -> identity_pb2.Resident | None:
    """Check a change by all the rules that need no clock.

    Args:
        change: the change, valid by the rules of the protos.
        facts: the table's row of its reason.
        municipality: as in `apply`.
        scope: as in `apply`.
        current: as in `apply`.

    Returns:
        The row that the change follows; None for a person unknown here.

    Raises:
        ChangeRefused: as in `apply`.
    """
    if not municipality.startswith(scope):
        refuse(errors_pb2.ERROR_REASON_OTHER_MUNICIPALITY)
    _check_fields(change, facts, municipality)
    code = change.record.resident_code
    if facts.carries is OldValue.RESIDENT_CODE:
        row = current.get(change.previous_resident_code)
        check_custody(change, facts, row, municipality=municipality, scope=scope)
        _check_new_code(current.get(code))
    else:
        row = current.get(code)
        check_custody(change, facts, row, municipality=municipality, scope=scope)
    if row is not None and facts.act is not Act.ENTRY:
        _check_cover(change, facts, row.record)
    return row


def _check_fields(change: change_pb2.Change, facts: ReasonFacts, municipality: str) -> None:
    """What must hold of a change whatever any register says, and the protos cannot: check digits and the sender."""
    record = change.record
    if not is_resident_code(record.resident_code):
        refuse(errors_pb2.ERROR_REASON_RESIDENT_CODE_CHECK_DIGIT, _CODE)
    if record.individual_number and not is_individual_number(record.individual_number):
        refuse(errors_pb2.ERROR_REASON_INDIVIDUAL_NUMBER_CHECK_DIGIT, "record.individual_number")
    address_code = record.address.local_government_code
    if not is_municipality_code(address_code):
        refuse(errors_pb2.ERROR_REASON_LOCAL_GOVERNMENT_CODE, "record.address.local_government_code")
    if facts.act is not Act.DELETION and address_code != municipality:
        refuse(errors_pb2.ERROR_REASON_ADDRESS_ELSEWHERE, "record.address.local_government_code")
    if change.previous_resident_code and not is_resident_code(change.previous_resident_code):
        refuse(errors_pb2.ERROR_REASON_RESIDENT_CODE_CHECK_DIGIT, "previous_resident_code")
    _check_birth_date(change)
    _check_other_end("next_municipality", change.next_municipality, municipality)
    _check_other_end("previous_municipality", change.previous_municipality, municipality)


def _check_birth_date(change: change_pb2.Change) -> None:
    """A person is born not after the event; unknown parts are 0 and so never lie after."""
    born, event = change.record.birth_date, change.event_date
    birth_day, event_day = (born.year, born.month, born.day), (event.year, event.month, event.day)
    if birth_day > event_day:
        refuse(errors_pb2.ERROR_REASON_BIRTH_DATE, "record.birth_date")
    if change.reason == _BIRTH:
        if birth_day != event_day:
            refuse(errors_pb2.ERROR_REASON_BIRTH_DATE, "record.birth_date")
        if change.version != 1:
            refuse(errors_pb2.ERROR_REASON_VERSION_CONFLICT, "version")


def _check_other_end(field: str, code: str, municipality: str) -> None:
    """The other end of a move, where the change has one, is another municipality."""
    if code and not is_municipality_code(code):
        refuse(errors_pb2.ERROR_REASON_LOCAL_GOVERNMENT_CODE, field)
    if code == municipality:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, field)


def _check_new_code(taken: identity_pb2.Resident | None) -> None:
    """A new code is one that nobody has or had."""
    if taken is None:
        return
    if taken.status == _RETIRED:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_CODE_RETIRED, _CODE)
    refuse(errors_pb2.ERROR_REASON_RESIDENT_EXISTS, _CODE)


def _check_cover(change: change_pb2.Change, facts: ReasonFacts, old: identity_pb2.IdentityRecord) -> None:
    """A correction changes what its reason covers, and nothing else; a deletion or protection changes nothing."""
    if facts.carries is OldValue.INDIVIDUAL_NUMBER:
        _check_previous_number(change, old)
    new = change.record
    differ = [
        item
        for item, same in (
            ("resident_code", new.resident_code == old.resident_code),
            ("name", new.name == old.name),
            ("birth_date", new.birth_date == old.birth_date),
            ("sex", new.sex == old.sex),
            ("address", new.address == old.address),
            ("individual_number", new.individual_number == old.individual_number),
        )
        if not same
    ]
    for item in differ:
        if item not in facts.may_change:
            refuse(_NOT_COVERED, f"record.{item}")
    if not differ and facts.act is Act.CORRECTION:
        refuse(_NOT_COVERED, "record")


def _check_previous_number(change: change_pb2.Change, old: identity_pb2.IdentityRecord) -> None:
    """The replaced number is the one that the register holds, and another takes its place."""
    if change.previous_individual_number != old.individual_number:
        refuse(errors_pb2.ERROR_REASON_PREVIOUS_VALUE, "previous_individual_number")
    if not change.record.individual_number:
        refuse(_NOT_COVERED, "record.individual_number")
