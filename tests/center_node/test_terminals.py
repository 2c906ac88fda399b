"""At the center an operator sits at one terminal, whichever gateway he asks through."""

from datetime import UTC, datetime, timedelta

import pytest

from center_node.terminals import Terminals
from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh.errors import Refused

NOW = datetime(2026, 4, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HERE, THERE = b"here".ljust(16), b"there".ljust(16)


def ask(terminals: Terminals, at: float, terminal: bytes = HERE, operator: str = "op-1") -> bool:
    """Whether a question is let through; `at` is minutes after the beginning."""
    try:
        terminals.require_seat(Ticket(agency="a", operator=operator, terminal=terminal), NOW + at * MINUTE)
    except Refused as refused:
        return refused.reason != errors.ERROR_REASON_OPERATOR_ELSEWHERE
    return True


def test_one_operator_at_two_terminals_is_refused_at_the_second_and_stays_at_the_first() -> None:
    terminals = Terminals()
    assert [ask(terminals, 0), ask(terminals, 1, THERE), ask(terminals, 4), ask(terminals, 8, THERE)] == [
        *(True, False, True, False),
    ]
    assert ask(terminals, 1, THERE, operator="op-2")


def test_refusals_at_a_second_terminal_do_not_lengthen_the_time_at_the_first() -> None:
    terminals = Terminals()
    assert ask(terminals, 0)
    assert not ask(terminals, 4.9, THERE)
    assert ask(terminals, 5.1, THERE)
    assert not ask(terminals, 6)


@pytest.mark.parametrize("order", [(HERE, b"", THERE), (b"", HERE, b"")])
def test_a_ticket_of_a_gateway_that_says_no_terminal_is_neither_judged_nor_noted(order: tuple[bytes, ...]) -> None:
    terminals = Terminals()
    let_through = [ask(terminals, 1, terminal) for terminal in order]
    assert let_through == [terminal != THERE for terminal in order]
