"""Municipalities that seal, registers on disk, and nodes that speak over loopback with real certificates."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Credit, Hello, SealedSegment, Segment, Standing
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceStub, add_LinkServiceServicer_to_server
from jukinet._pb.jukinet.link.v1.snapshot_pb2_grpc import add_SnapshotServiceServicer_to_server
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.brake import Brake
from jukinet.domain.resident_code import check_digit
from jukinet.link import progress
from jukinet.link import uplink as uplink_module
from jukinet.link.apply_batch import Assembly, Taken
from jukinet.link.bring import Snapshots
from jukinet.link.outbox import queue
from jukinet.link.reapply import reapply_below, reapply_own
from jukinet.link.restore import Restore
from jukinet.link.seal import link_chain, seal, segment_hash
from jukinet.link.service import LinkService
from jukinet.link.snapshot_service import SnapshotService
from jukinet.link.uplink import Uplink
from jukinet.mesh import pki
from jukinet.mesh.client import open_channel, status_of
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import NODES, Identity
from jukinet.mesh.server import NodeServer, build_server
from jukinet.mesh.tls import TlsFiles
from jukinet.store import journal
from jukinet.store.boot import Boot, MarkerFile, write_boot_id
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.schema import metadata
from jukinet.store.writer import Writer
from tests.link.receiving import CS, Receiver

CHIYODA, CHUO, YOKOHAMA = "131016", "131024", "141003"
TOKYO = "130001"


def sealing_key(municipality: str) -> Ed25519PrivateKey:
    """The sealing key of a municipality, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(municipality.encode()).digest())


def key_of(municipality: str) -> Ed25519PublicKey | None:
    """What a node's key directory says."""
    return sealing_key(municipality).public_key() if municipality in (CHIYODA, CHUO, YOKOHAMA) else None


def may_bring(sender: Identity, municipality: str) -> bool:
    """The rule of the assembled nodes."""
    if sender.kind == "municipality":
        return sender.name == municipality
    return sender.kind == "prefecture" and sender.name[:2] == municipality[:2]


def change(person: int, version: int = 1, municipality: str = CHIYODA, **others: Any) -> change_pb2.Change:
    """A birth (version 1) or a move within the municipality (any later one) of a synthetic person."""
    body = f"00{person:08}"
    address = identity_pb2.Address(local_government_code=municipality, town="丸の内", block=f"{version}番")
    fields: dict[str, Any] = {
        "reason": change_pb2.CHANGE_REASON_ENTRY_BIRTH
        if version == 1
        else change_pb2.CHANGE_REASON_CORRECTION_MOVE_WITHIN,
        "event_date": identity_pb2.CalendarDate(year=2020, month=4, day=1),
        "record": identity_pb2.IdentityRecord(
            resident_code=body + check_digit(body),
            name=identity_pb2.PersonName(legal="試験　太郎"),
            birth_date=identity_pb2.BirthDate(year=2020, month=4, day=1),
            sex=identity_pb2.SEX_MALE,
            address=address,
        ),
        "version": version,
    }
    return change_pb2.Change(**(fields | others))


