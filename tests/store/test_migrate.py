"""A database is set up whole, and one that does not fit is refused with what to do."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from agency_gateway.node import MIGRATIONS as LEDGER
from center_node.asked_today import asked_today
from center_node.body_keys import MIGRATIONS as BODY_KEYS
from center_node.frozen import frozen_operators
from jukinet._pb.jukinet.register.v1.identity_pb2 import RESIDENT_STATUS_ACTIVE, IdentityRecord, Resident
from jukinet.disclosure.node import MIGRATIONS as DISCLOSURE
from jukinet.store.engine import open_writer
from jukinet.store.errors import SchemaMismatch, StoreError
from jukinet.store.kept_changes import KEPT, KeptChange, read_kept
from jukinet.store.migrate import REGISTER, ensure_schema, migrate, newest
from jukinet.store.schema import metadata
from jukinet.store.search_keys import renew_keys
from jukinet.store.watch_schema import watch_lists
from jukinet.witness.node import MIGRATIONS as WITNESS

ALL = [REGISTER, LEDGER, BODY_KEYS, DISCLOSURE, WITNESS]
_REVISION = '''"""A step."""
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = {down!r}
def upgrade() -> None:
    {body}
'''


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The scripts of a program with two steps."""
    scripts = tmp_path / "50% later"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text((REGISTER / "env.py").read_text())
    add_step(scripts, "s0001", None, 'op.create_table("one", sa.Column("id", sa.Integer, primary_key=True))')
    add_step(scripts, "s0002", "s0001", 'op.add_column("one", sa.Column("more", sa.Text))')
    return scripts


def add_step(scripts: Path, revision: str, down: str | None, body: str) -> None:
    (scripts / "versions" / f"{revision}.py").write_text(_REVISION.format(revision=revision, down=down, body=body))


def first_step_of(later: Path) -> Path:
    scripts = later.with_name("earlier")
    (scripts / "versions").mkdir(parents=True)
    for name in ("env.py", "versions/s0001.py"):
        (scripts / name).write_text((later / name).read_text())
    return scripts


def columns(engine: Engine) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns("one")}


def test_an_empty_database_is_set_up_as_the_program_describes_it(engine: Engine) -> None:
    ensure_schema(engine, REGISTER)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert watch_lists.metadata is asked_today.metadata is frozen_operators.metadata is metadata
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("scripts", ALL, ids=lambda scripts: scripts.parent.name)
def test_the_files_of_migrations_are_called_by_their_revisions_in_order(scripts: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    directory = ScriptDirectory.from_config(config)
    assert newest(scripts) == directory.get_current_head()
    files = sorted(path.stem.partition("_")[0] for path in (scripts / "versions").glob("*.py"))
    assert files == [each.revision for each in directory.walk_revisions()][::-1]


def test_a_fitting_database_is_left_alone(engine: Engine) -> None:
    ensure_schema(engine, REGISTER)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO origins VALUES ('131016', 1, 5, '', 0)"))
    ensure_schema(engine, REGISTER)
    migrate(engine, REGISTER)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT sequence FROM origins")).scalar_one() == 5


def test_setting_up_says_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        ensure_schema(engine, REGISTER)
    assert [record for record in caplog.records if record.name.startswith("alembic")] == []
    assert capfd.readouterr() == ("", "")


def test_an_older_database_waits_for_its_operator(engine: Engine, later: Path) -> None:
    ensure_schema(engine, first_step_of(later))
    with pytest.raises(SchemaMismatch, match="s0001 is older than this program; back it up and run `jukinet node migr"):
        ensure_schema(engine, later)
    assert columns(engine) == {"id"}
    migrate(engine, later)
    assert columns(engine) == {"id", "more"}
    ensure_schema(engine, later)


def steps_before(revision: str, folder: Path) -> Path:
    """The register's steps up to one, which is left out."""
    before = folder / "before"
    (before / "versions").mkdir(parents=True)
    for script in (REGISTER / "env.py", *(REGISTER / "versions").glob("r*.py")):
        if script.stem < revision or script.stem == "env":
            (before / script.relative_to(REGISTER)).write_text(script.read_text())
    return before


def test_a_history_of_before_stays_as_it_is_and_counts_as_sound(engine: Engine, tmp_path: Path) -> None:
    ensure_schema(engine, steps_before("r0017", tmp_path))
    row = (1, "00000000011", 1, "131016", 1, 1, b"as sealed", 7)
    with engine.begin() as connection:
        names = ", ".join(KeptChange._fields)
        values = ", ".join(f":{name}" for name in KeptChange._fields)
        connection.execute(text(f"INSERT INTO history ({names}) VALUES ({values})"), KeptChange(*row)._asdict())
    migrate(engine, REGISTER)
    with engine.begin() as connection:
        assert read_kept(connection.execute(select(*KEPT)).one()) == row
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text("UPDATE history SET checksum = 0"))


def test_a_list_of_before_may_have_been_told_all_that_was_looked_through(engine: Engine, tmp_path: Path) -> None:
    ensure_schema(engine, steps_before("r0016", tmp_path))
    with engine.begin() as connection:
        connection.execute(text("UPDATE watch_mark SET position = 7"))
        connection.execute(text("INSERT INTO watch_lists VALUES ('a', 'b', 'c', '1', '2026-06-01', 3)"))
    migrate(engine, REGISTER)
    with engine.connect() as connection:
        assert connection.execute(select(watch_lists.c.acknowledged, watch_lists.c.told)).one() == (3, 7)


def test_a_register_of_the_first_release_keeps_its_rows_and_gets_the_keys_that_it_lacks(
    engine: Engine, tmp_path: Path, record: Callable[..., IdentityRecord]
) -> None:
    first = tmp_path / "first"
    (first / "versions").mkdir(parents=True)
    for name in ("env.py", "versions/r0001_register.py"):
        (first / name).write_text((REGISTER / name).read_text())
    ensure_schema(engine, first)
    resident = Resident(record=record(1, former_surname="髙橋"), version=1, status=RESIDENT_STATUS_ACTIVE)
    row = {"code": resident.record.resident_code, "resident": resident.SerializeToString()}
    keys = "'131016', '2026-04-01', '1980-01-02', 2, '山田花子', '', '131016/本町1-2-3', ''"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO residents VALUES (:code, 1, 1, {keys}, :resident)"), row)
    migrate(engine, REGISTER)
    renew_keys(engine)
    with engine.connect() as connection:
        ((code, kept, former),) = connection.execute(
            text("SELECT resident_code, resident, former_name_key FROM residents")
        )
    assert (code, bytes(kept), former) == (row["code"], row["resident"], "高橋花子")


def test_a_newer_database_is_refused(engine: Engine, later: Path) -> None:
    ensure_schema(engine, later)
    earlier = first_step_of(later)
    for step in (ensure_schema, migrate):
        with pytest.raises(SchemaMismatch, match="s0002 is newer than this program, or another kind of node"):
            step(engine, earlier)


def test_the_database_of_another_kind_of_node_is_refused(engine: Engine, later: Path) -> None:
    ensure_schema(engine, later)
    with pytest.raises(SchemaMismatch, match="another kind of node made it"):
        ensure_schema(engine, REGISTER)


@pytest.mark.parametrize("foreign", ["CREATE TABLE theirs (id INTEGER)", "two heads"])
def test_a_database_with_tables_of_others_is_refused(engine: Engine, later: Path, foreign: str) -> None:
    if foreign == "two heads":
        ensure_schema(engine, later)
        foreign = "INSERT INTO alembic_version VALUES ('theirs')"
    with engine.begin() as connection:
        connection.execute(text(foreign))
    for step in (ensure_schema, migrate):
        with pytest.raises(SchemaMismatch, match="give the node a database of its own"):
            step(engine, REGISTER)


def test_a_migration_that_fails_leaves_nothing_behind(engine: Engine, later: Path) -> None:
    add_step(later, "s0003", "s0002", """op.execute("INSERT INTO one VALUES (1, 'a'), (1, 'b')")""")
    with pytest.raises(StoreError):
        ensure_schema(engine, later)
    assert inspect(engine).get_table_names() == []
    (later / "versions" / "s0003.py").unlink()
    ensure_schema(engine, later)
