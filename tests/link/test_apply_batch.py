"""One batch into a register on disk: exactly once, refused without a trace, or parked without holding others up."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, Hello, SealedSegment, Segment
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.link.apply_batch import Assembly, Taken, apply_batch, read_again
from jukinet.link.receiver import LARGEST, greet, take
from jukinet.mesh.errors import Refused
from jukinet.mesh.identity import Identity
from jukinet.store import journal
from jukinet.store.schema import parked

CS = Identity("municipality", "131016")
PREFECTURE = Identity("prefecture", "130001")


@pytest.fixture
def receiver(database: Any, link: Any) -> Any:
    """A prefecture that was greeted by the CS."""
    return Receiver(database, link, scope="13", sender=CS)


class Receiver:
    """A receiving node without its network."""

    def __init__(self, database: Any, link: Any, *, scope: str, sender: Identity) -> None:
        self.database = database
        self.link = link
        self.sender = sender
        self.assembly = Assembly(scope=scope, forwards=bool(scope), key_of=link.key_of)

    def greet(self, hello: Hello) -> journal.Mark:
        def job(connection: Connection) -> journal.Mark:
            mark = greet(journal.read_mark(connection, self.sender.uri), hello, now_us=1)
            journal.write_mark(connection, self.sender.uri, mark)
            return mark

        mark: journal.Mark = self.database.do(job)
        return mark

    def take(self, batch: Batch, traceparents: dict[tuple[str, int], str] | None = None) -> Taken:
        taken: Taken = self.database.do(
            lambda connection: apply_batch(
                connection,
                batch,
                source=self.sender.uri,
                may_bring=lambda municipality: self.link.may_bring(self.sender, municipality),
                assembly=self.assembly,
                traceparents=traceparents or {},
                now_us=7,
            )
        )
        return taken


@pytest.fixture
def sealer(link: Any, receiver: Any) -> Any:
    """The CS's stream, greeted."""
    sealer = link.Sealer()
    receiver.greet(sealer.hello())
    return sealer


def test_a_batch_comes_into_the_register_and_goes_on_to_the_outbox(receiver: Any, sealer: Any) -> None:
    batch = sealer.births(1, 3)
    taken = receiver.take(batch)
    assert taken.outcomes == [None, None, None]
    assert (taken.mark.mark, taken.mark.chain, taken.last_sequence) == (3, sealer.chain, 3)
    assert [row.sequence for row in receiver.database.rows("history")] == [1, 2, 3]
    [row] = receiver.database.rows("outbox")
    assert (row.segment, row.source, row.source_sequence) == (batch.segments[0].segment, CS.uri, 3)
    [origin] = receiver.database.rows("origins")
    assert (origin.sequence, origin.segment_hash) == (3, sealer.previous)


def test_the_center_keeps_what_it_took_for_those_who_lose_it(database: Any, link: Any) -> None:
    center = Receiver(database, link, scope="", sender=PREFECTURE)
    sealer = link.Sealer()
    center.greet(sealer.hello())
    assert center.take(sealer.births(1, 1)).last_sequence == 1
    [row] = database.rows("outbox")
    assert (row.source, row.source_sequence) == (PREFECTURE.uri, 1)


def test_trace_contexts_go_on_for_the_changes_that_have_one(receiver: Any, sealer: Any) -> None:
    receiver.take(sealer.births(1, 2), {("131016", 2): "00-aa-bb-01"})
    receiver.take(sealer.births(3, 1))
    assert [row.traceparents for row in receiver.database.rows("outbox")] == [",00-aa-bb-01", ""]


def test_a_batch_takes_effect_once_however_often_it_comes(receiver: Any, sealer: Any) -> None:
    first, second = sealer.births(1, 2), sealer.births(3, 2)
    receiver.take(first)
    mark = receiver.take(second).mark
    before = receiver.database.digest()
    for batch in (first, second, first):
        again = receiver.take(batch)
        assert (again.mark, again.outcomes, again.parked) == (mark, [], [])
    assert receiver.database.digest() == before


