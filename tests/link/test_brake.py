"""A municipality over its change brake is held, at its prefecture and at the center; all others flow."""

import asyncio
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from sqlalchemy import Connection

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, StreamRequest
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.assembly.release_held import ReleasedHeld, release_held
from jukinet.domain.brake import Brake
from jukinet.link.apply_batch import Assembly, Taken, apply_batch
from jukinet.link.reapply import reapply_below
from jukinet.link.service import register
from jukinet.mesh.clock import now_us
from jukinet.mesh.errors import Refused, reason_of
from jukinet.mesh.identity import Identity
from jukinet.store import journal

CHIYODA, CHUO = "131016", "131024"
CS, OTHER_CS = Identity("municipality", CHIYODA), Identity("municipality", CHUO)
PREFECTURE = Identity("prefecture", "130001")
ALICE, BOB = "spiffe://operators.jukinet/operator/a", "spiffe://operators.jukinet/operator/b"
SMALL = Brake(percent=0.0, deletions=2, floor=3)
HELD = errors.ERROR_REASON_LINK_HELD
NOW = 1_790_000_000_000_000
LATER = NOW + 1_000_000
Mesh = Callable[..., Any]


class Receiver:
    """A receiving node without its network; `sender` says hello first."""

    def __init__(self, database: Any, link: Any, sender: Identity, scope: str) -> None:
        self.database, self.link, self.sender = database, link, sender
        self.assembly = Assembly(scope=scope, forwards=bool(scope), key_of=link.key_of, brake=SMALL)
        self.clock = count(NOW)
        self.greet(Hello(epoch=1, version_min=1, version_max=1))

    def greet(self, hello: Hello, sender: Identity | None = None) -> journal.Mark:
        mark: journal.Mark = self.database.do(
            lambda connection: register(connection, sender or self.sender, hello, now_us=1)
        )
        return mark

    def take(self, batch: Batch, sender: Identity | None = None) -> Taken:
        source = sender or self.sender

        def job(connection: Connection) -> Taken:
            return apply_batch(
                connection,
                batch,
                source=source.uri,
                may_bring=lambda municipality: self.link.may_bring(source, municipality),
                assembly=self.assembly,
                traceparents={},
                now_us=next(self.clock),
            )

        taken: Taken = self.database.do(job)
        return taken

    def release(self, municipality: str = CHIYODA) -> ReleasedHeld:
        done = None
        for operator in (ALICE, BOB):
            done = self.database.do(
                lambda connection, who=operator: release_held(
                    connection, municipality, operator=who, scope=self.assembly.scope, now_us=LATER
                )
            )
        assert done
        return done  # type: ignore[no-any-return]  # what a job returns is not known to `do`

    def history(self) -> list[tuple[str, int]]:
        return [(row.municipality, row.sequence) for row in self.database.rows("history")]


@pytest.fixture
def prefecture(database: Any, link: Any) -> Receiver:
    return Receiver(database, link, CS, "13")


@pytest.fixture
def center(database: Any, link: Any) -> Receiver:
    return Receiver(database, link, PREFECTURE, "")


def moves(link: Any, people: range, version: int = 2, municipality: str = CHIYODA) -> list[bytes]:
    return [link.change(n, version, municipality).SerializeToString() for n in people]


def births(link: Any, people: range, municipality: str = CHIYODA) -> list[bytes]:
    return moves(link, people, 1, municipality)


def death(link: Any, person: int, version: int) -> bytes:
    change: change_pb2.Change = link.change(person, version, reason=change_pb2.CHANGE_REASON_DELETION_DEATH)
    change.record.address.block = "1番"
    return change.SerializeToString()


def test_the_prefecture_keeps_the_hold_and_takes_nothing(prefecture: Receiver, link: Any) -> None:
    sealer = link.Sealer()
    prefecture.take(sealer.batch(sealer.segment(births(link, range(9)))))
    assert not prefecture.take(sealer.batch(sealer.segment(moves(link, range(3))))).held
    before, too_much = sealer.position, sealer.batch(sealer.segment(moves(link, range(3, 5))))
    taken = prefecture.take(too_much)
    assert (taken.mark.mark, taken.fresh, taken.outcomes, taken.last_sequence) == (before, (), [], 0)
    assert (list(taken.held), taken.newly_held) == ([CHIYODA], [CHIYODA])
    assert len(prefecture.history()) == 12
    assert not prefecture.database.rows("parked")
    again = prefecture.take(too_much)
    assert (again.mark.mark, list(again.held), again.newly_held) == (before, [CHIYODA], [])
    assert prefecture.release() == ReleasedHeld(True, ALICE, 0, 0, LATER + 3_600_000_000)
    assert prefecture.take(too_much).outcomes == [None, None]
    assert prefecture.history() == [(CHIYODA, n) for n in range(1, 15)]


