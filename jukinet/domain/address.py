"""Address (住所): the four parts as the resident record writes them, and beside them a key to search by.

`一丁目2番3号`, `１－２－３`, `1丁目2-3` and `一の二の三` have one key. Town and block are folded as one text, since the
same number may stand at the end of one or at the beginning of the other; but no number goes on from one into the other.
What only counts (丁目, 番, 号) is not in the key; what tells one kind of area from another stays: 条, 線, 区, 地割.
The building (方書) is in no key: many who ask do not know it. The folding of characters is the one of names; both have
one version, `person_name.SEARCH_KEY_VERSION`.

Source: Act art. 7 item 7; Act on Indication of Residential Address, art. 2 (丁目, 番, 号).
"""

import re
from functools import lru_cache

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain.person_name import fold_spelling, unified

_DIGITS = "〇一二三四五六七八九"
_UNITS = {"十": 10, "百": 100, "千": 1000}
# As deeds write them (大字), and ○ as it is typed for 〇.
_FORMAL = str.maketrans(
    {"壱": "一", "壹": "一", "弐": "二", "貳": "二", "弍": "二", "参": "三", "參": "三"}
    | {"拾": "十", "廿": "二十", "卅": "三十", "○": "〇", "◯": "〇"}
)
_NUMERALS = _DIGITS + "".join((*_UNITS, *map(chr, _FORMAL)))
_KANJI = "\u3400-\u9fff々"
_DASHES = "-‐‑‒–—―−─━ー~〜のノ"
# What a number is divided by: 1番地の甲, 12のイ, 1-B; not the first letter of a word, as in 1の甲田.
_BRANCH_LETTERS = "甲乙丙丁戊己庚辛イロハニホヘト"
_BRANCH = f"[A-Za-z{_BRANCH_LETTERS}](?=[{_DASHES}\\d号]|$)"
# What a pattern begins with is what `re` looks for: a letter or a set of them it finds in a fourth of the time that it
# takes to look behind each letter. So each begins with what it replaces, and only then looks behind that.
# Kanji that count: before a counter, in a row such as 一の二の三, or last of all behind a counter (一番地一). Not those
# of a name: 一の宮, 三区町, 三番町 but for 番.
_NUMERAL = re.compile(
    f"[{_NUMERALS}](?:[{_NUMERALS}]*(?=丁目|丁|番|号|条|線|区(?!町)|地割)"
    f"|[{_NUMERALS}]*(?=[{_DASHES}](?:[{_NUMERALS}\\d]|{_BRANCH}))"
    f"|(?<=[{_NUMERALS}\\d目丁番地号][{_DASHES}][{_NUMERALS}])[{_NUMERALS}]*(?=[^{_KANJI}]|$|{_BRANCH})"
    f"|(?:(?<=[{_NUMERALS}\\d][番号].)|(?<=[{_NUMERALS}\\d]丁目.)|(?<=[{_NUMERALS}\\d]番地.))[{_NUMERALS}]*(?=$|{_BRANCH}))"
)
# 霞ケ関, 霞ヶ関 and 霞が関 are one place, and so are 堀之内 and 堀ノ内. Behind kana, as in つつじヶ丘, only what is
# hardly a letter of a word: ヶ, and ケ where hiragana end.
_GA = re.compile(f"(?:[ヶケヵカガが箇](?<=[{_KANJI}].)|ヶ(?<=[ぁ-ゖァ-ヺ].)|ケ(?<=[ぁ-ゖ].))(?=[{_KANJI}])")
_NO = re.compile(f"之(?<=[{_KANJI}].)(?=[{_KANJI}])")
# 大字 and 字 say what kind of area follows; 十文字 and 丁字 are names.
_AZA = re.compile("大字|小字|字(?<![文十丁].)(?=.)")
_APART = re.compile(f"\\s(?<=[{_NUMERALS}\\d]\\s)\\s*(?=[{_NUMERALS}\\d])")
_DASH = re.compile(f"[{_DASHES}](?<=\\d.)(?=\\d|{_BRANCH})")
_NTH = re.compile(r"第(?=\d+地割)")
_COUNTER = re.compile(r"丁(?<=\d.)(?:目[のノ]?|(?=\d|$))|番(?<=\d.)(?:地|(?!町))[のノ]?|号(?<=[\dA-Za-z].)[のノ]?")
# Once all other counters are dashes: 1番地甲号, 2-ロ号; not in a name such as 字甲号.
_COUNTED_BRANCH = re.compile(f"号(?:(?<=\\d[{_BRANCH_LETTERS}].)|(?<=\\d-[{_BRANCH_LETTERS}].))[のノ]?")
_LOOSE_DASH = re.compile(r"-(?:-*(?=\D|$)|(?<!\d.)-*)")
_DASH_ROW = re.compile("--+")
_LEADING_ZEROS = re.compile(r"0(?<!\d.)0*(?=\d)")
# What most registers hold. Such a town ends in a letter to which no pattern gives a meaning, so the key of the two is
# that of the one and then that of the other.
_PLAIN_TOWN = re.compile(f"[ぁ-ゖァ-ヺ{_KANJI}]*(?![{_NUMERALS}々目丁番地号字])[{_KANJI}]")
_PLAIN_BLOCK = re.compile("[1-9][0-9]*(?:(?:丁目|番地?|号|-)[1-9][0-9]*)*(?:丁目|番地?|号)?")
_NUMBER = re.compile("[0-9]+")


