"""Names (氏名) and their readings (振り仮名): surnames by real frequency, given names by sex and time of birth.

No combination is taken from a person: surname and given name are drawn apart from each other.
"""

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Generic, NamedTuple, TypeVar

from japanese_personal_name_dataset import FirstNameEntry, load_dataset

T = TypeVar("T")

# Between surname and given name the register writes a full-width space; cp932 has it too.
SPACE = "\u3000"
_KANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_KANJI_NAME = re.compile(r"[一-龠々]{1,3}")

# Variants that registers are full of and that search keys must fold: (plain, variant, share of bearers).
_VARIANTS = (("高", "髙", 0.08), ("崎", "﨑", 0.08), ("辺", "邉", 0.06), ("渡辺", "渡邊", 0.05), ("斎", "齋", 0.15))
# Spellings that only Unicode has: an ideographic variation sequence, or a character outside the basic plane.
_UNICODE_VARIANTS = (("辻", "辻\U000e0100", 0.35), ("葛", "葛\U000e0100", 0.35), ("吉", "\U00020bb7", 0.05))


class Spelling(NamedTuple):
    """A name as written, and how it is read, in katakana."""

    text: str
    kana: str


def to_katakana(hiragana: str) -> str:
    """Write hiragana as katakana, leaving other characters alone."""
    return hiragana.translate(_KANA)


class Weighted(Generic[T]):
    """Draws from a fixed list in proportion to fixed weights."""

    def __init__(self, items: Sequence[T], weights: Sequence[float]) -> None:
        self.items = items
        self._sums = list(accumulate(weights))

    def draw(self, rng: Random) -> T:
        """Draw one item."""
        return self.items[bisect(self._sums, rng.random() * self._sums[-1])]


# Endings that were usual before 1960 and before 1990; later names use them seldom.
_OLD_MALE = ("お", "いち", "じ", "ぞう", "きち", "さく", "のぶ", "ろう", "みつ", "まさ", "よし", "し", "る")
_YOUNG_MALE = ("と", "ま", "た", "き", "せい", "が", "や", "く", "ん", "ち")
_OLD_FEMALE = ("こ", "え", "よ", "み", "の")
_YOUNG_FEMALE = ("あ", "な", "ん", "か", "ら", "り", "ほ", "お", "ね", "い")


def _period(born: int) -> int:
    return 0 if born < 1960 else 1 if born < 1990 else 2


def _favour(reading: str, period: int, old: tuple[str, ...], young: tuple[str, ...]) -> float:
    if reading.endswith(old):
        return (8.0, 3.0, 0.4)[period]
    if reading.endswith(young):
        return (0.1, 1.0, 3.0)[period]
    return 1.0


class NameStock:
    """The names that one nation draws from.

    Args: encoding: every character of a name can be written in it (`utf-8` or `cp932`).
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        male, female, surnames = load_dataset(kind="opti", include_last_names=True)
        known = [(Spelling(text, to_katakana(row["reading"])), float(row["count"])) for text, row in surnames.items()]
        known = [(spelling, count) for spelling, count in known if self.encodable(spelling.text)]
        self._surnames = Weighted([spelling for spelling, _ in known], [count for _, count in known])
        self._given = {True: self._readings(male), False: self._readings(female)}
        self._by_period = {
            sex: [
                Weighted(list(names), [_favour(reading, period, *endings) for reading in names]) for period in range(3)
            ]
            for sex, names, endings in (
                (True, self._given[True], (_OLD_MALE, _YOUNG_MALE)),
                (False, self._given[False], (_OLD_FEMALE, _YOUNG_FEMALE)),
            )
        }
        self._kana_of: dict[tuple[bool, str], list[str]] = {}
        for sex, readings in self._given.items():
            for reading, spellings in readings.items():
                for text in spellings:
                    self._kana_of.setdefault((sex, text), []).append(to_katakana(reading))
        variants = _VARIANTS + _UNICODE_VARIANTS
        self._variants = [(plain, new, share) for plain, new, share in variants if self.encodable(new)]

    def encodable(self, text: str) -> bool:
        """Tell whether the encoding of this stock can write the text."""
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def surname(self, rng: Random) -> Spelling:
        """Draw a surname by its frequency in Japan, sometimes in a variant spelling."""
        drawn = self._surnames.draw(rng)
        for plain, variant, share in self._variants:
            if plain in drawn.text and rng.random() < share:
                return Spelling(drawn.text.replace(plain, variant, 1), drawn.kana)
        return drawn

    def given(self, rng: Random, *, male: bool, born: int) -> Spelling:
        """Draw a given name that fits the sex and the year of birth."""
        reading = self._by_period[male][_period(born)].draw(rng)
        # Names in kana alone: フミ before the war, さくら after it.
        if not male and rng.random() < 0.04:
            return Spelling(to_katakana(reading) if born < 1945 else reading, to_katakana(reading))
        return Spelling(rng.choice(self._given[male][reading]), to_katakana(reading))

    def other_readings(self, given: Spelling, *, male: bool) -> list[str]:
        """List the other ways in which a given name of this spelling is read."""
        return [kana for kana in self._kana_of.get((male, given.text), []) if kana != given.kana]

    def _readings(self, names: Mapping[str, FirstNameEntry]) -> dict[str, list[str]]:
        """For each reading keep its common spellings: short, plain kanji, and 子 where it is heard at the end."""
        kept: dict[str, list[str]] = {}
        for reading, entry in names.items():
            spellings = [k for k in entry["kanji"] if _KANJI_NAME.fullmatch(k) and self.encodable(k)]
            if reading.endswith("こ"):
                spellings = [k for k in spellings if k.endswith("子")] or spellings
            short = [k for k in spellings if len(k) <= 2] or spellings
            if short:
                kept[reading] = short
        return kept
