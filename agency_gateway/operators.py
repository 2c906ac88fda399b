"""Who of an agency asks: proofs of its operators (操作者), each at one terminal, and a session that ends by itself.

Rule: a question is answered only if its operator signed it, and logged on or asked from this very terminal within the
last five minutes (`IDLE`). A terminal is a certificate of the agency at one network address; ports change with every
connection and tell nothing. Who asks from a second terminal meanwhile is refused, and the network hears of it; through
another gateway the center refuses him (`center_node/terminals.py`).

Sessions are kept in memory alone: after a restart every operator logs on again. They last by a clock that nobody sets;
the time of day judges proofs alone.

Source: Order on the network's security (operators are known and watched); the case of 2012 in which a terminal that was
left logged on served a detective.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from jukinet._pb.jukinet.errors.v1 import errors_pb2 as errors
from jukinet._pb.jukinet.inquiry.v1.inquiry_pb2 import OperatorProof
from jukinet.mesh import metrics
from jukinet.mesh.interceptors import Terminal
from jukinet.purpose.agencies import AgencyDirectory
from jukinet.purpose.operator_proof import is_of_this_moment, is_signed, moment_of
from jukinet.purpose.seats import IDLE, Seats

log = logging.getLogger(__name__)


class Operators:
    """The operators of the agencies, and where each of them sits now.

    Args:
        directory: the agencies with the keys of their operators.
        clock: seconds that only grow.
    """

    def __init__(self, directory: AgencyDirectory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._seats: Seats[Terminal] = Seats(clock)

    def admit(
        self,
        agency: str,
        operator: str,
        proof: OperatorProof | None,
        statement: bytes,
        *,
        terminal: Terminal,
        now: datetime,
    ) -> "errors.ErrorReason.ValueType":
        """Judges the proof of one question, and opens or renews the operator's session.

        Args:
            agency: SPIFFE ID of the agency.
            operator: the agency's own id of the operator.
            proof: as it came; None if there was none.
            statement: what has to be signed (`operator_proof.statement_of`).
            terminal: from which it is asked.
            now: UTC.

        Returns:
            Why it is refused; UNSPECIFIED when the operator may ask.
        """
        refusal = self._judge_proof(agency, operator, proof, statement, now)
        if proof is None or refusal:
            return refusal
        seat = self._seats.of(agency, operator)
        if seat not in (None, terminal):
            metrics.operator_elsewhere()
            log.warning("an operator asked from a second terminal", extra={"peer": agency})
            return errors.ERROR_REASON_OPERATOR_ELSEWHERE
        if seat is None and now.timestamp() - moment_of(proof.logged_on_at) > IDLE.total_seconds():
            return errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED
        self._seats.take(agency, operator, terminal)
        return errors.ERROR_REASON_UNSPECIFIED

    def _judge_proof(
        self, agency: str, operator: str, proof: OperatorProof | None, statement: bytes, now: datetime
    ) -> "errors.ErrorReason.ValueType":
        if proof is None:
            return errors.ERROR_REASON_OPERATOR_PROOF_MISSING
        listed = self._directory.get(agency)
        key = listed.operators.get(operator) if listed else None
        if key is None:
            return errors.ERROR_REASON_OPERATOR_UNKNOWN
        if not is_of_this_moment(proof, now):
            return errors.ERROR_REASON_OPERATOR_PROOF_EXPIRED
        if not is_signed(statement, proof.signature, key):
            return errors.ERROR_REASON_OPERATOR_PROOF_INVALID
        return errors.ERROR_REASON_UNSPECIFIED
