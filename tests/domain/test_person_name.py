"""One person's name in many spellings has one search key; the legal spelling stays."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet.domain import person_name
from jukinet.domain.address import place_key
from jukinet.domain.kanji_variants import VARIANTS
from jukinet.domain.person_name import search_key


@pytest.mark.parametrize(
    "spellings",
    [
        ["渡辺 一", "渡邉 一", "渡邊 一", "渡邊\U000e0101　一", "渡辺一", " 渡辺  一 "],
        ["高崎", "髙﨑", "髙崎", "高嵜"],
        ["斎藤", "齋藤", "齊藤", "斉藤"],
        ["広瀬", "廣瀨", "廣瀬"],
        ["浜田", "濱田", "濵田"],
        ["沢", "澤"],
        ["桜井", "櫻井"],
        ["吉野", "𠮷野"],
        ["島", "嶋", "嶌"],
        ["佐々木", "佐佐木"],
        ["神", "\ufa19"],
        ["辻", "辻\U000e0100", "辻\ufe00"],
        ["ヤマダ", "やまだ", "ﾔﾏﾀﾞ", "ヤマタ゛", "やまた\u3099"],
        ["チヅル", "ちずる", "ちづる"],
        ["ヰノウヱ", "いのうえ"],
        ["ショウジ", "しようじ", "ｼｮｳｼﾞ"],
        ["ヵヶ", "カケ"],
        ["いすゞ", "イスヾ", "いすず", "いす\u309d\u3099"],
        ["こゝろ", "ココロ", "コヽロ"],
        ["つゞみ", "つづみ", "ツズミ"],
        ["佐々木", "佐〻木", "佐\U000e0100々木"],
        ["か\ufe00\u3099", "が", "か\u3099", "カ゛", "ｶﾞ"],
        ["山\u200b田", "\ufeff山田", "山\u2060田\u200e", "山田"],
        ["\U0001b006る", "いる"],
        ["\U0001b017\u3099ん", "ガン"],
        ["SMITH JOHN", "Ｓｍｉｔｈ　Ｊｏｈｎ", "smith john", "SMITH, JOHN"],
        ["ジョン・スミス", "ジョン･スミス", "ジョン スミス", "ジョン＝スミス", "ジョン-スミス"],
        ["シンイチロー", "ｼﾝｲﾁﾛ-", "シンイチロ－", "シンイチロ―", "ｼﾝｲﾁﾛｰ", "シンイチロ −"],
        ["ローラ 山田", "ﾛ-ﾗ 山田"],
        ["マリー・ルイーズ", "マリー-ルイーズ", "マリ--ルイ-ズ"],
        ["大場", "大塲"],
        ["熙子", "熈子", "煕子"],
        ["蒋", "蔣"],
        ["亘", "亙"],
        ["讃岐", "讚岐"],
        ["福留", "福畄"],
        ["鎌田", "鐮田"],
        ["渋谷", "澁谷", "澀谷"],
        ["剣", "劍", "釼"],
    ],
)
def test_spellings_of_one_name_have_one_key(spellings: list[str]) -> None:
    assert len({search_key(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("山田", "山本"), ("はな", "ばな"), ("ハハ", "パパ"), ("オノ", "オーノ"), ("ｵﾉ", "ｵ-ﾉ"), ("田中", "中田")],
)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert search_key(one) != search_key(other)


NAMES = st.text(
    st.one_of(
        st.characters(min_codepoint=0x3041, max_codepoint=0x3096),
        st.characters(min_codepoint=0x30A1, max_codepoint=0x30FA),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF),
        st.sampled_from([chr(code) for code in VARIANTS]),
        st.sampled_from(
            "ﾔﾏﾀﾞ髙﨑々〻ゝゞヽヾ゛゜\u3099\u309aー ・-\u3000\ufe00\u200b\ufeff\U000e0100\U0001b002\U0001b11e"
        ),
        st.characters(min_codepoint=0x41, max_codepoint=0x7A, categories=["Lu", "Ll"]),
    ),
    max_size=30,
)


@given(name=NAMES)
@example(name="ヵ゙")
@example(name="か・゙")
@example(name="っ゙")
def test_the_key_of_a_key_is_itself(name: str) -> None:
    assert search_key(search_key(name)) == search_key(name)


@given(name=NAMES, place=st.integers(0, 30))
def test_a_space_or_a_selector_anywhere_changes_no_key(name: str, place: int) -> None:
    # Before a voiced mark a space would part it from its kana: NFKC joins what stood together as one letter.
    whole = unicodedata.normalize("NFKC", name)
    assert search_key(whole[:place] + "\u3000" + whole[place:]) == search_key(whole)
    if place:
        assert search_key(whole[:place] + "\U000e0100" + whole[place:]) == search_key(whole)


def test_the_variant_table_folds_in_one_step_to_forms_that_nfkc_keeps() -> None:
    for variant, form in VARIANTS.items():
        assert ord(form) not in VARIANTS
        assert unicodedata.normalize("NFKC", chr(variant)) == chr(variant)
        assert unicodedata.normalize("NFKC", form) == form
    assert len(VARIANTS) > 400


def test_the_version_of_the_keys_is_pinned_to_what_they_are() -> None:
    # Whoever changes one of these keys raises the version; every node then makes its stored keys anew.
    assert person_name.SEARCH_KEY_VERSION == 6
    assert search_key("髙﨑 邉ヅ・ＡＢすゞ々") == "高崎辺ずabすずず"
    assert search_key("ｼﾝｲﾁﾛ-") == "しんいちろー"
    assert search_key("ヵ\u3099か・\u3099っ\u3099") == "ががず"
    assert place_key("大字山田字川原 一の二番地ノ三") == "山田川原1-2-3"
    assert place_key("つつじヶ丘一丁目二番三") == "つつじが丘1-2-3"
    assert place_key("東七線北12号") == "東7線北12"
    assert place_key("三区第十二地割34番地の甲") == "3区12地割34甲"


def test_what_is_looked_for_before_nfkc_is_what_is_replaced() -> None:
    found = {code for code in range(0x110000) if person_name._NEEDS_IT.match(chr(code))}
    assert found == person_name._BEFORE_NFKC.keys()


@pytest.mark.parametrize("wildcard", ["%", "_", "*", "?", "＊", "％", "山田%", "山_花子", "%花子", "[山]田"])
def test_no_sign_stands_for_letters(wildcard: str) -> None:
    assert search_key(wildcard) != search_key("山田花子")
    assert search_key(wildcard)


def test_the_former_surname_stands_in_the_place_of_the_family_name() -> None:
    name = identity_pb2.PersonName(legal="山田　花子", former_surname="髙橋")
    assert person_name.former_name_key(name) == search_key("高橋 花子") == "高橋花子"
    assert name == identity_pb2.PersonName(legal="山田　花子", former_surname="髙橋")


@pytest.mark.parametrize("legal", ["山田花子", "山田　", "　花子", ""])
def test_a_former_surname_counts_only_where_the_given_name_is_set_apart(legal: str) -> None:
    assert person_name.former_name_key(identity_pb2.PersonName(legal=legal, former_surname="髙橋")) == ""


def test_without_a_former_surname_there_is_no_such_key() -> None:
    assert person_name.former_name_key(identity_pb2.PersonName(legal="山田 花子")) == ""
