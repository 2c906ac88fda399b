import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import Report, Result, WorkDiffers, machine, medians, percentile, same_counts


def test_a_report_has_the_stable_json_form() -> None:
    report = Report("link", [medians("changes a second", "1/s", [1.0, 5.0, 3.0], [2.0, 12.0, 6.0])], (0.5, 0.6))
    assert json.loads(json.dumps(report.as_dict())) == {
        "name": "link",
        "machine": machine(),
        "results": [{"measure": "changes a second", "value": 3, "unit": "1/s", "floor": 6, "peer": None, "ratio": 0.5}],
    }


def test_numbers_are_given_with_three_digits() -> None:
    assert Result("m", 2870.4, "1/s", 7.0).as_dict()["value"] == 2870
    assert Result("m", 1.23456, "ms", 7.0).as_dict()["value"] == 1.23


def test_the_machine_is_described_without_its_name() -> None:
    import platform

    text = machine()
    assert "Python" in text
    assert "SQLite" in text
    assert "cores" in text
    assert platform.node() not in text


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_different_work_is_not_compared() -> None:
    same_counts({"product": 5, "floor": 5}, 5)
    with pytest.raises(WorkDiffers, match="center"):
        same_counts({"floor": 5, "center": 4}, 5)
