"""Names of foreign residents (外国人住民): Latin letters as on the residence card, a katakana reading, sometimes an alias (通称)."""

from random import Random
from typing import NamedTuple

from nation.names import SPACE, Spelling, Weighted


class _Origin(NamedTuple):
    """How the people of one origin are named: lists of (Latin, katakana)."""

    share: float
    alias_share: float
    surnames: tuple[Spelling, ...]
    male: tuple[Spelling, ...]
    female: tuple[Spelling, ...]


def _spellings(text: str) -> tuple[Spelling, ...]:
    pairs = (pair.split(":") for pair in text.replace("_", " ").split(";"))
    return tuple(Spelling(latin, kana.replace(" ", SPACE)) for latin, kana in pairs)


# Shares follow the order of the largest groups of foreign residents; they are round numbers, not statistics.
_ORIGINS = (
    _Origin(
        0.27,
        0.10,
        _spellings("WANG:ワン;LI:リ;ZHANG:チャン;LIU:リュウ;CHEN:チェン;YANG:ヤン;ZHAO:チャオ;HUANG:ファン;ZHOU:チョウ;WU:ウー"),
        _spellings("WEI:ウェイ;LEI:レイ;JUN:ジュン;HAO:ハオ;MING:ミン;JIAN:ジエン;BIN:ビン;TAO:タオ;YONG:ヨン"),
        _spellings("FANG:ファン;NA:ナ;MIN:ミン;JING:ジン;LI:リー;YAN:イェン;XUE:シュエ;TING:ティン;MEI:メイ"),
    ),
    _Origin(
        0.22,
        0.0,
        _spellings("NGUYEN:グエン;TRAN:チャン;LE:レ;PHAM:ファム;HOANG:ホアン;VU:ヴー;DANG:ダン;BUI:ブイ;DO:ドー;NGO:ゴー"),
        _spellings("VAN_AN:ヴァン アン;VAN_HUNG:ヴァン フン;MINH_DUC:ミン ドゥック;QUOC_BAO:クオック バオ;DUC_LONG:ドゥック ロン;XUAN_NAM:スアン ナム"),
        _spellings("THI_LAN:ティ ラン;THI_HOA:ティ ホア;THI_MAI:ティ マイ;THU_HA:トゥ ハー;NGOC_ANH:ゴック アイン;KIM_NGAN:キム ガン"),
    ),
    _Origin(
        0.14,
        0.70,
        _spellings("KIM:キム;LEE:イ;PARK:パク;CHOI:チェ;JUNG:チョン;KANG:カン;CHO:チョ;YOON:ユン;JANG:チャン;LIM:イム"),
        _spellings("MINJUN:ミンジュン;SEOJUN:ソジュン;JIHOON:ジフン;SUNGHO:ソンホ;YOUNGSOO:ヨンス;DONGHYUN:ドンヒョン"),
        _spellings("SEOYEON:ソヨン;JIWOO:ジウ;MINJI:ミンジ;YOUNGHEE:ヨンヒ;EUNJI:ウンジ;SOOJIN:スジン"),
    ),
    _Origin(
        0.11,
        0.05,
        _spellings("SANTOS:サントス;REYES:レイエス;CRUZ:クルス;BAUTISTA:バウティスタ;GARCIA:ガルシア;MENDOZA:メンドーサ;TORRES:トーレス"),
        _spellings("JOSE:ホセ;JUAN_CARLO:フアン カルロ;MARK_ANTHONY:マーク アンソニー;JOHN_PAUL:ジョン ポール;RAMON:ラモン"),
        _spellings("MARIA_CRISTINA:マリア クリスティナ;ANGELICA:アンジェリカ;ROSE_ANN:ローズ アン;JENNIFER:ジェニファー;LIZA:リザ"),
    ),
    _Origin(
        0.10,
        0.15,
        _spellings("SILVA:シルバ;SOUZA:ソウザ;OLIVEIRA:オリベイラ;PEREIRA:ペレイラ;FERREIRA:フェレイラ;TANAKA_LIMA:タナカ リマ"),
        _spellings("LUCAS:ルカス;GABRIEL:ガブリエル;MARCELO:マルセロ;RODRIGO:ロドリゴ;PAULO:パウロ;THIAGO:チアゴ"),
        _spellings("ANA_PAULA:アナ パウラ;JULIANA:ジュリアナ;CAMILA:カミラ;FERNANDA:フェルナンダ;LARISSA:ラリッサ"),
    ),
    _Origin(
        0.10,
        0.0,
        _spellings("SHRESTHA:シュレスタ;GURUNG:グルン;TAMANG:タマン;THAPA:タパ;RAI:ライ;MAGAR:マガル;SHARMA:シャルマ"),
        _spellings("RAM_BAHADUR:ラム バハドゥル;SURESH:スレシュ;BIKASH:ビカス;PRAKASH:プラカシュ;DIPAK:ディパク"),
        _spellings("SITA:シタ;SUNITA:スニタ;ANJALI:アンジャリ;MAYA_DEVI:マヤ デヴィ;PUJA:プジャ"),
    ),
    _Origin(
        0.06,
        0.0,
        _spellings("SMITH:スミス;JOHNSON:ジョンソン;BROWN:ブラウン;MILLER:ミラー;DAVIS:デイビス;WILSON:ウィルソン;TAYLOR:テイラー"),
        _spellings("JAMES_ROBERT:ジェームズ ロバート;MICHAEL:マイケル;DAVID_LEE:デイビッド リー;DANIEL:ダニエル;THOMAS:トーマス"),
        _spellings("EMILY_ANNE:エミリー アン;SARAH:サラ;JESSICA:ジェシカ;LAURA_JANE:ローラ ジェーン;HANNAH:ハンナ"),
    ),
)
_BY_SHARE = Weighted(range(len(_ORIGINS)), [origin.share for origin in _ORIGINS])


def draw_origin(rng: Random) -> int:
    """Draw where a household comes from: an opaque number for the functions below."""
    return _BY_SHARE.draw(rng)


def draw_surname(rng: Random, origin: int) -> Spelling:
    """Draw a surname of this origin."""
    return rng.choice(_ORIGINS[origin].surnames)


def draw_given(rng: Random, origin: int, *, male: bool) -> Spelling:
    """Draw given names of this origin."""
    return rng.choice(_ORIGINS[origin].male if male else _ORIGINS[origin].female)


def alias_share(origin: int) -> float:
    """Tell what part of the people of this origin use an alias."""
    return _ORIGINS[origin].alias_share
