"""What an edition takes away from a list of later changes is refused, and never passed over under "complete"."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import func, select

from center_node import changes as center_changes
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.errors import Refused
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.statute import StatuteTable
from jukinet.store import watches
from jukinet.store.watch_schema import watched as watched_rows
from tests.agency_gateway.agencies import BANK, MAYOR
from tests.agency_gateway.residents import synthetic_number
from tests.agency_gateway.test_watch import House, refusal
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
NUMBER = inquiry.INQUIRY_METHOD_INDIVIDUAL_NUMBER
WITHOUT_NUMBER = draft("2020-01", date(2020, 1, 1), rows={"B1-77": {"individual_number": "no"}})
WITHOUT_CHANGES = draft("2020-01", date(2020, 1, 1), rows={"B1-77": {"provisions": "immediate batch"}})
OF_ANOTHER_ROW = draft("2020-01", date(2020, 1, 1), rows={"B1-41": None})
"""The row of the list stays as it is."""
WITHOUT_ROW = draft("2020-01", date(2020, 1, 1), rows={"B1-77": None})


@pytest.fixture
def house(network: Network, monkeypatch: pytest.MonkeyPatch) -> House:
    """Three residents are here, all was looked through, and nobody waits for a change."""
    monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)
    network.changes._looked_through = float("inf")
    network.enter(*map(network.record_of, (1, 2, 3)))
    return House(network)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Lets something happen while a question for changes waits, which then waits no more."""

    def happen(what: Callable[[], None]) -> None:
        async def wait(came: asyncio.Event, seconds: float) -> None:
            what()
            monkeypatch.setattr(center_changes, "WAIT_SECONDS", 0.0)

        monkeypatch.setattr(center_changes, "WAIT_SECONDS", 30.0)
        monkeypatch.setattr(center_changes, "_wait", wait)

    return happen


def another_policy(network: Network, table: StatuteTable) -> PurposePolicy:
    """That of a node which has one more edition than the others."""
    policy: PurposePolicy = network.desk._policy
    return PurposePolicy(policy.editions + table, network.directory)


def adopt(node: str, network: Network, table: StatuteTable) -> None:
    """Lets one more edition decide at the center alone, or at the gateway alone."""
    service = {"center": network.changes, "gateway": network.desk}[node]
    service._policy = another_policy(network, table)


def watched(house: House) -> int:
    """How many persons are on lists."""
    with house.network.register.connect() as connection:
        found: int = connection.execute(select(func.count()).select_from(watched_rows)).scalar_one()
    return found


async def by_number(house: House, number: int) -> bytes:
    return await house.handle(number, subject=inquiry.Subject(individual_number=synthetic_number(number)))


async def test_of_who_was_named_by_number_all_is_told_after_an_edition_without_the_number(house: House) -> None:
    begun = await house.begin(await by_number(house, 1), await house.handle(2))
    house.network.desk._policy.adopt(WITHOUT_NUMBER)
    house.report(1, block="8番")
    house.report(2, block="7番")
    told = await house.changes()
    assert [change.number for change in told] == list(begun.numbers)
    entries = [entry for entry in house.network.leaves() if entry.action == ledger.ACTION_TELL_CHANGE]
    assert [entry.method for entry in entries] == [NUMBER, inquiry.INQUIRY_METHOD_FOUR_ITEMS]
    assert {entry.edition for entry in entries} == {WITHOUT_NUMBER.edition}


async def test_who_was_named_by_number_comes_on_no_list_after_an_edition_without_the_number(house: House) -> None:
    handle = await by_number(house, 1)
    house.network.desk._policy.adopt(WITHOUT_NUMBER)
    assert await refusal(house.begin(handle)) == errors.ERROR_REASON_METHOD_NOT_ALLOWED


async def test_a_handle_by_number_is_refused_where_the_list_is_told_further(house: House) -> None:
    late = await by_number(house, 1)
    await house.begin(await house.handle(2))
    house.report(1, block="7番")
    house.report(2, block="8番")
    await house.changes()
    assert await refusal(house.begin(late)) == errors.ERROR_REASON_HANDLE_INVALID


