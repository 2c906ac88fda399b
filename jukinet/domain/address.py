"""Address (住所): the four parts as the resident record writes them, and beside them a key to search by.

`一丁目2番3号`, `１－２－３` and `1丁目2-3` have one key. Town and block are folded as one text, since the same number
may stand at the end of one or at the beginning of the other. The building (方書) is in no key: many who ask do not
know it. The folding of characters is the one of names; both have one version, `person_name.SEARCH_KEY_VERSION`.

Source: Act art. 7 item 7; Act on Indication of Residential Address, art. 2 (丁目, 番, 号).
"""

import re
import unicodedata
from functools import lru_cache

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain.person_name import fold_spelling

_DIGITS = "〇一二三四五六七八九"
_UNITS = {"十": 10, "百": 100, "千": 1000}
_KANJI = "\u3400-\u9fff々"
_NUMERAL = re.compile(f"[{_DIGITS}十百千]+(?=丁目|丁|番|号|条|地割)")
# 霞ケ関, 霞ヶ関 and 霞が関 are one place.
_GA = re.compile(f"(?<=[{_KANJI}])[ヶケヵカガが](?=[{_KANJI}])")
_DASH = re.compile(r"(?<=\d)[-‐‑‒–—―−ー~〜のノ](?=\d)")
_COUNTER = re.compile(r"(?<=\d)(?:丁目|丁(?=\d|$)|番地の?|番(?!町)|号の?)")
_LOOSE_DASH = re.compile(r"-+(?=\D|$)|(?<!\d)-+")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def search_key(address: identity_pb2.Address) -> str:
    """Make the key by which an address is searched, without its building.

    Args:
        address: as the register or a question states it; not changed.

    Returns:
        Local government code, a slash, and the folded town and block; the version is `SEARCH_KEY_VERSION`.
    """
    return f"{address.local_government_code}/{place_key(address.town + address.block)}"


@lru_cache(maxsize=64)  # The members of a household come one after the other. So few that no register gathers here.
def place_key(text: str) -> str:
    """Fold one text that holds place names and numbers.

    Args:
        text: town, block or building, in any spelling.

    Returns:
        The folded text: numbers in ASCII digits, joined by `-`; the key of a key is itself.
    """
    plain = unicodedata.normalize("NFKC", "".join(text.split()))
    plain = _GA.sub("が", plain.replace("大字", ""))
    plain = _NUMERAL.sub(lambda match: str(_number(match[0])), plain)
    plain = _COUNTER.sub("-", plain)
    plain = _LOOSE_DASH.sub("", _DASH.sub("-", plain))
    return fold_spelling(_LEADING_ZEROS.sub("", plain))


def _number(numeral: str) -> int:
    """Read a kanji numeral below 10,000, by place (二〇) or with units (二十一)."""
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
