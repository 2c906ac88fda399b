"""Bringing a database to the schema of this program, and refusing one that does not fit.

A node never changes an existing database by itself: an upgrade is an operator's decision (`jukinet node migrate`),
after a backup. A new, empty database is set up at once. Either happens whole or not at all: it is one transaction.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import StatementError

from jukinet.store.errors import SchemaMismatch, without_values

REGISTER = Path(__file__).parent / "migrations"

logging.getLogger("alembic").setLevel(logging.WARNING)


def ensure_schema(engine: Engine, scripts: Path) -> None:
    """Sets an empty database up; leaves a fitting one alone.

    Args:
        engine: of `open_writer`.
        scripts: directory of Alembic migrations, such as `REGISTER`.

    Raises:
        SchemaMismatch: an older, a newer or a foreign schema.
        StoreError: the database failed.
    """
    _bring(engine, scripts, upgrade=False)


def migrate(engine: Engine, scripts: Path) -> None:
    """Brings the database to the newest schema.

    Args:
        engine: of `open_writer`.
        scripts: as in `ensure_schema`.

    Raises:
        SchemaMismatch: the schema is newer than this program, or foreign.
        StoreError: the database failed.
    """
    _bring(engine, scripts, upgrade=True)


def _bring(engine: Engine, scripts: Path, *, upgrade: bool) -> None:
    directory = ScriptDirectory.from_config(_config(scripts))
    try:
        with engine.begin() as connection:
            here = _revision(connection)
            if here == directory.get_current_head():
                return
            if here is not None and not (upgrade and _knows(directory, here)):
                raise SchemaMismatch(_advice(directory, here))
            config = _config(scripts)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return
    except StatementError as error:
        failure = without_values(error)
    raise failure


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    here = MigrationContext.configure(connection).get_current_heads()
    if len(here) == 1:
        return here[0]
    if here or inspect(connection).get_table_names():
        raise SchemaMismatch(
            "this database holds tables that jukinet did not make; give the node a database of its own"
        )
    return None


def _advice(directory: ScriptDirectory, here: str) -> str:
    if _knows(directory, here):
        return f"the database's schema {here} is older than this program; back it up and run `jukinet node migrate`"
    return (
        f"the database's schema {here} is newer than this program, or another kind of node made it; "
        "upgrade the program or give the node a database of its own"
    )


def _knows(directory: ScriptDirectory, revision: str) -> bool:
    try:
        return directory.get_revision(revision) is not None
    except CommandError:
        return False


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
