"""The mirror takes what verifies and nothing else, and keeps what it had when a ledger turns bad."""

import logging
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet.disclosure import mirror as mirror_module
from jukinet.disclosure import mirror_store, schema
from jukinet.ledger import merkle
from jukinet.ledger.note import Signer
from nation.codes import CodePool

Node = Any  # the fixture's own class lives in conftest.py
ORIGIN = "jukinet/gateway-1"
CODE = CodePool(Random(1)).draw_resident_code()


def kept(node: Node) -> tuple[int, mirror_store.Verified | None]:
    with node.reader.connect() as connection:
        return mirror_store.frontier(connection, ORIGIN).size, mirror_store.latest(connection, ORIGIN)


def evidence(node: Node) -> list[str]:
    with node.reader.connect() as connection:
        return list(connection.execute(select(schema.contradictions.c.why)).scalars())


async def test_a_growing_ledger_is_mirrored_from_where_it_stopped(
    node_on_each: Node, leaf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, gateway = node_on_each, node_on_each.gateway
    monkeypatch.setattr(mirror_module, "PIECE", 4)  # so that a few entries are several pieces
    for size in (0, 1, 3, 4, 13, 13, 29):
        gateway.leaves = [leaf(number, CODE) for number in range(size)]
        await node.mirror.look()
        assert node.mirror.state == admin.MIRROR_STATE_VERIFIED
        entries, verified = kept(node)
        assert entries == size
        assert verified is not None
        assert verified.size == size
        if size == 13:
            node.mirror = node.begin()
    assert gateway.fetched == 29
    with node.reader.connect() as connection:
        frontier = mirror_store.frontier(connection, ORIGIN)
    assert frontier == merkle.append(merkle.EMPTY, [merkle.leaf_hash(each) for each in gateway.leaves]).frontier
    assert evidence(node) == []


def _other_signer(gateway: Any, _leaf: Any) -> None:
    gateway.signer = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))


def _one_witness(gateway: Any, _leaf: Any) -> None:
    gateway.cosigners = 1


def _rewritten(gateway: Any, leaf: Any) -> None:
    gateway.leaves[2] = leaf(77)


def _shorter(gateway: Any, _leaf: Any) -> None:
    gateway.leaves = gateway.leaves[:3]


def _other_entries(gateway: Any, leaf: Any) -> None:
    gateway.shown = [*gateway.leaves[:-1], leaf(99)]


def _entries_left_out(gateway: Any, _leaf: Any) -> None:
    gateway.shown = gateway.leaves[:-1]


def _no_entry(gateway: Any, _leaf: Any) -> None:
    gateway.leaves[-1] = b"\x0a\x06" + "山田".encode()


@pytest.mark.parametrize(
    "lie", [_other_signer, _one_witness, _rewritten, _shorter, _other_entries, _entries_left_out, _no_entry]
)
@pytest.mark.parametrize("piece", [2, 5_000])
async def test_a_ledger_that_does_not_verify_is_an_alarm_and_changes_nothing(
    node: Node, leaf: Any, lie: Any, piece: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirror_module, "PIECE", piece)
    node.gateway.leaves = [leaf(number, CODE) for number in range(5)]
    await node.mirror.look()
    before = kept(node)
    node.gateway.leaves += [leaf(number) for number in range(5, 12)]
    lie(node.gateway, leaf)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            await node.mirror.look()
    assert node.mirror.state == admin.MIRROR_STATE_CONTRADICTED
    assert node.mirror.is_contradicted
    assert kept(node)[1] == before[1]
    if lie not in (_other_entries, _entries_left_out, _no_entry):  # the last entry alone is wrong in these
        assert kept(node) == before
    assert len(evidence(node)) == 1
    assert "山田" not in evidence(node)[0]
    assert [record.message.partition(":")[0] for record in caplog.records] == ["a ledger does not verify"]


async def test_another_tree_of_the_same_size_is_an_alarm_though_nothing_is_to_be_fetched(node: Node, leaf: Any) -> None:
    node.gateway.leaves = [leaf(number, CODE) for number in range(5)]
    await node.mirror.look()
    before = kept(node)
    _rewritten(node.gateway, leaf)
    await node.mirror.look()
    assert (node.mirror.is_contradicted, kept(node)) == (True, before)
    assert node.gateway.fetched == 5


async def test_a_ledger_that_does_not_answer_is_away_and_no_liar(node: Node, leaf: Any) -> None:
    node.gateway.leaves = [leaf(0)]
    await node.mirror.look()
    node.gateway.away = True
    await node.mirror.look()
    assert node.mirror.state == admin.MIRROR_STATE_AWAY
    assert evidence(node) == []
    node.gateway.away = False
    await node.mirror.look()
    assert node.mirror.state == admin.MIRROR_STATE_VERIFIED
    status = admin.MirrorStatus()
    node.mirror.describe(status)
    assert (status.identity, status.entries) == ("spiffe://nodes.jukinet/gateway/gateway-1", 1)
    assert status.HasField("verified_at")


async def test_a_mirrored_entry_is_never_changed(node: Node, leaf: Any) -> None:
    node.gateway.leaves = [leaf(0)]
    await node.mirror.look()
    for statement in ("DELETE FROM mirrored_entries", "UPDATE mirrored_checkpoints SET size = 9"):
        with pytest.raises(Exception, match="append-only"), node.engine.begin() as connection:
            connection.exec_driver_sql(statement)
