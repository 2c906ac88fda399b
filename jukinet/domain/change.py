"""Change information (変更情報): the twenty lawful reasons (異動事由) and what each of them may do.

Rule: a change is lawful only for a reason of this table, and does only what the table says of that reason.
Source: Order art. 30-5, Rules art. 11; for 支援措置 the guidelines on resident records (事務処理要領), part 5-10.
Without it a municipality's error or intrusion could rewrite any item of a person under any heading, and nobody who
reads the history later could tell a move from a correction.

Two more reasons begin and end the protection of a victim of violence (支援措置). They are no change information and
change no item; they travel as changes because nothing else in the network is as ordered, sealed and certain to arrive.
"""

from dataclasses import dataclass
from enum import Enum

from jukinet._pb.jukinet.errors.v1 import errors_pb2
from jukinet._pb.jukinet.intake.v1 import intake_pb2
from jukinet._pb.jukinet.register.v1 import change_pb2, identity_pb2
from jukinet.domain.refusal import refuse


class Act(Enum):
    """What is done to the resident record."""

    ENTRY = "記載"
    DELETION = "消除"
    CORRECTION = "修正"
    PROTECTION = "支援措置"


class OldValue(Enum):
    """Which replaced value a change carries beside the record, by the name of its field."""

    NONE = ""
    INDIVIDUAL_NUMBER = "previous_individual_number"
    RESIDENT_CODE = "previous_resident_code"


@dataclass(frozen=True, slots=True)
class ReasonFacts:
    """What Rules art. 11, or the guidelines on 支援措置, say of one change reason.

    `may_change` names the items of the identity record that may differ afterwards; an entry writes the whole record.
    `planned` tells that the date is the planned one and may lie ahead.
    """

    reason: change_pb2.ChangeReason.ValueType
    name: str
    act: Act
    japanese: str
    english: str
    source: str
    may_change: frozenset[str]
    carries: OldValue
    date_means: str
    planned: bool
    status_after: identity_pb2.ResidentStatus.ValueType


ITEMS = ("resident_code", "name", "birth_date", "sex", "address", "individual_number")
"""The six items of the identity record (本人確認情報), by field name."""

_NAME_ADDRESS = frozenset({"name", "address"})
_NUMBER = frozenset({"individual_number"})
_CODE = frozenset({"resident_code"})

# Number, 事由, English, Rules art. 11, meaning of the date (異動年月日).
_LIST = (
    (1, "国内転入", "move-in from another municipality", "para. 1 item 1", "day of moving in"),
    (2, "国外転入等", "move-in from abroad", "para. 1 item 2", "day of moving in or of gaining the status"),
    (3, "出生", "birth", "para. 1 item 3", "day of birth"),
    (4, "職権記載等（帰化等）", "entry on naturalisation", "para. 1 item 4", "day of gaining the nationality"),
    (5, "職権記載等（国籍喪失）", "entry on loss of nationality", "para. 1 item 5", "day of losing the nationality"),
    (6, "職権記載等", "entry ex officio", "para. 1 item 6", "day of the cause"),
    (7, "国内転出", "move-out to another municipality", "para. 2 item 1", "planned day of moving out"),
    (8, "国外転出", "move-out abroad", "para. 2 item 2", "planned day of moving out"),
    (9, "死亡", "death", "para. 2 item 3", "day of death"),
    (10, "職権消除等（帰化等）", "deletion on naturalisation", "para. 2 item 4", "day of gaining the nationality"),
    (
        11,
        "職権消除等（国籍喪失）",
        "deletion on loss of nationality",
        "para. 2 item 5",
        "day of losing the nationality",
    ),
    (12, "職権消除等", "deletion ex officio", "para. 2 item 6", "day of the cause"),
    (13, "転居", "move within the municipality", "para. 3 item 1", "day of moving"),
    (14, "軽微な修正", "minor correction", "para. 3 item 2", "day of the cause"),
    (15, "職権修正等", "correction ex officio", "para. 3 item 3", "day of the cause"),
    (16, "個人番号の変更請求", "individual number changed on request", "para. 4 item 1", "day of the cause"),
    (17, "個人番号の職権修正", "individual number changed ex officio", "para. 4 item 2", "day of the cause"),
    (18, "個人番号の職権記載等", "individual number entered ex officio", "para. 4 item 3", "day of the cause"),
    (19, "住民票コードの変更請求", "resident code changed on request", "para. 5 item 1", "day of the cause"),
    (20, "住民票コードの職権記載等", "resident code entered ex officio", "para. 5 item 2", "day of the cause"),
)
_PROTECTIONS = (
    (21, "支援措置の開始", "protection begun", "day from which the person is protected"),
    (22, "支援措置の終了", "protection ended", "day from which the person is not protected"),
)
_GUIDELINES = "guidelines on resident records, part 5-10"
_MAY_CHANGE = {
    13: frozenset({"address"}),
    14: _NAME_ADDRESS,
    15: _NAME_ADDRESS | {"birth_date", "sex"},
    **dict.fromkeys((16, 17, 18), _NUMBER),
    **dict.fromkeys((19, 20), _CODE),
}
_CARRIES = {
    **dict.fromkeys((16, 17, 18), OldValue.INDIVIDUAL_NUMBER),
    **dict.fromkeys((19, 20), OldValue.RESIDENT_CODE),
}
_PLANNED = frozenset({7, 8})
_STATUS_AFTER = {
    7: identity_pb2.RESIDENT_STATUS_MOVED_OUT,
    8: identity_pb2.RESIDENT_STATUS_MOVED_ABROAD,
    9: identity_pb2.RESIDENT_STATUS_DECEASED,
    **dict.fromkeys((10, 11, 12), identity_pb2.RESIDENT_STATUS_DELETED),
}


