"""A checkpoint is published when a quorum of witnesses cosigned it; without one the ledger is closed, in time."""

import asyncio
import contextlib
import io
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_status import rpc_status

from agency_gateway import publisher as publisher_module
from agency_gateway.appending import load
from agency_gateway.node import MIGRATIONS
from agency_gateway.publisher import PUBLISH_SECONDS, UNPUBLISHED_SECONDS, Publisher
from agency_gateway.record import Record
from agency_gateway.witness import Witness
from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.ledger import merkle, published, store
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.errors import LedgerContradicted
from jukinet.ledger.export import export_database
from jukinet.ledger.note import Signer, open_checkpoint, sign_checkpoint
from jukinet.ledger.verify import verify_files
from jukinet.ledger.verify.notes import read_key
from jukinet.mesh.errors import Refused, to_status
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.reading import read
from jukinet.store.writer import Writer
from jukinet.witness.node import MIGRATIONS as WITNESS_MIGRATIONS
from jukinet.witness.service import WitnessService
from tests.agency_gateway.one_entry import one_entry

SIGNER = Signer("jukinet/gateway-1", Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
STRANGER = Signer("jukinet/gateway-1", Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))


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


async def test_a_new_ledger_is_published_empty_and_then_open(house: House) -> None:
    assert not house.publisher.is_open
    await house.publisher.begin()
    assert house.publisher.is_open
    size, note = house.published()
    assert (size, open_checkpoint(note, SIGNER.verifier).size) == (0, 0)


async def test_all_three_cosign_what_is_on_disk(house: House) -> None:
    await house.publisher.begin()
    for count in (1, 4, 20):
        await house.keep(count)
        await house.publish()
        assert house.published()[0] == house.record.size == house.publisher.size
    assert house.cosigners(3) == ["jukinet/witness-1", "jukinet/witness-2", "jukinet/witness-3"]


async def test_two_of_three_are_enough_and_the_third_catches_up_when_it_is_back(house: House) -> None:
    await house.publisher.begin()
    house.direct[1].away = True
    await house.keep(5)
    await house.publish()
    assert house.cosigners() == ["jukinet/witness-1", "jukinet/witness-3"]
    assert house.states() == [admin.WITNESS_STATE_ANSWERS, admin.WITNESS_STATE_AWAY, admin.WITNESS_STATE_ANSWERS]
    assert [each.behind for each in house.status().witnesses] == [0, 5, 0]
    house.direct[1].away = False
    await house.publish()
    assert [each.behind for each in house.status().witnesses] == [0, 0, 0]
    assert house.states() == [admin.WITNESS_STATE_ANSWERS] * 3


async def test_a_receipt_does_not_wait_for_witnesses_and_is_tied_to_what_they_cosign_later(
    house: House, tmp_path: Path
) -> None:
    await house.publisher.begin()
    for each in house.direct:
        each.away = True
    receipt = await house.keep(3)
    assert open_checkpoint(receipt.checkpoint, SIGNER.verifier).size == 3
    assert house.published()[0] == 0
    for each in house.direct:
        each.away = False
    await house.keep(2)
    await house.publish()
    house.cosigners()
    path = tmp_path / "receipt"
    path.write_bytes(receipt.SerializeToString())
    keys = [str(each.cosigner.key) for each in house.direct]
    report = verify_files(tmp_path / "ledger.jsonl", tmp_path / "ledger.vkey", [path], witnesses=keys)
    assert (report.findings.sound, report.receipts, len(report.witnesses)) == (True, 1, 3)


async def refused(house: House) -> "errors.ErrorReason.ValueType":
    with pytest.raises(Refused) as caught:
        await house.keep()
    return caught.value.reason


async def test_without_a_quorum_nothing_is_published_and_after_the_limit_nothing_is_kept(house: House) -> None:
    await house.publisher.begin()
    house.direct[0].away = house.direct[2].away = True
    await house.keep()
    await house.publish(after=0)
    await house.publish(after=UNPUBLISHED_SECONDS)
    assert house.published()[0] == 0
    await house.keep()  # the limit itself is still allowed
    await house.publish(after=1)
    size = house.record.size
    assert await refused(house) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    assert house.record.size == size
    house.direct[0].away = False
    await house.publish()
    assert (house.published()[0], house.publisher.is_open) == (size, True)
    await house.keep()


