"""The checker is checked: more than 25 bad histories are flagged and more than 10 good ones pass (P-26)."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jukinet.checker import judge

M, N, FAR = "131016", "131024", "141003"
P, Q, C = "130001", "140007", "center"
ABOVE = {M: P, N: P, FAR: Q, P: C, Q: C}
BIRTH, MOVE_IN, FROM_ABROAD, OUT, ABROAD, DEATH, WITHIN, CODE = 3, 1, 2, 7, 8, 9, 13, 19
Event = dict[str, Any]
Make = Callable[["Story"], None]


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


def one_birth(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("quiet")


def a_correction(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN))


def a_move_across(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR))
    story.up(story.change(FAR, 3, MOVE_IN, previous_municipality=M))
    story.say("quiet")


def a_move_in_that_waits(story: Story) -> None:
    out = [story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR)]
    story.seal(*out)
    back = story.change(FAR, 3, MOVE_IN, previous_municipality=M)
    story.seal(back)
    story.arrive(Q, back)
    story.commit(C, parked=[back], marks={Q: [1, 1]})
    story.arrive(P, *out)
    story.commit(C, applied=[*out, back], marks={P: [1, 2]})
    story.say("quiet")


def a_late_stay(story: Story) -> None:
    """Born at M, moved far away, moved to N: to the prefecture M's move-out comes last."""
    born, out = story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR)
    story.seal(born, out)
    far = [
        story.change(FAR, 3, MOVE_IN, previous_municipality=M),
        story.change(FAR, 4, OUT, next_municipality=N),
    ]
    story.seal(*far)
    back = story.change(N, 5, MOVE_IN, previous_municipality=FAR)
    story.seal(back)
    story.arrive(P, back)
    story.arrive(P, born, out)


def a_new_code(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, CODE, "new", previous_code="r"))
    story.up(story.change(M, 3, WITHIN, "new"))
    rows = [
        {"resident": "r", "version": 2, "status": "RETIRED", "holder": M, "digest": "a"},
        {"resident": "new", "version": 3, "status": "ACTIVE", "holder": M, "digest": "b"},
    ]
    for node in (M, P, C):
        story.say("final", node=node, rows=rows)


