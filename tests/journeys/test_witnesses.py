"""The witnesses (立会人) of a gateway's ledger as processes: killed, away, put back, and a ledger that was put back."""

import asyncio
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from agency_gateway.witness_list import ListedWitness, format_witnesses, load_witnesses
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet._pb.jukinet.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from jukinet._pb.jukinet.witness.v1.witness_pb2 import AddCheckpointRequest, GetLatestRequest
from jukinet._pb.jukinet.witness.v1.witness_pb2_grpc import WitnessServiceStub
from jukinet.cli.init import free_addresses
from jukinet.cli.layout import DISCLOSURE
from jukinet.cli.ledger import fetch_ledger
from jukinet.cli.output import Exit
from jukinet.ledger import merkle, schema
from jukinet.ledger.cosignature import WitnessKey, key_name
from jukinet.ledger.note import Signer, sign_checkpoint
from jukinet.ledger.verify import Report, verify_files
from jukinet.mesh import pki
from jukinet.mesh.errors import reason_of, size_of
from jukinet.mesh.failpoints import VARIABLE
from jukinet.mesh.identity import Identity
from jukinet.mesh.pki import load_signing_key
from jukinet.store.engine import open_reader

Network = Any  # the fixtures' own classes live in conftest.py
MakeNetwork = Callable[..., Network]
CHIYODA, CENTER, GATEWAY = "131016", "center", "gateway-1"
W1, W2, W3 = WITNESSES = ("witness-1", "witness-2", "witness-3")
NEW = "witness-4"
SECONDS = 10.0


