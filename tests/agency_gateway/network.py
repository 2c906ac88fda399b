"""A gateway and a center in one process, on real databases, joined by a direct call instead of a channel."""

import asyncio
import copy
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, event

from agency_gateway.admission import Admission
from agency_gateway.appending import load
from agency_gateway.center import Center
from agency_gateway.declarations import Declarations
from agency_gateway.desk import Desk
from agency_gateway.freezes import Freezes
from agency_gateway.inquiry import InquiryService
from agency_gateway.node import MIGRATIONS
from agency_gateway.recall_service import RecallService
from agency_gateway.recalls import Recalls
from agency_gateway.record import Record
from agency_gateway.watch import WatchService
from center_node.asked_today import AskedToday
from center_node.body_keys import BodyKeys
from center_node.changes import ChangeProvisionService
from center_node.corrections import CorrectionService
from center_node.freshness import Sources
from center_node.frozen import FrozenOperators
from center_node.frozen_service import FrozenService
from center_node.provision import ProvisionService
from center_node.terminals import Terminals
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.register.v1.change_pb2 import CHANGE_REASON_ENTRY_EX_OFFICIO, Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import CalendarDate, IdentityRecord
from jukinet.domain.arrival import Arrival
from jukinet.ledger import store as ledger
from jukinet.ledger.entry import EntryKeys
from jukinet.ledger.note import Signer
from jukinet.mesh.clock import now, now_us, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import RefusedCall
from jukinet.purpose.decision import PurposePolicy
from jukinet.purpose.edition import load_statute
from jukinet.purpose.editions import Editions
from jukinet.purpose.ticket import TicketOffice
from jukinet.store import journal
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.writer import Writer
from tests.agency_gateway.agencies import PENSION, asking, listed, signed
from tests.agency_gateway.calls import GATEWAY, called_by
from tests.agency_gateway.direct import DirectCalls, DirectCenter
from tests.agency_gateway.residents import make_record, synthetic_number

CONTEXT = ("purpose", "request_id", "operator", "maximum_age_seconds")


