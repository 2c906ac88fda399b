"""The limits of agencies: the defaults as they were meant, and what the directory may say of them."""

import pytest

from jukinet.purpose.budgets import Budget, read_budget

ROWS = frozenset({"B1-72", "B1-77"})


def test_the_defaults_are_those_of_the_reference() -> None:
    assert Budget() == Budget(
        operator_searches_minute=30,
        operator_searches_day=300,
        operator_numbers_minute=120,
        agency_searches_day=1_000,
        agency_subjects_day=5_000,
        agency_batch_day=0,
        operator_batch_day=None,
        row_questions_day={},
    )


def test_a_directory_without_limits_has_the_defaults() -> None:
    assert read_budget({}, ROWS) == Budget()


def test_a_limit_that_is_named_takes_the_place_of_its_default_and_of_no_other() -> None:
    read = read_budget({"operator_searches_day": 0, "row_questions_day": {"B1-77": 7}}, ROWS)
    assert read == Budget(operator_searches_day=0, row_questions_day={"B1-77": 7})


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"operator_searches": 1},
        {"operator_searches_day": -1},
        {"operator_batch_day": -1},
        {"operator_searches_day": 1_000_000_001},
        {"operator_searches_day": True},
        {"operator_searches_day": 1.5},
        {"operator_searches_day": "1"},
        {"row_questions_day": 5},
        {"row_questions_day": {"B1-99": 5}},
        {"row_questions_day": {"B1-77.12": 5}},
        {"row_questions_day": {"B1-77": -5}},
    ],
)
def test_a_mistake_in_the_limits_does_not_load(entry: object) -> None:
    with pytest.raises(ValueError, match=r"must be|unknown limit"):
        read_budget(entry, ROWS)