def test_a_third_death_in_an_hour_is_too_much(prefecture: Receiver, link: Any) -> None:
    sealer = link.Sealer()
    prefecture.take(sealer.batch(sealer.segment(births(link, range(3)))))
    assert not prefecture.take(sealer.batch(sealer.segment([death(link, n, 2) for n in range(2)]))).held
    assert prefecture.take(sealer.batch(sealer.segment([death(link, 2, 2)]))).held


def test_a_first_load_is_not_braked(prefecture: Receiver, link: Any) -> None:
    sealer = link.Sealer()
    taken = prefecture.take(sealer.batch(sealer.segment(births(link, range(200)))))
    assert (len(taken.outcomes), dict(taken.held)) == (200, {})
    assert not prefecture.database.rows("brakes")


def test_who_is_held_stays_held_for_whatever_comes(prefecture: Receiver, link: Any) -> None:
    """Or its later changes would overtake the earlier ones."""
    sealer = link.Sealer()
    prefecture.take(sealer.batch(sealer.segment(births(link, range(9)))))
    prefecture.take(sealer.batch(sealer.segment(moves(link, range(9)))))
    fresh = link.Sealer()
    fresh.sequence, fresh.previous, fresh.position, fresh.chain = 9, b"", 9, b""
    known = prefecture.database.rows("marks")[0]
    fresh.chain, fresh.previous = known.chain, prefecture.database.rows("origins")[0].segment_hash
    assert prefecture.take(fresh.batch(fresh.segment(births(link, range(50, 51))))).held


def test_a_held_municipality_is_told_at_the_greeting_unless_it_must_learn_what_it_lost(
    prefecture: Receiver, link: Any
) -> None:
    sealer = link.Sealer()
    prefecture.take(sealer.batch(sealer.segment(births(link, range(9)))))
    hello = sealer.hello()
    prefecture.take(sealer.batch(sealer.segment(moves(link, range(9)))))
    with pytest.raises(Refused, match="LINK_HELD"):
        prefecture.greet(hello)
    assert prefecture.database.rows("marks")[0].epoch == 1
    hello.restored = True
    assert prefecture.greet(hello).epoch == 2
    other = Hello(epoch=1, version_min=1, version_max=1)
    assert prefecture.greet(other, OTHER_CS).mark == 0


def test_the_center_parks_in_order_and_lets_the_others_of_the_stream_flow(center: Receiver, link: Any) -> None:
    chiyoda, chuo = link.Sealer(CHIYODA), link.Sealer(CHUO)
    stream = link.Sealer()  # the prefecture's own link
    center.take(stream.batch(chiyoda.segment(births(link, range(9))), chuo.segment(births(link, range(20, 29), CHUO))))
    taken = center.take(
        stream.batch(
            chiyoda.segment(moves(link, range(5))),
            chuo.segment(moves(link, range(20, 23), 2, CHUO)),
            chiyoda.segment([*moves(link, range(5), 3), b"\xff"]),
        )
    )
    assert taken.mark.mark == stream.position
    assert taken.outcomes == [HELD] * 5 + [None] * 3 + [HELD] * 6
    assert [(notice.municipality, notice.reason) for notice in taken.parked] == [(CHIYODA, HELD)] * 11
    assert (list(taken.held), taken.newly_held) == ([CHIYODA], [CHIYODA])
    after = center.take(stream.batch(chiyoda.segment(births(link, range(9, 10)))))
    assert (after.outcomes, after.newly_held) == ([HELD], [])
    parked = center.database.rows("parked")
    assert [row.sequence for row in parked] == list(range(10, 22))
    done = center.release()
    assert (done.taken_up, done.left) == (12, 0)
    applied = [n for code, n in center.history() if code == CHIYODA]
    assert applied == [*range(1, 20), 21]
    (unreadable,) = center.database.rows("parked")
    assert (unreadable.sequence, unreadable.reason) == (20, errors.ERROR_REASON_INVALID_MESSAGE)
    assert (
        center.take(stream.batch(chiyoda.segment(moves(link, range(9), 4)))).outcomes[5:]
        == [errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE] * 4
    )


