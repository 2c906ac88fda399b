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

from collections.abc import Iterator
from typing import Final

from jukinet._pb.jukinet.register.v1.change_pb2 import Change
from jukinet._pb.jukinet.register.v1.identity_pb2 import IdentityRecord
from jukinet.domain.change import ITEMS, Act, facts_of

_BY_HEADING: Final = {15: frozenset({"birth_date"}), 20: frozenset({"resident_code"})}
"""Reason -> items that it can replace only where they were wrong."""


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


def wrong_versions(changes: Iterator[Change]) -> list[tuple[Change, frozenset[str]]]:
    """The changes since which each wrong item stood in the record, latest first, each with what was wrong after it.

    Args:
        changes: the person's, latest first, under whatever resident code: one that was applied and those before it.
            Read as far as needed.
    """
    change = next(changes)
    if not may_correct(change):
        return []
    if facts_of(change.reason).act is Act.DELETION:
        return _of_the_whole_record(change, changes)
    found: list[tuple[Change, frozenset[str]]] = []
    wrong: frozenset[str] | None = None
    value = IdentityRecord()
    for each in changes:
        if wrong is None:
            wrong, value = wrong_items(change, each.record), each.record
        wrong = frozenset(item for item in wrong if _is_same(each, value, item))
        # What stood up to a deletion that said so was recalled by it.
        if not wrong or (each.was_wrong and facts_of(each.reason).act is Act.DELETION):
            break
        found.append((each, wrong))
    return found


def _of_the_whole_record(deletion: Change, earlier: Iterator[Change]) -> list[tuple[Change, frozenset[str]]]:
    """A record that should not have been, from its entry to its deletion, which may be told with the items too."""
    found = [(deletion, wrong_items(deletion, deletion.record))]
    for each in earlier:
        found.append((each, wrong_items(deletion, each.record)))
        if facts_of(each.reason).act is Act.ENTRY:
            break
    return found


def _is_same(change: Change, record: IdentityRecord, item: str) -> bool:
    return bool(getattr(change.record, item) == getattr(record, item))


def _is_stated(record: IdentityRecord, item: str) -> bool:
    """Whether the record says anything of an item; with a number that was missing nobody was provided wrongly."""
    return bool(getattr(record, item)) if item in _PLAIN else record.HasField(item)  # type: ignore[arg-type]  # by name


_PLAIN: Final = frozenset(ITEMS) - {"name", "birth_date", "address"}
