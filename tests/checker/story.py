"""Histories of the network, told event by event, for the checker to judge."""

from collections.abc import Callable
from typing import Any

M, N, FAR = "131016", "131024", "141003"
P, Q, C = "130001", "140007", "center"
ABOVE = {M: P, N: P, FAR: Q, P: C, Q: C}
BIRTH, MOVE_IN, FROM_ABROAD, OUT, ABROAD, DEATH, WITHIN, CODE = 3, 1, 2, 7, 8, 9, 13, 19
Event = dict[str, Any]
Make = Callable[["Story"], None]
"""Tells a history."""


class Story:
    """A history that is told event by event."""

    def __init__(self) -> None:
        scopes = {M: M, N: N, FAR: FAR, P: "13", Q: "14", C: ""}
        self.events: list[Event] = [
            {"event": "node", "node": name, "scope": scope, "above": ABOVE.get(name, "")}
            for name, scope in scopes.items()
        ]
        self._sequence: dict[str, int] = {}
        self._after: dict[str, str] = {}
        self._at_center = {P: 0, Q: 0}

    def change(self, at: str, version: int, reason: int, resident: str = "r", **others: Any) -> Event:
        """The next change of a municipality."""
        sequence = self._sequence[at] = self._sequence.get(at, 0) + 1
        made = {"municipality": at, "epoch": 1, "sequence": sequence, "resident": resident, "version": version}
        return {**made, "reason": reason, "digest": f"{at} {sequence}", **others}

    def commit(self, node: str, **items: Any) -> None:
        """One transaction."""
        self.events.append({"event": "commit", "node": node, **items})

    def seal(self, *changes: Event, applied: bool = True, accepted: bool = True, **marked: Any) -> None:
        """Changes into a municipality's register and outbox, and the answers to its system."""
        at = changes[0]["municipality"]
        sealed = []
        for each in changes:
            sealed.append({**each, "after": self._after.get(at, ""), **marked})
            self._after[at] = each["digest"]
        own = {"applied": list(changes)} if applied else {}
        self.commit(at, sealed=sealed, last=changes[-1]["sequence"], **own)
        for each in changes if accepted else ():
            self.accept(each)

    def accept(self, each: Event, **others: Any) -> None:
        """The municipal system is answered."""
        place = {name: each[name] for name in ("municipality", "epoch", "sequence", "version")}
        told = {"event": "accepted", "node": each["municipality"], "message": each["digest"], **place}
        self.events.append({**told, **others})

    def arrive(self, node: str, *changes: Event) -> None:
        """Changes of one sender are applied."""
        last = changes[-1]
        below, mark, epoch = last["municipality"], last["sequence"], last["epoch"]
        if node == C:
            below, epoch = ABOVE[below], 1
            mark = self._at_center[below] = self._at_center[below] + len(changes)
        self.commit(node, applied=list(changes), marks={below: [epoch, mark]})

    def lose(self, node: str, *kept: Event, epoch: int = 1, marks: Any = None) -> None:
        """Another disk is put in, which holds so much."""
        own = [each for each in kept if each["municipality"] == node]
        self.say(
            "restored",
            node=node,
            applied=list(kept),
            parked=[],
            sealed=[each["digest"] for each in own],
            epoch=epoch,
            last=len(kept),
            marks=marks or {},
        )
        self._sequence[node] = len(own)
        self._after[node] = own[-1]["digest"] if own else ""

    def start(self, node: str, last: int, *, restoring: bool = True) -> None:
        """A process starts on the disk that is there."""
        self.say("started", node=node, restoring=restoring, epoch=1, last=last, marks={})

    def put_back(self, node: str, *changes: Event) -> None:
        """A municipality takes its own changes back."""
        after = ["", *(each["digest"] for each in changes)]
        sealed = [{**each, "after": before} for each, before in zip(changes, after, strict=False)]
        self.commit(node, sealed=sealed, applied=list(changes), last=len(changes))
        self._sequence[node] = len(changes)
        self._after[node] = changes[-1]["digest"]

    def whole(self, node: str, last: int, epoch: int = 2) -> None:
        """A node holds again all that is above."""
        self.say("complete", node=node, epoch=epoch, last=last, marks={})

    def say(self, kind: str, **items: Any) -> None:
        """Any other event."""
        self.events.append({"event": kind, **items})

    def up(self, *changes: Event) -> None:
        """Sealed, and all the way to the center."""
        self.seal(*changes)
        self.arrive(ABOVE[changes[0]["municipality"]], *changes)
        self.arrive(C, *changes)


def events(make: Make) -> list[Event]:
    """The history that is told."""
    story = Story()
    make(story)
    return story.events
