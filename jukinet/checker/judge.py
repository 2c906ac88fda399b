"""Reads a history log from beginning to end and says which promises it breaks.

The log's events, one JSON object each; `docs/reliability.md` describes every item:

`node`      a node, the scope that it sees and its neighbour above
`commit`    what one transaction put on a node's disk: changes sealed, applied, parked; marks; last sequence number
`accepted`  a municipal system was told that its change is kept
`refused`   it was told that its change is refused
`acked`     a sender was told how far it is on its neighbour's disk, and on the center's
`started`   a node started: what stands on its disk, and whether it knows that it lost something
`restored`  another disk was put into a node: what an old backup holds, or nothing
`restoring` a node learned from its neighbour that it lost something
`complete`  a node says that it holds again all that its neighbour holds of it
`seen`      an agency saw a resident at the center
`quiet`     all faults are over and the time in which all must be in step has passed
`restless`  people had to mend the network again and again, long after all faults were over
`final`     the rows of a node's register at the end
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jukinet.checker.answers import Answers
from jukinet.checker.custody import Change, change_of
from jukinet.checker.disks import Node, Place, gone_with, new_node, with_another_disk

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which event of the log (from 1), where, and what."""

    event: int
    node: str
    text: str

    def __str__(self) -> str:
        return f"event {self.event} at {self.node or 'the network'}: {self.text}"


@dataclass(frozen=True, slots=True)
class _Sealed:
    change: Change
    after: str
    forged: bool