def search_key(address: identity_pb2.Address) -> str:
    """Make the key by which an address is searched, without its building.

    Args:
        address: as the register or a question states it; not changed.

    Returns:
        Local government code, a slash, and the folded town and block; the version is `SEARCH_KEY_VERSION`.
    """
    town, block = address.town, address.block
    if _PLAIN_BLOCK.fullmatch(block) and _PLAIN_TOWN.fullmatch(town):
        place = _town_key(town) + "-".join(_NUMBER.findall(block))
    else:
        place = place_key(f"{town} {block}")
    return f"{address.local_government_code}/{place}"


@lru_cache(maxsize=64)  # The members of a household come one after the other. So few that no register gathers here.
def place_key(text: str) -> str:
    """Fold one text that holds place names and numbers.

    Args:
        text: town, block or building, in any spelling.

    Returns:
        The folded text: numbers in ASCII digits, joined by `-`; the key of a key is itself.
    """
    plain = _APART.sub("-", unified(text))  # 本町1 and 2-3 are not 本町12-3
    plain = _AZA.sub("", "".join(plain.split()))
    plain = _NO.sub("の", _GA.sub("が", plain))
    plain = _NUMERAL.sub(lambda match: str(_number(match[0])), plain)
    plain = _COUNTER.sub("-", _NTH.sub("-", plain))
    plain = _COUNTED_BRANCH.sub("-", _DASH_ROW.sub("-", _DASH.sub("-", plain)))
    plain = _LOOSE_DASH.sub("", plain)
    return fold_spelling(_LEADING_ZEROS.sub("", plain))


@lru_cache(maxsize=4096)  # Of plain towns alone: names of places, without a number.
def _town_key(town: str) -> str:
    return place_key(town)


def _number(numeral: str) -> int:
    """Read a kanji numeral below 10,000, by place (二〇) or with units (二十一, 弐拾壱)."""
    numeral = numeral.translate(_FORMAL)
    if not any(unit in numeral for unit in _UNITS):
        return int("".join(str(_DIGITS.index(digit)) for digit in numeral))
    total, digit = 0, 0
    for character in numeral:
        if character in _UNITS:
            total += (digit or 1) * _UNITS[character]
            digit = 0
        else:
            digit = digit * 10 + _DIGITS.index(character)
    return total + digit
