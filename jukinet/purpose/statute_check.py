"""What is wrong with an edition of the statute table, found before it decides anything.

Rule: an edition with a finding is proposed to nobody. The kinds:

- `malformed`: a line cannot be understood, or speaks of something that does not exist.
- `overlap`: one row stands twice, and both are valid on some day; under one key, or under two of which the questions of
  one may be sealed (封印) and those of the other not, or not as long, so that whoever asks chooses.
- `contradiction`: a line denies itself, its table, its article, another line, the program's own edition or the Act,
  such as a row that is in force and opens to nobody, one of national bodies that opens to a mayor, one that gives what
  its article does not, one that is not in force and may be sealed, two rows for one affair of one body that differ in
  what they give, a body that became another, a table that is opened by another article or from another provider than
  the Act opens it, or an article that gives the resident code (住民票コード) for the affairs of a table.
- `expired`: a row counts as in force, but its validity ended before the day.
- `grant`: the agency directory grants a row that is gone on the day, or that opens nothing to that agency.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations
from typing import NamedTuple

from jukinet.purpose.agencies import Agency, AgencyDirectory
from jukinet.purpose.edition import load_statute, read_parts
from jukinet.purpose.receivers import OPENINGS, Body, ReceiversError, build_bodies, strangers
from jukinet.purpose.statute import (
    BODY_COLUMNS,
    Parts,
    Record,
    StatuteRow,
    StatuteTable,
    StatuteTableError,
    build_row,
    build_statute,
    items_by_row,
)
from jukinet.purpose.territory import covers_anybody


class Finding(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """As above."""
    where: str
    """Row such as `B1-77`, body, agency, `article 30-9`, or `edition`."""
    text: str
    """What it is, for people; of the law and the directory alone."""


def check_edition(content: bytes, *, on: date | None = None) -> list[Finding]:
    """Finds what is wrong with the file of an edition.

    Args:
        content: as in `jukinet.purpose.edition`.
        on: day in Japan against which validity is held; the edition's first day if that is later, or for None.

    Returns:
        All findings; none when it may be proposed.
    """
    try:
        parts = read_parts(content)
    except StatuteTableError as error:
        return [Finding("malformed", "edition", str(error))]
    findings = [*_malformed(parts), *_twice(parts)]
    if findings:
        return findings
    try:
        table = build_statute(parts)
    except StatuteTableError as error:
        return [Finding("malformed", "edition", str(error))]
    day = max(on or table.in_force_from, table.in_force_from)
    rows = [finding for row in table.rows.values() for finding in _of_row(table, row, day)]
    of_all = [*_otherwise_than_the_act(table), *_between_rows(table), *_miscounted(table, parts.items)]
    return [*rows, *of_all, *_other_bodies(table.bodies)]


def check_grants(table: StatuteTable, directory: AgencyDirectory, *, on: date) -> list[Finding]:
    """Finds grants of an agency directory that lead nowhere under an edition.

    Args:
        table: the edition.
        directory: the agencies by SPIFFE ID; those whose listing is not in force on the day are left out.
        on: day in Japan.
    """
    return [
        Finding("grant", agency.id, f"row {key} is granted and {why}")
        for agency in directory.values()
        if agency.valid_from <= on <= agency.valid_to
        for key in sorted(agency.rows)
        if (why := _opens_nothing(agency, table.rows.get(key), on))
    ]


def _malformed(parts: Parts) -> Iterator[Finding]:
    try:
        items = items_by_row(parts.items)
    except StatuteTableError as error:
        yield Finding("malformed", "edition", str(error))
        items = {}
    bodies: Mapping[str, Body] = {}
    try:
        bodies = build_bodies(parts.bodies)
    except ReceiversError as error:
        yield Finding("malformed", "edition", str(error))
    if not all(body.tier and body.name_en.strip() and body.name_ja.strip() for body in bodies.values()):
        yield Finding("malformed", "edition", f"bodies must have the columns {','.join(BODY_COLUMNS)}, all filled in")
    names = {body["body"] for body in parts.bodies}
    for record in parts.rows:
        try:
            row = build_row(record, frozenset(items.get(record["purpose_key"], ())))
        except StatuteTableError as error:
            yield Finding("malformed", record["purpose_key"] or "edition", str(error))
            continue
        if unknown := set(row.bodies) - names:
            yield Finding("malformed", row.key, f"bodies that do not exist: {', '.join(sorted(unknown))}")
        if wrong := strangers(row.table, row.bodies, bodies):
            yield Finding("contradiction", row.key, wrong)


def _twice(parts: Parts) -> Iterator[Finding]:
    by_key: defaultdict[str, list[Record]] = defaultdict(list)
    for record in parts.rows:
        by_key[record["purpose_key"]].append(record)
    for key, records in by_key.items():
        for one, other in combinations(records, 2):
            # ISO days compare as texts; what is left open reaches to either end.
            first, last = max(one["valid_from"], other["valid_from"]), min(_end(one), _end(other))
            if first <= last:
                yield Finding("overlap", key, "it stands twice, and both are valid on some day")
            else:
                yield Finding("contradiction", key, "it stands twice: what changes later belongs in a later edition")


def _of_row(table: StatuteTable, row: StatuteRow, day: date) -> Iterator[Finding]:
    yield from _denying_itself(row)
    article = table.articles.get(row.table)
    if article is None:
        yield Finding("contradiction", row.key, f"no article opens table {row.table}")
    elif article.article != row.article:
        yield Finding("contradiction", row.key, f"it cites article {row.article}, its table has {article.article}")
    elif row.status == "in_force":
        yield from _beyond_article(table, row)
    if row.status == "in_force" and row.valid_to < day:
        yield Finding("expired", row.key, f"it ended on {row.valid_to}")
    if row.status != "in_force" and row.key in table.seals:
        yield Finding("contradiction", row.key, "its questions may be sealed, and it is not in force")


def _denying_itself(row: StatuteRow) -> Iterator[Finding]:
    if row.valid_to < row.valid_from:
        yield Finding("contradiction", row.key, "it ends before it begins")
    if len(set(row.bodies)) < len(row.bodies):
        yield Finding("contradiction", row.key, "it names a body twice")
    if (row.status == "ordinance_only") != row.key.endswith("*"):
        yield Finding("contradiction", row.key, "a key ends in * if the row is known from the ordinance alone")
    if row.individual_number and row.individual_number_certainty == "default":
        yield Finding("contradiction", row.key, "it gives the individual number by default, which gives none")
    if row.status == "in_force":
        if not (row.bodies and row.law_ja.strip() and row.label_ja.strip() and row.label_en.strip()):
            yield Finding("contradiction", row.key, "it is in force and lacks bodies, law or label")
    elif row.individual_number or row.resident_code:
        yield Finding("contradiction", row.key, "it is not in force and gives a number or a code")
    if row.status == "deleted" and row.bodies:
        yield Finding("contradiction", row.key, "it is deleted and opens to bodies")


def _beyond_article(table: StatuteTable, row: StatuteRow) -> Iterator[Finding]:
    allowance = table.allowance(row)
    if row.individual_number and not allowance.individual_number:
        yield Finding("contradiction", row.key, f"it gives the individual number, article {row.article} does not")
    if row.resident_code and not allowance.resident_code:
        yield Finding("contradiction", row.key, f"it gives the resident code, article {row.article} does not")
    if not allowance.provisions:
        yield Finding("contradiction", row.key, f"article {row.article} leaves it no method of provision")


def _otherwise_than_the_act(table: StatuteTable) -> Iterator[Finding]:
    """Articles that open a table as the Act does not: by another number, from another provider, with the resident code.

    Source: Act art. 30-9 to 30-12, 30-15(1) and (2). The code is left out of 30-9 and 30-15, and 30-10 to 30-12 give it
    in their item 3 only, for resident records.
    """
    for number, article in table.articles.items():
        where, act = f"article {article.article}", OPENINGS[number]
        if (article.article, article.provider) != act:
            text = f"the Act opens table {number} by article {act.article}, with the {act.provider} as provider"
            yield Finding("contradiction", where, text)
        if article.resident_code:
            text = f"it gives the resident code, and the Act gives that for no affair of table {number}"
            yield Finding("contradiction", where, text)


def _between_rows(table: StatuteTable) -> Iterator[Finding]:
    """Rows for one affair of one body, valid on one day, that differ in what they give or in how they are sealed."""
    affairs: defaultdict[tuple[object, ...], list[StatuteRow]] = defaultdict(list)
    for row in table.rows.values():
        if row.status == "in_force":
            affairs[row.table, _folded(row.law_ja), _folded(row.label_ja)].append(row)
    for rows in affairs.values():
        for one, other in combinations(rows, 2):
            on_one_day = max(one.valid_from, other.valid_from) <= min(one.valid_to, other.valid_to)
            both = sorted({*one.bodies} & {*other.bodies})
            if not both or not on_one_day:
                continue
            text = f"it opens the same affair to {', '.join(both)} as {one.key} and"
            if table.allowance(one) != table.allowance(other):
                yield Finding("contradiction", other.key, f"{text} gives something else")
            if table.seal_months(one.key) != table.seal_months(other.key):
                yield Finding("overlap", other.key, f"{text} may be sealed for longer, for less or not at all")


def _miscounted(table: StatuteTable, items: Sequence[Record]) -> Iterator[Finding]:
    lines = Counter(item["purpose_key"] for item in items)
    for row in table.rows.values():
        if row.affairs != lines[row.key]:
            text = f"its column items says {row.affairs}, and {lines[row.key]} of its items are listed"
            yield Finding("contradiction", row.key, text)


def _other_bodies(bodies: Mapping[str, Body]) -> Iterator[Finding]:
    """Bodies that are something else in the program's own edition: a directory names one body under all editions."""
    for key, own in load_statute().bodies.items():
        body = bodies.get(key, own)
        if (body.tier, body.is_single) != (own.tier, own.is_single):
            text = "its tier or holders are others in the program's own edition: what is another body needs another key"
            yield Finding("contradiction", key, text)


def _opens_nothing(agency: Agency, row: StatuteRow | None, on: date) -> str:
    """Why a granted row leads nowhere; empty when it does not."""
    if agency.kind == "private":
        return "the law opens none to a private organisation (art. 30-38)"
    if row is None:
        return "is not in this edition"
    if row.status != "in_force":
        return "is deleted" if row.status == "deleted" else "is known from the ordinance alone"
    if row.valid_to < on:
        return f"ended on {row.valid_to}"
    if not agency.bodies & frozenset(row.bodies):
        return "opens to other bodies: correct `bodies` or `rows`"
    if not covers_anybody(row, agency):
        return "is about residents of certain prefectures: without `prefecture` nobody is found for the agency"
    return ""


def _folded(text: str) -> str:
    """A text without spaces, in whatever width it was written."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _end(record: Record) -> str:
    return record["valid_to"] or date.max.isoformat()
