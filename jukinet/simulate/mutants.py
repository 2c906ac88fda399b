"""Mutants: each breaks one rule of the product while a run lasts, to prove that the runs would notice.

The switches are here and nowhere in the product: a mutant puts another function in the place of the rule's own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from cs_node import intake
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Segment, StreamResponse, Welcome
from jukinet.domain import apply as domain_apply
from jukinet.domain import custody
from jukinet.domain.refusal import ChangeRefused
from jukinet.link import apply_batch, outbox, reapply, receiver
from jukinet.link.outputs import Output
from jukinet.link.seal import link_chain, segment_hash
from jukinet.link.sender import Sender
from jukinet.link.session import Session
from jukinet.mesh.errors import Refused
from jukinet.simulate import mutants_of_history, serving
from jukinet.simulate.mutants_of_history import loose_origin
from jukinet.simulate.process import Died, Process
from jukinet.store import journal, register
from jukinet.store.journal import Mark
from jukinet.store.register import Run

_Patch = tuple[object, str, Any]
_LATER = "later"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken rule."""

    name: str
    breaks: str
    patches: Callable[[], Sequence[_Patch]]

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Breaks the rule for as long as the context lasts."""
        with ExitStack() as stack:
            for owner, name, value in self.patches():
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)
            yield


def _in_another_transaction(owner: object, name: str, gives: Callable[..., Any] | None = None) -> list[_Patch]:
    """Lets a write wait for a transaction of its own, after the one in which it belongs."""
    original, commit = getattr(owner, name), Process.commit

    def later(connection: Connection, *arguments: Any, **named: Any) -> Any:
        connection.info.setdefault(_LATER, []).append(lambda: original(connection, *arguments, **named))
        return gives(connection, *arguments) if gives else None

    def commit_twice(self: Process, transaction: Any) -> None:
        info = self.disk.connection.info
        try:
            commit(self, transaction)
        except Died:
            info.pop(_LATER, None)
            raise
        jobs = info.pop(_LATER, ())
        if jobs:
            second = self.disk.connection.begin()
            try:
                for job in jobs:
                    job()
            except StatementError:  # its disk is full
                second.rollback()
                raise Died from None
            commit(self, second)

    return [(owner, name, later), (Process, "commit", commit_twice)]


def _written_later(module: object, name: str) -> list[_Patch]:
    """The same for a function of the journal, where one module calls it."""
    (_, _, later), committing = _in_another_transaction(journal, name)
    return [(module, "journal", SimpleNamespace(**{**vars(journal), name: later})), committing]


def _outbox_in_another_transaction() -> list[_Patch]:
    def last(connection: Connection, fresh: Sequence[receiver.Fresh], *_: Any) -> int:
        return journal.read_stream(connection).last_sequence + sum(len(entry.segment.changes) for entry in fresh)

    return _in_another_transaction(apply_batch, "append_segments", last)


def _ack_before_commit() -> list[_Patch]:
    hand_in = serving.Serving._hand_in

    def early(self: Any, stream: Any, session: Any, batch: Batch) -> None:
        told = session.ack()
        mark, chain = _end_of(batch)
        if mark > told.ack.mark:
            told.ack.mark, told.ack.chain = mark, chain
            stream.send_down(told)
        hand_in(self, stream, session, batch)

    return [(serving.Serving, "_hand_in", early)]


def _ack_of_more() -> list[_Patch]:
    """What is said is right for the batch that waits for its commit, and said with the commit of the one before."""
    hand_in, ack = serving.Serving._hand_in, Session.ack
    handed_in: dict[Session, tuple[int, bytes]] = {}

    def noted(self: Any, stream: Any, session: Any, batch: Batch) -> None:
        handed_in[session] = _end_of(batch)
        hand_in(self, stream, session, batch)

    def more(self: Session) -> StreamResponse:
        told = ack(self)
        mark, chain = handed_in.get(self, (0, b""))
        if mark > told.ack.mark:
            told.ack.mark, told.ack.chain = mark, chain
        return told

    return [(serving.Serving, "_hand_in", noted), (Session, "ack", more)]


def _end_of(batch: Batch) -> tuple[int, bytes]:
    """Mark and link chain after a batch."""
    mark, chain = batch.first_sequence - 1, batch.previous_chain
    for sealed in batch.segments:
        first, mark = mark + 1, mark + len(Segment.FromString(sealed.segment).changes)
        chain = link_chain(chain, first_sequence=first, last_sequence=mark, segment=segment_hash(sealed.segment))
    return mark, chain


def _no_gap_check() -> list[_Patch]:
    check = receiver._check_frame

    def without(known: Mark, batch: Batch) -> None:
        try:
            check(known, batch)
        except Refused as refused:
            if refused.reason != errors.ERROR_REASON_LINK_GAP:
                raise

    return [
        (receiver, "_check_frame", without),
        *loose_origin(errors.ERROR_REASON_LINK_GAP, previous=True),
    ]


def _no_dedup() -> list[_Patch]:
    take = receiver.take

    def again(known: Mark, batch: Batch, **named: Any) -> receiver.Placed:
        if batch.first_sequence > known.mark:
            return take(known, batch, **named)
        before = replace(known, mark=batch.first_sequence - 1, chain=batch.previous_chain)
        placed = take(before, batch, **named)
        kept = placed.mark if placed.mark.mark > known.mark else known
        return receiver.Placed(kept, placed.fresh, placed.origins)

    return [(apply_batch, "take", again), *loose_origin(errors.ERROR_REASON_LINK_GAP, previous=True)]


def _sender_ignores_the_mark() -> list[_Patch]:
    welcomed = Sender.welcomed

    def on_from_the_end(self: Sender, welcome: Welcome, *, chain_here: bytes | None) -> list[Output]:
        own = self._opened_with
        told = Welcome()
        told.CopyFrom(welcome)
        if welcome.mark < own.last_sequence:
            told.mark, told.chain = own.last_sequence, own.chain
        return welcomed(self, told, chain_here=own.chain if told.mark == own.last_sequence else chain_here)

    return [(Sender, "welcomed", on_from_the_end)]


def _no_custody_check() -> list[_Patch]:
    return [(domain_apply, "check_custody", lambda *_, **__: None)]


def _no_version_check() -> list[_Patch]:
    check = custody.check_custody
    of_versions = (errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE, errors.ERROR_REASON_VERSION_CONFLICT)

    def without(*arguments: Any, **named: Any) -> None:
        try:
            check(*arguments, **named)
        except ChangeRefused as refused:
            if refused.reason not in of_versions:
                raise

    return [(domain_apply, "check_custody", without)]


def _center_mark_too_early() -> list[_Patch]:
    record = journal.record_progress

    def early(connection: Connection, *, neighbour_mark: int, center_mark: int, now_us: int) -> dict[str, int]:
        ahead = journal.read_stream(connection).last_sequence
        return record(connection, neighbour_mark=neighbour_mark, center_mark=max(center_mark, ahead), now_us=now_us)

    return [(journal, "record_progress", early)]


def _parked_is_forgotten() -> list[_Patch]:
    return [(Run, "park", lambda *_: None)]


MUTANTS = (
    Mutant("ack-before-commit", "an acknowledgement is sent after the commit", _ack_before_commit),
    Mutant("ack-of-more", "no more is acknowledged than is committed", _ack_of_more),
    Mutant(
        "mark-in-another-transaction",
        "the mark moves with the effect",
        lambda: _written_later(apply_batch, "write_mark"),
    ),
    Mutant("outbox-in-another-transaction", "what is taken is on its way on", _outbox_in_another_transaction),
    Mutant("no-gap-check", "a batch begins right after the mark", _no_gap_check),
    Mutant("no-dedup", "what is at or before the mark is dropped", _no_dedup),
    Mutant("no-chain-check", "both sides mean one history", mutants_of_history.no_chain_check),
    Mutant("no-seal-check", "the municipality's seal holds", lambda: [(receiver, "seal_holds", lambda *_: True)]),
    Mutant("no-custody-check", "only the holder changes a resident", _no_custody_check),
    Mutant("no-version-check", "versions are applied one after the other", _no_version_check),
    Mutant("sender-ignores-the-mark", "a sender goes on from the receiver's mark", _sender_ignores_the_mark),
    Mutant("parked-is-forgotten", "nothing that was sealed is dropped", _parked_is_forgotten),
    Mutant("nothing-is-released", "what waited is tried again", lambda: [(Run, "release", lambda *_: [])]),
    Mutant(
        "message-id-is-forgotten",
        "a repeated message has one effect",
        lambda: [(intake, "_known_messages", lambda *_: {})],
    ),
    Mutant("center-mark-too-early", "the center's mark is the center's", _center_mark_too_early),
    Mutant(
        "overtaken-is-refused",
        "a late change takes its place in the history",
        lambda: [(register, "apply_overtaken", _never_late)],
    ),
    Mutant(
        "stream-in-another-transaction",
        "a sequence number is used in the transaction that gives it",
        lambda: _written_later(outbox, "write_stream"),
    ),
    Mutant("no-epoch", "an older incarnation is fenced", mutants_of_history.no_epoch),
    Mutant(
        "read-then-fence", "an epoch is on disk before its sender learns the mark", mutants_of_history.read_then_fence
    ),
    Mutant("restored-takes-changes", "a restored node takes nothing new", mutants_of_history.restored_takes_changes),
    Mutant("nothing-comes-back", "what was lost is put back", mutants_of_history.nothing_comes_back),
    Mutant(
        "message-ids-stay-lost",
        "a message id comes back with its change",
        lambda: [(reapply, "_messages", lambda _: [])],
    ),
)


def _never_late(late: Any, *, scope: str, current: Any, kept: Any) -> Any:
    return domain_apply.apply(late.change, municipality=late.municipality, scope=scope, current=current)
