"""Reads a history log from beginning to end and says which promises it breaks.

The log's events, one JSON object each; `docs/reliability.md` describes every item:

`node`      a node, the scope that it sees and its neighbour above
`commit`    what one transaction put on a node's disk: changes sealed, applied, parked; marks; last sequence number
`accepted`  a municipal system was told that its change is kept
`refused`   it was told that its change is refused
`acked`     a sender was told how far it is on its neighbour's disk, and on the center's
`started`   a node started: what stands on its disk
`restored`  a node's disk was put back to what an old backup holds
`seen`      an agency saw a resident at the center
`quiet`     all faults are over and the time in which all must be in step has passed
`final`     the rows of a node's register at the end
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jukinet.checker.custody import Change, Custody, change_of

Event = Mapping[str, Any]
Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which event of the log (from 1), where, and what."""

    event: int
    node: str
    text: str

    def __str__(self) -> str:
        return f"event {self.event} at {self.node or 'the network'}: {self.text}"


@dataclass(slots=True)
class _Node:
    scope: str
    above: str
    custody: Custody
    applied: list[Change] = field(default_factory=list)
    applied_places: dict[Place, str] = field(default_factory=dict)
    parked: dict[Place, Change] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    """Digests of all changes that came, whatever became of them."""
    came: dict[str, int] = field(default_factory=dict)
    """By municipality: the last sequence number that came."""
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    last: int = 0
    promised: dict[str, int] = field(default_factory=dict)
    """By sender: the highest mark that it was told."""
    once: dict[str, int] = field(default_factory=dict)
    """By sender or municipality: how far it was before the disk went back; words of then may still be under way."""
    ever_restored: bool = False

    def note(self, change: Change) -> bool:
        """Notes that a change came; False when it had come before."""
        new = change.digest not in self.arrived
        self.arrived.add(change.digest)
        self.came[change.municipality] = max(self.came.get(change.municipality, 0), change.sequence)
        return new


@dataclass(frozen=True, slots=True)
class _Sealed:
    change: Change
    after: str
    forged: bool


