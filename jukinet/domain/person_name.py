"""Name of a person (氏名, 旧氏, 通称): the legal spelling, and beside it a key to search by.

The legal spelling is stored and answered as the resident record writes it, with variation selectors and rare
characters; nothing here changes it. The search key folds what clerks write differently: width, old and variant kanji,
katakana, old kana (変体仮名), small kana, ぢ づ ゐ ゑ, marks of repetition, voiced marks that stand apart, a dash for
ー, spaces, separators and what cannot be seen, case. Two people may share a key: it finds candidates and proves
nothing.

Keys are stored, so a change of the folding needs a new `SEARCH_KEY_VERSION`; `jukinet.store.search_keys` then has all
stored keys made anew.

Source: Act art. 7 item 1, Order art. 30-14 and 30-16 (former surname, alias); Unicode Standard Annex 15 (NFKC), Unicode
Technical Standard 37 (variation sequences).
"""

import re
import unicodedata

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain.kanji_variants import VARIANTS

SEARCH_KEY_VERSION = 6
"""Version of the folding of names and addresses. A stored key is of use only beside the version that made it."""

_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x180E))
# Joiners, marks of direction and the like: copied from somewhere and seen by nobody.
_INVISIBLE = (0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF)
_SEPARATORS = " 　\t・･,，、.．'’‘`-‐‑‒–—―−─━=＝·"
_KANA = str.maketrans("ぁぃぅぇぉっゃゅょゎゕゖぢづゐゑ", "あいうえおつやゆよわかけじずいえ")
_REPETITION = re.compile("[々〻ゝゞヽヾ]")
# What half-width systems write for ー: シンイチロ-. Behind ん and っ no vowel is long; before a number it parts.
_LONG_VOWEL = re.compile(r"[-‐‒–—―−─━](?<=[ぁ-ゖァ-ヺ].)(?<![んンっッ].)(?![\s\d〇一二三四五六七八九十百千])")


def _hentaigana() -> dict[int, str]:
    """変体仮名, each to its hiragana, by the names that Unicode gives them; N-MU-MO is taken for ん."""
    found = {}
    for code in range(0x1B002, 0x1B11F):
        sound = unicodedata.name(chr(code)).removeprefix("HENTAIGANA LETTER ").rpartition("-")[0].removesuffix("-MU-MO")
        found[code] = unicodedata.lookup(f"HIRAGANA LETTER {sound}")
    return found


# NFKC turns a free-standing voiced mark into a space and a combining mark, and so away from its kana; and it joins a
# mark to its kana only where nothing stands between them.
_BEFORE_NFKC: dict[int, str] = {
    0x309B: "\u3099",
    0x309C: "\u309a",
    **dict.fromkeys((*_SELECTORS, *_INVISIBLE), ""),
    **_hentaigana(),
}
# As ranges: a fifth of the time that looking up each letter takes.
_NEEDS_IT = re.compile(
    "[\xad\u061c\u180b-\u180d\u200b-\u200f\u202a-\u202e\u2060-\u2064\u309b\u309c\ufe00-\ufe0f\ufeff"
    "\U0001b002-\U0001b11e\U000e0100-\U000e01ef]"
)


def _katakana() -> dict[int, str]:
    """Katakana from ァ to ヶ, each to the folded hiragana 0x60 before it."""
    return {code: chr(code - 0x60).translate(_KANA) for code in range(0x30A1, 0x30F7)}


_FOLD: dict[int, int | str] = {**VARIANTS, **_KANA, **_katakana()}
_NAME_FOLD: dict[int, int | str] = {**_FOLD, **dict.fromkeys(map(ord, _SEPARATORS), "")}


def fold_spelling(text: str) -> str:
    """Fold what may be written in several ways, but keep separators: the part that names and addresses share.

    Args:
        text: any spelling.

    Returns:
        The folded spelling, for keys only.
    """
    return _folded(unified(text), _FOLD)


def search_key(text: str) -> str:
    """Make the key by which one name or reading is searched.

    Args:
        text: a name, a former surname, an alias or a reading, in any spelling.

    Returns:
        The key of `SEARCH_KEY_VERSION`; the key of a key is itself.
    """
    return _folded(unified("".join(text.split())), _NAME_FOLD)


def _folded(plain: str, table: dict[int, int | str]) -> str:
    folded = plain.translate(table).casefold()
    # A mark that stood behind a small kana or a separator joins the kana that is there now: ヵ゛ is が.
    joined = unicodedata.normalize("NFC", folded)
    return folded if joined == folded else joined.translate(_KANA)


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


def unified(text: str) -> str:
    """Write a text as one who uses no width, selector, old kana, dash for ー or mark of repetition would:
    佐佐木 for 佐々木.

    Args:
        text: any spelling.

    Returns:
        The text in NFKC, for keys only.
    """
    if _NEEDS_IT.search(text):
        text = text.translate(_BEFORE_NFKC)
    plain = _LONG_VOWEL.sub("ー", unicodedata.normalize("NFKC", text))
    return _spelt_out(plain) if _REPETITION.search(plain) else plain


def _spelt_out(text: str) -> str:
    """The text with what a mark of repetition repeats in its place: すず for すゞ."""
    letters: list[str] = []
    for letter in text:
        if not letters or not _REPETITION.match(letter):
            letters.append(letter)
        elif letter in "々〻":
            letters.append(letters[-1])
        else:
            bare = unicodedata.normalize("NFD", letters[-1])[0]
            voiced = unicodedata.normalize("NFC", bare + "\u3099")
            letters.append(voiced if letter in "ゞヾ" and len(voiced) == 1 else bare)
    return "".join(letters)
