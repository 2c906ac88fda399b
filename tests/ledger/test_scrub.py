"""A ledger that rots on the disk is found, wherever it rots, and a sound one is let be."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text, update

from jukinet.ledger import body, merkle, published, schema, scrub, store
from jukinet.ledger.errors import LedgerCorrupt
from jukinet.ledger.note import Signer, sign_checkpoint

MakeLeaf = Callable[..., bytes]
ENTRIES = 37
SEALED = b"what was asked, sealed"


@pytest.fixture
def filled(sqlite: Engine, signer: Signer, leaf: MakeLeaf) -> Engine:
    """A ledger of some commits, every third entry with a body, some checkpoints published."""
    with sqlite.begin() as connection:
        state = store.load(connection, signer)
    for size in (1, 4, 9, 2, 21):
        first = state.frontier.size
        leaves = [
            leaf(number, body_digest=b"" if number % 3 else body.digest(SEALED))
            for number in range(first, first + size)
        ]
        with sqlite.begin() as connection:
            state, _ = store.append(connection, state, leaves, signer)
            for number in range(first, first + size):
                if number % 3 == 0:
                    connection.execute(schema.bodies.insert().values(leaf_index=number, sealed=SEALED))
            if size != 9:
                published.publish(connection, state.frontier.size, state.checkpoint, {})
    for name in schema.append_only_tables:
        with sqlite.begin() as connection:
            triggers = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table")
            for trigger in connection.execute(triggers, {"table": name}).scalars().all():
                connection.execute(text(f"DROP TRIGGER {trigger}"))
    return sqlite


def read_again(engine: Engine, signer: Signer, *ends: int) -> scrub.Derived:
    """A pass in parts that end there."""
    derived = scrub.START
    for end in (*ends, ENTRIES):
        with engine.connect() as connection:
            derived = scrub.derive(connection, derived, end, signer.verifier)
    return derived


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.sets(st.integers(1, ENTRIES - 1)))
def test_a_sound_ledger_is_found_sound_in_whatever_parts(filled: Engine, signer: Signer, ends: set[int]) -> None:
    derived = read_again(filled, signer, *sorted(ends))
    with filled.connect() as connection:
        state = store.load(connection, signer)
    assert derived.size == ENTRIES
    assert scrub._fold(derived.waiting) == merkle.root_of(state.frontier)


def flipped(column: Any, table: Any, key: Any, value: int) -> Callable[[Connection, Signer], object]:
    def damage(connection: Connection, _: Signer) -> object:
        old: bytes = connection.execute(table.select().with_only_columns(column).where(key == value)).scalar_one()
        return connection.execute(update(table).where(key == value).values({column: bytes([old[0] ^ 1]) + old[1:]}))

    return damage


def replaced_published(connection: Connection, signer: Signer) -> object:
    note = sign_checkpoint(signer, 16, b"\x01" * 32)
    return connection.execute(update(schema.published).where(schema.published.c.size == 16).values(note=note))


def forged_published(connection: Connection, signer: Signer) -> object:
    return connection.execute(
        update(schema.published).where(schema.published.c.size == 16).values(note=text("replace(note, '16', '15')"))
    )


ROT = {
    "entry": (flipped(schema.entries.c.entry, schema.entries, schema.entries.c.leaf_index, 20), "Entry 20"),
    "hash": (flipped(schema.entries.c.leaf_hash, schema.entries, schema.entries.c.leaf_index, 20), "Entry 20"),
    "body": (flipped(schema.bodies.c.sealed, schema.bodies, schema.bodies.c.leaf_index, 21), "body of entry 21"),
    "root": (flipped(schema.checkpoints.c.root, schema.checkpoints, schema.checkpoints.c.size, 14), "first 14"),
    "subtree": (
        flipped(
            schema.subtrees.c.hash, schema.subtrees, schema.subtrees.c.level * 1000 + schema.subtrees.c.position, 2003
        ),
        "Entries 12 to 15",
    ),
    "published": (replaced_published, "first 16"),
    "forged": (forged_published, "not by the ledger's key"),
    "no entry": (lambda c, _: c.execute(text("DELETE FROM ledger_entries WHERE leaf_index = 20")), "Entry 20"),
    "no last": (lambda c, _: c.execute(text("DELETE FROM ledger_entries WHERE leaf_index = 36")), "Entry 36"),
    "no body": (lambda c, _: c.execute(text("DELETE FROM ledger_bodies WHERE leaf_index = 21")), "body of entry 21"),
    "odd body": (
        lambda c, _: c.execute(schema.bodies.insert().values(leaf_index=22, sealed=SEALED)),
        "body of entry 22",
    ),
    "no subtree": (lambda c, _: c.execute(text("DELETE FROM ledger_subtrees WHERE level = 4")), "Entries 0 to 15"),
}


@pytest.mark.parametrize("what", ROT)
@pytest.mark.parametrize("ends", [(), (5, 16, 20), tuple(range(1, ENTRIES))], ids=["whole", "parts", "one by one"])
def test_rot_is_found_and_named(filled: Engine, signer: Signer, what: str, ends: tuple[int, ...]) -> None:
    damage, named = ROT[what]
    with filled.begin() as connection:
        damage(connection, signer)
    with pytest.raises(LedgerCorrupt, match=named):
        read_again(filled, signer, *ends)