async def test_a_ledger_that_does_not_grow_needs_no_witness(house: House) -> None:
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    for each in house.direct:
        each.away = True
    await house.publish(after=10 * UNPUBLISHED_SECONDS)
    assert house.publisher.is_open
    await house.keep()
    await house.publish(after=PUBLISH_SECONDS)
    assert house.publisher.is_open, "it waits since the round before at the earliest"


async def test_a_ledger_that_cannot_be_read_for_its_witnesses_is_closed_after_the_limit(house: House) -> None:
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    await house.keep()
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_checkpoints RENAME TO elsewhere")
    await house.publish(after=UNPUBLISHED_SECONDS)
    assert house.publisher.is_open
    await house.publish(after=1)
    assert not house.publisher.is_open
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger_checkpoints")
    await house.publish()
    assert (house.published()[0], house.publisher.is_open) == (2, True)


async def test_a_round_that_does_not_end_closes_the_ledger_after_the_limit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.publisher.begin()
    moves_on = threading.Event()

    def hanging(*asked: Any) -> Any:
        moves_on.wait(30)
        return read(*asked)

    monkeypatch.setattr(publisher_module, "read", hanging)
    round_ = asyncio.create_task(house.publish(after=UNPUBLISHED_SECONDS))
    await asyncio.sleep(0)
    assert house.publisher.is_open
    house.now += 1
    assert not house.publisher.is_open
    moves_on.set()
    await round_
    await house.publish()
    assert house.publisher.is_open


