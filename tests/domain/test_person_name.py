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
        ["山縣", "山県"],
        ["侭田", "儘田"],
    ],
)
def test_spellings_of_one_name_have_one_key(spellings: list[str]) -> None:
    assert len({search_key(spelling) for spelling in spellings}) == 1


OLD_FORMS = (
    "乘亂亞佛來倂假傳僞價儉兒兩剩劍劑勞勳勵勸區卷卽參單嚴囑圈國圍圓圖團增墮壓壘壞壤壯壹壽奧奬孃學寢實寫寬"
    "寶將專對屆屬峽嶽巢帶廢廣廳彈彌徑從徵德恆惠惡惱愼慘應懷戀戰戲戾拂拔拜挾插揭搖搜擇擊擔據擧擴攝收效敍敕"
    "數斷晚晝曆曉曾會條棧榮槪樂樓樞樣橫檢櫻權歐歡步歷歸殘殼毆每氣沒涉淚淨淺渴溪溫滯滿潛澁澤濕濟濱瀧瀨灣燈"
    "燒營爐爭爲犧狀狹獨獵獸獻瓣甁畫當疊瘦癡發盜盡眞硏碎祕禪禮稱稻穗穩竊竝粹絲經綠緖緣縣縱總繩繪繼續纖缺罐"
    "聲聽肅腦膽臟臺與舊艷莊莖萬薰藏藝藥處虛號螢蟲蠶蠻衞裝襃覺覽觀觸謠證譯譽讀變讓豐豫貳賣賴贊踐輕轉辨辭辯"
    "遞遲邊郞鄕醉醫釀釋錄錢鍊鎭鐵鑄鑛關陷隨險隱雙雜霸靈靜顯飜餘騷驅驗驛髓體髮鬭鷄鹽麥麵黃黑默點黨齊齋齒齡"
    "龍龜"
)
COMMON_FORMS = (
    "乗乱亜仏来併仮伝偽価倹児両剰剣剤労勲励勧区巻即参単厳嘱圏国囲円図団増堕圧塁壊壌壮壱寿奥奨嬢学寝実写寛"
    "宝将専対届属峡岳巣帯廃広庁弾弥径従徴徳恒恵悪悩慎惨応懐恋戦戯戻払抜拝挟挿掲揺捜択撃担拠挙拡摂収効叙勅"
    "数断晩昼暦暁曽会条桟栄概楽楼枢様横検桜権欧歓歩歴帰残殻殴毎気没渉涙浄浅渇渓温滞満潜渋沢湿済浜滝瀬湾灯"
    "焼営炉争為犠状狭独猟獣献弁瓶画当畳痩痴発盗尽真研砕秘禅礼称稲穂穏窃並粋糸経緑緒縁県縦総縄絵継続繊欠缶"
    "声聴粛脳胆臓台与旧艶荘茎万薫蔵芸薬処虚号蛍虫蚕蛮衛装褒覚覧観触謡証訳誉読変譲豊予弐売頼賛践軽転弁辞弁"
    "逓遅辺郎郷酔医醸釈録銭錬鎮鉄鋳鉱関陥随険隠双雑覇霊静顕翻余騒駆験駅髄体髪闘鶏塩麦麺黄黒黙点党斉斎歯齢"
    "竜亀"
)
"""The old forms that the list of common kanji (常用漢字表) sets in parentheses, in the order of their code points, and
what stands before each; without the 62 that NFKC folds by itself."""
FORMS_OF_1983 = (
    "鯵鰺鴬鶯蛎蠣撹攪竃竈潅灌諌諫頚頸砿礦蕊蘂靭靱賎賤壷壺砺礪梼檮涛濤迩邇蝿蠅桧檜侭儘薮藪篭籠尭堯槙槇遥遙瑶瑤"
    "唖啞焔焰鴎鷗噛嚙侠俠躯軀鹸鹼麹麴屡屢繍繡蒋蔣醤醬蝉蟬掻搔騨驒箪簞掴摑填塡顛顚祷禱涜瀆嚢囊溌潑醗醱頬頰麺麵"
    "莱萊蝋蠟攅攢"
)
"""Pairs of forms between which JIS X 0208 changed in 1983."""


def test_each_old_form_of_a_common_kanji_has_the_key_of_the_common_form() -> None:
    assert [search_key(old) for old in OLD_FORMS] == [search_key(common) for common in COMMON_FORMS]


def test_the_two_forms_of_a_kanji_that_computers_changed_in_1983_have_one_key() -> None:
    keys = list(map(search_key, FORMS_OF_1983))
    assert keys[::2] == keys[1::2]


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
    assert search_key("縣亂沒鬭槪盃侭") == "県乱没闘概杯侭"
    assert search_key("ヵ\u3099か・\u3099っ\u3099") == "ががず"
    assert place_key("大字山田字川原 一の二番地ノ三") == "山田川原1-2-3"
    assert place_key("つつじヶ丘一丁目二番三") == "つつじが丘1-2-3"
    assert place_key("東七線北12号") == "東7線北12"
    assert place_key("三区第十二地割34番地の甲") == "3区12地割34甲"
    assert place_key("一丁目2番地ロ号") == "1-2ろ"


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
