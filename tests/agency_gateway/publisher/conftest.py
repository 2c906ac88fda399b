"""A gateway's ledger with its publisher and its witnesses in one process, on real databases."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_status import rpc_status

from agency_gateway.appending import load
from agency_gateway.node import MIGRATIONS
from agency_gateway.publisher import Publisher
from agency_gateway.record import Record
from agency_gateway.witness import Witness
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.ledger import published
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.export import export_database
from jukinet.ledger.note import Signer
from jukinet.ledger.verify import verify_files
from jukinet.ledger.verify.notes import read_key
from jukinet.mesh.errors import Refused, to_status
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer
from jukinet.witness.node import MIGRATIONS as WITNESS_MIGRATIONS
from jukinet.witness.service import WitnessService
from tests.agency_gateway.one_entry import one_entry

SIGNER = Signer("jukinet/gateway-1", Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))


class DirectWitness:
    """A witness with a database of its own, called without a channel; it may be away, hang, or say something else."""

    def __init__(self, folder: Path, number: int, *, key: int | None = None) -> None:
        self.identity = Identity("witness", f"witness-{number}")
        private = Ed25519PrivateKey.from_private_bytes(bytes([100 + (key or number)]) * 32)
        self.cosigner = Cosigner(f"jukinet/witness-{number}", private)
        self.away = False
        self.hangs = False
        self.calls = 0
        self.says: Callable[[Any], Any] = lambda answer: answer
        url = f"sqlite:///{folder}/witness-{number}-{key or number}.db"
        self._engine = open_writer(url)
        ensure_schema(self._engine, WITNESS_MIGRATIONS)
        self._reader = open_reader(url)
        self._writer = Writer(self._engine)
        self._service = WitnessService(
            writer=self._writer,
            reader=self._reader,
            cosigner=self.cosigner,
            keys={SIGNER.verifier.name: read_key(str(SIGNER.verifier))},
        )

    async def AddCheckpoint(self, request: Any, timeout: float) -> Any:
        return await self._call(self._service.AddCheckpoint, request, timeout)

    async def GetLatest(self, request: Any, timeout: float) -> Any:
        return await self._call(self._service.GetLatest, request, timeout)

    async def _call(self, handler: Any, request: Any, timeout: float) -> Any:
        self.calls += 1
        if self.away:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        if self.hangs:
            await asyncio.Event().wait()
        try:
            return self.says(await handler(request, None))
        except Refused as refused:
            status = rpc_status.to_status(to_status(refused, "0" * 16))
            trailing = grpc.aio.Metadata(*status.trailing_metadata)
            raise grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details) from None

    async def shown(self, old: int, proof: list[bytes], note: str) -> None:
        """Shows it a checkpoint behind the gateway's back."""
        request = witness_pb2.AddCheckpointRequest(old_size=old, proof=proof, checkpoint=note)
        await self._service.AddCheckpoint(request, None)  # type: ignore[arg-type]  # the context is not used

    def close(self) -> None:
        self._writer.close()
        self._reader.dispose()
        self._engine.dispose()


class House:
    """A gateway's ledger, its witnesses and its publisher; the clock goes when a test says so."""

    def __init__(self, folder: Path, *, witnesses: int = 3) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/ledger.db"
        self.now = 1000.0
        self.numbers = 0
        self.direct = [DirectWitness(folder, number) for number in range(1, witnesses + 1)]
        self.quorum = witnesses // 2 + 1
        self._open()

    def _open(self) -> None:
        self.engine = open_writer(self.url)
        ensure_schema(self.engine, MIGRATIONS)
        self.reader = open_reader(self.url)
        with self.engine.begin() as connection:
            size = load(connection, lambda: SIGNER)
            seen = published.seen_by(connection)
        self.writer = Writer(self.engine)
        self.witnesses = [
            Witness(
                each.identity,
                each.cosigner.key,
                each,  # type: ignore[arg-type]  # two methods of the stub
                origin=SIGNER.verifier,
                reader=self.reader,
                seen=seen.get(str(each.cosigner.key), 0),
                clock=lambda: self.now,
            )
            for each in self.direct
        ]
        self.publisher = Publisher(
            witnesses=self.witnesses,
            quorum=self.quorum,
            reader=self.reader,
            writer=self.writer,
            clock=lambda: self.now,
        )
        self.record = Record(
            writer=self.writer,
            sign=lambda: SIGNER,
            size=size,
            newest_us=0,
            is_open=lambda: self.publisher.is_open,
        )
        self._grouping = asyncio.create_task(self.record.grouping.run())

    async def close(self) -> None:
        await self.publisher.close()
        self._grouping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._grouping
        self.writer.close()
        self.reader.dispose()
        self.engine.dispose()

    async def again(self) -> None:
        """The gateway ends and starts again."""
        await self.close()
        self._open()

    async def keep(self, count: int = 1) -> ledger_pb2.Receipt:
        """Puts so many refusals on record; gives the last receipt."""
        receipt = ledger_pb2.Receipt()
        for _ in range(count):
            self.numbers += 1
            entry = one_entry(f"5f7d1c1e-0000-4000-8000-{self.numbers:012x}")
            receipt = await self.record.keep(entry)
        return receipt

    async def publish(self, *, after: float = 60.0) -> None:
        """A round, after every pause of a witness."""
        self.now += after
        await self.publisher.publish_now()

    def published(self) -> tuple[int, str]:
        with self.reader.connect() as connection:
            found = published.latest(connection)
        assert found is not None
        return found

    def cosigners(self, count: int | None = None) -> list[str]:
        """The witnesses that a verifier finds on the published checkpoint, all of the ledger being sound."""
        ledger, key = self.folder / "ledger.jsonl", self.folder / "ledger.vkey"
        exported = io.StringIO()
        with self.reader.connect() as connection:
            export_database(connection, exported)
        ledger.write_text(exported.getvalue(), encoding="utf-8")
        key.write_text(str(SIGNER.verifier), encoding="utf-8")
        keys = [str(each.cosigner.key) for each in self.direct]
        report = verify_files(ledger, key, witnesses=keys, quorum=count or self.quorum)
        assert report.findings.sound, report.findings.first_ones
        return report.witnesses

    def status(self) -> admin.GetStatusResponse:
        status = admin.GetStatusResponse()
        self.publisher.describe(status, self.record.size)
        return status

    def states(self) -> "list[admin.WitnessState.ValueType]":
        return [each.state for each in self.status().witnesses]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.close()
    for each in made.direct:
        each.close()
