"""Submission (既存住基システムからの電文): from what a municipal system states to the change that travels.

Rule: the register, not the municipal system, says which version a change gets and what stood in the record before a
deletion; and only here, at the one node that the citizen's clerk talks to, is a date compared with today. Further up a
change is judged without a clock, so that a late or replayed change gets the same verdict as a prompt one.
Source: Act art. 30-6; Order art. 30-5; Rules art. 11 (a move-out's date is the planned one).
Without it two clerks could hand out one version twice, and a typing error of a year would travel to the center.
"""

import datetime
from collections.abc import Mapping

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.apply import check
from jukinet.domain.change import Act, ReasonFacts, facts_of
from jukinet.domain.invisible import field_with_invisible
from jukinet.domain.protection import is_protected
from jukinet.domain.refusal import ChangeRefused, refuse

_MOVE_IN = change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN
_BIRTH = change_pb2.CHANGE_REASON_ENTRY_BIRTH
_PROTECTION_BEGIN = change_pb2.CHANGE_REASON_PROTECTION_BEGIN
_PROTECTION_END = change_pb2.CHANGE_REASON_PROTECTION_END
_ACTIVE = identity_pb2.RESIDENT_STATUS_ACTIVE
_RETIRED = identity_pb2.RESIDENT_STATUS_RETIRED


def complete(
    submission: intake_pb2.Submission,
    *,
    municipality: str,
    today: datetime.date,
    current: Mapping[str, identity_pb2.Resident],
) -> change_pb2.Change:
    """Check a municipal system's submission and make the change of it.

    `apply` with the same rows and the municipality's own code as scope accepts what this returns.

    Args:
        submission: valid by the rules of the protos.
        municipality: local government code of the municipality that submits, six digits.
        today: Japan's date.
        current: resident code -> row of this CS, for each code of `resident_codes(submission)` that it has.

    Returns:
        The change with its version; a deletion's or protection's record is the one that the register holds.

    Raises:
        ChangeRefused: never with WAITING_FOR_EARLIER_CHANGE: nothing earlier can come from elsewhere to a CS.

    Source: Act art. 30-6; Order art. 30-5; Rules art. 11.
    """
    facts = facts_of(submission.reason)
    _check_event_date(submission, facts, today)
    row = current.get(submission.previous_resident_code or submission.resident_code)
    if row is not None and row.status == _RETIRED:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_CODE_RETIRED, "resident_code")
    change = change_pb2.Change(
        reason=submission.reason,
        event_date=submission.event_date,
        record=_record(submission, facts, row),
        version=_version(submission, facts, row),
        previous_individual_number=submission.previous_individual_number,
        previous_resident_code=submission.previous_resident_code,
        next_municipality=submission.next_municipality,
        previous_municipality=submission.previous_municipality,
        protected=_is_protected(submission, row),
        was_wrong=submission.was_wrong,
    )
    try:
        check(change, facts, municipality=municipality, scope=municipality, current=current)
    except ChangeRefused as refused:
        if refused.reason == errors_pb2.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE:
            raise ChangeRefused(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "transfer_version") from None
        raise
    return change


def _check_event_date(submission: intake_pb2.Submission, facts: ReasonFacts, today: datetime.date) -> None:
    """Not after today; the planned day of a move-out up to the same day of next year."""
    event = submission.event_date
    try:
        datetime.date(event.year, event.month, event.day)
    except ValueError:
        raise ChangeRefused(errors_pb2.ERROR_REASON_EVENT_DATE, "event_date") from None
    latest = (today.year + facts.planned, today.month, today.day)
    if (event.year, event.month, event.day) > latest:
        refuse(errors_pb2.ERROR_REASON_EVENT_DATE, "event_date")


def _record(
    submission: intake_pb2.Submission, facts: ReasonFacts, row: identity_pb2.Resident | None
) -> identity_pb2.IdentityRecord:
    """The record of the submission; the register's own for a deletion or protection that states none."""
    if submission.HasField("record"):
        _check_texts(submission.record)
        return submission.record
    if facts.act not in (Act.DELETION, Act.PROTECTION):
        refuse(errors_pb2.ERROR_REASON_INVALID_MESSAGE, "record")
    if row is None:
        refuse(errors_pb2.ERROR_REASON_RESIDENT_UNKNOWN, "resident_code")
    return row.record


def _check_texts(record: identity_pb2.IdentityRecord) -> None:
    for part, texts in (("name", record.name), ("address", record.address)):
        if field := field_with_invisible(texts):
            refuse(errors_pb2.ERROR_REASON_INVISIBLE_CHARACTER, f"record.{part}.{field}")


def _is_protected(submission: intake_pb2.Submission, row: identity_pb2.Resident | None) -> bool:
    """Whether the municipality protects the person after this: begun now, or earlier and not ended (支援措置)."""
    if submission.reason == _PROTECTION_END:
        return False
    begun = submission.reason == _PROTECTION_BEGIN or submission.protected
    return begun or (row is not None and is_protected(row))


def _version(submission: intake_pb2.Submission, facts: ReasonFacts, row: identity_pb2.Resident | None) -> int:
    """The person's next version: after the own row, or after the move-out certificate where the chain was elsewhere."""
    here = 0 if row is None else row.version
    ticket = submission.transfer_version
    if facts.act is not Act.ENTRY or submission.reason == _BIRTH:
        if ticket:
            refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "transfer_version")
        if submission.reason == _BIRTH and row is not None:
            refuse(errors_pb2.ERROR_REASON_RESIDENT_EXISTS, "resident_code")
        return here + 1
    if not ticket and submission.reason == _MOVE_IN:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "transfer_version")
    if ticket and row is not None and row.status != _ACTIVE and ticket <= here:
        refuse(errors_pb2.ERROR_REASON_TRANSFER_MISMATCH, "transfer_version")
    return max(here, ticket) + 1
