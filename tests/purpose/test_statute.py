"""The statute table is complete, consistent and worded by the project itself."""

import csv
import re
from collections import Counter
from datetime import date
from importlib import resources

import pytest

from jukinet.purpose.edition import load_statute, program_edition, read_parts
from jukinet.purpose.statute import StatuteTable, StatuteTableError, build_statute

KEY = re.compile(r"B[1-6]-[0-9]+(-[0-9]+){0,2}[*]?")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
# Table by table, the rows that Act and ordinance number differently, and the ordinance's rows that the Act lacks.
RENUMBERED = [
    "B1-40-2",
    *("B2-1", "B2-1-2", "B2-1-3", "B2-1-4", "B2-1-5"),
    *("B3-1", "B3-1-2", "B3-1-3"),
    *("B4-1", "B4-1-2", "B4-1-3", "B4-1-4", "B4-1-5", "B4-1-6"),
    *("B5-1", "B5-1-2", "B5-1-3"),
]
ORDINANCE_ROWS_WITHOUT_ACT_ROW = [
    *("B1-40-3", "B1-40-4", "B1-44-3"),
    *("B2-1-6", "B2-1-7", "B2-1-8"),
    *("B3-1-4", "B3-1-5"),
    *("B4-1-7", "B4-1-8", "B4-1-9"),
    *("B5-1-4", "B5-1-5", "B5-10-11"),
]
ARTICLES = {1: "30-9", 2: "30-10", 3: "30-11", 4: "30-12", 5: "30-15(1)", 6: "30-15(2)"}


@pytest.fixture(scope="module")
def table() -> StatuteTable:
    return load_statute()


def records(name: str) -> list[dict[str, str]]:
    text = resources.files("jukinet.purpose").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_table_holds_every_row_of_the_six_annexed_tables(table: StatuteTable) -> None:
    def count(status: str) -> list[int]:
        return [
            sum(row.table == number and row.status == status for row in table.rows.values()) for number in range(1, 7)
        ]

    assert count("in_force") == [179, 54, 64, 53, 64, 4]
    assert count("deleted") == [5, 0, 0, 0, 0, 0]
    assert count("ordinance_only") == [2, 2, 1, 0, 0, 0]
    assert all(KEY.fullmatch(key) for key in table.rows)


def test_every_row_names_its_article_law_and_edition(table: StatuteTable) -> None:
    for row in table.rows.values():
        assert row.article == ARTICLES[row.table]
        assert row.as_of == ("2020-10" if row.status == "ordinance_only" else "2019-01")
        if row.status == "in_force":
            assert all((row.law_ja, row.law_en, row.bodies))
            assert row.valid_from == date(2019, 1, 7) <= row.valid_to
    assert {key for key, row in table.rows.items() if row.status == "deleted"} == {
        "B1-4", "B1-6", "B1-7", "B1-10", "B1-52",
    }  # fmt: skip


def test_a_body_that_a_row_of_the_ordinance_alone_names_is_opened_nothing(table: StatuteTable) -> None:
    opened = {body for row in table.rows.values() if row.status == "in_force" for body in row.bodies}
    others = {body for row in table.rows.values() for body in row.bodies} - opened
    assert table.bodies.keys() - opened == others == {"immigration-services-agency"}
    assert [key for key, row in table.rows.items() if others & {*row.bodies}] == ["B1-40-2*"]
    assert table.rows["B1-40-2*"].status == "ordinance_only"


def test_every_row_has_a_short_label_in_both_languages(table: StatuteTable) -> None:
    for row in table.rows.values():
        assert 0 < len(row.label_en) <= 60, row.key
        assert row.label_en.isascii(), row.key
        assert 0 < len(row.label_ja) <= 40, row.key
        assert JAPANESE.search(row.label_ja), row.key


def test_no_label_sounds_like_the_text_of_a_law(table: StatuteTable) -> None:
    for row in table.rows.values():
        assert not re.search(r"同法|同条|規定|又は|若しくは|に関する事務|第.+条", row.label_ja), row.key


def test_no_row_of_the_tables_provides_the_resident_code(table: StatuteTable) -> None:
    assert not any(row.resident_code for row in table.rows.values())


def test_individual_number_is_closed_wherever_nothing_is_known(table: StatuteTable) -> None:
    for row in table.rows.values():
        assert row.individual_number_certainty == ("memory" if row.individual_number else "default")
        assert row.status == "in_force" or not row.individual_number
    assert table.rows["B1-77"].individual_number
    assert not table.rows["B1-30"].individual_number


def test_bodies_designated_under_different_laws_are_different_bodies(table: StatuteTable) -> None:
    designated = [
        body for row in table.rows.values() for body in row.bodies if body.startswith(("examination-", "registration-"))
    ]
    assert len(designated) == len(set(designated))
    assert set(table.rows["B2-2"].bodies) == {"municipal-election-commission"}
    assert set(table.rows["B2-3-2"].bodies) == {"municipal-board-of-education"}
    assert set(table.rows["B6-1"].bodies) == {"prefectural-board-of-education"}


def test_pension_service_has_its_fourteen_rows(table: StatuteTable) -> None:
    keys = ["72", "72-3", "73-5", "74", "75", "76", "77", "77-7", "77-9", "77-10", "77-11", "77-12", "77-13", "77-14"]
    found = {key for key, row in table.rows.items() if "japan-pension-service" in row.bodies}
    assert found == {f"B1-{key}" for key in keys}


