"""A municipality that corrects what it recorded, and agencies that asked about it (旧値の回収)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.recall.v1 import recall_pb2 as recall
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate, IdentityRecord
from jukinet.mesh.clock import now
from tests.agency_gateway.agencies import PENSION, asking, signed
from tests.agency_gateway.calls import called_by

Network = Any  # the class is in network.py; tests put methods of their own into it, and no context into calls
EX_OFFICIO = change_pb2.CHANGE_REASON_CORRECTION_EX_OFFICIO

_Arriving = Callable[[], Awaitable[str]]


class Office:
    """A municipality that reports changes of residents, and agencies that ask for recalls."""

    def __init__(self, network: Network, *residents: int) -> None:
        self.network = network
        self.records = {number: network.record_of(number) for number in residents}
        self.versions = dict.fromkeys(self.records, 1)
        network.enter(*self.records.values())

    def report(self, number: int, reason: int = EX_OFFICIO, *, was_wrong: bool = True, **changed: Any) -> None:
        """One more change of a resident; `changed` are items of the record, or parts of its name or address."""
        parts = {name: changed.pop(name) for name in ("protected", "previous_resident_code") if name in changed}
        record = IdentityRecord()
        record.CopyFrom(self.records[number])
        record.address.block = changed.pop("block", record.address.block)
        record.address.building = changed.pop("building", record.address.building)
        record.name.legal = changed.pop("name", record.name.legal)
        record.name.furigana = changed.pop("reading", record.name.furigana)
        for item, value in changed.items():
            if isinstance(value, Message):
                getattr(record, item).CopyFrom(value)
            else:
                setattr(record, item, value)
        self.records[number] = record
        self.versions[number] += 1
        self.network.change(
            change_pb2.Change(
                reason=reason,  # type: ignore[arg-type]  # number of an enum
                event_date=CalendarDate(year=2026, month=5, day=1),
                record=record,
                version=self.versions[number],
                was_wrong=was_wrong,
                **parts,
            )
        )

    async def ask(self, number: int = 1, agency: str = PENSION.name, **changed: Any) -> str:
        """Asks about a resident as recorded now; gives the request id of the answer."""
        subject = inquiry.Subject(four_items=self.network.four_items(self.records[number]))
        answer = await self.network.inquire(agency, subject=subject, **changed)
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
        return str(answer.request_id)

    async def verify(self, number: int = 1) -> str:
        """Asks whether a resident is as recorded now (本人確認); gives the request id of the yes."""
        answer = await self.network.verify(self.network.four_items(self.records[number]))
        assert answer.outcome == inquiry.INQUIRY_OUTCOME_MATCH
        return str(answer.request_id)

    async def ask_slowly(self, number: int = 1, ask: Callable[[int], Awaitable[str]] | None = None) -> _Arriving:
        """Asks, for name and address by default; the center answers now, the gateway when what this gives is called."""
        answered, on, desk = asyncio.Event(), asyncio.Event(), self.network.desk
        keep = desk.keep

        async def keep_later(entries: Any) -> Any:
            desk.keep = keep
            answered.set()
            await on.wait()
            for each in entries:
                each.entry.time.FromDatetime(now())  # on a slow machine its first time may be too long ago by then
            return await keep(entries)

        desk.keep = keep_later
        asking = asyncio.ensure_future((ask or self.ask)(number))
        await answered.wait()

        async def arrive() -> str:
            on.set()
            return await asking

        return arrive

    async def look(self) -> None:
        """Lets the gateway follow the center up to now."""
        while await self.network.recalls.step():
            pass

    async def told(self, acknowledged: bytes = b"", **whose: Any) -> list[recall.Recall]:
        return list((await self.hear(acknowledged, **whose)).recalls)

    async def hear(
        self, acknowledged: bytes = b"", *, agency: str = PENSION.name, purpose: str = "B1-77.12"
    ) -> recall.TellRecallsResponse:
        request = recall.TellRecallsRequest(context=self.network.context(purpose=purpose), acknowledged=acknowledged)

        async def requests() -> AsyncIterator[recall.TellRecallsRequest]:
            yield signed(request, agency)

        with called_by(asking(agency)):
            (answer,) = [each async for each in self.network.recall.TellRecalls(requests(), None)]
        assert answer.request_id == request.context.request_id
        heard: recall.TellRecallsResponse = answer
        return heard

    async def recalled(self, **whose: Any) -> dict[str, list[int]]:
        """The items that are recalled now, by the request id of the answer; one recall an answer."""
        await self.look()
        told = await self.told(**whose)
        found = {each.request_id: [int(item) for item in each.items] for each in told}
        assert len(found) == len(told)
        return found

    def actions(self) -> list[int]:
        return [entry.action for entry in self.network.leaves()]
