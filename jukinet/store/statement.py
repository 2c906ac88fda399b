"""Statements of the paths that every change and every question takes: compiled once, then run by the driver itself.

SQLAlchemy spends ten times as long on executing a compiled statement as SQLite on running it (22 us and 2 us), for
events, result metadata and conversions that none of these needs; a change of its own passes a dozen of them on each
tier. They stay SQLAlchemy Core, one text for both databases. Only columns of text, whole numbers and bytes may stand in
them: those both drivers take and give as they are.

Errors are the ones that SQLAlchemy raises, so that whoever catches them need not know the difference.
"""

import json
import re
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Executable, Select, Table, any_, bindparam, func, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, StatementError

Row = tuple[Any, ...]
Values = Mapping[str, object]
Statements = Mapping[str, Executable]
"""One statement for each database, by the name of its dialect."""

_NOTHING: Values = {}


class Prepared:
    """One statement, ready to be run on a connection of either database."""

    def __init__(self, statement: Executable | Statements) -> None:
        self._statement = statement
        self._compiled: dict[str, str] = {}

    def rows(self, connection: Connection, values: Values = _NOTHING) -> list[Row]:
        """Runs a query with named values: all rows, their columns in the order of the statement."""
        return self.rows_of_each(connection, [values])[0]

    def rows_of_each(self, connection: Connection, values: Sequence[Values]) -> list[list[Row]]:
        """The same once for each set of values: what leads up to a query costs as much as a look-up by key."""
        text = self._begun(connection)
        driver: Any = connection.connection.driver_connection
        try:
            cursor = driver.cursor()
            return [cursor.execute(text, each).fetchall() for each in values]
        except connection.dialect.loaded_dbapi.Error as error:
            failure = _as_sqlalchemy(connection, error)
        except UnicodeDecodeError as error:
            failure = no_text(error)
        raise failure

    def row(self, connection: Connection, values: Values = _NOTHING) -> Row | None:
        """The first row of a query; None when there is none."""
        rows = self.rows(connection, values)
        return rows[0] if rows else None

    def write(self, connection: Connection, values: Sequence[Values]) -> None:
        """Runs a statement that changes rows, once for each set of values."""
        if not values:
            return
        text = self._begun(connection)
        if len(values) == 1:
            run_on_driver(connection, text, values[0])
        else:
            run_each_on_driver(connection, text, values)

    def _begun(self, connection: Connection) -> str:
        """Text for the connection's database, in a transaction."""
        if not connection.in_transaction():
            connection.begin()
        return self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)

    def _compile(self, dialect: Dialect) -> str:
        statement = self._statement[dialect.name] if isinstance(self._statement, Mapping) else self._statement
        compiled: Any = statement.compile(dialect=_NAMED[dialect.name])  # type: ignore[attr-defined]  # all compile
        # Bound, they cost SQLite as much as all else about a look-up.
        constants = {
            compiled.bindtemplate % {"name": name}: compiled.render_literal_bindparam(bind)
            for bind, name in compiled.bind_names.items()
            if not bind.required
        }
        places = "|".join(map(re.escape, constants)) or "(?!)"
        text = re.sub(rf"(?:{places})\b", lambda found: constants[found[0]], str(compiled))
        self._compiled[dialect.name] = text
        return text


class Rows:
    """Adds rows to a table, each a tuple of what stands in `columns`: bound in half the time that names take."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        into = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES"
        self._text = {
            name: f"{into} ({', '.join([mark] * len(columns))})"
            for name, mark in (("sqlite", "?"), ("postgresql", "%s"))
        }

    def write(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Adds the rows, in their order."""
        if rows:
            self._write(connection, rows, "")

    def write_new(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Adds those of the rows whose keys are not taken; returns how many that were."""
        return int(self._write(connection, rows, " ON CONFLICT DO NOTHING").rowcount) if rows else 0

    def _write(self, connection: Connection, rows: Sequence[Row], otherwise: str) -> Any:
        if not connection.in_transaction():
            connection.begin()
        return run_each_on_driver(connection, self._text[connection.dialect.name] + otherwise, rows)


def run_on_driver(connection: Connection, text: str, values: Values | Row = _NOTHING) -> Any:
    """Lets the driver run a statement. Returns the driver's cursor."""
    driver: Any = connection.connection.driver_connection
    try:
        return driver.execute(text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        failure = _as_sqlalchemy(connection, error)
    raise failure


def run_each_on_driver(connection: Connection, text: str, values: Sequence[Values | Row]) -> Any:
    """Lets the driver run a statement that changes rows, once for each set of values. Returns the driver's cursor."""
    driver: Any = connection.connection.driver_connection
    try:
        cursor = driver.cursor()
        cursor.executemany(text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        failure = _as_sqlalchemy(connection, error)
    else:
        return cursor
    raise failure


# Named parameters on both: the driver takes the values as they come.
_NAMED: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.psycopg.dialect(),  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
}


def _as_sqlalchemy(connection: Connection, error: Any) -> StatementError:
    """The error that SQLAlchemy raises for one of the driver's; a lost connection is given up."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection, None)
    if lost:
        connection.invalidate(error)
    # The class is the one of the driver's error; any error of the driver becomes a StatementError.
    made: Any = DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=dialect,
    )
    found: StatementError = made
    return found


def no_text(error: UnicodeDecodeError) -> StatementError:
    """The error for a stored text that is none: psycopg raises what is none of its own errors, with the text in it."""
    return StatementError("a stored text is none", None, None, error)


def add(table: Table) -> Prepared:
    """A statement that inserts rows of `table`; a key that the database numbers by itself is left to it."""
    numbered = table.autoincrement_column
    return Prepared(insert(table).inline().values({c.name: bindparam(c.name) for c in table.c if c is not numbered}))


def keep(table: Table, key: str) -> Prepared:
    """A statement that inserts a row of `table`, or replaces the one with the same `key` column."""
    statements: dict[str, Executable] = {}
    for name, dialect in (("sqlite", sqlite), ("postgresql", postgresql)):
        new = dialect.insert(table)
        values = {column.name: new.excluded[column.name] for column in table.c if column.name != key}
        statements[name] = new.on_conflict_do_update(index_elements=[key], set_=values)
    return Prepared(statements)


class Among:
    """A query for rows whose columns are each in a list, which nearly always holds one value.

    One value is compared and not looked for in a list: SQLite takes a list as JSON, which costs more than the row.
    """

    def __init__(self, lists: Collection[str], *, alone: Prepared, among: Prepared) -> None:
        self._lists = lists
        self._alone = alone
        self._among = among

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Row]:
        """Runs the query with named values, lists among them: all rows, columns in the order of the statement."""
        if all(len(values[name]) == 1 for name in self._lists):
            return self._alone.rows(connection, {**values, **{name: values[name][0] for name in self._lists}})
        return self._among.rows(connection, values)


def one_of(query: Select[Any], **columns: Column[Any]) -> Among:
    """The query, narrowed to rows whose `columns` are each in the list that is given under its name."""
    alone = [column == bindparam(name) for name, column in columns.items()]
    in_json = [
        column.in_(func.json_each(bindparam(name)).table_valued("value").select()) for name, column in columns.items()
    ]
    in_array = [column == any_(bindparam(name)) for name, column in columns.items()]
    among = Prepared({"sqlite": query.where(*in_json), "postgresql": query.where(*in_array)})
    return Among(tuple(columns), alone=Prepared(query.where(*alone)), among=among)


# SQLite knows no lists; psycopg turns one into an array by itself.
sqlite3.register_adapter(list, json.dumps)
