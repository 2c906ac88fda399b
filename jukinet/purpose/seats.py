"""Where operators of agencies (操作者) sit: each at one terminal, until he has asked nothing for five minutes (`IDLE`).

Gateways and the center judge by it: a gateway by the terminal itself, the center for all gateways by what stands for it
in a ticket (`terminal_tag`). In memory alone, and by a clock that nobody sets.

Source: docs/decisions/0056-an-operator-signs-each-question.md, 0091-one-terminal-at-all-gateways.md.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Generic, TypeVar

from jukinet.mesh.interceptors import Terminal

IDLE: Final = timedelta(minutes=5)
_TAG_BYTES: Final = 16

_T = TypeVar("_T")


class Seats(Generic[_T]):
    """Who sits where now; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seats: OrderedDict[tuple[str, str], tuple[_T, float]] = OrderedDict()
        """Terminal and when it was used last by the clock; in the order of use."""

    def of(self, agency: str, operator: str) -> _T | None:
        """The terminal at which an operator sits; None where he has asked nothing for five minutes."""
        terminal, asked_at = self._seats.get((agency, operator), (None, 0.0))
        return terminal if self._clock() - asked_at <= IDLE.total_seconds() else None

    def take(self, agency: str, operator: str, terminal: _T) -> None:
        """Notes that an operator asks from a terminal. Who asked nothing for five minutes is let go."""
        moment = self._clock()
        self._seats[agency, operator] = (terminal, moment)
        self._seats.move_to_end((agency, operator))
        while moment - next(iter(self._seats.values()))[1] > IDLE.total_seconds():
            self._seats.popitem(last=False)


def terminal_tag(terminal: Terminal, agency: str, operator: str) -> bytes:
    """What stands for an operator's terminal in a ticket, 16 bytes: the same at all gateways.

    Keyed by the fingerprint of the certificate, which the center never sees: so it cannot try out network addresses.
    Of two operators at one terminal it is another one, so the center does not see who sits together.
    """
    about = "\0".join(["jukinet terminal v1", agency, operator, terminal.host]).encode()
    return hmac.digest(terminal.certificate, about, "sha256")[:_TAG_BYTES]
