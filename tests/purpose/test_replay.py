"""Past questions under a draft: what would change is told, what cannot be known is said, and nothing is guessed."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.purpose.agencies import SPIFFE_PREFIX, Agency, AgencyDirectory
from jukinet.purpose.decision import PurposePolicy, Question
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.purpose.replay import Change, Replay, Untold
from jukinet.purpose.replay import replay as replay_entries
from jukinet.purpose.statute import StatuteTable, StatuteTableError
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
    """An answer of layout 3 to the pension service by the four items; `parts` are other values."""
    made = ledger.Entry(
        **{
            "version": 3,
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


def replay(entries: list[ledger.Entry], table: StatuteTable, directory: AgencyDirectory) -> Replay:
    return replay_entries(entries, table, directory, known=Editions([OWN, table]))


def old(**parts: Any) -> ledger.Entry:
    """The same in layout 1."""
    return entry(**{"version": 1, "method": 0, "wanted": [], "edition": "", **parts})


def counts(found: Replay) -> tuple[int, int, int, int]:
    return found.same, found.different.total(), found.cannot_know.total(), found.left_out.total()


def test_a_draft_that_takes_a_row_away_changes_its_answers_and_no_others() -> None:
    found = replay([entry(), entry(), entry(purpose="B1-72")], draft(rows={"B1-77": None}), DIRECTORY)
    gone = Change(
        PENSION.spiffe_id, ledger.ACTION_INQUIRE, "B1-77", "2019-01", errors.ERROR_REASON_UNSPECIFIED,
        errors.ERROR_REASON_PURPOSE_UNKNOWN,
    )  # fmt: skip
    assert found.different == {gone: 2}
    assert (counts(found), found.questions, found.entries) == ((1, 2, 0, 0), 3, 3)


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


def test_what_the_table_had_no_part_in_is_counted_by_what_it_is() -> None:
    refusals = [
        errors.ERROR_REASON_PRIVATE_SECTOR_BANNED,
        errors.ERROR_REASON_AGENCY_EXPIRED,
        errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
    ]
    entries = [entry(result=ledger.RESULT_REFUSED, refusal=refusal, fields=[]) for refusal in refusals]
    malformed = entry(
        result=ledger.RESULT_REFUSED, refusal=errors.ERROR_REASON_INVALID_MESSAGE, fields=[], purpose="", method=0,
        wanted=[], edition="", action=ledger.ACTION_WATCH,
    )  # fmt: skip
    act = ledger.Entry(version=3, action=ledger.ACTION_TAKE_BODY, result=ledger.RESULT_DONE)
    recall = entry(action=ledger.ACTION_RECALL, result=ledger.RESULT_DONE, method=0, wanted=[], fields=[])
    found = replay([*entries, malformed, act, recall, recall], draft(rows={"B1-77": None}), DIRECTORY)
    assert counts(found) == (0, 0, 0, 7)
    assert found.left_out == {
        Untold(ledger.ACTION_INQUIRE, "refused for another reason: PRIVATE_SECTOR_BANNED"): 1,
        Untold(ledger.ACTION_INQUIRE, "refused for another reason: AGENCY_EXPIRED"): 1,
        Untold(ledger.ACTION_INQUIRE, "refused for another reason: DEPENDENCY_UNAVAILABLE"): 1,
        Untold(ledger.ACTION_WATCH, "refused for another reason: INVALID_MESSAGE"): 1,
        Untold(ledger.ACTION_TAKE_BODY, "asks the statute table nothing"): 1,
        Untold(ledger.ACTION_RECALL, "asks the statute table nothing"): 2,
    }


def test_the_end_of_a_list_asks_the_table_nothing() -> None:
    ended = entry(action=ledger.ACTION_END_WATCH, result=ledger.RESULT_DONE, method=0, wanted=[], fields=[])
    found = replay([ended], draft(rows={"B1-77": {"provisions": "immediate"}}), DIRECTORY)
    assert counts(found) == (0, 0, 0, 1)
    assert found.left_out == {Untold(ledger.ACTION_END_WATCH, "asks the statute table nothing"): 1}


def test_the_persons_of_a_message_come_out_alike() -> None:
    two = [entry(action=ledger.ACTION_INQUIRE_BATCH, operator_proof=bytes(32), method=way) for way in (ITEMS, NUMBER)]
    no_number = draft(rows={"B1-77": {"individual_number": "no"}})
    assert counts(replay(two, no_number, DIRECTORY)) == (0, 2, 0, 0)


def test_how_the_persons_of_a_refused_list_were_named_is_not_guessed() -> None:
    by_handle = entry(
        action=ledger.ACTION_WATCH, result=ledger.RESULT_REFUSED, refusal=errors.ERROR_REASON_METHOD_NOT_ALLOWED,
        fields=[], operator_proof=bytes(32),
    )  # fmt: skip
    no_number = draft(rows={"B1-77": {"individual_number": "no"}})
    assert counts(replay([by_handle], no_number, DIRECTORY)) == (1, 0, 0, 0)
    assert [change.would_be for change in replay([by_handle], SMALL, DIRECTORY).different] == [0]
    forbidden = entry(
        action=ledger.ACTION_WATCH, result=ledger.RESULT_REFUSED, refusal=errors.ERROR_REASON_PROVISION_NOT_ALLOWED,
        fields=[],
    )  # fmt: skip
    for forbidden.operator_proof in (b"", bytes(32)):  # refused by the gateway; by the center
        assert counts(replay([forbidden], no_number, DIRECTORY)) == (0, 0, 1, 0)


def test_the_items_of_a_list_whose_changes_were_refused_are_not_guessed() -> None:
    refused = entry(
        action=ledger.ACTION_TELL_CHANGE, result=ledger.RESULT_REFUSED, fields=[], wanted=[],
        refusal=errors.ERROR_REASON_FIELD_NOT_ALLOWED, operator_proof=bytes(32),
    )  # fmt: skip
    found = replay([refused], SMALL, DIRECTORY)
    why = "no entry says how all persons were named, or all that was wanted"
    assert found.cannot_know == {Untold(ledger.ACTION_TELL_CHANGE, why): 1}


def test_a_message_without_a_proof_may_have_named_others_otherwise() -> None:
    one = entry(action=ledger.ACTION_INQUIRE_BATCH)
    closed = draft(rows={"B1-77": {"individual_number": "no"}})
    assert counts(replay([one], closed, DIRECTORY)) == (0, 0, 1, 0)
    one.operator_proof = bytes(32)
    assert counts(replay([one], closed, DIRECTORY)) == (1, 0, 0, 0)
    other = entry(action=ledger.ACTION_INQUIRE_BATCH, operator_proof=bytes([1] * 32), method=NUMBER)
    assert counts(replay([one, other], closed, DIRECTORY)) == (1, 1, 0, 0)
    with_number = entry(action=ledger.ACTION_INQUIRE_BATCH, wanted=[1, 5], fields=[1, 5])
    assert counts(replay([with_number], closed, DIRECTORY)) == (0, 0, 1, 0), "who came first decides the reason"


def test_a_list_is_asked_about_before_it_is_known_how_its_persons_were_named() -> None:
    begun = entry(
        action=ledger.ACTION_WATCH, result=ledger.RESULT_DONE, method=NUMBER, wanted=[5], fields=[],
        operator_proof=bytes(32),
    )  # fmt: skip
    (change,) = replay([begun], draft(rows={"B1-77": {"individual_number": "no"}}), DIRECTORY).different
    assert change.would_be == errors.ERROR_REASON_FIELD_NOT_ALLOWED


def test_a_seal_is_held_against_the_draft_from_the_day_of_its_question() -> None:
    sealed = entry(sealed_until="2026-08-01", person_token=bytes(32))
    for months, day in ((6, date(2026, 4, 1)), (60, date(2030, 4, 1)), (6, date(2030, 4, 1))):
        table = draft("2030-04", day, seals={"B1-77": months})
        assert counts(replay([sealed], table, DIRECTORY)) == (1, 0, 0, 0)
    for seals in ({"B1-77": 5}, {"B1-72": 6}, None):
        (change,) = replay([sealed], draft("2030-04", date(2030, 4, 1), seals=seals), DIRECTORY).different
        assert change.would_be == errors.ERROR_REASON_SEAL_NOT_ALLOWED


def test_an_acknowledgement_that_waited_for_a_seal_is_told_only_where_its_day_makes_no_difference() -> None:
    waited = entry(
        action=ledger.ACTION_ACKNOWLEDGE_RECALL, result=ledger.RESULT_DONE, wanted=[], fields=[],
        sealed_until="2026-02-01",
    )  # fmt: skip
    at_once = entry(action=ledger.ACTION_ACKNOWLEDGE_RECALL, result=ledger.RESULT_DONE, wanted=[], fields=[])
    ended = {"B1-77": {"valid_to": "2026-01-15"}}
    before, after = (draft(f"{day:%Y-%m}", day, rows=ended) for day in (date(2026, 1, 1), date(2026, 4, 1)))
    assert counts(replay([waited, at_once], before, DIRECTORY)) == (0, 1, 1, 0)
    assert counts(replay([waited, at_once], after, DIRECTORY)) == (0, 2, 0, 0)
    assert counts(replay([waited], draft("2020-01", date(2020, 1, 1)), DIRECTORY)) == (1, 0, 0, 0)
    (why,) = replay([waited], before, DIRECTORY).cannot_know
    assert "acknowledged" in why.why


def test_a_seal_that_was_refused_stays_refused_where_the_draft_allows_no_longer_one() -> None:
    refused = entry(result=ledger.RESULT_REFUSED, refusal=errors.ERROR_REASON_SEAL_NOT_ALLOWED, fields=[])
    assert counts(replay([refused], draft(), DIRECTORY)) == (1, 0, 0, 0)
    assert counts(replay([refused], draft(seals={"B1-77": 60}), DIRECTORY)) == (0, 0, 1, 0)
    sealing, refused.edition = draft("2025-04", date(2025, 4, 1), seals={"B1-77": 12}), "2025-04"
    for months, told in ((12, (1, 0, 0, 0)), (13, (0, 0, 1, 0))):
        table = draft(seals={"B1-77": months})
        assert counts(replay_entries([refused], table, DIRECTORY, known=Editions([sealing]))) == told
        assert counts(replay([refused], table, DIRECTORY)) == (0, 0, 1, 0), "of an edition that is not known nothing is"
    (change,) = replay([refused], draft(rows={"B1-77": None}), DIRECTORY).different
    assert change.would_be == errors.ERROR_REASON_PURPOSE_UNKNOWN


def test_whether_nobody_was_looked_for_under_a_seal_is_not_guessed() -> None:
    sealing = draft("2025-04", date(2025, 4, 1), seals={"B1-77": 12})
    silent = entry(result=ledger.RESULT_NO_SINGLE_MATCH, fields=[], edition="2025-04")
    told = entry(edition="2025-04", person_token=bytes(32))

    def under(table: StatuteTable, *known: StatuteTable) -> tuple[int, int, int, int]:
        return counts(replay_entries([silent, told], table, DIRECTORY, known=Editions(known)))

    assert under(draft(seals={"B1-77": 11}), sealing) == (1, 0, 1, 0)
    assert under(draft(seals={"B1-77": 12}), sealing) == (2, 0, 0, 0)
    assert under(draft(seals={"B1-77": 12})) == (1, 0, 1, 0), "of an edition that is not known nothing is"
    silent.edition = OWN.edition
    assert under(draft(), sealing, OWN) == (2, 0, 0, 0), "the program's own lets nothing be sealed"


def test_editions_that_the_ledger_names_and_nobody_gave_are_told() -> None:
    approved = ledger.Entry(
        version=3, action=ledger.ACTION_APPROVE_EDITION, result=ledger.RESULT_DONE, edition="2025-10"
    )
    proposed = ledger.Entry(
        version=3, action=ledger.ACTION_PROPOSE_EDITION, result=ledger.RESULT_DONE, edition="2025-11"
    )
    found = replay([approved, proposed, entry(edition="2025-04"), entry()], SMALL, DIRECTORY)
    assert found.unknown_editions == {"2025-04", "2025-10"}


def test_a_given_edition_that_is_not_the_one_that_was_approved_is_refused() -> None:
    table = draft("2025-04", date(2025, 4, 1))
    approved = ledger.Entry(
        version=3, action=ledger.ACTION_APPROVE_EDITION, result=ledger.RESULT_DONE, edition="2025-04",
        edition_digest=table.digest,
    )  # fmt: skip
    assert counts(replay([approved], table, DIRECTORY)) == (0, 0, 0, 1)
    approved.edition_digest = bytes(32)
    with pytest.raises(StatuteTableError, match="2025-04"):
        replay([approved], table, DIRECTORY)


def test_a_listing_that_ended_since_and_a_draft_of_the_future_change_nothing() -> None:
    future = draft("2030-04", date(2030, 4, 1), rows={"B1-77": {"valid_from": "2030-04-01"}})
    assert counts(replay([entry()], future, DIRECTORY)) == (1, 0, 0, 0)


def test_an_agency_that_the_directory_does_not_list_cannot_be_known() -> None:
    assert counts(replay([entry()], draft(), {})) == (0, 0, 1, 0)


@given(
    st.sampled_from(["B1-77", "B1-72", "B1-30", "B1-999"]),
    st.sampled_from([ITEMS, NUMBER]),
    st.lists(st.integers(1, 7), unique=True).map(sorted),
    st.sampled_from([2, 3]),
)
@settings(max_examples=20)
def test_under_its_own_edition_no_question_comes_out_differently(
    purpose: str, method: Any, wanted: Any, version: int
) -> None:
    decision = POLICY.decide(Question(PENSION.spiffe_id, purpose, date(2026, 2, 1), method, wanted))
    result = ledger.RESULT_PROVIDED if decision.allowed else ledger.RESULT_REFUSED
    asked = entry(
        version=version, purpose=purpose, method=method, wanted=wanted, result=result, refusal=decision.refusal,
        fields=wanted if decision.allowed else [],
    )  # fmt: skip
    assert counts(replay([asked], SMALL, DIRECTORY)) == (1, 0, 0, 0)
    in_layout_1 = old(
        purpose=purpose, result=result, refusal=decision.refusal, fields=wanted if decision.allowed else []
    )
    assert counts(replay([in_layout_1], SMALL, DIRECTORY))[1] == 0