@given(data=st.data())
def test_batches_cut_anew_over_the_mark_take_effect_once(data: st.DataObject, link: Any) -> None:
    """Segments are atomic; which of them share a batch may differ from stream to stream."""
    sealer = link.Sealer()
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=6))
    segments = [sealer.segment([b"change"] * size) for size in sizes]
    ends = list(accumulate(sizes))
    known = greet(None, link.Sealer().hello(), now_us=1)
    origins: dict[str, journal.Origin] = {}
    effect: list[int] = []
    while known.mark < ends[-1]:
        after = [0, *ends].index(known.mark)
        begin = data.draw(st.integers(0, after))
        end = len(segments) - data.draw(st.integers(0, len(segments) - begin - 1))
        sender = link.Sealer()
        sender.batch(*segments[:begin])
        placed = take(
            known,
            sender.batch(*segments[begin:end]),
            origins=origins,
            key_of=link.key_of,
            may_bring=lambda _: True,
            now_us=1,
        )
        for entry in placed.fresh:
            effect += range(entry.segment.first_sequence, entry.last_sequence + 1)
        known, origins = placed.mark, {**origins, **placed.origins}
    assert effect == list(range(1, ends[-1] + 1))


Situation = Callable[[Any, Any], Batch]
"""Given the CS's stream after three changes and the tools, a batch that must be refused."""


def _gap(sealer: Any, link: Any) -> Batch:
    sealer.births(50, 1)
    batch: Batch = sealer.births(51, 1)
    return batch


def _fork(sealer: Any, link: Any) -> Batch:
    other = link.Sealer(epoch=2)
    other.births(60, 3)
    batch: Batch = other.births(63, 1)
    return batch


def _fork_before_the_mark(sealer: Any, link: Any) -> Batch:
    other = link.Sealer(epoch=2)
    first = other.segment([link.change(n).SerializeToString() for n in (60, 61, 62)])
    batch: Batch = other.batch(first, other.segment([link.change(63).SerializeToString()]))
    return batch


def _segment_across_the_mark(sealer: Any, link: Any) -> Batch:
    batch: Batch = link.Sealer(epoch=2).births(1, 4)
    return batch


def _next(sealer: Any, link: Any, **fake: Any) -> Batch:
    batch: Batch = sealer.batch(sealer.segment([link.change(9).SerializeToString()], **fake))
    return batch


def _with(batch: Batch, **fields: Any) -> Batch:
    changed = Batch()
    changed.CopyFrom(batch)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _altered(sealer: Any, link: Any) -> Batch:
    batch = _next(sealer, link)
    batch.segments[0].segment = batch.segments[0].segment.replace("丸の内".encode(), "大手町".encode())
    return batch


def _unsealed(sealer: Any, link: Any) -> Batch:
    batch = _next(sealer, link)
    batch.segments[0].seal = bytes(64)
    return batch


def _bad_traceparents(sealer: Any, link: Any) -> Batch:
    batch = _next(sealer, link)
    batch.segments[0].traceparents.extend(["", ""])
    return batch


def _not_a_segment(sealer: Any, link: Any) -> Batch:
    batch: Batch = sealer.batch(SealedSegment(segment=b"", seal=bytes(64)))
    batch.segments[0].segment = b"\xff\xff"
    return batch


def _too_many(sealer: Any, link: Any) -> Batch:
    segments = [sealer.segment([link.change(n).SerializeToString() for n in range(k, k + 300)]) for k in (0, 300)]
    batch: Batch = sealer.batch(*segments)
    return batch


def _second_of_two_is_foreign(sealer: Any, link: Any) -> Batch:
    own = sealer.segment([link.change(9).SerializeToString()])
    other = link.Sealer(link.CHUO).segment([link.change(10, 1, link.CHUO).SerializeToString()])
    batch: Batch = sealer.batch(own, other)
    return batch


