"""A batch takes effect in the register on disk and in the outbox, once, however often and however cut it comes."""

from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jukinet.link.receiver import greet, take
from jukinet.store import journal
from tests.link.receiving import CS, PREFECTURE, Receiver


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
