"""Statements that the driver runs: the same rows on both databases, whatever number of values is asked for."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, bindparam, select

from jukinet.store.errors import StoreError
from jukinet.store.journal import Origin, write_origin
from jukinet.store.reading import read
from jukinet.store.schema import origins
from jukinet.store.statement import Prepared, one_of
from jukinet.store.writer import Writer
from tests.damaged import ruin_text

CODES = ["131016", "131024", "271004"]
OF_EPOCH = one_of(
    select(origins.c.municipality).where(origins.c.epoch == bindparam("epoch")).order_by(origins.c.municipality),
    codes=origins.c.municipality,
    sequences=origins.c.sequence,
)
TEXTS = select(origins.c.municipality)
ALL = Prepared(TEXTS)


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        ([], []),
        (["131024"], ["131024"]),
        (["999999"], []),
        (["131024", "131016"], ["131016", "131024"]),
        (["271004"], []),
        (["131016"] * 2, ["131016"]),
    ],
)
@pytest.mark.parametrize("sequences", [[1], [1, 2]])
def test_one_value_finds_what_a_list_of_it_finds(
    engine: Engine, codes: list[str], found: list[str], sequences: list[int]
) -> None:
    with engine.begin() as connection:
        for code in CODES:
            write_origin(connection, code, Origin(2 if code == "271004" else 1, 1, b"1", 1))
        rows = OF_EPOCH.rows(connection, {"epoch": 1, "codes": codes, "sequences": sequences})
    assert [code for (code,) in rows] == found


@pytest.mark.parametrize(
    "query",
    [
        ALL.rows,
        lambda connection: ALL.rows_of_each(connection, [{}, {}]),
        lambda connection: connection.execute(TEXTS).all(),
        lambda connection: connection.execute(TEXTS).first(),
        lambda connection: [*connection.execute(TEXTS)],
    ],
    ids=["rows", "rows_of_each", "all", "first", "one by one"],
)
def test_a_text_that_is_none_is_a_failure_of_the_database_and_is_not_quoted(
    engine: Engine, query: Callable[[Connection], object]
) -> None:
    """Drivers find out while they hand the rows over, each in its own way."""
    with engine.begin() as connection:
        write_origin(connection, CODES[0], Origin(1, 1, b"1", 1))
        ruin_text(connection, "origins", "municipality", "epoch = 1")
    writer = Writer(engine)
    for by_writer in (False, True):
        with pytest.raises(StoreError) as caught:
            writer.submit(query).result() if by_writer else read(engine, query)
        assert "31016" not in repr(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
    writer.close()


_SQL = [
    "'", "''", '"', "`", ";", "--", "/*", "*/", "\\", "%", "_", "$1", ":codes", "?", "(", ")", ",", "\n",
    "OR 1=1", "ʼ", "＇",
    "' OR ''='", "'; DROP TABLE origins; --", "') UNION SELECT municipality FROM origins --",
]  # fmt: skip


def test_no_value_is_read_as_sql(engine: Engine) -> None:
    values = st.lists(st.sampled_from(_SQL), min_size=1, max_size=6).map("".join)

    @given(st.lists(values, min_size=1, max_size=3))
    def look_up(codes: list[str]) -> None:
        assert OF_EPOCH.rows(connection, {"epoch": 1, "codes": codes, "sequences": [1]}) == []
        assert OF_EPOCH.rows(connection, {"epoch": 1, "codes": [CODES[0], *codes], "sequences": [1]}) == [(CODES[0],)]

    with engine.begin() as connection:
        write_origin(connection, CODES[0], Origin(1, 1, b"1", 1))
        look_up()