def _foreign(municipality: str) -> Situation:
    def make(sealer: Any, link: Any) -> Batch:
        segment = link.Sealer(municipality).segment([link.change(9, 1, municipality).SerializeToString()])
        batch: Batch = sealer.batch(segment)
        return batch

    return make


def _sealed_by(municipality: str) -> Situation:
    return lambda sealer, link: _next(sealer, link, key=link.sealing_key(municipality))


FORGED: dict[str, tuple[Situation, str]] = {
    "gap in the sender's stream": (_gap, "LINK_GAP"),
    "another history": (_fork, "LINK_FORK"),
    "another history before the mark": (_fork_before_the_mark, "LINK_FORK"),
    "segment across the mark": (_segment_across_the_mark, "LINK_FORK"),
    "wrong previous chain": (lambda s, k: _with(_next(s, k), previous_chain=bytes(32)), "LINK_FORK"),
    "no previous chain": (lambda s, k: _with(_next(s, k), previous_chain=b""), "LINK_PROTOCOL"),
    "chain at the very beginning": (
        lambda s, k: _with(_next(k.Sealer(epoch=2), k), previous_chain=bytes(32)),
        "LINK_PROTOCOL",
    ),
    "older epoch": (lambda s, k: _with(_next(s, k), epoch=1), "LINK_FENCED"),
    "newer epoch without a hello": (lambda s, k: _with(_next(s, k), epoch=3), "LINK_PROTOCOL"),
    "seal of another municipality": (_sealed_by("131024"), "LINK_SEAL"),
    "seal of the prefecture": (_sealed_by("130001"), "LINK_SEAL"),
    "no seal": (_unsealed, "LINK_SEAL"),
    "altered after sealing": (_altered, "LINK_SEAL"),
    "municipality of the same prefecture": (_foreign("131024"), "LINK_FOREIGN_SEGMENT"),
    "municipality of another prefecture": (_foreign("141003"), "LINK_FOREIGN_SEGMENT"),
    "municipality that names itself": (lambda s, k: _next(s, k, municipality="131024"), "LINK_FOREIGN_SEGMENT"),
    "second of two is foreign": (_second_of_two_is_foreign, "LINK_FOREIGN_SEGMENT"),
    "older epoch of the municipality": (lambda s, k: _next(s, k, epoch=1), "LINK_FENCED"),
    "gap in the municipality's stream": (lambda s, k: _next(s, k, first_sequence=5), "LINK_GAP"),
    "other repetition at the end of the municipality's stream": (
        lambda s, k: _next(s, k, first_sequence=3),
        "LINK_FORK",
    ),
    "repetition that reaches beyond the municipality's stream": (
        lambda s, k: s.batch(s.segment([k.change(50 + n).SerializeToString() for n in range(2)], first_sequence=3)),
        "LINK_GAP",
    ),
    "wrong previous segment": (lambda s, k: _next(s, k, previous=bytes(32)), "LINK_FORK"),
    "no previous segment": (lambda s, k: _next(s, k, previous=b""), "LINK_FORK"),
    "segment without a change": (lambda s, k: s.batch(s.segment([])), "LINK_PROTOCOL"),
    "segment with 501 changes": (
        lambda s, k: s.batch(s.segment([k.change(n).SerializeToString() for n in range(501)])),
        "LINK_PROTOCOL",
    ),
    "batch with 600 changes": (_too_many, "LINK_PROTOCOL"),
    "municipality that is no code": (lambda s, k: _next(s, k, municipality="tokyo"), "LINK_PROTOCOL"),
    "epoch beyond what a column holds": (lambda s, k: _next(s, k, epoch=LARGEST + 1), "LINK_PROTOCOL"),
    "not a segment": (_not_a_segment, "LINK_PROTOCOL"),
    "trace contexts that do not fit": (_bad_traceparents, "LINK_PROTOCOL"),
}


