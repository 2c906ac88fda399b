"""The statute table: rows of the Act's annexed tables 1 to 6 (住民基本台帳法 別表第一-第六) and the ordinance's items.

Rule: what is not a row in force here is open to nobody (Act art. 30-25). The files state facts and labels in the
project's own words, never a sentence of the law; article and row numbers let the reader look it up. One edition (版)
holds each row once; what changes is a new edition (`edition`), and `editions` knows which one decides on a day.

- `statute.csv`: the Act's rows as of January 2019, each with the bodies that it opens. A row of status `deleted` has
  been taken out of the Act. A row of status `ordinance_only` (key ending in `*`) is known from the ordinance alone;
  as only the Act can open the network to a body, such a row is refused until a newer edition holds it. Its body is of
  that text's time. That of B1-40-2* is inferred, for the ordinance names none: 出入国在留管理庁, of April 2019, began
  after this edition. It stands in the file of bodies for that row alone, which opens nothing to it.
  `valid_from` is the day of the edition, because the days on which single rows came into force are not recorded;
  `as_of` is the text that the row was read in, by year and month. `provisions` narrows the methods of provision;
  empty = all that the article allows. `items` counts the row's affairs in the file of items.
- `statute_items.csv`: the affairs that the ordinance (平成14年総務省令第13号) numbers within a row, as of October 2020.
  Both texts have their own numbering. For 18 keys the same number means different affairs, and 14 of the ordinance's
  rows have no counterpart: those items have an empty `purpose_key` and can be named by nobody.
- `statute_bodies.csv`: the bodies that the rows open (`receivers`). Bodies designated under different laws are
  different bodies.
- `articles.csv`: what the articles open (`articles`).

`individual_number` says whether the Number Use Act (番号利用法) art. 9(1) lets the row's bodies use the individual
number. No source lists this row by row, so the column is conservative: `no` by default (certainty `default`), `yes`
with certainty `memory` only in the fields of social security, tax and disasters where the use is general knowledge.
Check each `memory` row against the Number Use Act's own table before real use. `resident_code` is `no` throughout:
the articles that let municipalities and prefectures receive the code concern resident records, not these rows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

from jukinet.domain.seal import MOST_MONTHS
from jukinet.purpose.articles import CERTAINTIES, PROVISIONS, Articles, ArticlesError, build_articles, read_provisions
from jukinet.purpose.receivers import Body, ReceiversError, build_bodies, strangers

RowStatus = Literal["in_force", "deleted", "ordinance_only"]
Record = Mapping[str, str]

ROW_COLUMNS: Final = (
    *("purpose_key", "table", "row", "status", "article", "bodies", "law_ja", "law_en", "label_en", "label_ja"),
    *("individual_number", "individual_number_certainty", "resident_code", "valid_from", "valid_to", "as_of", "items"),
    "provisions",
)
ITEM_COLUMNS: Final = ("ordinance_row", "item", "purpose_key", "as_of")
BODY_COLUMNS: Final = ("body", "name_en", "name_ja", "tier", "holders")
SEAL_COLUMNS: Final = ("purpose_key", "months", "ground")

_STATUSES: Final[dict[str, RowStatus]] = {status: status for status in get_args(RowStatus)}
_TRUTH = {"yes": True, "no": False}
_CERTAINTY: Final = re.compile("|".join(sorted(CERTAINTIES | {"default"})))
# What could not be named in a question or stand in an entry (`ledger.proto`) is no row, and each has one spelling.
_KEY: Final = re.compile(r"B[1-6]-[1-9][0-9]{0,2}(-[1-9][0-9]{0,2}){0,2}[*]?")
_ITEM: Final = re.compile(r"[1-9][0-9]{0,2}")
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_MONTHS: Final = re.compile(r"[0-9]{1,2}")


class StatuteTableError(ValueError):
    """The statute table contradicts itself. Correct what the text names, or restore the files of this version."""


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
    provisions: frozenset[str]
    """Its own; the article narrows them."""
    valid_from: date
    valid_to: date
    as_of: str
    items: frozenset[str]
    affairs: int
    """How many affairs the ordinance has for it: its column `items`."""


class Allowance(NamedTuple):
    """What a row may give beside the four items, and how: its own columns, narrowed by its article."""

    individual_number: bool
    resident_code: bool
    provisions: frozenset[str]


@dataclass(frozen=True, slots=True)
class StatuteTable:
    """One edition: all rows and all bodies by key."""

    edition: str
    """Name, such as `2019-01`."""
    in_force_from: date
    """First day on which it decides."""
    sources: tuple[str, ...]
    rows: Mapping[str, StatuteRow]
    bodies: Mapping[str, Body]
    articles: Articles
    digest: bytes
    """SHA-256 of its file, 32 bytes."""
    seals: Mapping[str, int] = field(default_factory=dict)
    """For how many months at most a row lets its questions be sealed (封印); a row that is not here does not."""

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

    def seal_months(self, purpose: str) -> int:
        """For how many months at most the questions of a row, or row and item, may be sealed (封印); 0 = none."""
        row = self.find(purpose)
        return 0 if row is None else self.seals.get(row.key, 0)

    def allowance(self, row: StatuteRow) -> Allowance:
        """What a row of this edition may give, and how. A row whose table no article opens may give nothing."""
        article = self.articles.get(row.table)
        if article is None or article.article != row.article:
            return Allowance(False, False, frozenset())
        return Allowance(
            individual_number=row.individual_number and article.individual_number,
            resident_code=row.resident_code and article.resident_code,
            provisions=row.provisions & article.provisions,
        )


NO_EDITION: Final = StatuteTable(
    "", date.min, (), MappingProxyType({}), MappingProxyType({}), MappingProxyType({}), b""
)
"""What decides on a day on which no edition is in force: nothing is open."""


class Parts(NamedTuple):
    """What an edition's file says, before it is understood."""

    name: str
    in_force_from: date
    sources: tuple[str, ...]
    articles: Sequence[Record]
    rows: Sequence[Record]
    bodies: Sequence[Record]
    items: Sequence[Record]
    digest: bytes
    seals: Sequence[Record] = ()


