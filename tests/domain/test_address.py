"""One address in many spellings has one search key."""

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain import address
from jukinet.domain.address import _DASHES, _KANJI, _NUMERALS, place_key


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (
            [
                "本町一丁目2番3号",
                "本町1-2-3",
                "本町１－２－３",
                "本町1丁目2-3",
                "本町一丁目二番三号",
                "本町1丁目2番地3",
                "本町一丁目2番地の3",
                "本町1ー2ー3",
                "本町1の2の3",
                "本町1−2−3",
                "本町 1丁目 2番 3号",
                "本町01-02-03",
                "本町一の二の三",
                "本町一ー二ー三",
                "本町一丁目二の三",
                "本町1丁目2番の3",
                "本町1丁目の2の3",
                "本町 1 2 3",
                "本町一 二 三",
                "本町1─2─3",
                "本町一丁目 二番地の三",
                "本町一丁目二番三",
                "本町1丁目二番地三",
                "本町一丁目 二番三",
                "本\u200b町1\u2060-2-3",
            ],
            "本町1-2-3",
        ),
        (["霞ケ関二丁目1番2号", "霞ヶ関2-1-2", "霞が関2丁目1-2", "霞ガ関2-1-2"], "霞が関2-1-2"),
        (["北一条西二十一丁目3番", "北1条西21-3"], "北1条西21-3"),
        (["大字山田123番地", "山田123"], "山田123"),
        (["二〇番地", "二十番", "20"], "20"),
        (["千二百三十四番地", "1234番地"], "1234"),
        (["本町一○番", "本町一◯番", "本町一〇番", "本町拾番地"], "本町10"),
        (["壱番町弐番地", "壹番町2", "一番町二番地"], "1番町2"),
        (["本町廿一丁目参番", "本町二十一丁目3", "本町弐拾壱丁目三番"], "本町21-3"),
        (["湘南ニュ-タウン1", "湘南ニュータウン1", "湘南ﾆｭ－ﾀｳﾝ一番"], "湘南にゆーたうん1"),
        (["鶴来本町ロ-12", "鶴来本町ロ12番地"], "鶴来本町ろ12"),
        (["三番町6番", "三番町6"], "3番町6"),
        (["澤ノ町1番", "沢の町1"], "沢の町1"),
        (["千代田1番1号", "千代田1-1"], "千代田1-1"),
        (["千代田区一番町1", "千代田区1番町一番地"], "千代田区1番町1"),
        (["三区町1", "三区町一番地"], "三区町1"),
        (["1番11号"], "1-11"),
        (["本町十の二十", "本町10-20"], "本町10-20"),
        (["大字山田字川原123番地", "大字山田小字川原123", "山田字川原一二三番地", "山田川原123"], "山田川原123"),
        (["十文字町1", "十文字町一番地"], "十文字町1"),
        (["堀之内1", "堀ノ内1", "堀の内1"], "堀の内1"),
        (["一の宮1-2", "一ノ宮一番二号", "一之宮1の2"], "一の宮1-2"),
        (["三の丸一の二", "三ノ丸1-2"], "三の丸1-2"),
        (["霞箇関1", "霞ヶ関1"], "霞が関1"),
        (["第一地割5番地", "第1地割5", "一地割5", "1地割5番地"], "1地割5"),
        (["玉山第12地割34番地5", "玉山12地割34-5", "玉山第十二地割三十四番地五"], "玉山12地割34-5"),
        (["東七線北12号", "東7線北12号", "東７線北十二号"], "東7線北12"),
        (["西二線7号", "西2線7号", "西２線 七号", "西2線7"], "西2線7"),
        (["3区12番地", "三区12番地", "三区 十二番地", "3区-12"], "3区12"),
        (["1の甲", "1番地の甲", "1番地甲", "1-甲", "一ノ甲", "一番地の甲"], "1甲"),
        (["1番地甲号", "1の甲号", "一番地の甲号", "1番地-甲号", "1甲号", "1甲"], "1甲"),
        (["5番地イ号", "五番地のイ号", "5-イ", "5番地イ"], "5い"),
        (["2番地1のイ", "2-1-イ", "二番地一のイ", "2-1-イ号", "二番地一イ号"], "2-1い"),
        (["1-2-ロ号", "1丁目2番ロ号", "一丁目二番地のロ号", "1-2-ロ"], "1-2ろ"),
        (["123番地1ロ号の3", "123-1ロ号3", "123-1-ロ-3", "123番地1ロ3"], "123-1ろ3"),
        (["3丁目2番1-B号", "3-2-1-B", "三丁目2番1−B", "3丁目2番1のＢ号", "3丁目2番1号B"], "3-2-1b"),
        (["葛\U000e0100ケ丘", "葛が丘"], "葛が丘"),
        (["みすゞ台", "みすず台"], "みすず台"),
        (["丸の内一丁目一番地一", "丸の内1-1-1"], "丸の内1-1-1"),
        (["百二十三番地四", "一二三番地四", "123番地4"], "123-4"),
        (["本町一丁目十", "本町1丁目10"], "本町1-10"),
        (["つつじヶ丘", "つつじケ丘", "つつじが丘", "ツツジヶ丘"], "つつじが丘"),
        (["ひばりヶ丘1", "ひばりケ丘一番", "ひばりｹ丘1", "ひばりが丘1"], "ひばりが丘1"),
    ],
)
def test_spellings_of_one_place_have_one_key(spellings: list[str], key: str) -> None:
    assert {place_key(spelling) for spelling in spellings} == {key}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("本町1-23", "本町12-3"),
        ("本町1-2", "本町1-2-3"),
        ("東町1", "西町1"),
        ("本町一丁目1", "本町十一丁目"),
        ("ヱケ屋敷", "ヱガ屋敷"),
        ("いけ上", "いが上"),
        ("さか本", "さが本"),
        ("あケの原", "あがの原"),
        ("三番一色", "三番1色"),
        ("壱岐町1", "一岐町1"),
        ("廿日市1", "二十日市1"),
        ("三区町1", "三区1"),
        ("三区1", "31"),
        ("三区1", "三線1"),
        ("三条1", "三線1"),
        ("一線2", "1-2"),
        ("八王子1", "8王子1"),
        ("二戸1", "2戸1"),
        ("本町1第2地割", "本町12地割"),
        ("三の甲田1", "三甲田1"),
        ("1の甲", "甲1"),
        ("2-1-B", "2-11-B"),
        ("字甲号1", "字甲1"),
        ("新地甲号1", "新地甲1"),
        ("1番地甲号", "1番地乙号"),
        ("山ノイ号1", "山ノイ1"),
    ],
)
def test_different_places_have_different_keys(one: str, other: str) -> None:
    assert place_key(one) != place_key(other)


