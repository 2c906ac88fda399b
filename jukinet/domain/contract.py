"""The contract's rules, for the many messages that are plain: a quick answer to "does it break any?".

Rule: the contract is the protos, and protovalidate alone decides what breaks it. `is_plain` is true only of messages
that break none of its rules, and says nothing of the others: protovalidate judges those. It takes a sixth of the time,
and each change is checked seven times on its way to the center, each question twice.

A test holds it against protovalidate and against the rules as they stand in the protos: whoever changes one of them
there has to come here.
"""

import re
from calendar import isleap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.link.v1 import link_pb2
from jukinet._pb.jukinet.provision.v1 import provision_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2

# Reasons that need nothing beside the record. A change that carries more is left to protovalidate.
_REASONS = frozenset(range(1, 21)) - {1, 7, 16, 17, 19, 20}
_SEXES = frozenset({1, 2, 3})
_DAYS = (31, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of each month; of an unknown one the most."""
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_MESSAGE_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_REQUEST_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_PURPOSE = re.compile("B[1-6]-[0-9]{1,3}(-[0-9]{1,3}){0,2}[*]?([.][0-9]{1,3})?")
_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_FIELDS = frozenset(range(1, 8))
_LARGEST = 2**63 - 1
_SHORTEST_LIMIT = 100
"""Characters that each text may have at least: what all of them have together is within it for nearly everybody."""
_MOST_ITEMS = 500
_SIGNATURE_BYTES = 64
_DIGEST_BYTES = 32
_SEGMENT_BYTES = 1024 * 1024
_TICKETS_BYTES = 128 * 1024
_MOST_QUESTIONS = 256
_MOST_SUBJECTS = 256


def is_plain(message: Message) -> bool:
    """Tell whether a message surely breaks no rule of the contract.

    Args:
        message: as it was parsed.

    Returns:
        True where it breaks none; False where protovalidate has to judge.
    """
    judge = JUDGES.get(type(message))
    return judge is not None and judge(message)


def _is_plain_change(change: change_pb2.Change) -> bool:
    return (
        1 <= change.version <= _LARGEST
        and not (change.previous_individual_number or change.previous_resident_code)
        and not (change.next_municipality or change.previous_municipality or change.was_wrong)
        and _is_plain_event(change)
    )


# A message that is missing reads as an empty one, which is not plain.
def _is_plain_request(request: intake_pb2.SubmitChangeRequest) -> bool:
    return _is_plain_submission(request.submission)


def _is_plain_element(element: intake_pb2.SubmitChangesRequest) -> bool:
    return not element.traceparent and _is_plain_submission(element.submission)


def _is_plain_submission(submission: intake_pb2.Submission) -> bool:
    return (
        _MESSAGE_ID.fullmatch(submission.message_id) is not None
        and not (submission.transfer_version or submission.protected or submission.was_wrong)
        and not (submission.previous_individual_number or submission.previous_resident_code)
        and not (submission.next_municipality or submission.previous_municipality)
        and submission.resident_code == submission.record.resident_code
        and _is_plain_event(submission)
    )


def _is_plain_stream_request(request: link_pb2.StreamRequest) -> bool:
    batch = request.batch
    return (
        batch.epoch >= 1
        and batch.first_sequence >= 1
        and 1 <= len(batch.segments) <= _MOST_ITEMS
        and all(
            1 <= len(sealed.segment) <= _SEGMENT_BYTES
            and len(sealed.seal) == _SIGNATURE_BYTES
            and not sealed.traceparents
            for sealed in batch.segments
        )
    )


def _is_plain_segment(segment: link_pb2.Segment) -> bool:
    return (
        _are_digits(segment.municipality, 6)
        and segment.epoch >= 1
        and segment.first_sequence >= 1
        and 1 <= len(segment.changes) <= _MOST_ITEMS
        and len(segment.message_keys) <= _MOST_ITEMS
        and all(len(key) == _SIGNATURE_BYTES for key in segment.message_keys)
    )


def _is_plain_question(question: inquiry_pb2.InquireRequest) -> bool:
    return (
        not question.sealed_until
        and len(question.held) in (0, _DIGEST_BYTES)
        and _are_plain_fields(question.fields)
        and _is_plain_context(question.context)
        and _is_plain_subject(question.subject)
    )


def _is_plain_batch(question: inquiry_pb2.InquireBatchRequest) -> bool:
    subjects = question.subjects
    return (
        not question.sealed_until
        and _are_plain_fields(question.fields)
        and len(question.job) in (0, _DIGEST_BYTES)
        and 1 <= len(subjects) <= _MOST_SUBJECTS
        and len(question.held) in (0, len(subjects))
        and all(len(held) in (0, _DIGEST_BYTES) for held in question.held)
        and _is_plain_context(question.context)
        and all(map(_is_plain_subject, subjects))
    )


def _is_plain_verification(question: inquiry_pb2.VerifyIdentityRequest) -> bool:
    return not question.sealed_until and _is_plain_context(question.context) and _are_plain_items(question.four_items)


def _is_plain_provision(request: provision_pb2.ProvideRequest) -> bool:
    signed, questions = request.tickets, request.questions
    return (
        1 <= len(signed.tickets) <= _TICKETS_BYTES
        and len(signed.signature) == _SIGNATURE_BYTES
        and 1 <= len(questions) <= _MOST_QUESTIONS
        and all(
            (not question.traceparent or _TRACEPARENT.fullmatch(question.traceparent) is not None)
            and len(question.held) in (0, _DIGEST_BYTES)
            and _is_plain_subject(question.subject)
            for question in questions
        )
    )


def _are_plain_fields(fields: Sequence[int]) -> bool:
    return len(fields) > 0 and len(set(fields)) == len(fields) and _FIELDS.issuperset(fields)


def _is_plain_context(context: inquiry_pb2.InquiryContext) -> bool:
    texts = context.case_reference + context.operator
    return (
        _REQUEST_ID.fullmatch(context.request_id) is not None
        and _PURPOSE.fullmatch(context.purpose) is not None
        and context.case_reference[:1].isalnum()  # the contract asks for a character that is not blank
        and bool(context.operator)
        and _are_plain_texts(texts)
        and (not context.HasField("operator_proof") or _is_plain_proof(context.operator_proof))
    )


def _is_plain_proof(proof: inquiry_pb2.OperatorProof) -> bool:
    stated = proof.HasField("signed_at") and proof.HasField("logged_on_at")
    return stated and len(proof.signature) == _SIGNATURE_BYTES


def _is_plain_subject(subject: inquiry_pb2.Subject) -> bool:
    if subject.HasField("four_items"):
        return _are_plain_items(subject.four_items)
    return _are_digits(subject.individual_number, 12)


def _are_plain_items(items: inquiry_pb2.FourItems) -> bool:
    if not (items.HasField("birth_date") and items.HasField("address")):
        return False
    name, address = items.name, items.address
    code = address.local_government_code
    return (
        bool(name and address.town)
        and items.sex in _SEXES
        and _is_plain_birth(items.birth_date)
        and _are_digits(code, 6)
        and code[2:5] != "000"
        and _are_plain_texts(name + _texts_of_address(address))
    )


def _is_plain_event(told: change_pb2.Change | intake_pb2.Submission) -> bool:
    """What a change and its submission have alike: reason, date and record."""
    if not (told.HasField("event_date") and told.HasField("record")):
        return False
    event = told.event_date
    return told.reason in _REASONS and _exists(event.year, event.month, event.day) and _is_plain_record(told.record)


def _is_plain_record(record: identity_pb2.IdentityRecord) -> bool:
    if not (record.HasField("name") and record.HasField("birth_date") and record.HasField("address")):
        return False
    name, address = record.name, record.address
    return (
        record.sex in _SEXES
        and _is_plain_birth(record.birth_date)
        and _are_plain_numbers(record.resident_code, record.individual_number, address.local_government_code)
        and bool(name.legal and address.town)
        and _are_plain_texts(_texts_of_name(name) + _texts_of_address(address))
    )


def _is_plain_birth(born: identity_pb2.BirthDate) -> bool:
    year, month, day = born.year, born.month, born.day
    return _exists(year, month, day) if day else _exists(year, month or 1, 1) or not (year or month)


def _are_plain_numbers(resident_code: str, individual_number: str, local_government_code: str) -> bool:
    digits = resident_code + individual_number + local_government_code
    lengths = len(resident_code), len(individual_number), len(local_government_code)
    return lengths in ((11, 0, 6), (11, 12, 6)) and _are_digits(digits, sum(lengths))


def _texts_of_name(name: identity_pb2.PersonName) -> str:
    former = name.former_surname + name.former_surname_furigana
    return name.legal + name.furigana + former + name.alias + name.alias_furigana


def _texts_of_address(address: identity_pb2.Address) -> str:
    return address.town + address.block + address.building


def _are_plain_texts(texts: str) -> bool:
    return len(texts) <= _SHORTEST_LIMIT and not _CONTROL.search(texts)


def _exists(year: int, month: int, day: int) -> bool:
    """Whether a day is in the calendar, from 1868 on."""
    return (
        1868 <= year <= 9999
        and 1 <= month <= 12
        and (1 <= day <= _DAYS[month] or (month, day, isleap(year)) == (2, 29, True))
    )


def _are_digits(text: str, length: int) -> bool:
    return len(text) == length and text.isascii() and text.isdigit()


JUDGES: Mapping[type[Message], Callable[[Any], bool]] = {
    change_pb2.Change: _is_plain_change,
    intake_pb2.SubmitChangeRequest: _is_plain_request,
    intake_pb2.SubmitChangesRequest: _is_plain_element,
    link_pb2.StreamRequest: _is_plain_stream_request,
    link_pb2.Segment: _is_plain_segment,
    inquiry_pb2.InquireRequest: _is_plain_question,
    inquiry_pb2.VerifyIdentityRequest: _is_plain_verification,
    inquiry_pb2.InquireBatchRequest: _is_plain_batch,
    provision_pb2.ProvideRequest: _is_plain_provision,
}
"""The kinds of message that are judged here, and by what."""
