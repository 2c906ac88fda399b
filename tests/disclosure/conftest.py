"""A gateway's ledger without the gateway, and a disclosure node's database that mirrors it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.disclosure.acts import Acts
from jukinet.disclosure.desk import Desk, Residents
from jukinet.disclosure.ledger_list import ListedLedger
from jukinet.disclosure.mirror import Mirror
from jukinet.disclosure.node import MIGRATIONS
from jukinet.disclosure.usage_desk import UsageDesk
from jukinet.ledger import merkle
from jukinet.ledger import store as ledger
from jukinet.ledger.cosignature import Cosigner
from jukinet.ledger.entry import EntryKeys, make_entry, month_key, person_token
from jukinet.ledger.layout import decode, encode
from jukinet.ledger.newest import newest_us
from jukinet.ledger.note import Signer, sign_checkpoint, text_of
from jukinet.ledger.verify.notes import read_key, read_witness_key
from jukinet.mesh.errors import Refused, to_status
from jukinet.mesh.identity import Identity
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.migrate import ensure_schema
from jukinet.store.writer import Writer
from tests.disclosure.answers import CODE, KEY, MADE_AT, OFFICE, OTHER, Files, us
from tests.disclosure.counter import CHECKS, COUNTER

TOKEN_KEY = b"\x09" * 32
SIGNER = Signer("jukinet/gateway-1", Ed25519PrivateKey.from_private_bytes(b"\x03" * 32))
COSIGNERS = [Cosigner(f"jukinet/witness-{n}", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3)]
KEYS = EntryKeys(b"\x05" * 32)


def leaf_of(number: int, code: str = "", *, time: datetime | None = None, **parts: Any) -> bytes:
    """The n-th answer of a ledger, about the resident of a code; about nobody without one."""
    moment = time or datetime(2026, 4, 1, tzinfo=UTC) + timedelta(seconds=number)
    provided = bool(code)
    arguments = {
        "time": moment,
        "request_id": f"5f7d1c1e-0000-4000-8000-{number:012x}",
        "agency": "spiffe://agencies.jukinet/agency/pension-service",
        "operator": "op-17",
        "purpose": "B1-77.12",
        "article": "30-9",
        "case_reference": "case-1",
        "action": ledger_pb2.ACTION_INQUIRE,
        "result": ledger_pb2.RESULT_PROVIDED if provided else ledger_pb2.RESULT_NO_SINGLE_MATCH,
        "policy_digest": b"\x07" * 32,
        "method": 1,
        "wanted": [1],
        "edition": "2019-01",
        "fields": [1] if provided else [],
        "token": person_token(month_key(TOKEN_KEY, moment), code) if provided else b"",
        "answer": b"answer",
        **parts,
    }
    return encode(make_entry(KEYS, **arguments))


def sign(leaves: list[bytes], *, signer: Signer = SIGNER, cosigners: int = 2) -> str:
    """A published checkpoint over leaves."""
    growth = merkle.append(merkle.EMPTY, [merkle.leaf_hash(leaf) for leaf in leaves])
    note = sign_checkpoint(signer, len(leaves), growth.root)
    return note + "".join(each.cosign(text_of(note), 1_800_000_000) for each in COSIGNERS[:cosigners])


class Gateway:
    """What a gateway's LedgerService shows; each part of it can be made to lie."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.shown: list[bytes] | None = None
        """What it gives as entries instead of those that it signed."""
        self.waiting: list[bytes] = []
        """Entries after those, which no quorum of witnesses cosigned yet."""
        self.signer, self.cosigners, self.away = SIGNER, 2, False
        self.witnesses = [str(each.key) for each in COSIGNERS]
        self.fetched = 0

    async def GetCheckpoint(self, _request: Any, *, timeout: float) -> ledger_pb2.GetCheckpointResponse:
        return ledger_pb2.GetCheckpointResponse(checkpoint=self._note())

    async def GetConsistencyProof(self, request: Any, *, timeout: float) -> ledger_pb2.GetConsistencyProofResponse:
        if self.away:
            raise _error(errors.ERROR_REASON_OVERLOADED)
        if request.old_size > len(self.leaves):
            raise _error(errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED)
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves]
        nodes = {(node.level, node.position): node.hash for node in merkle.append(merkle.EMPTY, hashes).subtrees}
        nodes |= {(0, index): leaf for index, leaf in enumerate(hashes)}
        proof = merkle.consistency_proof(request.old_size, len(hashes), lambda *place: nodes[place])
        return ledger_pb2.GetConsistencyProofResponse(checkpoint=self._note(), proof=proof)

    async def ListEntries(self, request: Any, *, timeout: float) -> AsyncIterator[ledger_pb2.ListEntriesResponse]:
        leaves = self.leaves if self.shown is None else self.shown
        wanted = [*leaves, *self.waiting][request.first_index : request.first_index + request.limit]
        self.fetched += len(wanted)
        for start in range(0, len(wanted), 3):
            yield ledger_pb2.ListEntriesResponse(
                first_index=request.first_index + start, entries=wanted[start : start + 3]
            )

    def _note(self) -> str:
        return sign(self.leaves, signer=self.signer, cosigners=self.cosigners)


