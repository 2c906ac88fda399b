"""An answer if and only if exactly one resident matches: 10,000 namesakes, twins and variants against an oracle.

The oracle knows each resident by marks of its own (which surname, which lot), and compares these. It folds nothing: all
spellings are made from the marks, one for the register and another for the question.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from random import Random

import pytest
from sqlalchemy import Engine

from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import FourItems
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet._pb.jukinet.register.v1 import identity_pb2 as identity
from jukinet.domain.address import place_key
from jukinet.domain.arrival import Arrival
from jukinet.domain.resident_code import check_digit
from jukinet.store.engine import open_writer
from jukinet.store.migrate import REGISTER, ensure_schema
from jukinet.store.register import apply_arrivals
from nation.places import municipalities, towns
from tests import searched

RESIDENTS = QUESTIONS = 10_000
DAY = date(2026, 4, 10)
MUNICIPALITIES = ("131016", "271004")

# Each line is one name in the spellings that clerks mix up; names of different lines are different names.
SURNAMES = [
    line.split("/")
    for line in """
渡辺/渡邉/渡邊/渡邊\U000e0101
高橋/髙橋/高𣘺
斎藤/齋藤/齊藤/斉藤
佐々木/佐佐木/佐〻木
山崎/山﨑/山嵜
桜井/櫻井
吉田/𠮷田
辻/辻\U000e0100
広瀬/廣瀨/廣瀬
浜田/濱田/濵田
山田/山\u200b田
山本
田中
中田
小林
大林
金/金\ufe00
""".strip().splitlines()
]
GIVEN = [
    line.split("/")
    for line in """
花子/花\u2060子
一郎/一郞
一/一
二郎/二郞
さくら/サクラ/ｻｸﾗ
みすず/みすゞ/ミスヾ/ﾐｽｽﾞ/みすす゛
みすす/ミスス
ちづ/チヅ/ちず/ﾁﾂﾞ
ふみ/フミ/\U0001b0b0み
真理/眞理
恵/惠
かおり/カオリ
かほり/カホリ
はな/ハナ
ばな/バナ/は\u3099な
""".strip().splitlines()
]
PLACES = [
    line.split("/")
    for line in """