def test_every_body_has_names_and_is_opened_by_some_row(table: StatuteTable) -> None:
    used = {body for row in table.rows.values() for body in row.bodies}
    assert used == set(table.bodies)
    assert all(body.name_en and JAPANESE.search(body.name_ja) for body in table.bodies.values())


def test_every_body_says_what_it_is_and_whether_several_can_be_it(table: StatuteTable) -> None:
    tiers = Counter(body.tier for body in table.bodies.values())
    assert tiers == {"national": 80, "municipality": 14, "governor": 2, "prefecture": 2}
    assert table.bodies["japan-pension-service"].is_single
    assert table.bodies["fukushima-governor"].is_single
    local = [key for key, body in table.bodies.items() if body.tier != "national" and key != "fukushima-governor"]
    plural = [
        key for key in table.bodies if re.search(r"^(?!federation).*(associations|societies|councils.*|bodies.*)$", key)
    ]
    designated = [key for key, body in table.bodies.items() if "指定" in body.name_ja]
    assert not any(table.bodies[key].is_single for key in [*local, *plural, *designated])


def test_purpose_is_found_by_row_or_by_row_and_item(table: StatuteTable) -> None:
    row = table.rows["B1-77"]
    assert table.find("B1-77") is row
    assert table.find("B1-77.12") is row


@pytest.mark.parametrize("purpose", ["", ".", "B1-77.", "B1-77.999", "B1-77.12.1", "b1-77", "B1-77 ", "B7-1", "77"])
def test_purpose_that_does_not_exist_is_not_found(table: StatuteTable, purpose: str) -> None:
    assert table.find(purpose) is None


def test_every_joined_item_is_found(table: StatuteTable) -> None:
    for item in records("statute_items.csv"):
        if item["purpose_key"]:
            assert item["purpose_key"] == item["ordinance_row"]
            purpose = item["purpose_key"] + ("." + item["item"] if item["item"] else "")
            assert table.find(purpose) is table.rows[item["purpose_key"]]


def test_items_are_not_joined_where_both_texts_number_differently(table: StatuteTable) -> None:
    unjoined = {item["ordinance_row"] for item in records("statute_items.csv") if not item["purpose_key"]}
    assert unjoined == {*RENUMBERED, *ORDINANCE_ROWS_WITHOUT_ACT_ROW}
    for key in RENUMBERED:
        assert table.rows[key].items == frozenset()
        assert table.find(f"{key}.1") is None
    assert all(table.find(key) is None for key in ORDINANCE_ROWS_WITHOUT_ACT_ROW)


def test_number_of_items_agrees_with_each_row(table: StatuteTable) -> None:
    for record in records("statute.csv"):
        named = len(table.rows[record["purpose_key"]].items)
        assert named == int(record["items"]) or (named == 0 and record["items"] == "1")


PARTS = read_parts(program_edition())


def one_row(**changes: str) -> dict[str, str]:
    return {**records("statute.csv")[0], **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": "maybe"}, "malformed"),
        ({"individual_number": "perhaps"}, "malformed"),
        ({"table": "one"}, "malformed"),
        ({"table": "2"}, "stands under table 2"),
        ({"table": "7"}, "stands under table 7"),
        ({"valid_from": "spring"}, "malformed"),
        ({"provisions": "immediate, batch"}, "malformed"),
        ({"valid_from": "2026-W49-2"}, "2026-W49-2 is not a day such as 2026-04-01"),
        ({"valid_to": "20260401"}, "20260401 is not a day such as"),
        ({"as_of": "2019-13"}, "as_of cannot be '2019-13'"),
        ({"individual_number_certainty": "xyz"}, "individual_number_certainty cannot be 'xyz'"),
        ({"items": "a few"}, "items cannot be 'a few'"),
        ({"row": "2"}, "has '2' in the column row"),
        ({"bodies": "nobody"}, "bodies that do not exist"),
    ],
)
def test_broken_table_is_refused_with_the_row_named(changes: dict[str, str], told: str) -> None:
    with pytest.raises(StatuteTableError, match=rf"row B1-1 .*{told}"):
        build_statute(PARTS._replace(rows=[one_row(**changes)], items=[]))


@pytest.mark.parametrize(
    ("table", "body"),
    [
        ("1", "municipal-mayor"),
        ("1", "prefectural-governor"),
        ("2", "japan-pension-service"),
        ("2", "prefectural-governor"),
        ("3", "municipal-mayor"),
        ("4", "prefectural-board-of-education"),
        ("5", "prefectural-board-of-education"),
        ("6", "fukushima-governor"),
    ],
)
def test_a_row_that_opens_its_table_to_another_kind_of_body_is_refused(table: str, body: str) -> None:
    own = next(record for record in PARTS.rows if record["table"] == table and record["status"] == "in_force")
    row = {**own, "bodies": f"{own['bodies']} {body}"}
    with pytest.raises(StatuteTableError, match=rf"{row['purpose_key']}: table {table} is for .*, not for {body}$"):
        build_statute(PARTS._replace(rows=[row], items=[]))


def test_table_with_a_row_twice_is_refused() -> None:
    with pytest.raises(StatuteTableError, match="twice"):
        build_statute(PARTS._replace(rows=[one_row(), one_row()], items=[]))


def test_item_of_a_row_that_does_not_exist_is_refused() -> None:
    item = {"ordinance_row": "B1-9", "item": "1", "purpose_key": "B1-9", "as_of": "2020-10"}
    with pytest.raises(StatuteTableError, match="B1-9"):
        build_statute(PARTS._replace(rows=[one_row()], items=[item]))