async def test_nothing_is_kept_before_a_quorum_has_cosigned_what_is_on_disk(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    await house.again()
    house.direct[0].away = house.direct[1].away = True
    await house.publisher.begin()
    assert await refused(house) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
    house.direct[1].away = False
    await house.publish()
    assert (await house.keep()).index == 3


async def test_a_published_checkpoint_is_not_written_again(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    before = house.published()
    await house.again()
    await house.publisher.begin()
    assert house.publisher.is_open
    assert house.published() == before


async def test_a_witness_that_hangs_delays_nobody(house: House) -> None:
    await house.publisher.begin()
    house.direct[0].hangs = True
    for _ in range(3):
        await house.keep(2)
        began = time.monotonic()
        await house.publish()
        assert time.monotonic() - began < 1.5
        assert house.published()[0] == house.record.size
    assert house.direct[0].calls <= 3, "the call that hangs is the only one"


async def test_a_dead_witness_is_asked_again_after_pauses_that_grow(house: House) -> None:
    await house.publisher.begin()
    dead = house.direct[0]
    dead.away, dead.calls = True, 0
    await house.keep()
    for _ in range(600):
        await house.publish(after=1.0)
    assert 20 <= dead.calls <= 90, "about one call in fifteen seconds in the end"


async def test_whoever_waits_for_the_published_checkpoint_gets_it_when_it_is_there(house: House) -> None:
    await house.publisher.begin()
    await house.keep(4)
    waiting = asyncio.create_task(house.publisher.covering(4))
    await asyncio.sleep(0)
    await house.publish()
    await asyncio.wait_for(waiting, 1.0)
    assert house.publisher.size == 4


async def put_back(house: House) -> None:
    """The gateway goes on with a copy of its database of three entries; the witnesses saw five."""
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    path, copy = house.folder / "ledger.db", house.folder / "copy.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    await house.keep(2)
    await house.publish()
    await house.close()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (house.folder / name).unlink(missing_ok=True)
    copy.replace(path)
    house._open()


async def test_a_ledger_that_was_put_back_does_not_open(house: House) -> None:
    await put_back(house)
    with pytest.raises(LedgerContradicted, match=r"saw 5 entries, the database has 3"):
        await house.publisher.begin()
    assert not house.publisher.is_open


async def test_one_witness_alone_proves_that_a_ledger_was_put_back(house: House) -> None:
    await put_back(house)
    house.direct[0].away = house.direct[1].away = True
    with pytest.raises(LedgerContradicted):
        await house.publisher.begin()


async def test_a_ledger_that_went_another_way_is_found_whether_it_is_as_long_or_longer(house: House) -> None:
    await put_back(house)
    for each in house.direct:
        each.away = True
    house.publisher._confirmed = True  # what an insider would do who lets the ledger go on
    await house.keep(2)
    house.direct[2].away = False
    with pytest.raises(LedgerContradicted, match="another tree of 5 entries"):
        await house.publish()
    await house.keep(4)
    with pytest.raises(LedgerContradicted, match="another tree of 5 entries"):
        await house.publish()


async def test_a_contradiction_is_found_while_the_gateway_runs(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    # The same key signs elsewhere: a clone of this gateway went on, and one witness saw it.
    with house.reader.connect() as connection:
        leaves = [merkle.leaf_hash(entry) for entry in store.read_entries(connection, 0, 3)]
    leaves.append(merkle.leaf_hash(b"an entry of the clone"))
    growth = merkle.append(merkle.EMPTY, leaves)
    nodes = {(0, index): leaf for index, leaf in enumerate(leaves)}
    nodes |= {(node.level, node.position): node.hash for node in growth.subtrees}
    proof = merkle.consistency_proof(3, 4, lambda level, position: nodes[level, position])
    await house.direct[0].shown(3, proof, sign_checkpoint(SIGNER, 4, growth.root))
    await house.keep()
    with pytest.raises(LedgerContradicted, match="another tree of 4 entries"):
        await house.publish()


def told(lie: Any) -> Callable[[Any], Any]:
    """In the place of every answer of its kind."""
    return lambda answer: lie if isinstance(answer, type(lie)) else answer


async def test_a_witness_that_lies_stops_nobody(house: House) -> None:
    await house.publisher.begin()
    await house.keep(3)
    liar = house.direct[0]
    for lie in (sign_checkpoint(STRANGER, 99, bytes(32)), "nonsense"):
        house.witnesses[0]._where = None
        liar.says = told(witness_pb2.GetLatestResponse(checkpoint=lie))
        await house.keep()
        await house.publish()
        assert house.published()[0] == house.record.size
        assert house.states()[0] == admin.WITNESS_STATE_AWAY
    for line in ("", "nonsense", house.direct[1].cosigner.cosign("other text\n", 1)):
        liar.says = told(witness_pb2.AddCheckpointResponse(cosignature=line))
        await house.keep()
        await house.publish()
        assert house.cosigners() == ["jukinet/witness-2", "jukinet/witness-3"]


async def test_a_witness_that_lost_its_database_counts_for_nothing(house: House, tmp_path: Path) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    (tmp_path / "new").mkdir()
    house.direct[0].close()
    house.direct[0] = DirectWitness(tmp_path / "new", 1)
    house.direct[1].away = True
    await house.again()
    await house.publisher.begin()
    assert house.states()[0] == admin.WITNESS_STATE_FORGOT
    assert not house.publisher.is_open, "one that forgot and one that is there are no quorum"
    house.direct[1].away = False
    await house.publish()
    assert house.publisher.is_open


async def test_a_new_witness_with_a_key_of_its_own_takes_the_place_of_a_retired_one(
    house: House, tmp_path: Path
) -> None:
    await house.publisher.begin()
    await house.keep(3)
    await house.publish()
    house.direct[0].close()
    house.direct[0] = DirectWitness(tmp_path, 1, key=9)
    house.direct[1].away = True
    await house.again()
    await house.publisher.begin()
    assert house.publisher.is_open
    await house.keep()
    await house.publish()
    assert house.cosigners() == ["jukinet/witness-1", "jukinet/witness-3"]


async def test_a_disk_that_keeps_no_published_checkpoint_delays_it_and_ends_nothing(house: House) -> None:
    await house.publisher.begin()
    await house.keep(2)
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_published RENAME TO elsewhere")
    await house.publish()
    assert house.publisher.size == 0
    with house.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger_published")
    await house.publish()
    assert house.published()[0] == 2


async def test_one_witness_of_one_is_a_quorum(tmp_path: Path) -> None:
    house = House(tmp_path, witnesses=1)
    await house.publisher.begin()
    await house.keep()
    await house.publish()
    assert house.cosigners() == ["jukinet/witness-1"]
    await house.close()
    house.direct[0].close()
