"""Later changes say how fresh their source is, and that nothing is missing only where the center knows it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import func, select

from center_node import changes as center_changes
from center_node.completeness import Completeness
from center_node.freshness import BEHIND_US
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate
from jukinet._pb.jukinet.watch.v1 import watch_pb2 as watch
from jukinet.ledger.verify.freshness import is_signed
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import BrokenMessage, check_message
from jukinet.mesh.identity import Identity
from jukinet.store.schema import history
from tests.agency_gateway.agencies import signed
from tests.agency_gateway.calls import called_by
from tests.agency_gateway.test_watch import CHIYODA, MOVED, PENSION, YOKOSUKA, House
from tests.agency_gateway.test_watch_waits import half_in, move_to, whole
from tests.damaged import flip_kept

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
LIST = "5f7d1c1e-0000-4000-8000-000000000001"
ORDER = watch.WatchOrder(list_id=LIST, handles=[b"1"], expires_on=CalendarDate(year=2027, month=1, day=1))


@pytest.fixture
async def house(network: Network, monkeypatch: pytest.MonkeyPatch) -> House:
    """An agency with a list of two residents."""
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(center_changes, "_LOOK_SECONDS", 0.0)
    network.enter(*map(network.record_of, (1, 2)))
    house = House(network)
    await house.begin(await house.handle(1), await house.handle(2))
    return house


async def hear(house: House) -> watch.WatchChangesResponse:
    """The next answer that says anything while the center looks its history through."""
    answer = await hear_once(house, looks=True)
    while not (answer.changes or answer.HasField("freshness")):  # on a slow machine it is not the first
        answer = await hear_once(house, looks=True)
    return answer


async def hear_once(house: House, *, looks: bool) -> watch.WatchChangesResponse:
    """The next answer, while the center looks its history through, or does not."""
    request = watch.WatchChangesRequest(context=house.network.context(), place=watch.WatchPlace(list_id=house.list_id))

    async def requests() -> AsyncIterator[watch.WatchChangesRequest]:
        yield signed(request)

    looking = asyncio.ensure_future(house.network.changes.run()) if looks else asyncio.Future()
    with called_by(Identity("agency", PENSION)):
        (answer,) = [each async for each in house.network.watch.WatchChanges(requests(), None)]
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await house.network.register_writer.run(lambda _: None)  # behind a look that was under way
    heard: watch.WatchChangesResponse = answer
    return heard


async def test_a_change_says_how_fresh_the_municipality_is_that_reported_it(house: House) -> None:
    at = house.network.complete[CHIYODA] = now_us() - 2 * BEHIND_US
    house.network.sources._said.clear()
    house.report(1, block="2番")
    move_to(house, 2, YOKOSUKA)
    answer = await hear(house)
    assert not answer.HasField("freshness"), "more may wait"
    said = [change.freshness for change in answer.changes]
    assert [each.municipality for each in said] == [CHIYODA, CHIYODA, YOKOSUKA]
    assert (said[0].state, said[0].complete_as_of.ToMicroseconds()) == (inquiry.SOURCE_STATE_BEHIND, at)
    assert said[2].state == inquiry.SOURCE_STATE_CONNECTED
    assert all(is_signed(each, house.network.freshness_key.public_key()) for each in said)


async def test_where_nothing_is_told_it_is_said_up_to_when_nothing_is_missing_and_of_no_municipality(
    house: House,
) -> None:
    at = house.network.complete[CHIYODA] = now_us() - 2 * BEHIND_US
    house.network.sources._said.clear()
    answer = await hear(house)
    assert not answer.changes
    assert answer.freshness.complete_as_of.ToMicroseconds() == at
    assert (answer.freshness.state, answer.freshness.municipality) == (inquiry.SOURCE_STATE_BEHIND, "")
    assert is_signed(answer.freshness, house.network.freshness_key.public_key())


async def test_while_a_municipality_never_joined_it_is_not_known_that_nothing_is_missing(house: House) -> None:
    house.network.sources._completeness._expected |= {YOKOSUKA}
    said = (await hear(house)).freshness
    assert not said.HasField("complete_as_of")
    assert (said.state, said.HasField("said_at")) == (inquiry.SOURCE_STATE_BEHIND, True)


async def test_silence_in_front_of_a_municipality_that_is_half_in_is_the_same_whether_a_list_waits_or_not(
    house: House,
) -> None:
    other = House(house.network)
    await other.begin(await other.handle(2))
    house.report(1, block="2番")
    half_in(house.network, CHIYODA)
    house.network.sources._completeness.read_at = 0
    waits, rests = await hear(house), await hear(other)
    assert (list(waits.changes), list(rests.changes)) == ([], [])
    assert [(each.freshness.state, each.freshness.HasField("complete_as_of")) for each in (waits, rests)] == [
        (inquiry.SOURCE_STATE_BEHIND, False)
    ] * 2
    whole(house.network, CHIYODA)
    assert len((await hear(house)).changes) == 1


async def test_what_was_not_looked_through_is_not_called_complete(house: House) -> None:
    assert (await hear(house)).HasField("freshness")
    record = house.network.record_of(1)
    record.address.block = "8番"
    day = CalendarDate(year=2026, month=5, day=1)
    house.network.change(change_pb2.Change(reason=MOVED, event_date=day, record=record, version=2))
    answer = await hear_once(house, looks=False)
    assert (list(answer.changes), answer.HasField("freshness")) == ([], False)
    (change,) = (await hear(house)).changes
    assert change.provided.record.address.block == "8番"


async def test_what_a_damaged_change_keeps_back_is_not_called_complete(house: House) -> None:
    house.network.enter(house.network.record_of(3))
    record = house.network.record_of(2)
    record.address.block = "8番"
    day = CalendarDate(year=2026, month=5, day=1)
    house.network.change(change_pb2.Change(reason=MOVED, event_date=day, record=record, version=2))
    with house.network.register.begin() as connection:
        last = connection.execute(select(func.max(history.c.position))).scalar_one()
    flip_kept(house.network.register, last, "change")
    looking: list[asyncio.Future[None]] = []

    def complete_as_of(_: str) -> int:
        """Looks first begin when the center has just found out up to when all is here."""
        if not looking:
            looking.append(asyncio.ensure_future(house.network.changes.run()))
        return now_us()

    house.network.sources._completeness = Completeness(expected=[CHIYODA], complete_as_of=complete_as_of)
    answer = await hear_once(house, looks=False)
    looking[0].cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    await house.network.register_writer.run(lambda _: None)  # behind a look that was under way
    assert (list(answer.changes), answer.HasField("freshness")) == ([], False)
    flip_kept(house.network.register, last, "change")
    (change,) = (await hear(house)).changes
    assert change.provided.record.address.block == "8番"


@pytest.mark.parametrize(
    "request_of",
    [
        lambda context: watch.WatchChangesRequest(context=context, place=watch.WatchPlace(list_id=LIST)),
        lambda context: watch.EndWatchRequest(context=context, list_id=LIST),
        lambda context: watch.WatchRequest(context=context, order=ORDER, fields=[inquiry.IDENTITY_FIELD_NAME]),
        lambda context: recall.TellRecallsRequest(context=context),
    ],
)
def test_a_maximum_age_is_refused_where_nobody_is_asked_about(network: Network, request_of: Any) -> None:
    request: Message = signed(request_of(network.context()))
    check_message(request)
    with pytest.raises(BrokenMessage) as caught:
        check_message(signed(request_of(network.context(maximum_age_seconds=60))))
    assert caught.value.reason == errors.ERROR_REASON_INVALID_MESSAGE
    (broken,) = caught.value.violations
    assert (broken.field, broken.rule) == ("context", "context.maximum_age_is_of_questions_alone")
