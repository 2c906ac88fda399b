"""The sending side, event by event."""

from typing import Any

import pytest

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.link.v1.link_pb2 import Ack, Batch, Credit, Welcome
from jukinet.link.outputs import Fetch, Output, Progress, Send, Stop, for_people
from jukinet.link.seal import link_chain, segment_hash
from jukinet.link.sender import BATCH_BYTES, Sender
from jukinet.store.journal import OutboxRow, Stream

PLENTY = Credit(batches=32, bytes=8_000_000)


class Outbox:
    """Rows of an outbox, one change each, of any length."""

    def __init__(self, *sizes: int) -> None:
        self.rows: list[OutboxRow] = []
        for size in sizes:
            self.add(size)

    def add(self, size: int) -> None:
        number, segment = len(self.rows) + 1, bytes(size)
        chain = link_chain(
            self.chain(number - 1), first_sequence=number, last_sequence=number, segment=segment_hash(segment)
        )
        self.rows.append(OutboxRow(number, number, chain, segment, bytes(64), "", "", number))

    def chain(self, sequence: int) -> bytes:
        return self.rows[sequence - 1].chain if 0 < sequence <= len(self.rows) else b""

    def stream(self, epoch: int = 1) -> Stream:
        return Stream(epoch, len(self.rows), self.chain(len(self.rows)), 0, 0, 0)

    def welcome(self, mark: int = 0, **fake: Any) -> Welcome:
        fields: dict[str, Any] = {"epoch": 1, "mark": mark, "chain": self.chain(mark), "version": 1, "credit": PLENTY}
        return Welcome(**(fields | fake))

    def ack(self, mark: int, **fake: Any) -> Ack:
        fields: dict[str, Any] = {"epoch": 1, "mark": mark, "chain": self.chain(mark), "credit": PLENTY}
        return Ack(**(fields | fake))


def opened(outbox: Outbox, **options: Any) -> Sender:
    sender = Sender()
    sender.opened(outbox.stream(), first_kept=options.get("first_kept", 1 if outbox.rows else 0))
    return sender


def welcomed(outbox: Outbox, mark: int = 0, **fake: Any) -> Sender:
    sender = opened(outbox)
    outputs = sender.welcomed(outbox.welcome(mark, **fake), chain_here=outbox.chain(mark))
    assert outputs[0] == Progress(mark, 0)
    return sender


def batches(outputs: list[Output]) -> list[Batch]:
    return [output.request.batch for output in outputs if isinstance(output, Send)]


def test_hello_says_what_the_outbox_holds() -> None:
    outbox = Outbox(10, 10)
    [output] = Sender().opened(outbox.stream(epoch=3), first_kept=1, restored=True)
    assert isinstance(output, Send)
    hello = output.request.hello
    assert (hello.epoch, hello.last_sequence, hello.first_kept, hello.restored) == (3, 2, 1, True)
    assert hello.last_chain == outbox.chain(2)


def test_nothing_is_sent_before_the_welcome() -> None:
    sender = opened(Outbox(10))
    assert sender.grown(1) == []
    assert sender.beat(0) == []


def test_a_sender_goes_on_from_the_receivers_mark_whatever_it_sent_before() -> None:
    outbox = Outbox(10, 10, 10)
    sender = opened(outbox)
    assert sender.welcomed(outbox.welcome(2), chain_here=outbox.chain(2))[1] == Fetch(2, BATCH_BYTES)
    [batch] = batches(sender.fetched(outbox.rows[2:]))
    assert (batch.first_sequence, batch.previous_chain) == (3, outbox.chain(2))


