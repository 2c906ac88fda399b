"""The receiving side of a link in the simulation: `jukinet.link.service` without sockets and tasks.

The steps are the product's: `register`, `apply_batch`, and `Session` for what is said when.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Credit, Hello, StreamRequest
from jukinet._pb.jukinet.register.v1.change_pb2 import Change, ChangeReason
from jukinet.link.apply_batch import Assembly, Taken, apply_batch
from jukinet.link.pull import given_back
from jukinet.link.pulse import SILENCE
from jukinet.link.service import register
from jukinet.link.session import Session
from jukinet.mesh.errors import Refused, name_of
from jukinet.mesh.identity import parse_identity
from jukinet.simulate.network import Stream
from jukinet.simulate.observe import name_of_uri
from jukinet.simulate.process import Job, Outcome, Process
from jukinet.simulate.timeline import MS, SECOND
from jukinet.store import journal
from jukinet.store.errors import StoreError, as_refusal

_WAITING = errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE


class Serving:
    """Receives the streams of one process's neighbours below.

    `grown` is told how far the outbox has grown by what came; `why_not` tells why nobody may bring any now.
    """

    def __init__(
        self,
        process: Process,
        assembly: Assembly,
        credit: Credit,
        *,
        grown: Callable[[int], None],
        why_not: Callable[[], "errors.ErrorReason.ValueType | None"],
    ) -> None:
        self._process = process
        self._assembly = assembly
        self._credit = credit
        self._grown = grown
        self._why_not = why_not
        self._sessions: dict[str, tuple[Stream, Session]] = {}
        self._open: dict[Stream, Session] = {}
        self._heard: dict[Stream, int] = {}

    @property
    def alive(self) -> bool:
        """Whether anybody listens."""
        return self._process.alive

    def center_marks_moved(self, by_source: Mapping[str, int]) -> None:
        """More of these senders' changes is on the center's disk."""
        for source, mark in by_source.items():
            if source in self._sessions:
                stream, session = self._sessions[source]
                session.center_moved(mark)
                self._speak(stream, session)

    def end_streams(self, reason: "errors.ErrorReason.ValueType") -> None:
        """The node may take nothing now."""
        for stream, session in list(self._sessions.values()):
            self._end(stream, session, Refused(reason))

    def cut_all(self, *, silent: bool) -> None:
        """The process is gone, and all its connections with it."""
        for stream in self._open:
            stream.break_(silent=silent)

    def hear(self, stream: Stream, request: StreamRequest) -> None:
        """A message came up, perhaps one of a stream that is over."""
        if not self.alive:
            return
        self._heard[stream] = self._process.timeline.now
        session = self._open.get(stream)
        match request.WhichOneof("message"):
            case "hello":
                self._greet(stream, request.hello)
            case "batch" if session:
                # Of a stream that is over it was read before that was known.
                if not session.failure or stream.broken or stream.superseded:
                    self._hand_in(stream, session, request.batch)
            case "heartbeat" if session:
                self._speak(stream, session)
            case _:
                pass

    def lost(self, stream: Stream) -> None:
        """The connection is gone."""
        session = self._open.get(stream)
        if session and self.alive:
            self._end(stream, session, Refused(errors.ERROR_REASON_LINK_PROTOCOL))

    def pull(self, stream: Stream, first: int, last: int) -> None:
        """The sender asks for its own changes back: a few at a time, as they are on disk by then."""
        if not self.alive:
            return
        if reason := self._refused():
            stream.refuse(reason)
            return
        rows = self._process.disk.read(lambda connection: journal.fetch_source(connection, stream.source, first, last))
        for batch in given_back(rows) if rows else ():
            stream.give_back(batch)
        if not rows:
            stream.give_back(None)
            return
        following = rows[-1].source_sequence + 1
        delay = self._process.timeline.between(MS, 50 * MS)
        self._process.later(delay, "gives back", lambda: self.pull(stream, following, last))

    def _refused(self) -> "errors.ErrorReason.ValueType | None":
        reason = self._why_not()
        if reason is not None:
            self._process.timeline.count(f"refused: {name_of(reason)}")
        return reason

    def _greet(self, stream: Stream, hello: Hello) -> None:
        if reason := self._refused():
            stream.refuse(reason)
            return

        sender = parse_identity(stream.source)

        def take_up() -> None:
            self._process.submit(
                self._if_ready(lambda conn: register(conn, sender, hello, now_us=self._process.now_us())),
                lambda outcome: self._taken_up(stream, outcome),
            )

        # The call came before its first message.
        self._process.later(self._process.timeline.between(0, 200 * MS), "reads the hello", take_up)

    def _if_ready(self, job: Job) -> Job:
        def checked(connection: Connection) -> Outcome:
            if reason := self._why_not():
                raise Refused(reason)
            return job(connection)

        return checked

    def _taken_up(self, stream: Stream, outcome: journal.Mark | Exception) -> None:
        if isinstance(outcome, Exception):
            self._count_refusal(outcome)
            stream.refuse(_reason(outcome))
            return
        if stream.source in self._sessions:
            older, session = self._sessions[stream.source]
            self._process.timeline.count("stream superseded")
            older.superseded = True
            self._end(older, session, Refused(errors.ERROR_REASON_LINK_SUPERSEDED))
        center_mark = outcome.center_mark if self._assembly.forwards else outcome.mark
        session = Session(outcome, center_mark=center_mark, credit=self._credit)
        self._sessions[stream.source] = stream, session
        self._open[stream] = session
        stream.send_down(session.welcome())
        self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        session = self._open[stream]
        if session.failure:
            return
        if self._process.timeline.now - self._heard[stream] > SILENCE * SECOND:
            self._end(stream, session, Refused(errors.ERROR_REASON_LINK_PROTOCOL))
            return
        self._process.later(5 * SECOND, "watches below", lambda: self._watch(stream))

    def _hand_in(self, stream: Stream, session: Session, batch: Batch) -> None:
        name = name_of_uri(stream.source)
        at = self._process.now_us()
        size = batch.ByteSize()
        session.handed_in(size)

        def done(outcome: Taken | Exception) -> None:
            session.done(size)
            self._committed(stream, session, batch, outcome)

        self._process.submit(
            self._if_ready(
                lambda connection: apply_batch(
                    connection,
                    batch,
                    source=stream.source,
                    may_bring=lambda municipality: may_bring(name, municipality),
                    assembly=self._assembly,
                    traceparents={},
                    now_us=at,
                )
            ),
            done,
        )

    def _committed(self, stream: Stream, session: Session, batch: Batch, outcome: Taken | Exception) -> None:
        if isinstance(outcome, Exception):
            self._count_refusal(outcome)
            self._end(stream, session, outcome)
            return
        self._count(batch, outcome)
        session.took(outcome, center_mark=0 if self._assembly.forwards else outcome.mark.mark)
        if outcome.last_sequence:
            self._grown(outcome.last_sequence)
        if outcome.held and not outcome.fresh:
            self._end(stream, session, Refused(errors.ERROR_REASON_LINK_HELD))
        self._speak(stream, session)

    def _speak(self, stream: Stream, session: Session) -> None:
        """Says the latest state soon; what happens until then is said with it."""
        if session.news.is_set():
            session.news.clear()
        elif session.failure:
            return

        def say() -> None:
            if not session.failure:
                stream.send_down(session.ack())

        self._process.later(self._process.timeline.between(0, 20 * MS), "acknowledges", say)

    def _end(self, stream: Stream, session: Session, failure: Exception) -> None:
        if session.failure:
            return
        session.end(failure)
        if self._sessions.get(stream.source, (None,))[0] is stream:
            del self._sessions[stream.source]
        stream.refuse(_reason(failure))

    def _count_refusal(self, failure: Exception) -> None:
        if isinstance(failure, Refused):
            self._process.timeline.count(f"refused: {name_of(failure.reason)}")

    def _count(self, batch: Batch, taken: Taken) -> None:
        timeline = self._process.timeline
        timeline.count("duplicate dropped", len(batch.segments) - len(taken.fresh))
        timeline.count("parked and released", sum(notice.released for notice in taken.parked))
        changes = [Change.FromString(payload) for entry in taken.fresh for payload in entry.segment.changes]
        for change, outcome in zip(changes, taken.outcomes, strict=True):
            if outcome == _WAITING and change.reason == ChangeReason.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN:
                timeline.count("transfer in before transfer out")
            elif outcome is not None and outcome != _WAITING:
                timeline.count("unlawful change parked")


def may_bring(sender: str, municipality: str) -> bool:
    """Whose changes a sender may bring: a CS its own, a prefecture those of its municipalities."""
    return sender == municipality or (sender.endswith("000", 0, 5) and sender[:2] == municipality[:2])


def _reason(failure: Exception) -> "errors.ErrorReason.ValueType":
    if isinstance(failure, StoreError):
        return as_refusal(failure).reason
    return failure.reason if isinstance(failure, Refused) else errors.ERROR_REASON_DEPENDENCY_UNAVAILABLE
