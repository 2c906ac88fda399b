"""The receiving side of a link as a gRPC service: a thin adapter around `receiver` and `apply_batch`.

One stream a sender: the newest wins and the older is closed, because two live instances of one identity must never be
served side by side. Batches are handed to the writer as they come and acknowledged in order after their commit, so the
next one travels while the last one is being made durable; the sender's credit bounds how much waits here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import grpc
from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Batch, Credit, Hello, StreamRequest, StreamResponse, Welcome
from jukinet._pb.jukinet.link.v1.link_pb2_grpc import LinkServiceServicer
from jukinet.link.apply_batch import Assembly, Taken, apply_batch
from jukinet.link.receiver import LINK_VERSION, greet
from jukinet.link.tracing import change_spans
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.mesh.interceptors import current_caller
from jukinet.store import journal
from jukinet.store.writer import Writer

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    """One open stream; acknowledgements are coalesced: only the latest state is said."""

    source: str
    mark: journal.Mark
    center_mark: int
    task: "asyncio.Task[object] | None"
    news: asyncio.Event = field(default_factory=asyncio.Event)
    parked: list[object] = field(default_factory=list)
    failure: BaseException | None = None
    ended: bool = False


class LinkService(LinkServiceServicer):
    """Receives the streams of the neighbours below.

    `on_forwarded(last_sequence)` is told when the outbox grew. `is_center`: marks here are center marks.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        assembly: Assembly,
        may_bring: Callable[[Identity, str], bool],
        credit: Credit,
        on_forwarded: Callable[[int], None],
        on_applied: Callable[[Taken], None],
    ) -> None:
        self._writer = writer
        self._assembly = assembly
        self._may_bring = may_bring
        self._credit = credit
        self._on_forwarded = on_forwarded
        self._on_applied = on_applied
        self._sessions: dict[str, _Session] = {}

    @property
    def connected(self) -> frozenset[str]:
        """SPIFFE IDs of the senders whose streams are open."""
        return frozenset(self._sessions)

    async def end_streams(self) -> None:
        """Ends every stream with DRAINING, so that a stopping node does not wait for its senders."""
        for session in self._sessions.values():
            session.failure = Refused(errors.ERROR_REASON_DRAINING)
            session.news.set()

    def center_marks_moved(self, by_source: dict[str, int]) -> None:
        """Tells the senders concerned how much of theirs is on disk at the center."""
        for source, sequence in by_source.items():
            session = self._sessions.get(source)
            if session:
                session.center_mark = max(session.center_mark, sequence)
                session.news.set()

    async def Stream(  # noqa: N802  # gRPC names its methods so
        self,
        request_iterator: AsyncIterator[StreamRequest],
        context: "grpc.aio.ServicerContext[StreamRequest, StreamResponse]",
    ) -> AsyncIterator[StreamResponse]:
        """Takes one sender's stream up and acknowledges what is on disk. Source: reliability protocol, handshake."""
        caller = current_caller()
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("message") != "hello":
            raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
        session = await self._take_up(caller.uri, first.hello)
        reading = asyncio.create_task(self._read(request_iterator, session, caller))
        session.task = reading
        try:
            yield StreamResponse(welcome=self._welcome(session))
            while not session.ended or session.news.is_set():
                await session.news.wait()
                session.news.clear()
                if session.failure:
                    raise session.failure
                if not session.ended:
                    yield StreamResponse(ack=self._ack(session))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._sessions.get(caller.uri) is session:
                del self._sessions[caller.uri]

    async def _take_up(self, source: str, hello: Hello) -> _Session:
        mark = await self._writer.run(lambda connection: _register(connection, source, hello))
        older = self._sessions.get(source)
        if older:
            log.warning("a newer stream of the same sender took over", extra={"peer": source})
            older.failure = Refused(errors.ERROR_REASON_LINK_SUPERSEDED)
            older.news.set()
        center_mark = mark.center_mark if self._assembly.forwards else mark.mark
        session = _Session(source, mark, center_mark, None)
        self._sessions[source] = session
        return session

    async def _read(self, requests: AsyncIterator[StreamRequest], session: _Session, caller: Identity) -> None:
        """Hands batches to the writer as they come; a second task notes their commits in order."""
        commits: asyncio.Queue[asyncio.Future[Taken] | None] = asyncio.Queue(maxsize=self._credit.batches)
        noting = asyncio.create_task(self._note_commits(commits, session))
        try:
            async for request in requests:
                kind = request.WhichOneof("message")
                if kind == "batch":
                    await commits.put(self._hand_in(request.batch, session, caller))
                elif kind == "hello":
                    raise Refused(errors.ERROR_REASON_LINK_PROTOCOL)
            await commits.put(None)
            await noting
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            session.failure = failure
        finally:
            noting.cancel()
            session.ended = True
            session.news.set()

    def _hand_in(self, batch: Batch, session: _Session, caller: Identity) -> "asyncio.Future[Taken]":
        stack = ExitStack()
        spans = change_spans(stack, batch)

        def job(connection: Connection) -> Taken:
            return apply_batch(
                connection,
                batch,
                source=session.source,
                may_bring=lambda municipality: self._may_bring(caller, municipality),
                assembly=self._assembly,
                traceparents=spans,
                now_us=now_us(),
            )

        future = asyncio.wrap_future(self._writer.submit(job))
        future.add_done_callback(lambda _done: stack.close())
        return future

    async def _note_commits(self, commits: "asyncio.Queue[asyncio.Future[Taken] | None]", session: _Session) -> None:
        while (commit := await commits.get()) is not None:
            try:
                taken = await commit
            except BaseException as failure:
                session.failure = failure
                session.news.set()
                raise
            session.mark = taken.mark
            if not self._assembly.forwards:
                session.center_mark = taken.mark.mark
            session.parked.extend(taken.parked)
            session.news.set()
            if taken.last_sequence:
                self._on_forwarded(taken.last_sequence)
            self._on_applied(taken)

    def _welcome(self, session: _Session) -> Welcome:
        return Welcome(
            epoch=session.mark.epoch,
            mark=session.mark.mark,
            chain=session.mark.chain,
            credit=self._credit,
            version=LINK_VERSION,
            center_mark=session.center_mark,
        )

    def _ack(self, session: _Session) -> Ack:
        parked, session.parked = session.parked, []
        return Ack(
            epoch=session.mark.epoch,
            mark=session.mark.mark,
            chain=session.mark.chain,
            center_mark=session.center_mark,
            credit=self._credit,
            parked=parked,  # type: ignore[arg-type]
        )


def _register(connection: Connection, source: str, hello: Hello) -> journal.Mark:
    mark = greet(journal.read_mark(connection, source), hello)
    journal.write_mark(connection, source, mark)
    return mark