def test_what_another_municipality_sends_waits_for_what_is_held(center: Receiver, link: Any) -> None:
    """And is applied, in order, with the release."""
    chiyoda, chuo, stream = link.Sealer(CHIYODA), link.Sealer(CHUO), link.Sealer()
    center.take(stream.batch(chiyoda.segment(births(link, range(9)))))
    out = link.change(0, 2, reason=change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT, next_municipality=CHUO)
    out.record.address.block = "1番"
    moved = link.change(
        0, 3, CHUO, reason=change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN, previous_municipality=CHIYODA
    )
    flood = [out.SerializeToString(), *moves(link, range(1, 9))]
    center.take(stream.batch(chiyoda.segment(flood)))
    taken = center.take(stream.batch(chuo.segment([moved.SerializeToString()])))
    assert taken.outcomes == [errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE]
    center.release()
    assert not center.database.rows("parked")
    assert [(row.municipality, row.version) for row in center.database.rows("history") if row.version > 2] == [
        (CHUO, 3)
    ]


def test_a_prefecture_takes_back_what_it_lost_without_a_brake(database: Any, link: Any) -> None:
    sealer = link.Sealer()
    batch = sealer.batch(sealer.segment(births(link, range(9))), sealer.segment(moves(link, range(9))))
    assembly = Assembly(scope="13", forwards=True, key_of=link.key_of, brake=SMALL)
    last = database.do(lambda connection: reapply_below(connection, batch, NOW, assembly=assembly))
    assert last == 18
    assert not database.rows("brakes")


@pytest.fixture
async def tiers(mesh: Mesh) -> SimpleNamespace:
    """Two municipalities, their prefecture, which has a small brake, and the center; the receivers serve."""
    cs, other = mesh("municipality", CHIYODA), mesh("municipality", CHUO)
    prefecture, center = mesh("prefecture", "130001"), mesh("center")
    prefecture.brake = SMALL
    await center.serve(forwards=False)
    await prefecture.serve(forwards=True)
    prefecture.dial(center)
    for node in (cs, other):
        node.dial(prefecture)
    return SimpleNamespace(cs=cs, other=other, prefecture=prefecture, center=center)


async def test_others_flow_while_one_is_held_and_it_keeps_what_it_accepts(tiers: Any, link: Any) -> None:
    tiers.cs.submit(*(link.change(n) for n in range(9)))
    await link.until(lambda: tiers.cs.uplink.state.center_mark == 9)
    last = tiers.cs.submit(*(link.change(n, 2) for n in range(9)))
    await link.until(lambda: tiers.cs.uplink.state.last_error == HELD)
    for n in range(5):
        last = tiers.cs.submit(link.change(20 + n))
        tiers.other.submit(link.change(100 + n, 1, CHUO))
        await link.until(lambda n=n: tiers.other.uplink.state.center_mark == n + 1)
    assert tiers.prefecture.mark_of(tiers.cs) == 9
    assert not tiers.cs.running.done(), "it goes on trying"
    for operator in (ALICE, BOB):
        await asyncio.to_thread(
            tiers.prefecture.do,
            lambda connection, who=operator: release_held(
                connection, CHIYODA, operator=who, scope="13", now_us=now_us()
            ),
        )
    await link.until(lambda: tiers.cs.uplink.state.neighbour_mark == last)
    for node in (tiers.prefecture, tiers.center):
        await link.until(lambda node=node: len(node.rows("history")) == last + 5)
        assert [row.sequence for row in node.rows("history") if row.municipality == CHIYODA] == list(range(1, last + 1))
        assert not node.rows("parked")


async def test_a_held_stream_ends_with_its_reason(tiers: Any, link: Any) -> None:
    await tiers.cs.stop_dialling()
    sealer = link.Sealer()
    async with tiers.cs.speaks(tiers.prefecture) as call:
        await call.write(StreamRequest(hello=sealer.hello()))
        await call.read()
        for batch in (sealer.births(1, 9), sealer.batch(sealer.segment(moves(link, range(1, 10))))):
            await call.write(StreamRequest(batch=batch))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while True:
                await call.read()
    assert reason_of(caught.value) == HELD
    assert tiers.prefecture.mark_of(tiers.cs) == 9