@pytest.mark.parametrize("situation", FORGED)
def test_a_forged_batch_is_refused_and_nothing_is_changed(
    receiver: Any, sealer: Any, link: Any, situation: str
) -> None:
    forge, reason = FORGED[situation]
    receiver.take(sealer.births(1, 2))
    sealer.epoch = 2
    receiver.greet(sealer.hello())
    receiver.take(_next(sealer, link))
    before = receiver.database.digest()
    with pytest.raises(Refused, match=f"^{reason}$"):
        receiver.take(forge(sealer, link))
    assert receiver.database.digest() == before


@pytest.mark.parametrize("municipality", ["131016", "131024", "141003"])
def test_the_center_checks_again_what_a_prefecture_brings(database: Any, link: Any, municipality: str) -> None:
    """The prefecture holds no sealing key of its municipalities, so it can alter and invent nothing."""
    center = Receiver(database, link, scope="", sender=PREFECTURE)
    sealer = link.Sealer(municipality)
    center.greet(sealer.hello())
    payload = link.change(1, 1, municipality).SerializeToString()
    before = database.digest()
    with pytest.raises(Refused, match=r"LINK_SEAL|LINK_FOREIGN_SEGMENT"):
        center.take(sealer.batch(sealer.segment([payload], key=link.sealing_key("130001"))))
    assert database.digest() == before


def test_a_gap_in_the_prefectures_stream_is_refused_though_the_next_municipality_has_none(
    database: Any, link: Any
) -> None:
    center = Receiver(database, link, scope="", sender=PREFECTURE)
    hop = link.Sealer()
    center.greet(hop.hello())
    hop.batch(link.Sealer(link.CHIYODA).segment([link.change(1).SerializeToString()]))
    after = link.Sealer(link.CHUO).segment([link.change(2, 1, link.CHUO).SerializeToString()])
    before = database.digest()
    with pytest.raises(Refused, match="LINK_GAP"):
        center.take(hop.batch(after))
    assert database.digest() == before


def test_a_batch_before_any_hello_is_out_of_turn(database: Any, link: Any) -> None:
    with pytest.raises(Refused, match="LINK_PROTOCOL"):
        Receiver(database, link, scope="13", sender=CS).take(link.Sealer().births(1, 1))


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ({"epoch": 1}, "LINK_FENCED"),
        ({"last_chain": bytes(32)}, "LINK_FORK"),
        ({"last_chain": b""}, "LINK_PROTOCOL"),
        ({"last_sequence": 0}, "LINK_PROTOCOL"),
        ({"epoch": LARGEST + 1}, "LINK_PROTOCOL"),
        ({"version_min": 2, "version_max": 3}, "LINK_VERSION"),
        ({"version_min": 2, "version_max": 1}, "LINK_VERSION"),
    ],
)
def test_a_hello_that_does_not_fit_is_refused_and_fences_nobody(
    receiver: Any, link: Any, fake: dict[str, Any], reason: str
) -> None:
    sealer = link.Sealer(epoch=2)
    receiver.greet(sealer.hello())
    receiver.take(sealer.births(1, 2))
    before = receiver.database.digest()
    with pytest.raises(Refused, match=f"^{reason}$"):
        receiver.greet(sealer.hello(**fake))
    assert receiver.database.digest() == before


def test_a_newer_epoch_fences_the_older_one_before_its_sender_learns_anything(receiver: Any, sealer: Any) -> None:
    receiver.take(sealer.births(1, 1))
    late = sealer.births(2, 1)
    mark = receiver.greet(sealer.hello(epoch=2))
    assert (mark.epoch, mark.mark) == (2, 1)
    with pytest.raises(Refused, match="LINK_FENCED"):
        receiver.take(late)


