from collections import Counter
from collections.abc import Callable
from datetime import date
from itertools import pairwise

import pytest

from nation import Nation, PeriodOrderError, Submission, UnknownMunicipalityError, municipalities
from nation.rates import PERSONS_A_YEAR, RESIDENTS

INTENSITY = 4.0
END = date(2027, 3, 31)
MOVE_OUTS = {"DELETION_DOMESTIC_MOVE_OUT", "DELETION_ABROAD_MOVE_OUT"}


def test_all_twenty_reasons_occur(loaded: list[Submission], changes: list[Submission]) -> None:
    assert len({s.reason for s in [*loaded, *changes]}) == 20


def test_rates_are_those_of_japan(changes: list[Submission]) -> None:
    counts = Counter(s.reason for s in changes)
    scale = 6000 / RESIDENTS * INTENSITY
    for reason, kind, tolerance in (
        ("ENTRY_BIRTH", "birth", 0.3),
        ("DELETION_DEATH", "death", 0.2),
        ("DELETION_DOMESTIC_MOVE_OUT", "move_between", 0.15),
        ("DELETION_ABROAD_MOVE_OUT", "to_abroad", 0.35),
        ("ENTRY_ABROAD_MOVE_IN", "from_abroad", 0.25),
    ):
        assert counts[reason] == pytest.approx(PERSONS_A_YEAR[kind] * scale, rel=tolerance), reason


def test_the_old_die_more_often_than_the_young(loaded: list[Submission], changes: list[Submission]) -> None:
    born = {s.row["resident_code"]: s.row["birth_date"] for s in loaded}
    deaths = [
        born[s.row["resident_code"]] for s in changes if s.reason == "DELETION_DEATH" and s.row["resident_code"] in born
    ]
    assert sum(year < "1956" for year in deaths) > 0.8 * len(deaths)


def test_nothing_happens_to_the_dead_and_only_entries_follow_a_deletion(histories: list[list[Submission]]) -> None:
    for history in histories:
        for earlier, later in pairwise(history):
            assert earlier.reason != "DELETION_DEATH"
            assert earlier.reason.startswith("DELETION_") == later.reason.startswith("ENTRY_")
        assert history[0].reason.startswith("ENTRY_")


def test_dates_go_forward_and_only_planned_moves_lie_ahead(
    changes: list[Submission], histories: list[list[Submission]]
) -> None:
    for history in histories:
        dates = [s.row["event_date"] for s in history]
        assert dates == sorted(dates)
        for submission in history:
            if submission.reason not in MOVE_OUTS:
                assert submission.row["event_date"] <= submission.filed.isoformat()
            assert submission.filed <= END
    assert [s.filed for s in changes] == sorted(s.filed for s in changes)


def test_moves_match_and_carry_the_version_of_the_move_out(histories: list[list[Submission]]) -> None:
    arrivals = 0
    for history in histories:
        for version, (earlier, later) in enumerate(pairwise(history), start=1):
            pair = (earlier.reason == "DELETION_DOMESTIC_MOVE_OUT", later.reason == "ENTRY_DOMESTIC_MOVE_IN")
            assert pair in {(True, True), (False, False)}
            if all(pair):
                arrivals += 1
                assert earlier.row["next_municipality"] == later.municipality
                assert later.row["previous_municipality"] == earlier.municipality
                assert later.row["transfer_version"] == str(version)
            elif later.row.get("transfer_version"):
                assert later.municipality != earlier.municipality
                assert later.row["transfer_version"] == str(version)
    assert arrivals > 500


def test_versions_count_every_report_of_a_person(nation: Nation, histories: list[list[Submission]]) -> None:
    center = nation.registers.of("center")
    for history in histories:
        assert center[history[-1].row["resident_code"]].version == len(history)


def test_the_municipality_that_files_is_the_one_that_holds(histories: list[list[Submission]]) -> None:
    for history in histories:
        for earlier, later in pairwise(history):
            if not later.reason.startswith("ENTRY_"):
                assert later.municipality == earlier.municipality
        assert all(s.row.get("local_government_code", s.municipality) == s.municipality for s in history)


def test_the_newborn_get_a_number_some_days_later(histories: list[list[Submission]]) -> None:
    numbered = 0
    for history in histories:
        if history[0].reason == "ENTRY_BIRTH":
            assert "individual_number" not in history[0].row
            assert history[0].row["birth_date"] == history[0].row["event_date"]
            numbered += any(s.reason == "CORRECTION_INDIVIDUAL_NUMBER_OTHER" for s in history)
    assert numbered > 80


