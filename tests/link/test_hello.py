"""A hello that fits fences all older epochs and tells the mark; one that does not is refused and fences nobody."""

from typing import Any

import pytest

from jukinet.link.receiver import LARGEST, greet
from jukinet.mesh.errors import Refused
from jukinet.store import journal


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