def a_forgery_that_was_parked(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    forged = story.change(N, 2, DEATH)
    story.seal(forged, applied=False, accepted=False, forged=True)
    story.commit(P, parked=[forged], marks={N: [1, 1]})
    story.commit(C, parked=[forged], marks={P: [1, 2]})
    story.say("quiet")


def an_honest_ack_and_a_restart(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=1)
    story.say("started", node=P, last=1, marks={M: [1, 1]})
    story.say("started", node=M, last=1, marks={})


def a_center_from_a_backup(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(C)
    story.arrive(C, born)
    story.say("seen", node=C, resident="r", version=1)
    story.say("quiet")


def there_and_back_from_abroad(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, ABROAD))
    story.up(story.change(N, 3, FROM_ABROAD))
    story.say("quiet")


def a_cs_takes_back_what_it_lost(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born, moved)
    story.lose(M)
    story.start(M, 0)
    story.commit(P, marks={M: [2, 2]})
    story.put_back(M, born, moved)
    story.whole(M, 2)
    story.accept(born)
    story.up({**story.change(M, 3, WITHIN), "epoch": 2})
    story.say("quiet")


def what_no_other_disk_held_is_submitted_again(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born)
    story.seal(moved)
    story.lose(M, born)
    story.start(M, 1)
    story.commit(P, marks={M: [2, 1]})
    story.whole(M, 1)
    again = {**story.change(M, 2, WITHIN), "epoch": 2, "digest": "again"}
    story.seal(again, accepted=False)
    story.accept(again, message=moved["digest"])
    story.arrive(P, again)
    story.arrive(C, again)
    story.say("quiet")


def a_prefecture_without_its_disk(story: Story) -> None:
    born, other = story.change(M, 1, BIRTH), story.change(N, 1, BIRTH, "s")
    story.up(born)
    story.up(other)
    story.lose(P)
    story.start(P, 0)
    story.commit(C, marks={P: [2, 2]})
    story.commit(P, applied=[born, other], marks={M: [1, 1], N: [1, 1]}, last=2)
    story.whole(P, 2)
    story.say("quiet")


GOOD = [
    a_cs_takes_back_what_it_lost,
    what_no_other_disk_held_is_submitted_again,
    a_prefecture_without_its_disk,
    one_birth,
    a_correction,
    a_move_across,
    a_move_in_that_waits,
    a_late_stay,
    a_new_code,
    a_forgery_that_was_parked,
    an_honest_ack_and_a_restart,
    a_center_from_a_backup,
    there_and_back_from_abroad,
]
BAD: list[tuple[str, Make]] = []


def bad(rule: str) -> Callable[[Make], Make]:
    """Registers a bad history and the rule that it breaks."""

    def note(make: Make) -> Make:
        BAD.append((rule, make))
        return make

    return note


@bad("A1")
def accepted_and_not_sealed(story: Story) -> None:
    story.accept(story.change(M, 1, BIRTH))


@bad("A1")
def accepted_and_gone_after_a_crash(story: Story) -> None:
    story.seal(story.change(M, 1, BIRTH))
    story.say("started", node=M, last=0, marks={})


@bad("A1")
def a_lawful_change_is_refused(story: Story) -> None:
    story.say("refused", node=M, message="m", reason="NOT_HOLDER", lawful=True)


@bad("A2")
def applied_twice(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.arrive(C, born)


@bad("A2")
def applied_and_parked(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.commit(P, parked=[born])


@bad("A2")
def a_change_is_skipped(story: Story) -> None:
    first, second = story.change(M, 1, BIRTH), story.change(M, 1, BIRTH, "s")
    story.seal(first, second)
    story.arrive(P, second)


@bad("A2")
def two_changes_under_one_number(story: Story) -> None:
    story.seal(story.change(M, 1, BIRTH))
    story.seal({**story.change(M, 1, BIRTH, "s"), "sequence": 1})


@bad("A3")
def versions_are_swapped(story: Story) -> None:
    born, moved, again = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN), story.change(M, 3, WITHIN)
    story.seal(born, moved, again)
    story.arrive(P, born, again, moved)


@bad("A3")
def a_version_is_given_twice(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN), story.change(M, 2, WITHIN))


@bad("A3")
def the_center_skips_a_version(story: Story) -> None:
    moved = story.change(FAR, 3, MOVE_IN, previous_municipality=M)
    story.seal(moved)
    story.arrive(Q, moved)
    story.arrive(C, moved)


@bad("A3")
def a_prefecture_takes_a_move_within_itself_too_early(story: Story) -> None:
    moved = story.change(N, 3, MOVE_IN, previous_municipality=M)
    story.seal(moved)
    story.arrive(P, moved)


@bad("A4")
def a_change_never_reaches_the_center(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.say("quiet")


@bad("A4")
def a_lawful_change_stays_parked(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.commit(C, parked=[born], marks={P: [1, 1]})
    story.say("quiet")


@bad("A5")
def applied_and_never_sealed(story: Story) -> None:
    story.arrive(P, story.change(M, 1, BIRTH))


@bad("A5")
def altered_on_the_way(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, {**born, "digest": "other"})


@bad("A6")
def a_stranger_corrects(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.up(story.change(N, 2, WITHIN))


@bad("A6")
def a_stranger_uses_a_ticket_of_another(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, OUT, next_municipality=FAR))
    story.up(story.change(N, 3, MOVE_IN, previous_municipality=M))


@bad("A6")
def the_dead_move(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, DEATH))
    story.up(story.change(N, 3, FROM_ABROAD))


@bad("A6")
def another_prefectures_change(story: Story) -> None:
    born = story.change(FAR, 1, BIRTH)
    story.seal(born)
    story.commit(P, applied=[born])


@bad("A7")
def two_holders(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.up(story.change(FAR, 2, FROM_ABROAD))


@bad("A7")
def a_retired_code_lives_again(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, CODE, "new", previous_code="r"))
    story.up(story.change(M, 3, WITHIN))


@bad("A8")
def a_row_that_nothing_made(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    row = {"resident": "r", "version": 1, "status": "DECEASED", "holder": M, "digest": "a"}
    story.say("final", node=C, rows=[row])


@bad("A9")
def an_ack_before_the_commit(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=0)
    story.arrive(P, born)


@bad("A9")
def the_center_mark_runs_ahead(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.arrive(P, born)
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=1)


@bad("A9")
def an_ack_is_forgotten_by_a_crash(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.say("acked", node=M, by=P, epoch=1, mark=1, center_mark=0)
    story.say("started", node=P, last=0, marks={})


@bad("A10")
def an_older_incarnation_speaks_after_a_newer(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.seal(born)
    story.lose(M)
    story.start(M, 0)
    story.commit(P, marks={M: [2, 0]})
    story.whole(M, 0)
    story.commit(P, applied=[born], marks={M: [2, 1]})


@bad("A2")
def a_restored_cs_gives_numbers_away_at_once(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    story.lose(M)
    story.start(M, 0)
    story.seal({**story.change(M, 1, BIRTH, "s"), "epoch": 2, "digest": "other"})


@bad("A2")
def a_restored_prefecture_takes_a_stream_at_once(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(P)
    story.start(P, 0)
    later = story.change(M, 2, WITHIN)
    story.seal(later)
    story.commit(P, applied=[born, later], marks={M: [1, 2]}, last=2)


@bad("A2")
def a_restored_cs_thinks_itself_whole_too_early(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born, moved)
    story.lose(M, born)
    story.start(M, 1)
    story.whole(M, 1)


@bad("A2")
def one_message_makes_two_versions(story: Story) -> None:
    born, moved = story.change(M, 1, BIRTH), story.change(M, 2, WITHIN)
    story.up(born)
    story.seal(moved, accepted=False)
    story.accept(moved, message=born["digest"])


@bad("A2")
def a_number_is_given_again_after_all_came_back(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(M)
    story.start(M, 0)
    story.put_back(M, born)
    story.whole(M, 1)
    story.seal({**story.change(M, 1, BIRTH, "s"), "sequence": 1, "digest": "other"})


@bad("A4")
def what_the_neighbour_held_does_not_come_back(story: Story) -> None:
    born = story.change(M, 1, BIRTH)
    story.up(born)
    story.lose(M)
    story.start(M, 0, restoring=False)
    story.say("quiet")


@bad("A11")
def a_forgery_is_dropped(story: Story) -> None:
    story.seal(story.change(N, 2, DEATH), applied=False, accepted=False, forged=True)
    story.say("quiet")


@bad("A12")
def the_same_version_is_another_record(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH))
    row = {"resident": "r", "version": 1, "status": "ACTIVE", "holder": M}
    story.say("final", node=M, rows=[{**row, "digest": "a"}])
    story.say("final", node=C, rows=[{**row, "digest": "b"}])


@bad("Q6")
def an_agency_sees_the_past(story: Story) -> None:
    story.up(story.change(M, 1, BIRTH), story.change(M, 2, WITHIN))
    story.say("seen", node=C, resident="r", version=1)


def _events(make: Make) -> list[Event]:
    story = Story()
    make(story)
    return story.events


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_a_good_history_passes(make: Make) -> None:
    assert judge(_events(make)) == []


@pytest.mark.parametrize(("rule", "make"), BAD, ids=[make.__name__ for _, make in BAD])
def test_a_bad_history_is_flagged_by_the_rule_that_it_breaks(rule: str, make: Make) -> None:
    assert any(violation.text.startswith(f"{rule}:") for violation in judge(_events(make)))


def test_there_are_ten_good_and_twenty_five_bad_histories_at_least() -> None:
    assert len(GOOD) >= 10
    assert len(BAD) >= 25
    assert len({make.__name__ for make in GOOD} | {make.__name__ for _, make in BAD}) == len(GOOD) + len(BAD)


def _judged(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jukinet.checker", str(path)], capture_output=True, text=True, check=False
    )


def test_a_file_is_judged_from_the_command_line(tmp_path: Path) -> None:
    good, poor, none = tmp_path / "good", tmp_path / "bad", tmp_path / "none"
    good.write_text("\n".join(map(json.dumps, _events(one_birth))))
    poor.write_text("\n".join(map(json.dumps, _events(two_holders))))
    none.write_text('{"event": "nonsense"}')
    assert _judged(good).returncode == 0
    assert _judged(poor).returncode == 1
    assert "A7" in _judged(poor).stdout
    assert _judged(none).returncode == 2
