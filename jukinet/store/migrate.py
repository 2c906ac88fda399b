"""Bringing a database to the schema of this program, and refusing one that does not fit.

A node never changes an existing database by itself: an upgrade is an operator's decision (`jukinet node migrate`), after a
backup. A new, empty database is set up at once.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, inspect

from jukinet.store.errors import SchemaMismatch

REGISTER = Path(__file__).parent / "migrations"


def ensure_schema(engine: Engine, scripts: Path) -> None:
    """Sets an empty database up; leaves a fitting one alone.

    `scripts` is a directory of Alembic migrations. Raises SchemaMismatch for an older, a newer or a foreign schema.
    """
    here = _revision(engine)
    wanted = _scripts(scripts).get_current_head()
    if here == wanted:
        return
    if here is None:
        if inspect(engine).get_table_names():
            raise SchemaMismatch(
                "this database holds tables that jukinet did not make; give the node a database of its own"
            )
        migrate(engine, scripts)
        return
    raise SchemaMismatch(_advice(scripts, here))


def migrate(engine: Engine, scripts: Path) -> None:
    """Brings the database to the newest schema. Raises SchemaMismatch when it is newer than this program."""
    here = _revision(engine)
    if here is not None and not _knows(scripts, here):
        raise SchemaMismatch(_advice(scripts, here))
    with engine.begin() as connection:
        config = _config(scripts)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _advice(scripts: Path, here: str) -> str:
    if _knows(scripts, here):
        return f"the database's schema {here} is older than this program; back it up and run `jukinet node migrate`"
    return f"the database's schema {here} is newer than this program, or not jukinet's; upgrade the program"


def _knows(scripts: Path, revision: str) -> bool:
    try:
        return _scripts(scripts).get_revision(revision) is not None
    except CommandError:
        return False


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _scripts(scripts: Path) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(scripts))


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    return config