def test_a_sender_that_lost_data_is_told_the_mark(receiver: Any, sealer: Any, link: Any) -> None:
    receiver.take(sealer.births(1, 3))
    restored = link.Sealer(epoch=2)
    restored.births(1, 1)
    assert receiver.greet(restored.hello(restored=True)).mark == 3


@pytest.mark.parametrize(
    ("known", "own", "now_us", "given"),
    [
        (None, 1, 5_000, 5_000),
        (1, 1, 5_000, 5_000),
        (4_000, 1, 5_000, 5_000),
        (4_000, 1, 7, 4_001),
        (1, 4_000, 7, 4_001),
    ],
    ids=["lost above", "old above", "restored before", "clock behind", "clock behind, lost above"],
)
def test_an_epoch_that_only_lost_disks_knew_of_is_not_given_again(
    known: int | None, own: int, now_us: int, given: int, link: Any
) -> None:
    """By the clock of the receiver; where that is wrong, the epoch is still above all that are known."""
    hello = link.Sealer(epoch=own).hello(restored=True)
    mark = None if known is None else journal.Mark(known, 0, b"", 0, 0)
    assert greet(mark, hello, now_us=now_us).epoch == given


def test_a_restored_sender_is_given_a_new_epoch_even_by_a_receiver_that_never_heard_of_it(
    receiver: Any, link: Any
) -> None:
    """Both may have lost their disks, and what the older incarnation sent may still be under way."""
    late = link.Sealer().births(1, 1)
    assert receiver.greet(link.Sealer().hello(restored=True)).epoch == 2
    with pytest.raises(Refused, match="LINK_FENCED"):
        receiver.take(late)


def _unknown_reason(link: Any) -> bytes:
    payload: bytes = link.change(5, reason=99).SerializeToString()
    return payload


