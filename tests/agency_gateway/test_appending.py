"""Groups are appended one after another, also when one before them came to nothing or is still under way."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine

from agency_gateway.appending import Handed, Kept, append, load, open_ledger
from agency_gateway.record import GROUP_ENTRIES, Record
from agency_gateway.tail import UNDER_WAY
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import store
from jukinet.ledger.errors import LedgerDiverged
from jukinet.ledger.note import Signer, open_checkpoint
from jukinet.ledger.verify.tree import hash_leaf, root_from_proof
from jukinet.mesh.errors import Refused
from jukinet.store.writer import Writer
from tests.agency_gateway.one_entry import one_entry

SIGNER = Signer("jukinet/gateway-1", Ed25519PrivateKey.generate())


class Undone(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_ledger(f"sqlite:///{tmp_path}/gateway.db")
    with engine.begin() as connection:
        assert load(connection, lambda: SIGNER) == 0
    yield engine
    engine.dispose()


def made() -> ledger_pb2.Entry:
    return one_entry(str(uuid.uuid4()))


def entry() -> Handed:
    return Handed([made().SerializeToString(deterministic=True)], [b""], [b""])


def add(connection: Connection, group: Sequence[Handed]) -> list[int]:
    """Appends a group; gives the index of each entry."""
    size, kept = append(connection, group, lambda: SIGNER)
    receipts = [ledger_pb2.Receipt.FromString(raw) for one in kept if isinstance(one, Kept) for raw in one.receipts]
    assert [receipt.entry for receipt in receipts] == [handed.leaves[0] for handed in group]
    assert size == receipts[-1].index + 1
    return [receipt.index for receipt in receipts]


def leaves_on_disk(engine: Engine) -> list[bytes]:
    """Those of a ledger that is derived anew from every row."""
    with engine.begin() as connection:
        return store.read_entries(connection, 0, store.load(connection, SIGNER).frontier.size)


@pytest.mark.parametrize("undone", range(1, UNDER_WAY + 1))
def test_groups_that_were_rolled_back_leave_no_trace_in_those_after_them(engine: Engine, undone: int) -> None:
    kept = [entry() for _ in range(4)]
    with engine.begin() as connection:
        assert add(connection, kept[:2]) == [0, 1]
    with pytest.raises(Undone), engine.begin() as connection:
        for _ in range(undone):
            add(connection, [entry(), entry(), entry()])
        raise Undone
    with engine.begin() as connection:
        assert add(connection, kept[2:3]) == [2]
    with engine.begin() as connection:
        assert add(connection, kept[3:]) == [3]
    assert leaves_on_disk(engine) == [handed.leaves[0] for handed in kept]


def test_groups_may_share_a_transaction(engine: Engine) -> None:
    kept = [entry() for _ in range(5)]
    with engine.begin() as connection:
        assert [add(connection, [one]) for one in kept[:3]] == [[0], [1], [2]]
    with engine.begin() as connection:
        assert add(connection, kept[3:]) == [3, 4]
    assert leaves_on_disk(engine) == [handed.leaves[0] for handed in kept]


def test_nothing_is_appended_to_a_ledger_that_somebody_else_appended_to(engine: Engine) -> None:
    mine = entry()
    with engine.begin() as connection:
        add(connection, [mine])
    with engine.begin() as connection:
        store.append(connection, store.load(connection, SIGNER), entry().leaves, SIGNER)
    for _ in range(2):
        with pytest.raises(LedgerDiverged), engine.begin() as connection:
            add(connection, [entry()])
    assert len(leaves_on_disk(engine)) == 2


def test_a_process_knows_each_of_its_ledgers_apart(engine: Engine, tmp_path: Path) -> None:
    other = open_ledger(f"sqlite:///{tmp_path}/other.db")
    with other.begin() as connection:
        load(connection, lambda: SIGNER)
    for one, count in ((engine, 1), (other, 2), (engine, 3)):
        with one.begin() as connection:
            add(connection, [entry() for _ in range(count)])
    assert (len(leaves_on_disk(engine)), len(leaves_on_disk(other))) == (4, 2)
    other.dispose()


async def asked_at_once(engine: Engine, entries: Sequence[ledger_pb2.Entry]) -> list[ledger_pb2.Receipt | Refused]:
    """Hands all entries in at once; gives what became of each."""
    with engine.begin() as connection:
        size = load(connection, lambda: SIGNER)
    writer = Writer(engine, limit=1)
    record = Record(writer=writer, sign=lambda: SIGNER, size=size, newest_us=0, is_open=lambda: True)
    grouping = asyncio.create_task(record.grouping.run())
    try:
        told = await asyncio.gather(*map(record.keep, entries), return_exceptions=True)
    finally:
        grouping.cancel()
        writer.close()
    return [each for each in told if isinstance(each, ledger_pb2.Receipt | Refused)]


async def test_those_of_several_groups_under_way_each_have_their_own_receipt(engine: Engine) -> None:
    entries = [made() for _ in range(3 * GROUP_ENTRIES + 5)]
    told = await asked_at_once(engine, entries)
    receipts = [each for each in told if isinstance(each, ledger_pb2.Receipt)]
    leaves = [each.SerializeToString(deterministic=True) for each in entries]
    assert [each.entry for each in receipts] == leaves == leaves_on_disk(engine)
    for receipt in receipts:
        signed = open_checkpoint(receipt.checkpoint, SIGNER.verifier)
        assert root_from_proof(hash_leaf(receipt.entry), receipt.index, signed.size, receipt.proof) == signed.root
    sizes = {open_checkpoint(each.checkpoint, SIGNER.verifier).size for each in receipts}
    assert sizes == {GROUP_ENTRIES, 2 * GROUP_ENTRIES, 3 * GROUP_ENTRIES, len(entries)}


async def test_when_one_of_the_groups_under_way_fails_nobody_else_does(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended: list[int] = []
    append_to_store = store.append

    def fails_once(*arguments: Any) -> Any:
        appended.append(1)
        given = append_to_store(*arguments)
        if len(appended) == 2:
            raise LedgerDiverged("as if")
        return given

    monkeypatch.setattr("jukinet.ledger.store.append", fails_once)
    entries = [made() for _ in range(4 * GROUP_ENTRIES)]
    told = await asked_at_once(engine, entries)
    refused = [isinstance(each, Refused) for each in told]
    assert refused == [False] * GROUP_ENTRIES + [True] * GROUP_ENTRIES + [False] * 2 * GROUP_ENTRIES
    assert leaves_on_disk(engine) == [each.entry for each in told if isinstance(each, ledger_pb2.Receipt)]