def test_corrections_change_only_what_their_reason_allows(histories: list[list[Submission]]) -> None:
    allowed = {
        "CORRECTION_MOVE_WITHIN": {"town", "block", "building"},
        "CORRECTION_MINOR": {"block", "building"},
        "CORRECTION_EX_OFFICIO": {"name", "furigana", "former_surname", "former_surname_furigana"},
        "CORRECTION_INDIVIDUAL_NUMBER_REQUEST": {"individual_number"},
        "CORRECTION_INDIVIDUAL_NUMBER_EX_OFFICIO": {"individual_number"},
        "CORRECTION_INDIVIDUAL_NUMBER_OTHER": {"individual_number"},
        "CORRECTION_RESIDENT_CODE_REQUEST": {"resident_code"},
        "CORRECTION_RESIDENT_CODE_OTHER": {"resident_code"},
    }
    beside = {"message_id", "reason", "event_date", "previous_individual_number", "previous_resident_code"}
    beside |= {"previous_municipality", "transfer_version"}
    seen = Counter[str]()
    for history in histories:
        for earlier, later in pairwise(history):
            if later.reason in allowed:
                changed = {c for c, _ in set(earlier.row.items()) ^ set(later.row.items())} - beside
                assert changed
                assert changed <= allowed[later.reason], later.reason
                seen[later.reason] += 1
    assert set(seen) == set(allowed)


def test_changed_numbers_name_the_number_before(histories: list[list[Submission]]) -> None:
    for history in histories:
        for earlier, later in pairwise(history):
            if previous := later.row.get("previous_individual_number"):
                assert previous == earlier.row["individual_number"] != later.row["individual_number"]


def test_marriage_changes_a_surname_and_sometimes_keeps_the_old_one(histories: list[list[Submission]]) -> None:
    renamed = kept = 0
    for history in histories:
        for earlier, later in pairwise(history):
            if later.reason == "CORRECTION_EX_OFFICIO" and earlier.row.get("name") != later.row["name"]:
                renamed += 1
                kept += "former_surname" in later.row and "former_surname" not in earlier.row
    assert renamed > 60
    assert kept


def test_naturalisation_is_a_pair_on_one_day_under_one_code(histories: list[list[Submission]]) -> None:
    pairs = 0
    for history in histories:
        for earlier, later in pairwise(history):
            if earlier.reason in {"DELETION_NATURALIZATION", "DELETION_LOSS_OF_NATIONALITY"}:
                pairs += 1
                assert later.reason == earlier.reason.replace("DELETION", "ENTRY")
                assert later.filed == earlier.filed
                assert later.row["event_date"] == earlier.row["event_date"]
                assert later.row["resident_code"] == earlier.row["resident_code"]
                assert later.row["name"].isascii() == (later.reason == "ENTRY_LOSS_OF_NATIONALITY")
    assert pairs >= 2


def test_moves_out_of_this_nation_are_as_rare_as_asked(nation: Nation, changes: list[Submission]) -> None:
    inside = {m.code for m in nation.municipalities}
    targets = [s.row["next_municipality"] for s in changes if s.reason == "DELETION_DOMESTIC_MOVE_OUT"]
    assert 0 < sum(code not in inside for code in targets) / len(targets) < 0.05
    assert set(targets) <= set(municipalities())


def test_a_nation_of_one_municipality_only_loses_its_movers() -> None:
    nation = Nation(["131016"], count=500, seed=1, on=date(2026, 3, 31))
    changes = nation.changes(date(2026, 4, 1), date(2026, 6, 30), intensity=5)
    targets = [s.row["next_municipality"] for s in changes if s.reason == "DELETION_DOMESTIC_MOVE_OUT"]
    assert targets
    assert "131016" not in targets
    assert not any(s.reason == "ENTRY_DOMESTIC_MOVE_IN" for s in changes)


def test_an_empty_nation_stays_empty_but_for_those_who_come() -> None:
    nation = Nation(["131016"], count=0, seed=1, on=date(2026, 3, 31))
    assert not nation.residents()
    changes = nation.changes(date(2026, 4, 1), date(2026, 4, 30), at_least_once=True)
    assert {s.reason for s in changes} >= {"ENTRY_ABROAD_MOVE_IN"}


def test_periods_follow_each_other() -> None:
    nation = Nation(["131016", "131024"], count=300, seed=1, on=date(2026, 3, 31))
    first = nation.changes(date(2026, 4, 1), date(2026, 4, 30), intensity=10)
    with pytest.raises(PeriodOrderError):
        nation.changes(date(2026, 4, 30), date(2026, 5, 31))
    with pytest.raises(PeriodOrderError):
        nation.changes(date(2026, 5, 31), date(2026, 5, 1))
    second = nation.changes(date(2026, 5, 1), date(2026, 5, 31), intensity=10)
    under_way = {s.row["resident_code"] for s in first if s.reason == "DELETION_DOMESTIC_MOVE_OUT"}
    assert any(s.reason == "ENTRY_DOMESTIC_MOVE_IN" and s.row["resident_code"] in under_way for s in second)
    ids = [(s.municipality, s.row["message_id"]) for s in [*first, *second]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "found",
    [
        lambda: Nation(["131011"], count=1, seed=1, on=date(2026, 4, 1)),
        lambda: Nation(["131016", "131024"], count=1, seed=1, on=date(2026, 4, 1), weights={"131016": 1.0}),
    ],
    ids=["no such code", "no weight"],
)
def test_unknown_municipalities_are_refused(found: Callable[[], Nation]) -> None:
    with pytest.raises(UnknownMunicipalityError):
        found()