本町
東本町
霞が関/霞ヶ関/霞ケ関/霞ガ関
丸の内/丸ノ内/丸之内
大字山田/山田
大字山田字川原/山田川原/大字山田小字川原/山田字川原
三番町/3番町/３番町
一の宮/一ノ宮
神田/神\ufe00田
""".strip().splitlines()
]
ALIASES = [["KIM MINJI", "Kim Minji", "ＫＩＭ　ＭＩＮＪＩ"], ["金田 美知", "金田美知"]]
NUMERALS = "〇一二三四五六七八九"

Mark = tuple[str, int]
Match = tuple[Mark, Mark]
"""How somebody is called: surname and given name, or an alias."""


@dataclass
class Person:
    """The marks of somebody; `state` is what became of the record."""

    number: int
    surname: int
    given: int
    former: int | None
    alias: int | None
    born: tuple[int, int, int]
    sex: int
    municipality: str
    place: int
    lot: tuple[int, ...]
    state: str = "active"
    record: identity.IdentityRecord = field(default_factory=identity.IdentityRecord)

    @property
    def elsewhere(self) -> tuple[object, ...]:
        return self.born, self.sex, self.municipality, self.place, self.lot

    @property
    def called(self) -> set[Match]:
        names = {(("surname", self.surname), ("given", self.given))}
        if self.former is not None:
            names.add((("surname", self.former), ("given", self.given)))
        if self.alias is not None:
            names.add((("alias", self.alias), ("alias", self.alias)))
        return names


def drawn(random: Random, number: int) -> Person:
    """Somebody out of few names, days and lots, so that namesakes abound."""
    surname = random.randrange(len(SURNAMES))
    return Person(
        number=number,
        surname=surname,
        given=random.randrange(len(GIVEN)),
        former=random.choice([None] * 9 + [random.randrange(len(SURNAMES))]),
        alias=random.choice([None] * 19 + [random.randrange(len(ALIASES))]),
        born=random.choice([(1980, 1, 2), (1980, 1, 3), (1980, 2, 1), (1948, 5, 0), (1948, 0, 0), (0, 0, 0)]),
        sex=random.choice([identity.SEX_MALE, identity.SEX_FEMALE]),
        municipality=random.choice(MUNICIPALITIES),
        place=random.randrange(len(PLACES)),
        lot=random.choice([(1, 2, 3), (12, 3), (1, 23), (1, 2), (123,), (10, 20), (1, 11)]),
        state=random.choice(["active"] * 12 + ["protected", "dead", "leaving", "gone"]),
    )


def spelt_name(random: Random, called: Match) -> str:
    (kind, first), (_, second) = called
    if kind == "alias":
        return random.choice(ALIASES[first])
    space = random.choice([" ", "　", "  "])
    return random.choice(SURNAMES[first]) + space + random.choice(GIVEN[second])


def in_kanji(number: int) -> str:
    if number < 10:
        return NUMERALS[number]
    if number < 20:
        return "十" + (NUMERALS[number % 10] if number % 10 else "")
    return "".join(NUMERALS[int(digit)] for digit in str(number))


def wide(text: str) -> str:
    return text.translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)})


def spelt_address(random: Random, person: Person) -> identity.Address:
    """One of the ways to write a place and its lot, parted into town and block anywhere but in a number."""
    place, counts = random.choice(PLACES[person.place]), [str(number) for number in person.lot]
    match random.randrange(6):
        case 0:
            parts = [*(each + "-" for each in counts[:-1]), counts[-1]]
        case 1:
            parts = [wide(each) + random.choice("－ー−の") for each in counts[:-1]] + [wide(counts[-1])]
        case 2:
            parts = [each + word for each, word in zip(counts, words(len(counts)), strict=True)]
        case 3:
            kanji = [in_kanji(number) for number in person.lot]
            parts = [each + word for each, word in zip(kanji, words(len(kanji)), strict=True)]
        case 4 if len(counts) > 1:
            kanji = [in_kanji(number) for number in person.lot]
            parts = [each + random.choice("のノー－") for each in kanji[:-1]] + [kanji[-1]]
        case _:
            parts = [each + word for each, word in zip(map(wide, counts), words(len(counts)), strict=True)]
    cut = random.randrange(len(parts))
    return identity.Address(
        local_government_code=person.municipality,
        town=place + "".join(parts[:cut]).rstrip("-－ー−のノ"),
        block=random.choice(["", " ", "　"]) + "".join(parts[cut:]),
        building=random.choice(["", "山田荘 101"]),
    )


def words(length: int) -> tuple[str, ...]:
    return {1: ("番地",), 2: ("番", "号"), 3: ("丁目", "番", "号")}[length]


def write(random: Random, person: Person) -> None:
    """The record of somebody, in one of its spellings."""
    body = f"00{person.number:08}"
    year, month, day = person.born
    name = identity.PersonName(legal=spelt_name(random, (("surname", person.surname), ("given", person.given))))
    if person.former is not None:
        name.former_surname = random.choice(SURNAMES[person.former])
    if person.alias is not None:
        name.alias = random.choice(ALIASES[person.alias])
    person.record = identity.IdentityRecord(
        resident_code=body + check_digit(body),
        name=name,
        birth_date=identity.BirthDate(year=year, month=month, day=day),
        sex=person.sex,  # type: ignore[arg-type]  # one of the enum's numbers
        address=spelt_address(random, person),
    )


def changes_of(person: Person) -> Iterator[change_pb2.Change]:
    yield change(person, 1, "ENTRY_EX_OFFICIO", 1)
    match person.state:
        case "protected":
            yield change(person, 2, "PROTECTION_BEGIN", 1)
        case "dead":
            yield change(person, 2, "DELETION_DEATH", 1)
        case "leaving":
            yield change(person, 2, "DELETION_ABROAD_MOVE_OUT", 11)
        case "gone":
            yield change(person, 2, "DELETION_ABROAD_MOVE_OUT", 10)


def change(person: Person, version: int, reason: str, day: int) -> change_pb2.Change:
    return change_pb2.Change(
        reason=change_pb2.ChangeReason.Value(f"CHANGE_REASON_{reason}"),
        event_date=identity.CalendarDate(year=2026, month=4, day=day),
        record=person.record,
        version=version,
        protected=reason == "PROTECTION_BEGIN",
    )


@pytest.fixture(scope="module")
def people() -> list[Person]:
    """Residents, among them twins and namesakes who differ in one mark alone."""
    random = Random(20261127)
    made: list[Person] = []
    for number in range(RESIDENTS):
        person = drawn(random, number)
        if made and random.random() < 0.3:
            other = random.choice(made)
            for name in ("surname", "given", "former", "alias", "born", "sex", "municipality", "place", "lot"):
                setattr(person, name, getattr(other, name))
            setattr(
                person,
                one := random.choice(["surname", "given", "born", "lot", "place"]),
                getattr(drawn(random, 0), one),
            )
        write(random, person)
        made.append(person)
    return made


@pytest.fixture(scope="module")
def engine(people: list[Person], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A center's register of these people."""
    opened = open_writer(f"sqlite:///{tmp_path_factory.mktemp('homonyms') / 'center.db'}")
    ensure_schema(opened, REGISTER)
    sequences: Counter[str] = Counter()
    arrivals = []
    for person in people:
        for each in changes_of(person):
            sequences[person.municipality] += 1
            place = (1, sequences[person.municipality])
            arrivals.append(Arrival(person.municipality, *place, each, each.SerializeToString()))
    with opened.begin() as connection:
        assert set(apply_arrivals(connection, arrivals, scope="", now_us=1).outcomes) == {None}
    yield opened
    opened.dispose()


