"""At the center an operator sits at one terminal, whichever gateway he asks through."""

import pytest

from center_node.terminals import Terminals
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh.errors import Refused

HERE, THERE = b"here".ljust(16), b"there".ljust(16)


class Center:
    """Terminals by a clock of minutes."""

    def __init__(self) -> None:
        self.minutes = 0.0
        self.terminals = Terminals(lambda: 60 * self.minutes)


def ask(center: Center, at: float, terminal: bytes = HERE, operator: str = "op-1") -> bool:
    """Whether a question is let through; `at` is minutes after the beginning."""
    center.minutes = at
    try:
        center.terminals.require_seat(Ticket(agency="a", operator=operator, terminal=terminal))
    except Refused as refused:
        return refused.reason != errors.ERROR_REASON_OPERATOR_ELSEWHERE
    return True


def test_one_operator_at_two_terminals_is_refused_at_the_second_and_stays_at_the_first() -> None:
    center = Center()
    assert [ask(center, 0), ask(center, 1, THERE), ask(center, 4), ask(center, 8, THERE)] == [
        *(True, False, True, False),
    ]
    assert ask(center, 1, THERE, operator="op-2")


def test_refusals_at_a_second_terminal_do_not_lengthen_the_time_at_the_first() -> None:
    center = Center()
    assert ask(center, 0)
    assert not ask(center, 4.9, THERE)
    assert ask(center, 5.1, THERE)
    assert not ask(center, 6)


@pytest.mark.parametrize("order", [(HERE, b"", THERE), (b"", HERE, b"")])
def test_a_ticket_of_a_gateway_that_says_no_terminal_is_neither_judged_nor_noted(order: tuple[bytes, ...]) -> None:
    center = Center()
    let_through = [ask(center, 1, terminal) for terminal in order]
    assert let_through == [terminal != THERE for terminal in order]
