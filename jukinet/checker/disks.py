"""What lies on the disks of one node, as the history log tells it, through all losses of a disk.

A disk that is lost may take with it only what no other disk holds at that moment. All else must come back, and until it
has, the node may give no new number away.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jukinet.checker.custody import Change, Custody, change_of

Place = tuple[str, int, int]


@dataclass(slots=True)
class Node:
    """One node and its present disk."""

    name: str
    scope: str
    above: str
    custody: Custody
    applied_places: dict[Place, str] = field(default_factory=dict)
    parked: dict[Place, Change] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    """Digests of all changes on its disk, whatever became of them."""
    ever: set[str] = field(default_factory=set)
    """Digests of all changes that were ever on a disk of it."""
    came: dict[str, int] = field(default_factory=dict)
    """By municipality: the last sequence number that came."""
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    """By sender: the highest mark that it was told."""
    once: dict[str, int] = field(default_factory=dict)
    """By sender or municipality: how far it was before the disk went back; words of then may still be under way."""
    answered: int = 0
    """The last sequence number on this disk that a municipal system was told."""
    epoch: int = 1
    ever_restored: bool = False
    unsure: bool = False
    """From the moment its disk went back until it said that it is whole again."""
    restoring: bool = False
    """Whether it knows that it lost something."""

    def note(self, change: Change) -> bool:
        """Notes that a change came; False when it is on the disk already."""
        new = change.digest not in self.held
        self.held.add(change.digest)
        self.ever.add(change.digest)
        self.came[change.municipality] = max(self.came.get(change.municipality, 0), change.sequence)
        return new

    def apply(self, change: Change) -> None:
        """Takes a change into the register, lawful or not."""
        self.custody.apply(change)
        self.applied_places[change.place] = change.digest
        self.parked.pop(change.place, None)

    def sees(self, change: Change) -> bool:
        """Whether the change concerns it."""
        return change.municipality.startswith(self.scope)


def new_node(event: Mapping[str, Any]) -> Node:
    """A node of the log's beginning. Raises KeyError when an item is missing."""
    return Node(event["node"], event["scope"], event["above"], Custody(event["scope"]))


def with_another_disk(old: Node, event: Mapping[str, Any]) -> Node:
    """The node with the disk that was put in. Raises KeyError when an item of the event is missing."""
    node = Node(
        old.name,
        old.scope,
        old.above,
        Custody(old.scope),
        ever=old.ever,
        epoch=event["epoch"],
        ever_restored=True,
        unsure=True,
    )
    before = {**old.came, **{source: mark for source, (_, mark) in old.marks.items()}}
    node.once = {name: max(before.get(name, 0), old.once.get(name, 0)) for name in before.keys() | old.once.keys()}
    for change in map(change_of, event["applied"]):
        node.apply(change)
        node.note(change)
    for change in map(change_of, event["parked"]):
        node.parked[change.place] = change
        node.note(change)
    node.held.update(event["sealed"])
    node.marks = {source: (epoch, mark) for source, (epoch, mark) in event["marks"].items()}
    return node


def gone_with(old: Node, new: Node, others: Iterable[Node]) -> set[str]:
    """Digests of what was lost with the disk of `old`: no disk holds it any more."""
    return (old.held - new.held).difference(*(other.held for other in others))
