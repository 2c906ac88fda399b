"""What a witness saw counts against a ledger that says otherwise; what it makes up or forgot counts for nothing."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jukinet._pb.jukinet.admin.v1 import admin_pb2 as admin
from jukinet._pb.jukinet.witness.v1 import witness_pb2
from jukinet.ledger import merkle, store
from jukinet.ledger.errors import LedgerContradicted
from jukinet.ledger.note import Signer, sign_checkpoint
from tests.agency_gateway.publisher.conftest import SIGNER, DirectWitness, House

STRANGER = Signer("jukinet/gateway-1", Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))


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
