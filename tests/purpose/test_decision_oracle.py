"""The decision agrees with an independent table of the same law: plain loops over the files, no Cedar, no loader."""

import csv
import itertools
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency, AgencyKind
from jukinet.purpose.articles import Provision
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.edition import parse_edition, program_edition
from jukinet.purpose.editions import Editions
from tests.purpose.drafts import draft_text

NEXT = draft_text(
    "2026-04",
    date(2026, 4, 1),
    rows={
        "B1-77": {"individual_number": "no"},
        "B1-30": {"individual_number": "yes", "individual_number_certainty": "memory"},
        "B1-72": None,
        "B1-31": {"status": "deleted", "bodies": ""},
        "B1-41": {"bodies": "national-tax-agency"},
        "B2-5-6": {"provisions": "immediate"},
        "B3-1": {"valid_to": "2027-03-31"},
    },
    articles={"4": {"individual_number": "no"}, "5": {"provisions": "batch changes"}, "6": {"resident_code": "yes"}},
)


class Law(NamedTuple):
    first_day: str
    rows: dict[str, dict[str, str]]
    items: set[str]
    articles: dict[str, dict[str, str]]


def law_of(file: bytes) -> Law:
    found = tomllib.loads(file.decode())
    rows, items, articles = (list(csv.DictReader(found[key].splitlines())) for key in ("rows", "items", "articles"))
    return Law(
        found["in_force_from"].isoformat(),
        {row["purpose_key"]: row for row in rows},
        {f"{item['purpose_key']}.{item['item']}" for item in items if item["purpose_key"] and item["item"]},
        {article["table"]: article for article in articles if article["table"]},
    )


LAWS = [law_of(program_edition()), law_of(NEXT)]
EDITIONS = Editions([parse_edition(program_edition()), parse_edition(NEXT)])


def oracle(
    asker: Agency | None, purpose: str, method: int, fields: Iterable[int], day: date, provision: str = "immediate"
) -> str:
    if asker is None:
        return "AGENCY_UNKNOWN"
    if asker.kind != "public":
        return "PRIVATE_SECTOR_BANNED"
    if not asker.valid_from <= day <= asker.valid_to:
        return "AGENCY_EXPIRED"
    law = next((law for law in reversed(LAWS) if law.first_day <= day.isoformat()), None)
    if law is None or (purpose not in law.rows and purpose not in law.items):
        return "PURPOSE_UNKNOWN"
    key = purpose.split(".", maxsplit=1)[0]
    row, article = law.rows[key], law.articles[law.rows[key]["table"]]
    if row["status"] != "in_force" or day.isoformat() < row["valid_from"] or (row["valid_to"] or "9") < day.isoformat():
        return "PURPOSE_EXPIRED"
    if key not in asker.rows or not asker.bodies & set(row["bodies"].split()):
        return "PURPOSE_NOT_GRANTED"
    if provision not in article["provisions"].split() or (row["provisions"] and provision not in row["provisions"]):
        return "PROVISION_NOT_ALLOWED"
    number = row["individual_number"] == "yes" and article["individual_number"] == "number-act-9"
    code = row["resident_code"] == "yes" and article["resident_code"] == "yes"
    if method not in (1, 2) or (method == 2 and not number):
        return "METHOD_NOT_ALLOWED"
    if not set(fields) <= {1, 2, 3, 4, 7} | ({5} if number else set()) | ({6} if code else set()):
        return "FIELD_NOT_ALLOWED"
    return "UNSPECIFIED"


KEYS = sorted({key for law in LAWS for key in law.rows})
ITEMS = sorted({item for law in LAWS for item in law.items})
BODIES = sorted({body for law in LAWS for row in law.rows.values() for body in row["bodies"].split()})
DAYS = st.dates(date(2018, 1, 1), date(2031, 1, 1))
BOTH = (date(2026, 3, 31), date(2026, 4, 1))


def agency(bodies: Iterable[str], rows: Iterable[str], kind: AgencyKind = "public") -> Agency:
    return Agency("a", SPIFFE_PREFIX + "a", "a", "a", kind, frozenset(bodies), frozenset(rows), date.min)


def question(
    purpose: str, method: int, fields: Sequence[int], day: date, provision: str = "immediate", asker: str = "a"
) -> Question:
    # The numbers may be ones that the enums do not know, as they may on the wire.
    return Question(
        SPIFFE_PREFIX + asker,
        purpose,
        day,
        cast("inquiry.InquiryMethod.ValueType", method),
        cast("list[inquiry.IdentityField.ValueType]", fields),
        cast("Provision", provision),
    )


def decided(policy: PurposePolicy, asked: Question) -> str:
    decision = policy.decide(asked)
    reason = errors.ErrorReason.Name(decision.refusal).removeprefix("ERROR_REASON_")
    assert decision.allowed == (reason == "UNSPECIFIED")
    return reason


