"""Mutants of what keeps one history apart from another: chains, epochs, and what a restored node must do."""

from dataclasses import replace
from typing import Any

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, Welcome
from jukinet.link import receiver, service
from jukinet.link.outputs import Adopt, Complete, Output, Reapply, Stop
from jukinet.link.sender import Sender
from jukinet.link.service import register
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import parse_identity
from jukinet.simulate import dialing
from jukinet.simulate.network import Stream
from jukinet.simulate.nodes import Node
from jukinet.simulate.serving import Serving
from jukinet.simulate.timeline import MS, SECOND
from jukinet.store import journal
from jukinet.store.journal import Mark, Origin

_Patch = tuple[object, str, Any]


def no_epoch() -> list[_Patch]:
    """Nobody is given a new epoch, and an older one is as good as any."""
    check, continued = receiver._check_frame, receiver._continued

    def never_new(known: Mark | None, hello: Hello, _now_us: int) -> int:
        return known.epoch if known else hello.epoch

    def of_any_epoch(known: Mark, batch: Batch) -> None:
        check(replace(known, epoch=batch.epoch), batch)

    def continued_in_any(origin: Origin, segment: Any, digest: bytes, now_us: int) -> Origin:
        return continued(replace(origin, epoch=segment.epoch), segment, digest, now_us)

    return [
        (receiver, "_epoch", never_new),
        (receiver, "_check_frame", of_any_epoch),
        (receiver, "_continued", continued_in_any),
    ]


def read_then_fence() -> list[_Patch]:
    """The mark of the welcome is read before the new epoch is on disk, in a transaction of its own."""
    taken_up = Serving._taken_up

    def read_first(self: Any, stream: Stream, hello: Hello) -> None:
        process = self._process
        if reason := self._refused():
            stream.refuse(reason)
            return

        sender = parse_identity(stream.source)

        def fence(before: Mark | Exception | None) -> None:
            def welcome(outcome: Mark | Exception) -> None:
                if isinstance(outcome, Mark) and isinstance(before, Mark):
                    outcome = replace(outcome, mark=before.mark, chain=before.chain)
                taken_up(self, stream, outcome)

            process.later(
                process.timeline.between(MS, SECOND),
                "fences",
                lambda: process.submit(lambda c: register(c, sender, hello, now_us=process.now_us()), welcome),
            )

        process.submit(lambda connection: journal.read_mark(connection, stream.source), fence)

    return [(Serving, "_greet", read_first)]


def restored_takes_changes() -> list[_Patch]:
    """A restored node goes on as if nothing were missing."""
    return [(Node, "_why_not_settled", lambda _: None)]


def nothing_comes_back() -> list[_Patch]:
    """A restored sender takes the receiver's mark for its own history."""

    behind = Sender._behind

    def without_pull(self: Sender, welcome: Welcome) -> list[Output]:
        if not self._restored:
            return behind(self, welcome)
        self.epoch = welcome.epoch
        return [Adopt(welcome.epoch), Complete(), *self._in_step(welcome)]

    return [(Sender, "_behind", without_pull)]


def loose_origin(*reasons: int, previous: bool = False) -> list[_Patch]:
    """Lets a municipality's stream go on although it does not continue, for these reasons of refusal."""
    continued = receiver._continued

    def loose(origin: Origin, segment: Any, digest: bytes, now_us: int) -> Origin:
        try:
            return continued(origin, segment, digest, now_us)
        except Refused as refused:
            if refused.reason not in reasons and not (previous and refused.reason == errors.ERROR_REASON_LINK_FORK):
                raise
            return Origin(segment.epoch, segment.first_sequence + len(segment.changes) - 1, digest, now_us)

    return [(receiver, "_continued", loose), (receiver, "_is_repeated", lambda *_: False)]


def no_chain_check() -> list[_Patch]:
    """Two histories under one number are one."""

    def welcomed(self: Sender, _welcome: Welcome, _chain: bytes | None) -> bool:
        return False

    greet = receiver.greet

    def greet_all(known: Mark | None, hello: Any, *, now_us: int) -> Mark:
        try:
            return greet(known, hello, now_us=now_us)
        except Refused as refused:
            if refused.reason != errors.ERROR_REASON_LINK_FORK or known is None:
                raise
            return known

    pulled = Sender.pulled

    def pulled_all(self: Sender, batch: Batch) -> list[Output]:
        outputs, target = pulled(self, batch), self._target
        if outputs != [Stop(errors.ERROR_REASON_LINK_FORK)] or target is None or self._next_after != target.mark:
            return outputs
        self._target = None
        return [Reapply(batch), Complete(), *self._in_step(target)]

    return [
        (receiver, "_check_same_history", lambda *_: None),
        (Sender, "pulled", pulled_all),
        (Sender, "_is_another_history", welcomed),
        (service, "greet", greet_all),
        (dialing.Dialing, "_welcomed", _resume_on_own_chain),
        *loose_origin(errors.ERROR_REASON_LINK_FORK),
    ]


def _resume_on_own_chain(self: Any, welcome: Welcome) -> list[Output]:
    chain = self._process.disk.read(lambda connection: journal.chain_at(connection, welcome.mark))
    if chain is not None:
        welcome.chain = chain
    return [*self._sender.welcomed(welcome, chain_here=chain), *self._sender.grown(self._last_sequence)]