class Judge:
    """The judge of one history: give it each event, then ask for `violations`."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._nodes: dict[str, _Node] = {}
        self._sealed: dict[str, _Sealed] = {}
        """By digest: a restored disk may seal another change under the same place."""
        self._places: set[Place] = set()
        self._accepted: list[tuple[Place, int, str]] = []
        self._records: dict[str, str] = {}
        self._quiet = False
        self._number = 0

    def take(self, event: Event) -> None:
        """Judges the next event. Raises KeyError when an item of it is missing, ValueError for an unknown kind."""
        self._number += 1
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is None:
            raise ValueError(f"event {self._number} is of an unknown kind")
        handler(event)

    def end(self) -> list[Violation]:
        """Judges what can be judged only at the end, and gives all violations."""
        if self._quiet:
            self._number += 1
            for name, node in self._nodes.items():
                self._check_complete(name, node)
        return self.violations

    def _say(self, node: str, text: str) -> None:
        self.violations.append(Violation(self._number, node, text))

    def _on_node(self, event: Event) -> None:
        scope = event["scope"]
        self._nodes[event["node"]] = _Node(scope, event["above"], Custody(scope))

    def _on_commit(self, event: Event) -> None:
        name = event["node"]
        node = self._nodes[name]
        for entry in event.get("sealed", ()):
            self._note_sealed(name, entry)
        new = []
        for entry in event.get("applied", ()):
            change = change_of(entry)
            if node.note(change):
                new.append(change)
            self._check_applied(name, node, change)
        for entry in event.get("parked", ()):
            change = change_of(entry)
            if node.note(change):
                new.append(change)
            self._note_parked(name, node, change)
        for change in new:
            self._check_arrival(name, node, change)
        self._note_marks(name, node, event)

    def _note_sealed(self, name: str, entry: Event) -> None:
        change = change_of(entry)
        if change.place in self._places and not self._nodes[name].ever_restored:
            self._say(name, f"A2: two changes were sealed under one place {change.place}")
        self._places.add(change.place)
        self._sealed[change.digest] = _Sealed(change, entry["after"], entry.get("forged", False))

    def _check_applied(self, name: str, node: _Node, change: Change) -> None:
        if change.place in node.applied_places:
            self._say(name, f"A2: {change.place} was applied twice")
        fault = node.custody.fault(change)
        if fault:
            self._say(name, f"{fault}: {change.place} version {change.version}")
        node.custody.apply(change)
        node.applied.append(change)
        node.applied_places[change.place] = change.digest
        node.parked.pop(change.place, None)

    def _note_parked(self, name: str, node: _Node, change: Change) -> None:
        if change.place in node.applied_places:
            self._say(name, f"A2: {change.place} is applied and parked as well")
        node.parked[change.place] = change

    def _check_arrival(self, name: str, node: _Node, change: Change) -> None:
        """What came must be sealed, and come after all that its municipality sealed before."""
        sealed = self._sealed.get(change.digest)
        if sealed is None or sealed.change != change:
            self._say(name, f"A5: {change.place} is not what its municipality sealed")
            return
        if node.scope != change.municipality and sealed.after and sealed.after not in node.arrived:
            self._say(name, f"A2: {change.place} came, and what was sealed before it did not")
        known = node.marks.get(change.municipality)
        if known and change.epoch < known[0]:
            self._say(name, f"A10: {change.place} was taken after a newer epoch had begun")

    def _note_marks(self, name: str, node: _Node, event: Event) -> None:
        for source, (epoch, mark) in event.get("marks", {}).items():
            before = node.marks.get(source, (0, 0))
            if (epoch, mark) < before or mark < before[1]:
                self._say(name, f"A8: the mark of {source} went back")
            node.marks[source] = epoch, mark
        node.last = event.get("last", node.last)

    def _on_accepted(self, event: Event) -> None:
        place = (event["municipality"], event["epoch"], event["sequence"])
        self._accepted.append((place, event["version"], event["node"]))
        if place not in self._places:
            self._say(event["node"], f"A1: {place} was accepted and is not sealed")

    def _on_refused(self, event: Event) -> None:
        if event.get("lawful"):
            self._say(event["node"], f"A1: a lawful change was refused ({event['reason']})")

    def _on_acked(self, event: Event) -> None:
        name, by, mark = event["node"], event["by"], event["mark"]
        above = self._nodes[by]
        if mark > max(above.marks.get(name, (0, 0))[1], above.once.get(name, 0)):
            self._say(by, f"A9: {name} was told {mark}, which is not on disk")
        above.promised[name] = max(above.promised.get(name, 0), mark)
        center_mark = event.get("center_mark", 0)
        if center_mark > self._at_center(name):
            self._say(by, f"A9: {name} was told that {center_mark} is at the center, and it is not")

    def _at_center(self, name: str) -> int:
        """How many of a sender's changes are on the center's disk."""
        center = next(node for node in self._nodes.values() if not node.above)
        there = center.marks[name][1] if name in center.marks else center.came.get(name, 0)
        return max(there, center.once.get(name, 0))

    def _on_started(self, event: Event) -> None:
        name = event["node"]
        node = self._nodes[name]
        for source, mark in node.promised.items():
            if event["marks"].get(source, (0, 0))[1] < mark:
                self._say(name, f"A9: {source} was told {mark}, and after a restart it is not on disk")
        accepted = [place[2] for place, _, at in self._accepted if at == name]
        if not node.ever_restored and max(accepted, default=0) > event["last"]:
            self._say(name, "A1: an accepted change is not in the outbox after a restart")

    def _on_restored(self, event: Event) -> None:
        name = event["node"]
        old = self._nodes[name]
        node = self._nodes[name] = _Node(old.scope, old.above, Custody(old.scope), ever_restored=True)
        before = {**old.came, **{source: mark for source, (_, mark) in old.marks.items()}}
        node.once = {name: max(before.get(name, 0), old.once.get(name, 0)) for name in before.keys() | old.once.keys()}
        for change in old.applied[: event["applied"]]:
            node.custody.apply(change)
            node.applied.append(change)
            node.applied_places[change.place] = change.digest
        node.parked = {change.place: change for change in map(change_of, event.get("parked", ()))}
        for change in (*node.applied, *node.parked.values()):
            node.note(change)
        node.marks = {source: (epoch, mark) for source, (epoch, mark) in event["marks"].items()}
        node.last = event["last"]

    def _on_seen(self, event: Event) -> None:
        node = self._nodes[event["node"]]
        code, version = event["resident"], event["version"]
        there = node.custody.rows().get(code, (0,))[0]
        if version != there:
            self._say(event["node"], f"Q6: version {version} was shown where {there} is registered")

    def _on_quiet(self, _event: Event) -> None:
        self._quiet = True

    def _on_final(self, event: Event) -> None:
        name = event["node"]
        must = self._nodes[name].custody.rows()
        rows = {row["resident"]: (row["version"], row["status"], row["holder"]) for row in event["rows"]}
        for code in sorted(must.keys() | rows.keys()):
            if must.get(code) != rows.get(code):
                self._say(name, f"A8: a row is {rows.get(code)} and what was applied makes it {must.get(code)}")
        for row in event["rows"]:
            self._compare_record(name, row)

    def _compare_record(self, name: str, row: Event) -> None:
        """A12: the same version of a resident is the same record everywhere."""
        last = self._nodes[name].custody.kept.get(row["resident"], {}).get(row["version"])
        sealed = self._sealed.get(last.digest) if last else None
        if sealed and sealed.forged:
            return
        key = f"{row['resident']} {row['version']} {row['status']}"
        if self._records.setdefault(key, row["digest"]) != row["digest"]:
            self._say(name, f"A12: another record than elsewhere under version {row['version']}")

    def _check_complete(self, name: str, node: _Node) -> None:
        """A2 and A4: every lawful change that was sealed is applied wherever it concerns, and nothing waits."""
        for sealed in self._sealed.values():
            change = sealed.change
            if not change.municipality.startswith(node.scope):
                continue
            if sealed.forged:
                if node.scope != change.municipality and change.digest not in node.arrived:
                    self._say(name, f"A11: {change.place} was dropped instead of parked")
            elif node.applied_places.get(change.place) != change.digest:
                fate = "parked" if change.place in node.parked else "not here"
                self._say(name, f"A4: {change.place} version {change.version} is {fate} after the time to heal")


def judge(events: Iterable[Event]) -> list[Violation]:
    """Judges a whole history. Raises KeyError, ValueError when it is no history log."""
    judging = Judge()
    for event in events:
        judging.take(event)
    return judging.end()
