import re
import unicodedata
from collections import Counter
from datetime import date
from itertools import groupby
from random import Random

import pytest

from nation import Nation, municipalities, residents
from nation.names import NameStock
from nation.places import find_municipalities, postal_rows, towns
from nation.rates import AGE_PYRAMID
from nation.settling import apportion

ON = date(2026, 4, 1)
MANY = ("131016", "141003", "271004", "011002")
# Written out here a second time, from the rule of both codes: weights from the lowest digit of the body.
WEIGHTS = (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [dict(s.row) for s in residents(MANY, count=20_000, seed=3, on=ON)]


def age(row: dict[str, str]) -> int:
    year, month, day = (int(part) for part in row["birth_date"].split("-"))
    return ON.year - year - ((ON.month, ON.day) < (max(month, 1), max(day, 1)))


def is_valid(code: str, digits: int) -> bool:
    total = sum(int(c) * w for c, w in zip(reversed(code[:-1]), WEIGHTS, strict=False))
    expected = 0 if total % 11 <= 1 else 11 - total % 11
    return len(code) == digits and int(code[-1]) == expected


def is_foreign(row: dict[str, str]) -> bool:
    return row["name"].isascii()


def test_codes_and_numbers_are_valid_unique_and_of_the_reserved_block(rows: list[dict[str, str]]) -> None:
    for column, digits in (("resident_code", 11), ("individual_number", 12)):
        values = [row[column] for row in rows]
        assert len(set(values)) == len(values) == 20_000
        assert all(value.startswith("00") and is_valid(value, digits) for value in values)


def test_every_resident_enters_ex_officio_on_the_day_of_the_load(rows: list[dict[str, str]]) -> None:
    assert {row["reason"] for row in rows} == {"ENTRY_EX_OFFICIO"}
    assert {row["event_date"] for row in rows} == {ON.isoformat()}
    assert len({(row["local_government_code"], row["message_id"]) for row in rows}) == len(rows)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", row["message_id"]) for row in rows)


def test_age_groups_follow_the_pyramid(rows: list[dict[str, str]]) -> None:
    groups = Counter(min(age(row) // 5, len(AGE_PYRAMID) - 1) for row in rows)
    for group, weight in enumerate(AGE_PYRAMID):
        assert groups[group] / len(rows) == pytest.approx(weight / sum(AGE_PYRAMID), abs=0.009)


def test_surnames_come_by_their_real_frequency(rows: list[dict[str, str]]) -> None:
    surnames = Counter(row["name"].split("\u3000")[0] for row in rows if not is_foreign(row))
    common = [name for name, _ in surnames.most_common(4)]
    assert set(common[:2]) == {"佐藤", "鈴木"}
    assert surnames["佐藤"] / len(rows) == pytest.approx(0.019, abs=0.006)


def test_names_have_katakana_readings(rows: list[dict[str, str]]) -> None:
    assert all(re.fullmatch(r"[ァ-ヶー\u3000]+", row["furigana"]) for row in rows)
    assert all(row["furigana"].count("\u3000") == 1 for row in rows if not is_foreign(row))


def test_given_names_fit_the_sex(rows: list[dict[str, str]]) -> None:
    endings = Counter((row["sex"], row["name"][-1]) for row in rows if not is_foreign(row))
    assert endings["female", "子"] > 1000
    assert endings["male", "子"] < endings["female", "子"] / 100
    assert endings["male", "郎"] > 100 * max(endings["female", "郎"], 1)


def test_about_three_of_a_hundred_are_foreign_and_some_have_an_alias(rows: list[dict[str, str]]) -> None:
    foreign = [row for row in rows if is_foreign(row)]
    assert len(foreign) / len(rows) == pytest.approx(0.03, abs=0.006)
    with_alias = [row for row in foreign if "alias" in row]
    assert 0.05 < len(with_alias) / len(foreign) < 0.35
    assert all("alias_furigana" in row for row in with_alias)
    assert not any("alias" in row for row in rows if not is_foreign(row))


def test_variant_spellings_former_surnames_and_unknown_birth_dates_occur(rows: list[dict[str, str]]) -> None:
    names = "".join(row["name"] for row in rows)
    assert all(variant in names for variant in ("髙", "﨑", "邉", "渡邊", "齋藤", "辻\U000e0100", "\U00020bb7"))
    assert any("former_surname" in row and "former_surname_furigana" in row for row in rows)
    unknown = [row for row in rows if row["birth_date"].endswith("-00")]
    assert unknown
    assert all(age(row) >= 86 for row in unknown)


def test_children_share_surname_and_address_with_a_parent_of_plausible_age() -> None:
    nation = Nation(MANY, count=3000, seed=11, on=ON)
    people = nation._world.people
    children = [p for p in people if p.role.value == "child" and p.origin is None]
    assert len(children) > 300
    for child in children:
        parents = child.household.couple()
        assert child in child.household.members
        assert {parent.surname for parent in parents} == {child.surname}
        assert all(parent.age(ON) - child.age(ON) >= 16 for parent in parents)
        assert all(15 <= p.age(ON) - child.age(ON) <= 50 for p in parents if not p.male)
    grandparents = [p for p in people if p.role.value == "parent"]
    assert grandparents
    assert all(p.age(ON) - q.age(ON) >= 18 for p in grandparents for q in p.household.couple() if q.male)


def test_minors_never_live_alone(rows: list[dict[str, str]]) -> None:
    def home(row: dict[str, str]) -> tuple[str, ...]:
        return tuple(row.get(c, "") for c in ("local_government_code", "town", "block", "building"))

    sizes = []
    for _, members in groupby(rows, home):
        ages = [age(row) for row in members]
        assert max(ages) >= 18
        sizes.append(len(ages))
    assert 0.3 < sizes.count(1) / len(sizes) < 0.5


def test_residents_divide_by_weight_and_add_up() -> None:
    weights = {"131016": 1.0, "141003": 3.0}
    found = Counter(s.municipality for s in residents(list(weights), count=1001, seed=1, on=ON, weights=weights))
    assert found.total() == 1001
    assert abs(found["141003"] - 751) <= 1
    assert apportion(10, [1, 1, 1]) == [3, 4, 3]
    small, large = find_municipalities(["473821", "271004"])
    assert postal_rows(small) < postal_rows(large)


def test_wards_of_designated_cities_begin_the_town(rows: list[dict[str, str]]) -> None:
    yokohama = [row["town"] for row in rows if row["local_government_code"] == "141003"]
    assert all(re.match(r"[^区]{1,5}区.", town) for town in yokohama)


def test_all_municipalities_are_known_and_have_a_town() -> None:
    assert len(municipalities()) == 1741
    assert len({m.prefecture for m in municipalities().values()}) == 47
    found = towns(municipalities().values())
    assert all(found[code] and all(found[code]) for code in municipalities())
    assert not any("階" in town or "（" in town for names in found.values() for town in names)


def test_names_can_be_kept_to_cp932() -> None:
    for submission in residents(MANY, count=5000, seed=3, on=ON, encoding="cp932"):
        "".join(submission.row.values()).encode("cp932")


def test_names_are_normalised_and_free_of_control_characters(rows: list[dict[str, str]]) -> None:
    for row in rows:
        text = "".join(row.values())
        assert not any(unicodedata.category(char) == "Cc" for char in text)


def test_other_readings_are_of_the_same_spelling() -> None:
    stock = NameStock()
    rng = Random(1)
    drawn = [stock.given(rng, male=True, born=1970) for _ in range(99)]
    several = [given for given in drawn if stock.other_readings(given, male=True)]
    assert several
    assert all(given.kana not in stock.other_readings(given, male=True) for given in several)
