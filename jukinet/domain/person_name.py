"""Name of a person (氏名, 旧氏, 通称): the legal spelling, and beside it a key to search by.

The legal spelling is stored and answered as the resident record writes it, with variation selectors and rare
characters; nothing here changes it. The search key folds what clerks write differently: width, old and variant kanji,
katakana, small kana, ぢ づ ゐ ゑ, spaces and separators, case. Two people may share a key: it finds candidates and
proves nothing.

Keys are stored, so a change of the folding needs a new `SEARCH_KEY_VERSION`; `jukinet.store.search_keys` then has all
stored keys made anew.

Source: Act art. 7 item 1, Order art. 30-14 and 30-16 (former surname, alias); Unicode Standard Annex 15 (NFKC), Unicode
Technical Standard 37 (variation sequences).
"""

import re
import unicodedata

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain.kanji_variants import VARIANTS

SEARCH_KEY_VERSION = 1
"""Version of the folding of names and addresses. A stored key is of use only beside the version that made it."""

# NFKC turns a free-standing voiced mark into a space and a combining mark, and so away from its kana.
_FREE_MARKS = {0x309B: "\u3099", 0x309C: "\u309a"}
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x180E))
_SEPARATORS = " 　\t・･,，、.．'’‘`-‐‑‒–—―−=＝·"
_KANA = str.maketrans("ぁぃぅぇぉっゃゅょゎゕゖぢづゐゑ", "あいうえおつやゆよわかけじずいえ")
_REPEATED = re.compile("(.)々")


def _katakana() -> dict[int, str]:
    """Katakana from ァ to ヶ, each to the folded hiragana 0x60 before it."""
    return {code: chr(code - 0x60).translate(_KANA) for code in range(0x30A1, 0x30F7)}


_FOLD: dict[int, int | str] = {**dict.fromkeys(_SELECTORS, ""), **VARIANTS, **_KANA, **_katakana()}
_NAME_FOLD: dict[int, int | str] = {**_FOLD, **dict.fromkeys(map(ord, _SEPARATORS), "")}


def fold_spelling(text: str) -> str:
    """Fold what may be written in several ways, but keep separators: the part that names and addresses share.

    Args:
        text: any spelling.

    Returns:
        The folded spelling, for keys only.
    """
    return unicodedata.normalize("NFKC", _joined(text)).translate(_FOLD).casefold()


def search_key(text: str) -> str:
    """Make the key by which one name or reading is searched.

    Args:
        text: a name, a former surname, an alias or a reading, in any spelling.

    Returns:
        The key of `SEARCH_KEY_VERSION`; the key of a key is itself.
    """
    plain = unicodedata.normalize("NFKC", _joined("".join(text.split())))
    key = plain.translate(_NAME_FOLD).casefold()
    return _REPEATED.sub(r"\1\1", key) if "々" in key else key


def former_name_key(name: identity_pb2.PersonName) -> str:
    """Make the key of the name with the former surname (旧氏) in the place of the family name.

    Args:
        name: as the register holds it; not changed.

    Returns:
        The key of `SEARCH_KEY_VERSION`; empty without a former surname, and where no space sets the family name apart.

    Source: Order art. 30-14 para. 6: where the network says name, it means name and former surname.
    """
    if not name.former_surname:
        return ""
    parts = name.legal.split(maxsplit=1)
    return search_key(name.former_surname + parts[1]) if len(parts) == 2 else ""


def _joined(text: str) -> str:
    """The text with free-standing voiced marks joined to their kana."""
    return text.translate(_FREE_MARKS) if "\u309b" in text or "\u309c" in text else text
