"""A small mesh of real processes that the journeys share: two prefectures, three municipalities and a gateway.

It is started once a test process and never set back. A test therefore takes residents, message ids and request ids of
its own (`network.person`, `network.message_id`), and never counts rows of a whole node. Somebody may be parked.
A test that stops, kills or misconfigures nodes makes a mesh of its own.
"""

import asyncio
import hashlib
import itertools
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import make_url, select

from jukinet._pb.jukinet.admin.v1.admin_pb2 import GetStatusRequest, GetStatusResponse
from jukinet._pb.jukinet.admin.v1.admin_pb2_grpc import AdminServiceStub
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2 as inquiry
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2_grpc import InquiryServiceStub
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeRequest, SubmitChangeResponse
from jukinet._pb.jukinet.intake.v1.intake_pb2_grpc import IntakeServiceStub
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Entry, ListEntriesRequest
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.cli.connect import health_of
from jukinet.cli.development_agencies import BANK, PENSION_SERVICE
from jukinet.cli.init import Plan, free_addresses, write_mesh
from jukinet.cli.layout import OPERATOR, Mesh, folder_name
from jukinet.cli.processes import MeshProcesses, NodeDied, NotHealthy
from jukinet.mesh import pki
from jukinet.mesh.client import open_channel
from jukinet.mesh.clock import today_in_japan
from jukinet.mesh.errors import reason_of
from jukinet.mesh.identity import Identity, parse_identity
from jukinet.mesh.key_digest import key_digest_in
from jukinet.mesh.tls import TlsFiles
from jukinet.purpose.agencies import PRIVATE_PREFIX, SPIFFE_PREFIX, Agency, format_agencies
from jukinet.store.engine import open_reader
from jukinet.store.schema import metadata
from nation.codes import CodePool
from tests.journeys import operators
from tests.journeys.collector import Collector
from tests.npm import installed

CHIYODA, OKUTAMA, YOKOSUKA = "131016", "133086", "142018"
GATEWAY = "gateway-1"
INSURER, BROKER = "example-insurer", "example-broker"
PostgresqlServer = Any  # the fixture's own class lives in tests/conftest.py
SECONDS = 10.0
"""Deadline of a call."""
WAIT_SECONDS = 60.0
"""How long anything that is waited for may take: a node that was refused a few times comes back within 20 s."""
LAWFUL = "B1-77.12"
"""A row that is open to the pension service."""

OPERATOR_IDENTITY = Identity("operator", OPERATOR)
# These move by themselves, when an acknowledgement comes back.
_PROGRESS = {"stream": {"neighbour_mark", "center_mark", "moved_at"}, "marks": {"center_mark", "moved_at"}}