class Sealer:
    """One municipality's stream, sealed by hand, and the link of a sender that brings it."""

    def __init__(self, municipality: str = CHIYODA, *, epoch: int = 1) -> None:
        self.municipality = municipality
        self.epoch = epoch
        self.sequence = 0
        self.previous = b""
        self.position = 0
        self.chain = b""

    def segment(self, payloads: Sequence[bytes], **fake: Any) -> SealedSegment:
        """The next segment; `fake` puts other values into it before it is sealed."""
        key = fake.pop("key", sealing_key(self.municipality))
        fields: dict[str, Any] = {
            "municipality": self.municipality,
            "epoch": self.epoch,
            "first_sequence": self.sequence + 1,
            "previous": self.previous,
        }
        sealed = seal(payloads, **(fields | fake), key=key)
        self.sequence += len(payloads)
        self.previous = segment_hash(sealed.segment)
        return sealed

    def batch(self, *segments: SealedSegment, **fake: Any) -> Batch:
        """The next batch; `fake` puts other values into it."""
        fields: dict[str, Any] = {
            "epoch": self.epoch,
            "first_sequence": self.position + 1,
            "previous_chain": self.chain,
            "segments": segments,
        }
        for sealed in segments:
            first = self.position + 1
            self.position += len(Segment.FromString(sealed.segment).changes)
            self.chain = link_chain(
                self.chain, first_sequence=first, last_sequence=self.position, segment=segment_hash(sealed.segment)
            )
        return Batch(**(fields | fake))

    def births(self, first: int, count: int) -> Batch:
        """A batch of one segment with so many births."""
        people = range(first, first + count)
        return self.batch(self.segment([change(n, 1, self.municipality).SerializeToString() for n in people]))

    def hello(self, **fake: Any) -> Hello:
        """How a sender with this history greets."""
        fields: dict[str, Any] = {
            "epoch": self.epoch,
            "last_sequence": self.position,
            "last_chain": self.chain,
            "first_kept": min(1, self.position),
            "version_min": 1,
            "version_max": 1,
        }
        return Hello(**(fields | fake))


class Database:
    """A register on disk."""

    def __init__(self, path: Path) -> None:
        self.engine = open_writer(f"sqlite:///{path}")
        self.reader = open_reader(f"sqlite:///{path}")
        self.writer = Writer(self.engine)

    def do(self, job: Callable[[Connection], Any]) -> Any:
        """Runs a job in a transaction of its own."""
        return self.writer.submit(job).result(10)

    def rows(self, table: str) -> list[Any]:
        """All rows of a table."""
        with self.reader.connect() as connection:
            return list(connection.execute(select(metadata.tables[table])))

    def digest(self) -> str:
        """A fingerprint of every row of every table."""
        content = {name: sorted(map(repr, self.rows(name))) for name in sorted(metadata.tables)}
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def close(self) -> None:
        """Closes the files."""
        self.writer.close()
        self.reader.dispose()
        self.engine.dispose()


