"""How an agency's answers are shown: items, legal basis (根拠規定) in both languages, freshness, ledger entry.

The JSON keys are the field names of `inquiry.proto`; `outcome` and `verified` are always there.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import json_format

from jukinet._pb.jukinet.inquiry.v1 import inquiry_pb2
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import InquireResponse, LegalBasis, VerifyIdentityResponse
from jukinet._pb.jukinet.ledger.v1.ledger_pb2 import Receipt
from jukinet._pb.jukinet.register.v1 import identity_pb2
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.cli.output import show
from jukinet.domain import calendar

_SEXES: Final = {
    identity_pb2.SEX_MALE: "male 男",
    identity_pb2.SEX_FEMALE: "female 女",
    identity_pb2.SEX_UNKNOWN: "unknown 不明",
}
_UNKNOWN: Final = "an outcome of a later version (不明)"
_OTHERWISE: Final = {
    inquiry_pb2.INQUIRY_OUTCOME_NO_SINGLE_MATCH: "no single match (該当なし又は複数)",
    inquiry_pb2.INQUIRY_OUTCOME_NOT_PROVIDED: "not provided: what was reported may not all be at the center (提供不可)",
}
_BY_STATE: Final = {
    inquiry_pb2.SOURCE_STATE_NOT_JOINED: (
        "not provided: no such municipality is in the network; of a designated city give the city's code, not a ward's "
        "(提供不可)"
    ),
    inquiry_pb2.SOURCE_STATE_WAITING: (
        "not provided: who moved in there from a municipality that is behind may not be found yet (提供不可)"
    ),
}


def inquiry_as_json(answer: InquireResponse) -> dict[str, Any]:
    """Gives the answer to an inquiry with the names of the contract."""
    return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def verification_as_json(answer: VerifyIdentityResponse) -> dict[str, Any]:
    """Gives the answer to a verification with the names of the contract."""
    shown = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    # A plain `false` would be left out.
    return {**shown, "verified": answer.verified}


def show_inquiry(answer: InquireResponse) -> None:
    """Prints the answer to an inquiry."""
    if answer.outcome != inquiry_pb2.INQUIRY_OUTCOME_MATCH:
        show(_otherwise(answer))
    else:
        show("match (該当あり)" + (", unchanged since the answer held (変更なし)" if answer.unchanged else ""))
        for label, value in _items(answer.provided):
            show(f"  {label}: {value}")
    if answer.repeated:
        show("asked before today (二重照会): keep answers by --json, and say by --held FILE what you hold")
    _show_basis(answer.legal_basis)
    _show_freshness(answer.freshness)
    _show_entry(answer.receipt)


def show_verification(answer: VerifyIdentityResponse) -> None:
    """Prints the answer to a verification."""
    if answer.outcome == inquiry_pb2.INQUIRY_OUTCOME_NOT_PROVIDED:
        show(_otherwise(answer))
    else:
        show("verified (一致)" if answer.verified else "not verified (不一致)")
    _show_basis(answer.legal_basis)
    _show_freshness(answer.freshness)
    _show_entry(answer.receipt)


def _otherwise(answer: InquireResponse | VerifyIdentityResponse) -> str:
    """What an outcome without a match means. Asking again helps where a source is behind, not where there is none."""
    if answer.outcome == inquiry_pb2.INQUIRY_OUTCOME_NOT_PROVIDED:
        for source in answer.freshness:
            if source.state in _BY_STATE:
                return _BY_STATE[source.state]
    return _OTHERWISE.get(answer.outcome, _UNKNOWN)


def _items(provided: inquiry_pb2.ProvidedRecord) -> list[tuple[str, str]]:
    """The items that were provided, in the order of the law; what was not asked for is not there."""
    record = provided.record
    items = [
        ("name 氏名", record.name.legal),
        ("reading 振り仮名", record.name.furigana),
        ("former surname 旧氏", record.name.former_surname),
        ("alias 通称", record.name.alias),
        ("birth date 生年月日", calendar.format_date(record.birth_date) if record.HasField("birth_date") else ""),
        ("sex 性別", _SEXES.get(record.sex, "")),
        ("address 住所", _address(record)),
        ("individual number 個人番号", record.individual_number),
        ("resident code 住民票コード", record.resident_code),
    ]
    if provided.HasField("effective_date"):
        status = identity_pb2.ResidentStatus.Name(provided.status).removeprefix("RESIDENT_STATUS_").lower()
        items.append(("change 変更情報", f"{status} since {calendar.format_date(provided.effective_date)}"))
    return [(label, value) for label, value in items if value]


def _address(record: IdentityRecord) -> str:
    address = record.address
    return " ".join(filter(None, (address.local_government_code, address.town, address.block, address.building)))


def _show_basis(basis: LegalBasis) -> None:
    show(f"legal basis 根拠: {basis.purpose}, Act art. {basis.article} (edition {basis.edition})")
    show(f"  {basis.label_en}")
    show(f"  {basis.label_ja}（{basis.law_ja}）")


def _show_freshness(sources: Iterable[inquiry_pb2.Freshness]) -> None:
    for source in sources:
        state = inquiry_pb2.SourceState.Name(source.state).removeprefix("SOURCE_STATE_").lower().replace("_", " ")
        whole = f", whole up to {source.complete_as_of.ToJsonString()}" if source.HasField("complete_as_of") else ""
        said = f"said {source.said_at.ToJsonString()}"
        if source.municipality:
            last = f", as of {source.as_of.ToJsonString()}, change {source.sequence}"
            show(f"{source.municipality}: {state}{whole}{last}, {said}")
        else:
            show(f"all municipalities 全市区町村: {state}{whole}, {said}")


def _show_entry(receipt: Receipt) -> None:
    show(f"ledger entry {receipt.index}")
