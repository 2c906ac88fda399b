"""What a resident reads of an answer to "who received my data?": one line a provision, in both languages."""

from typing import Any, Final

from jukinet._pb.jukinet.disclosure.v1.disclosure_pb2 import Usage, UsageRow
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import IdentityField
from jukinet._pb.jukinet.ledger.v1 import ledger_pb2 as ledger
from jukinet.mesh.clock import JAPAN

FUNCTIONS: Final = {
    ledger.ACTION_INQUIRE: ("即時提供（照会）", "single question"),
    ledger.ACTION_VERIFY_IDENTITY: ("即時提供（本人確認）", "verification: yes or no"),
    ledger.ACTION_INQUIRE_BATCH: ("一括提供", "batch"),
    ledger.ACTION_WATCH: ("異動情報（登録）", "put on a list, to be told of later changes"),
    ledger.ACTION_TELL_CHANGE: ("異動情報（提供）", "told of a later change"),
}
"""機能区分: by which method."""
ITEMS: Final = {
    "NAME": "氏名",
    "BIRTH_DATE": "生年月日",
    "SEX": "性別",
    "ADDRESS": "住所",
    "INDIVIDUAL_NUMBER": "個人番号",
    "RESIDENT_CODE": "住民票コード",
    "CHANGE": "異動",
}
OUTCOMES: Final = {
    ledger.RESULT_PROVIDED: ("提供", "provided"),
    ledger.RESULT_NO_SINGLE_MATCH: ("該当なし", "nothing provided"),
    ledger.RESULT_DONE: ("登録", "registered, nothing provided"),
}


def rows_of(usage: Usage) -> list[dict[str, Any]]:
    """The provisions of an answer, newest first, in the names that `--json` and the REST face print."""
    return [_row(row) for row in usage.rows if row.entry]


def next_row(usage: Usage) -> int | None:
    """The row with which the next part of an answer begins; None after the last part."""
    end = usage.first_row + sum(1 for row in usage.rows if row.entry)
    return end if usage.first_row < end < usage.total_rows else None


def until(usage: Usage) -> str:
    """Up to which moment an answer holds, ISO 8601 in Japan: the earliest up to which a ledger was known."""
    moments = [each.verified_at.ToDatetime(tzinfo=JAPAN) for each in usage.ledgers]
    return min(moments).isoformat(timespec="seconds")


def contradicted(usage: Usage) -> list[str]:
    """Origins of the ledgers that showed, after that, what does not verify."""
    return [each.origin for each in usage.ledgers if each.contradicted]


def _row(row: UsageRow) -> dict[str, Any]:
    entry = ledger.Entry.FromString(row.entry)
    function_ja, function_en = FUNCTIONS.get(entry.action, ("その他", ledger.Action.Name(entry.action)))
    outcome_ja, outcome_en = OUTCOMES.get(entry.result, ("その他", ledger.Result.Name(entry.result)))
    items = [
        IdentityField.Name(IdentityField.ValueType(number)).removeprefix("IDENTITY_FIELD_") for number in entry.fields
    ]
    return {
        "time": entry.time.ToDatetime(tzinfo=JAPAN).isoformat(timespec="seconds"),
        "function_ja": function_ja,
        "function_en": function_en,
        "outcome_ja": outcome_ja,
        "outcome_en": outcome_en,
        "purpose": entry.purpose,
        "affair_ja": row.affair_ja,
        "affair_en": row.affair_en,
        "law_ja": row.law_ja,
        "article": entry.article,
        "edition": entry.edition,
        "sealed_until": entry.sealed_until,
        "provider": row.provider,
        "recipient": entry.agency,
        "recipient_ja": row.recipient_ja,
        "recipient_en": row.recipient_en,
        "items": items,
        "items_ja": [ITEMS.get(item, item) for item in items],
        "ledger": row.origin,
        "index": row.index,
    }