class Network:
    """A mesh on this machine, its processes, and what a test needs to speak to it.

    Args:
        folder: empty; the mesh comes into its `mesh`, certificates that the mesh does not have into its `more`.
        municipalities: six-digit codes.
        agencies: listed beside those of a development mesh.
        environ: added to the environment of every node.
        brake: limits of the change brake that are not the default ones.
        database: as in `Plan`.
        postgresql: the server on which each node has a new database; `database` is not used then.
        witnesses: of the gateway's ledger; three only where they are what is tested, for each is a process.
        disclosure: whether it has the node that answers residents.
        gateways: names of them; `inquire` asks the first.
    """

    def __init__(
        self,
        folder: Path,
        municipalities: Sequence[str],
        *,
        database: str = "sqlite",
        agencies: Sequence[Agency] = (),
        environ: Mapping[str, str] | None = None,
        brake: Mapping[str, int] | None = None,
        postgresql: PostgresqlServer | None = None,
        witnesses: int = 1,
        disclosure: bool = False,
        gateways: Sequence[str] = (GATEWAY,),
    ) -> None:
        url = postgresql.url("{node}") if postgresql else database
        plan = Plan(municipalities, gateways, url, brake or {}, witnesses, disclosure)
        self.mesh: Mesh = write_mesh(folder / "mesh", plan)
        self._postgresql = postgresql
        if postgresql:
            for name in self.mesh.names:
                self.wipe(name)
        self.more = folder / "more"
        agencies = [self._with_listed_key(agency) for agency in agencies]
        for path in self.mesh.root.glob("nodes/*/agencies.toml"):
            path.write_text(f"{path.read_text('utf-8')}\n{format_agencies(agencies)}", "utf-8")
        self.nodes = MeshProcesses(self.mesh, environ)
        self.metrics = dict(zip(self.mesh.names, free_addresses(len(self.mesh.names)), strict=True))
        self._codes = CodePool(Random(20261124))
        self._numbers = itertools.count(1)

    def start(self, *names: str, environ: Mapping[str, str] | None = None, healthy: bool = True) -> None:
        """Starts nodes, all if none is named, and waits until they are healthy, or until they answer at all."""
        names = names or self.mesh.names
        for name in names:
            self.nodes.start(name, {"JUKINET_TELEMETRY_METRICS_LISTEN": self.metrics[name], **(environ or {})})
        try:
            asyncio.run(self.nodes.wait_healthy(names) if healthy else self._answer(names))
        except NotHealthy as late:
            # Killed, for to drain what does not answer takes longer than a test may, and that would be all one hears.
            running = [name for name in names if self.nodes.is_running(name)]
            for name in running:
                self.nodes.kill(name)
            said = {name: self.mesh.log_path(name).read_text("utf-8").splitlines()[-1:] for name in names}
            raise AssertionError(f"{late}; {len(running)} of {len(names)} ran; they said last: {said}") from late
        except NodeDied as died:
            if "Cannot listen" not in str(died) and "Cannot serve metrics" not in str(died):
                raise
            # Somebody took its port between the choice and now; all nodes learn of another one.
            self.stop()
            self._move(died.name)
            self.start(*names, environ=environ, healthy=healthy)

    def _move(self, name: str) -> None:
        before = self.mesh.config(name).listen
        address, self.metrics[name] = free_addresses(2)
        for each in self.mesh.names:
            path = self.mesh.config_path(each)
            path.write_text(path.read_text("utf-8").replace(before, address), "utf-8")

    async def _answer(self, names: Sequence[str]) -> None:
        async def answers() -> bool:
            try:
                return bool(await self.status(name))
            except grpc.aio.AioRpcError:
                return not self.nodes.is_running(name)

        for name in names:
            await self.until(answers)
            if not self.nodes.is_running(name):
                raise await self.nodes.watch()

    async def is_healthy(self, node: str) -> bool:
        """Whether a node says that it can do its work."""
        return await health_of(self.mesh, node, seconds=SECONDS)

    def stop(self) -> dict[str, int]:
        """Drains all nodes; gives their exit codes."""
        return asyncio.run(self.nodes.terminate_all())

    # ---- who is who --------------------------------------------------------------------------------------------

    def authority(self, identity: Identity) -> pki.Authority:
        """The CA that issues an identity's certificate."""
        return pki.load_authority(identity.trust_domain, self.mesh.root / "pki")

    @staticmethod
    def asking(agency: str) -> Identity:
        """Whoever asks under an id of the directory."""
        return Identity("private" if agency in (BANK, INSURER, BROKER) else "agency", agency)

    def tls(self, identity: Identity) -> TlsFiles:
        """Certificate and key of anybody: an agency of the mesh, or whoever is issued one now."""
        if identity.kind in ("agency", "private") and (self.mesh.root / "clients" / folder_name(identity)).exists():
            return self.mesh.client(identity)
        folder = self.more / identity.uri.removeprefix("spiffe://")
        if not folder.exists():
            leaf = pki.issue(self.authority(identity), identity, days=1, server=False)
            pki.write_leaf(leaf, folder, "tls")
        return TlsFiles(folder / "tls.pem", folder / "tls.key", self.mesh.authority("nodes"))

    def listed_key(self, agency: Identity) -> ec.EllipticCurvePrivateKey:
        """The key that the directory lists for an agency of the mesh; certificates for others get nowhere."""
        key = serialization.load_pem_private_key(self.mesh.client(agency).key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _with_listed_key(self, agency: Agency) -> Agency:
        certificate = self.tls(parse_identity(agency.spiffe_id)).certificate
        return replace(agency, certificates=frozenset({key_digest_in(certificate)}))

    @asynccontextmanager
    async def channel(self, node: str, client: Identity | TlsFiles = OPERATOR_IDENTITY) -> AsyncIterator[Any]:
        """A channel to a node, as anybody; an agency's questions are signed by their operators on their way."""
        tls = self.tls(client) if isinstance(client, Identity) else client
        interceptors = operators.Desk(self.mesh, tls.certificate).interceptors
        server = self.mesh.config(node).identity
        async with open_channel(self.mesh.address(node), tls, server=server, interceptors=interceptors) as channel:
            yield channel

    # ---- what a municipality reports ---------------------------------------------------------------------------

    def message_id(self) -> str:
        """A message id (電文番号) that nobody had before."""
        return f"journey-{next(self._numbers)}"

    def code(self) -> str:
        """A resident code that nobody had before."""
        return self._codes.draw_resident_code()

    def number(self) -> str:
        """An individual number that nobody had before."""
        return self._codes.draw_individual_number()

    def person(self, municipality: str, **parts: Any) -> identity_pb2.IdentityRecord:
        """The record of somebody new; `parts` are other values of its fields."""
        code = self.code()
        return identity_pb2.IdentityRecord(
            **{
                "resident_code": code,
                "name": identity_pb2.PersonName(legal=f"試験　太郎{code[4:9]}", furigana="しけん　たろう"),
                "birth_date": identity_pb2.BirthDate(year=1980, month=2, day=3),
                "sex": identity_pb2.SEX_MALE,
                "address": identity_pb2.Address(local_government_code=municipality, town="本町", block="1番"),
                "individual_number": self.number(),
                **parts,
            }
        )

    def submission(self, reason: str, record: identity_pb2.IdentityRecord, **parts: Any) -> Submission:
        """A submission of today about somebody, under a new message id; a deletion leaves the record out."""
        day = today_in_japan()
        return Submission(
            **{
                "message_id": self.message_id(),
                "reason": change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
                "event_date": identity_pb2.CalendarDate(year=day.year, month=day.month, day=day.day),
                "resident_code": record.resident_code,
                "record": None if reason.startswith("DELETION") else record,
                **parts,
            }
        )

    async def submit(self, municipality: str, submission: Submission, *, metadata: Any = ()) -> SubmitChangeResponse:
        """Reports one change as the municipality's own system."""
        async with self.channel(f"municipality-{municipality}", Identity("municipal-system", municipality)) as channel:
            request = SubmitChangeRequest(submission=submission)
            answer: SubmitChangeResponse = await IntakeServiceStub(channel).SubmitChange(
                request, timeout=SECONDS, metadata=metadata
            )
            return answer

    async def enter(self, municipality: str, **parts: Any) -> identity_pb2.IdentityRecord:
        """Enters somebody new and waits until the center has the record on disk."""
        record = self.person(municipality, **parts)
        await self.submit(municipality, self.submission("ENTRY_EX_OFFICIO", record))
        await self.arrived(municipality)
        return record

    async def arrived(self, municipality: str) -> None:
        """Waits until all that a municipality accepted is on disk at the center."""

        async def caught_up() -> bool:
            link = (await self.status(f"municipality-{municipality}")).links[0]
            return link.center_mark == link.last_sequence

        await self.until(caught_up)

    async def status(self, node: str) -> GetStatusResponse:
        """What a node says of itself."""
        async with self.channel(node) as channel:
            answer: GetStatusResponse = await AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=SECONDS)
            return answer

    async def until(self, condition: Callable[[], Any]) -> None:
        """Asks again and again until a condition holds."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if await condition():
                    return
                await asyncio.sleep(0.02)

    # ---- what an agency asks -----------------------------------------------------------------------------------

    def context(self, purpose: str = LAWFUL, **parts: Any) -> inquiry.InquiryContext:
        """On whose behalf and why, under a new request id."""
        return inquiry.InquiryContext(
            **{
                "request_id": str(uuid.uuid4()),
                "purpose": purpose,
                "case_reference": "case 1",
                "operator": operators.OPERATOR,
                **parts,
            }
        )

    def four_items(self, record: identity_pb2.IdentityRecord) -> inquiry.FourItems:
        """The four items of somebody."""
        return inquiry.FourItems(
            name=record.name.legal, birth_date=record.birth_date, sex=record.sex, address=record.address
        )

    def question(self, record: identity_pb2.IdentityRecord, purpose: str = LAWFUL, **parts: Any) -> Any:
        """A question about somebody by the four items; `parts` are other values of its fields."""
        return inquiry.InquireRequest(
            **{
                "context": self.context(purpose),
                "subject": inquiry.Subject(four_items=self.four_items(record)),
                "fields": [inquiry.IDENTITY_FIELD_NAME],
                **parts,
            }
        )

    def signed(self, question: Any, agency: str = PENSION_SERVICE) -> Any:
        """A question with the proof of its operator, for clients that do not sign by themselves."""
        return operators.Desk(self.mesh, self.tls(self.asking(agency)).certificate).signed(question)

    async def inquire(
        self, request: inquiry.InquireRequest, agency: str = PENSION_SERVICE, *, metadata: Any = ()
    ) -> inquiry.InquireResponse:
        """Asks the gateway as an agency."""
        async with self.channel(GATEWAY, self.asking(agency)) as channel:
            answer: inquiry.InquireResponse = await InquiryServiceStub(channel).Inquire(
                request, timeout=SECONDS, metadata=metadata
            )
            return answer

    async def ledger(self) -> list[Entry]:
        """All entries of the gateway's ledger, as an auditor reads them."""
        async with self.channel(GATEWAY) as channel:
            runs = LedgerServiceStub(channel).ListEntries(ListEntriesRequest(), timeout=SECONDS)
            return [Entry.FromString(leaf) async for run in runs for leaf in run.entries]

    # ---- what stands where -------------------------------------------------------------------------------------

    def folder(self, node: str) -> Path:
        """Folder of a node."""
        return self.mesh.folder(node)

    def wipe(self, node: str) -> None:
        """Takes away the database of a node that does not run, as a lost disk does; its boot marker stays."""
        if self._postgresql:
            self._postgresql.create(node.replace("-", "_"))
            return
        path = Path(str(make_url(self.mesh.config(node).database).database))
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            each.unlink(missing_ok=True)

    def rows(self, node: str, table: str) -> list[Mapping[str, Any]]:
        """All rows of a table of a register, read from its database."""
        engine = open_reader(self.mesh.config(node).database)
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(select(metadata.tables[table])).mappings()]
        finally:
            engine.dispose()

    def digest(self, node: str) -> dict[str, str]:
        """A fingerprint of every table of a register, but for the columns in which acknowledgements are noted."""
        found = {}
        for table in metadata.tables:
            ignored = _PROGRESS.get(table, set())
            kept = [{key: value for key, value in row.items() if key not in ignored} for row in self.rows(node, table)]
            found[table] = hashlib.sha256(repr(sorted(map(repr, kept))).encode()).hexdigest()
        return found

    def log(self, node: str) -> str:
        """What a node wrote to standard output and standard error."""
        return self.mesh.log_path(node).read_text("utf-8")

    def metrics_of(self, node: str) -> str:
        """What a node tells Prometheus."""
        with urllib.request.urlopen(f"http://{self.metrics[node]}/metrics", timeout=SECONDS) as page:
            return str(page.read(), "utf-8")


