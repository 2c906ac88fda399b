"""What counts as the correction of an error (誤記の修正), and which versions of a record were wrong."""

from collections.abc import Iterable
from typing import Any

import pytest

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    SEX_FEMALE,
    SEX_MALE,
    Address,
    BirthDate,
    IdentityRecord,
    PersonName,
)
from jukinet.domain.change import ITEMS, REASONS, Act
from jukinet.domain.correction import Wrong, may_correct, wrong_items, wrong_versions
from jukinet.store.rows import compared_of


def record(**changed: Any) -> IdentityRecord:
    parts: dict[str, Any] = {
        "resident_code": "00000000011",
        "name": PersonName(legal="試験花子"),
        "birth_date": BirthDate(year=1980, month=1, day=2),
        "sex": SEX_FEMALE,
        "address": Address(local_government_code="131016", town="千代田一丁目"),
        "individual_number": "000000000011",
    }
    return IdentityRecord(**{**parts, **changed})


OTHER = record(
    resident_code="00000000028",
    name=PersonName(legal="試験花代"),
    birth_date=BirthDate(year=1981, month=1, day=2),
    sex=SEX_MALE,
    address=Address(local_government_code="131016", town="千代田二丁目"),
    individual_number="000000000028",
)
"""Differs from `record()` in every item."""


def change(reason: int, after: IdentityRecord = OTHER, *, was_wrong: bool = False) -> Change:
    return Change(reason=reason, record=after, was_wrong=was_wrong)  # type: ignore[arg-type]  # number of an enum


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_by_the_laws_heading_a_birth_date_and_a_code_replaced_ex_officio_alone_were_wrong(reason: int) -> None:
    by_heading = {15: {"birth_date"}, 20: {"resident_code"}}.get(reason, set())
    assert wrong_items(change(reason), record()) == by_heading
    assert may_correct(change(reason)) == bool(by_heading)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_by_the_municipalitys_word_all_that_a_change_replaces_or_deletes_was_wrong(reason: int) -> None:
    facts = REASONS[reason]
    expected = frozenset(ITEMS) if facts.act is Act.DELETION else facts.may_change
    assert wrong_items(change(reason, was_wrong=True), record()) == expected


def test_what_stays_was_not_wrong_nor_what_was_not_there() -> None:
    assert wrong_items(change(15, record(), was_wrong=True), record()) == frozenset()
    assert wrong_items(change(18, was_wrong=True), record(individual_number="")) == frozenset()
    without = record()
    without.ClearField("birth_date")
    assert wrong_items(change(15), without) == frozenset()


def wrong(changes: Iterable[Change]) -> list[tuple[Change, frozenset[str]]]:
    """What was wrong, as it was provided."""
    return [(each.change, each.items) for each in wrong_versions(iter(changes), compared_of)]


@pytest.mark.parametrize("item", ITEMS)
def test_a_value_was_wrong_since_it_came_and_not_when_it_had_stood_before(item: str) -> None:
    reason = {"individual_number": 17, "resident_code": 20}.get(item, 15)
    bad, right = record(), record(**{item: getattr(OTHER, item)})
    newest_first = [change(6, each) for each in (bad, bad, right, bad)]
    found = wrong([change(reason, right, was_wrong=True), *newest_first])
    assert found == [(each, frozenset({item})) for each in newest_first[:2]]


def test_each_item_was_wrong_for_as_long_as_it_stood_itself() -> None:
    mended = change(15, record(name=OTHER.name, address=OTHER.address), was_wrong=True)
    newest_first = [change(6, record()), change(6, record(name=PersonName(legal="試験花"))), change(6, OTHER)]
    found = wrong([mended, *newest_first])
    assert [items for _, items in found] == [{"name", "address"}, {"address"}]


def test_no_more_of_the_history_is_read_than_is_needed() -> None:
    def changes() -> Any:
        yield change(15, OTHER, was_wrong=True)
        yield change(6, record())
        yield change(6, OTHER)
        raise AssertionError

    assert len(wrong(changes())) == 1


def test_a_record_that_was_entered_in_error_was_wrong_from_its_entry_to_its_deletion() -> None:
    stay = [change(12, was_wrong=True), change(15), change(13, record()), change(6, record(individual_number=""))]
    before = [change(7, record()), change(3, record())]
    found = wrong([*stay, *before])
    everything = frozenset(ITEMS)
    assert found == list(zip(stay, [*[everything] * 3, everything - {"individual_number"}], strict=True))