async def test_a_list_with_the_number_among_its_items_is_refused_by_an_edition_without_it(house: House) -> None:
    await house.begin(await house.handle(1), fields=[inquiry.IDENTITY_FIELD_INDIVIDUAL_NUMBER])
    house.network.desk._policy.adopt(WITHOUT_NUMBER)
    house.report(1, block="8番")
    for _ in range(2):
        assert await refusal(house.changes()) == errors.ERROR_REASON_FIELD_NOT_ALLOWED
        assert house.network.leaves()[-1].refusal == errors.ERROR_REASON_FIELD_NOT_ALLOWED


@pytest.mark.parametrize("node", ["center", "gateway"])
@pytest.mark.parametrize("is_changed", [True, False], ids=["a change", "silence"])
async def test_what_an_edition_closes_while_the_agency_waits_is_refused(
    house: House, meanwhile: Any, node: str, is_changed: bool
) -> None:
    await house.begin(await house.handle(1))

    def close() -> None:
        adopt(node, house.network, WITHOUT_CHANGES)
        if is_changed:
            house.report(1, block="8番")

    meanwhile(close)
    assert await refusal(house.changes()) == errors.ERROR_REASON_PROVISION_NOT_ALLOWED
    (entry,) = [entry for entry in house.network.leaves() if entry.action == ledger.ACTION_TELL_CHANGE]
    assert entry.refusal == errors.ERROR_REASON_PROVISION_NOT_ALLOWED


@pytest.mark.parametrize("table", [WITHOUT_CHANGES, WITHOUT_ROW], ids=["without changes", "without the row"])
async def test_a_list_that_an_edition_closes_is_ended_by_its_agency_on_record(
    house: House, table: StatuteTable
) -> None:
    await house.begin(await house.handle(1))
    house.network.desk._policy.adopt(table)
    assert await refusal(house.changes()) in (
        errors.ERROR_REASON_PROVISION_NOT_ALLOWED,
        errors.ERROR_REASON_PURPOSE_UNKNOWN,
    )
    ended = await house.end()
    entry = house.network.leaves()[-1]
    assert (entry.action, entry.result, entry.edition) == (ledger.ACTION_END_WATCH, ledger.RESULT_DONE, table.edition)
    assert entry.request_id == ended.request_id
    assert watched(house) == 0


async def test_who_is_banned_or_not_listed_ends_no_list_that_an_edition_closes(house: House) -> None:
    await house.begin(await house.handle(1))
    house.network.desk._policy.adopt(WITHOUT_ROW)
    assert await refusal(house.end("unlisted")) == errors.ERROR_REASON_AGENCY_UNKNOWN
    assert await refusal(house.end(BANK.name)) == errors.ERROR_REASON_PRIVATE_SECTOR_BANNED
    assert watched(house) == 1


@pytest.mark.parametrize("closed", [False, True])
async def test_another_listed_agency_ends_no_list_but_its_own(house: House, closed: bool) -> None:
    await house.begin(await house.handle(1))
    if closed:
        house.network.desk._policy.adopt(WITHOUT_ROW)
    assert await refusal(house.end(MAYOR.name)) == errors.ERROR_REASON_WATCH_UNKNOWN
    entry = house.network.leaves()[-1]
    assert (entry.agency, entry.refusal) == (MAYOR.uri, errors.ERROR_REASON_WATCH_UNKNOWN)
    assert watched(house) == 1
    await house.end()
    assert watched(house) == 0


async def test_the_center_ends_no_list_of_an_agency_that_it_does_not_list(house: House) -> None:
    await house.begin(await house.handle(1))
    house.network.changes._policy = PurposePolicy(house.network.desk._policy.editions, {})
    with pytest.raises(Refused):
        await house.end()
    assert watched(house) == 1


async def test_after_the_wait_no_change_is_told_by_another_edition_than_that_of_the_ticket_and_none_is_lost(
    house: House, meanwhile: Any
) -> None:
    await house.begin(await house.handle(1))

    def change() -> None:
        adopt("center", house.network, OF_ANOTHER_ROW)
        house.report(1, block="8番")

    meanwhile(change)
    assert await refusal(house.changes()) == errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    adopt("gateway", house.network, OF_ANOTHER_ROW)
    (told,) = await house.changes()
    assert told.provided.record.address.block == "8番"


async def test_a_list_that_ended_while_the_agency_waits_is_not_called_complete(house: House, meanwhile: Any) -> None:
    await house.begin(await house.handle(1))

    def end() -> None:
        with house.network.register.begin() as connection:
            watches.end_lists(connection, [house.list_id])

    meanwhile(end)
    assert await refusal(house.changes()) == errors.ERROR_REASON_WATCH_UNKNOWN
