"""One change as a municipal system (既存住基システム) hands it to its CS: the columns of the intake CSV."""

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Final, NamedTuple

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "message_id": "電文番号",
        "reason": "異動事由",
        "event_date": "異動年月日",
        "resident_code": "住民票コード",
        "name": "氏名",
        "furigana": "振り仮名",
        "former_surname": "旧氏",
        "former_surname_furigana": "旧氏の振り仮名",
        "alias": "通称",
        "alias_furigana": "通称の振り仮名",
        "birth_date": "生年月日",
        "sex": "性別",
        "local_government_code": "市区町村コード",
        "town": "町字",
        "block": "番地",
        "building": "方書",
        "individual_number": "個人番号",
        "previous_individual_number": "変更前の個人番号",
        "previous_resident_code": "変更前の住民票コード",
        "next_municipality": "転出先市区町村コード",
        "previous_municipality": "転出元市区町村コード",
        "transfer_version": "転出証明書の更新順番号",
    }
)
"""Column of the intake CSV to its Japanese header, in the order in which files are written."""


class Submission(NamedTuple):
    """A row of one municipality's intake CSV; a column that is absent is missing from `row`."""

    municipality: str
    row: Mapping[str, str]
    filed: date
    """The day on which the municipality enters it: rows are in this order, and their event dates need not be."""

    @property
    def reason(self) -> str:
        """The change reason by its English name."""
        return self.row["reason"]
