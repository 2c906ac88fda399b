"""Bringing a database to the schema of this program, and refusing one that does not fit.

A node never changes an existing database by itself: an upgrade is an operator's decision (`jukinet node migrate`),
after a backup. A new, empty database is set up at once. Either happens whole or not at all: it is one transaction.

Alembic is read in only where there is something to do: that takes a tenth of the time in which a node starts.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import StatementError

from jukinet.store.errors import SchemaMismatch, without_values

REGISTER = Path(__file__).parent / "migrations"

_HERE = text("SELECT version_num FROM alembic_version")


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


def newest(scripts: Path) -> str:
    """The revision that a folder of migrations leads to. Their files are called by their revisions, in order."""
    return max(path.stem.partition("_")[0] for path in (scripts / "versions").glob("*.py"))


def _bring(engine: Engine, scripts: Path, *, upgrade: bool) -> None:
    try:
        with engine.begin() as connection:
            here = _revision(connection)
            if here != newest(scripts):
                _upgrade(connection, scripts, here, wanted=upgrade)
            return
    except StatementError as error:
        failure = without_values(error)
    raise failure


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    tables = inspect(connection).get_table_names()
    here = connection.execute(_HERE).scalars().all() if "alembic_version" in tables else []
    if len(here) == 1:
        return str(here[0])
    if here or set(tables) - {"alembic_version"}:
        raise SchemaMismatch(
            "this database holds tables that jukinet did not make; give the node a database of its own"
        )
    return None


def _upgrade(connection: Connection, scripts: Path, here: str | None, *, wanted: bool) -> None:
    """Runs the migrations from `here` on; of a database that is not empty only those that are `wanted`."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if here is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(here)
        except CommandError:
            raise SchemaMismatch(
                f"the database's schema {here} is newer than this program, or another kind of node made it; "
                "upgrade the program or give the node a database of its own"
            ) from None
        if not wanted:
            raise SchemaMismatch(
                f"the database's schema {here} is older than this program; back it up and run `jukinet node migrate`"
            )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
