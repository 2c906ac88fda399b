"""No entry is taken whose time lies further before an earlier one's than the verifier allows."""

from contextlib import suppress
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from jukinet.ledger.newest import Newest
from jukinet.ledger.verify.check import SKEW_TOLERANCE_SECONDS
from jukinet.mesh.errors import Refused

TOLERANCE_US = SKEW_TOLERANCE_SECONDS * 1_000_000
TIMES = st.integers(0, 4 * TOLERANCE_US)


@given(st.lists(st.lists(TIMES, min_size=1, max_size=4)))
def test_entries_that_are_taken_together_are_held_against_each_other_too(messages: list[list[int]]) -> None:
    newest = Newest(0)
    taken: list[int] = []
    for message in messages:
        with suppress(Refused):
            newest.take(*message)
            taken += message
    assert all(latest - time <= TOLERANCE_US for time, latest in zip(taken, accumulate(taken, max), strict=True))
