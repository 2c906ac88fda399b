"""The steps of residents' requests: no other order, no shorter way, no step after the answer, and terms in days."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.disclosure.v1 import disclosure_pb2 as disclosure
from jukinet.disclosure import request_store
from jukinet.disclosure.request import (
    ANSWERED,
    BY_LETTER,
    CLOSED,
    CORRECTION,
    EXTENDED,
    INVESTIGATED,
    RECEIVED,
    RECORD,
    Request,
    answer_correction,
    close,
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

REASONS = disclosure.CloseReason.values()[1:]
WITHDRAWN = disclosure.CLOSE_REASON_WITHDRAWN

steps = st.lists(
    st.tuples(
        st.sampled_from(["extend", "disclose", "investigate", "answer", "withdraw", *REASONS]),
        st.integers(0, 20),
        st.integers(-2, 40),
    ),
    max_size=8,
)


def taken(kind: Any = RECORD, number: str = NUMBERS[0], day: date = DAY) -> Request:
    return receive(number, kind, counter=COUNTER, subject=SUBJECT, day=day)


def step(request: Request, name: Any, day: date, longer: int) -> Request:
    match name:
        case "extend":
            return extend(request, day=day, due_on=request.due_on + timedelta(days=longer))
        case "disclose":
            return disclose(request, day=day, check_id=NUMBERS[1])
        case "investigate":
            return investigate(request)
        case "answer":
            return answer_correction(request, day=day)
        case "withdraw":
            return close(request, day=day, reason=WITHDRAWN, check_id=NUMBERS[1])
        case reason:
            return close(request, day=day, reason=reason)


def test_a_term_is_thirty_days_and_the_first_one_does_not_count() -> None:
    assert taken().due_on == date(2026, 12, 27)
    assert not taken().is_overdue(date(2026, 12, 27))
    assert taken().is_overdue(date(2026, 12, 28))


@given(st.sampled_from([RECORD, CORRECTION]), steps)
def test_whatever_is_attempted_in_any_order_the_rules_hold(kind: Any, attempts: list[tuple[Any, int, int]]) -> None:
    request, day, history = taken(kind), DAY, [RECEIVED]
    for name, later, longer in attempts:
        day += timedelta(days=later)
        before = request
        try:
            request = step(request, name, day, longer)
        except Refused:
            continue
        if request == before:  # the same check was told again
            assert (name, request.state) in (("disclose", ANSWERED), ("withdraw", CLOSED))
            assert request.ended_by == NUMBERS[1]
            continue
        history.append(request.state)
        assert before.state not in (ANSWERED, CLOSED)
        assert (request.request_id, request.counter, request.subject) == (NUMBERS[0], COUNTER, SUBJECT)
        assert request.received_on == DAY
        if name == "extend":
            assert day <= before.due_on < request.due_on
        else:
            assert request.due_on == before.due_on
        assert (request.ended_on == day) == (request.state in (ANSWERED, CLOSED))
        assert request.closed_as == (name if name in REASONS else WITHDRAWN if name == "withdraw" else 0)
    if kind == RECORD:
        assert set(history[1:]) <= {EXTENDED, ANSWERED, CLOSED}
    else:
        way = history[:-1] if history[-1] == CLOSED else history
        assert way == [RECEIVED, INVESTIGATED, ANSWERED][: len(way)]
        assert request.closed_as != BY_LETTER
        assert request.due_on == DAY + timedelta(days=30)
    assert history.count(ANSWERED) + history.count(CLOSED) == (request.ended_on is not None)
    assert request.is_overdue(date.max) == (request.ended_on is None)


@pytest.mark.parametrize("kind", [RECORD, CORRECTION])
@pytest.mark.parametrize("reason", REASONS)
def test_what_is_open_can_be_closed_for_any_reason_that_it_can_have_and_is_overdue_no_more(
    kind: Any, reason: Any
) -> None:
    late = DAY + timedelta(days=31)
    ways = [taken(kind), extend(taken(), day=DAY, due_on=late) if kind == RECORD else investigate(taken(kind))]
    for request in ways:
        if (kind, reason) == (CORRECTION, BY_LETTER):
            with pytest.raises(Refused, match="DISCLOSURE_STEP"):
                close(request, day=late, reason=reason)
            continue
        ended = close(request, day=late, reason=reason)
        assert request.is_overdue(date.max)
        assert not ended.is_overdue(date.max)
        status = ended.status(late)
        assert (status.state, status.close_reason) == (CLOSED, reason)
        assert (status.closed_on, status.answered_on, status.overdue) == (f"{late}", "", False)


def test_a_correction_follows_what_was_disclosed() -> None:
    with pytest.raises(Refused):
        require_disclosed(taken())
    with pytest.raises(Refused):
        require_disclosed(taken(CORRECTION))
    require_disclosed(disclose(taken(), day=DAY, check_id=NUMBERS[1]))
    require_disclosed(close(taken(), day=DAY, reason=BY_LETTER))
    for reason in set(REASONS) - {BY_LETTER}:
        with pytest.raises(Refused):
            require_disclosed(close(taken(), day=DAY, reason=reason))


def test_a_check_that_withdrew_a_request_discloses_nothing() -> None:
    withdrawn = close(taken(), day=DAY, reason=WITHDRAWN, check_id=NUMBERS[1])
    with pytest.raises(Refused, match="DISCLOSURE_STEP"):
        disclose(withdrawn, day=DAY, check_id=NUMBERS[1])
    for ended in (withdrawn, close(taken(), day=DAY, reason=WITHDRAWN), close(taken(), day=DAY, reason=BY_LETTER)):
        with pytest.raises(Refused, match="DISCLOSURE_STEP"):
            disclose(ended, day=DAY, check_id="")


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
    withdrawn, died = taken(number=NUMBERS[5]), taken(CORRECTION, NUMBERS[6])
    for each in (record, correction, late, withdrawn, died):
        await node.writer.run(lambda connection, each=each: request_store.take(connection, each, document="7-1"))
    record = await keep(extend(record, day=DAY, due_on=date(2027, 1, 31)), Step(DAY, 1, "7-2"))
    record = await keep(disclose(record, day=DAY, check_id=NUMBERS[1]), Step(DAY, check_id=NUMBERS[1]))
    correction = await keep(investigate(correction), Step(DAY))
    withdrawn = close(withdrawn, day=DAY, reason=WITHDRAWN, check_id=NUMBERS[7])
    withdrawn = await keep(withdrawn, Step(DAY, WITHDRAWN, check_id=NUMBERS[7]))
    dead = disclosure.CLOSE_REASON_DECEASED
    died = await keep(close(died, day=DAY, reason=dead), Step(DAY, dead, "7-3"))
    with node.reader.connect() as connection:
        for each in (record, correction, late, withdrawn, died):
            assert request_store.find(connection, each.request_id) == each
        assert request_store.find(connection, NUMBERS[8]) is None
        assert request_store.of_counter(connection, COUNTER) == [late, record, correction, withdrawn, died]
        assert request_store.of_counter(connection, OTHER) == []
        assert request_store.count_open(connection, DAY) == (2, 1)
        assert request_store.count_open(connection, date(2027, 6, 1)) == (2, 2)
    again = await node.writer.run(lambda connection: request_store.take(connection, taken(), document="7-1"))
    assert again == record
    other_resident = taken()._replace(subject=b"\x02" * 32)
    step_of_another = taken(number=NUMBERS[7])
    for used, document in ((taken(), "7-9"), (other_resident, "7-1"), (step_of_another, "7-1")):
        with pytest.raises(Refused, match="IDENTITY_CHECK_INVALID"):
            await node.writer.run(
                lambda connection, used=used, document=document: request_store.take(connection, used, document=document)
            )
    for statement in ("DELETE FROM requests", "UPDATE request_steps SET state = 4"):
        with pytest.raises(Exception, match="append-only"), node.engine.begin() as connection:
            connection.exec_driver_sql(statement)