@pytest.mark.parametrize(
    ("welcome", "chain_here", "reason"),
    [
        ({"version": 2}, b"", errors.ERROR_REASON_LINK_VERSION),
        ({"epoch": 2}, b"", errors.ERROR_REASON_LINK_PROTOCOL),
        ({"mark": 4, "chain": bytes(32)}, None, errors.ERROR_REASON_LINK_RECEIVER_AHEAD),
        ({"mark": 2, "chain": bytes(32)}, b"\1" * 32, errors.ERROR_REASON_LINK_FORK),
        ({"mark": 2, "chain": bytes(32)}, None, errors.ERROR_REASON_LINK_FORK),
        ({"chain": bytes(32)}, b"", errors.ERROR_REASON_LINK_FORK),
    ],
)
def test_a_receiver_with_another_history_stops_the_sender(
    welcome: dict[str, Any], chain_here: bytes | None, reason: "errors.ErrorReason.ValueType"
) -> None:
    outbox = Outbox(10, 10, 10)
    sender = opened(outbox)
    assert sender.welcomed(outbox.welcome(**welcome), chain_here=chain_here) == [Stop(reason)]
    assert sender.grown(9) == []


def test_a_second_welcome_is_out_of_turn() -> None:
    outbox = Outbox(10)
    sender = welcomed(outbox)
    assert sender.welcomed(outbox.welcome(), chain_here=b"") == [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]


def test_a_receiver_that_lost_what_was_pruned_here_is_a_gap_and_no_fork() -> None:
    outbox = Outbox(10, 10, 10)
    sender = opened(outbox, first_kept=3)
    assert sender.welcomed(outbox.welcome(1), chain_here=None) == [Stop(errors.ERROR_REASON_LINK_GAP)]
    emptied = opened(outbox, first_kept=0)
    assert emptied.welcomed(outbox.welcome(2), chain_here=None) == [Stop(errors.ERROR_REASON_LINK_GAP)]


def test_a_pruned_outbox_still_knows_its_own_end() -> None:
    outbox = Outbox(10, 10, 10)
    sender = opened(outbox, first_kept=0)
    assert sender.welcomed(outbox.welcome(3), chain_here=None) == [Progress(3, 0)]
    sender = opened(outbox, first_kept=0)
    forked = outbox.welcome(3, chain=bytes(32))
    assert sender.welcomed(forked, chain_here=None) == [Stop(errors.ERROR_REASON_LINK_FORK)]


def test_the_first_kept_row_shows_whether_the_receivers_history_is_ours() -> None:
    outbox = Outbox(10, 10, 10)
    sender = opened(outbox, first_kept=3)
    sender.welcomed(outbox.welcome(2), chain_here=None)
    assert batches(sender.fetched(outbox.rows[2:]))
    sender = opened(outbox, first_kept=3)
    sender.welcomed(outbox.welcome(2, chain=bytes(32)), chain_here=None)
    assert sender.fetched(outbox.rows[2:]) == [Stop(errors.ERROR_REASON_LINK_FORK)]


def test_a_stored_segment_that_changed_is_not_sent() -> None:
    outbox = Outbox(10, 10)
    sender = welcomed(outbox)
    row = outbox.rows[1]
    rotten = OutboxRow(2, 2, row.chain, b"\1" + row.segment[1:], row.seal, "", "", 2)
    assert sender.fetched([outbox.rows[0], rotten]) == [Stop(errors.ERROR_REASON_LINK_FORK)]


def test_a_hole_in_the_outbox_stops_the_stream() -> None:
    outbox = Outbox(10, 10)
    assert welcomed(outbox).fetched(outbox.rows[1:]) == [Stop(errors.ERROR_REASON_LINK_GAP)]


def test_an_empty_fetch_waits_for_growth() -> None:
    outbox = Outbox(10)
    sender = welcomed(outbox)
    assert sender.fetched([]) == []
    assert sender.grown(1) == [Fetch(0, BATCH_BYTES)]


def test_no_more_batches_are_under_way_than_the_credit_says() -> None:
    outbox = Outbox(10, 10, 10)
    sender = welcomed(outbox, credit=Credit(batches=2, bytes=8_000_000))
    assert sender.fetched(outbox.rows[:1])[1:] == [Fetch(1, BATCH_BYTES)]
    assert sender.fetched(outbox.rows[1:2])[1:] == []
    assert sender.acked(outbox.ack(1, credit=Credit(batches=2, bytes=8_000_000)))[1:] == [Fetch(2, BATCH_BYTES)]


