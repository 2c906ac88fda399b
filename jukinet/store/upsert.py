"""INSERT … ON CONFLICT DO UPDATE, the same on SQLite and PostgreSQL."""

from collections.abc import Mapping

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert


def upsert(table: Table, key: str) -> Mapping[str, Insert]:
    """Statements by dialect name that insert a row of `table` or replace the one with the same `key` column."""
    statements: dict[str, Insert] = {}
    for_sqlite = sqlite.insert(table)
    values = {column.name: for_sqlite.excluded[column.name] for column in table.c if column.name != key}
    statements["sqlite"] = for_sqlite.on_conflict_do_update(index_elements=[key], set_=values)
    for_postgresql = postgresql.insert(table)
    values = {column.name: for_postgresql.excluded[column.name] for column in table.c if column.name != key}
    statements["postgresql"] = for_postgresql.on_conflict_do_update(index_elements=[key], set_=values)
    return statements