KEEPS_NONE_FROM_ENDING = [
    "AGENCY_EXPIRED",
    "PURPOSE_UNKNOWN",
    "PURPOSE_EXPIRED",
    "PURPOSE_NOT_GRANTED",
    "PROVISION_NOT_ALLOWED",
]


def ending(policy: PurposePolicy, asked: Question) -> str:
    decision = policy.decide_ending(asked)
    assert decision.allowed == (not decision.refusal)
    return errors.ErrorReason.Name(decision.refusal).removeprefix("ERROR_REASON_")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Agency, bool, str, int, list[int], date, str]:
    key = draw(st.sampled_from(KEYS))
    purpose = draw(
        st.one_of(st.just(key), st.sampled_from(ITEMS), st.integers(0, 20).map(lambda item: f"{key}.{item}"))
    )
    row = LAWS[0].rows[purpose.split(".")[0]]
    bodies = draw(st.one_of(st.just(row["bodies"].split()), st.lists(st.sampled_from(BODIES), max_size=3)))
    rows = draw(st.one_of(st.just([row["purpose_key"]]), st.lists(st.sampled_from(KEYS), max_size=5)))
    start, end = sorted((draw(DAYS), draw(DAYS)))
    kind: AgencyKind = draw(st.sampled_from(("public", "public", "public", "private")))
    fields = draw(st.lists(st.integers(0, 8), unique=True))
    day = draw(st.one_of(st.dates(start, end), DAYS, st.sampled_from(BOTH)))
    provision = draw(st.sampled_from(("immediate", "immediate", "batch", "changes", "by post")))
    asker = replace(agency(bodies, rows, kind), valid_from=start, valid_to=end)
    return asker, draw(st.integers(0, 9)) > 0, purpose, draw(st.integers(0, 3)), fields, day, provision


@given(st.lists(cases(), min_size=15, max_size=15))
@settings(max_examples=15)
def test_decision_agrees_with_an_independent_table(
    several: list[tuple[Agency, bool, str, int, list[int], date, str]],
) -> None:
    # Several at once, because to parse the rows costs more than to decide.
    ids = [f"a{place}" for place in range(len(several))]
    named = [replace(case[0], id=name, spiffe_id=SPIFFE_PREFIX + name) for name, case in zip(ids, several, strict=True)]
    listed = [each for each, case in zip(named, several, strict=True) if case[1]]
    policy = PurposePolicy(EDITIONS, {each.spiffe_id: each for each in listed})
    for asker, (_, _, purpose, method, fields, day, provision) in zip(named, several, strict=True):
        expected = oracle(asker if asker in listed else None, purpose, method, fields, day, provision)
        asked = question(purpose, method, fields, day, provision, asker.id)
        assert decided(policy, asked) == expected
        assert ending(policy, asked) == ("UNSPECIFIED" if expected in KEEPS_NONE_FROM_ENDING else expected)


def compare(askers: Iterable[Agency], *dimensions: Any) -> int:
    """Compares a whole matrix of agencies, rows, methods, single fields or none, days, provisions; gives its size."""
    directory = {asker.spiffe_id: asker for asker in askers}
    policy = PurposePolicy(EDITIONS, directory)
    size, different = 0, []
    for asker, *case in itertools.product(directory.values(), *dimensions):
        size += 1
        if decided(policy, question(*case)._replace(agency=asker.spiffe_id)) != oracle(asker, *case):
            different.append((asker.id, *case))
    assert different == []
    return size


SINGLE_FIELDS = [[], *([field] for field in range(9))]
PROVISIONS = ("immediate", "batch", "changes")


@pytest.mark.parametrize("kind", ["every body", "every body without grants", "private"])
def test_every_row_field_and_method_agrees_in_both_editions(kind: str) -> None:
    asker = agency(BODIES, [] if "without" in kind else KEYS, "private" if kind == "private" else "public")
    if kind == "every body":
        assert compare([asker], KEYS, (1, 2), SINGLE_FIELDS, BOTH[1:], PROVISIONS) == 428 * 2 * 10 * 3
    assert compare([asker], KEYS, (0, 1, 2, 3), [[5]], BOTH[:1], PROVISIONS) == 428 * 4 * 3


def test_every_item_of_a_row_agrees_with_its_row() -> None:
    assert compare([agency(BODIES, KEYS)], ITEMS, (1, 2), [[5]], BOTH[1:], PROVISIONS) == len(ITEMS) * 2 * 3


def each_body_alone() -> list[Agency]:
    return [replace(agency([body], KEYS), id=body, spiffe_id=SPIFFE_PREFIX + body) for body in BODIES]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_body_agrees_on_every_row_field_and_method() -> None:
    assert compare(each_body_alone(), KEYS, (1, 2), SINGLE_FIELDS, BOTH[1:]) == 98 * 428 * 2 * 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_body_agrees_on_the_number_by_every_way_of_provision() -> None:
    assert compare(each_body_alone(), KEYS, (1, 2), [[5]], BOTH[1:], PROVISIONS[1:]) == 98 * 428 * 2 * 2
