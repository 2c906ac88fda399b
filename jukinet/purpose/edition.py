"""The file of an edition (版) of the statute table: one text with name, first day, sources and four tables of facts.

Rule: an edition is its file, byte for byte. Its SHA-256 digest names it: who approves a digest approves these bytes and
no others, and an edition is never changed. A correction is an edition of its own.

The file is TOML; the tables stand in it as CSV, with the columns of the files beside this module:

    name = "2026-04"                     # year and month; a correction within it `2026-04.1`
    in_force_from = 2026-04-01           # first day in Japan on which it decides
    sources = ["…"]                      # where its facts come from: texts and their dates
    articles = '''…'''                   # `articles.csv`
    rows = '''…'''                       # `statute.csv`
    bodies = '''…'''                     # `statute_bodies.csv`; in editions of before, without tier and holders
    items = '''…'''                      # `statute_items.csv`
    seals = '''…'''                      # may be left out: the rows whose questions may be sealed (封印), each with the
                                         # most months and the ground; columns purpose_key,months,ground

`jukinet statutes draft` writes the program's own edition in this form, to begin the next one from.
"""

import csv
import functools
import hashlib
import io
import json
import re
import tomllib
from datetime import date, datetime
from importlib import resources
from typing import Final

from jukinet.purpose import articles
from jukinet.purpose.statute import (
    BODY_COLUMNS,
    ITEM_COLUMNS,
    ROW_COLUMNS,
    SEAL_COLUMNS,
    Parts,
    Record,
    StatuteTable,
    StatuteTableError,
    build_statute,
)

MOST_BYTES: Final = 1024 * 1024
"""Largest file; the edition of 2019 has a sixth of it."""
# As in the entries of the ledger, which cite it.
_NAME: Final = re.compile(r"[0-9]{4}-[0-9]{2}([.][0-9]{1,2})?")
_COLUMNS: Final = {
    "articles": articles.COLUMNS,
    "rows": ROW_COLUMNS,
    "bodies": BODY_COLUMNS,
    "items": ITEM_COLUMNS,
}
_FILES: Final = {
    "articles": "articles.csv",
    "rows": "statute.csv",
    "bodies": "statute_bodies.csv",
    "items": "statute_items.csv",
}
_OPTIONAL: Final = {"seals": SEAL_COLUMNS}
# What was approved is read for ever: the columns that a table had before, the others being empty.
_BEFORE: Final = {"bodies": ("body", "name_en", "name_ja")}
_KEYS: Final = frozenset({"name", "in_force_from", "sources", *_COLUMNS})


@functools.cache
def load_statute() -> StatuteTable:
    """Reads the edition that is part of the program.

    Returns:
        The edition; the same object each time.

    Raises:
        StatuteTableError: the files contradict themselves.

    Source: Act tables 1 to 6 and art. 30-9 to 30-15; ordinance 平成14年総務省令第13号.
    """
    return parse_edition(program_edition())


def program_edition() -> bytes:
    """The file of the edition that is part of the program."""
    tables = "".join(f"{key} = '''\n{_own_file(name)}'''\n" for key, name in _FILES.items())
    return f"{_own_file('edition.toml')}{tables}".encode()


def parse_edition(content: bytes) -> StatuteTable:
    """Understands the file of an edition.

    Args:
        content: TOML as described above.

    Returns:
        The edition.

    Raises:
        StatuteTableError: it cannot be read, or contradicts itself.
    """
    return build_statute(read_parts(content))


def read_parts(content: bytes) -> Parts:
    """Reads the file of an edition without judging what its lines say.

    Args:
        content: TOML as described above.

    Returns:
        Header and lines, each with exactly the columns of its table.

    Raises:
        StatuteTableError: it is no TOML, or lacks or has a key or column too much.
    """
    if len(content) > MOST_BYTES:
        raise StatuteTableError(f"the edition has {len(content)} bytes; at most {MOST_BYTES} are read")
    try:
        found = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StatuteTableError(f"the edition is not TOML in UTF-8: {error}") from error
    if odd := sorted((found.keys() - _OPTIONAL) ^ _KEYS):
        raise StatuteTableError(
            f"an edition has the keys {', '.join(sorted(_KEYS))}; missing or unknown: {', '.join(odd)}"
        )
    tables = {
        key: _records(key, found[key], columns) for key, columns in (_COLUMNS | _OPTIONAL).items() if key in found
    }
    return Parts(
        name=_name(found["name"]),
        in_force_from=_first_day(found["in_force_from"]),
        sources=_sources(found["sources"]),
        digest=hashlib.sha256(content).digest(),
        **tables,
    )


def format_edition(parts: Parts) -> bytes:
    """Writes the file of an edition, from header and lines; the digest among them is not looked at.

    Args:
        parts: of `read_parts`, changed or not.

    Returns:
        What `read_parts` reads back as the same lines.
    """
    # JSON's texts and lists of texts are TOML's as well.
    lines = [
        f"name = {json.dumps(parts.name)}",
        f"in_force_from = {parts.in_force_from}",
        f"sources = {json.dumps(list(parts.sources), ensure_ascii=False)}",
    ]
    tables = _COLUMNS | (_OPTIONAL if parts.seals else {})
    lines += [f"{key} = '''\n{_table(columns, getattr(parts, key))}'''" for key, columns in tables.items()]
    return ("\n".join(lines) + "\n").encode()


def _table(columns: tuple[str, ...], records: list[Record]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _records(key: str, text: object, columns: tuple[str, ...]) -> list[Record]:
    if not isinstance(text, str):
        raise StatuteTableError(f"{key} must be a table in CSV between triple quotes")
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        records = list(reader)
    except csv.Error as error:
        raise StatuteTableError(f"{key} is not CSV: {error}") from error
    if tuple(reader.fieldnames or ()) not in (columns, _BEFORE.get(key)):
        raise StatuteTableError(f"{key} must have the columns {','.join(columns)}")
    for number, record in enumerate(records, 2):
        if None in record or not all(isinstance(value, str) and value.isprintable() for value in record.values()):
            raise StatuteTableError(f"line {number} of {key} has fields too many, too few, or not printable")
    return [dict.fromkeys(columns, "") | record for record in records]


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise StatuteTableError("name must be year and month such as 2026-04, of a correction 2026-04.1")
    return value


def _first_day(value: object) -> date:
    # A TOML date with a time is a datetime, which is a date for Python but not for a law that counts days.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise StatuteTableError("in_force_from must be a date such as 2026-04-01, without quotes")
    return value


def _sources(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise StatuteTableError("sources must be a list of texts that is not empty: where the facts come from")
    return tuple(value)


def _own_file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
