"""Corrections of errors (誤記の修正): which items a change replaces because they were wrong, not because life went on.

Rule: what a change replaces was wrong where the law's heading says so, or where the municipality says so in the change
that it seals (`was_wrong`). The headings say it of a birth date, which no event can change, and of a resident code that
is replaced ex officio (Order art. 30-4). All else that stands under 職権修正等, a marriage as well as a misspelling, is
taken for life: who was provided with a name may not learn by a recall that it changed since (Act art. 30-25).

An error may also be mended by deletion and entry ex officio. A deletion that says so ends a record that was entered in
error (誤載): all of it was wrong, from its entry on. An entry that says so replaces what stood up to the deletion.
Source: Act art. 30-8 (errors are told); Order art. 12, 30-4, 30-5; Rules art. 11.
Without it a recall would tell agencies of later changes that they have no right to, or wrong values would stay.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.domain.change import ITEMS, Act, facts_of

_BY_HEADING: Final = {15: frozenset({"birth_date"}), 20: frozenset({"resident_code"})}
"""Reason -> items that it can replace only where they were wrong."""

Compared = Callable[[IdentityRecord], Mapping[str, frozenset[str | None]]]
"""Gives the keys by which a search finds a record, item by item of those that it compares."""


class Wrong(NamedTuple):
    """What was wrong in a record after a change."""

    change: Change
    items: frozenset[str]
    """Names of the items, as whoever was provided with them got them."""
    compared: frozenset[str]
    """Names of the items of which a key that finds the record was wrong."""


def may_correct(change: Change) -> bool:
    """Whether a change can replace what was wrong; by far the most cannot, and need no look at what was before."""
    return change.was_wrong or change.reason in _BY_HEADING


def wrong_items(change: Change, before: IdentityRecord) -> frozenset[str]:
    """The items that a change replaces as wrong, by the names of `ITEMS`; of a record entered in error (誤載) all.

    Args:
        change: one that was applied.
        before: the record that it replaced.

    Source: Order art. 12, 30-4, 30-5; Rules art. 11.
    """
    facts = facts_of(change.reason)
    if facts.act is Act.DELETION:
        return frozenset(item for item in ITEMS if change.was_wrong and _is_stated(before, item))
    replaced = {item for item in facts.may_change if _is_stated(before, item) and not _is_same(change, before, item)}
    return frozenset(replaced if change.was_wrong else replaced & _BY_HEADING.get(change.reason, frozenset()))


def wrong_versions(changes: Iterator[Change], compared: Compared) -> list[Wrong]:
    """The changes since which each wrong item stood in the record, latest first, each with what was wrong after it.

    A yes (本人確認) said no more of an item than that one of the keys by which a search finds the record is so: a wrong
    reading made no yes wrong, and a wrong key did for as long as the key stood, whatever else of the item was replaced.

    Args:
        changes: the person's, latest first, under whatever resident code: one that was applied and those before it.
            Read as far as needed.
        compared: by what a search finds a record.
    """
    change = next(changes)
    if not may_correct(change):
        return []
    if facts_of(change.reason).act is Act.DELETION:
        return _of_the_whole_record(change, changes, compared)
    found: list[Wrong] = []
    wrong: frozenset[str] | None = None
    keys: dict[str, frozenset[str | None]] = {}
    value = IdentityRecord()
    for each in changes:
        found_by = compared(each.record)
        if wrong is None:
            wrong, value, right = wrong_items(change, each.record), each.record, compared(change.record)
            keys = {item: found_by[item] - right[item] for item in wrong & found_by.keys()}
        wrong = frozenset(item for item in wrong if _is_same(each, value, item))
        keys = {item: wrong_keys for item, wrong_keys in keys.items() if wrong_keys & found_by[item]}
        # What stood up to a deletion that said so was recalled by it.
        if not (wrong or keys) or (each.was_wrong and facts_of(each.reason).act is Act.DELETION):
            break
        found.append(Wrong(each, wrong, frozenset(keys)))
    return found


def _of_the_whole_record(deletion: Change, earlier: Iterator[Change], compared: Compared) -> list[Wrong]:
    """A record that should not have been, from its entry to its deletion, which may be told with the items too."""
    found = [_all_of(deletion, deletion, compared)]
    for each in earlier:
        found.append(_all_of(deletion, each, compared))
        if facts_of(each.reason).act is Act.ENTRY:
            break
    return found


def _all_of(deletion: Change, each: Change, compared: Compared) -> Wrong:
    items = wrong_items(deletion, each.record)
    return Wrong(each, items, items & compared(each.record).keys())


def _is_same(change: Change, record: IdentityRecord, item: str) -> bool:
    return bool(getattr(change.record, item) == getattr(record, item))


def _is_stated(record: IdentityRecord, item: str) -> bool:
    """Whether the record says anything of an item; with a number that was missing nobody was provided wrongly."""
    return bool(getattr(record, item)) if item in _PLAIN else record.HasField(item)  # type: ignore[arg-type]  # by name


_PLAIN: Final = frozenset(ITEMS) - {"name", "birth_date", "address"}
