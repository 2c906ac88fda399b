"""The steps of residents' requests: no other order, no shorter way, no step after the answer, and terms in days."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet.disclosure import request_store
from jukinet.disclosure.request import (
    ANSWERED,
    CORRECTION,
    EXTENDED,
    INVESTIGATED,
    RECEIVED,
    RECORD,
    Request,
    answer_correction,
    disclose,
    extend,
    investigate,
    receive,
    require_disclosed,
    require_of,
)
from jukinet.disclosure.request_store import Step
from jukinet.mesh.errors import Refused

Node = Any  # the fixture's own class lives in conftest.py
DAY = date(2026, 11, 27)
COUNTER, OTHER = "spiffe://nodes.jukinet/counter/131016", "spiffe://nodes.jukinet/counter/portal"
SUBJECT = b"\x01" * 32
NUMBERS = [f"00000000-0000-4000-8000-{number:012}" for number in range(9)]

steps = st.lists(
    st.tuples(
        st.sampled_from(["extend", "disclose", "investigate", "answer"]), st.integers(0, 20), st.integers(-2, 40)
    ),
    max_size=8,
)


def taken(kind: Any = RECORD, number: str = NUMBERS[0], day: date = DAY) -> Request:
    return receive(number, kind, counter=COUNTER, subject=SUBJECT, day=day)


def step(request: Request, name: str, day: date, longer: int) -> Request:
    match name:
        case "extend":
            return extend(request, day=day, due_on=request.due_on + timedelta(days=longer))
        case "disclose":
            return disclose(request, day=day, check_id=NUMBERS[1])
        case "investigate":
            return investigate(request)
        case _:
            return answer_correction(request, day=day)


def test_a_term_is_thirty_days_and_the_first_one_does_not_count() -> None:
    assert taken().due_on == date(2026, 12, 27)
    assert not taken().is_overdue(date(2026, 12, 27))
    assert taken().is_overdue(date(2026, 12, 28))


@given(st.sampled_from([RECORD, CORRECTION]), steps)
def test_whatever_is_attempted_in_any_order_the_rules_hold(kind: Any, attempts: list[tuple[str, int, int]]) -> None:
    request, day, history = taken(kind), DAY, [RECEIVED]
    for name, later, longer in attempts:
        day += timedelta(days=later)
        before = request
        try:
            request = step(request, name, day, longer)
        except Refused:
            continue
        if request == before:  # the same check was told again
            assert (name, request.answered_by) == ("disclose", NUMBERS[1])
            continue
        history.append(request.state)
        assert before.state != ANSWERED
        assert (request.request_id, request.counter, request.subject) == (NUMBERS[0], COUNTER, SUBJECT)
        assert request.received_on == DAY
        if name == "extend":
            assert day <= before.due_on < request.due_on
        else:
            assert request.due_on == before.due_on
        assert (request.answered_on == day) == (request.state == ANSWERED)
    if kind == RECORD:
        assert set(history[1:]) <= {EXTENDED, ANSWERED}
        assert history.count(ANSWERED) <= 1
    else:
        assert history == [RECEIVED, INVESTIGATED, ANSWERED][: len(history)]
        assert request.due_on == DAY + timedelta(days=30)
    assert not request.is_overdue(date.max) or request.state != ANSWERED


def test_a_correction_follows_what_was_disclosed() -> None:
    with pytest.raises(Refused):
        require_disclosed(taken())
    with pytest.raises(Refused):
        require_disclosed(taken(CORRECTION))
    require_disclosed(disclose(taken(), day=DAY, check_id=NUMBERS[1]))


def test_a_request_is_of_its_counter_and_its_resident() -> None:
    assert require_of(taken(), counter=COUNTER, subject=SUBJECT) == taken()
    assert require_of(taken(), counter=COUNTER) == taken()
    for found, counter, subject in ((taken(), OTHER, SUBJECT), (taken(), COUNTER, b"\x02" * 32), (None, COUNTER, None)):
        with pytest.raises(Refused, match="DISCLOSURE_STEP"):
            require_of(found, counter=counter, subject=subject)


async def test_a_request_is_read_back_as_its_steps_left_it(node_on_each: Node) -> None:
    node = node_on_each

    async def keep(request: Request, at: Step) -> Request:
        await node.writer.run(lambda connection: request_store.keep_step(connection, request, at))
        return request

    record, correction, late = taken(), taken(CORRECTION, NUMBERS[3]), taken(number=NUMBERS[4], day=date(2026, 1, 5))
    for each in (record, correction, late):
        await node.writer.run(lambda connection, each=each: request_store.take(connection, each, document="7-1"))
    record = await keep(extend(record, day=DAY, due_on=date(2027, 1, 31)), Step(DAY, 1, "7-2"))
    record = await keep(disclose(record, day=DAY, check_id=NUMBERS[1]), Step(DAY, check_id=NUMBERS[1]))
    correction = await keep(investigate(correction), Step(DAY))
    with node.reader.connect() as connection:
        for each in (record, correction, late):
            assert request_store.find(connection, each.request_id) == each
        assert request_store.find(connection, NUMBERS[8]) is None
        assert request_store.of_counter(connection, COUNTER) == [late, record, correction]
        assert request_store.of_counter(connection, OTHER) == []
        assert request_store.count_open(connection, DAY) == (2, 1)
        assert request_store.count_open(connection, date(2027, 6, 1)) == (2, 2)
    with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
        await node.writer.run(lambda connection: request_store.take(connection, taken()))
    for statement in ("DELETE FROM requests", "UPDATE request_steps SET state = 4"):
        with pytest.raises(Exception, match="append-only"), node.engine.begin() as connection:
            connection.exec_driver_sql(statement)