class Speaking:
    """A stream on which a test says what it likes; `refused` is the status with which its receiver ends it.

    A write that fails because the stream is over ends the call with a status of its own, before or after that one.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self.refused: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _note(self, _: object) -> None:
        status = status_of(self._call)
        if reason_of(status) is not None and not self.refused.done():
            self.refused.set_result(status)


class Node(Database):
    """A node with the parts of a link that it has."""

    def __init__(self, path: Path, identity: Identity, tls: TlsFiles) -> None:
        super().__init__(path)
        self.identity = identity
        self.tls = tls
        self.boot = Boot(MarkerFile(path.with_suffix(".boot")))
        self.settle()
        self.brake = Brake()
        self.applied: list[Taken] = []
        self.center_marks: list[dict[str, int]] = []
        self.link_service: LinkService | None = None
        self.uplink: Uplink | None = None
        self.server: NodeServer | None = None
        self._address = ""
        self.running: asyncio.Task[None] | None = None
        self.sweeping: asyncio.Task[None] | None = None

    def settle(self) -> None:
        """Makes the node sure of itself, as after its first welcome."""
        boot_id = self.boot.renew("", 0)
        self.do(lambda connection: write_boot_id(connection, boot_id))
        self.boot.settled()

    def _reapplied(self) -> Any:
        if self.identity.kind == "municipality":
            key = sealing_key(self.identity.name).public_key()
            return partial(reapply_own, municipality=self.identity.name, key=key)
        return partial(reapply_below, assembly=Assembly(scope=self.identity.name[:2], forwards=True, key_of=key_of))

    async def _doubted(self) -> None:
        if self.link_service:
            await self.link_service.end_streams(errors.ERROR_REASON_RESTORING)

    def dial(self, upstream: "Node | Callable[[], str]") -> None:
        """Begins to send to the node above."""
        above = upstream.identity if isinstance(upstream, Node) else Identity("prefecture", TOKYO)

        def channel() -> grpc.aio.Channel:
            address = upstream.address if isinstance(upstream, Node) else upstream()
            return open_channel(address, self.tls, server=above)

        self.uplink = Uplink(
            writer=self.writer,
            reader=self.reader,
            open_channel=channel,
            restore=Restore(writer=self.writer, boot=self.boot, reapply=self._reapplied(), on_doubt=self._doubted),
            snapshots=self._snapshots(),
            others_alone=self.identity.kind == "prefecture",
            standings=self.standings,
            on_center_marks=self._relay,
        )
        self.running = asyncio.create_task(self.uplink.run())

    def standings(self) -> list[Standing]:
        """What this node knows of the municipalities below it."""
        return self.link_service.standings.told() if self.link_service else []

    def _snapshots(self) -> Snapshots:
        own = self.identity
        return Snapshots(
            reader=self.reader,
            own=own,
            key=sealing_key(own.name) if own.kind == "municipality" else None,
            key_of=key_of,
            ask=lambda names: self.link_service.ask_manifests(names) if self.link_service else None,
        )

    async def _held_above(self, municipality: str, through: int) -> bool:
        return self.uplink is None or await self.uplink.held_above(municipality, through)

    def _assembly(self, *, forwards: bool) -> Assembly:
        scope = "" if self.identity.kind == "center" else self.identity.name[:2]
        return Assembly(scope=scope, forwards=forwards, key_of=key_of, brake=self.brake)

    def make_snapshot_service(self) -> SnapshotService:
        """The side of this node that takes snapshots."""
        return SnapshotService(
            writer=self.writer,
            assembly=self._assembly(forwards=self.identity.kind == "prefecture"),
            may_bring=may_bring,
            why_not=lambda: errors.ERROR_REASON_RESTORING if self.boot.restored and self.uplink else None,
            held_above=self._held_above,
        )

    def make_service(self, *, forwards: bool, credit: Credit | None = None) -> LinkService:
        """The receiving side of this node."""
        self.link_service = LinkService(
            writer=self.writer,
            reader=self.reader,
            assembly=self._assembly(forwards=forwards),
            may_bring=may_bring,
            why_not=lambda: errors.ERROR_REASON_RESTORING if self.boot.restored and self.uplink else None,
            credit=credit or Credit(batches=4, bytes=4_000_000),
            on_forwarded=lambda last: self.uplink.outbox_grew(last) if self.uplink else None,
            on_applied=self.applied.append,
            on_standing=lambda: self.uplink.beat_soon() if self.uplink else None,
        )
        return self.link_service

    async def serve(self, *, forwards: bool, credit: Credit | None = None) -> None:
        """Opens the receiving side on a port of its own."""
        service, snapshots = self.make_service(forwards=forwards, credit=credit), self.make_snapshot_service()
        self.sweeping = asyncio.create_task(snapshots.run())
        self.server = build_server(
            identity=self.identity,
            listen="127.0.0.1:0",
            tls=self.tls,
            services=[
                (add_LinkServiceServicer_to_server, service),
                (add_SnapshotServiceServicer_to_server, snapshots),
            ],
        )
        await self.server.start()
        self._address = self.server.address

    @property
    def address(self) -> str:
        """Where it listens, or last listened."""
        return self._address

    @asynccontextmanager
    async def speaks(self, upstream: "Node") -> AsyncIterator[Any]:
        """A stream to the node above on which a test says what it likes."""
        async with open_channel(upstream.address, self.tls, server=upstream.identity) as channel:
            call = Speaking(LinkServiceStub(channel).Stream())
            try:
                yield call
            finally:
                call.cancel()

    async def stop_serving(self) -> None:
        """Cuts every connection."""
        if self.server:
            await self.server.server.stop(None)
            self.server = None
        if self.sweeping:
            self.sweeping.cancel()
            self.sweeping = None

    async def stop_dialling(self) -> None:
        """Ends the uplink."""
        if self.running:
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running
            self.running = None

    def submit(self, *changes: change_pb2.Change | bytes, traceparents: Sequence[str] = ()) -> int:
        """Seals changes of this municipality into the outbox; the last sequence number."""
        last: int = self.do(
            lambda connection: queue(
                connection,
                [each if isinstance(each, bytes) else each.SerializeToString() for each in changes],
                traceparents=traceparents or [""] * len(changes),
                municipality=self.identity.name,
                key=sealing_key(self.identity.name),
                now_us=1,
            )
        )
        if self.uplink:
            self.uplink.outbox_grew(last)
        return last

    def mark_of(self, sender: "Node") -> int:
        """How far the sender's stream is on disk here."""
        with self.reader.connect() as connection:
            mark = journal.read_mark(connection, sender.identity.uri)
        return mark.mark if mark else 0

    def _relay(self, by_source: dict[str, int]) -> None:
        self.center_marks.append(by_source)
        if self.link_service:
            self.link_service.center_marks_moved(by_source)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A register without a row, to be copied: setting one up takes longer than most tests."""
    path = tmp_path_factory.mktemp("register") / "empty.db"
    engine = open_writer(f"sqlite:///{path}")
    ensure_schema(engine, REGISTER)
    engine.dispose()
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path) -> Iterator[Database]:
    """One register."""
    shutil.copy(empty_database, tmp_path / "register.db")
    opened = Database(tmp_path / "register.db")
    yield opened
    opened.close()


@pytest.fixture
def receiver(database: Database, link: SimpleNamespace) -> Receiver:
    """A prefecture without its network."""
    return Receiver(database, link, scope="13", sender=CS)


@pytest.fixture
def sealer(receiver: Receiver) -> Sealer:
    """The CS's stream, greeted by the receiver."""
    sealer = Sealer()
    receiver.greet(sealer.hello())
    return sealer