@pytest.mark.parametrize("reason", [7, 8, 9, 10, 11, 12])
def test_a_deletion_that_is_no_error_makes_nothing_wrong(reason: int) -> None:
    assert wrong([change(reason, record()), change(6, record())]) == []


def test_an_entry_that_mends_makes_wrong_what_it_replaces_of_the_record_before() -> None:
    stay = [change(12, record()), change(6, record())]
    mended = change(6, record(name=OTHER.name), was_wrong=True)
    assert wrong([mended, *stay]) == [(each, frozenset({"name"})) for each in stay]
    assert wrong([change(6, record(name=OTHER.name)), *stay]) == []


def test_what_a_deletion_called_wrong_is_not_wrong_a_second_time() -> None:
    stay = [change(12, record(), was_wrong=True), change(6, record())]
    assert wrong([change(6, OTHER, was_wrong=True), *stay]) == []
    later = [change(15, OTHER, was_wrong=True), change(6, record(), was_wrong=True)]
    assert wrong([*later, *stay]) == [(later[1], frozenset({"name", "birth_date", "sex", "address"}))]


def compared(changes: Iterable[Change]) -> list[frozenset[str]]:
    """What was wrong of that by which a search finds the record."""
    return [each.compared for each in wrong_versions(iter(changes), compared_of)]


PLACE = {"local_government_code": "131016", "town": "千代田一丁目", "block": "1番1号"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"name": PersonName(legal="試験花子", furigana="しけん")},
            {"name": PersonName(legal="試験花子", furigana="てすと")},
        ),
        ({"name": PersonName(legal="試驗花子")}, {"name": PersonName(legal="試験 花子")}),
        ({"name": PersonName(legal="試験花子")}, {"name": PersonName(legal="試験花子", alias="試験花")}),
        ({"address": Address(**PLACE, building="甲荘")}, {"address": Address(**PLACE, building="乙荘")}),
        ({"address": Address(**PLACE)}, {"address": Address(**{**PLACE, "block": "１－１"})}),
        ({"individual_number": "000000000011"}, {"individual_number": "000000000028"}),
    ],
)
def test_what_no_search_compares_makes_no_yes_wrong(before: dict[str, Any], after: dict[str, Any]) -> None:
    reason = 18 if "individual_number" in before else 14
    found = wrong_versions(
        iter([change(reason, record(**after), was_wrong=True), change(6, record(**before))]), compared_of
    )
    assert [(each.items, each.compared) for each in found] == [(frozenset(before), frozenset())]


@pytest.mark.parametrize("item", ["name", "birth_date", "sex", "address"])
def test_what_a_search_compares_makes_a_yes_wrong_for_as_long_as_it_stood(item: str) -> None:
    bad, right = record(), record(**{item: getattr(OTHER, item)})
    newest_first = [change(6, each) for each in (bad, bad, right, bad)]
    assert compared([change(15, right, was_wrong=True), *newest_first]) == [frozenset({item})] * 2


def test_a_key_was_wrong_also_under_a_reading_or_building_that_was_replaced_meanwhile() -> None:
    legal = PersonName(legal="試験花子", furigana="しけんはな")
    first, second = change(6, record(name=legal)), change(14, record(), was_wrong=True)
    found = wrong_versions(iter([change(15, record(name=OTHER.name), was_wrong=True), second, first]), compared_of)
    assert found == [
        Wrong(second, frozenset({"name"}), frozenset({"name"})),
        Wrong(first, frozenset(), frozenset({"name"})),
    ]


def test_one_of_several_names_that_was_wrong_makes_a_yes_wrong_while_the_others_stay() -> None:
    both = record(name=PersonName(legal="試験花子", alias="試験花"))
    mended = record(name=PersonName(legal="試験花子", alias="試験春"))
    assert compared([change(14, mended, was_wrong=True), change(14, both), change(6, record())]) == [
        frozenset({"name"})
    ]


def test_of_a_record_entered_in_error_each_of_the_four_items_made_a_yes_wrong() -> None:
    assert compared([change(12, was_wrong=True), change(6, record())]) == [FOUR_ITEMS, FOUR_ITEMS]


FOUR_ITEMS = frozenset({"name", "birth_date", "sex", "address"})
