"""Drafts of an edition, made from the program's own by changing lines, for the tests of the law as data."""

from collections.abc import Mapping
from datetime import date

from jukinet.purpose.edition import format_edition, parse_edition, program_edition, read_parts
from jukinet.purpose.statute import StatuteTable

OWN = read_parts(program_edition())


def draft_text(
    name: str = "2026-04",
    first_day: date = date(2026, 4, 1),
    *,
    rows: Mapping[str, Mapping[str, str] | None] | None = None,
    articles: Mapping[str, Mapping[str, str]] | None = None,
    seals: Mapping[str, int | str] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> bytes:
    """The file of a draft.

    Args:
        name: of the edition.
        first_day: on which it decides.
        rows: changed columns by row; None takes the row out, with its items.
        articles: changed columns by the table that the article opens.
        seals: rows whose questions may be sealed, and for how many months.
        renamed: other keys of rows, which lose their items with it.
    """
    changed = dict(rows or {}) | {
        key: {"purpose_key": new, "row": new.partition("-")[2], "items": "0"} for key, new in (renamed or {}).items()
    }
    kept = [record for record in OWN.rows if changed.get(record["purpose_key"], {}) is not None]
    gone = {key for key, change in changed.items() if change is None or "purpose_key" in change}
    return format_edition(
        OWN._replace(
            name=name,
            in_force_from=first_day,
            rows=[{**record, **(changed.get(record["purpose_key"]) or {})} for record in kept],
            items=[item for item in OWN.items if item["purpose_key"] not in gone],
            articles=[
                {**record, **((articles or {}).get(record["table"]) or {})} if record["table"] else record
                for record in OWN.articles
            ],
            seals=[
                {"purpose_key": row, "months": str(months), "ground": "a test"} for row, months in (seals or {}).items()
            ],
        )
    )


def draft(
    name: str = "2026-04",
    first_day: date = date(2026, 4, 1),
    *,
    rows: Mapping[str, Mapping[str, str] | None] | None = None,
    articles: Mapping[str, Mapping[str, str]] | None = None,
    seals: Mapping[str, int | str] | None = None,
) -> StatuteTable:
    """The same, understood."""
    return parse_edition(draft_text(name, first_day, rows=rows, articles=articles, seals=seals))
