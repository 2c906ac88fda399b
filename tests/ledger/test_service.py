"""Auditors read over gRPC what is published and signed, in order, in messages that a gateway may send."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, insert

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import IdentityField
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from jukinet.ledger import merkle, published, schema, store
from jukinet.ledger.note import Signer, open_checkpoint
from jukinet.ledger.service import ENTRIES_PER_MESSAGE, LedgerService
from jukinet.ledger.verify.tree import SignedTree, is_consistent
from jukinet.mesh.errors import Refused
from jukinet.mesh.limits import MESSAGE_SLACK_BYTES

MakeLeaf = Callable[..., bytes]
ENTRIES = 243


async def at_once(_: int) -> None:
    """Waits for no publication."""


@pytest.fixture
async def stub(
    sqlite: Engine, signer: Signer, leaf: MakeLeaf
) -> "AsyncIterator[ledger_pb2_grpc.LedgerServiceAsyncStub]":
    with sqlite.begin() as connection:
        state = store.load(connection, signer)
        state, _ = store.append(connection, state, [leaf(k) for k in range(ENTRIES)], signer)
        published.publish(connection, ENTRIES, state.checkpoint, {})
        # An entry without a checkpoint, as it would be in the middle of an append.
        row = {"leaf_index": ENTRIES, "entry": leaf(ENTRIES), "leaf_hash": bytes(32)}
        connection.execute(insert(schema.entries), [row])
    server = grpc.aio.server()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerService(sqlite, covering=at_once), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ledger_pb2_grpc.LedgerServiceStub(channel)
    await server.stop(None)


async def test_what_no_quorum_cosigned_is_not_given_out(sqlite: Engine, signer: Signer, leaf: MakeLeaf) -> None:
    waited: list[int] = []

    async def covering(size: int) -> None:
        waited.append(size)
        with sqlite.begin() as connection:
            published.publish(connection, size, note, {})

    with sqlite.begin() as connection:
        state, _ = store.append(connection, store.load(connection, signer), [leaf(0), leaf(1)], signer)
    note = state.checkpoint
    context: Any = None  # it is not used
    request = ledger_pb2.GetCheckpointRequest()
    with pytest.raises(Refused) as caught:
        await LedgerService(sqlite, covering=at_once).GetCheckpoint(request, context)
    assert caught.value.reason == errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED
    answer = await LedgerService(sqlite, covering=covering).GetCheckpoint(request, context)
    assert (waited, answer.checkpoint) == ([2], note)


async def test_an_older_tree_is_tied_to_the_published_checkpoint(
    stub: "ledger_pb2_grpc.LedgerServiceAsyncStub", sqlite: Engine, signer: Signer
) -> None:
    for old in (0, 1, 100, ENTRIES):
        request = ledger_pb2.GetConsistencyProofRequest(old_size=old)
        answer = await stub.GetConsistencyProof(request, timeout=10)
        signed = open_checkpoint(answer.checkpoint, signer.verifier)
        with sqlite.connect() as connection:
            older = SignedTree(old, published.root_at(connection, old))
        assert is_consistent(older, SignedTree(signed.size, signed.root), answer.proof)
    context: Any = None  # it is not used
    beyond = ledger_pb2.GetConsistencyProofRequest(old_size=ENTRIES + 1)
    with pytest.raises(Refused) as caught:
        await LedgerService(sqlite, covering=at_once).GetConsistencyProof(beyond, context)
    assert caught.value.reason == errors.ERROR_REASON_CHECKPOINT_NOT_PUBLISHED


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


async def test_an_entry_that_waits_for_its_witnesses_is_listed_beyond_the_published_checkpoint(
    sqlite: Engine, signer: Signer, leaf: MakeLeaf
) -> None:
    with sqlite.begin() as connection:
        state, _ = store.append(connection, store.load(connection, signer), [leaf(0)], signer)
        published.publish(connection, 1, state.checkpoint, {})
        store.append(connection, state, [leaf(1), leaf(2)], signer)
    context: Any = None  # it is not used
    service = LedgerService(sqlite, covering=at_once)
    request = ledger_pb2.ListEntriesRequest(first_index=1, limit=1)
    assert [list(message.entries) async for message in service.ListEntries(request, context)] == [[leaf(1)]]
    answer = await service.GetConsistencyProof(ledger_pb2.GetConsistencyProofRequest(), context)
    assert open_checkpoint(answer.checkpoint, signer.verifier).size == 1


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
