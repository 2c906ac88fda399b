"""Past questions under a draft: what would change is told, what cannot be known is said, and nothing is guessed."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.purpose.replay import Change, Replay, replay
from tests.purpose.drafts import draft

PENSION = Agency(
    "p", SPIFFE_PREFIX + "p", "p", "p", "public", frozenset({"japan-pension-service"}), frozenset({"B1-77", "B1-72"}),
    date(2019, 1, 7), date(2026, 3, 31),
)  # fmt: skip
DIRECTORY = {PENSION.spiffe_id: PENSION}
OWN = load_statute()
SMALL = replace(OWN, rows={key: OWN.rows[key] for key in ("B1-77", "B1-72", "B1-30")})
"""A replay parses all rows of its draft; where it is run often, these three do."""
POLICY = PurposePolicy(Editions([SMALL]), DIRECTORY)
NUMBER, ITEMS = inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER, inquiry.INQUIRY_METHOD_FOUR_ITEMS


def entry(**parts: Any) -> ledger.Entry:
    """An answer of layout 2 to the pension service by the four items; `parts` are other values."""
    made = ledger.Entry(
        **{
            "version": 2,
            "agency": PENSION.spiffe_id,
            "purpose": "B1-77",
            "action": ledger.ACTION_INQUIRE,
            "result": ledger.RESULT_PROVIDED,
            "method": ITEMS,
            "wanted": [1, 4],
            "fields": [1, 4],
            "edition": "2019-01",
            **parts,
        }
    )
    made.time.FromDatetime(datetime(2026, 2, 1, tzinfo=UTC))
    return made


def old(**parts: Any) -> ledger.Entry:
    """The same in layout 1."""
    return entry(**{"version": 1, "method": 0, "wanted": [], "edition": "", **parts})


def counts(found: Replay) -> tuple[int, int, int, int]:
    return found.same, found.different.total(), found.cannot_know, found.not_by_the_table


def test_a_draft_that_takes_a_row_away_changes_its_answers_and_no_others() -> None:
    found = replay([entry(), entry(), entry(purpose="B1-72")], draft(rows={"B1-77": None}), DIRECTORY)
    gone = Change(
        PENSION.spiffe_id, "B1-77", "2019-01", errors.ERROR_REASON_UNSPECIFIED, errors.ERROR_REASON_PURPOSE_UNKNOWN
    )
    assert found.different == {gone: 2}
    assert (counts(found), found.questions) == ((1, 2, 0, 0), 3)


def test_recalls_are_fetched_by_whatever_method_a_draft_leaves_to_their_row() -> None:
    refused = entry(
        action=ledger.ACTION_ACKNOWLEDGE_RECALL,
        result=ledger.RESULT_REFUSED,
        refusal=errors.ERROR_REASON_PURPOSE_NOT_GRANTED,
        fields=[],
        wanted=[],
    )
    (opened,) = replay([refused], draft(rows={"B1-77": {"provisions": "changes"}}), DIRECTORY).different
    assert (opened.was, opened.would_be) == (refused.refusal, errors.ERROR_REASON_UNSPECIFIED)


def test_a_draft_may_also_open_what_was_refused() -> None:
    refused = entry(
        result=ledger.RESULT_REFUSED, refusal=errors.ERROR_REASON_PURPOSE_NOT_GRANTED, fields=[], purpose="B1-30"
    )
    grants = {PENSION.spiffe_id: replace(PENSION, rows=frozenset({"B1-30"}))}
    found = replay([refused], draft(rows={"B1-30": {"bodies": "japan-pension-service"}}), grants)
    assert [(change.was, change.would_be) for change in found.different] == [
        (errors.ERROR_REASON_PURPOSE_NOT_GRANTED, errors.ERROR_REASON_UNSPECIFIED)
    ]


def test_how_a_person_was_named_and_what_was_wanted_is_taken_from_the_entry() -> None:
    closed = draft(rows={"B1-77": {"individual_number": "no"}})
    by_number, with_number = entry(method=NUMBER), entry(wanted=[1, 5], fields=[1, 5])
    found = replay([entry(), by_number, with_number], closed, DIRECTORY)
    assert counts(found) == (1, 2, 0, 0)
    assert {change.would_be for change in found.different} == {
        errors.ERROR_REASON_METHOD_NOT_ALLOWED,
        errors.ERROR_REASON_FIELD_NOT_ALLOWED,
    }


def test_of_layout_1_only_what_every_reading_of_it_agrees_on_is_told() -> None:
    closed = draft(rows={"B1-77": {"individual_number": "no"}})
    verified = old(action=ledger.ACTION_VERIFY_IDENTITY, fields=[])
    unanswered = old(result=ledger.RESULT_NO_SINGLE_MATCH, fields=[])
    assert counts(replay([old(), verified, unanswered], closed, DIRECTORY)) == (1, 0, 2, 0)
    assert counts(replay([old(), verified], load_statute(), DIRECTORY)) == (2, 0, 0, 0)
    gone = replay([old(), verified, unanswered], draft(rows={"B1-77": None}), DIRECTORY)
    assert counts(gone) == (0, 3, 0, 0)


def test_what_the_table_had_no_part_in_is_left_out() -> None:
    refusals = [
        errors.ERROR_REASON_PRIVATE_SECTOR_BANNED,
        errors.ERROR_REASON_AGENCY_EXPIRED,
        errors.ERROR_REASON_INVALID_MESSAGE,
        errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
    ]
    entries = [entry(result=ledger.RESULT_REFUSED, refusal=refusal, fields=[]) for refusal in refusals]
    act = ledger.Entry(version=2, action=ledger.ACTION_APPROVE_EDITION, result=ledger.RESULT_DONE)
    assert counts(replay([*entries, act], draft(rows={"B1-77": None}), DIRECTORY)) == (0, 0, 0, 4)


def test_a_listing_that_ended_since_and_a_draft_of_the_future_change_nothing() -> None:
    future = draft("2030-04", date(2030, 4, 1), rows={"B1-77": {"valid_from": "2030-04-01"}})
    assert counts(replay([entry()], future, DIRECTORY)) == (1, 0, 0, 0)


def test_an_agency_that_the_directory_does_not_list_cannot_be_known() -> None:
    assert counts(replay([entry()], draft(), {})) == (0, 0, 1, 0)


@given(
    st.sampled_from(["B1-77", "B1-72", "B1-30", "B1-999"]),
    st.sampled_from([ITEMS, NUMBER]),
    st.lists(st.integers(1, 7), unique=True).map(sorted),
)
@settings(max_examples=20)
def test_under_its_own_edition_no_question_comes_out_differently(purpose: str, method: Any, wanted: Any) -> None:
    decision = POLICY.decide(Question(PENSION.spiffe_id, purpose, date(2026, 2, 1), method, wanted))
    result = ledger.RESULT_PROVIDED if decision.allowed else ledger.RESULT_REFUSED
    asked = entry(
        purpose=purpose, method=method, wanted=wanted, result=result, refusal=decision.refusal,
        fields=wanted if decision.allowed else [],
    )  # fmt: skip
    assert counts(replay([asked], SMALL, DIRECTORY)) == (1, 0, 0, 0)
    in_layout_1 = old(
        purpose=purpose, result=result, refusal=decision.refusal, fields=wanted if decision.allowed else []
    )
    assert counts(replay([in_layout_1], SMALL, DIRECTORY))[1] == 0
