"""An operator sits at one terminal until he asked nothing for five minutes, and what stands for it tells nothing."""

from itertools import combinations

from jukinet.mesh.interceptors import Terminal
from jukinet.purpose.seats import IDLE, Seats, terminal_tag

IDLE_SECONDS = IDLE.total_seconds()
HERE = Terminal(bytes(range(32)), "ipv4:192.0.2.1")


def test_an_operator_sits_where_he_asked_last_until_five_idle_minutes_are_over() -> None:
    now = 0.0
    seats: Seats[str] = Seats(lambda: now)
    assert seats.of("a", "op-1") is None
    seats.take("a", "op-1", "here")
    assert (seats.of("a", "op-2"), seats.of("b", "op-1")) == (None, None)
    now = IDLE_SECONDS
    assert seats.of("a", "op-1") == "here"
    seats.take("a", "op-1", "there")
    now = 2 * IDLE_SECONDS
    assert seats.of("a", "op-1") == "there"
    now += 1
    assert seats.of("a", "op-1") is None


def test_who_left_is_let_go_and_nobody_else() -> None:
    now = 0.0
    seats: Seats[str] = Seats(lambda: now)
    for number in range(1000):
        now = float(number)
        seats.take("a", f"op-{number}", "here")
    assert len(seats._seats) == IDLE_SECONDS + 1
    now = 1000.0
    seats.take("a", "op-800", "here")  # he is the first no more
    now = 1200.0
    seats.take("a", "op-2000", "here")
    assert seats.of("a", "op-800") == "here"
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
