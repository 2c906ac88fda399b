"""What was done about a sealed answer that proved wrong is in no ledger before the day on which the answer opens."""

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from agency_gateway import held_back, recall_store, recalls, record
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet.ledger.layout import decode
from jukinet.ledger.verify.layout import read_entry
from jukinet.mesh.clock import JAPAN
from jukinet.mesh.errors import Refused
from tests.agency_gateway.agencies import PENSION
from tests.agency_gateway.office import Office
from tests.agency_gateway.test_seals import later
from tests.purpose.drafts import draft

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
ADDRESS = inquiry.IDENTITY_FIELD_ADDRESS
NOTED, KNOWN = ledger.ACTION_RECALL, ledger.ACTION_ACKNOWLEDGE_RECALL
UNTIL = later(6)
MIDNIGHT = datetime.combine(date.fromisoformat(UNTIL), time(), JAPAN)


@pytest.fixture(autouse=True)
def sealed(network: Network) -> None:
    """Answers for the pension service may be sealed."""
    network.desk._policy.adopt(draft("2020-01", date(2020, 1, 1), seals={"B1-77": 12}))


def waiting(network: Network) -> int:
    with network.ledger_reader.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(held_back.held_back)).scalar_one())


async def look_at(office: Office, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the gateway look at a moment."""
    with monkeypatch.context() as patch:
        patch.setattr(recalls, "now", lambda: moment)
        await office.look()


@pytest.mark.parametrize("question", ["single", "batch", "yes"])
async def test_whose_record_is_corrected_sees_in_the_ledger_what_it_held_without_a_sealed_answer(
    office: Office, question: str
) -> None:
    network = office.network
    if question == "single":
        await office.ask(sealed_until=UNTIL)
    elif question == "batch":
        await network.inquire_batch(network.batch_of(1, sealed_until=UNTIL))
    else:
        await network.verify(network.four_items(office.records[1]), sealed_until=UNTIL)
    (answer,) = before = network.entries()
    office.report(1, block="9番9号", name="試験花代")
    await office.look()
    (told,) = await office.told()
    assert (told.request_id, told.answer_index) == (ledger.Entry.FromString(answer).request_id, 0)
    listed = await network.recall.ListUnacknowledged(recall.ListUnacknowledgedRequest(), None)
    assert [(each.agency, each.recalls) for each in listed.unacknowledged] == [(PENSION.uri, 1)]
    assert await office.told(told.place) == []
    assert network.entries() == before, "neither the recall nor its acknowledgement shows"
    assert waiting(network) == 2


async def test_an_open_recall_and_one_acknowledgement_of_both_show_the_open_answer_alone(office: Office) -> None:
    network = office.network
    await office.ask(sealed_until=UNTIL)
    asked = await office.ask()
    await office.ask(sealed_until=UNTIL)
    carried_out, carry_out = [], network.record.carry_out

    async def see(entry: ledger.Entry, act: Any, *, until: str = "") -> None:
        carried_out.append((entry.action, until))
        await carry_out(entry, act, until=until)

    network.record.carry_out = see
    office.report(1, block="9番9号")
    await office.look()
    office.report(1, name="試験花代")
    await office.look()
    told = await office.told()
    assert [each.request_id == asked for each in told] == [True, False, False] * 2
    assert await office.told(told[-1].place) == []
    entries = network.leaves()[3:]
    assert [(entry.action, entry.sealed_until) for entry in entries] == [(NOTED, "")] * 2 + [(KNOWN, "")] * 2
    noted, known = carried_out[:6], carried_out[6:]
    assert noted == [(NOTED, until) for until in ("", UNTIL, UNTIL)] * 2
    assert known == [(KNOWN, until) for until in ("", "", UNTIL, UNTIL, UNTIL, UNTIL)], "no pause between open ones"


async def test_from_its_day_on_it_is_on_record_once_with_who_acknowledged(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = office.network
    for until in (UNTIL, later(7)):
        await office.ask(sealed_until=until)
    office.report(1, block="9番9号")
    await office.look()
    *_, last = await office.told()
    await office.told(last.place)
    await look_at(office, MIDNIGHT - timedelta(seconds=1), monkeypatch)
    assert len(network.leaves()) == 2
    network.recalls = network.recall._recalls = network.new_recalls()  # as at a start
    for _ in range(2):
        await look_at(office, MIDNIGHT, monkeypatch)
    answer, _later, noted, known = network.leaves()
    assert [entry.action for entry in (noted, known)] == [NOTED, KNOWN]
    for entry in (noted, known):
        assert entry.time.ToDatetime(JAPAN) == MIDNIGHT
        assert (entry.agency, entry.purpose, entry.sealed_until) == (answer.agency, answer.purpose, UNTIL)
    assert known.operator_pseudonym == answer.operator_pseudonym
    assert (bool(noted.operator_proof), bool(known.operator_proof)) == (False, True)
    for leaf in network.entries():
        assert decode(leaf) == read_entry(leaf)
    assert waiting(network) == 2, "what is sealed for longer waits on"


async def test_what_is_done_after_its_day_is_on_record_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.ask(sealed_until=UNTIL)
    office.report(1, block="9番9号")
    monkeypatch.setattr(record, "today_in_japan", lambda: date.fromisoformat(UNTIL))
    await office.look()
    (told,) = await office.told()
    await office.told(told.place)
    done = office.network.leaves()[1:]
    assert [(entry.action, entry.sealed_until) for entry in done] == [(NOTED, ""), (KNOWN, "")]
    assert waiting(office.network) == 0


async def test_it_waits_once_whatever_is_found_again_and_not_while_the_ledger_is_closed(office: Office) -> None:
    network = office.network
    await office.ask(sealed_until=UNTIL)
    office.report(1, block="9番9号")
    is_open, network.record._is_open = network.record._is_open, lambda: False
    with pytest.raises(Refused, match="LEDGER_UNAVAILABLE"):
        await office.look()
    network.record._is_open = is_open
    assert (waiting(network), await office.told()) == (0, [])
    for _ in range(2):
        with network.ledger_engine.begin() as connection:
            recall_store.write_place(connection, recall_store.Place())
        await office.look()
    assert (waiting(network), len(await office.told())) == (1, 1)


async def test_who_ends_before_it_hears_that_it_is_on_record_puts_nothing_on_record_twice(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = office.network
    await office.ask(sealed_until=UNTIL)
    office.report(1, block="9番9号")
    await office.look()
    carry_out = network.record.carry_out

    async def end(entry: ledger.Entry, act: Any, **more: Any) -> None:
        for _ in range(2):  # who saw no answer, and takes the step that was there
            await carry_out(entry, act, **more)
        raise Refused(errors.ERROR_REASON_LEDGER_UNAVAILABLE)

    with monkeypatch.context() as patch:
        patch.setattr(network.record, "carry_out", end)
        with pytest.raises(Refused):
            await look_at(office, MIDNIGHT, monkeypatch)
    await look_at(office, MIDNIGHT, monkeypatch)
    assert [entry.action for entry in network.leaves()] == [ledger.ACTION_INQUIRE, NOTED]
