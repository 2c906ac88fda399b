"""What an agency may do wrong: every question is refused with its exact reason, and each refusal is on record once."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.cli.development_agencies import PENSION_SERVICE, TAX_AGENCY
from jukinet.mesh.errors import name_of, violations_of
from jukinet.mesh.identity import Identity
from jukinet.purpose.edition import load_statute

Network = Any  # the fixture's own class lives in conftest.py
Question = Callable[[Network, Any], inquiry.InquireRequest]
CHIYODA = "131016"
GATEWAY = "gateway-1"
FORBIDDEN = grpc.StatusCode.PERMISSION_DENIED

WITHOUT_NUMBER = next(
    row.key
    for row in load_statute().rows.values()
    if "japan-pension-service" in row.bodies and row.status == "in_force" and not row.individual_number
)
"""A row of the pension service for which the law does not let it use the individual number."""


def of_row(purpose: str) -> Question:
    """A question that is all right but for its row."""
    return lambda n, record: n.question(record, purpose)


def with_field(field: "inquiry.IdentityField.ValueType", purpose: str = "B1-77.12") -> Question:
    return lambda n, record: n.question(record, purpose, fields=[inquiry.IDENTITY_FIELD_NAME, field])


def by_number(purpose: str) -> Question:
    return lambda n, record: n.question(
        record, purpose, subject=inquiry.Subject(individual_number=record.individual_number)
    )


WRONG: dict[str, tuple[str, Question, str, str]] = {
    # what is wrong: (agency, question, reason, article on record)
    "a row that does not exist": (PENSION_SERVICE, of_row("B1-999"), "PURPOSE_UNKNOWN", "30-25"),
    "an item that does not exist": (PENSION_SERVICE, of_row("B1-77.999"), "PURPOSE_UNKNOWN", "30-25"),
    "another agency's row": (PENSION_SERVICE, of_row("B1-41-3"), "PURPOSE_NOT_GRANTED", "30-25"),
    "another agency's question": (TAX_AGENCY, of_row("B1-77.12"), "PURPOSE_NOT_GRANTED", "30-25"),
    "a row that was deleted": (PENSION_SERVICE, of_row("B1-4"), "PURPOSE_EXPIRED", "30-25"),
    "a listing that has ended": ("former-agency", of_row("B1-77.12"), "AGENCY_EXPIRED", "30-25"),
    "nobody in the directory": ("unlisted", of_row("B1-77.12"), "AGENCY_UNKNOWN", "30-25"),
    "the individual number without its law": (
        PENSION_SERVICE,
        with_field(inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER, WITHOUT_NUMBER),
        "FIELD_NOT_ALLOWED",
        "number-act-9",
    ),
    "the resident code": (
        PENSION_SERVICE,
        with_field(inquiry.IDENTITY_FIELD_RESIDENT_CODE),
        "FIELD_NOT_ALLOWED",
        "30-9",
    ),
    "by individual number without its law": (
        PENSION_SERVICE,
        by_number(WITHOUT_NUMBER),
        "METHOD_NOT_ALLOWED",
        "number-act-9",
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_question_beyond_the_law_is_refused_with_its_reason_and_recorded_once(
    network: Network, refused: Any, what: str
) -> None:
    agency, make, reason, article = WRONG[what]
    question, before = make(network, network.person(CHIYODA)), await network.ledger()
    with refused() as refusal:
        await network.inquire(question, agency)
    assert (refusal.name, refusal.code) == (reason, FORBIDDEN)
    (entry,) = (await network.ledger())[len(before) :]
    assert (entry.request_id, entry.agency) == (question.context.request_id, Identity("agency", agency).uri)
    assert (entry.result, name_of(entry.refusal)) == (ledger.RESULT_REFUSED, reason)
    assert (entry.article, entry.person_token, list(entry.fields)) == (article, b"", [])


def without(field: str) -> Question:
    """A question whose context lacks a value."""
    return lambda n, record: n.question(record, context=n.context(**{field: ""}))


def _day_without_month(n: Network, record: Any) -> Any:
    question = n.question(record)
    question.subject.four_items.birth_date.CopyFrom(identity_pb2.BirthDate(year=1980, day=3))
    return question


def _without_municipality(code: str) -> Question:
    """A question for the four items whose address names no municipality."""

    def make(n: Network, record: Any) -> Any:
        question = n.question(record)
        question.subject.four_items.address.local_government_code = code
        return question

    return make


MALFORMED: dict[str, tuple[Question, str]] = {
    "no case": (without("case_reference"), "context.case_reference"),
    "a blank case": (
        lambda n, record: n.question(record, context=n.context(case_reference="\u3000")),
        "context.case_reference",
    ),
    "no operator": (without("operator"), "context.operator"),
    "no row": (without("purpose"), "context.purpose"),
    "no request id": (without("request_id"), "context.request_id"),
    "no municipality": (_without_municipality(""), "subject.four_items.address.local_government_code"),
    "a prefecture in the place of the municipality": (_without_municipality("130001"), "subject.four_items"),
    "a control character in the case": (
        lambda n, record: n.question(record, context=n.context(case_reference="case\n1")),
        "context.case_reference",
    ),
    "no wanted field": (lambda n, record: n.question(record, fields=[]), "fields"),
    "a field twice": (lambda n, record: n.question(record, fields=[1, 1]), "fields"),
    "no person": (lambda n, record: n.question(record, subject=inquiry.Subject()), "subject.key"),
    "a date that cannot be": (_day_without_month, "subject.four_items.birth_date"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_question_that_breaks_the_contract_is_refused_by_field_and_recorded_without_it(
    network: Network, refused: Any, what: str
) -> None:
    make, field = MALFORMED[what]
    question, before = make(network, network.person(CHIYODA)), await network.ledger()
    with refused() as refusal:
        await network.inquire(question)
    assert (refusal.name, refusal.code) == ("INVALID_MESSAGE", grpc.StatusCode.INVALID_ARGUMENT)
    assert {violation.field for violation in violations_of(refusal.error)} == {field}
    (entry,) = (await network.ledger())[len(before) :]
    assert (entry.agency, name_of(entry.refusal)) == (Identity("agency", PENSION_SERVICE).uri, "INVALID_MESSAGE")
    # What cannot be read is not repeated, not even the id that it claims.
    assert (entry.request_id != question.context.request_id, entry.purpose) == (True, "")


async def test_a_request_id_is_good_for_one_question(network: Network, refused: Any) -> None:
    record = await network.enter(CHIYODA)
    question = network.question(record)
    answer = await network.inquire(question)
    assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    with refused() as refusal:
        await network.inquire(question)
    assert (refusal.name, refusal.code) == ("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS)
    entries = [entry for entry in await network.ledger() if entry.request_id == question.context.request_id]
    assert [(entry.result, name_of(entry.refusal)) for entry in entries] == [
        (ledger.RESULT_PROVIDED, "UNSPECIFIED"),
        (ledger.RESULT_REFUSED, "REQUEST_ID_REUSED"),
    ]


@pytest.mark.parametrize(
    ("size", "reason"),
    # gRPC itself refuses what is far too large: before it is in memory, and so without a reason of ours.
    [(256 * 1024 + 1, "MESSAGE_TOO_LARGE"), (512 * 1024, "")],
)
async def test_a_question_over_the_limit_is_refused(network: Network, refused: Any, size: int, reason: str) -> None:
    async with network.channel(GATEWAY, Identity("agency", PENSION_SERVICE)) as channel:
        with refused() as refusal:
            await channel.unary_unary("/jukinet.inquiry.v1.InquiryService/Inquire")(b"\0" * size, timeout=5)
    assert (refusal.name, refusal.code) == (reason, grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_a_question_without_a_deadline_is_refused(network: Network, refused: Any) -> None:
    async with network.channel(GATEWAY, Identity("agency", PENSION_SERVICE)) as channel:
        with refused() as refusal:
            await InquiryServiceStub(channel).Inquire(network.question(network.person(CHIYODA)))
    assert (refusal.name, refusal.code) == ("DEADLINE_REQUIRED", grpc.StatusCode.INVALID_ARGUMENT)