def test_an_answer_comes_if_and_only_if_exactly_one_resident_matches(people: list[Person], engine: Engine) -> None:
    index: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for person in people:
        if person.state not in ("dead", "gone"):
            for called in person.called:
                index[called, *person.elsewhere].add(person.number)
    random = Random(1)
    wrong, answers, kept_back, several = [], 0, 0, 0
    with engine.connect() as connection:
        for number in range(QUESTIONS):
            meant = random.choice(people) if number % 4 else drawn(random, 0)
            called = random.choice(sorted(meant.called))
            matching = index.get((called, *meant.elsewhere), set())
            several += len(matching) > 1
            expected = people[next(iter(matching))] if len(matching) == 1 else None
            if expected is not None and expected.state == "protected":
                expected, kept_back = None, kept_back + 1
            year, month, day = meant.born
            items = FourItems(
                name=spelt_name(random, called),
                birth_date=identity.BirthDate(year=year, month=month, day=day),
                sex=meant.sex,  # type: ignore[arg-type]  # one of the enum's numbers
                address=spelt_address(random, meant),
            )
            found = searched.by_four_items(connection, items, day=DAY)
            answers += found is not None
            if (found.record if found else None) != (expected.record if expected else None):
                wrong.append((number, called, meant.elsewhere))
    assert wrong == []
    # All that can happen did, and often.
    assert answers > QUESTIONS / 4
    assert several > QUESTIONS / 20
    assert kept_back > QUESTIONS / 100


@pytest.mark.parametrize("name", ["%", "_", "*", "％", "?", "・", "　", "%花子", "山田%", "山田_", "山田 *", "\u200b"])
def test_no_sign_stands_for_a_name(people: list[Person], engine: Engine, name: str) -> None:
    with engine.connect() as connection:
        for person in people[:50]:
            items = FourItems(name=name, birth_date=person.record.birth_date, sex=person.record.sex)
            items.address.CopyFrom(person.record.address)
            assert searched.by_four_items(connection, items, day=DAY) is None


@pytest.mark.parametrize("town", ["%", "_", "*", "-", "　", "本%", "\u200b", "字"])
def test_no_sign_stands_for_an_address(people: list[Person], engine: Engine, town: str) -> None:
    with engine.connect() as connection:
        for person in people[:50]:
            record = person.record
            items = FourItems(name=record.name.legal, birth_date=record.birth_date, sex=record.sex)
            items.address.CopyFrom(identity.Address(local_government_code=person.municipality, town=town))
            assert searched.by_four_items(connection, items, day=DAY) is None


def test_no_two_towns_of_a_municipality_have_one_key() -> None:
    """A folding that is too coarse would take one town for another: tried on all that Japan Post knows."""
    for code, names in towns(list(municipalities().values())).items():
        assert len(set(map(place_key, names))) == len(names), code
