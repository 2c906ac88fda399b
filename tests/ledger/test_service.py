"""Auditors read over gRPC exactly what the latest checkpoint covers, in order, in messages of at most 500 entries."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from sqlalchemy import Engine, insert

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from jukinet.ledger import merkle, schema, store
from jukinet.ledger.note import Signer, open_checkpoint
from jukinet.ledger.service import LedgerService

MakeLeaf = Callable[..., bytes]
ENTRIES = 1_203


@pytest.fixture
async def stub(
    sqlite: Engine, signer: Signer, leaf: MakeLeaf
) -> "AsyncIterator[ledger_pb2_grpc.LedgerServiceAsyncStub]":
    with sqlite.begin() as connection:
        state = store.load(connection, signer)
        store.append(connection, state, [leaf(k) for k in range(ENTRIES)], signer)
        # An entry without a checkpoint, as it would be in the middle of an append.
        row = {"leaf_index": ENTRIES, "entry": leaf(ENTRIES), "leaf_hash": bytes(32)}
        connection.execute(insert(schema.entries), [row])
    server = grpc.aio.server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerService(sqlite), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ledger_pb2_grpc.LedgerServiceStub(channel)
    await server.stop(None)


async def listed(stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", first: int, limit: int) -> list[tuple[int, int]]:
    request = ledger_pb2.ListEntriesRequest(first_index=first, limit=limit)
    return [(message.first_index, len(message.entries)) async for message in stub.ListEntries(request, timeout=10)]


async def test_the_tree_can_be_rebuilt_from_what_is_listed(
    stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", signer: Signer
) -> None:
    answer = await stub.GetCheckpoint(ledger_pb2.GetCheckpointRequest(), timeout=10)
    signed = open_checkpoint(answer.checkpoint, signer.verifier)
    request = ledger_pb2.ListEntriesRequest()
    entries = [entry async for part in stub.ListEntries(request, timeout=10) for entry in part.entries]
    growth = merkle.append(merkle.EMPTY, [merkle.leaf_hash(entry) for entry in entries])
    assert (growth.frontier.size, growth.root) == (signed.size, signed.root)


@pytest.mark.parametrize(
    ("first", "limit", "runs"),
    [
        (0, 0, [(0, 500), (500, 500), (1000, 203)]),
        (1000, 0, [(1000, 203)]),
        (7, 3, [(7, 3)]),
        (7, 501, [(7, 500), (507, 1)]),
        (1200, 100_000_000, [(1200, 3)]),
        (ENTRIES, 0, []),
        (2**63, 1, []),
    ],
)
async def test_a_run_is_cut_into_messages(
    stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", first: int, limit: int, runs: list[tuple[int, int]]
) -> None:
    assert await listed(stub, first, limit) == runs