def build_statute(parts: Parts) -> StatuteTable:
    """Builds an edition from its parts, and checks that they agree.

    Args:
        parts: header, and one mapping of column to text per line of each of the four tables.

    Returns:
        The edition.

    Raises:
        StatuteTableError: a line is malformed, doubled, speaks of something that does not exist, or opens a row to a
            body of another kind than its table is for.
    """
    try:
        articles, bodies = build_articles(parts.articles), build_bodies(parts.bodies)
    except (ArticlesError, ReceiversError) as error:
        raise StatuteTableError(str(error)) from error
    items = items_by_row(parts.items)
    table: dict[str, StatuteRow] = {}
    for record in parts.rows:
        row = build_row(record, frozenset(items.pop(record["purpose_key"], ())))
        if row.key in table:
            raise StatuteTableError(f"row {row.key} stands twice in one edition")
        if unknown := set(row.bodies) - bodies.keys():
            raise StatuteTableError(f"row {row.key} names bodies that do not exist: {', '.join(sorted(unknown))}")
        if wrong := strangers(row.table, row.bodies, bodies):
            raise StatuteTableError(f"row {row.key}: {wrong}")
        table[row.key] = row
    if items:
        raise StatuteTableError(f"there are items of rows that do not exist: {', '.join(sorted(items))}")
    return StatuteTable(
        edition=parts.name,
        in_force_from=parts.in_force_from,
        sources=parts.sources,
        rows=MappingProxyType(table),
        bodies=bodies,
        articles=articles,
        digest=parts.digest,
        seals=MappingProxyType(_seals(parts.seals, table)),
    )


def _seals(records: Sequence[Record], rows: Mapping[str, StatuteRow]) -> dict[str, int]:
    """For how many months each row lets questions be sealed. Raises StatuteTableError."""
    found: dict[str, int] = {}
    for record in records:
        key, months = record["purpose_key"], record["months"]
        if key in found or key not in rows:
            raise StatuteTableError(f"seals speak of row {key} twice, or there is no such row")
        if not _MONTHS.fullmatch(months) or not 1 <= int(months) <= MOST_MONTHS:
            raise StatuteTableError(f"seals: row {key} may be sealed for 1 to {MOST_MONTHS} months")
        if not record["ground"].strip():
            raise StatuteTableError(f"seals: row {key} names no ground for keeping an answer from the person concerned")
        found[key] = int(months)
    return found


def items_by_row(records: Sequence[Record]) -> dict[str, set[str]]:
    """The items that can be named, by their row. Raises StatuteTableError for what is no number, or stands twice."""
    found: dict[str, set[str]] = {}
    lines: set[tuple[str, ...]] = set()
    for item in records:
        where, number = f"row {item['ordinance_row']}", item["item"]
        if number and not _ITEM.fullmatch(number):
            raise StatuteTableError(f"{where} has an item that is no number of at most three digits")
        if not _MONTH.fullmatch(item["as_of"]):
            raise StatuteTableError(f"{where} has an item whose as_of is no year and month such as 2020-10")
        if (item["ordinance_row"], number) in lines or number in found.get(item["purpose_key"], ()):
            raise StatuteTableError(f"{where} has item {number or 'without a number'} twice")
        lines.add((item["ordinance_row"], number))
        if item["purpose_key"] and item["item"]:
            found.setdefault(item["purpose_key"], set()).add(item["item"])
    return found


def build_row(record: Record, items: frozenset[str]) -> StatuteRow:
    """Understands one line of `statute.csv`. Raises StatuteTableError when it is malformed."""
    key = record["purpose_key"]
    if not _KEY.fullmatch(key):
        raise StatuteTableError(f"a row has the key {key!r}, which is not of the form B1-77")
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
            individual_number_certainty=_matched(record, "individual_number_certainty", _CERTAINTY),
            resident_code=_TRUTH[record["resident_code"]],
            provisions=read_provisions(record["provisions"]) or PROVISIONS,
            valid_from=_day(record["valid_from"], date.min),
            valid_to=_day(record["valid_to"], date.max),
            as_of=_matched(record, "as_of", _MONTH),
            items=items,
            affairs=int(_matched(record, "items", _COUNT)),
        )
    except (KeyError, ValueError) as error:
        raise StatuteTableError(f"row {key} of the statute table is malformed: {error}") from error
    if row.table not in range(1, 7) or not key.startswith(f"B{row.table}-"):
        raise StatuteTableError(f"row {key} of the statute table stands under table {row.table}")
    if key.removesuffix("*") != f"B{row.table}-{record['row']}":
        raise StatuteTableError(f"row {key} of the statute table has {record['row']!r} in the column row")
    return row


def _matched(record: Record, column: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(record[column]):
        raise ValueError(f"{column} cannot be {record[column]!r}")
    return record[column]


def _day(text: str, otherwise: date) -> date:
    if not text:
        return otherwise
    day = date.fromisoformat(text)
    # Python reads weeks and days without hyphens too; people and `statutes check` compare the texts.
    if day.isoformat() != text:
        raise ValueError(f"{text} is not a day such as 2026-04-01")
    return day
