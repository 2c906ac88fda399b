"""Recall marks: each is found again in every month, and tells one thing from no other."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jukinet.purpose.recall import RecallMarks

MARKS = RecallMarks(bytes(range(32)))
CODE = "00000000011"
MOMENTS = st.integers(0, 6 * 366 * 24).map(lambda hours: datetime(2021, 1, 1, tzinfo=UTC) + timedelta(hours=hours))


@given(moments=st.lists(MOMENTS, min_size=4, max_size=4).map(sorted), sealed=st.booleans())
def test_an_answer_from_first_to_last_is_among_all_marks_of_its_version(moments: list[datetime], sealed: bool) -> None:
    first, answered, last, now = moments
    found = dict(MARKS.all_of(CODE, 3, first=first, last=last, now=now))
    mark = MARKS.of_answers(answered, sealed=sealed)(CODE, 3)
    assert mark in found
    assert MARKS.of_change(CODE, 3) in found


def test_an_answer_that_is_under_way_is_said_to_be_possible() -> None:
    first, now = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    found = dict(MARKS.all_of(CODE, 3, first=first, last=now, now=now))
    for moment, recent in ((now, True), (datetime(2026, 3, 31, 23, tzinfo=UTC), True), (first, False)):
        assert found[MARKS.of_answers(moment, sealed=False)(CODE, 3)] is recent
    assert found[MARKS.of_change(CODE, 3)]


def test_an_answer_that_was_under_way_at_the_end_of_a_month_is_found_in_the_next() -> None:
    replaced, answered = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    found = dict(MARKS.all_of(CODE, 3, first=replaced, last=replaced, now=datetime(2026, 9, 1, tzinfo=UTC)))
    assert MARKS.of_answers(answered, sealed=False)(CODE, 3) in found
    assert MARKS.of_answers(datetime(2026, 5, 1, tzinfo=UTC), sealed=False)(CODE, 3) not in found


def test_no_two_persons_versions_months_seals_kinds_or_keys_have_one_mark() -> None:
    april, may = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    made = [
        marks.of_answers(moment, sealed=sealed)(code, version)
        for marks in (MARKS, RecallMarks(bytes(32)))
        for code in (CODE, "00000000028")
        for version in (1, 10)
        for moment in (april, may)
        for sealed in (False, True)
    ]
    made += [MARKS.of_change(CODE, version) for version in (1, 10)]
    assert len(set(made)) == len(made)
    assert {len(mark) for mark in made} == {32}
