"""Nobody asks from two terminals at once through two gateways: each ticket says at which one its operator sits.

Rule: as at a gateway (`jukinet/purpose/seats.py`). A ticket of another terminal than the operator's last one of the
last five minutes is refused, whichever gateway made it, and does not count as use of either.

Source: docs/decisions/0091-one-terminal-at-all-gateways.md.
"""

import logging
import time
from collections.abc import Callable

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.provision.v1.provision_pb2 import Ticket
from jukinet.mesh import metrics
from jukinet.mesh.errors import Refused
from jukinet.purpose.seats import Seats

log = logging.getLogger(__name__)


class Terminals:
    """Where the operators of all agencies sit now; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._seats: Seats[bytes] = Seats(clock)

    def require_seat(self, ticket: Ticket) -> None:
        """Notes that the operator of a ticket sits where it says; a gateway of before this says nothing.

        Raises Refused: OPERATOR_ELSEWHERE.
        """
        if not ticket.terminal:
            return
        if self._seats.of(ticket.agency, ticket.operator) not in (None, ticket.terminal):
            metrics.operator_elsewhere()
            log.warning("an operator asked from a second terminal", extra={"peer": ticket.agency})
            raise Refused(errors.ERROR_REASON_OPERATOR_ELSEWHERE)
        self._seats.take(ticket.agency, ticket.operator, ticket.terminal)
