"""A sealed change that cannot be applied is parked: it holds up its resident alone, and nothing of it is lost."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Segment
from jukinet._pb.jukinet.register.v1 import change_pb2
from jukinet.link.apply_batch import read_again
from jukinet.link.receiver import LARGEST
from jukinet.store.schema import parked
from tests.link.receiving import PREFECTURE, Receiver


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
