"""The ledger in its database: append-only, one line of checkpoints, never signed unless derived again from the disk."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from jukinet._pb.jukinet.ledger.v1 import ledger_pb2
from jukinet.ledger import merkle, published, schema, store
from jukinet.ledger.errors import EntryInvalid, LedgerCorrupt, LedgerDiverged, NoteInvalid
from jukinet.ledger.layout import decode
from jukinet.ledger.note import Signer, open_checkpoint, sign_checkpoint
from jukinet.ledger.reread import roots_on_disk
from tests.ledger.proofs import verify_consistency, verify_inclusion
from tests.watched import Watched

MakeLeaf = Callable[..., bytes]
Fill = Callable[..., store.LedgerState]


@pytest.fixture
def fill(signer: Signer, leaf: MakeLeaf) -> Fill:
    """Appends batches of these sizes to the ledger and gives the last state."""

    def appended(engine: Engine, *sizes: int) -> store.LedgerState:
        with engine.begin() as connection:
            state = store.load(connection, signer)
        for size in sizes:
            first = state.frontier.size
            with engine.begin() as connection:
                state, _ = store.append(connection, state, [leaf(first + k) for k in range(size)], signer)
        return state

    return appended


def lift_triggers(connection: Connection, table: str) -> None:
    """What an insider with the rights of the database's owner can do."""
    if connection.dialect.name == "sqlite":
        named = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")
        for name in connection.execute(named, {"table": table}).scalars().all():
            connection.execute(text(f"DROP TRIGGER {name}"))
    else:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


def publish(engine: Engine, state: store.LedgerState) -> None:
    with engine.begin() as connection:
        published.publish(connection, state.frontier.size, state.checkpoint, {})
        connection.execute(insert(schema.bodies).values(leaf_index=0, sealed=b"sealed"))


def holds(receipt: ledger_pb2.Receipt, signer: Signer) -> bool:
    signed = open_checkpoint(receipt.checkpoint, signer.verifier)
    return verify_inclusion(
        leaf=merkle.leaf_hash(receipt.entry),
        index=receipt.index,
        size=signed.size,
        proof=receipt.proof,
        root=signed.root,
    )


def test_every_receipt_holds_against_its_checkpoint(engine: Engine, signer: Signer, leaf: MakeLeaf) -> None:
    with engine.begin() as connection:
        state = store.load(connection, signer)
    index = 0
    for size in (1, 1, 2, 5, 1, 30, 100):
        batch = [leaf(index + k) for k in range(size)]
        with engine.begin() as connection:
            state, receipts = store.append(connection, state, batch, signer)
        assert [receipt.index for receipt in receipts] == list(range(index, index + size))
        assert [receipt.entry for receipt in receipts] == batch
        assert all(holds(receipt, signer) for receipt in receipts)
        assert {receipt.checkpoint for receipt in receipts} == {state.checkpoint}
        index += size


def test_a_loaded_ledger_is_the_one_that_was_left(engine: Engine, signer: Signer, fill: Fill) -> None:
    state = fill(engine, 3, 60, 1)
    with engine.begin() as connection:
        assert store.load(connection, signer) == state


def test_a_new_ledger_begins_with_a_signed_empty_tree(engine: Engine, signer: Signer, fill: Fill) -> None:
    state = fill(engine)
    assert open_checkpoint(state.checkpoint, signer.verifier)[1:] == (0, merkle.EMPTY_ROOT)
    with engine.begin() as connection:
        assert store.load(connection, signer) == state
        assert store.covered_size(connection) == 0


def test_any_proof_can_be_made_later(engine: Engine, signer: Signer, fill: Fill) -> None:
    fill(engine, 3, 7, 1, 20)
    with engine.connect() as connection:
        notes = connection.execute(select(schema.checkpoints.c.note)).scalars()
        signed = sorted(open_checkpoint(note, signer.verifier)[1:] for note in notes)
        assert [size for size, _ in signed] == [0, 3, 10, 11, 31]
        for old_size, old_root in signed:
            for new_size, new_root in signed:
                if old_size <= new_size:
                    proof = store.consistency_proof(connection, old_size, new_size)
                    assert verify_consistency(
                        old_size=old_size, new_size=new_size, old_root=old_root, new_root=new_root, proof=proof
                    )
        for index, entry in enumerate(store.read_entries(connection, 0, 31)):
            proof = store.inclusion_proof(connection, index, 31)
            leaf_hash = merkle.leaf_hash(entry)
            assert verify_inclusion(leaf=leaf_hash, index=index, size=31, proof=proof, root=signed[-1][1])


