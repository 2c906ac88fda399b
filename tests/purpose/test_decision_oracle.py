"""The decision agrees with an independent table of the same law: plain loops over the files, no Cedar, no loader."""

import csv
from datetime import date
from importlib import resources
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency, AgencyKind
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.statute import load_statute


def shipped(name: str) -> str:
    return resources.files("jukinet.purpose").joinpath(name).read_text(encoding="utf-8")


ROWS = {record["purpose_key"]: record for record in csv.DictReader(shipped("statute.csv").splitlines())}
ITEMS = {
    f"{item['purpose_key']}.{item['item']}"
    for item in csv.DictReader(shipped("statute_items.csv").splitlines())
    if item["purpose_key"] and item["item"]
}


def oracle(asker: Agency | None, purpose: str, method: int, fields: list[int], day: date) -> str:
    if asker is None:
        return "AGENCY_UNKNOWN"
    if asker.kind != "public":
        return "PRIVATE_SECTOR_BANNED"
    if not asker.valid_from <= day <= asker.valid_to:
        return "AGENCY_EXPIRED"
    if purpose not in ROWS and purpose not in ITEMS:
        return "PURPOSE_UNKNOWN"
    key = purpose.split(".", maxsplit=1)[0]
    row = ROWS[key]
    if row["status"] != "in_force" or day.isoformat() < row["valid_from"] or (row["valid_to"] or "9") < day.isoformat():
        return "PURPOSE_EXPIRED"
    if key not in asker.rows or not asker.bodies & set(row["bodies"].split()):
        return "PURPOSE_NOT_GRANTED"
    number_allowed = row["individual_number"] == "yes"
    if method not in (1, 2) or (method == 2 and not number_allowed):
        return "METHOD_NOT_ALLOWED"
    if not set(fields) <= ({1, 2, 3, 4, 5, 7} if number_allowed else {1, 2, 3, 4, 7}):
        return "FIELD_NOT_ALLOWED"
    return "UNSPECIFIED"


BODIES = sorted({body for row in ROWS.values() for body in row["bodies"].split()})
DAYS = st.dates(date(2018, 1, 1), date(2031, 1, 1))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Agency, bool, str, int, list[int], date]:
    key = draw(st.sampled_from(sorted(ROWS)))
    purpose = draw(
        st.one_of(st.just(key), st.sampled_from(sorted(ITEMS)), st.integers(0, 20).map(lambda item: f"{key}.{item}"))
    )
    row = ROWS[purpose.split(".")[0]]
    bodies = draw(st.one_of(st.just(row["bodies"].split()), st.lists(st.sampled_from(BODIES), max_size=3)))
    rows = draw(st.one_of(st.just([row["purpose_key"]]), st.lists(st.sampled_from(sorted(ROWS)), max_size=5)))
    start, end = sorted((draw(DAYS), draw(DAYS)))
    kind: AgencyKind = draw(st.sampled_from(("public", "public", "public", "private")))
    asker = Agency("a", SPIFFE_PREFIX + "a", "a", "a", kind, frozenset(bodies), frozenset(rows), start, end)
    fields = draw(st.lists(st.integers(0, 8), unique=True))
    day = draw(st.one_of(st.dates(start, end), DAYS))
    return asker, draw(st.integers(0, 9)) > 0, purpose, draw(st.integers(0, 3)), fields, day


@given(cases())
@settings(max_examples=300)
def test_decision_agrees_with_an_independent_table(
    case: tuple[Agency, bool, str, int, list[int], date],
) -> None:
    asker, listed, purpose, method, fields, day = case
    policy = PurposePolicy(load_statute(), {asker.spiffe_id: asker} if listed else {})
    decision = policy.decide(
        Question(
            asker.spiffe_id,
            purpose,
            day,
            cast("inquiry.InquiryMethod.ValueType", method),
            cast("list[inquiry.IdentityField.ValueType]", fields),
        )
    )
    reason = errors.ErrorReason.Name(decision.refusal).removeprefix("ERROR_REASON_")
    assert reason == oracle(asker if listed else None, purpose, method, fields, day)
    assert decision.allowed == (reason == "UNSPECIFIED")
