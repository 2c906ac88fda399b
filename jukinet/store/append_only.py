"""Database triggers that keep a table append-only, on SQLite and on PostgreSQL.

A promise that nothing is deleted (nobody's record ever is: Order art. 30-6) must not rest on every later line of Python
keeping to it. The database itself refuses UPDATE, DELETE and TRUNCATE.
"""


def append_only_ddl(table_name: str, dialect_name: str) -> list[str]:
    """Statements that make `table_name` refuse UPDATE and DELETE.

    `dialect_name` is SQLAlchemy's: "sqlite" or "postgresql".
    Raises ValueError for any other database.
    """
    message = f"{table_name} is append-only"
    if dialect_name == "sqlite":
        return [
            f"CREATE TRIGGER {table_name}_no_{verb.lower()} BEFORE {verb} ON {table_name} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    if dialect_name == "postgresql":
        return [
            f"CREATE FUNCTION {table_name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
            f"CREATE TRIGGER {table_name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table_name} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table_name}_append_only()",
        ]
    raise ValueError(f"no append-only triggers are known for {dialect_name}; use sqlite or postgresql")
