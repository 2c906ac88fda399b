"""Takes the municipal system's changes in: checked, applied, sealed and queued for the prefecture in one transaction.

Rule: a change is answered only when the register's row, its history, the sealed segment in the outbox and the message
id are on disk together. The message id makes a repeated message harmless: same content, same answer; other content,
refused. Behind a change that cannot be kept now, nothing of its stream is taken, or the order of a resident's changes
would be another once there is room again. All that wait while one commit runs form the next segment: up to 256 changes
share a seal and a commit.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.intake.v1.intake_pb2 import Submission, SubmitChangeResponse
from jukinet.domain.apply import ChangeRefused
from jukinet.domain.arrival import Arrival
from jukinet.domain.change import resident_codes
from jukinet.domain.submission import complete
from jukinet.link.outbox import message_key, queue
from jukinet.mesh import metrics
from jukinet.mesh.clock import now_us, today_in_japan
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.store import journal
from jukinet.store.errors import StoreError
from jukinet.store.grouping import Grouping
from jukinet.store.register import Run
from jukinet.store.schema import intake_messages
from jukinet.store.statement import add, one_of
from jukinet.store.writer import Writer


@dataclass(slots=True)
class Stream:
    """Changes that were reported in one order; `failure` is why one of them, and so all behind it, cannot be kept."""

    failure: Refused | StoreError | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One submission, the trace context under which it is applied (empty = not traced), and where it came in order."""

    submission: Submission
    traceparent: str
    stream: Stream = field(default_factory=Stream)


@dataclass(frozen=True, slots=True)
class Sealing:
    """In whose name changes are sealed."""

    municipality: str
    key: Ed25519PrivateKey


Answer = SubmitChangeResponse | Refused


def accept(connection: Connection, items: Sequence[Item], sealing: Sealing, *, today: date, at_us: int) -> list[Answer]:
    """Takes a group of submissions in, in order, within the caller's transaction: one answer each.

    `today` is the date in Japan, `at_us` microseconds since 1970.
    """
    stream = journal.read_stream(connection)
    keys = [_key_of(item.submission) for item in items]
    known = _known_messages(connection, [key[:32].hex() for key in keys])
    run = Run(connection, [code for item in items for code in resident_codes(item.submission)])
    group = _Group(sealing.municipality, stream.epoch, stream.last_sequence, known, run, today)
    answers = [group.take(item, key) for item, key in zip(items, keys, strict=True)]
    passing("intake.judged")
    if not group.arrivals:
        return answers
    run.write(connection, at_us)
    passing("intake.registered")
    queue(
        connection,
        [arrival.payload for arrival in group.arrivals],
        message_keys=group.keys,
        traceparents=group.traceparents,
        municipality=sealing.municipality,
        key=sealing.key,
        now_us=at_us,
    )
    passing("intake.queued")
    _ADD_MESSAGES.write(connection, group.messages)
    passing("intake.kept")
    return answers


class _Group:
    """One group while it is worked through."""

    def __init__(
        self,
        municipality: str,
        epoch: int,
        last_sequence: int,
        known: dict[str, tuple[bytes, SubmitChangeResponse]],
        run: Run,
        today: date,
    ) -> None:
        self._municipality = municipality
        self._epoch = epoch
        self._last_sequence = last_sequence
        self._known = known
        self._run = run
        self._today = today
        self.arrivals: list[Arrival] = []
        self.keys: list[bytes] = []
        self.traceparents: list[str] = []
        self.messages: list[dict[str, object]] = []

    def take(self, item: Item, key: bytes) -> Answer:
        submission = item.submission
        message_id, digest = key[:32].hex(), key[32:]
        before = self._known.get(message_id)
        if before:
            same = before[0] == digest
            return _repeated(before[1]) if same else Refused(errors.ERROR_REASON_MESSAGE_ID_REUSED, field="message_id")
        if not self._run.are_sound(*resident_codes(submission)):
            return Refused(errors.ERROR_REASON_RECORD_DAMAGED)
        try:
            change = complete(submission, municipality=self._municipality, today=self._today, current=self._run.rows)
        except ChangeRefused as refused:
            return Refused(refused.reason, field=refused.field)
        sequence = self._last_sequence + 1
        arrival = Arrival(self._municipality, self._epoch, sequence, change, change.SerializeToString())
        reason = self._run.take(arrival, self._municipality)
        if reason is not None:
            return Refused(reason)
        answer = SubmitChangeResponse(version=change.version, sequence=sequence, epoch=self._epoch)
        self._last_sequence = sequence
        self._known[message_id] = (digest, answer)
        self.arrivals.append(arrival)
        self.keys.append(key)
        self.traceparents.append(item.traceparent)
        self.messages.append(
            {
                "message_id": message_id,
                "digest": digest,
                "version": change.version,
                "epoch": self._epoch,
                "sequence": sequence,
            }
        )
        return answer


