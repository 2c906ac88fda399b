"""History cannot be rewritten, not even by a line of this program."""

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError

from jukinet.store.append_only import append_only_ddl, keys_of
from jukinet.store.schema import APPEND_ONLY, metadata

_INSERT = (
    "INTO history (position, resident_code, version, municipality, epoch, sequence, change, applied_at) "
    "VALUES ({0}, '{1}', 1, '131016', 1, {2}, '', 0)"
)


def rows(engine: Engine) -> list[tuple[int, str, int]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT position, resident_code, sequence FROM history ORDER BY position"))
        return [(row[0], row[1], row[2]) for row in found]


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("statement", ["UPDATE history SET change = 'x'", "DELETE FROM history", "TRUNCATE history"])
def test_history_refuses_to_be_changed(engine: Engine, statement: str) -> None:
    execute(engine, "INSERT " + _INSERT.format(1, "A", 1))
    with pytest.raises(DBAPIError):
        execute(engine, statement)
    assert rows(engine) == [(1, "A", 1)]


@pytest.mark.parametrize("taken", [(1, "B", 2), (2, "A", 2), (2, "B", 1)])
def test_a_row_of_history_cannot_be_replaced_by_any_of_its_keys(engine: Engine, taken: tuple[int, str, int]) -> None:
    execute(engine, "INSERT " + _INSERT.format(1, "A", 1))
    statements = ["INSERT " + _INSERT.format(*taken)]
    if engine.dialect.name == "sqlite":
        statements.append("INSERT OR REPLACE " + _INSERT.format(*taken))
        statements.append("REPLACE " + _INSERT.format(*taken))
    else:
        conflict = " ON CONFLICT ({}) DO UPDATE SET change = 'x'"
        keys = ("position", "resident_code, version", "municipality, epoch, sequence")
        statements += ["INSERT " + _INSERT.format(*taken) + conflict.format(key) for key in keys]
    for statement in statements:
        with pytest.raises(DBAPIError):
            execute(engine, statement)
    assert rows(engine) == [(1, "A", 1)]


def test_every_key_of_an_append_only_table_is_guarded(engine: Engine) -> None:
    """The migration names the keys by hand."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            trigger = "SELECT sql FROM sqlite_master WHERE name = :name"
            for name in APPEND_ONLY:
                made = connection.execute(text(trigger), {"name": f"{name}_no_replace"}).scalar_one()
                assert made == append_only_ddl(name, "sqlite", keys_of(metadata.tables[name]))[-1]
    assert APPEND_ONLY == ("editions", "history", "operator_acts", "set_aside")


def test_the_keys_of_a_table_are_its_primary_key_and_its_unique_constraints() -> None:
    table = Table(
        "t", MetaData(), Column("a", Integer, primary_key=True), Column("b", Text), UniqueConstraint("b", "a")
    )
    assert keys_of(table) == [["a"], ["b", "a"]]


def test_only_databases_with_known_triggers_are_served() -> None:
    assert len(append_only_ddl("t", "sqlite")) == 2
    with pytest.raises(ValueError, match="use sqlite or postgresql"):
        append_only_ddl("t", "mysql")