def _error(reason: "errors.ErrorReason.ValueType") -> grpc.aio.AioRpcError:
    status = to_status(Refused(reason), "0" * 16)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, status.message)


class Node:
    """A disclosure node's database, and its mirror of one gateway."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_writer(url)
        ensure_schema(self.engine, MIGRATIONS)
        self.reader = open_reader(url)
        self.writer = Writer(self.engine)
        self.gateway = Gateway()
        self.mirror = self.begin()

    def begin(self) -> Mirror:
        """A mirror as after a restart."""
        key = read_key(str(SIGNER.verifier))
        stub: Any = self.gateway
        return Mirror(
            ListedLedger(Identity("gateway", "gateway-1"), "127.0.0.1:1", key),
            stub,
            witnesses=[read_witness_key(str(each.key)) for each in COSIGNERS],
            quorum=2,
            reader=self.reader,
            writer=self.writer,
        )

    def own_entries(self) -> list[ledger_pb2.Entry]:
        """What the node's own ledger says."""
        with self.reader.connect() as connection:
            leaves = ledger.read_entries(connection, 0, ledger.covered_size(connection))
        return [decode(leaf) for leaf in leaves]

    def close(self) -> None:
        self.writer.close()
        self.reader.dispose()
        self.engine.dispose()


@pytest.fixture
def node(sqlite_url: str) -> Iterator[Node]:
    made = Node(sqlite_url)
    yield made
    made.close()


@pytest.fixture
def node_on_each(database_url: str) -> Iterator[Node]:
    made = Node(database_url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def leaf() -> Callable[..., bytes]:
    """The n-th answer of a ledger."""
    return leaf_of


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Public keys as files, for the verifier."""
    folder = tmp_path_factory.mktemp("keys")
    path = folder / "ledger.vkey"
    path.write_text(f"{SIGNER.verifier}\n")
    return {"ledger": path}


@pytest.fixture
async def filled(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Entries about two residents, in turn, and some about nobody; two days apart, from March on."""
    about = [CODE, OTHER, "", CODE]
    node.gateway.leaves = [
        leaf_of(number, about[number % 4], time=datetime(2026, 3, 20, tzinfo=UTC) + timedelta(days=2 * number))
        for number in range(24)
    ]
    monkeypatch.setattr("jukinet.disclosure.mirror.now_us", lambda: us(MADE_AT))
    await node.mirror.look()
    return node


@pytest.fixture
def files(filled: Node, keys: dict[str, Path], tmp_path: Path) -> Files:
    return Files(tmp_path, filled, keys["ledger"])


@pytest.fixture
async def desk(node: Node) -> AsyncIterator[Desk]:
    """The desk of a node."""
    signer = Signer("jukinet/disclosure", KEY)
    state = await node.writer.run(lambda connection: ledger.load(connection, signer))
    acts = Acts(writer=node.writer, signer=signer, state=state, newest_us=await node.writer.run(newest_us))
    committing = asyncio.create_task(acts.grouping.run())
    yield Desk(
        residents=Residents(OFFICE.token_key),
        keys=EntryKeys(OFFICE.token_key),
        counters={COUNTER: CHECKS.public_key()},
        acts=acts,
        policy_digest=bytes(32),
    )
    committing.cancel()


@pytest.fixture
def usage(node: Node, desk: Desk, leaf: Any) -> UsageDesk:
    """Tells of a ledger of three entries, of which the first is about the resident."""
    node.gateway.leaves = [leaf(0, CODE), leaf(1), leaf(2)]
    return UsageDesk(desk, office=OFFICE, mirrors=[node.mirror], reader=node.reader)