def test_a_number_may_end_the_town_or_begin_the_block() -> None:
    one = identity_pb2.Address(
        local_government_code="131016", town="九段南一丁目", block="2番1号", building="九段荘 101"
    )
    other = identity_pb2.Address(local_government_code="131016", town="九段南", block="1-2-1")
    assert address.search_key(one) == address.search_key(other) == "131016/九段南1-2-1"


@pytest.mark.parametrize(("town", "block"), [("本町1", "2-3"), ("本町一", "二番三号"), ("本町１", "２の３")])
def test_no_number_goes_on_from_the_town_into_the_block(town: str, block: str) -> None:
    """本町1 and 2-3 is not 本町12-3, where somebody else lives."""
    split = identity_pb2.Address(local_government_code="131016", town=town, block=block)
    whole = identity_pb2.Address(local_government_code="131016", town="本町", block="1-2-3")
    other = identity_pb2.Address(local_government_code="131016", town="本町", block="12-3")
    assert address.search_key(split) == address.search_key(whole) != address.search_key(other)


def test_the_same_place_name_in_another_municipality_is_another_address() -> None:
    one = identity_pb2.Address(local_government_code="131016", town="本町")
    other = identity_pb2.Address(local_government_code="131024", town="本町")
    assert address.search_key(one) != address.search_key(other)