@pytest.fixture(scope="session")
def authority() -> pki.Authority:
    """The CA of the nodes."""
    return pki.create_authority(NODES)


@pytest.fixture
async def mesh(
    tmp_path: Path, empty_database: Path, authority: pki.Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Node]]:
    """Makes nodes by identity; all are closed at the end."""
    monkeypatch.setattr(uplink_module, "BACKOFF_FIRST", 0.01)
    monkeypatch.setattr(uplink_module, "BACKOFF_LAST", 0.05)
    monkeypatch.setattr(progress, "PROGRESS_EVERY", 0.01)
    ca, _ = pki.write_authority(authority, tmp_path)
    async with AsyncExitStack() as stack:

        def make(kind: Any, name: str = "", *, instance: str = "") -> Node:
            identity = Identity(kind, name)
            stem = f"{kind}{name}{instance}"
            leaf = pki.issue(authority, identity, days=1, server=True)
            certificate, key = pki.write_leaf(leaf, tmp_path, stem)
            shutil.copy(empty_database, tmp_path / f"{stem}.db")
            node = Node(tmp_path / f"{stem}.db", identity, TlsFiles(certificate, key, ca))
            stack.callback(node.close)
            stack.push_async_callback(node.stop_serving)
            stack.push_async_callback(node.stop_dialling)
            return node

        yield make


@pytest.fixture
def cs(mesh: Callable[..., Node]) -> Node:
    """A CS."""
    return mesh("municipality", CHIYODA)


@pytest.fixture
async def prefecture(mesh: Callable[..., Node]) -> Node:
    """A prefecture that serves."""
    node = mesh("prefecture", TOKYO)
    await node.serve(forwards=True)
    return node


async def until(holds: Callable[[], object], *, seconds: float = 20) -> None:
    """Waits for a condition that no event tells of."""
    async with asyncio.timeout(seconds):
        while not holds():  # marks on disk raise no event
            await asyncio.sleep(0.002)


@pytest.fixture(scope="session")
def link() -> SimpleNamespace:
    """The tools of this folder by name, for tests cannot import each other's modules."""
    return SimpleNamespace(
        CHIYODA=CHIYODA,
        CHUO=CHUO,
        YOKOHAMA=YOKOHAMA,
        TOKYO=TOKYO,
        Sealer=Sealer,
        change=change,
        key_of=key_of,
        may_bring=may_bring,
        sealing_key=sealing_key,
        until=until,
    )
