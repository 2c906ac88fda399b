"""A batch that is forged, out of turn or another municipality's is refused at every tier, and changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from jukinet._pb.jukinet.link.v1.link_pb2 import Batch, SealedSegment
from jukinet.link.receiver import LARGEST
from jukinet.mesh.errors import Refused
from tests.link.receiving import CS, PREFECTURE, Receiver

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
