"""A neighbour is slow when it owes a word for too long, and at no other time."""

from hypothesis import given
from hypothesis import strategies as st

from jukinet.link.pulse import HEARTBEAT, SILENCE, SLOW, Owed


def test_a_slow_neighbour_is_named_before_it_is_given_up_and_both_within_half_a_minute() -> None:
    assert HEARTBEAT < SLOW < SILENCE
    assert HEARTBEAT + SLOW <= 30
    assert SILENCE >= 2 * HEARTBEAT


def test_who_was_told_nothing_owes_nothing() -> None:
    owed = Owed()
    assert not owed.is_slow(1e9)
    owed.said(0, 1.0)
    owed.heard(0)
    assert owed.since() is None


def test_a_batch_is_owed_until_its_own_acknowledgement() -> None:
    owed = Owed()
    owed.said(3, 1.0)
    owed.said(5, 2.0)
    owed.heard(2)
    assert owed.since() == 1.0
    owed.heard(3)
    assert owed.since() == 2.0
    assert owed.is_slow(2.1 + SLOW)
    assert not owed.is_slow(1.9 + SLOW)
    owed.heard(5)
    assert owed.since() is None


def test_a_sign_of_life_is_owed_any_word() -> None:
    owed = Owed()
    owed.said(3, 1.0)
    owed.heard(3)
    owed.said(3, 10.0)
    owed.said(3, 20.0)
    assert owed.since() == 10.0
    owed.heard(3)
    assert owed.since() is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_the_oldest_answer_counts(steps: list[tuple[bool, int]]) -> None:
    owed, sent, mark = Owed(), 0, 0
    batches: list[tuple[int, float]] = []
    asked: float | None = None
    for now, (speaks, number) in enumerate(steps):
        if speaks:
            if number:
                sent += number
                batches.append((sent, now))
            elif asked is None:
                asked = now
            owed.said(sent, now)
        else:
            mark, asked = min(sent, mark + number), None
            batches = [batch for batch in batches if batch[0] > mark]
            owed.heard(mark)
        assert owed.since() == min([at for _, at in batches] + ([] if asked is None else [asked]), default=None)
