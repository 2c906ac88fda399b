"""Auditors read over gRPC exactly what the latest checkpoint covers, in order, in messages that a gateway may send."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from sqlalchemy import Engine, insert

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import IdentityField
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from jukinet.ledger import merkle, schema, store
from jukinet.ledger.note import Signer, open_checkpoint
from jukinet.ledger.service import ENTRIES_PER_MESSAGE, LedgerService
from jukinet.mesh.limits import MESSAGE_SLACK_BYTES

MakeLeaf = Callable[..., bytes]
ENTRIES = 243


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
        (0, 0, [(0, 100), (100, 100), (200, 43)]),
        (200, 0, [(200, 43)]),
        (7, 3, [(7, 3)]),
        (7, 101, [(7, 100), (107, 1)]),
        (240, 100_000_000, [(240, 3)]),
        (ENTRIES, 0, []),
        (2**63, 1, []),
    ],
)
async def test_a_run_is_cut_into_messages(
    stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", first: int, limit: int, runs: list[tuple[int, int]]
) -> None:
    assert await listed(stub, first, limit) == runs


async def test_the_longest_entries_fit_into_what_a_gateway_may_send(
    stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", leaf: MakeLeaf
) -> None:
    longest = leaf(
        1,
        purpose="B1-100-100-100*.100",
        agency=f"spiffe://agencies.jukinet/agency/{'x' * 63}",
        fields=IdentityField.values()[1:],
        wanted=IdentityField.values()[1:],
        edition="2019-01.99",
    )
    assert ENTRIES_PER_MESSAGE * (len(longest) + 4) <= MESSAGE_SLACK_BYTES
    messages = [message async for message in stub.ListEntries(ledger_pb2.ListEntriesRequest(), timeout=10)]
    assert max(message.ByteSize() for message in messages) <= MESSAGE_SLACK_BYTES