class Ledger:
    """A gateway with its witnesses, and what an auditor finds."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.nodes = network.nodes
        self._folder = folder
        self._fetched = 0

    async def start(self, *names: str) -> None:
        for name in names:
            self.nodes.start(name)
        await self.nodes.wait_healthy(names)

    async def stop(self, *names: str) -> None:
        for name in names:
            self.nodes.terminate(name)
            assert await self.nodes.wait_ended(name) == 0

    async def ask(self, count: int = 1) -> None:
        """Puts so many questions about nobody on record."""
        for _ in range(count):
            await self.network.inquire(self.network.question(self.network.person(CHIYODA)))

    async def verified(self, *, witnesses: Sequence[str] = WITNESSES) -> Report:
        """The ledger as an auditor fetches it now, checked offline with the keys of its witnesses."""
        self._fetched += 1
        file = self._folder / f"ledger-{self._fetched}.jsonl"
        await fetch_ledger(self.network.mesh, GATEWAY, file)
        keys = [self.network.mesh.witness_key(name).read_text("utf-8") for name in witnesses]
        return verify_files(file, self.network.mesh.ledger_key(GATEWAY), witnesses=keys, quorum=2)

    async def behind(self) -> dict[str, int]:
        """By witness, how many entries it has not cosigned, as the gateway tells its operator."""
        status = await self.network.status(GATEWAY)
        return {each.identity.rpartition("/")[2]: each.behind for each in status.witnesses}

    async def all_is_published(self) -> bool:
        """Whether the published checkpoint covers all entries."""
        status = await self.network.status(GATEWAY)
        return bool(status.published_entries == status.ledger_entries)

    async def until(self, condition: Callable[[], Any]) -> None:
        await self.network.until(condition)

    async def ends(self, name: str, **environ: str) -> tuple[int, str]:
        """Starts a node that does not run on; its exit code and last words."""
        self.nodes.start(name, environ)
        async with asyncio.timeout(60):
            while self.nodes.is_running(name):
                await asyncio.sleep(0.02)
        return self.nodes.exit_code(name), self.network.log(name).splitlines()[-1]

    def database(self, node: str = GATEWAY) -> Path:
        file = "ledger.db" if node == GATEWAY else "witness.db"
        return Path(self.network.folder(node) / file)

    def published(self) -> dict[int, str]:
        """Every published checkpoint by its size, out of the database."""
        engine = open_reader(self.network.mesh.config(GATEWAY).database)
        with engine.connect() as connection:
            found = {row.size: row.note for row in connection.execute(select(schema.published))}
        engine.dispose()
        return found


@asynccontextmanager
async def running(new_network: MakeNetwork, folder: Path) -> AsyncIterator[Ledger]:
    network = new_network(folder, [CHIYODA], witnesses=3)
    async with network.nodes:
        ledger = Ledger(network, folder)
        await ledger.start(CENTER, *WITNESSES, GATEWAY)
        yield ledger


def put_back(database: Path, copy: Path) -> None:
    """Puts an older copy in the place of a database."""
    for suffix in ("-wal", "-shm"):
        database.with_name(f"{database.name}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, database)


def copied(database: Path, to: Path) -> Path:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source:
        source.execute("VACUUM INTO ?", (str(to),))
    return to


@pytest.mark.slow
async def test_while_its_witness_is_away_a_ledger_is_known_until_the_first_entry_that_waits(
    new_network: MakeNetwork, tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA], disclosure=True)

    async def mirrored(size: int) -> Any:
        """How the disclosure node finds the ledger, once it has verified so much of it."""

        async def came() -> bool:
            mirror = (await network.status(DISCLOSURE)).mirrors[0]
            return bool(mirror.HasField("verified_at") and mirror.entries == size)

        await network.until(came)
        return (await network.status(DISCLOSURE)).mirrors[0]

    async with network.nodes:
        ledger = Ledger(network, tmp_path)
        await ledger.start(CENTER, W1, GATEWAY)
        await ledger.ask()
        await ledger.until(ledger.all_is_published)
        ledger.nodes.kill(W1)
        await ledger.ask(2)
        _, first, _ = await network.ledger()
        await ledger.start(DISCLOSURE)
        assert (await mirrored(1)).verified_at == first.time
        await ledger.start(W1)
        assert (await mirrored(3)).verified_at.ToMicroseconds() > first.time.ToMicroseconds()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_witnesses_come_and_go_and_a_ledger_that_was_put_back_does_not_start(
    new_network: MakeNetwork, tmp_path: Path
) -> None:
    """One mesh for the whole story, for each is seven processes."""
    async with running(new_network, tmp_path) as ledger:
        await ledger.ask(2)
        assert (await ledger.verified()).findings.sound
        copy = copied(ledger.database(), tmp_path / "ledger-of-2.db")

        # One witness dead: the other two are a quorum, and the dead one catches up when it is back.
        ledger.nodes.kill(W3)
        await ledger.ask(2)
        report = await ledger.verified()
        assert (report.findings.sound, report.entries, report.witnesses) == (
            True,
            4,
            ["jukinet/witness-1", "jukinet/witness-2"],
        )
        assert await ledger.behind() == {W1: 0, W2: 0, W3: 2}
        await ledger.start(W3)

        async def all_are_level() -> bool:
            return set((await ledger.behind()).values()) == {0}

        await ledger.until(all_are_level)

        # Two away: receipts go on, nothing more is published.
        ledger.nodes.kill(W2)
        ledger.nodes.kill(W3)
        await ledger.ask(1)
        assert (await ledger.verified()).entries == 4
        status = await ledger.network.status(GATEWAY)
        assert (status.ledger_entries, status.published_entries) == (5, 4)

        # Started so, the gateway does not serve: nobody vouches for its disk.
        await ledger.stop(GATEWAY)
        ledger.nodes.start(GATEWAY)

        async def answers() -> bool:
            try:
                return bool(await ledger.network.status(GATEWAY))
            except grpc.aio.AioRpcError:
                return False

        await ledger.until(answers)
        assert not await ledger.network.is_healthy(GATEWAY)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ledger.ask()
        assert reason_of(refused.value) == errors.ERROR_REASON_LEDGER_UNAVAILABLE
        assert (await ledger.network.status(GATEWAY)).ledger_entries == 5
        await ledger.start(W2)
        await ledger.nodes.wait_healthy([GATEWAY])
        await ledger.ask()
        assert (await ledger.verified()).entries == 6

        # An older copy of the ledger: every witness that answers has seen more.
        await ledger.stop(GATEWAY)
        newest = copied(ledger.database(), tmp_path / "ledger-of-6.db")
        put_back(ledger.database(), copy)
        code, words = await ledger.ends(GATEWAY)
        assert code == Exit.CONTRADICTED
        assert "saw 6 entries, the database has 2" in words
        assert "runbook" in words
        put_back(ledger.database(), newest)
        await ledger.start(GATEWAY)

        # A witness that lost its database is not started again.
        await ledger.stop(W1)
        ledger.database(W1).unlink()
        for suffix in ("-wal", "-shm"):
            ledger.database(W1).with_name(f"witness.db{suffix}").unlink(missing_ok=True)
        code, words = await ledger.ends(W1)
        assert code == Exit.CONTRADICTED
        assert "new key" in words

        # The runbook: a new witness with a new key takes its place. The third one is still away, so it is needed.
        await ledger.stop(GATEWAY)
        put_in_the_place_of(ledger.network, W1, NEW)
        ledger.nodes.start(NEW)
        await ledger.start(GATEWAY)
        await ledger.ask()
        report = await ledger.verified(witnesses=(NEW, W2, W3))
        assert (report.findings.sound, report.entries, report.witnesses) == (
            True,
            7,
            ["jukinet/witness-4", "jukinet/witness-2"],
        )


def put_in_the_place_of(network: Network, old: str, new: str) -> None:
    """Makes a witness with a name, a key and a database of its own, and lets the gateway name it instead of another."""
    mesh, identity = network.mesh, Identity("witness", new)
    folder, before = mesh.folder(new), mesh.folder(old)
    pki.write_leaf(pki.issue(network.authority(identity), identity, days=1, server=True), folder, "tls")
    _, public = pki.create_signing_key(folder, "cosign")
    key = WitnessKey(key_name(new), pki.load_public_key(public))
    mesh.witness_key(new).write_text(str(key), "utf-8")
    shutil.copytree(before / "ledgers", folder / "ledgers")
    (address,) = free_addresses(1)
    config = mesh.config_path(old).read_text("utf-8").replace(mesh.address(old), address).replace(old, new)
    mesh.config_path(new).write_text(config, "utf-8")
    path = mesh.folder(GATEWAY) / "witnesses.toml"
    listed = load_witnesses(path)
    others = [each for each in listed.witnesses if each.identity.name != old]
    path.write_text(format_witnesses(listed.quorum, [ListedWitness(identity, address, key), *others]), "utf-8")


@pytest.mark.timeout(300)
async def test_a_witness_cosigns_for_gateways_alone_and_a_clone_of_the_gateway_ends_it(
    new_network: MakeNetwork, tmp_path: Path
) -> None:
    network = new_network(tmp_path, [CHIYODA])
    async with network.nodes:
        ledger = Ledger(network, tmp_path)
        await ledger.start(CENTER, W1, GATEWAY)
        await ledger.ask(3)
        async with network.channel(GATEWAY) as channel:
            stub = LedgerServiceStub(channel)
            answer = await stub.GetCheckpoint(ledger_pb2.GetCheckpointRequest(), timeout=SECONDS)
        request = AddCheckpointRequest(old_size=1, checkpoint=answer.checkpoint)
        async with network.channel(W1) as channel:
            operator: Any = WitnessServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await operator.AddCheckpoint(request, timeout=SECONDS)
            assert reason_of(refused.value) == errors.ERROR_REASON_CALLER_NOT_ALLOWED
            asked = GetLatestRequest(origin="jukinet/gateway-1")
            latest = await operator.GetLatest(asked, timeout=SECONDS)
            assert answer.checkpoint.startswith(latest.checkpoint)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await operator.GetLatest(GetLatestRequest(origin="elsewhere"), timeout=SECONDS)
            assert reason_of(refused.value) == errors.ERROR_REASON_ORIGIN_UNKNOWN
        async with network.channel(W1, Identity("gateway", GATEWAY)) as channel:
            gateway: Any = WitnessServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await gateway.AddCheckpoint(request, timeout=SECONDS)
            assert reason_of(refused.value) == errors.ERROR_REASON_CHECKPOINT_CONFLICT
            assert size_of(refused.value) == 3

            # Whoever holds the gateway's keys goes on with a ledger of his own, and the witness sees that one first.
            await gateway.AddCheckpoint(await of_a_clone(network), timeout=SECONDS)
        with suppress(grpc.aio.AioRpcError):
            await ledger.ask()
        assert await ledger.nodes.wait_ended(GATEWAY, seconds=60) == Exit.CONTRADICTED
        assert "saw another tree of 4 entries" in network.log(GATEWAY).splitlines()[-1]


async def of_a_clone(network: Network) -> AddCheckpointRequest:
    """The gateway's ledger of three entries with a fourth one that is not its own, signed with its key."""
    async with network.channel(GATEWAY) as channel:
        runs = LedgerServiceStub(channel).ListEntries(ledger_pb2.ListEntriesRequest(), timeout=SECONDS)
        leaves = [merkle.leaf_hash(entry) async for run in runs for entry in run.entries]
    growth = merkle.append(merkle.EMPTY, [*leaves, merkle.leaf_hash(b"another entry")])
    nodes = {(0, 2): leaves[2], (0, 3): merkle.leaf_hash(b"another entry")}
    nodes |= {(node.level, node.position): node.hash for node in growth.subtrees}
    proof = merkle.consistency_proof(3, 4, lambda level, position: nodes[level, position])
    signer = Signer("jukinet/gateway-1", load_signing_key(network.folder(GATEWAY) / "ledger.key"))
    return AddCheckpointRequest(old_size=3, proof=proof, checkpoint=sign_checkpoint(signer, 4, growth.root))