def by_place(number: int) -> str:
    return str(number).translate({ord(digit): kanji for digit, kanji in zip("0123456789", _NUMERALS, strict=False)})


def by_units(number: int) -> str:
    places = zip(str(number).zfill(4), "千百十 ", strict=True)
    return "".join(
        ("" if digit == "1" and unit != " " else by_place(int(digit))) + unit.strip()
        for digit, unit in places
        if digit != "0"
    )


def in_wide_digits(number: int) -> str:
    return str(number).translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)})


WAYS: list[Callable[[int], str]] = [str, in_wide_digits, by_place, by_units]
COUNTERS: dict[int, list[tuple[str, ...]]] = {
    1: [("丁目",), ("番",), ("番地",)],
    2: [("丁目", "番"), ("丁目", "番地"), ("丁目", ""), ("番", "号"), ("番", ""), ("番地", ""), ("番地の", "")],
    3: [("丁目", "番", "号"), ("丁目", "番", ""), ("丁目", "番地", ""), ("丁目", "番地の", ""), ("の", "の", "")],
}
"""What stands behind each number, by how many there are."""


@given(
    town=st.sampled_from(["本町", "霞ケ関", "北一条西", "千代田", "山ノ内", "三番町", "つつじヶ丘"]),
    numbers=st.lists(st.integers(1, 1999), min_size=1, max_size=3),
)
def test_the_key_of_a_key_is_itself_and_all_ways_to_count_agree(town: str, numbers: list[int]) -> None:
    key = place_key(town + "-".join(map(str, numbers)))
    assert place_key(key) == key
    for spelt, counters in product(WAYS, COUNTERS[len(numbers)]):
        counted = town + "".join(spelt(n) + word for n, word in zip(numbers, counters, strict=True))
        assert place_key(counted) == key, counted


AREAS = st.none() | st.tuples(st.integers(1, 30), st.sampled_from(["線", "区", "地割", "条"]))
NUMBERS = st.lists(st.integers(1, 30), min_size=1, max_size=3).map(tuple)
TOWNS = ["三区", "三区町", "二区町", "一線", "五条", "千代田", "千代田区", "二戸", "二戸町", "八王子", "一の宮", "本町"]
PLACES = st.tuples(st.sampled_from(TOWNS), AREAS, NUMBERS, st.sampled_from(["", "甲", "乙", "イ", "B"]))


def spellings(town: str, area: tuple[int, str] | None, numbers: tuple[int, ...], branch: str) -> Iterator[str]:
    """One address as registers, cards and clerks write it."""
    for spelt, counters, joined in product(WAYS, COUNTERS[len(numbers)], ["", "-", "の"] if branch else [""]):
        before = spelt(area[0]) + area[1] if area else ""
        counted = [spelt(number) + word for number, word in zip(numbers, counters, strict=True)]
        row = "-".join(map(spelt, numbers[:-1])) + "-" * (len(numbers) > 1) + str(numbers[-1])
        for block in ("".join(counted), row):
            behind = (joined if block[-1] != "の" else "") + branch
            yield town + before + block + behind
            if area and area[1] == "地割":
                yield f"{town}第{before} {block}{behind}"
            if branch:
                yield town + before + block + behind + "号"


@given(one=PLACES, other=PLACES)
def test_each_place_has_one_key_in_all_spellings_and_no_other_place_has_it(one: Any, other: Any) -> None:
    keys = {place: {place_key(spelling) for spelling in spellings(*place)} for place in (one, other)}
    assert [len(found) for found in keys.values()] == [1] * len(keys), keys
    assert one == other or keys[one] != keys[other]