class Judge:
    """The judge of one history: give it each event, then ask for `violations`."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._nodes: dict[str, Node] = {}
        self._sealed: dict[str, _Sealed] = {}
        """By digest: a restored disk may seal another change under the same place."""
        self._places: dict[Place, str] = {}
        """Digest of what was sealed last under each place."""
        self._answers = Answers()
        self._gone: set[str] = set()
        """Digests of changes that no disk held at some moment."""
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
        self._nodes[event["node"]] = new_node(event)

    def _on_commit(self, event: Event) -> None:
        name = event["node"]
        node = self._nodes[name]
        sealed = {entry["digest"]: change_of(entry) for entry in event.get("sealed", ())}
        for entry in event.get("sealed", ()):
            self._note_sealed(name, node, entry)
        applied = [change_of(entry) for entry in event.get("applied", ())]
        parked = [change_of(entry) for entry in event.get("parked", ())]
        came = [change for change in (*sealed.values(), *applied, *parked) if node.note(change)]
        for change in applied:
            self._check_applied(name, node, change)
        for change in parked:
            self._note_parked(name, node, change)
        for change in came:
            if node.restoring and change.digest not in self._nodes[node.above].ever:
                self._say(name, f"A2: {change.place} was taken before what was lost had come back")
            if change.digest not in sealed:
                self._check_arrival(name, node, change)
            self._check_once(node, change.digest)
        self._note_marks(name, node, event)

    def _note_sealed(self, name: str, node: Node, entry: Event) -> None:
        change = change_of(entry)
        before = self._places.get(change.place, change.digest)
        # A disk that went back in time unnoticed gives places away again: that is the fork which stops for people.
        if before != change.digest and self._is_held(before) and not node.unsure:
            self._say(name, f"A2: two changes were sealed under one place {change.place}")
        self._places[change.place] = change.digest
        # What comes back from above is what was sealed the first time, by whomever.
        if change.digest not in self._sealed or not self._is_held(change.digest):
            self._sealed[change.digest] = _Sealed(change, entry["after"], entry.get("forged", False))

    def _is_held(self, digest: str) -> bool:
        return any(digest in node.held for node in self._nodes.values())

    def _check_applied(self, name: str, node: Node, change: Change) -> None:
        if change.place in node.applied_places:
            self._say(name, f"A2: {change.place} was applied twice")
        fault = node.custody.fault(change)
        if fault:
            self._say(name, f"{fault}: {change.place} version {change.version}")
        node.apply(change)

    def _note_parked(self, name: str, node: Node, change: Change) -> None:
        if change.place in node.applied_places:
            self._say(name, f"A2: {change.place} is applied and parked as well")
        node.parked[change.place] = change

    def _check_once(self, node: Node, digest: str) -> None:
        if self._answers.holds_two(node.held, digest):
            self._say(node.name, "A2: two changes of one message are on one disk")

    def _check_arrival(self, name: str, node: Node, change: Change) -> None:
        """What came must be sealed, and come after all that its municipality sealed before."""
        sealed = self._sealed.get(change.digest)
        if sealed is None or sealed.change != change:
            self._say(name, f"A5: {change.place} is not what its municipality sealed")
            return
        if node.scope != change.municipality and sealed.after and sealed.after not in node.held:
            self._say(name, f"A2: {change.place} came, and what was sealed before it did not")
        sender = self._sender(node, change)
        current = sender.ever_restored and not sender.unsure and node.marks.get(sender.name, (0, 0))[0] == sender.epoch
        # What a restored node puts back came from above.
        if current and not node.restoring and change.digest not in sender.held:
            self._say(name, f"A10: {change.place} was taken from an older incarnation than the one in force")

    def _sender(self, node: Node, change: Change) -> Node:
        """The node below from which the change came; a municipality's own change came from itself."""
        below = self._nodes[change.municipality]
        while below is not node and below.above != node.name and below.above:
            below = self._nodes[below.above]
        return below

    def _note_marks(self, name: str, node: Node, event: Event) -> None:
        for source, (epoch, mark) in event.get("marks", {}).items():
            before = node.marks.get(source, (0, 0))
            if (epoch, mark) < before or mark < before[1]:
                self._say(name, f"A8: the mark of {source} went back")
            node.marks[source] = epoch, mark

    def _on_accepted(self, event: Event) -> None:
        name, version = event["node"], event["version"]
        node = self._nodes[name]
        place = (event["municipality"], event["epoch"], event["sequence"])
        digest = self._places.get(place, "")
        if not digest:
            self._say(name, f"A1: {place} was accepted and is not sealed")
            return
        if digest in node.held:
            node.answered = max(node.answered, event["sequence"])
        told, before = self._answers.note(name, event["message"], version, digest)
        # A disk that went back in time unnoticed does not know what it answered: that fork again, which nobody takes.
        if told != version and before not in self._gone and not node.unsure:
            self._say(name, f"A2: one message was given version {told} and version {version}")
        for each in self._nodes.values():
            self._check_once(each, digest)

    def _on_refused(self, event: Event) -> None:
        if event.get("lawful"):
            self._say(event["node"], f"A1: a lawful change was refused ({event['reason']})")

    def _on_acked(self, event: Event) -> None:
        name, by, mark = event["node"], event["by"], event["mark"]
        above = self._nodes[by]
        if mark > max(above.marks.get(name, (0, 0))[1], above.once.get(name, 0)):
            self._say(by, f"A9: {name} was told {mark}, which is not on disk")
        if mark <= above.marks.get(name, (0, 0))[1]:
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
        if node.answered > event["last"]:
            self._say(name, "A1: an accepted change is not in the outbox after a restart")
        node.restoring = event.get("restoring", False)

    def _on_restored(self, event: Event) -> None:
        old = self._nodes[event["node"]]
        new = self._nodes[old.name] = with_another_disk(old, event)
        self._gone |= gone_with(old, new, self._nodes.values())

    def _on_restoring(self, event: Event) -> None:
        self._nodes[event["node"]].restoring = True

    def _on_complete(self, event: Event) -> None:
        node = self._nodes[event["node"]]
        node.restoring = node.unsure = False
        node.epoch = event["epoch"]
        for digest in self._nodes[node.above].held - node.held:
            sealed = self._sealed.get(digest)
            if sealed and node.sees(sealed.change):
                self._say(node.name, f"A2: it takes itself for whole and lacks {sealed.change.place}, which is above")

    def _on_seen(self, event: Event) -> None:
        node = self._nodes[event["node"]]
        code, version = event["resident"], event["version"]
        there = node.custody.rows().get(code, (0,))[0]
        if version != there:
            self._say(event["node"], f"Q6: version {version} was shown where {there} is registered")

    def _on_quiet(self, _event: Event) -> None:
        self._quiet = True

    def _on_restless(self, _event: Event) -> None:
        self._say("", "A4: what was mended breaks again and again, though all faults are over")

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
        custody, code = self._nodes[name].custody, row["resident"]
        last = custody.kept.get(code, {}).get(row["version"]) or custody.retired.get(code)
        sealed = self._sealed.get(last.digest) if last else None
        if sealed and sealed.forged:
            return
        key = f"{row['resident']} {row['version']} {row['status']}"
        if self._records.setdefault(key, row["digest"]) != row["digest"]:
            self._say(name, f"A12: another record than elsewhere under version {row['version']}")

    def _check_complete(self, name: str, node: Node) -> None:
        """A2 and A4: every lawful change that was sealed is applied wherever it concerns, and nothing waits."""
        held = set[str]().union(*(each.held for each in self._nodes.values()))
        forged = self._forged_here(node)
        for digest, sealed in self._sealed.items():
            change = sealed.change
            if not node.sees(change) or (digest in self._gone and digest not in held):
                continue
            if sealed.forged:
                if node.scope != change.municipality and digest not in node.held:
                    self._say(name, f"A11: {change.place} was dropped instead of parked")
            elif node.applied_places.get(change.place) != digest and change.resident not in forged:
                fate = "parked" if change.place in node.parked else "not here"
                self._say(name, f"A4: {change.place} version {change.version} is {fate} after the time to heal")

    def _forged_here(self, node: Node) -> set[str]:
        """Codes of whom a forgery came first, and was lawful as far as the node could see: people must mend those."""
        applied = set(node.applied_places.values())
        codes: set[str] = set()
        for digest, sealed in self._sealed.items():
            change = sealed.change
            if change.previous_code in codes or (sealed.forged and digest in applied):
                codes |= {change.resident, change.previous_code} - {""}
        return codes


def judge(events: Iterable[Event]) -> list[Violation]:
    """Judges a whole history. Raises KeyError, ValueError when it is no history log."""
    judging = Judge()
    for event in events:
        judging.take(event)
    return judging.end()
