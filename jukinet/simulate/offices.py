"""The municipal systems (既存住基システム) and the lives of the people that they register.

Every step of a life waits for the answer to the one before. A system that gets no answer asks again under the same
message id, as the contract says; so an answer that was lost with a crash must not make a second change. After its CS
lost a disk a municipality reports nothing new before it has submitted again all that it was ever answered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cs_node.intake import Answer
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet._pb.jukinet.register.v1 import change_pb2 as change
from jukinet._pb.jukinet.register.v1.identity_pb2 import (
    SEX_FEMALE,
    Address,
    BirthDate,
    CalendarDate,
    IdentityRecord,
    PersonName,
)
from jukinet.domain.resident_code import check_digit
from jukinet.mesh.errors import Refused, name_of
from jukinet.simulate.timeline import MS, SECOND, Timeline

_PATIENCE = 5 * SECOND
_TRY_LATER = frozenset(
    {
        errors.ERROR_REASON_STORAGE_FULL,
        errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        errors.ERROR_REASON_LINK_FENCED,
        errors.ERROR_REASON_LINK_FORK,
        errors.ERROR_REASON_LINK_NOT_KEPT,
        errors.ERROR_REASON_RESTORING,
    }
)
_DAY = CalendarDate(year=2026, month=4, day=1)

Ask = Callable[[Submission, Callable[["Answer | Exception"], None]], None]
"""Hands a submission to a CS; who asked hears the answer, or never."""


@dataclass(slots=True)
class Person:
    """One resident, as the offices know it."""

    code: str
    holder: str
    stays: bool
    """Never leaves the municipality of birth: a victim for whoever forges."""
    version: int = 0
    active: bool = False
    alive: bool = True
    left_for: str = ""
    """Where the move-out certificate leads; `abroad` without one."""
    moves: int = 0


def _is_final(answer: Answer | Exception) -> bool:
    return isinstance(answer, SubmitChangeResponse) or (isinstance(answer, Refused) and answer.reason not in _TRY_LATER)


@dataclass(slots=True)
class _Answered:
    person: Person
    submission: Submission
    sequence: int


class Offices:
    """All municipal systems. `asks` has the CS of each; `sane` tells whether a refusal would be a fault."""

    def __init__(self, timeline: Timeline, asks: dict[str, Ask], until: int) -> None:
        self._timeline = timeline
        self._asks = asks
        self._until = until
        self._codes = self._messages = 0
        self._answered: dict[str, dict[str, _Answered]] = {name: {} for name in asks}
        """By municipality and message id: what was accepted there."""
        self._held: set[str] = set()
        self._rounds: dict[str, int] = {}
        """How often each municipality's CS lost its disk."""
        self.people: list[Person] = []
        self.trusting = True
        """False once a disk went back in time unnoticed: then a refusal is no fault."""

    def begin(self, people: int) -> None:
        """Lets so many people come into the registers."""
        for number in range(people):
            holder = self._timeline.random.choice(sorted(self._asks))
            person = Person(self._new_code(), holder, stays=number % 4 == 0)
            self.people.append(person)
            self._next(person)

    def _next(self, person: Person) -> None:
        self._timeline.after(self._timeline.between(20 * MS, 6 * SECOND), "life goes on", lambda: self._live(person))

    def _live(self, person: Person) -> None:
        if self._timeline.now > self._until or not person.alive:
            return
        submission = self._step(person)
        self._messages += 1
        submission.message_id = f"m{self._messages}"
        submission.event_date.CopyFrom(_DAY)
        self._submit(person, person.holder, submission)

    def _step(self, person: Person) -> Submission:
        """The next thing that happens to a person."""
        if not person.version:
            reason = change.CHANGE_REASON_ENTRY_BIRTH
            return Submission(reason=reason, resident_code=person.code, record=self._record(person))
        if not person.active:
            return self._return(person)
        draw = self._timeline.random.random()
        if draw < 0.4 and not person.stays:
            person.left_for = self._timeline.random.choice(sorted(set(self._asks) - {person.holder}))
            return Submission(
                reason=change.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT,
                resident_code=person.code,
                next_municipality=person.left_for,
            )
        if draw < 0.5 and not person.stays:
            person.left_for = "abroad"
            return Submission(reason=change.CHANGE_REASON_DELETION_ABROAD_MOVE_OUT, resident_code=person.code)
        if draw < 0.6:
            return Submission(reason=change.CHANGE_REASON_DELETION_DEATH, resident_code=person.code)
        if draw < 0.75:
            before, person.code = person.code, self._new_code()
            return Submission(
                reason=change.CHANGE_REASON_CORRECTION_RESIDENT_CODE_REQUEST,
                resident_code=person.code,
                previous_resident_code=before,
                record=self._record(person),
            )
        person.moves += 1
        reason = change.CHANGE_REASON_CORRECTION_MOVE_WITHIN
        return Submission(reason=reason, resident_code=person.code, record=self._record(person))

    def _return(self, person: Person) -> Submission:
        before, abroad = person.holder, person.left_for == "abroad"
        person.holder = self._timeline.random.choice(sorted(self._asks)) if abroad else person.left_for
        person.moves += 1
        return Submission(
            reason=change.CHANGE_REASON_ENTRY_ABROAD_MOVE_IN if abroad else change.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN,
            resident_code=person.code,
            record=self._record(person),
            previous_municipality="" if abroad else before,
            # The register of the municipality that let the person go knows the version itself.
            transfer_version=person.version if person.holder != before else 0,
        )

    def hold(self, at: str) -> None:
        """The CS of a municipality lost its disk: nothing more is reported to it for now."""
        self._rounds[at] = self._rounds.get(at, 0) + 1
        self._held.add(at)

    def submit_again(self, at: str) -> None:
        """The CS is whole again: submits, in order, what it had answered. What did arrive is answered as repeated."""
        answered = sorted(self._answered[at].values(), key=lambda each: each.sequence)
        self._again(at, self._rounds[at], answered)

    def _again(self, at: str, of_round: int, rest: list["_Answered"]) -> None:
        """All that is left in one go, so that its order is kept; what got no answer is left for the next time."""
        if self._rounds[at] != of_round:
            return
        if not rest:
            self._held.discard(at)
            return
        answers: dict[int, Answer | Exception] = {}
        finished = False

        def finish() -> None:
            nonlocal finished
            if finished:
                return
            finished = True
            final = {number: answer for number, answer in answers.items() if _is_final(answer)}
            for number, answer in final.items():
                self._heard_again(at, rest[number], answer)
            left = [entry for number, entry in enumerate(rest) if number not in final]
            wait = self._timeline.between(500 * MS, 3 * SECOND) if left else 0
            self._timeline.after(wait, "asks again", lambda: self._again(at, of_round, left))

        def hear(number: int, answer: Answer | Exception) -> None:
            answers[number] = answer
            if len(answers) == len(rest):
                self._timeline.after(self._timeline.between(MS, 50 * MS), "answers", finish)

        def ask() -> None:
            for number, entry in enumerate(rest):
                self._asks[at](entry.submission, partial(hear, number))

        self._timeline.after(self._timeline.between(MS, 50 * MS), "asks again", ask)
        self._timeline.after(_PATIENCE, "patience", finish)

    def _heard_again(self, at: str, entry: "_Answered", answer: Answer | Exception) -> None:
        if isinstance(answer, SubmitChangeResponse):
            self._timeline.count("came back with the disk" if answer.repeated else "submitted again after a loss")
            self._note(entry.person, at, entry.submission, answer)
        else:
            self._note_refused(at, entry.submission, answer)

    def _submit(self, person: Person, at: str, submission: Submission) -> None:
        if at in self._held:
            self._timeline.after(SECOND, "waits for its CS", lambda: self._submit(person, at, submission))
            return

        answered = False

        def hear(answer: Answer | Exception) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            if _is_final(answer):
                self._timeline.after(
                    self._timeline.between(MS, 50 * MS), "answer", lambda: self._hear(person, at, submission, answer)
                )
            else:
                wait = self._timeline.between(500 * MS, 3 * SECOND)
                self._timeline.after(wait, "asks later", lambda: self._submit(person, at, submission))

        def give_up() -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._timeline.count("asked again")
                self._submit(person, at, submission)

        self._timeline.after(self._timeline.between(MS, 50 * MS), "asks", lambda: self._asks[at](submission, hear))
        self._timeline.after(_PATIENCE, "patience", give_up)

    def _hear(self, person: Person, at: str, submission: Submission, answer: Answer | Exception) -> None:
        if not isinstance(answer, SubmitChangeResponse):
            person.alive = False
            self._note_refused(at, submission, answer)
            return
        if answer.repeated:
            self._timeline.count("answered again")
        self._note(person, at, submission, answer)
        person.active = not change.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT <= submission.reason <= 12
        person.alive = submission.reason != change.CHANGE_REASON_DELETION_DEATH
        self._next(person)

    def _note(self, person: Person, at: str, submission: Submission, answer: SubmitChangeResponse) -> None:
        self._answered.setdefault(at, {})[submission.message_id] = _Answered(person, submission, answer.sequence)
        person.version = max(person.version, answer.version)
        self._timeline.log(
            "accepted",
            node=at,
            message=submission.message_id,
            municipality=at,
            epoch=answer.epoch,
            sequence=answer.sequence,
            version=answer.version,
        )

    def _note_refused(self, at: str, submission: Submission, answer: Answer | Exception) -> None:
        reason = name_of(answer.reason) if isinstance(answer, Refused) else type(answer).__name__
        self._timeline.log("refused", node=at, message=submission.message_id, reason=reason, lawful=self.trusting)

    def _new_code(self) -> str:
        self._codes += 1
        body = f"00{self._codes:08}"
        return body + check_digit(body)

    def _record(self, person: Person) -> IdentityRecord:
        return IdentityRecord(
            resident_code=person.code,
            name=PersonName(legal="試験　花子"),
            birth_date=BirthDate(year=_DAY.year, month=_DAY.month, day=_DAY.day),
            sex=SEX_FEMALE,
            address=Address(local_government_code=person.holder, town="本町", block=f"{person.moves + 1}番"),
        )
