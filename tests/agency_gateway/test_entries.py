"""Of each person of a message the same is kept as if nobody else had been in it."""

from datetime import UTC, datetime
from itertools import starmap
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from agency_gateway.asked import Asked
from agency_gateway.entries import Answered, Entries, Refusal
from agency_gateway.record import Recorded
from jukinet._pb.jukinet.body.v1.body_pb2 import Body, KeyPlace, SealedBody
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.provision.v1 import provision_pb2 as provision
from jukinet.ledger import body
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.layout import check
from jukinet.ledger.seal import crowd_tag
from jukinet.purpose.decision import Decision
from jukinet.purpose.ticket import question_id

AGENCY = "spiffe://agencies.jukinet/agency/pension-service"
MESSAGE = "5f7d1c1e-0000-4000-8000-000000000001"
KEYS = EntryKeys(bytes(32))
FIELDS = (inquiry.IDENTITY_FIELD_ADDRESS, inquiry.IDENTITY_FIELD_NAME)
BASIS = Decision(errors.ERROR_REASON_UNSPECIFIED, "30-9", "2019-01", b"d" * 32, "", inquiry.LegalBasis())


class Person(NamedTuple):
    """Who is asked about, and what the center said; a reason where it refused."""

    method: "inquiry.InquiryMethod.ValueType"
    subject: inquiry.Subject
    found: provision.Provision
    refusal: "errors.ErrorReason.ValueType"

    @property
    def answer(self) -> bytes:
        return inquiry.BatchAnswer(outcome=self.found.outcome, provided=self.found.provided).SerializeToString()


def asked(sealed_until: str) -> Asked:
    context = inquiry.InquiryContext(
        request_id=MESSAGE, purpose="B1-77.12", case_reference="case-1", operator="op-1", maximum_age_seconds=60
    )
    return Asked(
        agency=AGENCY,
        request_id=MESSAGE,
        context=context,
        action=ledger.ACTION_INQUIRE_BATCH,
        method=inquiry.INQUIRY_METHOD_UNSPECIFIED,
        fields=FIELDS,
        proof=b"p" * 32,
        sealed_until=sealed_until,
    )


def entries(of: Asked) -> Entries:
    return Entries(KEYS, of, BASIS, policy_digest=BASIS.digest, time=datetime(2026, 4, 1, 12, tzinfo=UTC))


def question(number: int, person: Person) -> Answered | Refusal:
    one = question_id(MESSAGE, number)
    if person.refusal:
        return Refusal(one, person.method, person.refusal)
    return Answered(one, person.method, person.subject, person.found, person.answer)


def told(recorded: Recorded) -> tuple[Any, ...]:
    """All of a record but what is random, and what follows from that."""
    entry = ledger.Entry.FromString(recorded.entry.SerializeToString(deterministic=True))
    assert entry.body_digest == (body.digest(recorded.body) if recorded.body else b"")
    entry.body_digest = b""
    sealed = SealedBody.FromString(recorded.body)
    return entry, recorded._replace(entry=ledger.Entry(), body=b""), sealed.place, sealed.crowd_tag, len(recorded.body)


tokens = st.binary(min_size=32, max_size=32)
outcomes = st.sampled_from(
    [inquiry.INQUIRY_OUTCOME_MATCH, inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH, inquiry.INQUIRY_OUTCOME_NOT_PROVIDED]
)


@st.composite
def persons(draw: st.DrawFn) -> Person:
    name, outcome = draw(st.text("山田𠮷", min_size=1, max_size=60)), draw(outcomes)
    token = draw(tokens) if outcome == inquiry.INQUIRY_OUTCOME_MATCH else draw(st.just(b"") | tokens)
    found = provision.Provision(
        outcome=outcome,
        person_token=token,
        sealed_token=draw(tokens) if token else b"",
        recall_mark=draw(tokens),
        crowd_key=draw(st.just(b"") | tokens),
        look_up=draw(st.sampled_from(provision.LookUp.values())),
        body_key=draw(tokens),
        body_place=KeyPlace(month="2026-04", handle=draw(tokens)),
        freshness=[inquiry.Freshness(municipality=code) for code in draw(st.lists(st.sampled_from(["131016", "2"])))],
    )
    found.provided.record.name.legal = name
    refusals = [errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE, errors.ERROR_REASON_FIELD_NOT_ALLOWED]
    subject = inquiry.Subject(four_items=inquiry.FourItems(name=name))
    method = draw(st.sampled_from([inquiry.INQUIRY_METHOD_FOUR_ITEMS, inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER]))
    return Person(method, subject, found, draw(st.sampled_from([errors.ERROR_REASON_UNSPECIFIED, *refusals])))


@given(st.lists(persons(), min_size=1, max_size=8), st.sampled_from(["", "2026-10-01"]))
def test_what_is_kept_of_a_person_does_not_follow_from_who_else_is_in_the_message(
    message: list[Person], sealed_until: str
) -> None:
    of = asked(sealed_until)
    questions = list(starmap(question, enumerate(message)))
    kept = entries(of).of(questions)
    alone = [entries(of).of([each])[0] for each in questions]
    assert list(map(told, kept)) == list(map(told, alone))
    for number, (person, recorded) in enumerate(zip(message, kept, strict=True)):
        check(recorded.entry)
        assert (recorded.entry.request_id, recorded.entry.method) == (question_id(MESSAGE, number), person.method)
        if person.refusal:
            assert (recorded.entry.refusal, recorded.body) == (person.refusal, b"")
            continue
        assert body.unseal(recorded.body, person.found.body_key, AGENCY, question_id(MESSAGE, number)) == Body(
            context=of.context,
            subject=person.subject,
            fields=FIELDS,
            outcome=person.found.outcome,
            freshness=person.found.freshness,
        )
    nonces = [SealedBody.FromString(each.body).nonce for each in kept if each.body]
    assert len(set(nonces)) == len(nonces)


@given(persons(), st.sampled_from(["", "2026-10-01"]))
def test_an_entry_says_what_was_found_and_what_of_it_may_be_read(person: Person, sealed_until: str) -> None:
    found = person.found
    answered = Answered(MESSAGE, person.method, person.subject, found, person.answer)
    (recorded,) = entries(asked(sealed_until)).of([answered])
    entry, matched = recorded.entry, found.outcome == inquiry.INQUIRY_OUTCOME_MATCH
    assert (entry.result == ledger.RESULT_PROVIDED) == matched
    assert list(entry.fields) == (sorted(FIELDS) if matched else [])
    assert list(entry.wanted) == sorted(FIELDS)
    assert entry.person_token == (found.sealed_token if sealed_until else found.person_token)
    assert entry.sealed_until == (sealed_until if entry.person_token else "")
    assert entry.answer_digest == KEYS.answer_digest(person.answer)
    assert recorded.watched_by == (found.person_token if sealed_until else b"")
    assert recorded.mark == (found.recall_mark if matched else b"")
    assert recorded.look_up == found.look_up
    tagged = sealed_until and found.crowd_key
    assert SealedBody.FromString(recorded.body).crowd_tag == (crowd_tag(found.crowd_key, MESSAGE) if tagged else b"")