def _key_of(submission: Submission) -> bytes:
    return message_key(submission.message_id, hashlib.sha256(submission.SerializeToString(deterministic=True)).digest())


def _repeated(answer: SubmitChangeResponse) -> SubmitChangeResponse:
    return SubmitChangeResponse(version=answer.version, sequence=answer.sequence, epoch=answer.epoch, repeated=True)


_ADD_MESSAGES = add(intake_messages)
_KNOWN = one_of(
    select(
        intake_messages.c.message_id,
        intake_messages.c.digest,
        intake_messages.c.version,
        intake_messages.c.epoch,
        intake_messages.c.sequence,
    ),
    ids=intake_messages.c.message_id,
)


def _known_messages(connection: Connection, ids: list[str]) -> dict[str, tuple[bytes, SubmitChangeResponse]]:
    return {
        message_id: (digest, SubmitChangeResponse(version=version, epoch=epoch, sequence=sequence))
        for message_id, digest, version, epoch, sequence in _KNOWN.rows(connection, {"ids": ids})
    }


class Intake:
    """Takes submissions in, grouped by commit.

    `why_not()` tells why no new change may be taken now, if so; `on_accepted(last_sequence)` is told of every commit.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        sealing: Sealing,
        why_not: Callable[[], "errors.ErrorReason.ValueType | None"],
        on_accepted: Callable[[int], None],
    ) -> None:
        self._writer = writer
        self._sealing = sealing
        self._why_not = why_not
        self._on_accepted = on_accepted
        self.grouping: Grouping[Item, SubmitChangeResponse] = Grouping(self._commit)

    async def _commit(self, items: list[Item]) -> Sequence[Answer | Exception]:
        before = [item.stream.failure for item in items]
        fresh = [item for item, failure in zip(items, before, strict=True) if failure is None]
        answers = iter(await self._take(fresh) if fresh else [])
        return [failure or next(answers) for failure in before]

    async def _take(self, items: list[Item]) -> Sequence[Answer | Exception]:
        reason = self._why_not()
        try:
            if reason is not None:
                raise Refused(reason)
            return await self._accept(items)
        except (Refused, StoreError) as failure:
            for item in items:
                item.stream.failure = failure
            return [failure] * len(items)
        except Exception as failure:
            # One of them broke something that no rule foresaw; its neighbours must not suffer for it.
            if len(items) == 1:
                return [failure]
            return [answer for item in items for answer in await self._commit([item])]

    async def _accept(self, items: list[Item]) -> Sequence[Answer]:
        passing("intake.handed_in")
        answers = await self._writer.run(
            lambda connection: accept(connection, items, self._sealing, today=today_in_japan(), at_us=now_us())
        )
        passing("intake.committed")
        last = max((answer.sequence for answer in answers if isinstance(answer, SubmitChangeResponse)), default=0)
        if last:
            self._on_accepted(last)
        passing("intake.told")
        for item, answer in zip(items, answers, strict=True):
            if isinstance(answer, Refused):
                metrics.change_refused(answer.reason)
            elif not answer.repeated:
                metrics.change_accepted(item.submission.reason)
        return answers
