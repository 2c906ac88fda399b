"""An agency sees by itself whether the center said how fresh an answer's source is, and of what and when."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import SOURCE_STATE_CONNECTED, Freshness, Subject
from jukinet.ledger.verify import freshness
from jukinet.ledger.verify.freshness import CLOCKS_US, Demand, demand_of, objection_to
from jukinet.purpose.freshness import sign_freshness

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ASKED, ANSWERED = 1_800_000_000_000_000, 1_800_000_000_500_000
MATCH, NOBODY, UNKNOWN = (
    inquiry.INQUIRY_OUTCOME_MATCH,
    inquiry.INQUIRY_OUTCOME_NO_SINGLE_MATCH,
    inquiry.INQUIRY_OUTCOME_NOT_PROVIDED,
)


def said(
    municipality: str = "131016",
    at_us: int = ASKED,
    age_us: int | None = None,
    state: "inquiry.SourceState.ValueType" = SOURCE_STATE_CONNECTED,
) -> Freshness:
    statement = Freshness(municipality=municipality, state=state)
    statement.said_at.FromMicroseconds(at_us)
    if age_us is not None:
        statement.complete_as_of.FromMicroseconds(at_us - age_us)
    return sign_freshness(statement, KEY)


def objection(*statements: Freshness, municipality: str | None = None, maximum_age_seconds: int = 0) -> str:
    return objection_by(Demand(municipality, maximum_age_seconds), *statements)


def objection_by(demand: Demand, *statements: Freshness) -> str:
    return objection_to(statements, KEY.public_key(), demand, asked_us=ASKED, now_us=ANSWERED)


def test_the_centers_word_of_this_moment_is_taken() -> None:
    assert objection(said()) == ""
    assert objection(said(), municipality="131016") == ""
    assert objection(said(""), municipality="") == ""


def test_the_same_statement_is_checked_once_however_many_answers_carry_it() -> None:
    before = freshness._is_signed.cache_info()
    statement = said(at_us=ASKED + 1)
    assert all(objection(statement) == "" for _ in range(5))
    after = freshness._is_signed.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 4)


def test_who_is_found_may_have_moved_and_who_is_not_is_not_found_where_was_asked() -> None:
    number, items = Subject(individual_number="000000000019"), Subject()
    items.four_items.address.local_government_code = "131016"
    for outcome in (MATCH, NOBODY, UNKNOWN, inquiry.INQUIRY_OUTCOME_UNSPECIFIED):
        demands = [demand_of(each, outcome, maximum_age_seconds=0) for each in (number, items)]
        assert [demand.municipality for demand in demands] == ([None, None] if outcome == MATCH else ["", "131016"])


def test_whoever_is_told_or_called_not_found_is_so_within_the_age_and_not_provided_is_said_of_any_age() -> None:
    ages = [demand_of(Subject(), each, maximum_age_seconds=9).maximum_age_seconds for each in (MATCH, NOBODY, UNKNOWN)]
    assert ages == [9, 9, 0]
    demand = demand_of(Subject(), inquiry.INQUIRY_OUTCOME_UNSPECIFIED, maximum_age_seconds=9)
    assert demand == ("", 9, True), "an outcome that is not known is held to all of it"


@given(
    maximum_age_seconds=st.integers(1, 2**32 - 1),
    off_us=st.integers(-2_000_000, 2_000_000) | st.integers(-(10**12), 10**12),
)
def test_what_is_older_than_was_demanded_is_not_taken_to_the_microsecond(maximum_age_seconds: int, off_us: int) -> None:
    maximum_us = maximum_age_seconds * 1_000_000
    age_us = min(maximum_us + off_us, ASKED)  # nothing is older than 1970
    told = objection(said(age_us=age_us), maximum_age_seconds=maximum_age_seconds)
    assert told == ("it is older than was asked for" if age_us > maximum_us else "")
    assert objection(said(age_us=age_us)) == "", "nobody who demands no age minds"


def test_what_is_not_known_to_be_whole_is_older_than_any_age_that_is_demanded() -> None:
    assert "older" in objection(said(), maximum_age_seconds=2**32 - 1)
    assert "older" in objection(said(age_us=0), said("141003", age_us=2_000_000), maximum_age_seconds=1)


@pytest.mark.parametrize("state", inquiry.SourceState.values())
def test_nobody_is_not_found_where_something_may_be_missing(state: "inquiry.SourceState.ValueType") -> None:
    of_who_is_there, of_nobody, unknown = (
        objection_by(demand_of(Subject(), outcome, maximum_age_seconds=0), said("", state=state))
        for outcome in (MATCH, NOBODY, UNKNOWN)
    )
    assert (of_who_is_there, unknown) == ("", "")
    assert ("nobody is called not found" in of_nobody) == (state != SOURCE_STATE_CONNECTED)


def test_an_answer_that_says_nothing_of_its_source_is_not_taken() -> None:
    assert "does not say" in objection()


def test_a_statement_that_another_one_made_or_altered_is_not_taken() -> None:
    forged = sign_freshness(Freshness(municipality="131016"), Ed25519PrivateKey.generate())
    altered = said()
    altered.complete_as_of.FromMicroseconds(ASKED)
    for each in (forged, altered, Freshness(municipality="131016", signature=bytes(64))):
        assert "did not say so" in objection(said(), each)


def test_a_statement_about_another_municipality_is_not_taken() -> None:
    assert "another municipality" in objection(said(), municipality="141003")
    assert "another municipality" in objection(said(""), municipality="131016")
    assert "another municipality" in objection(said(), municipality="")


@given(off_us=st.integers(-(10**14), 10**14))
def test_a_statement_from_better_days_or_from_days_to_come_is_not_taken(off_us: int) -> None:
    in_time = -CLOCKS_US <= off_us <= ANSWERED - ASKED + CLOCKS_US
    assert (objection(said(at_us=ASKED + off_us)) == "") == in_time
