"""The receiving side of a link as a gRPC service: a thin adapter around `receiver` and `apply_batch`.

One stream a sender: the newest wins and the older is closed, because two live instances of one identity must never be
served side by side. Batches are handed to the writer as they come and acknowledged in order after their commit, so the
next one travels while the last one is being made durable. Once one is refused, the next ones find a gap: nothing behind
a refusal is ever applied.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TypeVar

import grpc
from sqlalchemy import Connection, Engine

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import (
    Batch,
    Credit,
    Hello,
    PullRequest,
    PullResponse,
    StreamRequest,
    StreamResponse,
)
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceServicer
from jukinet.link.apply_batch import Assembly, Taken, apply_batch
from jukinet.link.pull import pulled
from jukinet.link.pulse import SILENCE
from jukinet.link.receiver import greet
from jukinet.link.session import Session
from jukinet.link.standings import Standings
from jukinet.link.tracing import change_spans, end_spans
from jukinet.mesh import tracing
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.failpoints import passing
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller
from jukinet.store import journal
from jukinet.store.brakes import is_held
from jukinet.store.errors import StoreError, as_refusal
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)
T = TypeVar("T")


class LinkService(LinkServiceServicer):
    """Receives the streams of the neighbours below.

    `may_bring` tells whether a sender may bring a municipality's changes; `why_not` why nobody may bring any
    now. `on_forwarded(last_sequence)` is told when the outbox grew, `on_applied` of every batch that is on disk,
    `on_standing` when a municipality is heard of that was not for long.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        reader: Engine,
        assembly: Assembly,
        may_bring: Callable[[Identity, str], bool],
        why_not: Callable[[], "errors.ErrorReason.ValueType | None"],
        credit: Credit,
        on_forwarded: Callable[[int], None],
        on_applied: Callable[[Taken], None],
        on_standing: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._why_not = why_not
        self._assembly = assembly
        self._may_bring = may_bring
        self._credit = credit
        self._on_forwarded = on_forwarded
        self._on_applied = on_applied
        self._on_standing = on_standing
        self.standings = Standings(may_bring)
        self._sessions: dict[str, Session] = {}
        self._ends: list[errors.ErrorReason.ValueType] = []
        """Why all streams were ended, each time."""
        self._greeting: set[asyncio.Timeout] = set()
        """How long each stream's hello is waited for, until it comes."""
        self._manifests_wanted: frozenset[str] = frozenset()

    @property
    def connected(self) -> Mapping[str, bool]:
        """The senders whose streams are open, by SPIFFE ID: whether each is slow."""
        return {source: session.is_slow() for source, session in self._sessions.items()}

    def center_marks_moved(self, by_source: dict[str, int]) -> None:
        """Tells the senders concerned how much of theirs is on disk at the center."""
        for source, sequence in by_source.items():
            session = self._sessions.get(source)
            if session:
                session.center_moved(sequence)

    def ask_manifests(self, municipalities: Collection[str]) -> None:
        """Lets the streams of these municipalities say that a manifest is wanted, from now on also when they begin.

        Who was asked already is not asked again: to sign a register takes a while.
        """
        asked = self._manifests_wanted
        self._manifests_wanted = frozenset(Identity("municipality", name).uri for name in municipalities)
        for source in (self._manifests_wanted - asked) & self._sessions.keys():
            self._sessions[source].want_manifest()

    async def end_streams(self, reason: "errors.ErrorReason.ValueType" = errors.ERROR_REASON_DRAINING) -> None:
        """Ends all streams, for the node stops or may take nothing now; what was handed in is still committed.

        One that has begun and has said no hello ends at once, and one whose hello is not on disk yet as soon as that
        is: nothing else would end them.
        """
        self._ends.append(reason)
        for patience in self._greeting:
            if not patience.expired():
                patience.reschedule(asyncio.get_running_loop().time())
        ending = list(self._sessions.values())
        for session in ending:
            session.end(Refused(reason))
        for session in ending:
            await session.over.wait()

    async def Stream(
        self,
        request_iterator: AsyncIterator[StreamRequest],
        context: "grpc.aio.ServicerContext[StreamRequest, StreamResponse]",
    ) -> AsyncIterator[StreamResponse]:
        """Takes one sender's stream up and acknowledges what is on disk. Source: reliability protocol, handshake."""
        caller, ends = current_caller(), len(self._ends)
        self._check_ready()
        session = await self._take_up(caller, await self._hello(request_iterator, ends), ends)
        reading = asyncio.create_task(self._read(request_iterator, session, caller))
        try:
            yield session.welcome()
            passing("link.welcomed")
            while not session.failure:
                await session.something_to_say()
                over = reading.done()
                if not session.failure:
                    passing("link.before_ack")
                    yield session.ack()
                    passing("link.after_ack")
                if over:
                    break
            if session.failure:
                raise _refusal(session.failure) from None
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if self._sessions.get(caller.uri) is session:
                del self._sessions[caller.uri]
            session.over.set()

    async def Pull(
        self, request: PullRequest, context: "grpc.aio.ServicerContext[PullRequest, PullResponse]"
    ) -> AsyncIterator[PullResponse]:
        """Gives a sender its own segments back, as far as they are kept. Source: reliability protocol, restore."""
        caller = current_caller()
        self._check_ready()
        try:
            async for batch in pulled(self._reader, caller.uri, request.first_sequence, request.last_sequence):
                yield PullResponse(batch=batch)
        except StoreError as failure:
            raise _refusal(failure) from None

    def _if_ready(self, job: Callable[[Connection], T]) -> Callable[[Connection], T]:
        """The job, with a look in its own transaction: the node may have come to doubt itself since the call began."""

        def checked(connection: Connection) -> T:
            self._check_ready()
            return job(connection)

        return checked

    def _check_ready(self) -> None:
        reason = self._why_not()
        if reason is not None:
            raise Refused(reason)

    async def _hello(self, requests: AsyncIterator[StreamRequest], ends: int) -> Hello:
        patience = asyncio.timeout(SILENCE)
        self._greeting.add(patience)
        try:
            async with patience:
                first = await anext(aiter(requests), None)
        except TimeoutError as failure:
            self._check_not_ended(ends)
            raise _refusal(failure) from None
        finally:
            self._greeting.discard(patience)
        if first is None or first.WhichOneof("message") != "hello":
            raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
        return first.hello

    def _check_not_ended(self, ends: int) -> None:
        """Refuses a stream that began when all streams had been ended so many times, if they were ended since."""
        if self._ends[ends:]:
            raise Refused(self._ends[-1])

    async def _take_up(self, sender: Identity, hello: Hello, ends: int) -> Session:
        passing("link.hello")
        source = sender.uri
        try:
            mark = await self._writer.run(
                self._if_ready(lambda connection: register(connection, sender, hello, now_us=now_us()))
            )
        except StoreError as failure:
            raise _refusal(failure) from None
        passing("link.registered")
        self._check_not_ended(ends)
        older = self._sessions.get(source)
        if older:
            log.warning("a newer stream of the same sender took over", extra={"peer": source})
            older.end(Refused(errors.ERROR_REASON_LINK_SUPERSEDED))
        self.standings.forget(source)
        center_mark = mark.center_mark if self._assembly.forwards else mark.mark
        session = self._sessions[source] = Session(mark, center_mark=center_mark, credit=self._credit)
        if source in self._manifests_wanted:
            session.want_manifest()
        return session

    async def _read(self, requests: AsyncIterator[StreamRequest], session: Session, caller: Identity) -> None:
        """Hands batches to the writer as they come, until the sender has no more to say."""
        try:
            while not session.failure and (request := await _next(requests)):
                session.heard()
                match request.WhichOneof("message"):
                    case "batch":
                        await session.room_for(request.ByteSize())
                        passing("link.batch")
                        self._hand_in(request.batch, request.ByteSize(), session, caller)
                    case "heartbeat":
                        self.standings.claimed(caller, request.heartbeat, now_us=now_us())
                        self._reached(caller.uri, session.mark)
                        session.news.set()  # the acknowledgement is our sign of life
                    case _:
                        raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
            await session.settled()
        except Exception as failure:  # told to the stream's own task, which ends it
            session.end(failure)
        finally:
            session.hurry()

    def _hand_in(self, batch: Batch, size: int, session: Session, caller: Identity) -> None:
        spans = change_spans(batch)
        contexts = {place: tracing.context_of(span) for place, span in spans.items()}

        def job(connection: Connection) -> Taken:
            return apply_batch(
                connection,
                batch,
                source=caller.uri,
                may_bring=lambda municipality: self._may_bring(caller, municipality),
                assembly=self._assembly,
                traceparents=contexts,
                now_us=now_us(),
            )

        def note(commit: "asyncio.Future[Taken]") -> None:
            session.done(size)
            self._note(commit, session, caller.uri)
            failure = commit.exception()
            end_spans(spans, _refusal(failure) if failure else commit.result())

        session.handed_in(size)
        asyncio.wrap_future(self._writer.submit(self._if_ready(job))).add_done_callback(note)

    def _note(self, commit: "asyncio.Future[Taken]", session: Session, source: str) -> None:
        """Runs for every commit, in order, even when its stream is over: the outbox grew all the same."""
        failure = commit.exception()
        if failure:
            session.end(failure)
            return
        passing("link.committed")
        taken = commit.result()
        session.took(taken, center_mark=0 if self._assembly.forwards else taken.mark.mark)
        passing("link.noted")
        if taken.held and not taken.fresh:
            session.end(Refused(errors.ERROR_REASON_LINK_HELD))
        if taken.last_sequence:
            self._on_forwarded(taken.last_sequence)
        self._reached(source, taken.mark.mark)
        self._on_applied(taken)

    def _reached(self, source: str, mark: int) -> None:
        if self.standings.reached(source, mark):
            self._on_standing()


async def _next(requests: AsyncIterator[StreamRequest]) -> StreamRequest | None:
    async with asyncio.timeout(SILENCE):
        return await anext(aiter(requests), None)


def register(connection: Connection, sender: Identity, hello: Hello, *, now_us: int) -> journal.Mark:
    """Takes a sender's stream up in the caller's transaction: its mark, with the epoch that is in force now.

    A municipality that its change brake holds is told so before it sends anything, but for one that was restored: it
    must learn what it lost. Raises Refused as `greet`, and LINK_HELD.
    """
    mark = greet(journal.read_mark(connection, sender.uri), hello, now_us=now_us)
    if not hello.restored and sender.kind == "municipality" and is_held(connection, sender.name):
        raise Refused(errors.ERROR_REASON_LINK_HELD)
    journal.write_mark(connection, sender.uri, mark)
    return mark


def _refusal(failure: BaseException) -> BaseException:
    """What the sender is told of a failure."""
    match failure:
        case StoreError():
            return as_refusal(failure)
        case TimeoutError():
            return Refused(errors.ERROR_REASON_LINK_PROTOCOL, detail="the sender is silent")
    return failure