def test_all_that_is_signed_is_append_only() -> None:
    names = {"ledger_entries", "ledger_subtrees", "ledger_checkpoints", "ledger_published", "ledger_bodies"}
    assert set(schema.append_only_tables) == names


@pytest.mark.parametrize("table", schema.append_only_tables)
@pytest.mark.parametrize("verb", ["UPDATE {t} SET {c} = {c}", "DELETE FROM {t}"])
def test_the_database_refuses_to_change_or_delete(engine: Engine, fill: Fill, table: str, verb: str) -> None:
    publish(engine, fill(engine, 4))
    column = next(iter(schema.metadata.tables[table].columns)).name
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(verb.format(t=table, c=column)))


@pytest.mark.parametrize("table", schema.append_only_tables)
def test_postgresql_refuses_truncate_and_sqlite_replace(engine: Engine, fill: Fill, table: str) -> None:
    publish(engine, fill(engine, 4))
    statement = {"postgresql": f"TRUNCATE {table}", "sqlite": f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"}
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement[engine.dialect.name]))


def test_triggers_of_another_database_are_not_known() -> None:
    with pytest.raises(ValueError, match="sqlite or postgresql"):
        schema.trigger_ddl("oracle")


def test_an_append_of_nothing_changes_nothing(sqlite: Engine, signer: Signer, fill: Fill) -> None:
    state = fill(sqlite, 2)
    with sqlite.begin() as connection:
        assert store.append(connection, state, [], signer) == (state, [])