PLACES = {
    "publish.cosigned": GATEWAY,
    "publish.stored": GATEWAY,
    "witness.judged": W1,
    "witness.stored": W1,
}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_crash_at_any_step_of_witnessing_leaves_one_history(new_network: MakeNetwork, tmp_path: Path) -> None:
    network = new_network(tmp_path, [CHIYODA])
    seen: dict[int, str] = {}
    async with network.nodes:
        ledger = Ledger(network, tmp_path)
        await ledger.start(CENTER, W1, GATEWAY)
        for place, name in PLACES.items():
            await ledger.stop(name)
            network.nodes.start(name, {VARIABLE: f"{place}:1:{os.getpid()}"})
            async with asyncio.timeout(60):
                while network.nodes.is_running(name):
                    with suppress(grpc.aio.AioRpcError):
                        await ledger.ask()
                    await asyncio.sleep(0.05)
            assert network.nodes.exit_code(name) == -signal.SIGKILL, place
            await ledger.start(name)
            await network.nodes.wait_healthy([GATEWAY])
            await ledger.ask()
            await ledger.until(ledger.all_is_published)
            file = tmp_path / f"{place}.jsonl"
            size = await fetch_ledger(network.mesh, GATEWAY, file)
            assert size == (await network.status(GATEWAY)).ledger_entries
            keys = [network.mesh.witness_key(W1).read_text("utf-8")]
            assert verify_files(file, network.mesh.ledger_key(GATEWAY), witnesses=keys).findings.sound
            published = ledger.published()
            assert seen.items() <= published.items(), "what was published once stays as it was"
            seen = published
