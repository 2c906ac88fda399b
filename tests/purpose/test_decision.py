"""The decision opens what the Act opens and nothing else, and the private-sector ban wins over everything."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import cast

import cedarpy
import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.mesh.identity import Identity
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency, AgencyKind
from jukinet.purpose.decision import Decision, PolicyError, PurposePolicy, Question
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions

TABLE = load_statute()
LIVE = [row for row in TABLE.rows.values() if row.status == "in_force"]
TODAY = date(2026, 4, 1)
FOUR = (
    inquiry.IDENTITY_FIELD_NAME,
    inquiry.IDENTITY_FIELD_BIRTH_DATE,
    inquiry.IDENTITY_FIELD_SEX,
    inquiry.IDENTITY_FIELD_ADDRESS,
)
BY_FOUR_ITEMS = inquiry.INQUIRY_METHOD_FOUR_ITEMS
BY_NUMBER = inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER


def agency(
    name: str,
    kind: AgencyKind = "public",
    bodies: Iterable[str] = (),
    rows: Iterable[str] = (),
    until: date = date.max,
) -> Agency:
    spiffe_id = SPIFFE_PREFIX + name
    return Agency(name, spiffe_id, name, name, kind, frozenset(bodies), frozenset(rows), date(2019, 1, 7), until)


def own_rows(body: str) -> list[str]:
    return [key for key, row in TABLE.rows.items() if body in row.bodies]


AGENCIES = [
    *(agency(body, bodies=[body], rows=own_rows(body)) for body in TABLE.bodies),
    *(agency(f"overgranted-{body}", bodies=[body], rows=TABLE.rows) for body in TABLE.bodies),
    agency("all-but-grants", bodies=TABLE.bodies),
    agency("everything", bodies=TABLE.bodies, rows=TABLE.rows),
    agency("ended", bodies=TABLE.bodies, rows=TABLE.rows, until=date(2025, 3, 31)),
    agency("private", "private", bodies=TABLE.bodies, rows=TABLE.rows),
    agency("private-ended", "private", bodies=TABLE.bodies, rows=TABLE.rows, until=date(2025, 3, 31)),
    agency("private-bare", "private"),
]
POLICY = PurposePolicy(Editions([TABLE]), {each.spiffe_id: each for each in AGENCIES})


def decide(
    name: str,
    purpose: str,
    *,
    method: int = BY_FOUR_ITEMS,
    fields: Iterable[int] = FOUR,
    day: date = TODAY,
) -> Decision:
    return POLICY.decide(question(name, purpose, day, method, fields))


def question(name: str, purpose: str, day: date, method: int, fields: Iterable[int]) -> Question:
    # The numbers may be ones that the enums do not know, as they may on the wire.
    return Question(
        SPIFFE_PREFIX + name,
        purpose,
        day,
        cast("inquiry.InquiryMethod.ValueType", method),
        cast("tuple[inquiry.IdentityField.ValueType, ...]", tuple(fields)),
    )


def lone_agency(attributes: dict[str, object]) -> cedarpy.Entities:
    # Without a schema Cedar accepts an agency of any shape.
    uid = {"type": "Agency", "id": AGENCIES[0].spiffe_id}
    return cedarpy.Entities.from_json_str(json.dumps([{"uid": uid, "attrs": attributes, "parents": []}]))


def decide_with(policy: PurposePolicy, monkeypatch: pytest.MonkeyPatch, entities: cedarpy.Entities) -> None:
    policy._decided.clear()
    monkeypatch.setitem(policy._books, TABLE.edition, policy._books[TABLE.edition]._replace(entities=entities))


def reason(decision: Decision) -> str:
    return errors.ErrorReason.Name(decision.refusal).removeprefix("ERROR_REASON_")


def test_every_live_row_is_open_to_its_own_bodies() -> None:
    for row in LIVE:
        for body in row.bodies:
            decision = decide(body, row.key)
            assert decision.allowed, (row.key, body)
            assert decision.basis == inquiry.LegalBasis(
                purpose=row.key,
                article=row.article,
                label_en=row.label_en,
                label_ja=row.label_ja,
                law_ja=row.law_ja,
                edition=TABLE.edition,
            )


@pytest.mark.slow
def test_every_live_row_is_shut_to_every_other_body() -> None:
    for row in LIVE:
        for body in TABLE.bodies.keys() - set(row.bodies):
            assert reason(decide(body, row.key)) == "PURPOSE_NOT_GRANTED", (row.key, body)


@pytest.mark.slow
def test_grant_of_another_bodys_row_opens_nothing() -> None:
    for row in LIVE:
        for body in TABLE.bodies.keys() - set(row.bodies):
            assert reason(decide(f"overgranted-{body}", row.key)) == "PURPOSE_NOT_GRANTED", (row.key, body)


def test_row_of_ones_own_needs_a_grant_of_the_directory() -> None:
    for row in LIVE:
        assert reason(decide("all-but-grants", row.key)) == "PURPOSE_NOT_GRANTED"


def test_private_organisation_is_banned_whatever_is_granted_and_however_it_asks() -> None:
    for name in ("private", "private-ended", "private-bare"):
        for purpose in [*TABLE.rows, "B1-77.12", "B1-999", "", "no such row"]:
            for method in (0, BY_FOUR_ITEMS, BY_NUMBER):
                decision = decide(name, purpose, method=method)
                assert reason(decision) == "PRIVATE_SECTOR_BANNED", (name, purpose, method)
                assert (decision.article, decision.policy) == ("30-38", "juki-30-38-private-ban")


def test_private_organisation_is_banned_for_every_field() -> None:
    for field in [*inquiry.IdentityField.values(), 99]:
        assert reason(decide("private", "B1-77", fields=[field])) == "PRIVATE_SECTOR_BANNED"
    assert reason(decide("private", "B1-77", fields=[], day=date(1999, 1, 1))) == "PRIVATE_SECTOR_BANNED"


@pytest.mark.parametrize("listed", ["public", "private", "not at all"])
def test_whose_certificate_is_private_is_banned_whatever_the_directory_says(listed: str) -> None:
    bank = Identity("private", "example-bank").uri
    directory = {each.spiffe_id: each for each in AGENCIES}
    if listed != "not at all":
        kind: AgencyKind = "public" if listed == "public" else "private"
        everything = agency("example-bank", kind, bodies=TABLE.bodies, rows=TABLE.rows)
        directory[bank] = replace(everything, spiffe_id=bank)
    policy = PurposePolicy(Editions([TABLE]), directory)
    for purpose in [*TABLE.rows, "B1-77.12", "B1-999", ""]:
        for day in (TODAY, date(1999, 1, 1)):
            decision = policy.decide(question("", purpose, day, BY_FOUR_ITEMS, FOUR)._replace(agency=bank))
            assert (reason(decision), decision.article) == ("PRIVATE_SECTOR_BANNED", "30-38")
    assert policy.ban_on(bank, TODAY)


def test_agency_outside_the_directory_is_unknown() -> None:
    for name in ("nobody", "EVERYTHING", "everything/", ""):
        assert reason(decide(name, "B1-77")) == "AGENCY_UNKNOWN"


@pytest.mark.parametrize("purpose", ["B1-77", "B1-999", "B2-1", ""])
def test_who_is_listed_may_end_what_it_began_whatever_the_row_opens_and_nobody_else(purpose: str) -> None:
    def end(name: str) -> Decision:
        return POLICY.decide_ending(question(name, purpose, TODAY, BY_FOUR_ITEMS, ()))

    for name in ("everything", "ended", "all-but-grants"):
        decision = end(name)
        assert (decision.allowed, decision.edition, reason(decision)) == (True, TABLE.edition, "UNSPECIFIED")
        assert len(decision.digest) == 32
    for name in ("private", "private-ended", "private-bare"):
        assert (reason(end(name)), end(name).article) == ("PRIVATE_SECTOR_BANNED", "30-38")
    assert reason(end("nobody")) == "AGENCY_UNKNOWN"


def test_listing_opens_and_ends_on_its_days() -> None:
    last = date(2025, 3, 31)
    assert decide("ended", "B1-77", day=last).allowed
    assert reason(decide("ended", "B1-77", day=last + timedelta(days=1))) == "AGENCY_EXPIRED"
    assert reason(decide("ended", "B1-77", day=date(2019, 1, 6))) == "AGENCY_EXPIRED"


def test_rows_that_are_deleted_or_known_from_the_ordinance_alone_are_not_in_force() -> None:
    for row in TABLE.rows.values():
        if row.status != "in_force":
            assert reason(decide("everything", row.key)) == "PURPOSE_EXPIRED", row.key


def test_row_opens_and_ends_on_its_days() -> None:
    first = agency("early", bodies=TABLE.bodies, rows=TABLE.rows)
    first = replace(first, valid_from=date.min)
    policy = PurposePolicy(Editions([TABLE]), {first.spiffe_id: first})
    asked = Question(first.spiffe_id, "B1-77", date(2019, 1, 7), BY_FOUR_ITEMS, FOUR)
    assert policy.decide(asked).allowed
    last = replace(TABLE.rows["B1-77"], valid_from=date(2020, 4, 1), valid_to=date(2020, 4, 2))
    short = PurposePolicy(Editions([replace(TABLE, rows={"B1-77": last})]), {first.spiffe_id: first})
    days = [date(2020, 3, 31), date(2020, 4, 1), date(2020, 4, 2), date(2020, 4, 3)]
    outcomes = [reason(short.decide(asked._replace(day=day))) for day in days]
    assert outcomes == ["PURPOSE_EXPIRED", "UNSPECIFIED", "UNSPECIFIED", "PURPOSE_EXPIRED"]
    assert policy.decide(asked._replace(day=date.max)).allowed


@pytest.mark.parametrize("purpose", ["B1-999", "B1-77.999", "B2-1.1", "B1-40-3", "no such row", "", 'B1"', "\n"])
def test_purpose_that_does_not_exist_is_unknown(purpose: str) -> None:
    decision = decide("everything", purpose)
    assert (reason(decision), decision.edition) == ("PURPOSE_UNKNOWN", TABLE.edition)


def test_item_of_a_row_is_open_like_the_row_and_named_in_the_basis() -> None:
    decision = decide("japan-pension-service", "B1-77.12")
    assert decision.basis is not None
    assert decision.basis.purpose == "B1-77.12"
    assert decision.basis.label_en
    assert decision.basis.label_ja
    assert (decision.article, decision.edition, decision.policy) == ("30-9", "2019-01", "juki-30-9")


def test_verification_asks_for_no_field() -> None:
    assert decide("japan-pension-service", "B1-77", fields=[]).allowed


def test_resident_code_is_provided_for_no_row() -> None:
    for row in LIVE:
        decision = decide("everything", row.key, fields=[*FOUR, inquiry.IDENTITY_FIELD_RESIDENT_CODE])
        assert (reason(decision), decision.policy) == ("FIELD_NOT_ALLOWED", "juki-30-9-resident-code")
        assert decision.article == row.article


def test_resident_code_stays_shut_for_table_one_even_if_a_row_says_otherwise() -> None:
    rows = {key: replace(TABLE.rows[key], resident_code=True) for key in ("B1-77", "B2-1")}
    articles = {number: replace(article, resident_code=True) for number, article in TABLE.articles.items()}
    asker = agency("everything", bodies=TABLE.bodies, rows=rows)
    policy = PurposePolicy(Editions([replace(TABLE, rows=rows, articles=articles)]), {asker.spiffe_id: asker})
    fields = [inquiry.IDENTITY_FIELD_RESIDENT_CODE]
    assert reason(policy.decide(question("everything", "B1-77", TODAY, BY_FOUR_ITEMS, fields))) == "FIELD_NOT_ALLOWED"
    assert policy.decide(question("everything", "B2-1", TODAY, BY_FOUR_ITEMS, fields)).allowed


def test_individual_number_needs_the_number_use_act() -> None:
    for row in LIVE:
        key = decide("everything", row.key, method=BY_NUMBER)
        field = decide("everything", row.key, fields=[inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER])
        if row.individual_number:
            assert key.allowed
            assert field.allowed
        else:
            assert (reason(key), key.article) == ("METHOD_NOT_ALLOWED", "number-act-9")
            assert (reason(field), field.article) == ("FIELD_NOT_ALLOWED", "number-act-9")


def test_change_information_is_part_of_the_identity_record() -> None:
    assert decide("japan-pension-service", "B1-77", fields=[inquiry.IDENTITY_FIELD_CHANGE]).allowed


@pytest.mark.parametrize("field", [0, 8, 99, -1])
def test_field_outside_the_mask_is_refused(field: int) -> None:
    decision = decide("everything", "B1-77", fields=[*FOUR, field])
    assert (reason(decision), decision.article) == ("FIELD_NOT_ALLOWED", "30-6")


@pytest.mark.parametrize("method", [0, 3, 99, -1])
def test_method_that_does_not_exist_is_refused(method: int) -> None:
    assert reason(decide("everything", "B1-77", method=method)) == "METHOD_NOT_ALLOWED"


def test_policy_that_cannot_be_evaluated_denies(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = PurposePolicy(Editions([TABLE]), {each.spiffe_id: each for each in AGENCIES[:1]})
    decide_with(policy, monkeypatch, lone_agency({"kind": "public"}))
    with caplog.at_level(logging.ERROR):
        decision = policy.decide(Question(AGENCIES[0].spiffe_id, "B1-77", TODAY, BY_FOUR_ITEMS, FOUR))
    assert (reason(decision), decision.allowed) == ("POLICY_ERROR", False)
    ending = policy.decide_ending(Question(AGENCIES[0].spiffe_id, "B1-77", TODAY, BY_FOUR_ITEMS))
    assert (reason(ending), ending.allowed) == ("POLICY_ERROR", False)
    assert "could not be evaluated" in caplog.text


def test_error_beside_a_permit_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    # Cedar skips a forbid that errs and lets the permit stand; the decision must not.
    policy = PurposePolicy(Editions([TABLE]), {each.spiffe_id: each for each in AGENCIES})
    lax = cedarpy.PolicySet.from_str(
        '@id("juki-30-9") permit (principal, action, resource);'
        '@id("juki-30-6-field-mask") forbid (principal, action, resource) unless { resource.nothing };'
    )
    monkeypatch.setattr(policy, "_policies", lax)
    asked = question("everything", "B1-77", TODAY, BY_FOUR_ITEMS, FOUR)
    raw = cedarpy.is_authorized(
        {
            "principal": {"type": "Agency", "id": asked.agency},
            "action": {"type": "Action", "id": "provide"},
            "resource": {"type": "Row", "id": "B1-77"},
        },
        lax,
        policy._books[TABLE.edition].entities,
    )
    assert raw.allowed
    assert reason(policy.decide(asked)) == "POLICY_ERROR"


def test_agency_whose_kind_is_not_stated_counts_as_private(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = PurposePolicy(Editions([TABLE]), {each.spiffe_id: each for each in AGENCIES[:1]})
    kinds: list[dict[str, object]] = [{}, {"kind": "Public"}, {"kind": True}]
    for attributes in kinds:
        decide_with(policy, monkeypatch, lone_agency(attributes))
        decision = policy.decide(Question(AGENCIES[0].spiffe_id, "B1-77", TODAY, BY_FOUR_ITEMS, FOUR))
        assert reason(decision) == "PRIVATE_SECTOR_BANNED"


def test_no_permit_is_a_refusal_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = PurposePolicy(Editions([TABLE]), {each.spiffe_id: each for each in AGENCIES})
    monkeypatch.setattr(policy, "_policies", cedarpy.PolicySet.from_str(""))
    decision = policy.decide(question("everything", "B1-77", TODAY, BY_FOUR_ITEMS, FOUR))
    assert (reason(decision), decision.policy) == ("PURPOSE_NOT_GRANTED", "")
    ending = policy.decide_ending(question("everything", "B1-77", TODAY, BY_FOUR_ITEMS, ()))
    assert (reason(ending), ending.allowed) == ("PURPOSE_NOT_GRANTED", False)


def test_agency_that_does_not_fit_the_schema_keeps_the_node_from_starting() -> None:
    misshapen = agency("misshapen")
    object.__setattr__(misshapen, "kind", 7)
    with pytest.raises(PolicyError, match="do not fit the policy schema"):
        PurposePolicy(Editions([TABLE]), {misshapen.spiffe_id: misshapen})