def test_a_leaf_that_is_no_entry_is_not_written(sqlite: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    state = fill(sqlite, 2)
    with sqlite.begin() as connection:
        with pytest.raises(EntryInvalid, match="Entry 1 of the batch"):
            store.append(connection, state, [leaf(3), "山田太郎".encode()], signer)
        assert store.read_entries(connection, 0, 10) == [leaf(0), leaf(1)]


def test_a_writer_with_an_older_state_signs_nothing(engine: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    old = fill(engine, 2)
    fill(engine, 1)
    with pytest.raises(LedgerDiverged), engine.begin() as connection:
        store.append(connection, old, [leaf(9)], signer)


def test_a_writer_with_a_state_of_another_ledger_signs_nothing(
    sqlite: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf
) -> None:
    state = fill(sqlite, 2)
    frontier = merkle.append(merkle.EMPTY, [merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")]).frontier
    with pytest.raises(LedgerDiverged), sqlite.begin() as connection:
        store.append(connection, state._replace(frontier=frontier), [leaf(9)], signer)


def test_a_place_that_is_taken_is_not_written_again(engine: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    state = fill(engine, 2)
    with engine.begin() as connection:
        row = {"leaf_index": 2, "entry": leaf(2), "leaf_hash": merkle.leaf_hash(leaf(2))}
        connection.execute(insert(schema.entries), [row])
    with pytest.raises(LedgerDiverged) as refused, engine.begin() as connection:
        store.append(connection, state, [leaf(3)], signer)
    assert "5f7d1c1e" not in str(refused.value)


def test_nothing_is_signed_when_the_batch_reads_back_otherwise(
    engine: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf
) -> None:
    state = fill(engine, 5)
    with engine.begin() as connection:
        lift_triggers(connection, schema.entries.name)

    def flip(statement: str, _: object) -> None:
        if statement.startswith("INSERT INTO ledger_subtrees"):
            changed = text("UPDATE ledger_entries SET entry = :entry WHERE leaf_index = 5")
            connection.execute(changed, {"entry": leaf(1000)})

    with pytest.raises(LedgerCorrupt, match="read back"), engine.begin() as connection:
        watched: Any = Watched(connection, after=flip)
        store.append(watched, state, [leaf(5)], signer)
    with engine.begin() as connection:
        assert store.load(connection, signer) == state


def test_nothing_is_signed_over_a_row_that_is_gone(sqlite: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    state = fill(sqlite, 6)
    with sqlite.begin() as connection:
        lift_triggers(connection, schema.subtrees.name)
        connection.execute(text("DELETE FROM ledger_subtrees WHERE level = 2"))
        assert roots_on_disk(connection, 6, 6) is None
        with pytest.raises(LedgerCorrupt, match="read back"):
            store.append(connection, state, [leaf(6)], signer)


def test_both_code_paths_give_the_same_roots(sqlite: Engine, fill: Fill) -> None:
    fill(sqlite, 21)
    with sqlite.begin() as connection:
        leaves = [merkle.leaf_hash(entry) for entry in store.read_entries(connection, 0, 21)]
        roots = [merkle.append(merkle.EMPTY, leaves[:size]).root for size in range(22)]
        for old in range(22):
            for new in range(old, 22):
                assert roots_on_disk(connection, old, new) == (roots[old], roots[new])
        assert roots_on_disk(connection, 0, 22) is None


@pytest.mark.parametrize("changed", ["entry", "leaf_hash"])
def test_a_corrupted_row_is_found_at_the_start(engine: Engine, signer: Signer, fill: Fill, changed: str) -> None:
    fill(engine, 40, 3)
    with engine.begin() as connection:
        lift_triggers(connection, schema.entries.name)
        row = connection.execute(select(schema.entries).where(schema.entries.c.leaf_index == 17)).mappings().one()
        flipped = bytes([row[changed][0] ^ 1]) + row[changed][1:]
        connection.execute(text(f"UPDATE ledger_entries SET {changed} = :v WHERE leaf_index = 17"), {"v": flipped})
    with pytest.raises(LedgerCorrupt) as refused, engine.begin() as connection:
        store.load(connection, signer)
    assert refused.value.first_bad_index == 17


def rewrite_entry(connection: Connection, index: int, entry: bytes) -> None:
    """Changes an entry together with its stored hash, as someone who knows the ledger would."""
    lift_triggers(connection, schema.entries.name)
    connection.execute(
        text("UPDATE ledger_entries SET entry = :entry, leaf_hash = :hash WHERE leaf_index = :index"),
        {"entry": entry, "hash": merkle.leaf_hash(entry), "index": index},
    )


def test_a_rewritten_entry_is_found_by_its_subtree(sqlite: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    fill(sqlite, 40)
    with sqlite.begin() as connection:
        rewrite_entry(connection, 17, leaf(17, operator="somebody-else"))
        with pytest.raises(LedgerCorrupt, match="Entries 16 to 17"):
            store.load(connection, signer)


def test_a_rewritten_last_entry_is_found_by_the_root(
    sqlite: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf
) -> None:
    fill(sqlite, 41)
    with sqlite.begin() as connection:
        rewrite_entry(connection, 40, leaf(40, operator="somebody-else"))
        with pytest.raises(LedgerCorrupt, match="signed root"):
            store.load(connection, signer)


@pytest.mark.parametrize(
    ("damage", "bad"),
    [
        ("DELETE FROM ledger_entries WHERE leaf_index = 5", 5),
        ("DELETE FROM ledger_entries WHERE leaf_index >= 8", 8),
        ("DELETE FROM ledger_checkpoints WHERE size > 8", 8),
        ("DELETE FROM ledger_checkpoints", 0),
        ("INSERT INTO ledger_subtrees VALUES (9, 9, zeroblob(32))", None),
        ("DELETE FROM ledger_subtrees WHERE level = 1 AND position = 0", None),
        ("UPDATE ledger_checkpoints SET root = zeroblob(32)", None),
    ],
)
def test_rows_that_are_gone_or_too_many_are_found_at_the_start(
    sqlite: Engine, signer: Signer, fill: Fill, damage: str, bad: int | None
) -> None:
    fill(sqlite, 8, 2)
    with sqlite.begin() as connection:
        for table in schema.append_only_tables:
            lift_triggers(connection, table)
        connection.execute(text(damage))
        with pytest.raises(LedgerCorrupt) as refused:
            store.load(connection, signer)
    assert refused.value.first_bad_index == bad


def test_a_ledger_of_another_key_is_not_continued(sqlite: Engine, other_signer: Signer, fill: Fill) -> None:
    fill(sqlite, 3)
    with pytest.raises(NoteInvalid), sqlite.begin() as connection:
        store.load(connection, other_signer)


def test_a_size_is_signed_once(sqlite: Engine, signer: Signer, fill: Fill) -> None:
    fill(sqlite, 3)
    row = {"size": 3, "root": bytes(32), "note": sign_checkpoint(signer, 3, bytes(32))}
    with pytest.raises(DBAPIError), sqlite.begin() as connection:
        connection.execute(insert(schema.checkpoints), [row])


def test_a_ledger_without_any_checkpoint_has_none_to_give(sqlite: Engine) -> None:
    with sqlite.connect() as connection, pytest.raises(LedgerCorrupt, match="no checkpoint"):
        store.latest_checkpoint(connection)


class Crash(Exception):
    """The process dies at this statement."""


def append_or_crash(
    engine: Engine, state: store.LedgerState, batch: list[bytes], signer: Signer, *, dies_at: int
) -> tuple[store.LedgerState, list[ledger_pb2.Receipt]] | None:
    """Appends; None when the process died right after the n-th statement before that was done."""
    statements = 0

    def die(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == dies_at:
            raise Crash

    try:
        with engine.begin() as connection:
            watched: Any = Watched(connection, after=die)
            return store.append(watched, state, batch, signer)
    except Crash:
        return None


def test_a_crash_at_any_statement_leaves_the_state_before(
    engine: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf
) -> None:
    state = fill(engine, 7)
    batch = [leaf(7 + k) for k in range(3)]
    dies_at = crashes = 0
    while crashes == dies_at:
        dies_at += 1
        appended = append_or_crash(engine, state, batch, signer, dies_at=dies_at)
        crashes += appended is None
        if appended is None:
            with engine.begin() as connection:
                assert store.load(connection, signer) == state
        else:
            with engine.begin() as connection:
                assert store.load(connection, signer) == appended[0]
            assert all(holds(receipt, signer) for receipt in appended[1])
    assert crashes >= 5


def loaded(engine: Engine, signer: Signer) -> store.LedgerState | None:
    try:
        with engine.begin() as connection:
            return store.load(connection, signer)
    except LedgerDiverged:
        return None


def test_concurrent_batches_become_one_order(engine: Engine, signer: Signer, fill: Fill, leaf: MakeLeaf) -> None:
    fill(engine, 1)
    start = threading.Barrier(2)
    results: list[list[ledger_pb2.Receipt]] = []
    refusals = 0

    def write(writer: int) -> None:
        nonlocal refusals
        with engine.begin() as connection:
            state = store.load(connection, signer)
        start.wait(10)
        for batch in range(5):
            leaves = [leaf(writer * 1000 + batch * 10 + k) for k in range(4)]
            receipts: list[ledger_pb2.Receipt] = []
            while not receipts:
                try:
                    with engine.begin() as connection:
                        state, receipts = store.append(connection, state, leaves, signer)
                except LedgerDiverged:
                    refusals += 1
                    state = loaded(engine, signer) or state
            results.append(receipts)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    indexes = sorted(receipt.index for receipts in results for receipt in receipts)
    assert indexes == list(range(1, 41))
    assert refusals > 0
    with engine.begin() as connection:
        store.load(connection, signer)
        stored = store.read_entries(connection, 0, 100)
        notes = connection.execute(select(func.count()).select_from(schema.checkpoints)).scalar_one()
    assert notes == 12
    for writer in (1, 2):
        numbers = [int(decode(entry).request_id[-12:], 16) for entry in stored[1:]]
        mine = [number for number in numbers if number // 1000 == writer]
        assert mine == sorted(mine)
        assert len(mine) == 20
