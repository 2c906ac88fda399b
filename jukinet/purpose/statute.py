"""The statute table: rows of the Act's annexed tables 1 to 6 (住民基本台帳法 別表第一-第六) and the ordinance's items.

Rule: what is not a row in force here is open to nobody (Act art. 30-25). The files state facts and labels in the
project's own words, never a sentence of the law; article and row numbers let the reader look it up.

- `statute.csv`: the Act's rows as of January 2019, each with the bodies that it opens. A row of status `deleted` has
  been taken out of the Act. A row of status `ordinance_only` (key ending in `*`) is known from the ordinance alone;
  as only the Act can open the network to a body, such a row is refused until a newer edition holds it.
  `valid_from` is the day of the edition, because the days on which single rows came into force are not recorded.
- `statute_items.csv`: the affairs that the ordinance (平成14年総務省令第13号) numbers within a row, as of October 2020.
  Both texts have their own numbering. For 18 keys the same number means different affairs, and 14 of the ordinance's
  rows have no counterpart: those items have an empty `purpose_key` and can be named by nobody.
- `statute_bodies.csv`: the bodies that the rows open. Bodies designated under different laws are different bodies.

`individual_number` says whether the Number Use Act (番号利用法) art. 9(1) lets the row's bodies use the individual
number. No source lists this row by row, so the column is conservative: `no` by default (certainty `default`), `yes`
with certainty `memory` only in the fields of social security, tax and disasters where the use is general knowledge.
Check each `memory` row against the Number Use Act's own table before real use. `resident_code` is `no` throughout:
the articles that let municipalities and prefectures receive the code concern resident records, not these rows.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from types import MappingProxyType
from typing import Literal

RowStatus = Literal["in_force", "deleted", "ordinance_only"]

_STATUSES: dict[str, RowStatus] = {
    "in_force": "in_force",
    "deleted": "deleted",
    "ordinance_only": "ordinance_only",
}
_TRUTH = {"yes": True, "no": False}


class StatuteTableError(ValueError):
    """The statute table contradicts itself. Restore the files that came with this version of the program."""


@dataclass(frozen=True, slots=True)
class StatuteRow:
    """One row of an annexed table; the columns of `statute.csv`."""

    key: str
    table: int
    status: RowStatus
    article: str
    bodies: tuple[str, ...]
    law_ja: str
    law_en: str
    label_en: str
    label_ja: str
    individual_number: bool
    individual_number_certainty: str
    resident_code: bool
    valid_from: date
    valid_to: date
    edition: str
    items: frozenset[str]


@dataclass(frozen=True, slots=True)
class StatuteTable:
    """All rows by key, and all bodies by key with their English and Japanese names."""

    rows: Mapping[str, StatuteRow]
    bodies: Mapping[str, tuple[str, str]]

    def find(self, purpose: str) -> StatuteRow | None:
        """Looks up the row that a purpose names.

        Args:
            purpose: a row such as `B1-77`, or a row and item such as `B1-77.12`.

        Returns:
            The row, whatever its status; None when there is no such row or the row has no such item.
        """
        key, dot, item = purpose.partition(".")
        row = self.rows.get(key)
        if row is None or (dot and item not in row.items):
            return None
        return row


@functools.cache
def load_statute() -> StatuteTable:
    """Reads the statute table that is part of the program.

    Returns:
        The table; the same object each time.

    Raises:
        StatuteTableError: the files contradict themselves.

    Source: Act tables 1 to 6; ordinance 平成14年総務省令第13号.
    """
    return build_statute(_read("statute.csv"), _read("statute_items.csv"), _read("statute_bodies.csv"))


def build_statute(
    rows: list[dict[str, str]], items: list[dict[str, str]], bodies: list[dict[str, str]]
) -> StatuteTable:
    """Builds the table from the records of its three files, and checks that they agree.

    Args:
        rows, items, bodies: one mapping of column to text per record of `statute.csv`, `statute_items.csv` and
            `statute_bodies.csv`.

    Returns:
        The table.

    Raises:
        StatuteTableError: a record is malformed, doubled, or speaks of something that does not exist.
    """
    names = {body["body"]: (body["name_en"], body["name_ja"]) for body in bodies}
    items_of: dict[str, set[str]] = {}
    for item in items:
        if item["purpose_key"] and item["item"]:
            items_of.setdefault(item["purpose_key"], set()).add(item["item"])
    table: dict[str, StatuteRow] = {}
    for record in rows:
        row = _row(record, frozenset(items_of.pop(record["purpose_key"], ())))
        if row.key in table:
            raise StatuteTableError(f"row {row.key} stands twice in statute.csv")
        if unknown := set(row.bodies) - names.keys():
            raise StatuteTableError(f"row {row.key} names bodies that do not exist: {sorted(unknown)}")
        table[row.key] = row
    if items_of:
        raise StatuteTableError(f"statute_items.csv has items of rows that do not exist: {sorted(items_of)}")
    return StatuteTable(MappingProxyType(table), MappingProxyType(names))


def _row(record: dict[str, str], items: frozenset[str]) -> StatuteRow:
    key = record["purpose_key"]
    try:
        row = StatuteRow(
            key=key,
            table=int(record["table"]),
            status=_STATUSES[record["status"]],
            article=record["article"],
            bodies=tuple(record["bodies"].split()),
            law_ja=record["law_ja"],
            law_en=record["law_en"],
            label_en=record["label_en"],
            label_ja=record["label_ja"],
            individual_number=_TRUTH[record["individual_number"]],
            individual_number_certainty=record["individual_number_certainty"],
            resident_code=_TRUTH[record["resident_code"]],
            valid_from=_day(record["valid_from"], date.min),
            valid_to=_day(record["valid_to"], date.max),
            edition=record["edition"],
            items=items,
        )
    except (KeyError, ValueError) as error:
        raise StatuteTableError(f"row {key} of statute.csv is malformed: {error}") from error
    if row.table not in range(1, 7) or not key.startswith(f"B{row.table}-"):
        raise StatuteTableError(f"row {key} of statute.csv stands under table {row.table}")
    return row


def _day(text: str, otherwise: date) -> date:
    return date.fromisoformat(text) if text else otherwise


def _read(name: str) -> list[dict[str, str]]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
