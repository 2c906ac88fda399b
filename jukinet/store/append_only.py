"""Database triggers that keep a table append-only, on SQLite and on PostgreSQL.

A promise that nothing is deleted (nobody's record ever is: Order art. 30-6) must not rest on every later line of Python
keeping to it. The database itself refuses UPDATE, DELETE and TRUNCATE, and SQLite's INSERT OR REPLACE.
"""

from collections.abc import Sequence

from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint


def append_only_ddl(table_name: str, dialect_name: str, keys: Sequence[Sequence[str]] = ()) -> list[str]:
    """Statements that make `table_name` refuse whatever would change or remove a row.

    Args:
        table_name: name of the table; it exists.
        dialect_name: SQLAlchemy's, "sqlite" or "postgresql".
        keys: the columns of each key of the table, as `keys_of` gives them. SQLite needs them: its INSERT OR REPLACE
            removes the row whose key is taken without firing a DELETE trigger.

    Raises:
        ValueError: any other database.
    """
    message = f"{table_name} is append-only"
    if dialect_name == "sqlite":
        verbs = [
            f"CREATE TRIGGER {table_name}_no_{verb.lower()} BEFORE {verb} ON {table_name} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
        return [*verbs, _no_replace(table_name, keys, message)] if keys else verbs
    if dialect_name == "postgresql":
        return [
            f"CREATE FUNCTION {table_name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
            f"CREATE TRIGGER {table_name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table_name} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table_name}_append_only()",
        ]
    raise ValueError(f"no append-only triggers are known for {dialect_name}; use sqlite or postgresql")


def keys_of(table: Table) -> list[list[str]]:
    """The columns of each key of a table: its primary key and its unique constraints."""
    kinds = (PrimaryKeyConstraint, UniqueConstraint)
    keys = [[column.name for column in key.columns] for key in table.constraints if isinstance(key, kinds)]
    return sorted(keys, key=len)


def _no_replace(table_name: str, keys: Sequence[Sequence[str]], message: str) -> str:
    same = [" AND ".join(f"{column} = NEW.{column}" for column in key) for key in keys]
    taken = " OR ".join(f"EXISTS (SELECT 1 FROM {table_name} WHERE {key})" for key in same)  # noqa: S608  # our own names
    return (
        f"CREATE TRIGGER {table_name}_no_replace BEFORE INSERT ON {table_name} "
        f"WHEN {taken} BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )
