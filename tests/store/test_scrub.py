"""Every row that is not what was written is found when all are looked at again, and none that is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, select, update

from jukinet.store import scrub
from jukinet.store.engine import open_reader, open_writer
from jukinet.store.errors import StoreError
from jukinet.store.kept_changes import KeptChange
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from jukinet.store.schema import history, residents
from jukinet.store.scrub import Damaged, Part, part_after, still_damaged
from tests.damaged import flip, flip_kept, flipped, ruin_text

Enter = Callable[..., None]
Make = Callable[..., Any]
COLUMNS = KeptChange._fields[1:]
TOKYO = "131016"


@pytest.fixture
def reader(database_url: str, engine: Engine) -> Iterator[Engine]:
    """Reads the register of `engine`."""
    opened = open_reader(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def enter(engine: Engine, change: Make, arrive: Make) -> Enter:
    """Enters residents, by number."""

    def run(*numbers: int) -> None:
        with engine.begin() as connection:
            applied = apply_arrivals(connection, [arrive(change(number, 1)) for number in numbers], scope="", now_us=1)
        assert applied.outcomes == [None] * len(numbers)

    return run


def pass_over(reader: Engine, *, rows: int) -> tuple[int, set[Damaged]]:
    """All rows once, in parts: how many were read, and which are damaged."""
    read, damaged = 0, list[Damaged]()
    for table in scrub.TABLES:
        first = 0
        while part := part_after(reader, table, first, rows):
            count, found = scrub.look(reader, part)
            read, damaged, first = read + count, damaged + found, part.end
    assert len(damaged) == len(set(damaged))
    return read, set(damaged)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_a_pass_reads_every_row_once_and_names_the_damaged_ones(
    engine: Engine, reader: Engine, enter: Enter, code: Make, rows: int
) -> None:
    enter(*range(40))
    assert pass_over(reader, rows=rows) == (80, set())
    flip(engine, code(7))
    flip(engine, code(39))
    flip_kept(engine, 1, "change")
    flip_kept(engine, 40, "applied_at")
    read, damaged = pass_over(reader, rows=rows)
    assert read == 80
    assert {(each.table, each.position, each.municipality, each.resident_code) for each in damaged} == {
        ("residents", 8, TOKYO, code(7)),
        ("residents", 40, TOKYO, code(39)),
        ("history", 1, TOKYO, code(0)),
        ("history", 40, TOKYO, code(39)),
    }


@pytest.mark.parametrize("column", [*COLUMNS, "checksum"])
def test_a_bit_of_any_column_of_the_history_is_found(engine: Engine, reader: Engine, enter: Enter, column: str) -> None:
    enter(1, 2, 3)
    flip_kept(engine, 2, column)
    assert [(each.table, each.position) for each in pass_over(reader, rows=9)[1]] == [("history", 2)]


@pytest.mark.parametrize("bit", [0, 100, 300])
@pytest.mark.parametrize("column", ["resident", "checksum"])
def test_a_bit_of_a_current_record_or_its_checksum_is_found(
    engine: Engine, reader: Engine, enter: Enter, code: Make, column: str, bit: int
) -> None:
    enter(1, 2, 3)
    of_code = residents.c.resident_code == code(2)
    with engine.begin() as connection:
        value = connection.execute(select(residents.c[column]).where(of_code)).scalar_one()
        damaged = flipped(value, bit if column == "resident" else bit % 32)
        connection.execute(update(residents).where(of_code).values({column: damaged}))
    assert [(each.table, each.resident_code) for each in pass_over(reader, rows=9)[1]] == [("residents", code(2))]


def test_an_empty_register_is_read_at_once(reader: Engine) -> None:
    assert pass_over(reader, rows=5) == (0, set())


def test_what_was_mended_is_no_longer_damaged_and_the_rest_still_is(
    engine: Engine, reader: Engine, enter: Enter, code: Make
) -> None:
    enter(*range(30))
    flip(engine, code(4))
    flip(engine, code(5))
    flip_kept(engine, 9, "change")
    known = pass_over(reader, rows=10)[1]
    assert still_damaged(reader, known) == known
    flip(engine, code(4))
    flip_kept(engine, 9, "change")
    assert [each.resident_code for each in still_damaged(reader, known)] == [code(5)]
    flip(engine, code(5))
    assert still_damaged(reader, known) == set()


def test_rows_of_an_earlier_version_have_no_checksum_and_count_as_sound(
    engine: Engine, reader: Engine, enter: Enter, code: Make
) -> None:
    enter(1)
    flip(engine, code(1))
    flip_kept(engine, 1, "checksum")
    with engine.begin() as connection:
        connection.execute(update(residents).values(checksum=None))
        connection.execute(update(history).values(checksum=None))
    assert pass_over(reader, rows=5) == (2, set())


def test_a_row_that_is_changed_while_the_pass_reads_is_no_finding(
    engine: Engine, reader: Engine, enter: Enter, change: Make, arrive: Make
) -> None:
    enter(*range(20))
    for version in range(2, 6):
        moves = [change(n, version, reason="CORRECTION_MOVE_WITHIN", town=f"{version}丁目") for n in range(20)]
        with engine.begin() as connection:
            moved = apply_arrivals(connection, [arrive(move) for move in moves], scope="", now_us=2)
            assert moved.outcomes == [None] * 20
            assert pass_over(reader, rows=3) == (20 * version, set())
        assert pass_over(reader, rows=3) == (20 * version + 20, set())


def test_a_text_that_is_none_any_more_is_found_and_hides_no_other_row(
    engine: Engine, reader: Engine, enter: Enter, code: Make
) -> None:
    """A driver cannot even hand such a row over."""
    enter(*range(40))
    flip_kept(engine, 3, "change")
    with engine.begin() as connection:
        ruin_text(connection, "history", "municipality", "position = 12")
        ruin_text(connection, "residents", "holder", f"resident_code = '{code(5)}'")
    read, damaged = pass_over(reader, rows=16)
    found = {(each.table, each.position) for each in damaged}
    assert found == {("history", 3), ("history", 12), ("residents", 0)}
    assert read == 80 if engine.dialect.name == "sqlite" else read > 60
    assert still_damaged(reader, damaged) == damaged


def test_a_page_that_is_none_any_more_is_found_and_the_rows_of_others_are_still_looked_at(
    sqlite_url: str, change: Make, arrive: Make
) -> None:
    engine = open_writer(sqlite_url)
    ensure_schema(engine, REGISTER)
    arrivals = [arrive(change(number, 1)) for number in range(200)]
    with engine.begin() as connection:
        apply_arrivals(connection, arrivals, scope="", now_us=1)
    engine.dispose()
    path = Path(str(make_url(sqlite_url).database))
    content, size = bytearray(path.read_bytes()), 4096
    page = content.rindex(arrivals[100].payload) // size * size  # that of a segment or of a current row is none
    content[page] = 0xEE
    path.write_bytes(content)
    reader = open_reader(sqlite_url)
    read, damaged = pass_over(reader, rows=64)
    positions = sorted(each.position for each in damaged)
    assert 101 in positions
    assert positions == list(range(positions[0], positions[-1] + 1))
    assert {each.table for each in damaged} == {"history"}
    assert len(positions) < 50
    assert read == 400
    reader.dispose()


def test_a_database_that_does_not_answer_is_no_finding() -> None:
    nobody = open_reader("postgresql://postgres@/postgres?host=/nowhere")
    with pytest.raises(StoreError):
        part_after(nobody, "history", 0, 5)
    with pytest.raises(StoreError):
        scrub.look(nobody, Part("history", 0, 5))
    nobody.dispose()