class Network:
    """Gateway, center and what a test looks at; `another_gateway` has the same center."""

    def __init__(self, folder: Path) -> None:
        self.register = _open(folder / "center.db", REGISTER)
        self.register_reader = open_reader(f"sqlite:///{folder / 'center.db'}")
        self.reads: list[str] = []
        self._sequences: Counter[str] = Counter()
        # At the driver: not all statements pass through SQLAlchemy.
        event.listen(self.register_reader, "connect", lambda driver, _: driver.set_trace_callback(self._note))
        self.gateway_keys: dict[str, Any] = {}
        directory = {agency.spiffe_id: agency for agency in listed()}
        self.directory = directory
        self.policy = policy = PurposePolicy(Editions([load_statute()]), directory)
        self.complete: dict[str, int] = {}
        """Up to when the center holds all of a municipality, in microseconds since 1970; up to now by default."""
        self.freshness_key = Ed25519PrivateKey.generate()
        self.sources = Sources(
            key=self.freshness_key,
            expected=["131016"],
            complete_as_of=lambda code: self.complete.get(code) or now_us(),
            clock=now_us,
        )
        self.register_writer = Writer(self.register)
        self.asked_today = AskedToday(
            directory, self.register_reader, self.register_writer, today_in_japan(), token_key=bytes(32)
        )
        self.frozen = FrozenOperators(self.register_reader, self.register_writer, token_key=bytes(32))
        self.terminals = Terminals()
        self.body_keys = BodyKeys(folder / "body-keys.db", bytes(32))
        self.center_service = ProvisionService(
            reader=self.register_reader,
            policy=policy,
            tickets=TicketOffice(self.gateway_keys.get, opened=now()),
            token_key=bytes(32),
            sources=self.sources,
            body_keys=self.body_keys,
            asked_today=self.asked_today,
            frozen=self.frozen,
            terminals=self.terminals,
        )
        self.changes = ChangeProvisionService(
            reader=self.register_reader,
            writer=self.register_writer,
            policy=policy,
            tickets=self.center_service._tickets,
            token_key=bytes(32),
            sources=self.sources,
            frozen=self.frozen,
            terminals=self.terminals,
        )
        self._folder = folder
        self.begin_gateway(GATEWAY, token_key=bytes(32))

    def begin_gateway(self, identity: Identity, *, token_key: bytes) -> None:
        """Makes the gateway's part, on the database that its name says."""
        self.gateway = identity
        path = self._folder / f"{identity.name}.db"
        self.database = f"sqlite:///{path}"
        self.ledger_engine = _open(path, MIGRATIONS)
        self.ledger_key, self.ticket_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.gateway_keys[identity.uri] = self.ticket_key.public_key()
        self.signer = Signer(f"jukinet/{identity.name}", self.ledger_key)
        with self.ledger_engine.begin() as connection:
            size = load(connection, lambda: self.signer)
        self.writer = Writer(self.ledger_engine)
        self.record = Record(writer=self.writer, sign=lambda: self.signer, size=size, newest_us=0, is_open=lambda: True)
        self.center = DirectCenter(self.center_service, identity)
        self.asking = Center(
            identity=identity.uri,
            stub=self.center,  # type: ignore[arg-type]  # one method of the stub
            ticket_key=self.ticket_key,
        )
        self.keys = EntryKeys(token_key)
        self.ledger_reader = open_reader(self.database)
        self.frozen_service = DirectCalls(FrozenService(self.frozen, self.gateway_keys), identity)
        self.begin_admission()
        self.desk = Desk(policy=self.policy, admission=self.admission, keys=self.keys, record=self.record)
        self.inquiry = InquiryService(desk=self.desk, center=self.asking, answer_key=self.ledger_key)
        self.watch = WatchService(
            desk=self.desk,
            center=DirectCalls(self.changes, identity),
            identity=identity.uri,
            ticket_key=self.ticket_key,
        )
        self.recalls = self.new_recalls()
        self.recall = RecallService(
            desk=self.desk, recalls=self.recalls, reader=self.ledger_reader, keys=self.keys, gateway=identity.uri
        )

    def begin_admission(self) -> None:
        """Lets the gateway know nothing of those who ask, as when it starts."""
        self.freezes = Freezes(
            record=self.record,
            reader=self.ledger_reader,
            keys=self.keys,
            gateway=self.gateway.uri,
            policy_digest=lambda: bytes(32),
        )
        self.declarations = Declarations(
            center=self.frozen_service, freezes=self.freezes, keys=self.keys, directory=self.directory
        )
        self.admission = Admission(directory=self.directory, keys=self.keys, freezes=self.freezes)

    def another_gateway(self, name: str) -> "Network":
        """A second gateway of the same center, with a database and keys of its own; it has to be `running`."""
        other = copy.copy(self)
        other.begin_gateway(Identity("gateway", name), token_key=name.encode().ljust(32))
        return other

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs what a gateway has beside its server, and closes it."""
        running = [asyncio.ensure_future(part()) for part in (self.record.grouping.run, *self.asking.parts)]
        yield
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.close_gateway()

    def new_recalls(self) -> Recalls:
        """What follows the center's corrections, as at a start of the gateway."""
        corrections = CorrectionService(reader=self.register_reader, token_key=bytes(32))
        return Recalls(
            center=DirectCalls(corrections, self.gateway),
            reader=self.ledger_reader,
            writer=self.writer,
            record=self.record,
            keys=self.keys,
            gateway=self.gateway.uri,
            policy_digest=lambda: bytes(32),
        )

    def enter(self, *records: IdentityRecord, day: date = date(2026, 4, 1)) -> None:
        """Enters residents of 131016 into the center's register."""
        self.change(
            *(
                Change(
                    reason=CHANGE_REASON_ENTRY_EX_OFFICIO,
                    event_date=CalendarDate(year=day.year, month=day.month, day=day.day),
                    record=record,
                    version=1,
                )
                for record in records
            )
        )

    def change(self, *changes: Change) -> None:
        """Applies changes to the center's register, each as one of the municipality of its address."""
        arrivals = []
        for change in changes:
            municipality = change.record.address.local_government_code
            self._sequences[municipality] += 1
            place = (1, self._sequences[municipality])
            arrivals.append(Arrival(municipality, *place, change, change.SerializeToString()))
        with self.register.begin() as connection:
            applied = apply_arrivals(connection, arrivals, scope="", now_us=now_us())
            for arrival in arrivals:
                journal.write_origin(connection, arrival.municipality, journal.Origin(*arrival.place, b"", 1))
        assert applied.outcomes == [None] * len(changes)

    async def inquire(self, agency: str = PENSION.name, **changed: Any) -> inquiry.InquireResponse:
        """Asks for one person by the four items of resident 1, with parts changed."""
        items = self.four_items(make_record(changed.pop("number", 1)))
        parts: dict[str, Any] = {
            "subject": inquiry.Subject(four_items=items),
            "fields": [inquiry.IDENTITY_FIELD_NAME, inquiry.IDENTITY_FIELD_ADDRESS],
            "context": self.context(**{key: changed.pop(key) for key in CONTEXT if key in changed}),
        }
        with called_by(asking(agency)):
            question = signed(inquiry.InquireRequest(**{**parts, **changed}), agency)
            return await self.inquiry.Inquire(question, None)  # type: ignore[arg-type]  # the context is not used

    async def verify(
        self, items: inquiry.FourItems, agency: str = PENSION.name, sealed_until: str = "", **context: Any
    ) -> inquiry.VerifyIdentityResponse:
        """Asks whether a person is as stated."""
        request = inquiry.VerifyIdentityRequest(
            context=self.context(**context), four_items=items, sealed_until=sealed_until
        )
        with called_by(asking(agency)):
            return await self.inquiry.VerifyIdentity(signed(request, agency), None)  # type: ignore[arg-type]  # the context is not used

    async def inquire_batch(
        self, *requests: inquiry.InquireBatchRequest, agency: str = PENSION.name
    ) -> list[inquiry.InquireBatchResponse]:
        """Sends a batch, message by message, and gives all answers."""
        return [answer async for answer in self.batch(_each(requests), agency)]

    async def batch(
        self, requests: AsyncIterator[inquiry.InquireBatchRequest], agency: str = PENSION.name
    ) -> AsyncIterator[inquiry.InquireBatchResponse]:
        """The answers to a stream of messages as they come."""
        with called_by(asking(agency)):
            answers = self.inquiry.InquireBatch(_signed_each(requests, agency), None)  # type: ignore[arg-type]  # the context is not used
            async for answer in answers:
                yield answer

    def batch_of(self, *numbers: int, **changed: Any) -> inquiry.InquireBatchRequest:
        """A lawful message about these residents, by their four items, with parts changed."""
        people = [inquiry.Subject(four_items=self.four_items(make_record(number))) for number in numbers]
        parts: dict[str, Any] = {
            "subjects": people,
            "fields": [inquiry.IDENTITY_FIELD_NAME],
            "context": self.context(**{key: changed.pop(key) for key in CONTEXT if key in changed}),
        }
        return inquiry.InquireBatchRequest(**{**parts, **changed})

    async def note_refusal(
        self,
        reason: "errors.ErrorReason.ValueType",
        agency: str | None,
        *,
        rpc: str = "/jukinet.inquiry.v1.InquiryService/Inquire",
        entered: bool = False,
    ) -> None:
        """Tells the gateway of a call that its gate refused."""
        caller = asking(agency) if agency else Identity("operator", "somebody")
        call = RefusedCall(rpc=rpc, error_id="0" * 16, caller=caller, entered=entered, refused=Refused(reason))
        await self.inquiry.note_refusal(call)

    async def refusal_of(self, call: Any) -> "errors.ErrorReason.ValueType":
        """The reason with which a call is refused."""
        with pytest.raises(Refused) as caught:
            await call
        return caught.value.reason

    @staticmethod
    def record_of(number: int, **changed: Any) -> IdentityRecord:
        """The record of a synthetic resident of 131016."""
        return make_record(number, **changed)

    @staticmethod
    def number_of(number: int) -> str:
        """The individual number of a synthetic resident."""
        return synthetic_number(number)

    @staticmethod
    def context(
        purpose: str = "B1-77.12", request_id: str = "", operator: str = "op-1", maximum_age_seconds: int = 0
    ) -> inquiry.InquiryContext:
        """A lawful context with an id of its own."""
        return inquiry.InquiryContext(
            request_id=request_id or str(uuid.uuid4()),
            purpose=purpose,
            case_reference="case-1",
            operator=operator,
            maximum_age_seconds=maximum_age_seconds,
        )

    @staticmethod
    def four_items(record: IdentityRecord) -> inquiry.FourItems:
        """What names a person."""
        return inquiry.FourItems(
            name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address
        )

    def leaves(self) -> list[ledger_pb2.Entry]:
        """All entries of the ledger."""
        return [ledger_pb2.Entry.FromString(leaf) for leaf in self.entries()]

    def entries(self) -> list[bytes]:
        """All leaves of the ledger."""
        with self.ledger_engine.connect() as connection:
            return ledger.read_entries(connection, 0, 1_000_000)

    def _note(self, statement: str) -> None:
        if "residents" in statement:
            self.reads.append(statement)

    def close_gateway(self) -> None:
        self.writer.close()
        for engine in (self.ledger_reader, self.ledger_engine):
            engine.dispose()

    def close(self) -> None:
        self.body_keys.close()
        self.register_writer.close()
        for engine in (self.register_reader, self.register):
            engine.dispose()


async def _each(requests: Iterable[Any]) -> AsyncIterator[Any]:
    """A stream of requests; an exception among them is raised in its place."""
    for request in requests:
        if isinstance(request, Exception):
            raise request
        yield request


async def _signed_each(requests: AsyncIterator[Any], agency: str) -> AsyncIterator[Any]:
    async for request in requests:
        yield signed(request, agency)


def _open(path: Path, scripts: Path) -> Engine:
    engine = open_writer(f"sqlite:///{path}")
    ensure_schema(engine, scripts)
    return engine