POISON: dict[str, tuple[Callable[[Any], bytes], "errors.ErrorReason.ValueType"]] = {
    "not a message": (lambda link: b"\xff", errors.ERROR_REASON_INVALID_MESSAGE),
    "empty": (lambda link: b"", errors.ERROR_REASON_INVALID_MESSAGE),
    "broken rule": (lambda link: link.change(5, version=0).SerializeToString(), errors.ERROR_REASON_INVALID_MESSAGE),
    "version beyond what a column holds": (
        lambda link: link.change(5, version=LARGEST + 1).SerializeToString(),
        errors.ERROR_REASON_INVALID_MESSAGE,
    ),
    "field of another reason": (
        lambda link: link.change(5, next_municipality=link.CHUO).SerializeToString(),
        errors.ERROR_REASON_INVALID_MESSAGE,
    ),
    "move out to nowhere": (
        lambda link: link.change(5, reason=change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT).SerializeToString(),
        errors.ERROR_REASON_INVALID_MESSAGE,
    ),
    "reason not stated": (
        lambda link: link.change(5, reason=0).SerializeToString(),
        errors.ERROR_REASON_INVALID_MESSAGE,
    ),
    "reason of a newer version": (_unknown_reason, errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE),
    "unknown resident": (
        lambda link: link.change(5, 1, reason=change_pb2.CHANGE_REASON_DELETION_DEATH).SerializeToString(),
        errors.ERROR_REASON_RESIDENT_UNKNOWN,
    ),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_sealed_change_that_cannot_be_applied_is_parked_and_holds_nobody_up(
    receiver: Any, sealer: Any, link: Any, kind: str
) -> None:
    make, reason = POISON[kind]
    poison = make(link)
    payloads = [link.change(1).SerializeToString(), poison, link.change(2).SerializeToString()]
    taken = receiver.take(sealer.batch(sealer.segment(payloads)))
    assert taken.outcomes == [None, reason, None]
    [notice] = taken.parked
    assert (notice.municipality, notice.sequence, notice.reason) == ("131016", 2, reason)
    [row] = receiver.database.rows("parked")
    assert (row.municipality, row.sequence, row.reason, row.change) == ("131016", 2, reason, poison)
    assert [each.sequence for each in receiver.database.rows("history")] == [1, 3]
    assert taken.mark.mark == 3
    [forwarded] = receiver.database.rows("outbox")
    assert list(Segment.FromString(forwarded.segment).changes) == payloads


def test_an_unreadable_change_keeps_only_its_resident_waiting(receiver: Any, sealer: Any, link: Any) -> None:
    payloads = [
        link.change(1).SerializeToString(),
        link.change(1, 2, event_date=None).SerializeToString(),
        link.change(1, 3).SerializeToString(),
        link.change(2).SerializeToString(),
    ]
    taken = receiver.take(sealer.batch(sealer.segment(payloads)))
    assert taken.outcomes == [
        None,
        errors.ERROR_REASON_INVALID_MESSAGE,
        errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE,
        None,
    ]


def test_a_released_change_is_told_of(receiver: Any, link: Any, database: Any) -> None:
    """A move-in that came before its move-out waits for it at the center."""
    center = Receiver(database, link, scope="", sender=PREFECTURE)
    leaving, entering = link.Sealer(), link.Sealer(link.CHUO)
    hop = link.Sealer()
    center.greet(hop.hello())
    move_in = link.change(1, 3, link.CHUO, reason=change_pb2.CHANGE_REASON_ENTRY_DOMESTIC_MOVE_IN)
    move_in.previous_municipality = link.CHIYODA
    move_out = link.change(1, 2, reason=change_pb2.CHANGE_REASON_DELETION_DOMESTIC_MOVE_OUT)
    move_out.record.address.block = "1番"
    move_out.next_municipality = link.CHUO
    early = center.take(hop.batch(entering.segment([move_in.SerializeToString()])))
    assert early.outcomes == [errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE]
    births = leaving.segment([link.change(1).SerializeToString()])
    taken = center.take(hop.batch(births, leaving.segment([move_out.SerializeToString()])))
    assert taken.outcomes == [None, None]
    [released] = taken.parked
    assert (released.municipality, released.sequence, released.released) == (link.CHUO, 1, True)
    assert not database.rows("parked")
    assert [row.version for row in database.rows("history")] == [1, 2, 3]


def test_a_new_version_takes_up_what_the_old_one_could_not_read(
    receiver: Any, sealer: Any, link: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [link.change(1).SerializeToString(), link.change(1, 2).SerializeToString(), _unknown_reason(link)]
    known = change_pb2.ChangeReason.values()
    with monkeypatch.context() as older:
        older.setattr("jukinet.link.reading._REASONS", frozenset(known) - {13})
        taken = receiver.take(sealer.batch(sealer.segment(payloads)))
        assert taken.outcomes == [None] + [errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE] * 2
        before = receiver.database.digest()
        assert receiver.database.do(lambda connection: read_again(connection, scope="13", now_us=8)) == 0
        assert receiver.database.digest() == before
    assert receiver.database.do(lambda connection: read_again(connection, scope="13", now_us=8)) == 1
    assert [row.version for row in receiver.database.rows("history")] == [1, 2]
    [left] = receiver.database.rows("parked")
    assert left.sequence == 3


def test_what_a_new_version_reads_and_finds_wrong_stays_parked(receiver: Any, sealer: Any, link: Any) -> None:
    receiver.take(sealer.batch(sealer.segment([link.change(1, 3).SerializeToString(), b"\xff"])))
    unknown = errors.ERROR_REASON_CHANGE_UNKNOWN_TYPE
    receiver.database.do(lambda connection: connection.execute(update(parked).values(reason=unknown)) and None)
    assert receiver.database.do(lambda connection: read_again(connection, scope="13", now_us=8)) == 2
    reasons = {row.sequence: row.reason for row in receiver.database.rows("parked")}
    assert reasons == {
        1: errors.ERROR_REASON_WAITING_FOR_EARLIER_CHANGE,
        2: errors.ERROR_REASON_INVALID_MESSAGE,
    }
