"""The bodies that rows open to (提供先), and which of them an annexed table can be open to at all.

Rule: a table is for one kind of receiver, and a row of it opens to no other. Whose residents an agency hears of follows
from the table alone (`territory`), so a mayor in a row of table 1 would hear of the whole nation.

What each body is, is data: `statute_bodies.csv` says of each its `tier` and its `holders`.

- `tier`: `national` for national agencies and the corporations that table 1 lists, wherever they are; `governor`;
  `prefecture` for the other bodies of a prefecture; `municipality`.
- `holders`: `one` if one organisation only can be this body (日本年金機構), `many` if several are (市町村長). Bodies
  that an Act lets be designated, and all that are named in the plural, are `many`: nobody has read yet which of those
  Acts allow one designation only.

An edition that was approved before it said this has neither for its bodies, and decides as it did. Nobody can propose
such a one any more (`statute_check`).

Source: Act art. 30-9 to 30-12, 30-15(1) and (2).
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

Tier = Literal["national", "governor", "prefecture", "municipality"]


class Receiver(NamedTuple):
    """To whom a table is open."""

    name: str
    """As `articles.csv` calls it."""
    tiers: frozenset[Tier]


RECEIVERS: Final[Mapping[int, Receiver]] = MappingProxyType(
    {
        1: Receiver("national agencies and listed corporations", frozenset({"national"})),
        2: Receiver("municipalities of the prefecture that notified", frozenset({"municipality"})),
        3: Receiver("other prefectures", frozenset({"governor", "prefecture"})),
        4: Receiver("municipalities of other prefectures by their governor", frozenset({"municipality"})),
        5: Receiver("the governor's own use", frozenset({"governor"})),
        6: Receiver("other bodies of the prefecture", frozenset({"prefecture"})),
    }
)
"""By number of the table."""


class Opening(NamedTuple):
    """By which article the Act opens a table, and who provides under it."""

    article: str
    provider: str
    """As `articles.csv` calls both."""


OPENINGS: Final[Mapping[int, Opening]] = MappingProxyType(
    {
        1: Opening("30-9", "center"),
        2: Opening("30-10", "center"),
        3: Opening("30-11", "center"),
        4: Opening("30-12", "center"),
        5: Opening("30-15(1)", "prefecture"),
        6: Opening("30-15(2)", "prefecture"),
    }
)
"""By number of the table. The policies bear these articles too, so an edition cannot have others (`statute_check`)."""

_TIERS: Final[dict[str, Tier]] = {tier: tier for tier in get_args(Tier)}
_HOLDERS: Final = {"one": True, "many": False}
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ReceiversError(ValueError):
    """The bodies of an edition contradict themselves. Correct the line that the text names."""


class Body(NamedTuple):
    """One body; the columns of `statute_bodies.csv`."""

    name_en: str
    name_ja: str
    tier: Tier | None
    """None in an edition that does not say it."""
    is_single: bool
    """Whether one organisation only can be it."""


def build_bodies(records: Iterable[Mapping[str, str]]) -> Mapping[str, Body]:
    """Builds the bodies from the records of `statute_bodies.csv`.

    Args:
        records: one mapping of column to text a line.

    Returns:
        The bodies by key.

    Raises:
        ReceiversError: a line is malformed, or two speak of one body.
    """
    found: dict[str, Body] = {}
    for record in records:
        key = record["body"]
        if not _NAME.fullmatch(key):
            raise ReceiversError(f"a body has the key {key!r}: small letters, digits and single hyphens only")
        if key in found:
            raise ReceiversError(f"body {key} stands twice in one edition")
        found[key] = _body(record)
    return MappingProxyType(found)


def strangers(table: int, bodies: Iterable[str], known: Mapping[str, Body]) -> str:
    """What is wrong with opening a row of a table to these bodies; empty if nothing is."""
    tiers = {body: known[body].tier for body in bodies if body in known}
    found = sorted(body for body, tier in tiers.items() if tier and tier not in RECEIVERS[table].tiers)
    return f"table {table} is for {RECEIVERS[table].name}, not for {', '.join(found)}" if found else ""


def _body(record: Mapping[str, str]) -> Body:
    names = record["name_en"], record["name_ja"]
    if not record["tier"] and not record["holders"]:
        return Body(*names, None, is_single=False)
    tier, is_single = _TIERS.get(record["tier"]), _HOLDERS.get(record["holders"])
    if tier is None or is_single is None:
        raise ReceiversError(
            f"body {record['body']}: tier must be one of {', '.join(_TIERS)}, holders one of {', '.join(_HOLDERS)}"
        )
    return Body(*names, tier, is_single)