def _facts(number: int, japanese: str, english: str, source: str, date_means: str) -> ReasonFacts:
    reason = change_pb2.ChangeReason.ValueType(number)
    name = change_pb2.ChangeReason.Name(reason).removeprefix("CHANGE_REASON_")
    act = Act[name.partition("_")[0]]
    return ReasonFacts(
        reason=reason,
        name=name,
        act=act,
        japanese=japanese,
        english=english,
        source=source,
        may_change=_MAY_CHANGE.get(number, frozenset(ITEMS) if act is Act.ENTRY else frozenset()),
        carries=_CARRIES.get(number, OldValue.NONE),
        date_means=date_means,
        planned=number in _PLANNED,
        status_after=_STATUS_AFTER.get(number, identity_pb2.RESIDENT_STATUS_ACTIVE),
    )


REASONS: dict[int, ReasonFacts] = {
    **{
        number: _facts(number, japanese, english, f"Rules art. 11 {item}", date_means)
        for number, japanese, english, item, date_means in _LIST
    },
    **{
        number: _facts(number, japanese, english, _GUIDELINES, date_means)
        for number, japanese, english, date_means in _PROTECTIONS
    },
}
"""The closed list, by the number of the reason."""

_BY_NAME = {name: facts for facts in REASONS.values() for name in (facts.name, facts.japanese)}


def facts_of(reason: int) -> ReasonFacts:
    """Look up what the table says of a reason.

    Args:
        reason: number of a `ChangeReason`.

    Raises:
        ChangeRefused: CHANGE_UNKNOWN_TYPE when the table does not know the reason.

    Source: Rules art. 11.
    """
    facts = REASONS.get(reason)
    if facts is None:
        refuse(errors_pb2.ERROR_REASON_CHANGE_UNKNOWN_TYPE, "reason")
    return facts


def reason_named(name: str) -> ReasonFacts:
    """Look up a reason by its English id (`ENTRY_BIRTH`) or its Japanese name (`出生`).

    Args:
        name: an English or a Japanese name of the list; brackets may be half width.

    Raises:
        ChangeRefused: CHANGE_UNKNOWN_TYPE when no reason has that name.
    """
    facts = _BY_NAME.get(name.strip().replace("(", "（").replace(")", "）"))
    if facts is None:
        refuse(errors_pb2.ERROR_REASON_CHANGE_UNKNOWN_TYPE, "reason")
    return facts


def resident_codes(message: change_pb2.Change | intake_pb2.Submission) -> tuple[str, ...]:
    """Name the resident codes whose rows decide on a change.

    Args:
        message: a change or the submission of one.

    Returns:
        The person's code; on a change of the code the new one and the old one. None of a change that could not be read.
    """
    code = message.record.resident_code if isinstance(message, change_pb2.Change) else message.resident_code
    return tuple(each for each in (code, message.previous_resident_code) if each)