def test_no_more_bytes_are_under_way_than_the_credit_says() -> None:
    outbox = Outbox(600_000, 600_000, 600_000)
    tight = Credit(batches=9, bytes=1_500_000)
    sender = welcomed(outbox, credit=tight)
    assert sender.fetched(outbox.rows[:1])[1:] == []
    assert sender.acked(outbox.ack(1, credit=tight))[1:] == [Fetch(1, BATCH_BYTES)]


def test_a_small_credit_makes_small_batches() -> None:
    outbox = Outbox(10)
    sender = opened(outbox)
    outputs = sender.welcomed(outbox.welcome(credit=Credit(batches=1, bytes=70)), chain_here=b"")
    assert outputs[1:] == [Fetch(0, 70)]


def test_a_credit_of_nothing_is_a_pause() -> None:
    outbox = Outbox(10)
    sender = opened(outbox)
    assert sender.welcomed(outbox.welcome(credit=Credit()), chain_here=b"") == [Progress(0, 0)]
    assert sender.grown(1) == []
    assert isinstance(sender.beat(0)[0], Send)
    assert sender.acked(outbox.ack(0)) == [Progress(0, 0), Fetch(0, BATCH_BYTES)]
    assert batches(sender.fetched(outbox.rows))
    assert sender.acked(outbox.ack(1, credit=Credit())) == [Progress(1, 0)]
    outbox.add(10)
    assert sender.grown(2) == []


@pytest.mark.parametrize("fake", [{"mark": 3}, {"epoch": 2}])
def test_an_acknowledgement_of_what_was_not_sent_ends_the_stream(fake: dict[str, Any]) -> None:
    outbox = Outbox(10, 10, 10)
    sender = welcomed(outbox)
    sender.fetched(outbox.rows[:2])
    assert sender.acked(outbox.ack(**({"mark": 2} | fake))) == [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]


def test_an_acknowledgement_never_goes_back() -> None:
    outbox = Outbox(10, 10)
    sender = welcomed(outbox, mark=1)
    assert sender.acked(outbox.ack(0)) == [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]


def test_an_acknowledgement_before_the_welcome_is_out_of_turn() -> None:
    outbox = Outbox(10)
    assert opened(outbox).acked(outbox.ack(0)) == [Stop(errors.ERROR_REASON_LINK_PROTOCOL)]


def test_an_acknowledgement_with_another_chain_is_a_fork() -> None:
    outbox = Outbox(10)
    sender = welcomed(outbox)
    sender.fetched(outbox.rows)
    assert sender.acked(outbox.ack(1, chain=bytes(32))) == [Stop(errors.ERROR_REASON_LINK_FORK)]


def test_one_acknowledgement_may_cover_many_batches_and_part_of_one() -> None:
    outbox = Outbox(10, 10, 10, 10)
    sender = welcomed(outbox)
    sender.fetched(outbox.rows[:1])
    sender.fetched(outbox.rows[1:2])
    sender.fetched(outbox.rows[2:])
    assert sender.acked(outbox.ack(3, center_mark=2)) == [Progress(3, 2)]
    assert sender.acked(outbox.ack(4)) == [Progress(4, 0)]


def test_an_idle_sender_gives_a_sign_of_life() -> None:
    [output] = welcomed(Outbox()).beat(0)
    assert isinstance(output, Send)
    assert output.request.heartbeat.sequence == 0


def test_trace_contexts_go_along() -> None:
    outbox = Outbox(10)
    row = outbox.rows[0]
    traced = OutboxRow(1, 1, row.chain, row.segment, row.seal, "00-aa-bb-01", "", 1)
    [batch] = batches(welcomed(outbox).fetched([traced]))
    assert list(batch.segments[0].traceparents) == ["00-aa-bb-01"]


def test_only_what_people_must_see_stops_for_good() -> None:
    assert for_people(errors.ERROR_REASON_LINK_FORK)
    assert not for_people(errors.ERROR_REASON_LINK_GAP)
    assert not for_people(errors.ERROR_REASON_STORAGE_FULL)