_LETTERS_OF_BRANCHES = "甲乙丙丁戊己庚辛イロハニホヘト"
_BRANCHES = f"[A-Za-z{_LETTERS_OF_BRANCHES}](?=[{_DASHES}\\d号]|$)"
LOOKING_BEHIND_FIRST = {
    "_NUMERAL": f"[{_NUMERALS}]+(?=丁目|丁|番|号|条|線|区(?!町)|地割)"
    f"|[{_NUMERALS}]+(?=[{_DASHES}][{_NUMERALS}\\d])"
    f"|[{_NUMERALS}]+(?=[{_DASHES}]{_BRANCHES})"
    f"|(?<=[{_NUMERALS}\\d目丁番地号][{_DASHES}])[{_NUMERALS}]+(?:(?![{_KANJI}])|(?={_BRANCHES}))"
    f"|(?:(?<=[{_NUMERALS}\\d][番号])|(?<=[{_NUMERALS}\\d]丁目)|(?<=[{_NUMERALS}\\d]番地))[{_NUMERALS}]+(?=$|{_BRANCHES})",
    "_GA": f"(?:(?<=[{_KANJI}])[ヶケヵカガが箇]|(?<=[ぁ-ゖァ-ヺ])ヶ|(?<=[ぁ-ゖ])ケ)(?=[{_KANJI}])",
    "_NO": f"(?<=[{_KANJI}])之(?=[{_KANJI}])",
    "_AZA": "[大小]字|(?<![文十丁])字(?=.)",
    "_APART": f"(?<=[{_NUMERALS}\\d])\\s+(?=[{_NUMERALS}\\d])",
    "_DASH": f"(?<=\\d)[{_DASHES}](?=\\d)|(?<=\\d)[{_DASHES}](?={_BRANCHES})",
    "_COUNTER": r"(?<=\d)(?:丁目[のノ]?|丁(?=\d|$)|番地[のノ]?|番(?!町)[のノ]?|号[のノ]?)|(?<=[A-Za-z])号[のノ]?",
    "_COUNTED_BRANCH": f"(?:(?<=\\d[{_LETTERS_OF_BRANCHES}])|(?<=\\d-[{_LETTERS_OF_BRANCHES}]))号[のノ]?",
    "_LOOSE_DASH": r"-+(?=\D|$)|(?<!\d)-+",
    "_LEADING_ZEROS": r"(?<!\d)0+(?=\d)",
}
"""The patterns of version 6 of the keys, each written without care for its speed."""


LETTERS = "一二十百壱廿○々〇1230٣丁目番地号条線区割町のノ之ヶケが箇大小字文-‐ー~ 　\t\n山霞あ甲イB0゙゚"


def test_each_pattern_finds_among_all_threes_of_letters_what_it_finds_written_plainly() -> None:
    threes = "\n\n".join(map("".join, product(LETTERS, repeat=3)))
    for name, pattern in LOOKING_BEHIND_FIRST.items():
        assert getattr(address, name).sub("<>", threes) == re.sub(pattern, "<>", threes), name


BLOCKS = ("1", "3丁目5番17号", "280番地3", "10-2", "7号", "12番地", "3丁目")


def whole_key(town: str, block: str) -> str:
    return "131016/" + place_key.__wrapped__(f"{town} {block}")


def key_of(town: str, block: str) -> str:
    return address.search_key(identity_pb2.Address(local_government_code="131016", town=town, block=block))


def test_a_plain_town_and_a_plain_block_have_the_key_of_the_whole() -> None:
    plain = [town for town in map("".join, product(LETTERS, repeat=3)) if address._PLAIN_TOWN.fullmatch(town)]
    assert len(plain) > 4_000
    for town, block in product(plain, BLOCKS):
        assert key_of(town, block) == whole_key(town, block), (town, block)


@given(
    town=st.from_regex(address._PLAIN_TOWN, fullmatch=True)
    | st.text(st.sampled_from(LETTERS + "佐々神田"), max_size=8),
    block=st.from_regex(address._PLAIN_BLOCK, fullmatch=True) | st.text(st.sampled_from("1203丁目番地号-の 字")),
)
def test_any_town_and_block_have_the_key_of_the_whole(town: str, block: str) -> None:
    assert key_of(town, block) == whole_key(town, block)


@given(text=st.text(st.sampled_from(LETTERS), max_size=14))
def test_each_pattern_finds_in_any_text_what_it_finds_written_plainly(text: str) -> None:
    for name, pattern in LOOKING_BEHIND_FIRST.items():
        assert getattr(address, name).sub("<>", text) == re.sub(pattern, "<>", text), name
