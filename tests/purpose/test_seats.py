"""An operator sits at one terminal until he asked nothing for five minutes, and what stands for it tells nothing."""

from datetime import UTC, datetime, timedelta
from itertools import combinations

from jukinet.mesh.interceptors import Terminal
from jukinet.purpose.seats import IDLE, Seats, terminal_tag

NOW = datetime(2026, 4, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HERE = Terminal(bytes(range(32)), "ipv4:192.0.2.1")


def test_an_operator_sits_where_he_asked_last_until_five_idle_minutes_are_over() -> None:
    seats: Seats[str] = Seats()
    assert seats.of("a", "op-1", NOW) is None
    seats.take("a", "op-1", "here", NOW)
    assert seats.of("a", "op-1", NOW + IDLE) == "here"
    assert seats.of("a", "op-1", NOW + IDLE + SECOND) is None
    assert seats.of("a", "op-2", NOW) is None
    assert seats.of("b", "op-1", NOW) is None
    seats.take("a", "op-1", "there", NOW + IDLE)
    assert seats.of("a", "op-1", NOW + 2 * IDLE) == "there"


def test_who_left_is_let_go_and_nobody_else() -> None:
    seats: Seats[str] = Seats()
    for number in range(1000):
        seats.take("a", f"op-{number}", "here", NOW + number * SECOND)
    assert len(seats._seats) == IDLE.total_seconds() + 1
    seats.take("a", "op-800", "here", NOW + 1000 * SECOND)  # he is the first no more
    seats.take("a", "op-2000", "here", NOW + 1200 * SECOND)
    assert seats.of("a", "op-800", NOW + 1200 * SECOND) == "here"
    assert "op-900" in {operator for _, operator in seats._seats}
    assert "op-899" not in {operator for _, operator in seats._seats}


def test_a_terminals_tag_is_the_same_each_time_and_of_this_terminal_and_operator_alone() -> None:
    tags = [
        terminal_tag(HERE, "a", "op-1"),
        terminal_tag(Terminal(bytes(32), HERE.host), "a", "op-1"),
        terminal_tag(Terminal(HERE.certificate, "ipv4:192.0.2.2"), "a", "op-1"),
        terminal_tag(HERE, "b", "op-1"),
        terminal_tag(HERE, "a", "op-2"),
    ]
    assert terminal_tag(Terminal(HERE.certificate, HERE.host), "a", "op-1") == tags[0]
    assert all(one != other for one, other in combinations(tags, 2))
    assert {len(tag) for tag in tags} == {16}