class Refusal:
    """What a refused caller got; filled in when the block ends."""

    code: grpc.StatusCode
    reason: "errors.ErrorReason.ValueType | None"
    error: grpc.aio.AioRpcError

    @property
    def name(self) -> str:
        """The reason's name without its prefix; empty when no node gave one."""
        return errors.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_") if self.reason else ""


@contextmanager
def _refused() -> Iterator[Refusal]:
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield refusal
    refusal.error, refusal.code, refusal.reason = caught.value, caught.value.code(), reason_of(caught.value)


@pytest.fixture
def refused() -> Callable[[], Any]:
    """Expects that the call within the block is refused."""
    return _refused


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Takes the spans of the shared mesh."""
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture(scope="session")
def new_network() -> type[Network]:
    """Makes a mesh of a test's own; nothing of it runs yet."""
    return Network


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def network_on(request: pytest.FixtureRequest) -> Callable[..., Network]:
    """Makes a mesh as `new_network` does, on databases of each kind."""
    if request.param == "sqlite":
        return Network
    return partial(Network, postgresql=request.getfixturevalue("postgresql_server"))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Network]:
    """The mesh that all journeys of this process share, traced in full."""
    built = Network(
        tmp_path_factory.mktemp("network"),
        [CHIYODA, OKUTAMA, YOKOSUKA],
        agencies=_further_agencies(),
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "NO_PROXY": "127.0.0.1"},
        disclosure=True,
    )
    try:
        built.start()
        yield built
    finally:
        codes = built.stop()
    assert set(codes.values()) == {0}, f"nodes ended with {codes}"


@pytest.fixture(scope="session")
def grpc_js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of `grpc_js/` and its pinned packages, installed by their lock."""
    return installed(Path(__file__).parent / "grpc_js", tmp_path_factory.mktemp("grpc-js"))


def _further_agencies() -> list[Agency]:
    """One that was listed before its successor was, and a private organisation taken for a public body as well."""
    rows, bodies = frozenset({"B1-77", "B1-72"}), frozenset({"japan-pension-service"})
    ended = Agency(
        id="former-agency",
        spiffe_id=f"{SPIFFE_PREFIX}former-agency",
        name_en="Former Agency",
        name_ja="旧機関",
        kind="public",
        bodies=bodies,
        rows=rows,
        valid_from=date(2018, 4, 1),
        valid_to=date(2019, 1, 6),
    )
    insurer = Agency(
        id=INSURER,
        spiffe_id=f"{PRIVATE_PREFIX}{INSURER}",
        name_en="Example Insurer",
        name_ja="例示保険",
        kind="private",
        bodies=bodies,
        rows=rows,
        valid_from=date(2019, 1, 7),
    )
    return [ended, insurer]
