"""Answers are found by their recall mark, gathered into runs or not, on either database."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from agency_gateway import provided
from jukinet.store.engine import open_writer

ONE_DATABASE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
# Zeros are in every place of an entry too, so that beginnings are found where none begins; the end tells marks apart.
MARKS = st.builds(
    lambda first, rest, end: bytes([first]) + rest * 8 + end * 23,
    st.sampled_from([0, 1, 255]),
    st.sampled_from([b"\0", b"\1"]),
    st.sampled_from([b"\0", b"\1", b"\2"]),
)
ANSWERS = st.lists(st.none() | MARKS, max_size=40)
"""By entry: the mark of what was provided; None of a refusal, say."""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_writer(database_url)
    provided.metadata.create_all(opened)
    yield opened
    opened.dispose()


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provided, "RUN", 7)


@ONE_DATABASE
@given(ANSWERS, st.integers(0, 6), st.sets(MARKS, max_size=4))
def test_what_is_found_does_not_follow_from_how_much_is_gathered(
    engine: Engine, answers: list[bytes | None], runs: int, wanted: set[bytes]
) -> None:
    rows = [(number, mark, number + 1) for number, mark in enumerate(answers) if mark]
    with engine.connect() as connection:
        connection.execute(delete(provided.mark_runs))
        connection.execute(delete(provided.provided))
        provided.add_provided(connection, rows)
        for _ in range(min(runs, len(answers) // 7)):
            provided.add_run(connection, provided.gather(connection, provided.gathered(connection)))
        assert provided.under(connection, wanted) == [row for row in rows if row[1] in wanted]


def test_a_run_that_was_written_is_not_written_again(engine: Engine) -> None:
    with engine.begin() as connection:
        provided.add_provided(connection, [(number, bytes([number]) * 32, 1) for number in range(8)])
        run = provided.gather(connection, 0)
        assert provided.gathered(connection) == 0
        for _ in range(2):
            provided.add_run(connection, run)
            assert provided.gathered(connection) == 7
        assert provided.under(connection, [bytes([3]) * 32]) == [(3, bytes([3]) * 32, 1)]


def test_more_marks_than_a_statement_takes_are_looked_for(engine: Engine) -> None:
    rows = [(number, number.to_bytes(2, "big") * 16, 1) for number in range(1400)]
    with engine.begin() as connection:
        provided.add_provided(connection, rows)
        while (first := provided.gathered(connection)) < 700:
            provided.add_run(connection, provided.gather(connection, first))
        assert provided.under(connection, [mark for _, mark, _ in rows]) == rows
